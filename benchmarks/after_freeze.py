"""A training step of the dense model, under masks, and of the smaller model, timed in turn at the shapes of sizes.

    python benchmarks/after_freeze.py --sizes tiny small --out after_freeze.json
    python benchmarks/after_freeze.py --sizes nano --rounds 20

SDM removes channels when its masks freeze, and trains on with the smaller model. Each size is timed in one process:
one micro-batch of its pre-training, with forward, backward, clipping and AdamW. The smaller model keeps the channels
that `flops_reduction` of the size leaves, in equal parts a layer. `dense again` is a second dense model, the A/A
control: its ratio should be 1. The script prints one JSON object a line:

tokens_per_s        of each program, by its median time
over_dense          time of each program over that of the dense model, with a 95% interval over the rounds
training_saved      share of the time of dense training that a run saves whose masks freeze at `freeze_fraction`
training_flops_saved   the same for FLOPs, counted
"""

import argparse
import json
import sys
from dataclasses import replace

import numpy as np
import torch

from codesign.baseline import plan_of
from codesign.engine.errors import CodesignError
from codesign.engine.timing import ratio_with_interval
from codesign.pillars.channels import kept_for_target
from codesign.pillars.counting import config_of, flops_per_token
from codesign.pillars.modelling import LayerwiseMambaConfig, LayerwiseMambaForCausalLM
from codesign.pillars.training_pace import step_program, timed_in_turn, train_flops_saved, without_masks
from codesign.runs.run import environment
from codesign.runs.settings import load_settings
from codesign.sdm import MaskObjective


def smaller_config(config, settings):
    "The shape after the removal: the channels that the target leaves, spread over the layers as evenly as they can be."
    multiple, layers = settings.sdm.width_multiple, config.num_hidden_layers
    groups = kept_for_target(config, settings.sdm.flops_reduction, multiple) // multiple
    widths = [multiple * (groups // layers + (layer < groups % layers)) for layer in range(layers)]
    return LayerwiseMambaConfig.from_dict(config.to_dict() | dict(d_inner=widths))


def measured(size, rounds):
    "The line of one size."
    settings = load_settings(size)
    p, sdm, dense = settings.pretrain, settings.sdm, config_of(settings.model)
    small = smaller_config(dense, settings)
    plan = replace(plan_of(settings, 1000), graphed=False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    models = [LayerwiseMambaForCausalLM(config).to(device).train() for config in (dense, dense, small)]
    batch = torch.randint(dense.vocab_size, (p.micro_batch_size, p.length + 1), device=device)
    plainly, again, smaller = (step_program(model, plan, batch) for model in models)
    masked = step_program(models[0], plan, batch, MaskObjective(models[0], sdm, plan.steps))
    programs = {
        "dense": without_masks(models[0], plainly),
        "dense again": again,
        "under masks": masked,
        "smaller": smaller,
    }
    times = timed_in_turn(programs, rounds, device)
    over = {name: ratio_with_interval(values, times["dense"]) for name, values in times.items() if name != "dense"}
    tokens, share = p.micro_batch_size * p.length, sdm.freeze_fraction
    reduction = 1 - flops_per_token(small) / flops_per_token(dense)
    return dict(
        size=size,
        sequences=p.micro_batch_size,
        length=p.length,
        rounds=rounds,
        precision=p.precision,
        d_inner=small.d_inner,
        flops_removed=reduction,
        tokens_per_s={name: round(tokens / float(np.median(values))) for name, values in times.items()},
        over_dense=over,
        training_saved=1 - share * over["under masks"]["ratio"] - (1 - share) * over["smaller"]["ratio"],
        training_flops_saved=train_flops_saved(reduction, share),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["tiny", "small"])
    parser.add_argument("--rounds", type=int, default=100, help="each times every program once")
    parser.add_argument("--out", help="a file for all lines, as a JSON list")
    given = parser.parse_args()
    if given.rounds < 2:
        sys.exit(f"--rounds {given.rounds} gives no interval; valid: from 2")
    lines = [environment()]
    print(json.dumps(lines[0]), flush=True)
    for size in given.sizes:
        lines.append(measured(size, given.rounds))
        print(json.dumps(lines[-1]), flush=True)
    if given.out:
        with open(given.out, "w", encoding="utf-8") as file:
            json.dump(lines, file, indent=1)


if __name__ == "__main__":
    try:
        main()
    except CodesignError as error:
        sys.exit(str(error))
