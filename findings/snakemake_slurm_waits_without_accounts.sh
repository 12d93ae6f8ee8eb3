#!/usr/bin/env bash
# snakemake 9.27.1, snakemake-executor-plugin-slurm 2.8.0: on a cluster without accounting the plugin waits for ever, and
# says nothing. It chooses `sacct` to ask for its jobs if that command exists, and SLURM's client package brings it
# everywhere. There `sacct` ends with "Slurm accounting storage is disabled". Each such failure is a debug message only.
# The job here has ended when it is submitted. With `--slurm-status-command squeue` the same workflow ends at once.
# SLURM is four scripts that answer as SLURM 22.05 does, because a cluster is too much for this file.
# Seen: after 60 s still waiting, sacct asked 6 times, no line after the submission; with squeue: exit code 0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    snakemake==9.27.1 snakemake-executor-plugin-slurm==2.8.0 2>/dev/null
mkdir "$work/slurm"
cd "$work/slurm"
cat > sbatch <<'SH'
#!/bin/sh
echo made > "$WORK/$(basename "$PWD").txt"
echo 7
SH
cat > sacct <<'SH'
#!/bin/sh
echo asked >> "$WORK/asked"
echo "Slurm accounting storage is disabled" >&2
exit 1
SH
printf '#!/bin/sh\necho "7|COMPLETED"\n' > squeue
printf '#!/bin/sh\necho "MinJobAge               = 300 sec"\n' > scontrol
printf '#!/bin/sh\nexit 0\n' > scancel
printf '#!/bin/sh\necho "main*"\n' > sinfo
chmod +x ./*
export WORK=$work PATH=$work/slurm:$work/venv/bin:$PATH
run() {  # NAME WORDS...
    mkdir "$work/$1"
    cd "$work/$1"
    printf 'rule all:\n    output: "../%s.txt"\n    resources: mem_mb=100, runtime=5\n    shell: "true"\n' "$1" > Snakefile
    timeout -s KILL 60 snakemake --executor slurm --jobs 1 --latency-wait 5 \
        --slurm-init-seconds-before-status-checks 1 "${@:2}" > log 2>&1
}
run plain && plain=0 || plain=$?
asked=$(wc -l < "$work/asked")
after=$(sed '1,/has been submitted/d' "$work/plain/log" | grep -c . || true)
run told --slurm-status-command squeue && told=0 || told=$?
echo "as it is:    exit code $plain after at most 60 s (137: still waiting), sacct asked $asked times, $after lines after the submission"
echo "with squeue: exit code $told"
[ "$plain" = 137 ] && [ "$asked" -ge 5 ] && [ "$after" = 0 ] || { echo "the plugin notices now: this has been mended"; exit 1; }
[ "$told" = 0 ] || { tail -5 "$work/told/log"; echo "squeue behaves in another way now"; exit 1; }
