"""What `make test` checks: the shape of the notebooks, that modules and notebooks say the same, style, then nbdev_test.

Prints one line per check and, last, "N passed, N failed"; exits 1 if anything failed.
"""

import hashlib
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

root = Path(__file__).resolve().parent.parent
bin_folder = Path(sys.executable).parent
results = {"passed": 0, "failed": 0}


def report(name, problem=None):
    results["failed" if problem else "passed"] += 1
    print(f"{'FAILED' if problem else 'ok'}  {name}{': ' + problem if problem else ''}", flush=True)


def hashes(pattern):
    return {
        p: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.glob(pattern))
        if ".ipynb_checkpoints" not in p.parts
    }


def changed_by(command, pattern):
    before = hashes(pattern)
    done = subprocess.run([str(bin_folder / command)], cwd=root, capture_output=True, text=True)
    if done.returncode:
        return f"{command} failed: {done.stderr.strip().splitlines()[-1:]}"
    after = hashes(pattern)
    different = [str(p.relative_to(root)) for p in after if before.get(p) != after[p]]
    return f"{command} changed {', '.join(different)}: run it and commit the result" if different else None


def parameters_cells(path):
    cells = json.loads(path.read_text())["cells"]
    count = sum("parameters" in c["metadata"].get("tags", []) for c in cells)
    wanted = 1 if path.parent == root / "nbs" and path.stem != "index" else 0  # the index becomes the README
    return None if count == wanted else f"{count} cells tagged parameters, {wanted} wanted"


def forbidden(path):
    text = path.read_text()
    for pattern, what in {
        r"\bpickle\b": "pickle",
        r"allow_pickle=True": "pickle",
        r"weights_only=False": "pickle",
        r"^from \S+ import \*": "a star import",
        r"^\s*(import|from) (nbdev|fastcore)\b": "an import of a development tool",
    }.items():
        if re.search(pattern, text, re.M):
            return what
    return None


def development_tools(path):
    "A run executes a chapter's tests too, where these tools are not installed."
    code = "\n".join(
        "".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"
    )
    found = re.search(r"^\s*(?:from|import) (nbdev|fastcore|execnb)\b", code, re.M)
    return f"it imports {found[1]}, which a run has not" if found else None


def broken_links(path):
    "Links of a text, or of a notebook's prose, to files that are not there."
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n".join("".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown")
    text = re.sub(r"^```.*?^```|`[^`\n]+`", "", text, flags=re.M | re.S)  # code may hold a bracket before a parenthesis
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text)
    missing = sorted({target for target in targets if not (path.parent / target).exists()})
    return f"it links to {', '.join(missing)}" if missing else None


texts = [root / "fuzz" / "README.md", root / "examples" / "README.md"]
for text in (*sorted(root.glob("*.md")), *texts, *sorted(root.glob("examples/*.ipynb"))):
    report(f"links of {text.relative_to(root)}", broken_links(text))
for notebook in sorted(root.glob("nbs/**/*.ipynb")):
    if ".ipynb_checkpoints" in notebook.parts:
        continue
    report(f"links of {notebook.name}", broken_links(notebook))
    report(f"parameters cell of {notebook.name}", parameters_cells(notebook))
    report(f"tools that {notebook.name} needs", development_tools(notebook))
for module in sorted(root.glob("codesign/**/*.py")):
    if module.name != "_modidx.py":
        report(f"imports of {module.relative_to(root)}", forbidden(module))
report("notebooks are clean", changed_by("nbdev_clean", "nbs/**/*.ipynb"))
report("modules are exported", changed_by("nbdev_export", "codesign/**/*.py"))
sys.path.insert(0, str(root / ".ci"))
import floors  # noqa: E402

for claim, breaches in floors.CHECKS.items():
    report(claim, "; ".join(breaches())[:2000] or None)
from side_by_side import side_by_side  # noqa: E402

import docs  # noqa: E402

for claim, faults in docs.CHECKS.items():
    report(claim, "; ".join(faults())[:2000] or None)


def published(folder):
    "What differs between the records of a published study and what stands beside them; else None."
    from codesign.engine.errors import CodesignError
    from codesign.judging.study_records import read_records
    from codesign.results import analyse_study
    from codesign.runs.study_file import arms_of_study, sizes_of_study

    try:
        plan = dict(arms=arms_of_study(folder), planned=sizes_of_study(folder))
        analyses, analysis = analyse_study(read_records(folder), **plan)
        different = [
            *different_texts(folder, analyses, analysis),
            *different_figures(folder, analyses, analysis),
        ]
    except CodesignError as error:
        return str(error)
    if not different:
        return None
    return f"{', '.join(different)} differ from the records: codesign publish --study {folder.name} --again"


