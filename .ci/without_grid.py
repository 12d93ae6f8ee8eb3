"""What CI runs where the grid of runs is not supported, such as Windows: the package alone, and notebooks it rests on.

Needs the package with its extra `dev` in the environment of the Python that runs this file. Works in a temporary
folder. Prints one line a check and, last, "N passed, N failed". Exits 1 if anything failed.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

root = Path(__file__).resolve().parent.parent
scripts = Path(sysconfig.get_path("scripts"))

# Left out: what starts jobs, signals other processes or makes links, Triton's kernels, and tests that remove the folder
# of a model that is open, which Windows refuses.
NOTEBOOKS = {
    "engine": (
        "errors files system machine memory timing cached_files text_names statistics optimization training "
        "training_checkpoints evaluation scan_reference scan_backends scan_numba scan_blocks scan_cpu "
        "scan_cpu_backward scan_cpu_convolution decoding_kernels config_fields model_folders"
    ),
    "pillars": "channels certificates counting modelling state_order state_statistics",
    "compressing": "channels measuring planning requests writing",
    "measuring": "flops latency",
}
SMALL_MODEL = """
import torch
from codesign.baseline import config_of
from codesign.engine.corpora import load_corpus
from codesign.engine.tokenization import load_tokenizer
from codesign.runs.settings import load_settings
from transformers import MambaConfig, MambaForCausalLM

settings = load_settings("nano").model
torch.manual_seed(0)
config = MambaConfig(vocab_size=settings.vocab_size, hidden_size=settings.d_model, num_hidden_layers=2)
MambaForCausalLM(config).save_pretrained("small")
load_tokenizer(settings.tokenizer, settings.vocab_size, load_corpus("embedded")).save_pretrained("small")
"""
SMALLER = """
from codesign.baseline import load_model

import torch

model = load_model("smaller")
assert torch.isfinite(model(input_ids=torch.arange(20)[None]).logits).all()
assert sum(model.config.d_inner) < 2 * 128, model.config.d_inner
"""


def commands():
    "What is checked: a line for the reader, and the command."
    program = str(scripts / "codesign")
    python = [sys.executable, "-c"]
    options = "--out smaller --flops 0.8 --calibration-tokens 4096 --iterations 100"
    yield "the package is imported", [*python, "import codesign"]
    yield "codesign --help", [program, "--help"]
    yield "codesign doctor", [program, "doctor"]
    yield "codesign check-setup", [program, "check-setup"]
    yield "a small model of transformers is saved", [*python, SMALL_MODEL]
    yield "codesign compress", [program, "compress", "small", *options.split()]
    yield "the smaller model is opened", [*python, SMALLER]
    for folder, names in NOTEBOOKS.items():
        for name in names.split():
            notebook = root / "nbs" / folder / f"{name}.ipynb"
            yield f"{folder}/{name}", [str(scripts / "nbdev_test"), "--n_workers", "0", "--path", str(notebook)]


def checked(command, folder):
    "Whether a command ends well. What it said is printed if it does not."
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"), "HF_HUB_OFFLINE": "1"}
    environment |= {"CODESIGN_CACHE": str(folder / "cache")}
    where = root if "nbdev_test" in command[0] else folder  # nbdev looks for settings.ini
    options = dict(cwd=where, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    done = subprocess.run(command, text=True, encoding="utf-8", errors="replace", **options)
    if done.returncode:
        print(done.stdout, end="", flush=True)
    return done.returncode == 0


def main():
    missing = [n for folder, names in NOTEBOOKS.items() for n in names.split() if not _notebook(folder, n).is_file()]
    if missing:
        sys.exit(f"these notebooks are not in nbs: {', '.join(missing)}; correct NOTEBOOKS in {Path(__file__).name}")
    passed, failed = 0, 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows keeps files that are mapped
        for name, command in commands():
            began = time.monotonic()
            well = checked(command, Path(folder))
            passed, failed = passed + well, failed + (not well)
            print(f"{'ok    ' if well else 'FAILED'}  {name}, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def _notebook(folder, name):
    return root / "nbs" / folder / f"{name}.ipynb"


if __name__ == "__main__":
    main()
