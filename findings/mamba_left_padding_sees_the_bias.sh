#!/usr/bin/env bash
# transformers 5.23.0, torch 2.13.0 (CPU, no extra kernels): a Mamba with use_bias=True gives a left-padded text other logits
# than the text alone, although the attention mask is given. The mask sets the input of in_proj to zero at padding, but
# in_proj then adds its bias, and the convolution of the first real tokens reads that bias where alone it reads zeros.
# Masking again comes after the convolution, which is too late. With use_bias=False, as in the published checkpoints, both agree.
# Seen: relative difference of the logits of the real tokens 0.8 with use_bias=True, 0.0 with use_bias=False.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 2>/dev/null
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
import torch
from transformers import MambaConfig, MambaForCausalLM

def difference(use_bias):
    torch.manual_seed(0)
    model = MambaForCausalLM(MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=50, use_bias=use_bias)).eval()
    with torch.no_grad():
        for layer in model.backbone.layers:
            layer.mixer.out_proj.weight.mul_(8.)  # layers count for more than in a model with new weights
            if use_bias:
                layer.mixer.in_proj.bias.normal_()  # zero in a model with new weights, not in a trained one
    ids = torch.randint(1, 50, (1, 12))
    padded = torch.cat([torch.zeros(1, 5, dtype=torch.long), ids], dim=1)
    with torch.no_grad():
        alone = model(ids, use_cache=False).logits
        found = model(padded, attention_mask=(padded != 0).long(), use_cache=False).logits[:, 5:]
    return ((found - alone).abs().max() / alone.abs().max()).item()

seen = {use_bias: difference(use_bias) for use_bias in (False, True)}
print("relative difference of a left-padded text with its mask from the text alone, by use_bias:", seen)
assert seen[False] < 1e-5, "without the bias the mask should be enough"
assert seen[True] > .05, "with the bias a left-padded text now gives what the text alone gives: this has been mended"
PY
