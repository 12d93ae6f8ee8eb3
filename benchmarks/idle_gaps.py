"""Where a run would leave a GPU idle: the longest stretches without an operation on the model.

    python benchmarks/idle_gaps.py
    python benchmarks/idle_gaps.py --data wikitext-2 --tasks mnli --out gaps.json

Makes a baseline, its CSP group and its fine-tuning by the real jobs of chapters 00, 01 and 03, on the CPU and in a
temporary study. An operation counts as the model's if it reads a parameter, or a tensor that follows from one. The time
between two such operations is time in which a GPU would have nothing to do. Its kernels are faster, so on a GPU other
waits shrink and these stay. Forced copies to the CPU (`.item()`) do not show here.

For each job the script prints its share of time without such an operation, and the longest gaps: when, how long, and
what the code did. That is where most samples of the stack, taken every few milliseconds, found it.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

LIMIT_S = 1.0  # a longer gap is a fault
SAMPLE_S = 0.004  # between two samples of the stack
JOBS = (("00_baseline", "M_base"), ("01_csp", "M_csp"), ("03_sgh_peft", "M_sgh"))


def gaps_between(operations, first, last, at_least=0.0):
    "(start, seconds) of the stretches from first to last that no operation (start, end) covers, the longest first."
    gaps, covered = [], first
    for start, end in [*sorted(operations), (last, last)]:
        start, end = min(start, last), min(end, last)
        if start - covered > at_least:
            gaps.append((covered, start - covered))
        covered = max(covered, end)
    return sorted(gaps, key=lambda gap: -gap[1])


class ModelOperations(TorchDispatchMode):
    "Notes start and end of every operation on a parameter, or on a tensor that follows from one."

    def __init__(self):
        super().__init__()
        self.times, self._follows = [], WeakIdKeyDictionary()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        start = time.perf_counter()
        result = operation(*args, **(kwargs or {}))
        if any(self._is_of_model(value) for value in tree_leaves((args, kwargs))):
            for value in tree_leaves(result):
                if isinstance(value, torch.Tensor):
                    self._follows[value] = True
            self.times.append((start, time.perf_counter()))
        return result

    def _is_of_model(self, value):
        return isinstance(value, torch.nn.Parameter) or (isinstance(value, torch.Tensor) and value in self._follows)


def place_in(frame):
    "The function of the package that a frame is in, with its caller and what it called; '' if it is in none."
    frames = []
    while frame:
        frames.append((frame.f_globals.get("__name__", ""), frame.f_code.co_name))
        frame = frame.f_back
    ours = [i for i, (module, _) in enumerate(frames) if module.startswith("codesign.")]
    if not ours:
        return ""
    named = [f"{module.removeprefix('codesign.')}.{function}" for module, function in frames]
    chain = [named[i] for i in reversed(ours[:3])]
    return " > ".join(chain + ([named[0]] if ours[0] else []))


class StackSamples:
    "Samples where the thread that made it is, in a thread of its own."

    def __init__(self):
        self.samples, self._watched, self._ended = [], threading.get_ident(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _watch(self):
        while not self._ended.wait(SAMPLE_S):
            self.samples.append((time.perf_counter(), place_in(sys._current_frames()[self._watched])))

    def mostly_at(self, start, seconds):
        "Where most samples of a stretch found the thread; the next sample where there is none in it."
        inside = Counter(place for moment, place in self.samples if start <= moment <= start + seconds)
        later = (place for moment, place in self.samples if moment > start + seconds)
        return inside.most_common(1)[0][0] if inside else next(later, "")


@contextmanager
def timeline():
    "Yields a dictionary; after the block it holds the seconds, the operations, the idle share and the longest gaps."
    found = {}
    with StackSamples() as stack, ModelOperations() as operations:
        first = time.perf_counter()
        yield found
        last = time.perf_counter()
    gaps = gaps_between(operations.times, first, last)
    found["seconds"], found["operations"] = round(last - first, 3), len(operations.times)
    found["idle_share"] = round(sum(seconds for _, seconds in gaps) / (last - first), 3)
    found["gaps"] = [
        dict(after_s=round(start - first, 3), seconds=round(seconds, 3), doing=stack.mostly_at(start, seconds))
        for start, seconds in gaps[:8]
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="embedded", help="the text (embedded)")
    parser.add_argument("--tasks", nargs="+", default=["sst2"], help="tasks to fine-tune on (sst2)")
    parser.add_argument("--steps", type=int, default=24, help="of pre-training (24)")
    parser.add_argument("--examples", type=int, default=None, help="of a task (the size's own)")
    parser.add_argument("--out", type=Path, help="a JSON record to write")
    options = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the timeline knows when an operation ran, not when a GPU did its work
    from codesign.baseline import pretrain_base
    from codesign.csp import order_and_reduce
    from codesign.runs.making import make
    from codesign.runs.parameters import Parameters
    from codesign.runs.run import environment
    from codesign.sgh_peft import finetune_group

    functions = {"00_baseline": pretrain_base, "01_csp": order_and_reduce, "03_sgh_peft": finetune_group}
    asked = dict(data=options.data, tasks=tuple(options.tasks), steps=options.steps, examples=options.examples)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CODESIGN_STUDIES"] = folder
        for notebook, group in JOBS:
            parameters = Parameters.checked(notebook, group=group, study="idle_gaps", epochs=1, threads=1, **asked)
            with timeline() as found:
                make(notebook, parameters, functions[notebook])
            rows.append(dict(job=f"{notebook}/{group}") | found)
            print(
                f"\n{notebook}/{group}: {found['seconds']:.1f} s, {found['operations']:,} operations of the model, "
                f"{found['idle_share']:.0%} of the time none"
            )
            for gap in found["gaps"]:
                mark = "!" if gap["seconds"] > LIMIT_S else " "
                print(f" {mark} {gap['seconds']:7.3f} s from {gap['after_s']:7.2f} s: {gap['doing']}", flush=True)
    too_long = sum(gap["seconds"] > LIMIT_S for row in rows for gap in row["gaps"])
    print(f"\nidle_gaps: {too_long} gaps longer than {LIMIT_S:g} s")
    if options.out:
        record = dict(options=vars(options) | dict(out=options.out.name), environment=environment(), jobs=rows)
        options.out.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
