"""Which versions of transformers this project works with: each is installed and tried by `transformers_checks.py`.

    python benchmarks/transformers_versions.py --versions 5.21.0 5.24.0 --out transformers_versions.json
    python benchmarks/transformers_versions.py --since 5.0.0              the last release of each 5.N that pip lists
    python benchmarks/transformers_versions.py --source ../transformers   a checkout of the main branch
    python benchmarks/transformers_versions.py --source git+https://github.com/huggingface/transformers
    python benchmarks/transformers_versions.py --here                     what is installed already
    python benchmarks/transformers_versions.py --table transformers_versions.json

Each version is installed into a temporary environment of its own, which takes every other library from the
interpreter that runs this. pip adds what a version needs in another version, and the record says which that was. The
interpreter's own libraries are not changed. It prints a line for each version, then a Markdown table. The exit code is
1 if something broke, or if a version could not be installed.
"""

import argparse
import json
import os
import re
import shutil
import site
import subprocess
import sys
import tempfile
import time
import venv
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "benchmarks" / "transformers_checks.py"
MARKS = {"ok": "ok", "there": "there", "mended": "mended", "broke": "**broke**"}


def run(*command, seconds=1800, **environment):
    "A command in this project's root, with what it printed."
    return subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def last_line(text):
    "The last line that says something."
    return ([line.strip() for line in text.splitlines() if line.strip()] or ["nothing was printed"])[-1]


def newest_of_each(numbers, since):
    "Of releases such as 5.21.1: the last of each major and minor number, from `since` on, in order."
    found = {}
    for number in numbers:
        if re.fullmatch(r"\d+\.\d+\.\d+", number):
            major, minor, patch = map(int, number.split("."))
            if (major, minor, patch) >= since:
                found[major, minor] = max(found.get((major, minor), 0), patch)
    return [f"{major}.{minor}.{patch}" for (major, minor), patch in sorted(found.items())]


def released(since):
    "What pip lists, by `newest_of_each`."
    listed = run(sys.executable, "-m", "pip", "index", "versions", "transformers")
    named = re.search(r"Available versions: (.*)", listed.stdout)
    if not named:
        sys.exit(f"pip cannot list the versions of transformers: {last_line(listed.stderr)}; name them with --versions")
    chosen = newest_of_each(named[1].split(", "), tuple(map(int, since.split("."))))
    return chosen or sys.exit(f"pip lists no release from {since} on")


