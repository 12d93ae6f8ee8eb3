#!/usr/bin/env bash
# transformers 5.23.0, torch 2.13.0: a Mamba whose configuration has rescale_prenorm_residual=True is another model after
# save_pretrained and from_pretrained. The flag belongs to the first weights (divide out_proj by the square root of the
# depth), but the initialiser also runs for weights that were just read, and this one division is not guarded. Every round
# through a folder divides again; no warning.
# Seen: 4 layers: after one round out_proj is exactly half, and new weights' logits differ by 0.08 of the largest. With the
# flag off nothing changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 2>/dev/null
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
import tempfile, torch
from transformers import MambaConfig, MambaForCausalLM

def change(flag):
    torch.manual_seed(0)
    model = MambaForCausalLM(MambaConfig(hidden_size=32, num_hidden_layers=4, vocab_size=50, rescale_prenorm_residual=flag)).eval()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        model.save_pretrained(folder)
        again, ids = MambaForCausalLM.from_pretrained(folder).eval(), torch.arange(20)[None]
        ratio = (again.backbone.layers[0].mixer.out_proj.weight / model.backbone.layers[0].mixer.out_proj.weight).mean().item()
        before = model(ids).logits
        return ratio, ((again(ids).logits - before).abs().max() / before.abs().max()).item()

with_flag, without = change(True), change(False)
print("out_proj after / before, logits' relative difference: with the flag", with_flag, "without", without)
assert abs(with_flag[0] - .5) < 1e-3 and with_flag[1] > .01, "with the flag the weights are now read as they were written: this has been mended"
assert without == (1., 0.), "without the flag a round through a folder should change nothing"
PY
