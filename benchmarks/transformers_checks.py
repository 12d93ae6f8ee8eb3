"""What this project patches in transformers, or relies on there, tried with the transformers that is installed.

    python benchmarks/transformers_checks.py
    python benchmarks/transformers_checks.py "padding" "generate"

It prints one JSON object a line. The first has the versions of the packages. Then comes one for each check: `check`,
`outcome` ("ok" or "broke") and `said`, the error in one line. The last lines are about faults of transformers that
this project works around; their outcome is "there" or "mended", or "broke" where that could not be seen. The exit
code is 1 if a check broke. `transformers_versions.py` runs this file with other versions.

Models are tiny, have random weights, and are compared on a CPU in float32.
"""

import copy
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from contextlib import redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "tokenizers", "huggingface_hub", "safetensors", "accelerate", "peft", "datasets", "numpy", "numba")
MODULES = "baseline challenge compress csp peers reproduce results sdm sgh_peft pillars.classifying engine.acceleration"
ALLOWED = 1e-5  # relative to the largest value

CHECKS, FAULTS = {}, {}


def check(name):
    "Registers a check: a function that raises an error where something is broken."
    return lambda function: CHECKS.setdefault(name, function)


def fault(name):
    "Registers a fault: a function that says whether transformers still has it."
    return lambda function: FAULTS.setdefault(name, function)


def require(condition, otherwise):
    "Raises AssertionError with this text, also under `python -O`."
    if not condition:
        raise AssertionError(otherwise)


def difference(found, wanted):
    "The largest difference, over the largest value that is wanted."
    return ((found.detach() - wanted.detach()).abs().max() / wanted.detach().abs().max()).item()


def agree(found, wanted, what):
    "Raises AssertionError unless two tensors agree to `ALLOWED`."
    far = difference(found, wanted)
    require(far < ALLOWED, f"{what}: relative difference {far:.1e}, allowed {ALLOWED}")


SHAPE = dict(hidden_size=32, num_hidden_layers=2, vocab_size=64, initializer_range=0.3)
SPECIAL = dict(bos_token_id=0, eos_token_id=0, pad_token_id=0)


def plain(lasting=True, **changes):
    "A Mamba of transformers; `lasting`: its layers count and its states last for many tokens, as in a trained model."
    import torch
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    model = MambaForCausalLM(MambaConfig(**SHAPE | SPECIAL | changes)).eval()
    with torch.no_grad():
        for layer in model.backbone.layers if lasting else ():
            layer.mixer.x_proj.weight.mul_(2.0)
            layer.mixer.out_proj.weight.mul_(2.0)
            layer.mixer.dt_proj.bias.fill_(-2.0)
    return model


def uneven():
    "A model of this project whose layers differ."
    import torch

    from codesign.pillars.modelling import LayerwiseMambaConfig, LayerwiseMambaForCausalLM

    torch.manual_seed(0)
    config = LayerwiseMambaConfig(**SHAPE | SPECIAL, d_inner=[40, 24], d_state=[8, 4])
    return LayerwiseMambaForCausalLM(config).eval()


def tokens(rows=2, length=20):
    "Token ids (rows, length), always the same."
    import torch

    return torch.randint(1, SHAPE["vocab_size"], (rows, length), generator=torch.Generator().manual_seed(1))


def ours_of(model):
    "The same weights as a model of this project, through a folder that transformers writes."
    from codesign.pillars.saved_models import load_model

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # fields of config.json that this project does not know
            return load_model(folder)


def accelerated(model):
    "A copy to which the scan of this project is lent."
    from codesign.engine.acceleration import accelerate_transformers

    lent = copy.deepcopy(model)
    accelerate_transformers(lent)
    return lent


def both(model):
    "The two ways in which this project computes a model of transformers, by name."
    return {"accelerated": accelerated(model), "ours": ours_of(model)}


def logits(model, ids, **options):
    "Logits without gradients and without a cache."
    import torch

    with torch.no_grad():
        return model(ids, **dict(use_cache=False) | options).logits


def in_new_process(source, *arguments):
    "The last line that a Python program prints, in an interpreter that has imported nothing yet."
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-c", source, *map(str, arguments)],
            env=os.environ | dict(HF_HOME=home, HF_HUB_OFFLINE="1"),
            capture_output=True,
            text=True,
        )
    require(done.returncode == 0, (done.stderr.strip().splitlines() or ["no output"])[-1])
    return done.stdout.split()[-1]


@check("import")
def imports():
    for name in MODULES.split():
        importlib.import_module(f"codesign.{name}")


