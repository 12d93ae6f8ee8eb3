#!/usr/bin/env bash
# transformers 5.23.0, peft 0.21.2, torch 2.13.0: peft looks for a filled cache under the name `past_key_values`. A Mamba's
# cache is `cache_params`. Two of peft's methods go wrong on it, without a word:
# - prompt tuning: generate(), whose cache is on by default, reads the learned prompt again before every new token. The
#   generated text is not the one that the trained model's own logits give. With use_cache=False it is.
# - prefix tuning: the learned keys are handed over as past_key_values, which a Mamba swallows. They count as trainable,
#   get no gradient and change nothing.
# peft asks for sizes of attention heads first ("Please specify `num_attention_heads`"), as for each model without them.
# Seen: a prompt of 4 vectors and 7 tokens. The first pass reads 11, each next pass 5 (1 without the fault). Of 3 x 6
# generated tokens 5 are those of the logits, without a cache all 18. The prefix moves the logits by nothing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 peft==0.21.2 2>/dev/null
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" - 2>/dev/null <<'PY'
import copy, torch
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import MambaConfig, MambaForCausalLM

torch.manual_seed(0)
sizes = dict(vocab_size=64, hidden_size=32, num_hidden_layers=2, initializer_range=1.)
bare = MambaForCausalLM(MambaConfig(**sizes, eos_token_id=None, pad_token_id=0)).eval()
with torch.no_grad():  # a state that carries, as in trained models
    for layer in bare.backbone.layers:
        layer.mixer.x_proj.weight.mul_(4)
        layer.mixer.dt_proj.bias.fill_(-2.)
ids = torch.randint(3, 64, (3, 7))
soft = dict(task_type="CAUSAL_LM", num_virtual_tokens=4, num_attention_heads=1, num_layers=2, token_dim=32)

def tuned(config):
    torch.manual_seed(1)
    model = get_peft_model(copy.deepcopy(bare), config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad: p.normal_()
    return model

@torch.no_grad()
def greedy_by_hand(model):
    text = ids
    for _ in range(6): text = torch.cat([text, model(input_ids=text).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return text

prompted, lengths = tuned(PromptTuningConfig(**soft)), []
expected = greedy_by_hand(prompted)
prompted.base_model.backbone.layers[0].register_forward_pre_hook(lambda layer, inputs: lengths.append(inputs[0].shape[1]))
options = dict(input_ids=ids, max_new_tokens=6, do_sample=False)
cached = prompted.generate(**options)
read, uncached = list(lengths), prompted.generate(**options, use_cache=False)
right = [(found == expected)[:, 7:].sum().item() for found in (cached, uncached)]
print(f"prompt tuning: tokens read at each step {read}; of 18 tokens {right[0]} are those of the logits with a cache, {right[1]} without")
prefixed = tuned(PrefixTuningConfig(**soft))
out = prefixed(input_ids=ids, labels=ids)
trainable = [p for p in prefixed.parameters() if p.requires_grad]
gradients = torch.autograd.grad(out.loss, trainable, allow_unused=True) if out.loss.requires_grad else [None]
moved = ((out.logits - bare(ids).logits).abs().max() / out.logits.abs().max()).item()
print(f"prefix tuning: {sum(p.numel() for p in trainable)} trainable parameters, gradients {[type(g).__name__ for g in gradients]}, logits moved by {moved:.1e}")
assert right[1] == 18 and read[0] == 11
assert right[0] < 18 and set(read[1:]) == {5}, "with a cache the prompt is now read once: this has been mended"
assert all(g is None for g in gradients) and moved < 1e-5, "the prefix now has an effect: this has been mended"
PY
