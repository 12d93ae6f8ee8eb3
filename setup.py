"""Packaging: everything is read from settings.ini, the one place it is written down."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=["="])
parser.read(here / "settings.ini", encoding="utf-8")
settings = parser["DEFAULT"]
extras = {name: settings[f"{name}_requirements"].split() for name in ("dev", "grid", "tracking", "gpu")}
extras["wandb"] = [
    needed for needed in extras["tracking"] if needed.startswith("wandb")
]  # the one of them by its own name

setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=settings["author"],
    license=settings["license"],
    url=settings["git_url"],
    keywords=settings["keywords"],
    python_requires=f">={settings['min_python']}",
    packages=find_packages(include=["codesign", "codesign.*"]),
    package_data={"codesign": ["configs/*.yaml", "templates/*", "py.typed"]},
    install_requires=settings["requirements"].split(),
    extras_require=extras,
    entry_points={"console_scripts": settings["console_scripts"].split(), "nbdev": ["codesign=codesign._modidx:d"]},
    zip_safe=False,
)
