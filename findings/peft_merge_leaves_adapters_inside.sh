#!/usr/bin/env bash
# transformers 5.23.0, peft 0.21.2, torch 2.13.0: one LoraConfig may name modules and, in `target_parameters`, bare
# parameters. If such a module lies inside the module that holds such a parameter, merge_and_unload() and unload() stop at
# the outer one: the inner adapters stay. In a Mamba this is LoRA on in_proj and on A_log, which both belong to the mixer.
# The model that comes back is called plain and computes the right thing. Saved, its in_proj has another name in the file,
# so from_pretrained draws a new in_proj at random. Each of the two alone is merged and read back well.
# Seen: 2 layers: 6 adapter tensors stay after the merge; logits differ by 0 from the adapted model, after a round through a
# folder by more than the largest of them. With in_proj alone, or A_log alone, by less than 0.00001.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 peft==0.21.2 2>/dev/null
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" - 2>/dev/null <<'PY'
import copy, tempfile, torch
from peft import LoraConfig, get_peft_model
from transformers import MambaConfig, MambaForCausalLM

torch.manual_seed(0)
bare = MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, initializer_range=1.)).eval()
ids = torch.randint(3, 64, (3, 7))

@torch.no_grad()
def after_merge(**targets):
    torch.manual_seed(1)
    adapted = get_peft_model(copy.deepcopy(bare), LoraConfig(r=4, init_lora_weights=False, **targets)).eval()
    expected = adapted(input_ids=ids).logits
    merged = adapted.merge_and_unload()
    left = [name for name in merged.state_dict() if "lora_" in name or "base_layer" in name]
    difference = lambda model: ((model.eval()(ids).logits - expected).abs().max() / expected.abs().max()).item()
    with tempfile.TemporaryDirectory() as folder:
        merged.save_pretrained(folder)
        return len(left), difference(merged), difference(MambaForCausalLM.from_pretrained(folder))

both = after_merge(target_modules=["in_proj"], target_parameters=["mixer.A_log"])
alone = [after_merge(target_modules=["in_proj"]), after_merge(target_modules=[], target_parameters=["mixer.A_log"])]
print("adapter tensors left, logits' relative difference once merged, and once saved and read:", both, "each alone:", alone)
assert all(left == 0 and merged < 1e-5 and read < 1e-5 for left, merged, read in alone)
assert both[1] < 1e-5
assert both[0] == 6 and both[2] > .1, "both are merged now: this has been mended"
PY
