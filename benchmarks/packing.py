"""Packed against padded training, side by side in one process: the same examples, the same loss, no padding computed.

    python benchmarks/packing.py --size nano --batch 16 --rounds 100
    python benchmarks/packing.py --size small --lengths 8 128 --out packing.json

A round times one step of fine-tuning (forward, loss, backward) of each way on the same batch, in a random order. It
prints one JSON object a line, for each way:

padded             rows of the batch as they come, filled up to the longest
padded, control    the same once more; how far its ratio is from 1 says what the timing can tell
padded, similar    rows of similar length together (`batches_of_similar_length`), as fine-tuning pads without packing
packed             one row without padding (`SequenceClassifier(..., packed=True)`)

ms                 median of a step
speed_up           of `padded` over this way: median of the paired ratios, with a 95% interval over blocks of rounds
computed_tokens    tokens and padding that a step computes
real_tokens        tokens of the examples; the similar batch holds others, so compare its ms for each real token
us_per_real_token  microseconds
difference         relative difference of the loss from `padded`; of `padded, similar` from its own rows packed
"""

import argparse
import json

import numpy as np
import torch


def examples_of(lengths, count, vocabulary, seed):
    "Random token ids; the lengths are log-uniform between two bounds."
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(*np.log(np.array(lengths) + [0, 1]), count)).astype(int)
    return [rng.integers(1, vocabulary, size) for size in sizes]


def step_of(model, batch, packed):
    "A step on a batch, which returns its loss."
    from codesign.pillars.finetuning import Classification

    objective = Classification(packed)

    def step():
        model.zero_grad(set_to_none=True)
        loss = objective.loss(model, batch)
        loss.backward()
        return loss.item()

    return step


def programs_of(given, device):
    "The ways by name, and what each computes: tokens with padding, real tokens, and the loss that it must have."
    from codesign.pillars.counting import config_of
    from codesign.pillars.finetuning import SequenceClassifier, batches_of_similar_length, padded_batch
    from codesign.pillars.modelling import LayerwiseMambaModel
    from codesign.runs.settings import load_settings

    torch.manual_seed(0)
    config = config_of(load_settings(given.size).model)
    model = SequenceClassifier(LayerwiseMambaModel(config), 2, dropout=0.0).to(device)
    sequences = examples_of(given.lengths, 8 * given.batch, config.vocab_size, seed=0)
    similar = batches_of_similar_length(range(len(sequences)), [len(s) for s in sequences], given.batch)
    middle = sorted(similar, key=lambda rows: sum(len(sequences[row]) for row in rows))[len(similar) // 2]
    batches = {}
    for name, rows in dict(mixed=range(given.batch), similar=middle).items():
        ids, lengths = padded_batch([sequences[row] for row in rows])
        labels = torch.arange(given.batch) % 2
        batches[name] = tuple(part.to(device) for part in (ids, lengths, labels))
    ways = {
        "padded": ("mixed", False),
        "padded, control": ("mixed", False),
        "padded, similar": ("similar", False),
        "packed": ("mixed", True),
    }
    programs = {name: step_of(model, batches[which], packed) for name, (which, packed) in ways.items()}
    counts = {}
    for name, (which, packed) in ways.items():
        ids, lengths, _ = batches[which]
        real, other = int(lengths.sum()), step_of(model, batches[which], not packed)()
        counts[name] = dict(computed_tokens=real if packed else ids.numel(), real_tokens=real, other=other)
    return programs, counts


def lines_of(given, device):
    from codesign.engine.timing import paired_latencies, ratio_with_interval

    programs, counts = programs_of(given, device)
    losses = {name: program() for name, program in programs.items()}
    times = paired_latencies(programs, given.rounds, warmup=5, device=device)
    for name, milliseconds in times.items():
        found, other = counts[name], counts[name].pop("other")
        median = float(np.median(milliseconds))
        ratio = ratio_with_interval(times["padded"], milliseconds)
        line = dict(way=name, ms=round(median, 3), speed_up={key: round(value, 3) for key, value in ratio.items()})
        line |= found | dict(us_per_real_token=round(1e3 * median / found["real_tokens"], 2))
        yield line | dict(difference=abs(losses[name] - other) / abs(other))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="nano", help="of the model, a file of codesign/configs")
    parser.add_argument("--batch", type=int, default=16, help="examples of a step")
    parser.add_argument("--lengths", type=int, nargs=2, default=[4, 64], help="fewest and most tokens of an example")
    parser.add_argument("--rounds", type=int, default=100, help="timed rounds, at least 100")
    parser.add_argument("--out", help="a file for all lines, as a JSON list")
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    lines = [dict(device=name, torch=torch.__version__, threads=torch.get_num_threads(), **vars(given))]
    print(json.dumps(lines[0]), flush=True)
    for line in lines_of(given, device):
        lines.append(line)
        print(json.dumps(line), flush=True)
    if given.out:
        with open(given.out, "w", encoding="utf-8") as file:
            json.dump(lines, file, indent=1)


if __name__ == "__main__":
    main()
