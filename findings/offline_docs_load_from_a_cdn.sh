#!/usr/bin/env bash
# mkdocs-material 9.8.2: the plugin `offline`, which is there so that a site can be read without a network, makes every page
# load a script from unpkg.com. Without the plugin, and with `font: false`, a page loads nothing from elsewhere. So a site that
# was built to be offline is the one that needs the CDN, and tells it who reads which page; no warning at build time.
# Seen: with the plugin index.html holds <script src=https://unpkg.com/iframe-worker/shim>, without it no outside script.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check mkdocs==1.6.1 mkdocs-material==9.8.2 2>/dev/null
cd "$work"
mkdir docs
echo "# A page" > docs/index.md
for plugins in "[search, offline]" "[search]"; do
    printf 'site_name: s\ntheme: {name: material, font: false}\nplugins: %s\n' "$plugins" > mkdocs.yml
    NO_MKDOCS_2_WARNING=1 "$work/venv/bin/mkdocs" build --quiet --strict
    "$work/venv/bin/python" - "$plugins" <<'PY'
import re, sys
page = open("site/index.html", encoding="utf-8").read()
outside = re.findall(r'<script[^>]*src="?(https?://[^\s">]+)', page)
print(f"plugins {sys.argv[1]}: scripts from elsewhere: {outside}")
if "offline" in sys.argv[1]:
    assert any("unpkg.com" in address for address in outside), "offline pages load no script from unpkg.com now: this has been mended"
else:
    assert not outside, "without the plugin a page should load nothing from elsewhere"
PY
done
