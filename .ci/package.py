"""What CI runs to check the packages: sdist and wheel are built, installed, and used from an empty folder.

The wheel goes into a new environment that borrows the libraries of this one, so nothing is downloaded; the tools of
development cannot be imported there. Prints "ok name" or "FAILED name: why" for each check; exits 1 if one fails.
"""

import ast
import email
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

root = Path(__file__).resolve().parent.parent
parser = ConfigParser(delimiters=["="])
parser.read(root / "settings.ini", encoding="utf-8")
settings = parser["DEFAULT"]
windows = os.name == "nt"
failed = []

TINY_MAMBA = """
import sys, torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import MambaConfig, MambaForCausalLM, PreTrainedTokenizerFast
torch.manual_seed(0)
letters = {chr(code): place for place, code in enumerate(range(32, 127))}
tokenizer = Tokenizer(models.WordLevel(letters, unk_token=" "))
tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
config = MambaConfig(vocab_size=128, hidden_size=64, num_hidden_layers=2, state_size=8, time_step_rank=4)
MambaForCausalLM(config).save_pretrained(sys.argv[1])
tokenizer.save_pretrained(sys.argv[1])
"""
WITHOUT_TOOLS = """
import sys
sys.modules.update(dict.fromkeys(["nbdev", "fastcore", "execnb", "ghapi", "fastgit"]))  # importing one fails
"""


def check(name, problem=None):
    "Prints a line for a check, and remembers it if there is a problem."
    print(f"FAILED {name}: {problem}" if problem else f"ok {name}", flush=True)
    if problem:
        failed.append(name)


def run(*command, cwd, **more):
    "Runs a command; returns its exit code and all that it printed."
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean_environment() | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout


def clean_environment():
    "The environment without what would lead a command back to the clone."
    ours = ("PYTHONPATH", "CODESIGN_NOTEBOOKS", "CODESIGN_STUDIES", "CODESIGN_DATA")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


def why(code, said):
    "A problem in one line, or None if the command ended well."
    last = [line for line in said.splitlines() if line.strip()][-1:]
    return f"exit code {code}, {''.join(last)[:300]}" if code else None


def copy_of_tree(target):
    "The files of the clone that git does not ignore; a build leaves its traces in the copy."
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=root, capture_output=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target / name)
    return target


def build(place):
    "Builds the sdist, a wheel from it, and a wheel from the tree; returns their paths."
    tree = copy_of_tree(place / "copy")
    build_it = (sys.executable, "-m", "build", "--no-isolation", "--outdir")
    check("sdist and a wheel from it are built", why(*run(*build_it, place / "sdist", tree, cwd=place)))
    check("a wheel is built from the tree", why(*run(*build_it, place / "tree", "--wheel", tree, cwd=place)))
    found = [*(place / "sdist").glob("*.tar.gz"), *(place / "sdist").glob("*.whl"), *(place / "tree").glob("*.whl")]
    if len(found) != 3:
        sys.exit(1)
    return found


def contents(wheel):
    "sha256 of every file in a wheel, by name; RECORD lists the others."
    with zipfile.ZipFile(wheel) as archive:
        return {
            name: hashlib.sha256(archive.read(name)).hexdigest()
            for name in archive.namelist()
            if not name.endswith("/RECORD")
        }


def compare_wheels(from_sdist, from_tree):
    "Whether both wheels hold the same, and all that the tree has."
    one, other = contents(from_sdist), contents(from_tree)
    different = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    check("the sdist's wheel is the tree's", f"they differ in {', '.join(different[:5])}" if different else None)
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True).stdout.splitlines()
    wanted = [name for name in tracked if name.startswith("codesign/")]
    wanted += [
        f"codesign/layout/{name}"
        for name in tracked
        if re.fullmatch(r"nbs/(?!tests/).*\.ipynb|papermill_runs/.*|figures/.*\.(json|csv|md|png)", name)
    ]
    missing = sorted(set(wanted) - set(one))
    check("the wheel holds every module, notebook and record", f"it lacks {', '.join(missing)}" if missing else None)
    extra = sorted(name for name in one if re.search(r"\.(pyc|ipynb_checkpoints)|/tests?/", name))
    check("the wheel holds nothing else", f"it has {', '.join(extra)}" if extra else None)


def check_description(wheel):
    "What a package index shows: no link into a folder that is not there."
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    text = metadata.get_payload(decode=True).decode()
    relative = re.findall(r"\]\((?!https?:|mailto:|#)([^)]*)\)|(?:src|href)=['\"](?!https?:|mailto:|#)([^'\"]*)", text)
    shown = ", ".join(one or other for one, other in relative[:5])
    check("links and pictures of the description lead to the web", f"not {shown}" if relative else None)
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    wrong = [link for link in pictures if not (root / link.split(f"/raw/{settings['branch']}/")[-1]).is_file()]
    check("pictures of the description are in the tree", f"not {', '.join(wrong)}" if wrong else None)
    return set(metadata.get_all("Provides-Extra", []))