@check("logits and gradients")
def logits_and_gradients():
    "With `accelerate_transformers`, and read by `load_model`."
    model, ids = plain(), tokens()
    wanted = model(ids, labels=ids, use_cache=False)
    wanted.loss.backward()
    for name, other in both(model).items():
        other.zero_grad()
        found = other(ids, labels=ids, use_cache=False)
        found.loss.backward()
        agree(found.logits, wanted.logits, f"{name}, logits")
        gradients = {place: parameter.grad for place, parameter in other.named_parameters()}
        for place, parameter in model.named_parameters():
            agree(gradients[place], parameter.grad, f"{name}, gradient of {place}")


@check("cached decoding")
def cached_decoding():
    "Token by token, and several tokens after a cache."
    import torch

    model, ids = plain(), tokens()
    wanted = logits(model, ids)
    for name, other in both(model).items():
        for pieces in (1, 4):
            with torch.no_grad():
                first = other(ids[:, :12], use_cache=True)
                cache, found = first.cache_params, [first.logits]
                for piece in ids[:, 12:].split(pieces, dim=1):
                    found.append(other(piece, cache_params=cache, use_cache=True).logits)
            agree(torch.cat(found, dim=1), wanted, f"{name}, {pieces} tokens after a cache")


@check("generate")
def generate():
    "The tokens that plain transformers chooses, from one text and from a batch padded on the left."
    import torch

    model, ids = plain(), tokens()
    mask = torch.ones_like(ids)
    mask[0, :6] = 0
    options = dict(max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)
    wanted = model.generate(ids * mask, attention_mask=mask, **options)[:, 20:]
    for name, other in both(model).items():
        found = other.generate(ids * mask, attention_mask=mask, **options)[:, 20:]
        require(found.equal(wanted), f"{name}: {found.tolist()} instead of {wanted.tolist()}")
        alone = other.generate(ids[:1, 6:], attention_mask=mask[:1, 6:], **options)[:, 14:]
        require(alone.equal(wanted[:1]), f"{name}, alone: {alone.tolist()} instead of {wanted[:1].tolist()}")


@check("padding masks")
def padding_masks():
    "A padded text has the logits that it has alone."
    import torch

    model, ids = plain(), tokens()
    alone, mask = logits(model, ids[:1, 6:]), torch.ones_like(ids)
    mask[0, :6] = 0
    for name, other in both(model).items():
        agree(logits(other, ids * mask, attention_mask=mask)[:1, 6:], alone, f"{name}, padded on the left")
        rows, to_the_right = (values.roll(-6, dims=1) for values in (ids * mask, mask))
        agree(logits(other, rows, attention_mask=to_the_right)[:1, :14], alone, f"{name}, padded on the right")


@check("auto classes")
def auto_classes():
    "`AutoModelForCausalLM` opens an uneven model after `import codesign`, before or after transformers; it saves it."
    from transformers import AutoModelForCausalLM

    model = uneven()
    wanted = logits(model, tokens(1, 5))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        opened = AutoModelForCausalLM.from_pretrained(folder).eval()  # this process imported codesign first
        require(type(opened) is type(model), f"opened as {type(opened).__name__}")
        agree(logits(opened, tokens(1, 5)), wanted, "opened")
        found = in_new_process(OPENS.format(also="codesign", options=""), folder, tokens(1, 5).tolist())
    agree_on_sum(found, wanted)


OPENS = """
import json, sys, tempfile, torch
import transformers, {also}
from transformers import AutoConfig, AutoModelForCausalLM
config = AutoConfig.from_pretrained(sys.argv[1]{options})
model = AutoModelForCausalLM.from_pretrained(sys.argv[1]{options})
assert type(config).__name__ == "LayerwiseMambaConfig" and type(model).__name__ == "LayerwiseMambaForCausalLM"
with tempfile.TemporaryDirectory() as again:
    model.save_pretrained(again)
    model = AutoModelForCausalLM.from_pretrained(again{options}).eval()
    print(model(torch.tensor(json.loads(sys.argv[2]))).logits.double().sum().item())
"""


def agree_on_sum(found, wanted):
    "Raises AssertionError unless a program printed the sum of these logits."
    wanted = wanted.double().sum().item()
    require(abs(float(found) - wanted) < 1e-3, f"the sum of the logits is {found}, not {wanted}")


@check("trust_remote_code")
def trust_remote_code():
    "An uneven model opens in a process that does not import codesign itself."
    model, options = uneven(), ", trust_remote_code=True"
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        found = in_new_process(OPENS.format(also="os", options=options), folder, tokens(1, 5).tolist())
    agree_on_sum(found, logits(model, tokens(1, 5)))


