#!/usr/bin/env bash
# lm-eval 0.4.13, transformers 5.23.0, torch 2.13.0 (CPU): the model type `hf` reads a Mamba in windows of 2,048 tokens.
# A Mamba has no longest context, so its configuration names none. lm-eval then takes 2,048 and does not warn: each window
# begins with an empty state. The perplexity of long documents, for which a recurrent model is often chosen, is that of a
# model which forgets. With max_length set, the document is read as a whole. Cutting into windows is right for attention,
# whose configurations name a longest context; here a default decides what is measured.
# Seen: a document of 6,000 tokens has -80,880.4 nats by default, which is the sum over three windows read alone, and
# -80,848.8 with max_length=8192, which is what the model gives for the whole document.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 'lm-eval[hf]==0.4.13' 2>/dev/null
cd "$work"
HF_HOME="$work/home" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" - 2>&1 <<'PY' | grep -v "falling back\|it/s\|Device not specified"
import logging
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import MambaConfig, MambaForCausalLM, PreTrainedTokenizerFast

torch.manual_seed(0)
model = MambaForCausalLM(MambaConfig(hidden_size=32, num_hidden_layers=1, vocab_size=50, initializer_range=1., eos_token_id=0)).eval()
with torch.no_grad():
    for layer in model.backbone.layers:
        layer.mixer.x_proj.weight.mul_(4)
        layer.mixer.out_proj.weight.mul_(4)
        layer.mixer.dt_proj.bias.fill_(-6.)  # small steps: the state lasts for thousands of tokens
words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(50)}, unk_token="w0"))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
model.save_pretrained("model")
PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w0").save_pretrained("model")
ids = torch.randint(1, 50, (6000,)).tolist()
text = " ".join(f"w{i}" for i in ids)

said = []
class Heard(logging.Handler):
    def emit(self, record): said.append(record.getMessage())
logging.getLogger("lm_eval").addHandler(Heard(logging.WARNING))

def of_lm_eval(**options):
    lm = HFLM(pretrained="model", device="cpu", **options)
    return lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0)], disable_tqdm=True)[0]

def direct(before, after):
    rows = torch.tensor([before + after])
    with torch.no_grad(): chosen = model(rows[:, :-1], use_cache=False).logits[0].log_softmax(-1).gather(1, rows[0, 1:, None])
    return chosen[len(before) - 1:].sum().item()

whole = direct([0], ids)
# the last window is filled with tokens that were counted already
windows = direct([0], ids[:2048]) + direct([ids[2047]], ids[2048:4096]) + direct(ids[-2049:4096], ids[4096:])
default, longer = of_lm_eval(), of_lm_eval(max_length=8192)
print(f"log-likelihood in nats: default {default:.1f}, windows read alone {windows:.1f}; max_length=8192 {longer:.1f}, whole document {whole:.1f}")
print("warnings of lm-eval about length:", [line for line in said if "length" in line or "2048" in line or "window" in line])
assert abs(longer - whole) < .5, "with max_length the document should be read as a whole"
assert abs(default - windows) < .5 and abs(default - whole) > 5, "by default a Mamba now reads the whole document: this has been mended"
PY
