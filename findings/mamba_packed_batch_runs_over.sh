#!/usr/bin/env bash
# transformers 5.23.0, torch 2.13.0 (CPU, no extra kernels): DataCollatorWithFlattening puts several examples into one row
# and marks where each begins (position_ids, seq_idx, cu_seq_lens_q). MambaForCausalLM takes all of these marks and uses
# none: its convolution and its state run from one example into the next, in training and in evaluation. Attention models
# honour the marks, the collator's documentation asks "Make sure your attention computation is able to handle it!", and
# nothing warns. So the logits and the gradients of an example depend on which example stands before it.
# Seen: after another first example, the second one's logits differ by 0.91 of their largest value, in evaluation and in
# training; from those of the second example alone by 0.75. In a padded batch they differ by 1e-7. No warning is about it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 2>/dev/null
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
import logging
import warnings

import torch
from transformers import DataCollatorWithFlattening, MambaConfig, MambaForCausalLM

torch.manual_seed(0)
model = MambaForCausalLM(MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=50))
with torch.no_grad():
    for layer in model.backbone.layers:
        layer.mixer.out_proj.weight.mul_(8.)  # layers count for more than in a model with new weights
first, other, second = (torch.randint(1, 50, (12,)).tolist() for _ in range(3))
collate = DataCollatorWithFlattening(return_flash_attn_kwargs=True, return_seq_idx=True, return_tensors="pt")

said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("transformers").addHandler(handler)

def of_second(*examples):
    "Logits of the last example in a packed row."
    batch = collate([dict(input_ids=example) for example in examples])
    return model(**batch, use_cache=False).logits[0, -12:].detach()

def difference(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()

seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for mode in ("eval", "train"):
        getattr(model, mode)()
        with torch.no_grad():
            alone = model(torch.tensor([second]), use_cache=False).logits[0]
            after_first, after_other = of_second(first, second), of_second(other, second)
            padded = model(torch.tensor([first, second]), use_cache=False).logits[1]
        seen[mode] = difference(after_other, after_first), difference(after_first, alone), difference(padded, alone)
    warned = [str(one.message) for one in caught] + said
for mode, (by_first, from_alone, of_padded) in seen.items():
    print(f"{mode}: second example after another first one {by_first:.2g}, packed against alone {from_alone:.2g}, "
          f"padded against alone {of_padded:.1g}")
print("warnings:", warned)
about_packing = [text for text in warned if "pack" in text or "position_ids" in text or "seq_idx" in text]
for by_first, from_alone, of_padded in seen.values():
    assert of_padded < 1e-5, "rows of a padded batch should not see each other"
    assert by_first > .05 and from_alone > .05, "the second example no longer sees the first: this has been mended"
assert not about_packing, "transformers now warns of packed batches: this has been mended"
PY
