"""Makes README.md from nbs/index.ipynb, or checks that it is what the notebook and the records say.

`python .ci/readme.py` executes the notebook in place and writes README.md. With `--check` it executes a copy, compares,
and counts the words of prose. Cells tagged `hide-cell` are left out; of a cell tagged `hide-input` only the
output is shown, of one tagged `hide-output` only the code.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from traitlets.config import Config

root = Path(__file__).resolve().parent.parent
notebook, readme = root / "nbs" / "index.ipynb", root / "README.md"
MOST_WORDS = 900


def executed():
    "The notebook with fresh outputs."
    nb = nbformat.read(notebook, 4)
    NotebookClient(
        nb, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(notebook.parent)}}
    ).execute()
    return nb


def as_markdown(nb):
    "The text of README.md."
    nb.metadata["language_info"] = {"name": "python"}  # nbdev_clean removes it; the exporter names code blocks after it
    tags = dict(
        remove_cell_tags={"hide-cell"}, remove_input_tags={"hide-input"}, remove_all_outputs_tags={"hide-output"}
    )
    text, _ = MarkdownExporter(config=Config(TagRemovePreprocessor=dict(enabled=True, **tags))).from_notebook_node(nb)
    text = re.sub(r"\]\(((?!\w+:)[\w/]+\.ipynb)", r"](nbs/\1", text)  # links of a notebook in nbs/, from the root
    text = re.sub(r"(\]\(|src=['\"])\.\./", r"\1", text)
    text = "\n".join(line.rstrip() for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def prose(text):
    "The words that a reader reads: without code, tables, pictures, comments, and the part made from records."
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    text = re.sub(r"<!-- results of .*?<!-- end of results -->", "", text, flags=re.S)
    text = re.sub(r"^\|.*$|^!?\[?!\[[^\]]*\]\([^)]*\)$|<[^>]*>", "", text, flags=re.M)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.findall(r"\S*\w\S*", text)


def problem():
    "What is wrong with README.md; None if nothing is."
    if as_markdown(executed()) != readme.read_text(encoding="utf-8"):
        return "it is not what nbs/index.ipynb and the records say now: run make readme and commit the result"
    words = len(prose(readme.read_text(encoding="utf-8")))
    return f"it has {words} words of prose, {MOST_WORDS} allowed" if words > MOST_WORDS else None


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if "--check" in sys.argv:
        found = problem()
        print(f"FAILED  README.md: {found}" if found else "ok  README.md")
        sys.exit(bool(found))
    nb = executed()
    nb.metadata.pop("widgets", None)
    for cell in nb.cells:
        if {"hide-cell", "hide-output"} & set(cell.metadata.get("tags", [])):
            cell.outputs = []
    nbformat.write(nb, notebook)
    subprocess.run([str(Path(sys.executable).parent / "nbdev_clean"), "--fname", str(notebook)], check=True, cwd=root)
    text = as_markdown(nbformat.read(notebook, 4))
    readme.write_text(text, encoding="utf-8")
    print(f"README.md: {len(prose(text))} words of prose")
