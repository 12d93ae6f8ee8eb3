"""Training of whole models four ways, in turn: as PyTorch runs it, compiled, as a CUDA graph, and both.

    python benchmarks/training_ways.py --sizes small tiny 130m --seconds 85 --out ways.json
    python benchmarks/training_ways.py --cpu --sizes nano --steps 6

Each way trains a new model of the size from the same weights on the same batches of random tokens, with the
optimizer, the clipping and the loop of `codesign.engine.training.train`. It prints one JSON object a line:

ms_per_step, tokens_per_s   of the steps after the first third; compiling and recording come before them. On a GPU
                            their mean, on a CPU their median
largest_difference          of a loss from that of the plain way, relative, over all steps
losses                      the first and the last
seconds_to_first            until the first third of the steps was done: compiling, recording, and those steps
graphs, graph_breaks        that torch.compile made, and met, in this way
said                        what the log of the training says of the way

The last line for each size compiles the whole model by torch.compile, with a backend that runs PyTorch's own
operators, and counts graphs and graph breaks of a forward and backward pass. Without a GPU, CUDA graphs are left out.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace

import torch

WAYS = {
    "plain": dict(),
    "graphed": dict(graphed=True),
    "compiled": dict(compiled="inductor"),
    "compiled and graphed": dict(compiled="inductor", graphed=True),
}
SHAPES = {"130m": (8, 8, 1024), "nano": (4, 4, 64)}  # sequences, of these in one forward pass, tokens; else the size's


def setting(size, steps, precision):
    "The model's configuration, the plan, and the shape of a batch."
    from codesign.engine.optimization import TrainingPlan
    from codesign.pillars.counting import config_of
    from codesign.runs.settings import load_settings

    settings = load_settings(size)
    p = settings.pretrain
    batch, micro, length = SHAPES.get(size, (p.batch_size, p.micro_batch_size, p.length))
    plan = TrainingPlan(steps=steps, lr=p.lr, micro_batch_size=micro, precision=precision, weight_decay=p.weight_decay)
    return config_of(settings.model), plan, (batch, length)


def wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def trained(config, plan, shape):
    "The losses of a training, its times, and what its log says of the way."
    from codesign.engine.training import reproducible, train
    from codesign.pillars.modelling import LayerwiseMambaForCausalLM

    marks, rows, warm = [], [], plan.steps // 3

    def batch_of(step):
        if step in (0, warm):
            wait()
        marks.append(time.perf_counter())
        generator = torch.Generator().manual_seed(step)
        return torch.randint(config.vocab_size, (shape[0], shape[1] + 1), generator=generator)

    with reproducible(0):
        model = LayerwiseMambaForCausalLM(config)
        began = time.perf_counter()
        losses = train(model, batch_of, plan, log=lambda **values: rows.append(values))
        wait()
        marks.append(time.perf_counter())
    if torch.cuda.is_available():  # Python runs ahead of the GPU, so only the whole time means something
        per_step = (marks[-1] - marks[warm]) / (plan.steps - warm)
    else:  # other programs may run beside it
        per_step = statistics.median(b - a for a, b in zip(marks[warm:], marks[warm + 1 :], strict=False))
    return losses, per_step, marks[warm] - began, rows[0].get("way", "")


def compiler_counts():
    from torch._dynamo.utils import counters

    return dict(graphs=counters["stats"]["unique_graphs"], graph_breaks=sum(counters["graph_break"].values()))


def measured(size, way, config, plan, shape, plain):
    "The line of one way; `plain` holds the losses to compare with."
    from torch._dynamo.utils import counters

    counters.clear()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    losses, per_step, first, said = trained(config, replace(plan, **WAYS[way]), shape)
    compared = plain or losses
    differences = [abs(a - b) / abs(b) for a, b in zip(losses, compared, strict=True)]
    line = dict(size=size, way=way, precision=plan.precision, batch=shape[0], micro=plan.micro_batch_size)
    line |= dict(length=shape[1], steps=plan.steps, ms_per_step=round(1e3 * per_step, 3))
    line |= dict(tokens_per_s=round(shape[0] * shape[1] / per_step), seconds_to_first=round(first, 2))
    line |= dict(largest_difference=max(differences), losses=[losses[0], losses[-1]], said=said)
    if torch.cuda.is_available():
        line["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return line | compiler_counts(), losses


def whole_model(size, config, plan, shape):
    "What torch.compile makes of the whole model."
    from torch._dynamo.utils import counters

    from codesign.pillars.modelling import LayerwiseMambaForCausalLM

    torch._dynamo.reset()
    counters.clear()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = LayerwiseMambaForCausalLM(config).to(device).train()
    began = time.perf_counter()
    ids = torch.randint(config.vocab_size, (plan.micro_batch_size, shape[1]), device=device)
    torch.compile(model, backend="aot_eager")(input_ids=ids, use_cache=False).logits.float().mean().backward()
    wait()
    counts, reasons = compiler_counts(), [str(reason)[:200] for reason in counters["graph_break"]]
    seconds = round(time.perf_counter() - began, 2)
    return (
        dict(size=size, way="torch.compile(model)", layers=config.num_hidden_layers, seconds=seconds)
        | counts
        | dict(reasons=reasons)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["small", "tiny", "130m"])
    parser.add_argument("--steps", type=int, default=30, help="of each training")
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--seconds", type=float, default=1e9, help="no new line is begun after so many")
    parser.add_argument("--cpu", action="store_true", help="run where there is no GPU: no graphs, fp32")
    parser.add_argument("--out", help="a file for all lines, as a JSON list")
    given = parser.parse_args()
    if not given.cpu and not torch.cuda.is_available():
        sys.exit("there is no GPU here; --cpu trains without one")
    began, lines = time.perf_counter(), []

    def say(line):
        lines.append(line)
        print(json.dumps(line), flush=True)

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    say(dict(device=device, torch=torch.__version__, threads=torch.get_num_threads()))
    ways = [way for way in WAYS if torch.cuda.is_available() or "graphed" not in way]
    for size in given.sizes:
        config, plan, shape = setting(size, given.steps, "fp32" if given.cpu else given.precision)
        plain = None
        for way in [*ways, "torch.compile(model)"]:
            if time.perf_counter() - began > given.seconds:
                say(dict(size=size, way=way, skipped="no time left"))
            elif way not in WAYS:
                say(whole_model(size, config, plan, shape))
            else:
                try:
                    line, losses = measured(size, way, config, plan, shape, plain)
                except Exception as error:  # the other ways are measured all the same
                    first_line = str(error).strip().partition("\n")[0][:400]
                    say(dict(size=size, way=way, failed=f"{type(error).__name__}: {first_line}"))
                    continue
                plain = plain or losses
                say(line)
    if given.out:
        with open(given.out, "w", encoding="utf-8") as file:
            json.dump(lines, file, indent=1)


if __name__ == "__main__":
    main()
