"""Tunes the recipes of the reference models (chapter 11), and writes them to codesign/configs/peers.yaml.

    CODESIGN_DATA=... python benchmarks/tune_peers.py --size tiny --seed 41 --data wikitext-2

A trial trains a reference model from new weights on the first 19 twentieths of the training split, and is scored on
the last twentieth, in windows of the size's length, as a study scores the validation split. The search goes through
the settings of a recipe one after the other, tries the values in `CHOICES`, and keeps the best; it goes on from the
first setting as long as a round has found something better, for at most `ROUNDS` rounds.

The record (figures/peers/tuning.json) is written after every trial. The command goes on where it stopped, and refuses
a record of another size, seed, text or number of tokens. `complete` says for each model whether its search has ended.
--limit N stops after N new trials; --dry-run says which trial comes next and trains nothing.

--check STEPS searches nothing. It trains the best recipe of each model so far on as many tokens as M_base reads in
STEPS steps, of the whole training split, and adds its perplexity on the validation split to the record's `checks`.
No recipe is chosen by a check. Only one such command may work on a record at a time.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STARTS = {
    "lstm": dict(
        optimizer="sgd", lr=40.0, batch_size=8, length=32, dropout=0.0, warmup_fraction=0.02, weight_decay=0.0,
        clip_norm=0.25,
    ),
    "transformer": dict(
        optimizer="adamw", lr=3e-3, batch_size=4, length=None, dropout=0.0, warmup_fraction=0.1, weight_decay=0.1,
        clip_norm=1.0,
    ),
}  # fmt: skip
LEARNING_RATE = "half of the learning rate and twice of it, until both are worse"
CHOICES = {  # in the order of the search; each choice replaces one or more settings
    "lstm": [
        [dict(layers=1)],
        [dict(optimizer="adamw", lr=lr, clip_norm=1.0, weight_decay=0.1) for lr in (5e-3, 1e-2)],
        LEARNING_RATE,
        [dict(batch_size=b, length=n) for b, n in ((8, 32), (8, 16), (4, 32), (16, 32), (4, 16))],
        [dict(dropout=p) for p in (0.0, 0.1, 0.2)],
        [dict(warmup_fraction=w) for w in (0.02, 0.1)],
        [dict(clip_norm=c) for c in (0.25, 0.5, 1.0)],
        [dict(beta2=b) for b in (0.98, 0.999)],
        [dict(weight_decay=w) for w in (0.0, 0.1)],
    ],
    "transformer": [
        LEARNING_RATE,
        [dict(batch_size=b) for b in (4, 2, 8, 1)],
        [dict(layers=n) for n in (2, 3)],
        [dict(warmup_fraction=w) for w in (0.1, 0.2, 0.05)],
        [dict(beta2=b) for b in (0.98, 0.999, 0.95)],
        [dict(dropout=p) for p in (0.0, 0.1)],
        [dict(weight_decay=w) for w in (0.1, 0.01)],
    ],
}
ROUNDS, MOST_TOKENS, HELD_OUT = 2, 500_000, 1 / 20
HEAD = """\
# How the reference models (chapter 11) are trained. Each has a recipe of its own, on as many tokens as M_base reads.
# `python benchmarks/tune_peers.py` wrote this file from the record that `tuned` names. Do not edit it by hand.
#   optimizer        adamw, or sgd (without momentum)
#   lr               peak of a linear warm-up and a cosine down to min_lr_fraction of it
#   batch_size       sequences a step
#   length           tokens of a sequence in a step, the state being carried on; null: blocks of M_base, no state
#   dropout          share of activations left out in training
#   beta1, beta2     of AdamW; SGD does not use them
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--seed", type=int, default=41)
    parser.add_argument("--data", default="wikitext-2")
    parser.add_argument("--models", nargs="+", default=list(STARTS), choices=list(STARTS))
    parser.add_argument("--tokens", type=int, default=491_520, help=f"of a trial; at most {MOST_TOKENS:,}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, help="most new trials")
    parser.add_argument("--record", type=Path, default=ROOT / "figures" / "peers" / "tuning.json")
    parser.add_argument("--recipes", type=Path, default=ROOT / "codesign" / "configs" / "peers.yaml")
    parser.add_argument(
        "--check", type=int, metavar="STEPS", help="train the best recipes, and score the validation split"
    )
    parser.add_argument("--dry-run", action="store_true", help="say which trial comes next, and train nothing")
    asked = parser.parse_args()
    if not 0 < asked.tokens <= MOST_TOKENS:
        sys.exit(f"--tokens {asked.tokens:,} is out of range; valid: 1 to {MOST_TOKENS:,}")
    if asked.check is not None and asked.check < 1:
        sys.exit(f"--check {asked.check} is no number of steps; valid: from 1")
    return asked


def read_text(asked, settings):
    "The text as a run reads it, and the digests of corpus and tokenizer."
    import numpy as np

    from codesign.engine.corpora import load_corpus
    from codesign.engine.token_streams import token_stream
    from codesign.engine.tokenization import load_tokenizer, tokenizer_digest
    from codesign.pillars.language_data import LanguageData

    corpus = load_corpus(asked.data)
    tokenizer = load_tokenizer(settings.model.tokenizer, settings.model.vocab_size, corpus)
    streams = [np.asarray(token_stream(corpus, split, tokenizer)) for split in ("train", "validation")]
    digests = dict(corpus=corpus.hash, tokenizer=tokenizer_digest(tokenizer.backend_tokenizer))
    return LanguageData(corpus, tokenizer, *streams), digests


def in_two(stream):
    "The part of the training split that trials train on, and its end, which scores them."
    cut = len(stream) - math.ceil(HELD_OUT * len(stream))
    return stream[:cut], stream[cut:]


def opened_record(asked, kept, held_out, digests):
    "The record that is there, or a new one. Exits if it belongs to another tuning."
    about = dict(
        command="python benchmarks/tune_peers.py",
        size=asked.size,
        seed=asked.seed,
        data=asked.data,
        text=digests,
        tokens_a_trial=asked.tokens,
        tokens_to_train_on=len(kept),
        tokens_held_out=len(held_out),
        scored="perplexity a token on the end of the training split, in windows read from an empty state",
    )
    if not asked.record.is_file():
        return about | dict(complete=dict.fromkeys(STARTS, False), trials=[])
    record = json.loads(asked.record.read_text(encoding="utf-8"))
    if differing := [name for name, value in about.items() if record.get(name) != value]:
        sys.exit(f"{asked.record.name} was made with another {', '.join(differing)}; give another file with --record")
    return record


def trial_of(name, recipe, asked, settings, target, kept, held_out):
    "One trial: its recipe, the perplexity on the held-out text (None if training diverged), steps and seconds."
    from codesign.engine.errors import CodesignError
    from codesign.engine.evaluation import evaluate_nll
    from codesign.engine.training import reproducible, train
    from codesign.peers import peer_training
    from codesign.pillars.carried_state import carried_nll

    started, found = time.perf_counter(), dict(ppl_token=None)
    with reproducible(asked.seed, asked.threads):
        made = peer_training(name, recipe, settings, kept, asked.tokens, asked.seed, target)
        try:
            losses = train(made.model, made.batch_of, replace(made.plan, checkpoint_every=0), made.objective)
            nats, tokens = evaluate_nll(made.model, held_out, settings.pretrain.length)
            found = dict(ppl_token=math.exp(nats / tokens), train_loss=sum(losses[-50:]) / len(losses[-50:]))
            if made.carried:
                nats, tokens = carried_nll(made.model, held_out)
                found["ppl_token_carried"] = math.exp(nats / tokens)
        except CodesignError as error:
            if "finite" not in str(error):
                raise
            found["diverged"] = str(error)
    counted = sum(p.numel() for p in made.model.parameters())
    about = dict(params_total=counted, steps=made.plan.steps, tokens=made.plan.steps * made.tokens_per_step)
    return dict(model=name, recipe=asdict(recipe), **found, **about, wall_s=round(time.perf_counter() - started, 1))


def check_of(name, recipe, asked, settings, target, data):
    "The best recipe on more tokens of the whole training split, scored on the validation split as a run is."
    from codesign.engine.training import reproducible, train
    from codesign.peers import peer_training
    from codesign.pillars.carried_state import carried_nll
    from codesign.pillars.language_data import perplexity_metrics

    p, started = settings.pretrain, time.perf_counter()
    tokens = asked.check * p.batch_size * p.length
    with reproducible(asked.seed, asked.threads):
        made = peer_training(name, recipe, settings, data.train, tokens, asked.seed, target)
        train(made.model, made.batch_of, replace(made.plan, checkpoint_every=0), made.objective)
        found = perplexity_metrics(made.model, data, p.length)
        if made.carried:
            carried = data.perplexities(*carried_nll(made.model, data.evaluated))
            found["ppl_word_carried"] = carried["ppl_word"]
    about = dict(tokens=tokens, steps=made.plan.steps, wall_s=round(time.perf_counter() - started, 1))
    return dict(model=name, recipe=asdict(recipe), **found, **about)


def wanted_trials(name, score_of):
    "Goes through the search; yields each recipe whose score is not known yet. `score_of(recipe)` is None for those."
    from codesign.runs.checking import validated
    from codesign.runs.peer_recipes import PeerRecipe

    best = validated(PeerRecipe, STARTS[name], name)
    if score_of(best) is None:
        yield best
    for _ in range(ROUNDS):
        before = best
        for choices in CHOICES[name]:
            going_on = True
            while going_on:
                changes = [dict(lr=best.lr / 2), dict(lr=best.lr * 2)] if choices == LEARNING_RATE else choices
                candidates = [best, *(replace(best, **change) for change in changes)]
                for candidate in candidates:
                    if score_of(candidate) is None:
                        yield candidate
                found = min(candidates, key=score_of)
                going_on, best = choices == LEARNING_RATE and found != best, found
        if best == before:
            return


def best_recipe(record, name):
    "The recipe of the best trial of a model; None if there is none."
    tried = [t for t in record["trials"] if t["model"] == name and t["ppl_token"] is not None]
    return min(tried, key=lambda trial: trial["ppl_token"])["recipe"] if tried else None


def write_recipes(asked, record):
    "Writes the best recipe of each model that has been tried; another model keeps what the file says of it."
    import yaml

    from codesign.engine.files import read_yaml, write_atomic

    recipes = read_yaml(asked.recipes)
    recipes |= {name: found for name in STARTS if (found := best_recipe(record, name))}
    place = asked.record.resolve()
    shown = place.relative_to(ROOT).as_posix() if place.is_relative_to(ROOT) else place.name
    recipes["tuned"] = {**{key: record[key] for key in ("size", "seed", "data")}, "record": shown}
    lines = [yaml.safe_dump({name: recipes[name]}, sort_keys=False) for name in ("tuned", *STARTS)]
    write_atomic(asked.recipes, HEAD + "".join(lines))


def checked(asked, settings, target, data, record):
    "Adds a check of each model to the record."
    from codesign.engine.files import write_json
    from codesign.runs.checking import validated
    from codesign.runs.peer_recipes import PeerRecipe

    for name in asked.models:
        if not (found := best_recipe(record, name)):
            sys.exit(f"{asked.record.name} has no trial of the {name}: give the command without --check first")
        recipe = validated(PeerRecipe, found, name)
        record.setdefault("checks", []).append(check_of(name, recipe, asked, settings, target, data))
        write_json(asked.record, record)
        print(f"{name}: {record['checks'][-1]['ppl_word']} perplexity a word, validation", flush=True)


def searched(name, asked, settings, target, data, record, most):
    """Makes trials of a model, at most `most`, and writes each to the record; returns how many.

    The record says that the search is complete if no trial is left.
    """
    from codesign.engine.files import write_json
    from codesign.runs.peer_recipes import PeerRecipe
    from codesign.runs.run import environment

    made, (kept, held_out) = 0, in_two(data.train)

    def score_of(recipe):
        "The perplexity of a recipe that was tried: infinite if it diverged; None if it was not tried."
        for trial in record["trials"]:
            if trial["model"] == name and PeerRecipe(**trial["recipe"]) == recipe:
                return math.inf if trial["ppl_token"] is None else trial["ppl_token"]

    for recipe in wanted_trials(name, score_of):
        print(f"{name}, next: {recipe}", flush=True)
        if asked.dry_run or made >= most:
            return made
        record["trials"].append(trial_of(name, recipe, asked, settings, target, kept, held_out))
        record["environment"] = environment()
        write_json(asked.record, record)
        write_recipes(asked, record)
        made += 1
        print(f"    {record['trials'][-1]['ppl_token']}, {record['trials'][-1]['wall_s']} s", flush=True)
    record["complete"][name] = True
    write_json(asked.record, record)
    return made


def main():
    asked = arguments()
    from codesign.pillars.counting import config_of, count_parameters
    from codesign.pillars.modelling import LayerwiseMambaForCausalLM
    from codesign.runs.settings import load_settings

    settings = load_settings(asked.size)
    target = count_parameters(LayerwiseMambaForCausalLM(config_of(settings.model)))["total_parameters"]
    data, digests = read_text(asked, settings)
    record, left = opened_record(asked, *in_two(data.train), digests), math.inf if asked.limit is None else asked.limit
    asked.record.parent.mkdir(parents=True, exist_ok=True)
    if asked.check:
        return checked(asked, settings, target, data, record)
    for name in asked.models:
        left -= searched(name, asked, settings, target, data, record, left)
    print(", ".join(f"{name}: {'complete' if done else 'not complete'}" for name, done in record["complete"].items()))


if __name__ == "__main__":
    from codesign.engine.errors import CodesignError

    try:
        main()
    except CodesignError as error:  # also where the command was asked to stop: finished trials are in the record
        sys.exit(str(error))
