#!/usr/bin/env bash
# accelerate 1.15.0, torch 2.13.0: under `torchrun --nproc_per_node 2` on a machine without a GPU, `Accelerator()` does not
# join the processes, though RANK, WORLD_SIZE and LOCAL_RANK are set. Each process is told that it is the only one and the
# main one. So the same training runs twice, unreduced, and both processes write its files; nothing is said.
# With `Accelerator(cpu=True)` the same two processes are joined by gloo. On a machine with GPUs both forms join them.
# Seen: "1 0 True" twice for Accelerator(); "2 0 True" and "2 1 False" for Accelerator(cpu=True).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 accelerate==1.15.0 numpy 2>/dev/null
cd "$work"
cat > who.py <<'PY'
import sys
from accelerate import Accelerator

accelerator = Accelerator(cpu=True) if sys.argv[1] == "cpu" else Accelerator()
with open(f"{sys.argv[1]}-{__import__('os').environ['RANK']}", "w") as said:
    print(accelerator.num_processes, accelerator.process_index, accelerator.is_main_process, file=said)
PY
for form in plain cpu; do
    CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 "$work/venv/bin/torchrun" --nproc_per_node 2 --master_addr 127.0.0.1 --master_port 29617 who.py "$form" 2>/dev/null
done
echo "Accelerator():         $(cat plain-0), $(cat plain-1)"
echo "Accelerator(cpu=True): $(cat cpu-0), $(cat cpu-1)"
[ "$(cat plain-0)/$(cat plain-1)" = "1 0 True/1 0 True" ] || { echo "Accelerator() joins the processes now: this has been mended"; exit 1; }
[ "$(cat cpu-0)/$(cat cpu-1)" = "2 0 True/2 1 False" ] || { echo "Accelerator(cpu=True) behaves in another way now"; exit 1; }
