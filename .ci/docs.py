"""Builds the docs site into _site/, without a network, and checks it.

`python .ci/docs.py` builds, then checks that every link and anchor of the site leads somewhere and that no page loads
anything from elsewhere. `python .ci/docs.py --check` takes a second and needs no mkdocs: public names, links and
navigation. Prints every fault; exits 1 if there is one.
"""

import ast
import json
import os
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import site_pages
import yaml

ROOT = site_pages.ROOT
SITE = ROOT / "_site"
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
LOADING_LINKS = {"stylesheet", "icon", "preload", "preconnect", "prefetch", "modulepreload", "manifest", "dns-prefetch"}
OUTSIDE = re.compile(r"^(https?:)?//")


# ------------------------------------------------------------------------------------------------- without mkdocs


def undocumented_names():
    "Public functions and classes without a docstring, and public names that no module defines."
    trees = {name: (path, tree) for name, path, tree in site_pages.modules()}
    for name, (path, tree) in trees.items():
        own = site_pages.definitions(tree)
        for public in site_pages.public_names(tree):
            node = own.get(public)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not ast.get_docstring(node):
                yield f"{path}: {public} is public and has no docstring; write one sentence"
        for public, module in site_pages.exported_again(name, path, tree).items():
            if site_pages.defining_module(public, module, trees) is None:
                yield f"{path}: {public} is in __all__, and is defined in no module of the package with an __all__"


def pages():
    "Written pages of the site, by their path below docs/."
    return sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))


def broken_links():
    "Links of the written pages to files of the repository that are not there."
    for page in pages():
        for target in link_targets((ROOT / "docs" / page).read_text(encoding="utf-8")):
            path = (ROOT / "docs" / page).parent / target.partition("#")[0]
            if not path.exists():
                yield f"docs/{page} links to {target}, which is not there"


def link_targets(text):
    "Where the links of a page to files lead, those in code left out."
    found = []

    def collect(piece):
        found.extend(match[2] for match in site_pages.MARKDOWN_LINK.finditer(piece))
        found.extend(match[3] for match in site_pages.HTML_LINK.finditer(piece))
        return piece

    site_pages.apart_from_code(text, collect)
    return found


