"""The time of a study with two versions of the project, in turn on one machine, and whether they measure the same.

    python benchmarks/reproduce_time.py ed6e425 . --size tiny --pairs 3 --out times.json
    python benchmarks/reproduce_time.py 0026538 . --size nano --seeds 42 --pairs 1 --equal
    python benchmarks/reproduce_time.py --compare STUDY STUDY

A version is a commit, or `.` for the files as they are. Each version gets a folder of its own and a cache of its own.
Before the first pair, each makes one small run, which compiles the kernels. The interpreter is the one that runs this.
It prints one JSON object a line:

wall_s, cpu_s         of the whole command, and of all its processes
peak_mb               the most memory that its processes had at once; pages that several share are counted once
                      (Linux only)
runs                  the runs of the study
first_step_s          median and maximum of the seconds from `start` of a run to its first training step
stages                for each notebook: its runs, the seconds of these from `start` to `done`, and those in the job

The last line compares the metrics of the two versions. Pre-training (00, 01, 02, 04) must agree value by value, apart
from times and memory. `--equal` makes a difference there an error. Scores of fine-tuning are compared, too.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path

PRETRAINING = ("00_baseline", "01_csp", "02_sdm", "04_challenge")
NOT_COMPARED = re.compile(r"(^|_)(ms|seconds|wall|latency|throughput|rss|mem)(_|$)")
COMMAND = "from codesign.reproduce import main; main()"


def values(content, where=""):
    "All values in nested data, each with its place; without times and memory."
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, inner in pairs:
        if isinstance(inner, (dict, list)):
            yield from values(inner, f"{where}{name}.")
        elif not NOT_COMPARED.search(f"{where}{name}"):
            yield f"{where}{name}", inner


def same(a, b):
    both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return a == b or both_nan


def metrics_of(study: Path) -> dict[str, dict]:
    "The metrics of every finished run of a study."
    found = {}
    for path in sorted(study.glob("runs/*/*/record.json")):
        found["/".join(path.parts[-3:-1])] = json.loads(path.read_text(encoding="utf-8"))["metrics"]
    return found


def compared(first: dict, second: dict) -> dict:
    "How many values of two studies agree, which do not, and the largest difference of a score."
    result = {
        "compared": 0,
        "different": [],
        "missing": sorted(set(first) ^ set(second)),
        "largest_score_difference": 0.0,
    }
    for run in sorted(set(first) & set(second)):
        a, b = dict(values(first[run])), dict(values(second[run]))
        if run.startswith(PRETRAINING):
            names = sorted(set(a) & set(b))
            result["compared"] += len(names)
            unlike = [name for name in names if not same(a[name], b[name])]
            result["different"] += [f"{run} {name}: {a[name]} and {b[name]}" for name in unlike]
            result["missing"] += [f"{run} {name}" for name in sorted(set(a) ^ set(b))]
        for name in ("score_points",) if run.startswith("03") else ():
            if isinstance(a.get(name), (int, float)) and isinstance(b.get(name), (int, float)):
                result["largest_score_difference"] = max(result["largest_score_difference"], abs(a[name] - b[name]))
    return result


def laid_out(version: str, folder: Path) -> Path:
    "The files of a version: the folder of the project for `.`, else the commit unpacked into `folder`."
    project = Path(__file__).resolve().parents[1]
    if version == ".":
        return project
    target = folder / version
    target.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(["git", "-C", project, "archive", version], stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x", "-C", target], input=archive, check=True)
    return target


def shared_once_mb(pid: int) -> float:
    "Memory of a process and all below it, in MB; a page that n processes share counts as 1/n in each."
    import psutil

    total = 0
    try:
        below = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0.0
    for process in below:
        try:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            total += int(re.search(r"(?m)^Pss:\s+(\d+) kB", text)[1])
        except (OSError, TypeError):  # it has just ended
            pass
    return total / 1024


class Watch:
    "Looks at a study while it is made: memory, and when each run has started, stepped first, and ended."

    def __init__(self, study: Path):
        self.study, self.peak_mb, self.over = study, 0.0, threading.Event()
        self.started, self.stepped, self.done = {}, {}, {}

    def read(self, line: str) -> None:
        if found := re.search(r"\bstart\s+(\S+)", line):
            self.started.setdefault(found[1], time.monotonic())
        if found := re.search(r"\bdone\s+(\S+)\s+([\d.]+) s", line):
            self.done[found[1]] = float(found[2])

    def look(self, pid: int) -> None:
        looked = 0.0
        while not self.over.wait(0.05):
            for run in [run for run in self.started if run not in self.stepped]:
                if (self.study / "runs" / run / "metrics.jsonl").is_file():
                    self.stepped[run] = time.monotonic() - self.started[run]
            if sys.platform == "linux" and time.monotonic() - looked > 1:
                self.peak_mb, looked = max(self.peak_mb, shared_once_mb(pid)), time.monotonic()


def made(tree: Path, studies: Path, name: str, options: list[str]) -> dict:
    "Makes a study with the files of a version; returns what was measured."
    environment = {**os.environ, "PYTHONPATH": str(tree), "CODESIGN_STUDIES": str(studies)}
    environment |= {"CODESIGN_CACHE": str(studies / "cache"), "HF_HUB_OFFLINE": "1"}
    command, watch = [sys.executable, "-c", COMMAND, "reproduce", "--study", name, *options], Watch(studies / name)
    began, cpu = time.monotonic(), os.times()
    process = subprocess.Popen(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True)
    thread = threading.Thread(target=watch.look, args=(process.pid,))
    thread.start()
    said = deque(maxlen=20)
    for line in process.stdout:
        watch.read(line)
        said.append(line)
    code = process.wait()
    watch.over.set()
    thread.join()
    if code:
        print("".join(said), file=sys.stderr)
        sys.exit(f"the study of {tree.name} ended with exit code {code}; what it said last is above")
    after, stages = os.times(), {}
    for run, seconds in watch.done.items():
        job = json.loads((studies / name / "runs" / run / "record.json").read_text())["wall_s"]
        stage = stages.setdefault(run.partition("/")[0], {"runs": 0, "seconds": 0.0, "in_job_s": 0.0})
        stage["runs"] += 1
        stage["seconds"], stage["in_job_s"] = round(stage["seconds"] + seconds, 1), round(stage["in_job_s"] + job, 1)
    steps = [seconds for run, seconds in watch.stepped.items()] or [math.nan]
    return {
        "wall_s": round(time.monotonic() - began, 1),
        "cpu_s": round(sum(after[2:4]) - sum(cpu[2:4]), 1),
        "peak_mb": round(watch.peak_mb) or None,
        "runs": len(watch.done),
        "first_step_s": [round(statistics.median(steps), 2), round(max(steps), 2)],
        "stages": stages,
    }


def in_turns(versions, options, pairs, place: Path):
    "Yields what was measured of each version, pair by pair; the order changes with every pair."
    trees = {version: laid_out(version, place / "versions") for version in versions}
    folders = {version: place / f"studies-{number}" for number, version in enumerate(versions)}
    for version in versions:
        folders[version].mkdir(parents=True, exist_ok=True)
        made(trees[version], folders[version], "first", ["--size", "nano", "--seeds", "42", "--groups", "M_sgh"])
    for pair in range(pairs):
        for version in versions if pair % 2 == 0 else versions[::-1]:
            yield {"pair": pair, "version": version} | made(trees[version], folders[version], f"pair-{pair}", options)
    first, second = (metrics_of(folders[version] / f"pair-{pairs - 1}") for version in versions)
    yield {"metrics": compared(first, second)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", metavar="VERSION", help="two: a commit, or `.`")
    parser.add_argument("--compare", nargs=2, type=Path, metavar="STUDY", help="only compare two study folders")
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--seeds", default="42,43,44")
    parser.add_argument("--groups", help="such as M_base,M_sgh; default: all seven, and the profiling of all")
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--equal", action="store_true", help="exit with 1 if a value of pre-training differs")
    parser.add_argument("--keep", type=Path, help="an empty folder for studies and versions; default: a temporary one")
    parser.add_argument("--out", type=Path, help="a file for all lines, as a JSON list")
    given = parser.parse_args()
    if given.compare:
        result = compared(*map(metrics_of, given.compare))
        print(json.dumps(result, indent=1))
        sys.exit(int(bool(result["different"] or not result["compared"])))
    if len(given.versions) != 2:
        parser.error("give two versions, such as: ed6e425 .")
    options, lines = ["--size", given.size, "--seeds", given.seeds, "--jobs", given.jobs], []
    options += ["--groups", given.groups] if given.groups else []
    with tempfile.TemporaryDirectory() as temporary:
        for line in in_turns(given.versions, options, given.pairs, given.keep or Path(temporary)):
            lines.append(line)
            print(json.dumps(line), flush=True)
            if given.out:
                given.out.write_text(json.dumps(lines, indent=1) + "\n")
    sys.exit(int(given.equal and bool(lines[-1]["metrics"]["different"])))


if __name__ == "__main__":
    main()
