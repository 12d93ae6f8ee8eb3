#!/usr/bin/env bash
# papermill 2.7.0: `autosave_cell_every=0` turns off the saves while a cell runs, and no others. The whole notebook, with
# all outputs so far, is still written before and after each cell. So a run of n cells writes 2 n + 3 times, and a
# notebook that holds pictures pays for them with every later cell. An engine of one's own can save less often.
# Seen: 20 cells, the first with an output of 2 MB: 43 writes, 83 MB in all, for a file of 2 MB.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check papermill==2.7.0 nbclient==0.11.0 ipykernel==7.4.0 2>/dev/null
cd "$work"
"$work/venv/bin/python" - <<'PY'
import nbformat, papermill
from papermill import engines, execute
code = ["print('x' * 2_000_000)"] + ["1"] * 19
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in code])
notebook.metadata.kernelspec = {"name": "python3", "display_name": "python3", "language": "python"}
nbformat.write(notebook, "in.ipynb")
sizes = []

def counted(write):
    def wrapper(nb, path):
        write(nb, path)
        sizes.append(len(open(path, encoding="utf-8").read()))
    return wrapper

engines.write_ipynb, execute.write_ipynb = counted(engines.write_ipynb), counted(execute.write_ipynb)
papermill.execute_notebook("in.ipynb", "out.ipynb", progress_bar=False, autosave_cell_every=0)
print(f"{len(sizes)} writes of {len(code)} cells, {sum(sizes) / 1e6:.0f} MB in all, for a file of {sizes[-1] / 1e6:.0f} MB")
assert len(sizes) >= 2 * len(code), "the notebook is no longer written around every cell: this has been mended"
PY
