"""The Triton scan on a GPU: checked against float64, timed beside mamba-ssm, in training and in prefill.

    python benchmarks/gpu_scan.py --out scan.json
    TRITON_INTERPRET=1 python benchmarks/gpu_scan.py --tiny --out scan.json

The second line needs no GPU. It checks the numbers in Triton's interpreter at small sizes, and times nothing.
The record is one JSON object, in the form of figures/gpu/scan.json:

trials    each kernel, its outputs or gradients, against the reference in float64: the worst relative error, and
          whether a second run gave the same bits
scan      per shape and type: ms of the forward pass (for a backward pass, and without keeping anything), of the
          backward pass, and of mamba-ssm's where `selective_scan_cuda` can be imported; `ratio` is ours / mamba-ssm,
          forward and backward together
training  tokens/s of the 130m model in bfloat16 autocast with AdamW, and of Hugging Face's model with these kernels
prefill   ms of the 130m model at 16, 8 and 4 states a channel

Times are of CUDA graphs, all implementations in turn. Training and `eager` have no graph. GB/s counts the tensors that
must travel once. `exp2_limit` says what the limit of exponentials is. The parts that check and time kernels are those
of `codesign doctor --gpu`: codesign.measuring.gpu_kernels.
"""

import argparse
import functools
import itertools
import json
import math
import os
import shlex
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

SHAPES = [(8, 2048, 1536, 16), (8, 2048, 2048, 16), (1, 16384, 1536, 16), (32, 256, 256, 16)]
PAIRS = (("forward", "backward"), ("mamba_ssm_forward", "mamba_ssm_backward"))
TINY_MODEL = dict(hidden_size=32, num_hidden_layers=2, vocab_size=99)


def trials(sizes, types, device):
    "The rows of `trials`."
    from codesign.measuring.gpu_kernels import failures, trial

    rows = [row for size in sizes for dtype in types for row in trial(size, dtype, device)]
    if wrong := failures(rows):
        raise SystemExit("\n".join(wrong))
    return rows


def scan_row(shape, dtype, device, limits):
    "One row of `scan`."
    from codesign.engine.scan_triton_parts import plan_scan
    from codesign.measuring.gpu_kernels import name_of, replayable, scan_passes, times_of

    passes = scan_passes(shape, dtype, device)
    named = {name: each.run for name, each in passes.items()}
    ms = times_of({name: replayable(function) for name, function in named.items()})
    row = dict(shape=shape, dtype=name_of(dtype), plan=asdict(plan_scan(*shape, torch.device(device))))
    row |= dict(bytes_kept=passes["forward"].kept_bytes, ms=ms, eager_ms=times_of(named, 8))
    moved = {name: each.tensor_bytes + each.kept_bytes for name, each in passes.items()}
    row |= dict(gbytes_a_s={name: moved[name] / t["median"] / 1e6 for name, t in ms.items()})
    least = 1e3 * limits.seconds(0, math.prod(shape))
    row["share_of_exp2_limit"] = {name: least / t["median"] for name, t in ms.items()}
    ours, theirs = (sum(t["median"] for n, t in ms.items() if n in pair) for pair in PAIRS)
    row["ratio"] = ours / theirs if theirs else None
    return row


def scan_rows(device):
    "`scan`, and the clock that its limit is reckoned with."
    from codesign.measuring.gpu_kernels import EXPONENTIALS_A_CLOCK, measure_limits

    limits = measure_limits(device)
    rows = [scan_row(shape, dtype, device, limits) for shape in SHAPES for dtype in (torch.float32, torch.bfloat16)]
    said = f"{EXPONENTIALS_A_CLOCK} exponentials a clock and multiprocessor at {limits.clock_hz / 1e9:.3f} GHz"
    return dict(exp2_limit=said, limits=asdict(limits), scan=rows)


def our_model(config, device):
    from codesign.pillars.modelling import LayerwiseMambaConfig, LayerwiseMambaForCausalLM

    torch.manual_seed(0)
    return LayerwiseMambaForCausalLM(LayerwiseMambaConfig(**config)).to(device)