def navigation_faults():
    "Pages that mkdocs.yml does not name, pages that it names and that are not there, and notebooks of unknown name."
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = [entry for section in config["nav"] for entries in section.values() for entry in entries]
    generated = {site_pages.page_of(path) for path in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")}
    for page in pages():
        if page not in named and page != "reference/api/index.md":
            yield f"docs/{page} is not in the nav of mkdocs.yml"
    for entry in named:
        if not entry.startswith("@") and entry not in generated and not (ROOT / "docs" / entry).exists():
            yield f"mkdocs.yml names {entry}, which is not in docs/"
    there = set(site_pages.notebooks())
    for group in yaml.safe_load((ROOT / "docs" / "notebooks.yml").read_text(encoding="utf-8")):
        for name in group["notebooks"]:
            if f"nbs/{group['folder']}/{name}.ipynb" not in there:
                yield f"docs/notebooks.yml names nbs/{group['folder']}/{name}.ipynb, which is not there"


def marks_without_part():
    "Marks of a page, such as <!-- commands -->, that nothing fills."
    for page in pages():
        for mark in site_pages.MARK.findall((ROOT / "docs" / page).read_text(encoding="utf-8")):
            if mark not in site_pages.PARTS:
                yield f"docs/{page}: <!-- {mark} --> is unknown; valid: {', '.join(site_pages.PARTS)}"


def unexplained_keys():
    "Keys of published records, and environment variables, that docs/reference/records.md does not name."
    words = set(re.findall(r"`(\w+)`", (ROOT / "docs/reference/records.md").read_text(encoding="utf-8")))
    keys = set()
    for path in ROOT.glob("figures/*/runs/*/*/record.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        keys |= {*record, *record["parameters"], *record["environment"]}
    for path in ROOT.glob("codesign/**/*.py"):
        keys |= set(re.findall(r"environ(?:\.get\(|\[)\"(CODESIGN_\w+)\"", path.read_text(encoding="utf-8")))
    yield from (f"docs/reference/records.md does not explain `{key}`" for key in sorted(keys - words))


CHECKS = {
    "every public name is documented": undocumented_names,
    "links of the docs lead somewhere": broken_links,
    "every page is in the navigation": navigation_faults,
    "every mark of a page is filled": marks_without_part,
    "every key of a record is explained": unexplained_keys,
}


# ------------------------------------------------------------------------------------------------- the built site


class Page(HTMLParser):
    "The anchors of a page, where its links lead, and what it loads."

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.loaded = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag in ("a", "area") and values.get("href") is not None:
            self.links.append(values["href"])
        if tag == "link" and LOADING_LINKS & set((values.get("rel") or "").split()):
            self.loaded.append(values.get("href") or "")
        if tag in LOADING and values.get(LOADING[tag]):
            self.loaded.append(values[LOADING[tag]])
        self.loaded += [part.split()[0] for part in (values.get("srcset") or "").split(",") if part.strip()]
        self.loaded += re.findall(r"url\(['\"]?([^)'\"]+)", values.get("style") or "")


def site_faults():
    "Links and anchors of the built site that lead nowhere, what it loads from elsewhere, names without an entry."
    found = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(SITE.rglob("*.html"))}
    for path, page in found.items():
        name = path.relative_to(SITE).as_posix()
        for target in page.loaded:
            if OUTSIDE.match(target):
                yield f"{name} loads {target}"
            elif not urlsplit(target).scheme and (fault := lost(path, target, found)):
                yield f"{name}: {fault}"
        for target in page.links:
            if not urlsplit(target).scheme and not target.startswith("//") and (fault := lost(path, target, found)):
                yield f"{name}: {fault}"
    for path in SITE.rglob("*.css"):
        for target in re.findall(r"(?:url\(|@import )['\"]?((?:https?:)?//[^)'\"]+)", path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(SITE)} loads {target}"
    yield from names_without_entry(found)


def lost(path, target, found):
    "What is wrong with a link from a page of the site, or None."
    parts = urlsplit(target)
    where = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    where = where / "index.html" if where.is_dir() else where
    if path.name == "404.html":  # its links begin at the address of the site
        return None
    if not where.exists():
        return f"{target} leads nowhere"
    if parts.fragment and where in found and unquote(parts.fragment) not in {*found[where].anchors, "__top"}:
        return f"{target} leads to no such place on its page"
    return None


def names_without_entry(found):
    "Public names that the page of their module does not describe."
    for name, path, tree in site_pages.modules():
        page = found[SITE / site_pages.page_of(path).replace(".md", ".html")]
        again = site_pages.exported_again(name, path, tree)
        for public in site_pages.public_names(tree):
            if public not in again and f"{name}.{public}" not in page.anchors:
                yield f"the reference of {name} has no entry for {public}"


def build():
    "Builds the site. Returns what mkdocs warns of. (`--quiet` would make `--strict` blind to warnings.)"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if not done.returncode:
        return []
    lines = done.stderr.strip().splitlines()
    return [line for line in lines if line.startswith(("WARNING", "ERROR", "  - "))] or lines[-1:]


def main(words):
    faults = [fault for check in CHECKS.values() for fault in check()]
    if words not in ([], ["--check"]):
        faults = [f"{' '.join(words)} is unknown; valid: --check, or nothing to build the site"]
    elif not words and not faults:
        begin = time.perf_counter()
        faults = build() or list(site_faults())
        size = sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file()) / 1e6
        count = len(list(SITE.rglob("*.html")))
        print(f"_site: {count} pages, {size:.0f} MB, {time.perf_counter() - begin:.0f} s; open _site/index.html")
    print("\n".join(faults) or "docs: no faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
