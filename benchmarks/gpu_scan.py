"""The Triton scan on a GPU: checked against float64, timed beside mamba-ssm, in training and in prefill.

    python benchmarks/gpu_scan.py --out scan.json
    TRITON_INTERPRET=1 python benchmarks/gpu_scan.py --tiny --out scan.json

The second line needs no GPU. It checks the numbers in Triton's interpreter at small sizes, and times nothing.
The record is one JSON object, in the form of figures/gpu/scan.json:

trials    outputs and gradients against the reference in float64: the worst relative error, and whether a second run
          gave the same bits
scan      per shape and type: ms of the forward pass (for a backward pass, and without keeping anything), of the
          backward pass, and of mamba-ssm's where `selective_scan_cuda` can be imported; `ratio` is ours / mamba-ssm,
          forward and backward together
training  tokens/s of the 130m model in bfloat16 autocast with AdamW, and of Hugging Face's model with these kernels
prefill   ms of the 130m model at 16, 8 and 4 states a channel

Times are of CUDA graphs, all implementations in turn. Training and `eager` have no graph. GB/s counts the
tensors that must travel once. The limit of exponentials is 16 a clock and multiprocessor at 1.755 GHz.
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
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

SHAPES = [(8, 2048, 1536, 16), (8, 2048, 2048, 16), (1, 16384, 1536, 16), (32, 256, 256, 16)]
TRIALS = [(2, 300, 200, 16), (2, 97, 33, 5), (1, 70, 40, 64), (1, 1, 2, 1)]  # batch, length, channels, states
BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}  # largest relative error of a trial
EXPONENTIALS_A_SECOND = 16 * 1.755e9  # of one multiprocessor
PAIRS = (("forward", "backward"), ("mamba_ssm_forward", "mamba_ssm_backward"))
MODEL = dict(hidden_size=768, num_hidden_layers=24, vocab_size=50280)
TINY_MODEL = dict(hidden_size=32, num_hidden_layers=2, vocab_size=99)


def name_of(dtype):
    return str(dtype).removeprefix("torch.")


def outputs_and_gradients(inputs, backend):
    "By name: outputs of the scan with all options, and the gradient of every input for a fixed weighting."
    from codesign.engine.scan import selective_scan

    leaves = {name: tensor.detach().requires_grad_() for name, tensor in inputs.items()}
    y, last = selective_scan(**leaves, delta_softplus=True, return_last_state=True, backend=backend)
    weighted = [
        (t * torch.linspace(-1, 2, t.numel(), dtype=t.dtype, device=t.device).view_as(t)).sum() for t in (y, last)
    ]
    gradients = torch.autograd.grad(weighted[0].double() + weighted[1].double(), list(leaves.values()))
    return dict(y=y.detach(), last_state=last.detach()) | dict(zip(leaves, gradients, strict=True))


def trial(size, dtype, device):
    "One row of `trials`."
    from codesign.engine.scan_reference import random_inputs, relative_error

    inputs = {name: tensor.detach() for name, tensor in random_inputs(*size, dtype).items()}
    on_device = {name: tensor.to(device) for name, tensor in inputs.items()}
    found, again = (outputs_and_gradients(on_device, "triton") for _ in range(2))
    expected = outputs_and_gradients({name: tensor.double() for name, tensor in inputs.items()}, "reference")
    errors = {name: relative_error(found[name].cpu(), value) for name, value in expected.items()}
    same = all(torch.equal(found[name], again[name]) for name in found)
    row = dict(size=size, dtype=name_of(dtype), worst_error=max(errors.values()), same_bits=same)
    if not (row["worst_error"] < BOUNDS[dtype] and same):
        raise SystemExit(f"gpu_scan: the kernels are wrong at {row}; bound {BOUNDS[dtype]}; errors {errors}")
    return row


def replayable(function):
    "The function as a CUDA graph: what it launches, without Python."
    function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def times_of(functions, rounds=20):
    "Milliseconds of device time by name, one of each in turn: median, least and most."
    times = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            function()
            end.record()
            end.synchronize()
            if turn:  # the first warms up
                times[name].append(start.elapsed_time(end))
    return {name: dict(median=statistics.median(t), min=min(t), max=max(t)) for name, t in times.items()}


def passes(tensors, y_grad):
    "The passes to time by name, and what the forward pass kept."
    from codesign.engine.scan_triton import scan_forward
    from codesign.engine.scan_triton_backward import scan_backward

    x, delta, A, B, C, D, z, bias = tensors
    kept = scan_forward(*tensors, None, True, (), True)[3]
    last_grad = A.new_zeros(x.shape[0], *A.shape)
    named = {
        "forward": lambda: scan_forward(*tensors, None, True, (), True),
        "forward_without_keeping": lambda: scan_forward(*tensors, None, True, (), False),
        "backward": lambda: scan_backward(y_grad, last_grad, *tensors, True, kept),
    }
    if find_spec("selective_scan_cuda"):
        import selective_scan_cuda as theirs

        u, step, gate, grad, b, c = (t.mT.contiguous() for t in (x, delta, z, y_grad, B, C))
        inputs = (u, step, A, b[:, None], c[:, None], D, gate, bias)
        out, states, _ = theirs.fwd(*inputs, True)
        named["mamba_ssm_forward"] = lambda: theirs.fwd(*inputs, True)
        named["mamba_ssm_backward"] = lambda: theirs.bwd(*inputs, grad, states, out, None, True, False)
    return named, kept


def scan_row(shape, dtype, device):
    "One row of `scan`."
    from codesign.engine.scan_reference import random_inputs
    from codesign.engine.scan_triton_parts import plan_scan

    tensors = [t.detach().to(device) for t in list(random_inputs(*shape, dtype).values())[:8]]
    named, kept = passes(tensors, torch.randn_like(tensors[0]))
    ms = times_of({name: replayable(function) for name, function in named.items()})
    width, once = torch.finfo(dtype).bits // 8, math.prod(shape[:3])
    shared, held = 2 * shape[0] * shape[1] * shape[3] * width, 4 * kept.numel()
    travel = dict(forward=4 * once * width + shared + held, forward_without_keeping=4 * once * width + shared)
    travel |= dict(backward=7 * once * width + 2 * shared + held)
    travel |= dict(mamba_ssm_forward=5 * once * width + shared, mamba_ssm_backward=8 * once * width + 2 * shared)
    limit = 1e3 * math.prod(shape) / torch.cuda.get_device_properties(device).multi_processor_count
    row = dict(shape=shape, dtype=name_of(dtype), plan=asdict(plan_scan(*shape, torch.device(device))))
    row |= dict(bytes_kept=held, ms=ms, eager_ms=times_of(named, 8))
    row |= dict(gbytes_a_s={n: travel[n] / t["median"] / 1e6 for n, t in ms.items()})
    row["share_of_exp2_limit"] = {n: limit / EXPONENTIALS_A_SECOND / t["median"] for n, t in ms.items()}
    ours, theirs = (sum(t["median"] for n, t in ms.items() if n in pair) for pair in PAIRS)
    row["ratio"] = ours / theirs if theirs else None
    return row


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
    import triton

    from codesign.runs.run import environment

    tiny, device = options.tiny, "cpu" if options.tiny else "cuda"
    sizes, types = ([(1, 17, 3, 2)], [torch.float32]) if tiny else (TRIALS, list(BOUNDS))
    config, batch, steps = (TINY_MODEL, (1, 16), 1) if tiny else (MODEL, (8, 1024), 12)
    record = dict(
        trials=[trial(size, dtype, device) for size in sizes for dtype in types],
        scan=[] if tiny else [scan_row(shape, dtype, device) for shape in SHAPES for dtype in types[:2]],
        training=training(config, batch, steps, device, not tiny),
        prefill=prefill(config, 16 if tiny else 2048, (1,) if tiny else (1, 8), device, not tiny),
    )
    theirs = "mamba-ssm" if find_spec("mamba_ssm") else None
    versions = dict(triton=triton.__version__, mamba_ssm=theirs and version(theirs))
    where = environment() | dict(device="interpreter" if tiny else torch.cuda.get_device_name(), kernel="triton")
    record = dict(command=shlex.join(["python", *sys.argv]), environment=where | versions) | record
    options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    worst = max(row["worst_error"] for row in record["trials"])
    print(f"gpu_scan: {len(record['trials'])} trials, worst relative error {worst:.1e}; record in {options.out}")


if __name__ == "__main__":
    main()
