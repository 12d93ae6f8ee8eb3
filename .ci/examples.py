"""Executes every notebook of examples/ from a temporary folder and fails on an error, or where one takes over a minute.

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


def why_failed(notebook, folder):
    "Executes a notebook in a folder, which keeps its outputs; what went wrong, else None."
    client = NotebookClient(
        notebook,
        timeout=2 * LIMIT,
        kernel_manager_class=ThisPython,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(env=environment())
    except CellExecutionError as error:
        last = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()[-1]
        return f"{last[:300]}"
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
        notebook, began = nbformat.read(notebooks[name], 4), time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            why = why_failed(notebook, Path(folder))
        took = time.monotonic() - began
        if not why and write:
            nbformat.write(notebook, notebooks[name])
        if not why and took > LIMIT:
            why = f"it took {took:.0f} s; at most {LIMIT} s are allowed, so use fewer steps or a smaller model"
        failed += bool(why)
        print(f"FAILED {name}: {why}" if why else f"ok {name} ({took:.0f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
