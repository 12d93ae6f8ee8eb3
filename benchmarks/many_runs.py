"""How long planning, resuming and the results take in a study of 1,000 runs.

Makes the records of a study of size nano in a temporary folder: the metrics of the published study, small files, and
the identities that the code of this checkout gives. Nothing is trained. Then it times the commands.

    python benchmarks/many_runs.py [SEEDS]

77 seeds of the seven groups are 1,001 runs. Beside them stands the one that reads all.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict

from codesign.engine.files import as_json, file_sha256, hash_of
from codesign.runs.graph import run_folder
from codesign.runs.identity import identity_of, records_needed
from codesign.runs.places import repository
from codesign.runs.records import readable_record, write_with_checksum
from codesign.runs.study_file import remember_study
from codesign.study.continuing import corpus_digest, fixed_by_grid
from codesign.study.grid import Grid, load_grid, reads_all
from codesign.study.job import COMMAND


def published_records() -> dict:
    "The records of the published study by notebook and group."
    found = {}
    for path in sorted((repository() / "figures/preregistered/runs").glob("*/*/record.json")):
        if record := readable_record(path.parent):
            found.setdefault((record["run"].split("/")[0], record["parameters"]["group"]), []).append(record)
    return found


def make_record(grid: Grid, node, like) -> None:
    "Writes the record of a run with the metrics of another one, and up to six files of about 100 kB."
    folder, parameters, files = run_folder(grid.study, node), grid.parameters(node), {}
    made_from = identity_of(node, parameters, records_needed(node, parameters))
    for name in list(like["files"])[:6]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{node} {name}".encode() * 2000)
        files[name] = {"sha256": file_sha256(path), "bytes": path.stat().st_size}
    (folder / "started.json").write_text(json.dumps({"hash": hash_of(made_from)}))
    content = {key: made_from[key] for key in ("schema", "run", "text", "inputs", "recipe", "settings", "code")}
    content |= {key: like[key] for key in ("status", "environment", "metrics", "wall_s")}
    content |= {"parameters": as_json(asdict(parameters)), "hash": hash_of(made_from), "files": files}
    write_with_checksum(folder / "record.json", content)


def make_study(seeds: int) -> Grid:
    "Makes all records of a study but the one that reads all."
    grid = load_grid("nano", "many", seeds=",".join(map(str, range(1000, 1000 + seeds))))
    fixed = fixed_by_grid(grid) | {"corpus": corpus_digest(grid.data, grid.size)}
    remember_study(grid.study, fixed, seeds=list(grid.seeds), groups=list(grid.groups))
    published = published_records()
    for number, node in enumerate(node for node in grid.nodes() if not reads_all(node)):
        like = published[node.notebook, node.group]
        make_record(grid, node, like[number % len(like)])
    return grid


def timed(what: str, *words: str) -> None:
    "Runs a command and prints its seconds, on the clock and of the processor."
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    of_processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{what:<34}{time.perf_counter() - began:8.1f} s {of_processor:8.1f} s of the processor", flush=True)
    if done.returncode:
        sys.exit(done.stderr)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CODESIGN_STUDIES"] = folder
        made = make_study(int(sys.argv[1]) if len(sys.argv) > 1 else 77)
        study = ["--size", "nano", "--seeds", ",".join(map(str, made.seeds)), "--study"]
        print(f"{len(made.nodes())} runs", flush=True)
        timed("plan, nothing done", "reproduce", *study, "fresh", "--dry-run")
        timed("plan, all but the results done", "reproduce", *study, "many", "--dry-run")
        timed("results and report", "results", "--size", "nano", "--study", "many")
        timed("the command again, all done", "reproduce", *study, "many")
