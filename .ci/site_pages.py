"""Hook of mkdocs: the pages of the docs site that are made from README, notebooks, modules and the command line.

Every page is written with links to files of the repository. Here they become links to pages of the site, or to the
repository where the site has no such page. Nothing is executed but the command line's own description of itself.
"""

import ast
import base64
import configparser
import html
import json
import posixpath
import re
import sys
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / ".ci")]

import floors  # noqa: E402

CODE = re.compile(r"(^ *(?P<fence>```+|~~~+).*?^ *(?P=fence)[`~]*[ \t]*$|`[^`\n]+`)", re.M | re.S)
MARKDOWN_LINK = re.compile(r"(\]\(\s*)(?!https?:|mailto:|#|data:)([^)\s]+)")
HTML_LINK = re.compile(r"((?:src|href)=)(['\"])(?!https?:|mailto:|#|data:)([^'\"]+)\2")
OUTSIDE_PICTURE = re.compile(r"!\[([^\]]*)\]\(https?://[^)]+\)|<img\b[^>]*src=['\"]https?://[^>]*?>")
LIST_ITEM = re.compile(r"^ {0,3}(?:[-*+]|\d+[.)]) ")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)
# The search finds names by the reference and subjects by prose: source code would make its index five times as large.
NOT_SEARCHED = (
    '<details class="mkdocstrings-source"',
    '<div class="highlight"',
    '<div class="output highlight"',
    '<div class="output-table"',
)
LEVELS = {
    "study": "The grid of runs, the driver, validation, the command line.",
    "judging": "Measures, verdicts, tables, figures, report.",
    "measuring": "Profiles, and the compression of a checkpoint.",
    "pillars": "The model, CSP, SDM, SGH-PEFT, the magnitude-pruned baseline.",
    "runs": "Parameters, settings, the graph of runs, records, locks.",
    "engine": "Scan, decoding, training, text, timing, memory, statistics, drawing; names of mamba-ssm.",
}
MARK = re.compile(r"^<!-- (\w+) -->$", re.M)


# ------------------------------------------------------------------------------------------------- the repository


def settings():
    parser = configparser.ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


def repository_url(path):
    "Address of a file or folder of the repository."
    kind = "tree" if (ROOT / path).is_dir() else "blob"
    return f"{settings()['git_url']}/{kind}/{settings()['branch']}/{path}"


def notebooks():
    "Every notebook that is a page, by its path in the repository."
    found = [*sorted(ROOT.glob("nbs/**/*.ipynb")), *sorted(ROOT.glob("examples/*.ipynb"))]
    paths = [path.relative_to(ROOT).as_posix() for path in found if ".ipynb_checkpoints" not in path.parts]
    return [path for path in paths if path != "nbs/index.ipynb"]


def modules():
    "Every module with an `__all__`: its dotted name, its path and its syntax tree."
    for name, path in floors.modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if public_names(tree):
            yield name, path.relative_to(ROOT).as_posix(), tree


def public_names(tree):
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", None) == "__all__" for target in node.targets):
            return ast.literal_eval(node.value)
    return []


def definitions(tree):
    "The statement that defines a name of a module, by name."
    found = {}
    for node in tree.body:
        for name in defined_names(node):
            found[name] = node
    return found


def defined_names(node):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    names = [sub for target in targets for sub in ast.walk(target)]
    return [name.id for name in names if isinstance(name, ast.Name)]


def exported_again(name, path, tree):
    "Where a public name that a module only imports is imported from, by name."
    package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            found |= {alias.asname or alias.name: ".".join(filter(None, [above, node.module])) for alias in node.names}
    own = definitions(tree)
    return {public: found.get(public) for public in public_names(tree) if public not in own}


def defining_module(public, module, trees):
    "The module that defines a name, however often it was exported again; None if it cannot be found."
    while module in trees:
        path, tree = trees[module]
        if public in definitions(tree):
            return module
        module = exported_again(module, path, tree).get(public)
    return None


# ------------------------------------------------------------------------------------------------- links


