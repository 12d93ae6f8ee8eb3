#!/usr/bin/env bash
# transformers 5.23.0, torch 2.13.0: `Trainer` with gradient accumulation trains a text classifier of transformers on a
# gradient that is too large by the number of accumulation steps. It logs the loss as large. One step of plain SGD, on the
# same 16 rows: as one batch of 16, or as four batches of 4.
# Why: `Trainer` sees `**kwargs` in the model's `forward`, so it leaves the division to the model and passes
# num_items_in_batch. `GenericForSequenceClassification`, the class of Llama, Mistral, Qwen and others, does not hand it to
# its loss. Nothing is said. Adam hides most of it; clipping and weight decay do not.
# Seen: loss 0.695 and a step of 0.0640 for one batch; loss 2.78 and a step of 0.2562, 4.00 times, for four.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 transformers==5.23.0 accelerate==1.15.0 numpy 2>/dev/null
cd "$work"
cat > steps.py <<'PY'
import sys

import torch
from transformers import LlamaConfig, LlamaForSequenceClassification, Trainer, TrainingArguments

torch.manual_seed(0)
sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=20)
config = LlamaConfig(**sizes, num_labels=2, pad_token_id=0)
rows = [dict(input_ids=torch.randint(1, 20, (6,)), labels=row % 2) for row in range(16)]
moved = []
for batch, steps in ((16, 1), (4, 4)):
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(config)
    before = model.score.weight.detach().clone()
    arguments = TrainingArguments(
        "out", per_device_train_batch_size=batch, gradient_accumulation_steps=steps, optim="sgd", learning_rate=0.1,
        max_grad_norm=0, max_steps=1, report_to=[], use_cpu=True, disable_tqdm=True, save_strategy="no",
    )
    loss = Trainer(model, arguments, train_dataset=rows).train().training_loss
    moved.append((model.score.weight - before).norm().item())
    print(f"batch {batch:2} x {steps} accumulated: loss {loss:.3f}, step {moved[-1]:.4f}", file=sys.stderr)
ratio = moved[1] / moved[0]
print(f"the accumulated step is {ratio:.2f} times the other", file=sys.stderr)
sys.exit(0 if 3.9 < ratio < 4.1 else 1)
PY
CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 "$work/venv/bin/python" steps.py >/dev/null 2>said && same=yes || same=no
grep -E "accumulated" said || cat said
[ "$same" = yes ] || { echo "the step does not grow with accumulation any more: this has been mended"; exit 1; }