def training_row(what, model, batch, steps, device, timed):
    "One row of `training`: steps of AdamW in bfloat16 autocast on one batch."
    tokens = torch.randint(model.config.vocab_size, batch, generator=torch.Generator().manual_seed(0)).to(device)
    optimizer, seconds = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True), []
    if timed:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(steps + 2):  # two warm up
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            loss = model(tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        last_loss = loss.item()  # waits for the device
        seconds.append(time.perf_counter() - start)
    row = dict(what=what, batch=batch, steps=steps, loss=last_loss)
    if timed:
        ms = [1e3 * s for s in seconds[2:]]
        row |= dict(tokens_a_s=1e3 * math.prod(batch) / statistics.median(ms), ms=statistics.median(ms), min_ms=min(ms))
        row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return row


def training(config, batch, steps, device, timed):
    from transformers import MambaConfig, MambaForCausalLM

    from codesign.engine.acceleration import accelerate_transformers
    from codesign.engine.scan_backends import scan_backend

    with scan_backend("triton"):
        rows = [training_row("codesign", our_model(config, device), batch, steps, device, timed)]
        torch.manual_seed(0)
        model = MambaForCausalLM(MambaConfig(**config)).to(device)
        with accelerate_transformers(model):
            rows.append(training_row("transformers under accelerate_transformers", model, batch, steps, device, timed))
    return rows


@torch.inference_mode()
def prefill(config, length, batches, device, timed):
    from codesign.engine.scan_backends import available_backends, scan_backend
    from codesign.engine.scan_reference import relative_error
    from codesign.measuring.gpu_kernels import replayable, times_of

    names, rows = [n for n in ("triton", "mamba_ssm") if available_backends()[n] is None], []
    for states, batch in itertools.product((16, 8, 4), batches):
        dtype, tokens = torch.bfloat16 if timed else torch.float32, torch.randint(90, (batch, length), device=device)
        model = our_model(config | dict(state_size=states), device).to(dtype).eval()
        run = functools.partial(model, tokens, logits_to_keep=1)
        for name in names:
            row = dict(kernels=name, states=states, batch=batch, length=length)
            with scan_backend(name):
                if timed:
                    row["ms"] = times_of(dict(eager=run, graph=replayable(run)), 12)
                else:
                    found = run().logits
            if not timed:
                with scan_backend("reference"):
                    row["error"] = relative_error(found, run().logits)
            rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the JSON record to write")
    parser.add_argument("--tiny", action="store_true", help="small sizes in Triton's interpreter, without times")
    options = parser.parse_args()
    if options.tiny and os.environ.get("TRITON_INTERPRET") != "1":
        sys.exit("gpu_scan: --tiny runs in Triton's interpreter; set TRITON_INTERPRET=1")
    if not options.tiny and not torch.cuda.is_available():
        sys.exit("gpu_scan: no CUDA device; without one, only TRITON_INTERPRET=1 and --tiny check the numbers")
    from codesign.measuring.gpu_kernels import BOUNDS, SIZES, where_measured
    from codesign.measuring.gpu_records import MODEL

    tiny, device = options.tiny, "cpu" if options.tiny else "cuda"
    sizes, types = ([(1, 17, 3, 2)], [torch.float32]) if tiny else (SIZES, list(BOUNDS))
    config, batch, steps = (TINY_MODEL, (1, 16), 1) if tiny else (MODEL, (8, 1024), 12)
    record = dict(command=shlex.join(["python", *sys.argv]), environment=where_measured())
    record |= dict(trials=trials(sizes, types, device))
    record |= dict(scan=[]) if tiny else scan_rows(device)
    record |= dict(training=training(config, batch, steps, device, not tiny))
    record |= dict(prefill=prefill(config, 16 if tiny else 2048, (1,) if tiny else (1, 8), device, not tiny))
    options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    worst = max(row["worst_error"] for row in record["trials"])
    print(f"gpu_scan: {len(record['trials'])} trials, worst relative error {worst:.1e}; record in {options.out}")


if __name__ == "__main__":
    main()
