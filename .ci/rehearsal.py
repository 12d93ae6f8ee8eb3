"""Makes the preregistered study at size nano with one seed, and fails unless its report has all that was planned.

Every arm must have its runs: models, fine-tuning on each of its tasks, reference models and timing. Every contrast must
have an estimate, and no hypothesis may be called "not run". Prints what is missing, and exits with 1.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

NAME, SEED = "rehearsal", "42"
CODESIGN = Path(sys.executable).with_name("codesign")
ROOT = Path(__file__).resolve().parent.parent


def rows_of(results, table):
    with open(results / "tables" / f"{table}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def gaps(study):
    "What the study lacks, a line each."
    results = study / "runs" / "06_results" / f"nano-s{SEED}-all"
    verdicts = json.loads((results / "verdicts.json").read_text(encoding="utf-8"))
    arms = json.loads((study / "study.json").read_text(encoding="utf-8"))["arms"]
    yield from (f"no record of {run}" for run in verdicts["missing"])
    yield from (f"{run} was left out: {why}" for run, why in verdicts["aside"].items())
    yield from (f"{name} is not run" for name, verdict in verdicts["verdicts"].items() if verdict == "Not run")
    measured = {(row["group"], row["seed"]): row for row in rows_of(results, "measures")}
    for name, arm in arms.items():
        if "~" in name:  # a pair that is timed side by side
            continue
        row = measured.get((name, SEED))
        wanted = ["ppl_word", *(f"{task}_primary" for task in arm.get("tasks") or ())]
        yield from (f"{name} has no {measure}" for measure in wanted if not (row and row.get(measure)))
    compared = rows_of(results, "contrasts")
    yield from (f"{row['comparison']}: {row['estimate']}" for row in compared if row["estimate"] == "not run")
    print(f"{len(arms)} arms, {len(compared)} contrasts, {len(verdicts['verdicts'])} hypotheses")


def main():
    command = [CODESIGN, "reproduce", "--study-file", "preregistered", "--size", "nano", "--seeds", SEED]
    subprocess.run([*command, "--study", NAME], check=True)
    found = list(gaps(Path(os.environ.get("CODESIGN_STUDIES", ROOT / "papermill_runs")) / NAME))
    print("\n".join(found) or "no cell is missing")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