def page_of(path):
    "The page of the site that stands for a file of the repository, or None."
    if path in ("README.md", "nbs/index.ipynb"):
        return "index.md"
    if path in ("CONTRIBUTING.md", "CHANGELOG.md"):
        return path.lower()
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith(("nbs/", "examples/")) and path.endswith((".ipynb", ".png")):
        page = path.removesuffix(".ipynb") + ".md" if path.endswith(".ipynb") else path
        return "notebooks/" + page.removeprefix("nbs/") if path.startswith("nbs/") else page
    if path.startswith("codesign/") and path.endswith(".py") and not path.endswith("__init__.py"):
        return "reference/api/" + path[9:-3] + ".md"
    return path if path in published_files() else None


@cache
def published_files():
    "Files of figures/: pictures, reports, and the records that these link to. Markdown would become pages."
    found = [path for path in ROOT.glob("figures/**/*") if path.is_file() and path.suffix != ".md"]
    return {path.relative_to(ROOT).as_posix() for path in found}


def target_of(link, source, page, known):
    "A link in a file of the repository as a link on a page of the site."
    path, hash_, anchor = link.partition("#")
    repository_path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    found = page_of(repository_path)
    if found is None or known is not None and found not in known:
        return repository_url(repository_path) + hash_ + anchor
    return posixpath.relpath(found, posixpath.dirname(page) or ".") + hash_ + anchor


def for_the_site(text, source, page, known=None):
    "Markdown of a file of the repository as Markdown of a page: links, pictures from elsewhere, lists."

    def outside_code(piece):
        piece = re.sub(r"<(details|div)(?![^>]*markdown=)(?=[ >])", r'<\1 markdown="1"', piece)
        piece = OUTSIDE_PICTURE.sub(lambda found: found[1] or _alt(found[0]), piece)
        piece = MARKDOWN_LINK.sub(lambda found: found[1] + target_of(found[2], source, page, known), piece)
        return HTML_LINK.sub(
            lambda found: f"{found[1]}{found[2]}{_as_html(target_of(found[3], source, page, known))}{found[2]}", piece
        )

    return apart_from_code(separate_lists(text), outside_code)


def apart_from_code(text, change):
    "The text with `change` made to everything that is not code."
    pieces, last = [], 0
    for found in CODE.finditer(text):
        pieces += [change(text[last : found.start()]), found[0]]
        last = found.end()
    return "".join([*pieces, change(text[last:])])


def _alt(tag):
    found = re.search(r"alt=['\"]([^'\"]*)", tag)
    return found[1] if found else ""


def _as_html(link):
    return re.sub(r"\.md(?=#|$)", ".html", link)


def separate_lists(text):
    "An empty line before a list that follows a paragraph, which Markdown on GitHub does not need and mkdocs does."
    lines, fenced, before = [], False, ""
    for line in text.split("\n"):
        if re.match(r" *(```|~~~)", line):
            fenced = not fenced
        starts = LIST_ITEM.match(line) and not fenced and before.strip()
        if starts and not LIST_ITEM.match(before) and not before.startswith(" "):
            lines.append("")
        lines.append(line)
        before = line
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------- notebooks


def cells_of(path):
    cells = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]
    return [(cell["cell_type"], "".join(cell["source"]), cell.get("outputs", [])) for cell in cells]


def title_of(path):
    "The heading of a notebook; that of a chapter with its number."
    heading = re.search(r"^# (.+)$", cells_of(path)[0][1], re.M)
    number = re.match(r"(?:nbs|examples)/(\d\d)_", path)
    return f"{number[1] + ' ' if number else ''}{heading[1] if heading else Path(path).stem}"


def subtitle_of(path):
    found = re.search(r"^> (.+)$", cells_of(path)[0][1], re.M)
    return found[1] if found else ""


def notebook_page(path):
    "The Markdown of a notebook, and its pictures by name."
    parts, files, imports = [], {}, []
    for kind, text, outputs in cells_of(path):
        code = code_of(text) if kind == "code" else ""
        if imports_only(code):
            imports.append(code)
            continue
        if imports and (code or kind == "markdown"):
            parts.append(folded(imports))
            imports = []
        if kind == "markdown":
            parts.append(text)
        elif code:
            parts += [fenced(code, "python"), *(shown(output, Path(path).stem, files) for output in outputs)]
    parts.insert(1, origin(path))
    return "\n\n".join(part for part in parts if part), files