def borrowing_environment(folder):
    "The interpreter of a new environment that finds the libraries of this one behind its own."
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    own = last_line(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").stdout)
    (Path(own) / "borrowed.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
    return python


def install(python, wanted):
    "Installs one version; what pip said if it could not, else None."
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-conflicts")
    done = run(*pip, wanted if "/" in wanted or os.sep in wanted else f"transformers=={wanted}")
    return last_line(done.stderr) if done.returncode else None


def tried(python, cache):
    "What the checks say about the transformers that an interpreter finds: versions, and a line for each check."
    began = time.perf_counter()
    environment = dict(PYTHONPATH=str(ROOT), CODESIGN_CACHE=str(cache), HF_HUB_OFFLINE="1")
    try:
        done = run(python, PROGRAM, **environment)
    except subprocess.TimeoutExpired:
        return dict(problem="the checks took more than 30 minutes")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    ended = f"the checks ended with code {done.returncode}: {last_line(done.stderr)}"
    if not lines:
        return dict(problem=ended)
    first, *results = lines
    if done.returncode not in (0, 1):  # a crash; what was seen before stays
        results.append(dict(check="the rest", outcome="broke", said=ended))
    return dict(versions=first["versions"], results=results, seconds=round(time.perf_counter() - began, 1))


def label_of(asked):
    "How a version is called in the record: as it was asked for; a checkout by its folder's name and its commit."
    if not asked or not Path(asked).is_dir():
        return asked
    commit = run("git", "-C", asked, "rev-parse", "--short", "HEAD") if shutil.which("git") else None
    return Path(asked).name + (f"@{commit.stdout.strip()}" if commit and not commit.returncode else "")


def name_of(one):
    "Version, and its source where that is no release."
    version = one.get("versions", {}).get("transformers", "")
    return version if one["asked"] == version else f"{one['asked']} {version}".strip()


def is_broken(one):
    return "problem" in one or any(line["outcome"] == "broke" for line in one["results"])


def rows_of(tried_versions, kind):
    "Rows of a table, a check or fault each, and a column for each version."
    names = list(dict.fromkeys(line[kind] for one in tried_versions for line in one["results"] if kind in line))
    for name in names:
        found = [{line[kind]: line["outcome"] for line in one["results"] if kind in line} for one in tried_versions]
        yield [name, *(MARKS.get(outcomes.get(name), "not run") for outcomes in found)]


def table(tried_versions):
    "The Markdown: checks, faults, and what was said where something broke."
    tried_versions = sorted(tried_versions, key=lambda one: [int(part) for part in re.findall(r"\d+", name_of(one))])
    whole = [one for one in tried_versions if "problem" not in one]
    lines = []
    for kind, title in (("check", "check"), ("fault", "fault of transformers")):
        header = [title, *(name_of(one) for one in whole)]
        lines += ["", *("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header)))]
        lines += ["| " + " | ".join(row) + " |" for row in rows_of(whole, kind)]
    said = {}  # the checks of each version, by error
    for one in tried_versions:
        for line in one.get("results", [dict(check="all", outcome="broke", said=one.get("problem"))]):
            if line["outcome"] == "broke":
                checks = said.setdefault(line["said"], {}).setdefault(name_of(one), [])
                checks.append(line.get("check") or line["fault"])
    for error, checks_of in said.items():
        for checks in dict.fromkeys(map(tuple, checks_of.values())):
            names = [name for name, others in checks_of.items() if tuple(others) == checks]
            lines += ["", f"- {', '.join(names)}: {', '.join(checks)}: {error}"]
    return "\n".join(lines).strip()


def all_tried(wanted):
    "Installs and tries versions in turn, None for the one that is there; says a line for each."
    with tempfile.TemporaryDirectory() as folder:
        for number, asked in enumerate(wanted):  # a new environment each: what one needs does not stay for the next
            python = borrowing_environment(Path(folder) / f"venv{number}") if asked else Path(sys.executable)
            problem = install(python, asked) if asked else None
            one = dict(problem=problem) if problem else tried(python, Path(folder) / "cache")
            label = label_of(asked) or one.get("versions", {}).get("transformers")
            one |= dict(asked=label, date=date.today().isoformat())
            broken = [line for line in one.get("results", []) if line["outcome"] == "broke"]
            said = one.get("problem") or f"{len(broken)} of {len(one['results'])} broke in {one['seconds']} s"
            print(f"{name_of(one)}: {said}", flush=True)
            yield one


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--versions", nargs="+", help="releases such as 5.21.0")
    chosen.add_argument("--since", metavar="VERSION", help="the last release of each minor number from this one on")
    chosen.add_argument("--source", help="a folder with a checkout of transformers, or an address that pip can install")
    chosen.add_argument("--here", action="store_true", help="the transformers that is installed; installs nothing")
    chosen.add_argument("--table", metavar="FILE", help="only print the table of a file that --out has written")
    parser.add_argument("--out", type=Path, help="a JSON file; versions that it holds already are kept")
    given = parser.parse_args()
    for number in [*(given.versions or []), *([given.since] if given.since else [])]:
        if not re.fullmatch(r"\d+\.\d+\.\d+\w*", number):
            parser.error(f"{number!r} is no version of transformers; valid: three numbers, such as 5.21.0")
    if given.source and "://" not in given.source:
        if not (Path(given.source) / "pyproject.toml").exists() and not (Path(given.source) / "setup.py").exists():
            parser.error(f"--source {given.source}: a folder with a checkout of transformers has a setup.py")
        given.source = str(Path(given.source).resolve())
    return given


def main():
    given = arguments()
    if given.table:
        return print(table(json.loads(Path(given.table).read_text(encoding="utf-8"))))
    if not given.here and not shutil.which("pip"):
        sys.exit("pip is missing in this environment; install it, or use --here")
    wanted = given.versions or (released(given.since) if given.since else [given.source])
    found = json.loads(given.out.read_text(encoding="utf-8")) if given.out and given.out.exists() else []
    new = []
    for one in all_tried(wanted):  # written after each, so that an interruption loses one version only
        new.append(one)
        found = [other for other in found if other["asked"] != one["asked"]] + [one]
        if given.out:
            given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\n{table(found)}")
    return int(any(map(is_broken, new)))


if __name__ == "__main__":
    sys.exit(main())
