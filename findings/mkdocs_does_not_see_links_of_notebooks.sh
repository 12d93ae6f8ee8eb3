#!/usr/bin/env bash
# mkdocs 1.6.1, mkdocs-jupyter 0.26.3: links in a notebook's Markdown are neither rewritten nor checked, though the same
# links in a page are. A link from one notebook to the next stays `two.ipynb` in the site, where two/ is a folder, so it
# leads nowhere. `mkdocs build --strict` with every validation on says nothing and exits 0.
# Seen: from the page ../two/; from the notebook two.ipynb, and gone.md, which does not exist; exit status 0. The same lost
# link in the page stops a strict build.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check mkdocs==1.6.1 mkdocs-jupyter==0.26.3 nbformat==5.11.1 2>/dev/null
mkdir "$work/docs"
cd "$work"
cat > mkdocs.yml <<'YML'
site_name: links
plugins: [mkdocs-jupyter]
validation: {links: {not_found: warn, anchors: warn, absolute_links: warn, unrecognized_links: warn}}
YML
"$work/venv/bin/python" - <<'PY'
import nbformat
from nbformat.v4 import new_markdown_cell, new_notebook

kernel = dict(kernelspec=dict(name="python3", language="python", display_name="Python 3"))
for name, text in {"one": "# One\n\n[two](two.ipynb), [gone](gone.md)", "two": "# Two\n\nText."}.items():
    nbformat.write(new_notebook(cells=[new_markdown_cell(text)], metadata=kernel), f"docs/{name}.ipynb")
PY
echo '# Page

[two](two.ipynb)' > docs/index.md
status=0
venv/bin/mkdocs build --strict > said.txt 2>&1 || status=$?
links() { grep -o 'href="[^"]*"[^>]*>\(two\|gone\)</a>' "$1" | sed 's/.*href="\([^"]*\)".*/\1/' | tr '\n' ' '; }
from_notebook=$(links site/one/index.html) from_page=$(links site/index.html)
warned=$(grep -c "one.ipynb.*gone.md\|gone.md" said.txt || true)
echo "strict build: status $status, $warned warnings of the lost link; links of the notebook: $from_notebook; of the page: $from_page"
[ "$from_page" = "two/ " ] || { echo "a link of a page is no longer rewritten"; exit 1; }
[ "$status$warned" = 00 ] || { echo "a lost link of a notebook is now seen: this has been mended"; exit 1; }
[ "$from_notebook" = "two.ipynb gone.md " ] || { echo "links of a notebook are rewritten now: this has been mended"; exit 1; }
echo '[gone](gone.md)' >> docs/index.md
if venv/bin/mkdocs build --strict > /dev/null 2>&1; then echo "a lost link of a page no longer stops a strict build"; exit 1; fi
