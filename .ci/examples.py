"""Executes every notebook of examples/ from a temporary folder and fails on an error, or where one takes over a minute.

Time for which other programs held the processor does not count: the limit is for the smaller of the time on the clock
and the processor time of the notebook and what it starts.

Prints `ok NAME` or `FAILED NAME: why` for each; exits 1 if one failed. Names on the command line choose notebooks;
`--write` also puts the outputs into them.
"""

import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 60  # seconds of a notebook
WIDEST_WAIT = 10 * LIMIT  # seconds on the clock of one cell, on a machine that is busy with other work


class ThisPython(AsyncKernelManager):
    "Starts kernels with this interpreter, whatever kernels are installed for the user."

    @property
    def kernel_spec(self):
        command = [sys.executable, "-m", "ipykernel_launcher", "--log-level=40", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="this Python", language="python")


def environment():
    "Offline, and with the package of this repository in the kernel and in the programs that it starts."
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }


def clocks():
    "Seconds on the clock, and of processor time of the programs that were started and have ended."
    times = os.times()
    return time.monotonic(), times.children_user + times.children_system


def seconds_between(before, after):
    "The smaller of both times; that on the clock where the system does not count processor time of programs."
    clock, processor = (now - then for now, then in zip(after, before, strict=True))
    return min(clock, processor) if processor else clock


def why_failed(notebook, folder):
    "Executes a notebook in a folder, which keeps its outputs; what went wrong, else None."
    client = NotebookClient(
        notebook,
        timeout=WIDEST_WAIT,
        kernel_manager_class=ThisPython,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(env=environment())
    except CellExecutionError as error:
        last = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()[-1]
        return last[:300]
    except (CellTimeoutError, DeadKernelError) as error:
        return " ".join(str(error).split())[:300]
    return None


def main(arguments):
    write, chosen = "--write" in arguments, [name for name in arguments if name != "--write"]
    notebooks = {path.stem: path for path in sorted((ROOT / "examples").glob("*.ipynb"))}
    unknown = [name for name in chosen if name not in notebooks]
    if unknown or not notebooks:
        sys.exit(f"examples/ has no {', '.join(unknown) or 'notebook'}; valid: {', '.join(notebooks)}")
    failed = 0
    for name in chosen or notebooks:
        notebook, before = nbformat.read(notebooks[name], 4), clocks()
        with tempfile.TemporaryDirectory() as folder:
            why = why_failed(notebook, Path(folder))
        took = seconds_between(before, clocks())
        if not why and write:
            nbformat.write(notebook, notebooks[name])
        if not why and took > LIMIT:
            why = f"it took {took:.0f} s; at most {LIMIT} s are allowed, so use fewer steps or a smaller model"
        failed += bool(why)
        print(f"FAILED {name}: {why}" if why else f"ok {name} ({took:.0f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