@check("save for plain transformers")
def save_for_transformers():
    "`save_as_mamba` writes a folder that transformers opens without this package, whatever the flags."
    import torch
    from transformers import MambaForCausalLM

    from codesign.pillars.saved_models import save_as_mamba

    flags = (
        {},
        dict(use_bias=True),
        dict(tie_word_embeddings=False),
        dict(expand=1),
        dict(rescale_prenorm_residual=True),
    )
    for changes in flags:
        for dtype in (torch.float32, torch.bfloat16):
            model = ours_of(plain(**changes)).to(dtype)
            with tempfile.TemporaryDirectory() as folder:
                save_as_mamba(model, folder)
                opened = MambaForCausalLM.from_pretrained(folder).eval()
            require(opened.dtype == dtype, f"{changes}: saved in {dtype}, read in {opened.dtype}")
            agree(logits(opened.float(), tokens()), logits(model.float(), tokens()), f"{changes} in {dtype}")


@check("classification")
def classification():
    "`AutoModelForSequenceClassification` opens both kinds of folders; a saved classifier reads back."
    import torch
    from transformers import AutoModelForSequenceClassification

    from codesign.pillars.classifying import register_mamba_classification

    register_mamba_classification()
    ids, labels = tokens(), torch.tensor([0, 2])
    for model in (plain(), uneven()):
        name = type(model).__name__
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            torch.manual_seed(0)
            opened = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3).eval()
            agree(opened.backbone.embeddings.weight, model.backbone.embeddings.weight, f"{name}, embeddings")
            opened(ids, attention_mask=torch.ones_like(ids), labels=labels).loss.backward()
            require(opened.score.weight.grad.abs().max() > 0, f"{name}: the head has no gradient")
            opened.save_pretrained(Path(folder) / "again")
            again = AutoModelForSequenceClassification.from_pretrained(Path(folder) / "again").eval()
        agree(again(ids).logits, opened(ids).logits, f"{name}, read back")


@check("Trainer")
def trainer():
    "Loss and norm of the gradient of a first step, in one batch and accumulated, are those of plain transformers."
    model = plain()
    wanted = first_step(model, per_device_train_batch_size=8)
    for name, other in {"plain": model, **both(model)}.items():
        for options in (
            dict(per_device_train_batch_size=8),
            dict(per_device_train_batch_size=2, gradient_accumulation_steps=4),
        ):
            for found, expected in zip(first_step(other, **options), wanted, strict=True):
                close = abs(found - expected) < 1e-3 * abs(expected)
                require(close, f"{name}, {options}: loss or norm of the gradient {found}, not {expected}")