def different_texts(folder, analyses, analysis):
    "Tables and captions that do not say what the records say, tables that nobody makes any more, and a missing report."
    from codesign.judging.figures import captions
    from codesign.judging.table_files import write_tables

    with tempfile.TemporaryDirectory() as fresh:
        made = {f"tables/{path.name}": path.read_text() for path in write_tables(analyses, analysis, Path(fresh))}
    made["figures/captions.md"] = captions(analysis)
    for name, text in made.items():
        if not (folder / name).is_file() or (folder / name).read_text() != text:
            yield name
    yield from sorted({f"tables/{path.name}" for path in folder.glob("tables/*")} - set(made))
    if not (folder / "report.html").is_file():
        yield "report.html"


def different_figures(folder, analyses, analysis):
    "Figures that differ in a pixel, and missing PDFs. Pixels, since a file's bytes depend on who compressed it."
    import matplotlib.image

    from codesign.engine.drawing import png
    from codesign.judging.figures import draw, figures_of

    for name in figures_of(analysis):
        kept, pdf = (folder / "figures" / f"{name}.{suffix}" for suffix in ("png", "pdf"))
        made = matplotlib.image.imread(io.BytesIO(png(draw(name, analyses, analysis))))
        pixels = matplotlib.image.imread(kept) if kept.is_file() else None
        if pixels is None or pixels.shape != made.shape or (pixels != made).any():
            yield f"figures/{name}.png"
        if not pdf.is_file():
            yield f"figures/{name}.pdf"


for folder in sorted(root.glob("figures/*/tables")):
    report(f"published numbers of {folder.parent.name} are those of its records", published(folder.parent))


def report_script(*words):
    "Runs a script of .ci, prints what it prints, and counts its lines that begin with ok or FAILED."
    command = [sys.executable, *words]
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if re.match("ok|FAILED", line)]
    print("\n".join(lines), flush=True)
    failed = sum(line.startswith("FAILED") for line in lines)
    results["passed"] += len(lines) - failed
    results["failed"] += failed
    if done.returncode and not failed or not lines:
        report(" ".join(words), f"exit code {done.returncode}: {done.stderr.strip()[-500:]}")


report_script(".ci/readme.py", "--check")
report_script(".ci/snippets.py")
no_triton = importlib.util.find_spec("triton") is None  # as on macOS
WITH_TRITON = ("scan_triton", "decoding_triton")


def tests_of(folder):
    "The command that tests the notebooks of one folder, without the folders in it."
    command = [str(bin_folder / "nbdev_test"), "--n_workers", "0", "--do_print", "--timing", "--path", str(folder)]
    command += ["--skip_folder_re", "."] if folder == root / "nbs" else []
    return command + (["--skip_file_re", f"^({'|'.join(WITH_TRITON)}|[_.])"] if no_triton else [])


def count_tests(folder, code, output):
    "Prints what the tests of a folder printed, and counts passed and failed notebooks."
    print(output, end="", flush=True)
    completed = sum(line.startswith("- Completed") for line in output.splitlines())
    listed = output.partition("nbdev Tests Failed On")[2].splitlines()
    failed = sum(line.startswith("\t") and line.strip().endswith(".ipynb") for line in listed)
    wanted = sum(not (no_triton and path.name.startswith(WITH_TRITON)) for path in folder.glob("*.ipynb"))
    failed = max(failed, wanted - completed, 1 if code else 0)
    results["passed"] += wanted - failed
    results["failed"] += failed


# Each folder gets a process of its own: one process of all notebooks spends minutes on its end, when every notebook's
# shell collects the garbage of all of them. The chapters come first and alone, since one of them measures times.
folders = {path.parent for path in root.glob("nbs/**/*.ipynb") if ".ipynb_checkpoints" not in path.parts}
folders = sorted(folders, key=lambda folder: (folder != root / "nbs", -len(list(folder.glob("*.ipynb")))))
for group in (folders[:1], folders[1:]):
    for name, code, output, _ in side_by_side({str(folder): tests_of(folder) for folder in group}, root):
        count_tests(Path(name), code, output)
print(f"{results['passed']} passed, {results['failed']} failed")
sys.exit(1 if results["failed"] else 0)
