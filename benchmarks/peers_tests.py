"""The test files of mamba-ssm and causal-conv1d, run on `codesign.compat.mamba_ssm`.

    pip install pytest einops
    git clone https://github.com/state-spaces/mamba
    git clone https://github.com/Dao-AILab/causal-conv1d
    python benchmarks/peers_tests.py --tests mamba causal-conv1d --sample 20
    python benchmarks/peers_tests.py --tests mamba --file test_selective_state_update.py

A test file is copied to a temporary folder, where 'cuda' becomes the device; nothing else in it changes. Its imports
of the original find the functions of this package. Those whose names end in `_ref` are the peer's own, read from its
checkout, so they are no part of what is tested; --references ours takes those of `codesign.compat.references` instead.
It prints one JSON object for each file: its checkout's commit, and for each test function how many of its parameter
sets were collected, run, passed, failed and skipped. It ends with exit code 1 if one failed, or if none ran.
"""

import argparse
import ast
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

FILES = {
    "test_selective_scan.py": "tests/ops/test_selective_scan.py",
    "test_selective_state_update.py": "tests/ops/triton/test_selective_state_update.py",
    "test_causal_conv1d.py": "tests/test_causal_conv1d.py",
}
REFERENCES = {
    "mamba_ssm.ops.selective_scan_interface": "mamba_ssm/ops/selective_scan_interface.py",
    "mamba_ssm.ops.triton.selective_state_update": "mamba_ssm/ops/triton/selective_state_update.py",
    "causal_conv1d.causal_conv1d_interface": "causal_conv1d/causal_conv1d_interface.py",
    "causal_conv1d.causal_conv1d_varlen": "causal_conv1d/causal_conv1d_varlen.py",
}  # modules of the originals, and where a checkout has them


def take_their_references(checkout: Path) -> list[str]:
    "Put the peer's own functions that end in _ref into the modules that stand in for it; the rest is not run."
    import torch
    import torch.nn.functional as F
    from einops import rearrange, repeat

    taken = []
    for name, place in REFERENCES.items():
        if not (checkout / place).is_file():
            continue
        module, tree = sys.modules[name], ast.parse((checkout / place).read_text(encoding="utf-8"))
        tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.endswith("_ref")]
        functions = {k: v for k, v in vars(module).items() if callable(v)}
        known = dict(torch=torch, Tensor=torch.Tensor, F=F, rearrange=rearrange, repeat=repeat, **functions)
        # the reference of a mixer calls the other package's convolution
        known["causal_conv1d_fn"] = sys.modules["causal_conv1d"].causal_conv1d_fn
        exec(compile(tree, str(checkout / place), "exec"), known)  # noqa: S102 the file that the caller names
        for node in tree.body:
            setattr(module, node.name, known[node.name])
            taken.append(node.name)
    return taken


class Counts:
    "A plugin of pytest: takes a sample of each function's parameter sets, and counts what becomes of them."

    def __init__(self, sample: int, seed: int):
        self.sample, self.seed, self.found = sample, seed, defaultdict(Counter)

    def pytest_collection_modifyitems(self, items):
        of_function = defaultdict(list)
        for item in items:
            of_function[item.originalname].append(item)
        chosen = set()
        for name, own in of_function.items():
            self.found[name]["collected"] = len(own)
            order = random.Random(f"{self.seed} {name}").sample(own, len(own))
            chosen |= set(order[: self.sample] if self.sample else order)
        items[:] = [item for item in items if item in chosen]

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or (report.when == "setup" and not report.passed):
            name = report.location[2].partition("[")[0]
            self.found[name][report.outcome] += 1
            if report.failed:
                print(f"failed: {report.location[2]}: {str(report.longrepr).splitlines()[-1]}", file=sys.stderr)


def commit_of(checkout: Path) -> str | None:
    "The commit of a checkout; None for a folder that is no repository."
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 and (checkout / ".git").exists() else None


def version_of(checkout: Path) -> str | None:
    "The version that the package of a checkout names."
    for package in ("mamba_ssm", "causal_conv1d"):
        if (checkout / package / "__init__.py").is_file():
            text = (checkout / package / "__init__.py").read_text(encoding="utf-8")
            found = re.search(r'__version__ = "([^"]+)"', text)
            return f"{package} {found[1] if found else 'unknown'}"
    return None


def run_file(path: Path, arguments: argparse.Namespace) -> dict[str, Counter]:
    "Run one test file; what became of its tests, by function."
    import pytest

    text = path.read_text(encoding="utf-8")
    text = re.sub(r"""(["'])cuda\1""", f'"{arguments.device}"', text)
    counts = Counts(arguments.sample, arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_text(text, encoding="utf-8")
        options = ["-q", "-x"] if arguments.stop else ["-q"]
        options += ["-k", arguments.keyword] if arguments.keyword else []
        quiet = ["-p", "no:cacheprovider", "--tb=line", "--no-header", "--no-summary", "-W", "ignore"]
        pytest.main([str(copy), f"--rootdir={folder}", *options, *quiet], plugins=[counts])
    return counts.found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", nargs="+", type=Path, required=True, help="checkouts of the peers")
    parser.add_argument("--file", choices=FILES, help="only this test file")
    parser.add_argument("--sample", type=int, default=0, help="parameter sets of each test function; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--keyword", help="pytest's -k: which tests to collect")
    parser.add_argument("--device", default="cpu", help="in place of 'cuda'")
    parser.add_argument("--references", choices=("theirs", "ours"), default="theirs", help="functions ending in _ref")
    parser.add_argument("--stop", action="store_true", help="end at the first failure")
    arguments = parser.parse_args()

    from codesign.compat.mamba_ssm import stand_in

    stand_in()
    failed, ran = 0, 0
    for checkout in arguments.tests:
        paths = {name: checkout / place for name, place in FILES.items() if (checkout / place).is_file()}
        if not paths:
            parser.error(
                f"{checkout} has none of {', '.join(FILES.values())}; give a checkout of mamba or causal-conv1d"
            )
        taken = take_their_references(checkout) if arguments.references == "theirs" else []
        for name, path in paths.items():
            if arguments.file not in (None, name):
                continue
            start = time.perf_counter()
            found = run_file(path, arguments)
            total = sum(found.values(), Counter())
            failed, ran = failed + total["failed"], ran + total["passed"] + total["failed"]
            line = dict(file=name, package=version_of(checkout), commit=commit_of(checkout), device=arguments.device)
            line |= dict(sample=arguments.sample, seed=arguments.seed, keyword=arguments.keyword, references=taken)
            line |= dict(total=total, functions=found, seconds=round(time.perf_counter() - start))
            print(json.dumps(line), flush=True)
    return 0 if ran and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