def undeclared_imports():
    "Packages that modules import at their top level and that no requirement names."
    owners, needed = packages_distributions(), set()
    for path in root.glob("codesign/**/*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                needed |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                needed.add(node.module.split(".")[0])
    declared = {
        re.match(r"[\w.-]+", one)[0].lower().replace("_", "-")
        for key in ("requirements", "grid_requirements", "tracking_requirements", "gpu_requirements")
        for one in settings[key].split()
    } | {"llvmlite", "triton"}  # exactly the one that numba, and a CUDA build of torch, asks for
    for name in sorted(needed - set(sys.stdlib_module_names) - {"codesign"}):
        if not {owner.lower().replace("_", "-") for owner in owners.get(name, [name])} & declared:
            yield name


def new_environment(place, wheel):
    "An environment with the wheel, which borrows the libraries of this one; returns its folder of programs."
    venv.create(place / "venv", with_pip=False)
    programs = place / "venv" / ("Scripts" if windows else "bin")
    python = programs / ("python.exe" if windows else "python")
    code, said = run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=place)
    site = Path(said.strip())
    target = ("--python", python) if not windows else ("--target", site)
    pip = (sys.executable, "-m", "pip", *target, "install", "--no-deps", "--no-index", "--quiet", wheel)
    check("the wheel installs", why(*run(*pip, cwd=place)))
    borrowed = [folder for folder in sys.path if folder.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")
    (site / "sitecustomize.py").write_text(WITHOUT_TOOLS, encoding="utf-8")
    # .pth files of an editable install are not read in borrowed folders, so the clone stays out of sight
    code, said = run(python, "-c", "import codesign; print(codesign.__file__)", cwd=place)
    here = site.resolve() in Path(said.strip()).resolve().parents
    check("the new environment has its own codesign", None if here else f"it imports {said.strip()}")
    return programs


def tool(programs, name):
    "A program of the new environment."
    return programs / (f"{name}.exe" if windows else name)


def use(programs, place):
    "The commands that need no clone, from an empty folder; then `init`, and what it lays out."
    empty = place / "empty"
    empty.mkdir()
    codesign, python = tool(programs, "codesign"), tool(programs, "python")
    checked = {
        "--version": f"codesign {settings['version']}",
        "doctor": "`codesign init FOLDER` lays them out",
        "check-setup": "4 passed, 0 failed",
        "data list": "embedded",
    }
    for words, wanted in checked.items():
        code, said = run(codesign, *words.split(), cwd=empty)
        check(f"codesign {words}", why(code, said) or (None if wanted in said else f"no {wanted!r} in {said[-300:]!r}"))
    code, said = run(python, "-c", TINY_MAMBA, empty / "tiny", cwd=empty)
    check("transformers saves a tiny Mamba", why(code, said))
    compress = "compress tiny --out smaller --calibration-tokens 512 --length 64 --profile-length 32 --multiple 4"
    code, said = run(codesign, *compress.split(), cwd=empty)
    check(
        "codesign compress", why(code, said) or (None if (empty / "smaller/compress.json").is_file() else said[-300:])
    )
    profile = "profile --size nano --group ./tiny --against ./smaller"
    code, said = run(codesign, *profile.split(), cwd=empty)
    check("codesign profile of folders", why(code, said))
    for words in ("reproduce --size nano", "pretrain --size nano", "results --study x", "validate --study x"):
        code, said = run(codesign, *words.split(), cwd=empty)
        told = code == 2 and said.count("\n") == 1 and "codesign init" in said
        check(f"codesign {words.split()[0]} names init where there is nothing", None if told else said[-300:])
    lay_out(codesign, python, empty)


def lay_out(codesign, python, empty):
    "`codesign init`, and a study that it is ready for; `--dry-run` shows the runs without making them."
    code, said = run(codesign, "init", "laid", cwd=empty)
    check("codesign init", why(code, said))
    code, said = run(codesign, "init", "laid", cwd=empty)
    check("codesign init overwrites nothing", None if code == 2 and said.count("\n") == 1 else said[-300:])
    laid = empty / "laid"
    code, said = run(codesign, "reproduce", "--size", "nano", "--dry-run", cwd=laid)
    check("codesign reproduce --dry-run, laid out", why(code, said) or (None if " to make" in said else said[-300:]))
    code, said = run(codesign, "doctor", cwd=laid)
    shown = f"notebooks   {laid.resolve() / 'nbs'}\n" in said
    check("codesign doctor finds the notebooks", None if shown else said[-600:])
    code, said = run(codesign, "results", "--study", "preregistered", "--trace", "ppl_word.M_full", cwd=laid)
    check("codesign results traces a published number, laid out", why(code, said))
    code, said = run(codesign, *"pretrain --size nano --steps 20 --study x".split(), cwd=laid)
    made = laid / "papermill_runs/x/runs/00_baseline/nano-s42-M_base/record.json"
    check("codesign pretrain makes a run, laid out", why(code, said) or (None if made.is_file() else said[-300:]))


with tempfile.TemporaryDirectory() as folder:
    workplace = Path(folder).resolve()
    sdist, wheel_of_sdist, wheel_of_tree = build(workplace)
    compare_wheels(wheel_of_sdist, wheel_of_tree)
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    missing = {"settings.ini", "README.md", "LICENSE", "constraints.txt"} - names
    check("the sdist holds what it is built from", f"it lacks {', '.join(sorted(missing))}" if missing else None)
    extras = check_description(wheel_of_sdist)
    wanted = {"dev", "docs", "gpu", "grid", "notebooks", "slurm", "tracking", "wandb"}
    check("extras are declared", f"not {', '.join(sorted(wanted - extras))}" if wanted - extras else None)
    undeclared = list(undeclared_imports())
    check("what modules import is required", f"not {', '.join(undeclared)}" if undeclared else None)
    use(new_environment(workplace, wheel_of_sdist), workplace)
print(f"{len(failed)} failed" if failed else "the packages work")
sys.exit(1 if failed else 0)