def code_of(text):
    "The code of a cell without its directives; nothing for cells that are for nbdev."
    if re.match(r"#\|\s*(default_exp|hide)\b", text.strip()):
        return ""
    return "\n".join(line for line in text.split("\n") if not line.startswith("#|")).strip()


def imports_only(code):
    "Whether a cell only imports, and perhaps lists names that are exported again."
    try:
        body = ast.parse(code).body
    except SyntaxError:  # a magic
        return False
    kinds = [isinstance(node, ast.Import | ast.ImportFrom) or defined_names(node) == ["_all_"] for node in body]
    return bool(body) and all(kinds)


def folded(cells):
    "Cells of imports under a line that opens them."
    lines = "\n\n".join(fenced(cell, "python") for cell in cells).split("\n")
    return "\n".join(['??? quote "Imports"', "", *(f"    {line}" if line else "" for line in lines)])


def origin(path):
    "Where the notebook and the module exported from it are."
    words = [f"[Notebook]({repository_url(path)})"]
    exported = re.search(r"^#\|\s*default_exp (\S+)", "\n".join(text for _, text, _ in cells_of(path)), re.M)
    if exported and (ROOT / "codesign" / (exported[1].replace(".", "/") + ".py")).exists():
        module = posixpath.relpath(f"codesign/{exported[1].replace('.', '/')}.py", posixpath.dirname(path))
        words.append(f"[reference of `codesign.{exported[1]}`]({module})")
    return f"{' · '.join(words)}\n{{ .origin }}"


def fenced(text, language):
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"^\s*(`+)", text, re.M)), default=0))
    return f"{ticks}{language}\n{text}\n{ticks}"


def shown(output, stem, files):
    "An output of a cell as Markdown; a picture goes into `files`."
    if output["output_type"] == "stream":
        return printed("".join(output["text"]))
    if output["output_type"] == "error":
        return printed("\n".join(output["traceback"]))
    data = {kind: "".join(value) if isinstance(value, list) else value for kind, value in output["data"].items()}
    if "image/png" in data:
        name = f"{stem}-{len(files) + 1}.png"
        files[name] = base64.b64decode(data["image/png"])
        return f"![Output of the cell above]({name}){{ .picture }}"
    if "text/markdown" in data:
        return data["text/markdown"]
    if "text/html" in data:
        table = re.sub(r"<style.*?</style>|<script.*?</script>", "", data["text/html"], flags=re.S)
        table = re.sub(r'(<a\b[^>]*?) href="#[^"]*"', r"\1", table)  # a part of a report links into the whole report
        table = re.sub(r' (border|class|style)="[^"]*"', "", table)
        return f'<div class="output-table" markdown="0">\n{re.sub(r"^[ ]+", "", table, flags=re.M).strip()}\n</div>'
    return printed(data.get("text/plain", ""))


def printed(text):
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).rstrip()
    return fenced(text, "{ .text .output }").replace("\n{ .output", "{ .output", 1) if text else ""


def notebook_groups():
    "Titles of groups of notebooks and their paths, in order of reading; a notebook that no group names comes last."
    groups = yaml.safe_load((ROOT / "docs" / "notebooks.yml").read_text(encoding="utf-8"))
    there = [path for path in notebooks() if path.count("/") > 1]
    listed = {
        group["title"]: [f"nbs/{group['folder']}/{name}.ipynb" for name in group["notebooks"]] for group in groups
    }
    last = {group["folder"]: group["title"] for group in groups}
    for path in there:
        if not any(path in paths for paths in listed.values()):
            folder = path.split("/")[1]
            listed.setdefault(last.get(folder, folder), []).append(path)
    return {title: [path for path in paths if path in there] for title, paths in listed.items()}


def chapters():
    return [path for path in notebooks() if re.match(r"nbs/[^/]+$", path)]


def examples():
    return [path for path in notebooks() if path.startswith("examples/")]


