"""Feeds damaged and odd inputs to codesign and counts what comes of them.

    .venv/bin/python fuzz/run.py --count 1000 --seed 0
    .venv/bin/python fuzz/run.py --kind records --seed 0 --number 17      one input again, in full

Each input follows from its kind, the seed and its number. Every kind runs in a process of its own, which is started
again if it ends or hangs. What counts as right:

    refused        an error of codesign, or exit code 2, in one line
    same           accepted, and what comes out is what comes out of the undamaged input
    said so        accepted, something else comes out, and a warning or a field of the result says so
    another input  accepted, something else comes out, and nothing could have noticed

and what is a finding, printed with the command that repeats it, and exit code 1:

    traceback      any other exception, a refusal of several lines, or the end of the process
    silent wrong   accepted, something else comes out, and a checksum or a rule should have noticed
    hang           nothing came within the time limit

What has to be noticed differs by kind, and is written at the top of each kind's file:

    cli            a command line that holds something wrong may not be carried out
    data           rows that are torn, lack cells or labels, are not UTF-8, or are ambiguous are never read as others;
                   a label or a text that is as valid as the one before is another input
    records        a record's checksum covers all of it, so no changed record may count as done, be checked as right or
                   be read into a table; one that is refused by its reader, or left out with a reason, is right
    study          manifests cover every file of a checkpoint; study.json, plan.json and metrics.jsonl have no
                   checksum, so there only the form of the refusal counts; started.json never changes what is made
    checkpoints    a field of config.json that decides about shapes, layers or the function has to fit the weights; the
                   few fields whose other valid values are as good as any (norm_epsilon and its like) are free
    headers        caches are made from content whose hash is in their names, so nothing else may come out of them, and
                   a manifest covers a checkpoint; a model's folder has no checksum, so other weights are another model
"""

import argparse
import faulthandler
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from importlib import import_module
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
import outcomes  # noqa: E402

KINDS = {
    "cli": "command_lines",
    "data": "data_rows",
    "records": "records",
    "study": "study_files",
    "checkpoints": "checkpoints",
    "headers": "headers",
}
FIXTURES = 300  # seconds that a process may take before its first input
MEMORY = 6 << 30  # bytes that a process may take beyond what it has when it begins


def numbers_of(kind, seed, number):
    "The random numbers of one input."
    return random.Random(f"{kind} {seed} {number}")


def settle(folder):
    "The surroundings of every input: no network, no data but ours, one thread, everything below `folder`."
    for name in ("CODESIGN_DATA", "CODESIGN_NOTEBOOKS", "CODESIGN_TRACKER"):
        os.environ.pop(name, None)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TOKENIZERS_PARALLELISM="false",
        CODESIGN_STUDIES=str(folder / "studies"),
        CODESIGN_CACHE=str(folder / "cache"),
        HF_HOME=str(folder / "hf"),
    )
    (folder / "here").mkdir(exist_ok=True)
    os.chdir(folder / "here")


def work(kind, folder, seed, numbers, pipe):
    "What a process does: prepares once, then judges one input after the other; a line of JSON before and after each."

    def say(**values):
        pipe.write(json.dumps(values) + "\n")
        pipe.flush()

    silence()
    settle(folder)
    made = import_module(KINDS[kind]).Kind(folder)
    used = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        if Path("/proc/self/statm").is_file()
        else None
    )
    if used:
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    say(ready=True)
    for number in numbers:
        place = folder / "work"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        trial = made.trial(numbers_of(kind, seed, number), place)
        say(number=number, said=trial.said)
        outcome, came, where = outcomes.judge(trial)
        say(number=number, outcome=outcome, came=came, where=where)


def silence():
    "Nothing that a library prints past Python reaches the terminal."
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)


def start(kind, folder, seed, numbers):
    "A process for some inputs of a kind, and the pipe that it answers by."
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as pipe:
            try:
                work(kind, folder, seed, numbers, pipe)
            except BaseException:
                pipe.write(json.dumps(dict(broken=traceback.format_exc())) + "\n")
        os._exit(0)
    os.close(writing)
    return process, os.fdopen(reading, "rb", buffering=0)


def lines_of(pipe, wait, limit):
    "Lines from a pipe as they come, the first within `wait` seconds, others within `limit`; None if none came in time."
    rest = b""
    while True:
        while b"\n" not in rest:
            if not select.select([pipe], [], [], wait)[0]:
                yield None
                return
            piece = pipe.read(1 << 16)
            if not piece:
                return
            rest += piece
        line, _, rest = rest.partition(b"\n")
        yield json.loads(line)
        wait = limit


