"""What CI runs after `make test`: the notebooks that have cells marked `#| slow`, with those cells.

Two notebooks run at a time. Prints the output of each, then one line a notebook with its seconds and, last,
"N passed, N failed". Exits 1 if anything failed.
"""

import json
import re
import sys
from pathlib import Path

from side_by_side import side_by_side

root = Path(__file__).resolve().parent.parent
slow = re.compile(r"^#\|\s*slow\b", re.M)


def slow_cells(path):
    "How many code cells of a notebook are marked slow."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return sum(cell["cell_type"] == "code" and bool(slow.search("".join(cell["source"]))) for cell in cells)


notebooks = {path: slow_cells(path) for path in root.glob("nbs/**/*.ipynb") if ".ipynb_checkpoints" not in path.parts}
counts = {str(path.relative_to(root)): count for path, count in notebooks.items() if count}
test = [str(Path(sys.executable).parent / "nbdev_test"), "--flags", "slow", "--n_workers", "0", "--path"]
lines, failed = [], 0
print(f"{sum(counts.values())} slow cells of {len(counts)} notebooks", flush=True)
in_tests_first = sorted(counts, key=lambda name: ("/tests/" not in name, name))  # the longest
for name, code, output, seconds in side_by_side({name: [*test, name] for name in in_tests_first}, root):
    print(output, end="", flush=True)
    failed += code != 0
    lines.append(f"{'FAILED' if code else 'ok'}  {name} with {counts[name]} slow cells, {seconds:.0f} s")
print("\n".join(lines))
print(f"{len(lines) - failed} passed, {failed} failed")
sys.exit(1 if failed or not lines else 0)