def table_of_notebooks(paths, source):
    rows = []
    for path in paths:
        link = posixpath.relpath(path, posixpath.dirname(source))
        rows.append(f"| [{title_of(path)}]({link}) | {subtitle_of(path)} |")
    return "\n".join(["| notebook | subject |", "|---|---|", *rows])


# ------------------------------------------------------------------------------------------------- parts of pages


def part_chapters(source):
    return table_of_notebooks(chapters(), source)


def part_notebooks(source):
    "One table for each group of notebooks."
    return "\n\n".join(
        f"### {title}\n\n{table_of_notebooks(paths, source)}" for title, paths in notebook_groups().items() if paths
    )


def part_examples(source):
    return table_of_notebooks(examples(), source) if examples() else ""


def part_glossary(source):
    "The glossary of chapter 00."
    for _, text, _ in cells_of("nbs/00_baseline.ipynb"):
        if text.startswith("## Glossary"):
            return text.partition("\n")[2].strip().replace("](", "](../../nbs/")
    raise ValueError("nbs/00_baseline.ipynb has no section '## Glossary', which docs/reference/glossary.md shows")


def part_symbols(source):
    "The table of symbols of chapter 00."
    for _, text, _ in cells_of("nbs/00_baseline.ipynb"):
        if found := re.search(r"^\| symbol \|.*?(?=\n\n|\Z)", text, re.M | re.S):
            return found[0]
    raise ValueError("nbs/00_baseline.ipynb has no table of symbols, which docs/reference/glossary.md shows")


def part_configuration(source):
    "Every configuration file as it is."
    parts = []
    for path in sorted((ROOT / "codesign" / "configs").glob("*.yaml")):
        text = path.read_text(encoding="utf-8").strip()
        parts += [f"### {path.name}", fenced(text, "yaml")]
    return "\n\n".join(parts)


def part_commands(source):
    "Every command of `codesign`, as its own --help describes it."
    from typer.main import get_command

    from codesign.reproduce import app

    return "\n\n".join(described_command(get_command(app), "codesign", ()))


def described_command(command, name, above):
    "A command, its options and its subcommands, as Markdown."
    import click

    context = click.Context(command, info_name=name, parent=above[-1] if above else None)
    if above:
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"## {context.command_path} {{ #{context.command_path.replace(' ', '-')} }}"
        yield re.sub(r"\n(?!\n)", " ", html.escape(command.help or "", quote=False)).strip()
        yield fenced(f"{context.command_path} {usage}".strip(), "text")
        rows = [option_row(option, context) for option in command.params if not getattr(option, "hidden", False)]
        if rows := [row for row in rows if row]:
            yield "\n".join(["| option | what it is |", "|---|---|", *rows])
    for name, sub in getattr(command, "commands", {}).items():
        if not sub.hidden:
            yield from described_command(sub, name, (*above, context))


def option_row(option, context):
    record = option.get_help_record(context)
    if record is None:
        return None
    name, text = (html.escape(" ".join(part.split()), quote=False).replace("|", "\\|") for part in record)
    return f"| <code>{name}</code> | {text} |"


def part_modules(source):
    "Every module by level, with its first sentence."
    parts = []
    for level, found in modules_by_level().items():
        rows = [
            f"| [`{name}`](../../../{path}) | {(ast.get_docstring(tree) or '').partition(chr(10))[0]} |"
            for name, path, tree in found
        ]
        parts.append(
            "\n".join([f"## {level}", "", LEVELS.get(level, ""), "", "| module | subject |", "|---|---|", *rows])
        )
    return "\n\n".join(parts)


def modules_by_level():
    "Modules by level, from the top of the package down: first those of the chapters, then those of folders."
    levels = {level: [] for level in reversed(floors.LEVELS)}
    names = list(floors.LEVELS)
    for name, path, tree in modules():
        levels[names[floors.level_of(name)]].append((name, path, tree))
    return {level: sorted(found, key=lambda entry: (entry[0].count("."), entry[0])) for level, found in levels.items()}


