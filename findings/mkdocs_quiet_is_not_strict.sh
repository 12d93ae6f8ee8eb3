#!/usr/bin/env bash
# mkdocs 1.6.1: `mkdocs build --quiet --strict` is not strict. --quiet means fewer words; the strict mode counts warnings by
# the same log, after --quiet has dropped them. So a build with a lost link, which --strict alone refuses, exits 0. A script
# that wants silence has to send the output elsewhere.
# Seen: a page with a link to a page that is not there: --strict exits 1, --quiet --strict and --strict --quiet exit 0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check mkdocs==1.6.1 2>/dev/null
mkdir "$work/docs"
cd "$work"
echo 'site_name: links' > mkdocs.yml
echo '[gone](gone.md)' > docs/index.md
status() { venv/bin/mkdocs build "$@" > /dev/null 2>&1 && echo 0 || echo $?; }
alone=$(status --strict) first=$(status --quiet --strict) last=$(status --strict --quiet)
echo "exit status: --strict $alone, --quiet --strict $first, --strict --quiet $last"
[ "$alone" = 1 ] || { echo "--strict no longer refuses a lost link"; exit 1; }
[ "$first$last" = 00 ] || { echo "--quiet leaves --strict on now: this has been mended"; exit 1; }
