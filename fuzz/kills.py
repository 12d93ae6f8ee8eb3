"""Makes a small study, killing a process of it at random moments, and compares what is left with an undisturbed study.

Run by hand: `python fuzz/kills.py --kills 10 --seed 0`. Each kill is `kill -9` of one process, chosen at random: the
driver, Snakemake, a run, or the process of its notebook. The same command is then given again. At the end every output
file, every log and every number that a run repeats must be the same as in a study that nobody disturbed.
Prints a line for each kill, then "N kills, N files compared, N differ"; exits 1 if anything differs.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

COMMAND = [
    sys.executable,
    "-c",
    "from codesign.reproduce import main; main()",
    "reproduce",
    "--size",
    "nano",
    "--study",
    "kills",
    "--jobs",
    "2",
]
TIMES = ("_s", "mem_")  # metrics that are measured anew each time


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", default="240", help="of pre-training")
    parser.add_argument("--groups", default="M_base,M_sdm,M_full")
    asked = parser.parse_args()
    command = [
        *COMMAND,
        "--steps",
        asked.steps,
        "--groups",
        asked.groups,
        "--seeds",
        "42",
        "--examples",
        "200",
        "--epochs",
        "1",
    ]
    with tempfile.TemporaryDirectory(prefix="kills") as folder:
        calm, disturbed = Path(folder) / "calm", Path(folder) / "disturbed"
        began = time.monotonic()
        subprocess.run(command, env=environment(calm), check=True, stdout=subprocess.DEVNULL)
        took = time.monotonic() - began
        print(f"undisturbed: {took:.0f} s", flush=True)
        disturb(command, environment(disturbed), random.Random(asked.seed), asked.kills, took)
        left, expected = what_is_left(disturbed), what_is_left(calm)
    different = sorted(name for name in {*left, *expected} if left.get(name) != expected.get(name))
    names = f": {', '.join(different)}" if different else ""
    print(f"{asked.kills} kills, {len(expected)} files compared, {len(different)} differ{names}")
    sys.exit(1 if different else 0)


def environment(studies):
    studies.mkdir()
    return {
        **os.environ,
        "CODESIGN_STUDIES": str(studies),
        "CODESIGN_CACHE": str(studies.parent / "cache"),
        "OMP_NUM_THREADS": "1",
    }


def disturb(command, environment, rng, kills, took):
    "Gives the command until it ends by itself. The first `kills` times, one of its processes is killed at random."
    left = kills
    while True:
        driver = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if left:
            wait = rng.uniform(0.5, 1.2 * took / kills + 8)
            try:
                driver.wait(wait)
            except subprocess.TimeoutExpired:
                victim = rng.choice([psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)])
                name = name_of(victim)
                try:
                    victim.kill()
                except psutil.NoSuchProcess:
                    continue
                left -= 1
                print(f"killed {name} after {wait:.1f} s", flush=True)
        output = driver.communicate()[0]
        if "Traceback" in output:
            sys.exit(f"a traceback:\n{output}")
        if driver.returncode == 0:
            if left:
                print(f"the study was done before the last {left} kills; give a smaller --seed or more --steps")
                sys.exit(1)
            return


def name_of(process):
    words = " ".join(process.cmdline()) if process.is_running() else ""
    known = {
        "ipykernel": "the process of a notebook",
        "snakemake": "Snakemake",
        " node ": "a run",
        " reproduce ": "the driver",
    }
    return next((name for word, name in known.items() if word in f" {words} "), "another process")


def what_is_left(folder):
    "What a study holds by name: the bytes of logs, the digests of files, the metrics that repeat."
    found = {}
    for path in sorted((folder / "kills/runs").glob("*/*/record.json")):
        record = json.loads(path.read_text())
        name = record["run"]
        if name.startswith("05_") or name.startswith("06_"):
            continue  # timings, and tables of timings
        found |= {f"{name}/{file}": entry["sha256"] for file, entry in record["files"].items()}
        found[f"{name}/metrics"] = json.dumps(repeatable(record["metrics"]), sort_keys=True)
        found[f"{name}/hash"] = record["hash"]
        log = path.parent / "metrics.jsonl"
        found[f"{name}/metrics.jsonl"] = log.read_bytes() if log.is_file() else b""
    return found


def repeatable(metrics):
    if not isinstance(metrics, dict):
        return metrics
    return {
        key: repeatable(value)
        for key, value in metrics.items()
        if not key.endswith(TIMES[0]) and not key.startswith(TIMES[1])
    }


main()
