#!/usr/bin/env bash
# transformers 5.23.0, peft 0.21.2, torch 2.13.0: peft puts LoRA on dt_proj of a Mamba (it refuses out_proj and conv1d of
# this architecture, dt_proj not), and the forward pass never calls it: the mixer multiplies by dt_proj.weight, past the
# module. The adapter counts as trainable, gets no gradient and changes nothing; merging it changes the model.
# Seen: with random adapter weights the logits are equal to the bare model's, the gradient is None; merged they differ.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 peft==0.21.2 2>/dev/null
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
import copy, torch
from peft import LoraConfig, get_peft_model
from transformers import MambaConfig, MambaForCausalLM

torch.manual_seed(0)
bare = MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, initializer_range=1.)).eval()
ids = torch.randint(64, (2, 12))
adapted = get_peft_model(copy.deepcopy(bare), LoraConfig(target_modules=["dt_proj"], r=4, init_lora_weights=False)).eval()
trainable = [p for p in adapted.parameters() if p.requires_grad]
out = adapted(input_ids=ids, labels=ids)
gradients = torch.autograd.grad(out.loss, trainable, allow_unused=True) if out.loss.requires_grad else [None]
with torch.no_grad():
    plain = bare(ids).logits
    unmerged = (adapted(input_ids=ids).logits - plain).abs().max().item()
    merged = (adapted.merge_and_unload()(ids).logits - plain).abs().max().item()
print(f"{sum(p.numel() for p in trainable)} trainable parameters; gradients {set(type(g).__name__ for g in gradients)}; logits moved by {unmerged} unmerged, {merged} merged")
assert unmerged == 0 and all(g is None for g in gradients), "the adapter now has an effect: this has been mended"
assert merged > 1e-4
PY
