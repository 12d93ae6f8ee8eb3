#!/usr/bin/env bash
# transformers 5.23.0, torch 2.13.0: Trainer decides by the model's class NAME whether its labels are those of a causal
# language model. A subclass under another name (same function, same weights, same loss when called) is trained on another
# loss, without a word. Without label smoothing it divides by all labels, the first of each row included, which nobody
# predicts: the loss is (L - 1) / L of the right one. With label_smoothing_factor it does not shift the labels at all: the
# model learns to repeat the token that it reads, and the loss falls.
# Seen, rows of 16 tokens: 7.455 for MambaForCausalLM, 6.989 = 15/16 of it for an empty subclass; smoothed 7.472 and 6.925.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 accelerate==1.15.0 2>/dev/null
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
import contextlib, io, tempfile, torch
from transformers import MambaConfig, MambaForCausalLM, Trainer, TrainingArguments

class MyMamba(MambaForCausalLM): pass

torch.manual_seed(0)
config = MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, initializer_range=.5)
weights = MambaForCausalLM(config).state_dict()
rows = torch.randint(3, 64, (8, 16))

def model_of(cls):
    model = cls(config)
    model.load_state_dict(weights)
    return model

def first_loss(cls, smoothing):
    arguments = TrainingArguments(tempfile.mkdtemp(), max_steps=1, per_device_train_batch_size=8, label_smoothing_factor=smoothing, logging_steps=1, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True)
    trainer = Trainer(model=model_of(cls), args=arguments, train_dataset=[dict(input_ids=row, labels=row) for row in rows.tolist()])
    with contextlib.redirect_stdout(io.StringIO()): trainer.train()
    return float(trainer.state.log_history[0]["loss"])

called = [model_of(cls)(rows, labels=rows).loss.item() for cls in (MambaForCausalLM, MyMamba)]
losses = {smoothing: [first_loss(cls, smoothing) for cls in (MambaForCausalLM, MyMamba)] for smoothing in (0., .1)}
print("loss when called, of MambaForCausalLM and of an empty subclass:", called, "; first loss in Trainer by smoothing:", losses)
assert called[0] == called[1]
assert abs(losses[0.][1] / losses[0.][0] - 15 / 16) < 1e-3, "without smoothing the two are now equal: this has been mended"
assert abs(losses[.1][0] - losses[.1][1]) > .01, "with smoothing the two are now equal: this has been mended"
PY
