#!/usr/bin/env bash
# jsonschema 4.26.0 with rfc3987-syntax 1.1.0: `import jsonschema` compiles a Lark grammar, whether or not a schema has a
# format to check. The extra `format-nongpl`, which jupyter-events 0.12.1 (so JupyterLab) asks for, brings that package.
# From then on everything that imports jsonschema pays: nbformat, papermill, Snakemake. 40 notebooks, each executed by a
# process of its own, pay it 40 times, and the same process without the package starts several times faster.
# Seen, CPU seconds of the import: 0.07 without the package, 0.97 with it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip() { "$work/venv/bin/pip" install --quiet --disable-pip-version-check "$@" 2>/dev/null; }
cpu() { "$work/venv/bin/python" -c 'import time; a = time.process_time(); import jsonschema; print(time.process_time() - a)'; }
pip jsonschema==4.26.0
plain=$(cpu; cpu)
pip "jsonschema[format-nongpl]==4.26.0" rfc3987-syntax==1.1.0 lark==1.3.1
extra=$(cpu; cpu)
"$work/venv/bin/python" - "$plain" "$extra" <<'PY'
import sys
plain, extra = (min(map(float, text.split())) for text in sys.argv[1:])
import jsonschema
loaded = "rfc3987_syntax.syntax_helpers" in sys.modules
print(f"CPU seconds to import jsonschema: {plain:.2f} without rfc3987-syntax, {extra:.2f} with it; grammar compiled: {loaded}")
assert loaded, "the import no longer loads the grammar: this has been mended"
assert extra > 2 * plain, "the import is no longer slow: this has been mended"
PY
