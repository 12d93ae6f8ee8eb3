"""The levels of the package: what may import what, and how large a module, a cell and a line may be.

Prints every breach; exits 1 if there is one. `make lint` runs it, `make test` too.
"""

import ast
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# From the lowest level to the highest. A module imports from its own level and from those below it.
LEVELS = {
    "engine": ("engine", "compat"),
    "runs": ("runs",),
    "pillars": ("pillars", "baseline", "csp", "sdm", "sgh_peft", "challenge"),
    "measuring": ("measuring", "profiling", "modes", "compressing", "compress"),
    "judging": ("judging", "results", "peers"),
    "study": ("study", "reproduce"),
}
CHAPTERS = ("baseline", "csp", "sdm", "sgh_peft", "challenge", "profiling", "results")  # 00 to 06
ROOM_LINES, CHAPTER_LINES, CHAPTER_WORDS, CELL_LINES, LINE_LENGTH = 450, 2500, 8000, 40, 120
STORY = re.compile(
    r"\b[MC]_(base|csp|sdm|sgh|full|challenge|random|lora|shuffled|permuted|scratch|uniform|activation)|\b0[0-9]_[a-z]"
)
# Kernels of one piece: splitting one would spread a loop, or a program of the GPU, over several functions.
LONG_CELLS = {
    "5a20c0de": "the Triton sums of a group: one program of the GPU",
    "f0a2c0de": "the Triton forward scan: one program of the GPU",
    "ba5ac0de": "the Triton sums of a group's gradients: one program of the GPU",
    "bac0c0de": "the Triton backward scan: one program of the GPU",
    "827c16f3": "the Triton forward scan of many states: one program of the GPU",
    "34c69c2d": "the Triton update of one token: one program of the GPU",
    "5a10c0de": "the Triton update of one token with heads: one program of the GPU",
    "cf3ff27a": "the Triton backward scan of many states: one program of the GPU",
    "c0a10009": "the Triton convolution: one program of the GPU",
    "69863f99": "the Triton convolution backwards: one program of the GPU",
    "de10c0de": "the Triton input projection of a token: one program of the GPU",
    "de20c0de": "the Triton scan step of a token: one program of the GPU",
}


def level_of(module):
    "The number of a module's level; -1 for the package itself, which every level may import."
    part = module.split(".")[1] if "." in module else None
    found = [number for number, members in enumerate(LEVELS.values()) if part in members]
    return found[0] if found else -1 if part is None else None


def modules():
    "Every module of the package by its dotted name."
    for path in sorted(ROOT.glob("codesign/**/*.py")):
        if path.name != "_modidx.py":
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports_of(module, path):
    "(imported module, names) of every import statement of a module, those inside of functions too."
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            yield ".".join(filter(None, [above, node.module])), [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)


def import_breaches():
    "Imports that point upward, private names that cross modules, circles of modules."
    known, graph = dict(modules()), {}
    for module, path in known.items():
        own = level_of(module)
        if own is None:
            yield f"{module} is on no level; enter it in LEVELS of .ci/floors.py"
            continue
        graph[module] = set()
        for target, names in imports_of(module, path):
            if target.split(".")[0] != "codesign":
                continue
            targets = {f"{target}.{name}" if f"{target}.{name}" in known else target for name in names} or {target}
            graph[module] |= targets - {"codesign"}
            for found in sorted(targets):
                if own >= 0 and (level_of(found) or 0) > own:
                    yield f"{module} imports {found}, which is on a higher level"
            for name in names:
                if name.startswith("_") and not name.startswith("__"):
                    yield f"{module} imports the private name {name} of {target}"
    yield from circles({module: needed for module, needed in graph.items() if module != "codesign"})


def circles(graph):
    "Modules that import each other."
    done = set()

    def follow(module, path):
        if module in path:
            yield f"these modules import each other: {' -> '.join([*path[path.index(module) :], module])}"
        elif module not in done:
            for needed in sorted(graph.get(module, ())):
                yield from follow(needed, [*path, module])
            done.add(module)

    for module in graph:
        yield from follow(module, [])


def story_breaches():
    "Groups and chapters that the engine names."
    for path in sorted(ROOT.glob("codesign/engine/*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if found := STORY.search(line):
                yield f"{path.relative_to(ROOT)}:{number} names {found[0]}, which the engine must not know"


def cells_of(path):
    "(id, kind, text) of a notebook's cells; kind is export, code or markdown."
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        exported = cell["cell_type"] == "code" and re.search(r"^#\|\s*exporti?\b", text, re.M)
        yield cell.get("id"), "export" if exported else cell["cell_type"], text


def only_imports(text):
    "Whether a cell only imports: such a list may be long."
    return all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(text).body)


def notebooks():
    "Every notebook, and its name below nbs."
    for path in sorted(ROOT.glob("nbs/**/*.ipynb")):
        if ".ipynb_checkpoints" not in path.parts:
            yield path.relative_to(ROOT / "nbs").with_suffix("").as_posix(), path


def size_breaches():
    "Modules, cells and lines that are too long, and chapters 00 to 06 together."
    lines, words = 0, 0
    for name, path in notebooks():
        cells = list(cells_of(path))
        exported = sum(len(text.splitlines()) for _, kind, text in cells if kind == "export")
        if exported > ROOM_LINES:
            yield f"{name} exports {exported} lines; at most {ROOM_LINES}: give a part its own notebook"
        if re.match(r"0[0-6]_", name):
            lines += exported
            prose = [word for _, kind, text in cells if kind == "markdown" for word in text.split()]
            words += sum(bool(re.search(r"\w", word)) for word in prose)  # rules of tables are no words
        for key, kind, text in cells:
            length = len(text.splitlines())
            if kind == "export" and length > CELL_LINES and key not in LONG_CELLS and not only_imports(text):
                yield f"{name} #{key} exports {length} lines in one cell; at most {CELL_LINES}"
            for line in text.splitlines() if kind != "markdown" else ():
                if len(line) > LINE_LENGTH:
                    yield f"{name} #{key} has a line of {len(line)} characters; at most {LINE_LENGTH}"
    if lines > CHAPTER_LINES:
        yield f"00 to 06 export {lines:,} lines together; at most {CHAPTER_LINES:,}"
    if words > CHAPTER_WORDS:
        yield f"00 to 06 hold {words:,} words of prose together; at most {CHAPTER_WORDS:,}"


CHECKS = {
    "imports point downward, none is private, none is circular": import_breaches,
    "the engine names no group and no chapter": story_breaches,
    "modules, cells and lines are short": size_breaches,
}

if __name__ == "__main__":
    found = [breach for check in CHECKS.values() for breach in check() if all(part in breach for part in sys.argv[1:])]
    print("\n".join(found) or "the levels hold")
    sys.exit(1 if found else 0)
