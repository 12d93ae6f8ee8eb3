"""The paper's size, end to end on the machine at hand: how long each run takes, and how much memory.

Makes M_full at size 130m-brief: the model, text, tokenizer and recipe of size 130m for two steps of each phase. SDM is
killed after its first checkpoint, fine-tuning in the middle, and the same command goes on. `codesign reproduce` finds
these runs done and makes the results. Then pre-training and SDM are made again without a kill, and the results are
compared. Every run is a notebook executed by papermill. Last comes a dry run of size 130m itself, which measures.

    CODESIGN_DATA=FOLDER python benchmarks/paper_size.py RECORD.json

FOLDER holds wikitext-2, SST-2 and the GPT-NeoX tokenizer (`codesign data list`). The studies lie in
$CODESIGN_STUDIES, or in a temporary folder, and are deleted at the end: about 12 GB.

With --shapes, nothing is trained. Five shapes of 130m and of 370m are built with random weights, counted, and timed in
turns in one process. What was counted stays in the record and is not counted again; --counts-only runs no prefill, so
it leaves out memory and times. All of it takes about 25 minutes on two cores that nothing else uses.
The record is written after every shape and every round. It needs no data.

    python benchmarks/paper_size.py --shapes RECORD.json [--counts-only] [--rounds 6] [--threads 2]
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from codesign.engine.files import write_json
from codesign.engine.system import processor
from codesign.runs.graph import Node, run_folder
from codesign.runs.places import study_folder
from codesign.runs.records import readable_record
from codesign.runs.settings import load_settings
from codesign.study.job import COMMAND

SIZE, SEED, TEXT, TASK = "130m-brief", 42, "wikitext-2", "sst2"
KILLED, WHOLE = "paper-size-killed", "paper-size-whole"  # the studies
CHAIN = [Node(*run) for run in (
    ("00_baseline", SIZE, SEED, "M_base"),
    ("02_sdm", SIZE, SEED, "M_sdm"),
    ("01_csp", SIZE, SEED, "M_full"),
    ("03_sgh_peft", SIZE, SEED, "M_full"),
)]  # fmt: skip
BASE, SDM, CSP, TUNING = CHAIN
RESULTS = Node("06_results", SIZE, SEED, "all")


def command_of(node: Node, study: str) -> list[str]:
    "The command that makes one run of a study."
    if node == RESULTS:
        return ["reproduce", "--size", SIZE, "--groups", "M_full", "--study", study, "--jobs", "1"]
    name = {"00_baseline": "pretrain", "02_sdm": "sdm", "01_csp": "csp", "03_sgh_peft": "finetune"}[node.notebook]
    words = {"size": node.size, "seed": node.seed, "group": node.group, "data": TEXT, "tasks": TASK, "study": study}
    return [name, *(word for option, value in words.items() for word in (f"--{option}", str(value))), "--threads", "1"]


def logged_steps(node: Node, study: str) -> int:
    "Lines in the log of a run."
    path = run_folder(study, node) / "metrics.jsonl"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0


def first_checkpoint(node: Node, study: str) -> bool:
    "Whether the checkpoint after the first step of a run is whole."
    return (run_folder(study, node) / "checkpoints" / "step-000001" / "manifest.json").is_file()


def kernels_below(process: psutil.Process) -> list[psutil.Process]:
    "The processes of notebooks below a command."
    return [child for child in process.children(recursive=True) if "ipykernel_launcher" in " ".join(child.cmdline())]


def made(node: Node, study: str, kill_when=None) -> dict:
    """Makes one run by its command, and says how long it took and how fast its second step was.

    With `kill_when(node, study)`, the notebook's process is killed with SIGKILL as soon as that is true.
    """
    began, seen, killed = time.perf_counter(), {}, False
    steps_before = logged_steps(node, study)
    words = command_of(node, study)
    print(" ".join(["codesign", *words]), flush=True)
    process = psutil.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while process.poll() is None:
        time.sleep(0.1)
        if first_checkpoint(node, study):
            seen.setdefault("checkpoint", time.perf_counter())
        if logged_steps(node, study) >= 2:
            seen.setdefault("second step", time.perf_counter())
        if kill_when and not killed and kill_when(node, study):
            for kernel in kernels_below(process):
                kernel.send_signal(signal.SIGKILL)
                killed = True
    said = process.stdout.read().strip().splitlines()
    if (process.returncode == 0) == bool(kill_when):
        sys.exit("\n".join([*said, f"{node} was {'not ' if kill_when else ''}expected to end well"]))
    found = {"run": str(node), "study": study, "seconds": round(time.perf_counter() - began, 1), "killed": killed}
    if steps_before == 0 and {"checkpoint", "second step"} <= seen.keys():
        p = load_settings(SIZE).pretrain
        found["tokens_per_s"] = round(p.batch_size * p.length / (seen["second step"] - seen["checkpoint"]), 1)
    if record := readable_record(run_folder(study, node)):
        environment = record["environment"]
        found["job_seconds"] = record["wall_s"]
        found["mem_peak_rss_bytes"] = environment["mem_peak_rss_bytes"]
        found["resumed"] = environment.get("resumed", [])
        found["bytes_of_files"] = sum(entry["bytes"] for entry in record["files"].values())
    print(json.dumps(found), flush=True)
    return found


def compared(node: Node) -> dict:
    "Whether a run of the killed study has the metrics and the files of the one that was not killed."
    one, other = (readable_record(run_folder(study, node)) for study in (KILLED, WHOLE))
    files = {name: one["files"][name]["sha256"] == other["files"][name]["sha256"] for name in one["files"]}
    different = sorted(name for name, same in files.items() if not same)
    return {
        "run": str(node),
        "equal_metrics": one.metrics == other.metrics,
        "files": len(files),
        "different": different,
    }


def dry_run() -> dict:
    "What a dry run of size 130m says, without the list of its runs."
    words = [
        "reproduce",
        "--size",
        "130m",
        "--data",
        TEXT,
        "--tasks",
        TASK,
        "--study",
        WHOLE,
        "--jobs",
        "1",
        "--dry-run",
    ]
    began = time.perf_counter()
    said = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=True).stdout.splitlines()
    lines = [line for line in said if not line.endswith(": no record")]
    print("\n".join(lines), flush=True)
    return {"command": " ".join(["codesign", *words]), "seconds": round(time.perf_counter() - began, 1), "said": lines}


def main(target: Path) -> None:
    "Makes the runs, compares them, and writes the record."
    began = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    runs = [
        made(BASE, KILLED),
        made(SDM, KILLED, kill_when=first_checkpoint),
        made(SDM, KILLED),
        made(CSP, KILLED),
        made(TUNING, KILLED, kill_when=lambda node, study: logged_steps(node, study) >= 1),
        made(TUNING, KILLED),
        made(RESULTS, KILLED),
        made(BASE, WHOLE),
        made(SDM, WHOLE),
    ]
    last, compares = readable_record(run_folder(KILLED, TUNING)), [compared(BASE), compared(SDM)]
    shutil.rmtree(study_folder(WHOLE))
    content = {
        "command": "python benchmarks/paper_size.py",
        "measured": began,
        "machine": {
            "processor": processor(),
            "memory_bytes": psutil.virtual_memory().total,
            **{name: last["environment"][name] for name in ("platform", "python", "torch", "device", "threads")},
        },
        "commit": last["environment"]["commit"],
        "size": SIZE,
        "differs_from_130m": differences(),
        "runs": runs,
        "killed_against_whole": compares,
        "dry_run_of_130m": dry_run(),
        "metrics": {str(node): readable_record(run_folder(KILLED, node)).metrics for node in CHAIN},
    }
    before = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    write_json(target, content | ({"shapes": before["shapes"]} if "shapes" in before else {}))
    print(f"record {target}")


def machine_of(threads: int) -> dict:
    "The machine that counts or times."
    import torch

    return {
        "processor": processor(),
        "memory_bytes": psutil.virtual_memory().total,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "device": "cpu",
        "threads": threads,
    }


def count_shapes(target: Path, content: dict, threads: int, sizes: tuple[str, ...], prefills: bool) -> None:
    "Counts every shape of every size that the record does not have for this prefill, and writes after each."
    from codesign.measuring.paper_shapes import counted, paper_configs, prefill_bytes

    p = load_settings(sizes[0]).profile
    asked = [p.batch_size, p.length]
    shapes = content.setdefault("shapes", {})
    if shapes.get("counted", {}).get("prefill_shape") != asked:
        shapes["counted"] = {"prefill_shape": asked, "sizes": {}}
    found = shapes["counted"]
    for size in sizes:
        rows = found["sizes"].setdefault(size, {})
        for name, config in paper_configs(size).items():
            before = dict(rows.get(name, {}))
            if name not in rows:
                rows[name] = counted(config, *asked)
            if prefills and "mem_peak_bytes" not in rows[name]:
                rows[name]["mem_peak_bytes"] = prefill_bytes(config, *asked)
            if rows[name] != before:
                found |= {"commit": commit_now(), "machine": machine_of(threads)}
                write_json(target, content)
                print(f"counted {size} {name}: {json.dumps(rows[name])}", flush=True)


def time_shapes(target: Path, content: dict, rounds: int, threads: int, sizes: tuple[str, ...]) -> None:
    "Times every shape of every size in turns, and writes after each round. Says how long it will take."
    import torch

    from codesign.engine.machine import measure_ceilings
    from codesign.engine.scan_backends import kernel_path
    from codesign.measuring.paper_shapes import paper_configs, predicted_ms, shape_times, timed_rounds

    p = load_settings(sizes[0]).profile
    shape = (p.batch_size, p.length)
    configs = {f"{size} {name}": config for size in sizes for name, config in paper_configs(size).items()}
    ceilings = measure_ceilings("cpu", torch.float32)
    timed = {
        "command": f"python benchmarks/paper_size.py --shapes RECORD.json --rounds {rounds} --threads {threads}",
        "measured": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": commit_now(),
        "machine": machine_of(threads),
        "kernel": kernel_path(torch.device("cpu")),
        "prefill_shape": list(shape),
        "ceilings": vars(ceilings),
        "predicted_ms": {name: predicted_ms(config, *shape, ceilings) for name, config in configs.items()},
        "rounds": 0,
        "milliseconds": {},
    }
    bound = sum(timed["predicted_ms"].values()) * (rounds + 1) / 60_000
    print(f"{rounds + 1} rounds of {len(configs) + 1} prefills of {shape}: at least {bound:.0f} minutes", flush=True)
    for turn, found in enumerate(timed_rounds(configs, *shape, rounds)):
        spent = sum(found.values()) / 1e3
        print(f"round {turn} of {rounds}: {spent:.0f} s; {(rounds - turn) * spent / 60:.0f} minutes left", flush=True)
        if turn == 0:  # it warms up
            continue
        for name, ms in found.items():
            timed["milliseconds"].setdefault(name, []).append(ms)
        timed["rounds"] = turn
        timed["models"] = shape_times(timed["milliseconds"])
        timed["factors"] = factors(timed["milliseconds"], sizes)
        content["shapes"]["timed"] = timed
        write_json(target, content)


def factors(times: dict[str, list[float]], sizes: tuple[str, ...]) -> dict[str, dict]:
    "The time of the last size over that of the first, shape by shape, with a 95% interval over rounds."
    from codesign.measuring.paper_shapes import PAPER_SHAPES, ratio_of_rounds

    first, last = sizes[0], sizes[-1]
    pairs = {name: (times[f"{last} {name}"], times[f"{first} {name}"]) for name in PAPER_SHAPES}
    return {f"{last}/{first} {name}": ratio_of_rounds(*pair) for name, pair in pairs.items()}


def commit_now() -> str:
    "The commit of the code, with -dirty behind it if a file of it was changed."
    folder = Path(__file__).resolve().parent

    def git(*words):
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/codesign", ":/benchmarks").strip()
    return git("rev-parse", "HEAD").strip() + ("-dirty" if changed else "")


def measure_shapes(target: Path, counts_only: bool, rounds: int, threads: int, sizes: tuple[str, ...]) -> None:
    "Counts, and unless `counts_only` times, the shapes; keeps what else the record holds."
    import torch

    torch.set_num_threads(threads)
    content = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    count_shapes(target, content, threads, sizes, prefills=not counts_only)
    if not counts_only:
        time_shapes(target, content, rounds, threads, sizes)
    print(f"record {target}")


def differences() -> dict:
    "The settings of this size that are not those of 130m, with both values."
    from dataclasses import asdict

    full, brief = asdict(load_settings("130m")), asdict(load_settings(SIZE))
    return {
        f"{section}.{name}": {"130m": full[section][name], SIZE: value}
        for section, values in brief.items()
        if isinstance(values, dict)
        for name, value in values.items()
        if value != full[section][name]
    }


def arguments() -> argparse.Namespace:
    "What the command line asks for."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path, metavar="RECORD.json", help="the record to write")
    parser.add_argument("--shapes", action="store_true", help="count and time shapes with random weights")
    parser.add_argument(
        "--counts-only", action="store_true", help="with --shapes: run no prefill, so measure neither memory nor time"
    )
    parser.add_argument("--rounds", type=int, default=6, help="with --shapes: timed rounds, after one that warms up")
    parser.add_argument("--threads", type=int, default=2, help="with --shapes: CPU threads")
    parser.add_argument("--sizes", default="130m,370m", help="with --shapes: the sizes, smallest first")
    return parser.parse_args()


if __name__ == "__main__":
    asked = arguments()
    if asked.shapes:
        measure_shapes(asked.record, asked.counts_only, asked.rounds, asked.threads, tuple(asked.sizes.split(",")))
        sys.exit()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ.setdefault("CODESIGN_STUDIES", temporary)
        try:
            main(asked.record)
        finally:
            for study in (KILLED, WHOLE):
                shutil.rmtree(study_folder(study), ignore_errors=True)