def run_kind(kind, folder, seed, numbers, limit, report):
    "Judges inputs in as many processes as it takes; `report(number, said, outcome, came, where)` hears of each."
    numbers = list(numbers)
    while numbers:
        place = folder / f"from-{numbers[0]}"
        place.mkdir()
        process, pipe = start(kind, place, seed, numbers)
        try:
            done = listen(kind, pipe, limit, report)
        finally:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            pipe.close()
        if not done:
            raise SystemExit(f"{kind}: the process that makes the fixtures ended")
        numbers = numbers[done:]


def listen(kind, pipe, limit, report):
    "Reports what one process finds until it is through, hangs or ends; how many inputs that were."
    done, begun, said, ready = 0, None, "", False
    for line in lines_of(pipe, FIXTURES, limit):
        if line is None and not ready:
            raise SystemExit(f"{kind}: the fixtures were not made in {FIXTURES} s")
        if line is None:
            report(begun, said, outcomes.HANG, f"nothing within {limit} s", "hang")
            return done + 1
        if "broken" in line:
            raise SystemExit(f"{kind}: the fuzzer itself failed:\n{line['broken']}")
        ready = True
        if "outcome" in line:
            report(line["number"], said, line["outcome"], line["came"], line["where"])
            done, begun = done + 1, None
        elif "said" in line:
            begun, said = line["number"], line["said"]
    if begun is not None:
        report(begun, said, outcomes.TRACEBACK, "the process ended", "the process ended")
    return done + (begun is not None)


def table(counts):
    "Counts by kind and outcome, as text."
    rows = [
        ("", *outcomes.OUTCOMES, "all"),
        *((kind, *(counts[kind][o] for o in outcomes.OUTCOMES), sum(counts[kind].values())) for kind in counts),
    ]
    return "\n".join(
        "".join(f"{value:>15}" if place else f"{value:<13}" for place, value in enumerate(row)) for row in rows
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="inputs, shared equally by the kinds (default 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", default=",".join(KINDS), help=f"some of {','.join(KINDS)}; all unless given")
    parser.add_argument("--number", type=int, help="only this input of one kind, with everything that came of it")
    parser.add_argument(
        "--limit", type=float, default=20, help="seconds after which an input counts as hung (default 20)"
    )
    parser.add_argument("--show", type=int, default=3, help="findings that are printed of each cause (default 3)")
    asked = parser.parse_args()
    kinds = asked.kind.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"unknown kind {', '.join(sorted(unknown))}; valid: {', '.join(KINDS)}")
    if asked.number is not None and len(kinds) > 1:
        parser.error("--number needs --kind with one kind")
    faulthandler.enable()
    counts, causes, began = {kind: Counter() for kind in kinds}, defaultdict(list), time.monotonic()
    for place, kind in enumerate(kinds):
        share = asked.count // len(kinds) + (place < asked.count % len(kinds))
        numbers = [asked.number] if asked.number is not None else range(share)

        def report(number, said, outcome, came, where, kind=kind):
            counts[kind][outcome] += 1
            if outcome in outcomes.WRONG:
                causes[kind, outcome, where].append((number, said, came))
            if asked.number is not None:
                print(f"{said}\n{outcome}\n{came}")

        with tempfile.TemporaryDirectory(prefix="codesign-fuzz-") as folder:
            run_kind(kind, Path(folder).resolve(), asked.seed, numbers, asked.limit, report)
    if asked.number is None:
        show(causes, asked)
    print(f"\n{table(counts)}\n{time.monotonic() - began:.0f} s, seed {asked.seed}")
    sys.exit(1 if causes else 0)


def show(causes, asked):
    "The findings, grouped by cause."
    for (kind, outcome, where), found in sorted(causes.items()):
        print(f"\n{kind}: {outcome}, {where}: {len(found)} inputs")
        for number, said, came in found[: asked.show]:
            last = came.strip().splitlines()[-1] if came.strip() else ""
            again = f"python fuzz/run.py --kind {kind} --seed {asked.seed} --number {number}"
            print(f"  {said[:200]}\n    {last[:200]}\n    again: {again}")


if __name__ == "__main__":
    main()
