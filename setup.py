"""Packaging: everything is read from settings.ini, the one place it is written down.

A wheel carries what `codesign init` lays out: notebooks, Snakefile, grids and published records. They are copied from
the tree when the wheel is built, so there is no second copy of them to maintain.
"""

import json
import re
import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).resolve().parent
parser = ConfigParser(delimiters=["="])
if not parser.read(here / "settings.ini", encoding="utf-8"):
    raise SystemExit("settings.ini is not beside setup.py; build from a clone or from an unpacked sdist")
settings = parser["DEFAULT"]

EXTRAS = ("dev", "docs", "notebooks", "grid", "slurm", "tracking", "gpu", "onnx")
extras = {name: settings[f"{name}_requirements"].split() for name in EXTRAS}
extras["wandb"] = [name for name in extras["tracking"] if name.startswith("wandb")]  # the one of them by its own name
extras["slurm"] += extras["grid"]
extras["dev"] += extras["notebooks"]

# What `codesign init` lays out, as patterns below the root of the tree. Tests that need the whole clone stay there.
LAID_OUT = (
    *("nbs/**/*.ipynb", "papermill_runs/Snakefile", "papermill_runs/grids/*.yaml"),
    *("figures/**/*.json", "figures/**/*.csv", "figures/**/*.md", "figures/**/*.png"),  # shown by chapters
)
LEFT_OUT = ("nbs/tests/", "/.ipynb_checkpoints/")


def without_outputs(notebook: str) -> str:
    "The text of a notebook without outputs: whoever runs it makes them."
    content = json.loads(notebook)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def copy_layout(target: Path) -> None:
    "Copies the files of `LAID_OUT` below `target`."
    shutil.rmtree(target, ignore_errors=True)  # what an earlier build has left
    for path in sorted({path for pattern in LAID_OUT for path in here.glob(pattern)}):
        name = path.relative_to(here).as_posix()
        if any(part in name for part in LEFT_OUT):
            continue
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".ipynb":
            copy.write_text(without_outputs(path.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
        else:
            shutil.copyfile(path, copy)


class BuildWithLayout(build_py):
    "Adds `codesign/layout` to what is built. An editable install has the clone instead."

    def run(self):
        super().run()
        if not self.editable_mode:
            copy_layout(Path(self.build_lib) / "codesign" / "layout")


def absolute_links(text: str) -> str:
    "The README as a package index shows it: links and pictures lead to the repository on the web."

    def address(path):
        kind = "raw" if re.search(r"\.(png|svg|jpg|gif)$", path) else "blob"
        return f"{settings['git_url']}/{kind}/{settings['branch']}/{path}"

    relative = r"(?!https?:|mailto:|#|data:)(?:\./)?([^)\s'\"]+)"
    text = re.sub(rf"(\]\(){relative}", lambda link: link[1] + address(link[2]), text)
    return re.sub(rf"((?:src|href)=['\"]){relative}", lambda link: link[1] + address(link[2]), text)


setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    long_description=absolute_links((here / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    author=settings["author"],
    license=settings["license"],
    url=settings["git_url"],
    keywords=settings["keywords"],
    python_requires=f">={settings['min_python']}",
    packages=find_packages(include=["codesign", "codesign.*"], exclude=["codesign.layout", "codesign.layout.*"]),
    package_data={"codesign": ["configs/*.yaml", "templates/*", "py.typed"]},
    install_requires=settings["requirements"].split(),
    extras_require=extras,
    entry_points={"console_scripts": settings["console_scripts"].split(), "nbdev": ["codesign=codesign._modidx:d"]},
    cmdclass={"build_py": BuildWithLayout},
    zip_safe=False,
)
