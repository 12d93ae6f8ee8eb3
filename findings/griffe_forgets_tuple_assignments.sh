#!/usr/bin/env bash
# griffelib 2.4.1 (what mkdocstrings-python 2.0.11 reads source with): a module's names that are assigned together,
# `A, B = 1, 2`, do not exist for it, although they stand in `__all__`. A reference page made from the module is complete in
# every other way, and mkdocs --strict builds it without a warning: a public constant silently has no entry.
# Seen: of __all__ = ["A", "B", "C"] only C is a member.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check griffelib==2.4.1 2>/dev/null
cd "$work"
"$work/venv/bin/python" - <<'PY'
from pathlib import Path
import griffe

Path("constants.py").write_text('__all__ = ["A", "B", "C"]\nA, B = 1, 2\nC = 3\n')
module = griffe.load("constants", search_paths=["."])
found = sorted(name for name in module.members if name in "ABC")
print("in __all__:", module.exports, " known:", found)
assert "C" in found, "C is assigned alone and should be known"
assert "A" not in found and "B" not in found, "A and B are known now: this has been mended"
PY
