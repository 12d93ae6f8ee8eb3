"""What CI runs after `make test`: the notebooks that have cells marked `#| slow`, with those cells.

Prints each notebook's output, then one line a notebook with its seconds and, last, "N passed, N failed".
Exits 1 if anything failed.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import torch

root = Path(__file__).resolve().parent.parent
slow = re.compile(r"^#\|\s*slow\b", re.M)


def slow_cells(path):
    "How many code cells of a notebook are marked slow."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return sum(cell["cell_type"] == "code" and bool(slow.search("".join(cell["source"]))) for cell in cells)


environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
if not torch.cuda.is_available():
    environment["TRITON_INTERPRET"] = "1"
lines, failed = [], 0
for notebook in sorted(root.glob("nbs/**/*.ipynb")):
    count = 0 if ".ipynb_checkpoints" in notebook.parts else slow_cells(notebook)
    if not count:
        continue
    name, began = notebook.relative_to(root), time.monotonic()
    print(f"{name}: {count} slow cells", flush=True)
    command = [
        str(Path(sys.executable).parent / "nbdev_test"),
        "--path",
        str(name),
        "--flags",
        "slow",
        "--n_workers",
        "0",
    ]
    wrong = subprocess.run(command, cwd=root, env=environment).returncode != 0
    failed += wrong
    lines.append(f"{'FAILED' if wrong else 'ok'}  {name} with {count} slow cells, {time.monotonic() - began:.0f} s")
print("\n".join(lines))
print(f"{len(lines) - failed} passed, {failed} failed")
sys.exit(1 if failed or not lines else 0)