def first_step(model, **options):
    "Loss and norm of the gradient of a first training step."
    import torch
    from transformers import Trainer, TrainingArguments

    rows = torch.randint(1, 64, (8, 12), generator=torch.Generator().manual_seed(3)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        options |= dict(max_steps=1, logging_steps=1, report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True)
        options |= dict(max_grad_norm=1e9, optim="sgd", seed=1)
        trainer = Trainer(
            copy.deepcopy(model),
            TrainingArguments(folder, **options),
            train_dataset=[dict(input_ids=row, labels=row) for row in rows],
        )
        trainer.train()
    return [float(trainer.state.log_history[0][key]) for key in ("loss", "grad_norm")]


@check("gradient checkpointing")
def gradient_checkpointing():
    "The same gradients with and without it."
    model, ids, found = ours_of(plain()).train(), tokens(), []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(ids, labels=ids).loss.backward()
        found.append([parameter.grad.clone() for parameter in model.parameters()])
        model.zero_grad()
    for one, other in zip(*found, strict=True):
        agree(one, other, "a gradient")


@check("peft")
def peft():
    "LoRA on three projections (peft refuses out_proj) has gradients and merges, in our model and under the lent scan."
    import torch
    from peft import LoraConfig, get_peft_model

    from codesign.engine.acceleration import accelerate_transformers

    wanted, ids = LoraConfig(r=2, target_modules=["in_proj", "x_proj", "dt_proj"]), tokens()
    for model in (plain(), ours_of(plain())):
        name = type(model).__name__
        adapted = get_peft_model(model, wanted).eval()
        if name == "MambaForCausalLM":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # plain transformers would ignore the adapter on dt_proj
                accelerate_transformers(adapted)
        added = {place: parameter for place, parameter in adapted.named_parameters() if "lora_B" in place}
        with torch.no_grad():
            for parameter in added.values():
                parameter.normal_(std=0.1)
        adapted(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        dead = [place for place, parameter in added.items() if parameter.grad is None or not parameter.grad.any()]
        require(len(added) == 6 and not dead, f"{name}: {len(added)} of 6 adapters, without a gradient: {dead}")
        before = logits(adapted, ids)
        agree(logits(adapted.merge_and_unload(), ids), before, f"{name}, merged")


@check("compress")
def compressing():
    "`codesign compress` makes a checkpoint of transformers smaller: layers of one width, and of different width."
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from codesign.compress import compress
    from codesign.compressing.requests import CompressSettings
    from codesign.engine.corpora import load_corpus
    from codesign.engine.tokenization import load_tokenizer

    tokenizer = load_tokenizer("bpe", 512, load_corpus("embedded"))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        plain(lasting=False, vocab_size=512, num_hidden_layers=3).save_pretrained(place / "model")
        tokenizer.save_pretrained(place / "model")
        for uniform in (True, False):
            settings = CompressSettings(
                flops=0.8, states=8, uniform=uniform, calibration_tokens=2048, length=64, profile_length=16
            )
            compress(place / "model", place / f"{uniform}", settings, say=lambda line: None)
            opened = AutoModelForCausalLM.from_pretrained(place / f"{uniform}")
            expected = "MambaForCausalLM" if uniform else "LayerwiseMambaForCausalLM"
            require(type(opened).__name__ == expected, f"opened as {type(opened).__name__}, not {expected}")
            said = AutoTokenizer.from_pretrained(place / f"{uniform}")("The state of a Mamba").input_ids
            require(said == tokenizer("The state of a Mamba").input_ids, "the tokenizer in the folder has other ids")


@check("reference models")
def reference_models():
    "The Transformer of 11_peers trains and is counted."
    from codesign.peers import peer_of
    from codesign.runs.settings import load_settings

    settings = load_settings("nano").model
    model, ids = peer_of("transformer", settings, 32, 300_000), tokens()
    model(input_ids=ids, labels=ids).loss.backward()
    require(all(parameter.grad is not None for parameter in model.parameters()), "a parameter has no gradient")


@fault("several tokens after a cache forget it")
def forgets():
    import torch

    model, ids = plain(), tokens()
    with torch.no_grad():
        cache = model(ids[:, :12], use_cache=True).cache_params
        found = model(ids[:, 12:], cache_params=cache, use_cache=True).logits
    return difference(found, logits(model, ids)[:, 12:]) > 1e-3


@fault("out_proj is rescaled at every load")
def rescaled():
    from transformers import MambaForCausalLM

    model = plain(rescale_prenorm_residual=True)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        opened = MambaForCausalLM.from_pretrained(folder)
    return (
        difference(opened.backbone.layers[0].mixer.out_proj.weight, model.backbone.layers[0].mixer.out_proj.weight)
        > 1e-3
    )


@fault("no Mamba in AutoModelForSequenceClassification")
def no_classifier():
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    return "mamba" not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES


@fault("an adapter on dt_proj has no effect")
def dead_adapter():
    model = plain()
    called = []
    model.backbone.layers[0].mixer.dt_proj.register_forward_hook(lambda *_: called.append(True))
    logits(model, tokens())
    return not called


def one_line(error):
    "An error as one line, with where in this project or in transformers it arose."
    at = error.__traceback__
    while at and at.tb_next:
        at = at.tb_next
    where = f" ({Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno})" if at else ""
    text = re.sub(r"(/[^\s/:'\"()]+)+/site-packages/", "", " ".join(str(error).split()))  # the place is this machine's
    said = f"{type(error).__name__}: {text}"
    return said if isinstance(error, AssertionError) else said[:300] + where


def outcomes(names=()):
    "A line for each check, then for each fault: all, or those whose name contains one of `names`."
    for kind, functions in (("check", CHECKS), ("fault", FAULTS)):
        for name, function in functions.items():
            if names and not any(part in name for part in names):
                continue
            try:
                said = function()
                outcome = "ok" if kind == "check" else ("there" if said else "mended")
                yield {kind: name, "outcome": outcome, "said": ""}
            except Exception as error:  # whatever breaks is what this file is to say
                yield {kind: name, "outcome": "broke", "said": one_line(error)}


def versions():
    "The versions of the packages, as they are installed."
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("transformers", *PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def main(names):
    "Prints the lines; what libraries print goes to standard error. 1 if a check broke, 2 for an unknown name."
    if unknown := [name for name in names if not any(name in known for known in (*CHECKS, *FAULTS))]:
        print(f"no check is called {unknown[0]!r}; valid: parts of {', '.join((*CHECKS, *FAULTS))}", file=sys.stderr)
        return 2
    out, broke = sys.stdout, False
    with redirect_stdout(sys.stderr):
        print(json.dumps({"versions": versions()}), file=out, flush=True)
        for line in outcomes(names):
            print(json.dumps(line), file=out, flush=True)
            broke |= "check" in line and line["outcome"] == "broke"
    return int(broke)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
