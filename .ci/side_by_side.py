"""Runs commands two at a time, and gives the output of each as a whole when it has ended."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

AT_ONCE = min(2, os.cpu_count() or 1)  # each command computes with one thread


def side_by_side(commands: dict[str, Sequence[str]], folder: Path) -> Iterator[tuple[str, int, str, float]]:
    "Yields name, exit code, output and seconds of each command, as they end; the first commands start first."
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    import torch

    if not torch.cuda.is_available():
        environment["TRITON_INTERPRET"] = "1"  # the Triton kernels are tested in its interpreter

    def run(name):
        began = time.monotonic()
        done = subprocess.run(
            commands[name], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return name, done.returncode, done.stdout, time.monotonic() - began

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for ended in as_completed([pool.submit(run, name) for name in commands]):
            yield ended.result()