def module_page(name, path, tree, trees):
    "The reference of a module: what it defines, and where the names come from that it exports again."
    public, again = public_names(tree), exported_again(name, path, tree)
    own = [name for name in public if name not in again]
    notebook = re.search(r"File to edit: (?:\.\./)+(\S+\.ipynb)", (ROOT / path).read_text(encoding="utf-8"))
    link = posixpath.relpath(notebook[1], posixpath.dirname(path)) if notebook else None
    parts = [f"# {name}", f"Made from [its notebook]({link}), with tests and reasons.\n{{ .origin }}" if link else ""]
    parts.append(f"::: {name}\n    options:\n      members: {json.dumps(own) if own else 'false'}")
    if again:
        rows = []
        for public, module in again.items():
            defined = defining_module(public, module, trees)
            rows.append(f"- [`{public}`][{defined}.{public}]" if defined else f"- `{public}`, of `{module}`")
        parts.append("\n".join(["## Exported again", "", "Defined elsewhere, and importable from here:", "", *rows]))
    return "\n\n".join(part for part in parts if part)


PARTS = {name.removeprefix("part_"): part for name, part in list(globals().items()) if name.startswith("part_")}


# ------------------------------------------------------------------------------------------------- the hook of mkdocs

sources = {}  # file of the repository behind a page, by the page


def on_config(config):
    config.nav = [{title: filled(entries)} for section in config.nav for title, entries in section.items()]
    config.copyright = (
        f"{settings()['copyright']}. {settings()['license']} license. <a href='{settings()['git_url']}'>Repository</a>"
    )
    return config


def filled(entries):
    "The entries of a section of the navigation, with generated pages in the place of names that begin with @."
    found = []
    for entry in entries:
        found += navigation_of(entry[1:]) if isinstance(entry, str) and entry.startswith("@") else [entry]
    return found


def navigation_of(name):
    if name == "chapters":
        return [{"Chapters": [{title_of(path): page_of(path)} for path in chapters()]}]
    if name == "examples":
        return [{title_of(path): page_of(path)} for path in examples()]
    if name == "notebooks":
        groups = notebook_groups()
        return [{title: [{title_of(path): page_of(path)} for path in groups[title]]} for title in groups]
    if name == "api":
        levels = modules_by_level()
        pages = {
            level: [{name.partition(".")[2]: page_of(path)} for name, path, _ in levels[level]] for level in levels
        }
        return [{"API": ["reference/api/index.md", *({level: entries} for level, entries in pages.items())]}]
    raise ValueError(f"mkdocs.yml: @{name} in nav is unknown; valid: @chapters, @notebooks, @examples, @api")


def generated_pages():
    "Pages and other files of the site that are not in docs/: (page, content, source)."
    for path in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        yield page_of(path), (ROOT / path).read_text(encoding="utf-8"), path
    for path in notebooks():
        text, files = notebook_page(path)
        page = page_of(path)
        yield page, text, path
        for name, content in files.items():
            yield posixpath.join(posixpath.dirname(page), name), content, path
    trees = {name: (path, tree) for name, path, tree in modules()}
    for name, (path, tree) in trees.items():
        yield page_of(path), module_page(name, path, tree, trees), path
    for path in sorted(published_files()):
        yield path, (ROOT / path).read_bytes(), path


def on_files(files, config):
    from mkdocs.structure.files import File

    for page, content, source in generated_pages():
        sources[page] = source
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    markdown = MARK.sub(lambda found: PARTS[found[1]](source) if found[1] in PARTS else found[0], markdown)
    known = {file.src_uri for file in files}
    return for_the_site(markdown, source, page.file.src_uri, known)


def on_page_content(content, page, config, files):
    for tag in NOT_SEARCHED if page.file.src_uri.startswith("notebooks/") else NOT_SEARCHED[:1]:
        content = content.replace(tag, tag + " data-search-exclude")
    return FORMULA.sub(lambda found: mathml(found[2], found[1] == "div", page.file.src_uri), content)


def mathml(formula, display, page):
    "A formula in LaTeX as MathML, which browsers draw without a script."
    from math_core import LatexError, LatexToMathML
    from mkdocs.exceptions import PluginError

    try:
        return LatexToMathML(fancy_error=False).convert_with_local_state(
            html.unescape(formula).strip(), displaystyle=display
        )
    except LatexError as error:
        raise PluginError(f"{page}: the formula {formula.strip()!r} cannot be read ({error}); mend it") from None
