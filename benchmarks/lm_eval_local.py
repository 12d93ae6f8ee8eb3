"""lm-eval on every kind of model that this project writes, compared row by row with what the models compute directly.

    python benchmarks/lm_eval_local.py --python LM_EVAL/bin/python
    python benchmarks/lm_eval_local.py --keep FOLDER --batch-size 1

`--python` is an interpreter that has lm-eval, and this package beside it (docs/how-to/lm-eval.md). Four small models
with random weights are made: a plain Mamba, and three that `codesign compress` makes of it. So are three local tasks:
choices (log-likelihood), documents (rolling log-likelihood, one of them longer than lm-eval's 2,048 tokens) and
generation. Nothing is downloaded. lm-eval then runs by its command line, in batches of texts of different length. The
direct numbers come from `load_model`, one text at a time, without padding and without lm-eval.

It prints a Markdown row for each model, with the largest difference of a log-likelihood in nats, and exits 1 if a
number disagrees. It takes some minutes.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import AutoTokenizer, MambaConfig, MambaForCausalLM

from codesign.compress import compress
from codesign.compressing.requests import CompressSettings
from codesign.engine.corpora import load_corpus
from codesign.engine.tokenization import load_tokenizer
from codesign.pillars.saved_models import load_model

ROOT = Path(__file__).resolve().parent.parent
MAX_LENGTH = 4096
GENERATED = 8  # tokens
ALLOWED = 1e-5  # of a log-likelihood, relative
QUICK = dict(calibration_tokens=4096, length=128, profile_length=16)
SMALLER = {
    "compressed, one width": dict(flops=0.75, uniform=True),
    "compressed, uneven": dict(flops=0.75),
    "fewer states": dict(flops=1.0, states=8),
}
TASKS = {
    "local_choice": """
output_type: multiple_choice
doc_to_text: "{{context}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{label}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "local_documents": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
""",
    "local_generation": f"""
output_type: generate_until
doc_to_text: "{{{{context}}}}"
doc_to_target: ""
generation_kwargs: {{until: [], max_gen_toks: {GENERATED}, do_sample: false}}
metric_list: [{{metric: exact_match}}]
""",
}


def make_models(folder):
    "Folders of the four models, by kind."
    tokenizer = load_tokenizer("bpe", 512, load_corpus("embedded"))
    torch.manual_seed(0)
    special = dict(bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    shape = dict(hidden_size=64, num_hidden_layers=3, vocab_size=512, initializer_range=0.3)
    folders = {"plain Mamba": folder / "plain"}
    MambaForCausalLM(MambaConfig(**shape | special)).save_pretrained(folders["plain Mamba"])
    tokenizer.save_pretrained(folders["plain Mamba"])
    for kind, changes in SMALLER.items():
        folders[kind] = folder / re.sub(r"\W+", "_", kind)
        compress(folders["plain Mamba"], folders[kind], CompressSettings(**QUICK | changes), say=lambda line: None)
    return folders


def make_rows():
    "Rows of the three tasks, of different length, cut from the embedded text."
    words = " ".join(load_corpus("embedded").documents["validation"]).split()

    def cut(start, length):
        return " ".join(words[start : start + length])

    choices, documents, contexts = [], [], []
    for row in range(24):
        start, length, label = 150 * row, 3 + (7 * row) % 40, row % 3
        found = [cut(start + length + 60 * other, 1 + (row + other) % 5) for other in range(3)]
        found[label], found[0] = found[0], found[label]  # the text's own words stand at `label`
        choices.append(dict(context=cut(start, length), choices=found, label=label))
        contexts.append(dict(context=cut(start, length)))
    documents = [dict(text=cut(400 * row, length)) for row, length in enumerate((30, 200, 90, 900, 5))]
    return {"local_choice": choices, "local_documents": documents, "local_generation": contexts[:12]}


def write_tasks(folder, rows):
    "A YAML file and a data file for each task."
    folder.mkdir()
    for name, settings in TASKS.items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows[name]), encoding="utf-8")
        head = f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\ntest_split: test"
        (folder / f"{name}.yaml").write_text(f"{head}{settings}", encoding="utf-8")


def log_likelihood(model, before, after):
    "The log-likelihood in nats of tokens `after` that follow the tokens `before`."
    ids = torch.tensor([before + after])
    with torch.no_grad():
        logits = model(ids[:, :-1], use_cache=False).logits[0].double()
    chosen = logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return chosen[len(before) - 1 :].sum().item()


def direct(folder, rows):
    "Log-likelihoods, metrics and generated texts of one model, without lm-eval."
    model, tokenizer = load_model(folder), AutoTokenizer.from_pretrained(folder)

    def tokens(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    found = {"local_choice": [], "local_documents": [], "local_generation": []}
    right = 0
    for row in rows["local_choice"]:
        before, scores = tokens(row["context"]), []
        for choice in row["choices"]:
            whole = tokens(f"{row['context']} {choice}")
            scores.append(log_likelihood(model, before, whole[len(before) :]))
        right += scores.index(max(scores)) == row["label"]
        found["local_choice"].append(scores)
    longest = 0
    for row in rows["local_documents"]:
        ids = tokens(row["text"])
        longest = max(longest, len(ids))
        found["local_documents"].append(log_likelihood(model, [tokenizer.eos_token_id], ids))
    if not 2048 < longest < MAX_LENGTH:
        sys.exit(f"the longest document has {longest} tokens; it must be between 2,048 and {MAX_LENGTH:,}")
    for row in rows["local_generation"]:
        ids = torch.tensor([tokens(row["context"])])
        made = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=GENERATED)
        found["local_generation"].append(tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True))
    texts = [row["text"] for row in rows["local_documents"]]
    nats, count = -sum(found["local_documents"]), sum(len(re.split(r"\s+", text)) for text in texts)
    size = sum(len(text.encode()) for text in texts)
    metrics = {
        "local_choice": {"acc": right / len(rows["local_choice"])},
        "local_documents": {
            "word_perplexity": math.exp(nats / count),
            "byte_perplexity": math.exp(nats / size),
            "bits_per_byte": nats / size / math.log(2),
        },
    }
    return found, metrics


def run_lm_eval(given, model, tasks, out):
    "Runs the command line of lm-eval; what it writes, as results and samples by task."
    arguments = f"pretrained={model},trust_remote_code=True,max_length={MAX_LENGTH}"
    command = [given.python, "-m", "lm_eval", "--model", "hf", "--model_args", arguments, "--tasks", ",".join(TASKS)]
    command += ["--include_path", tasks, "--device", "cpu", "--batch_size", given.batch_size]
    command += ["--output_path", out, "--log_samples"]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    home = dict(HF_HOME=str(out.parent / "huggingface"), HF_HUB_OFFLINE="1", PYTHONPATH=paths)
    done = subprocess.run([str(word) for word in command], env=os.environ | home, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"lm-eval ended with code {done.returncode}: {(done.stderr.strip().splitlines() or ['-'])[-1]}")
    (results,) = out.rglob("results_*.json")
    samples = {}
    for name in TASKS:
        (path,) = out.rglob(f"samples_{name}_*.jsonl")
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        samples[name] = [line["resps"] for line in sorted(lines, key=lambda line: line["doc_id"])]
    return json.loads(results.read_text(encoding="utf-8")), samples


def compared(found, metrics, results, samples):
    "The largest difference of a log-likelihood, relative and in nats, and texts and metrics that differ."
    relative, nats, wrong = 0.0, 0.0, []
    for name in ("local_choice", "local_documents"):
        for row, (one, other) in enumerate(zip(found[name], samples[name], strict=True)):
            wanted = one if isinstance(one, list) else [one]
            for mine, theirs in zip(wanted, numbers_of(name, other), strict=True):
                nats = max(nats, abs(mine - theirs))
                relative = max(relative, abs(mine - theirs) / abs(mine))
                if abs(mine - theirs) > ALLOWED * max(1.0, abs(mine)):
                    wrong.append(f"{name}, row {row}: {theirs}, directly {mine}")
    for row, (mine, other) in enumerate(zip(found["local_generation"], samples["local_generation"], strict=True)):
        if other[0][0] != mine:
            wrong.append(f"local_generation, row {row}: {other[0][0]!r}, directly {mine!r}")
    for name, values in metrics.items():
        for metric, mine in values.items():
            theirs = results["results"][name][f"{metric},none"]
            if abs(mine - theirs) > ALLOWED * abs(mine):
                wrong.append(f"{name}, {metric}: {theirs}, directly {mine}")
    return relative, nats, wrong


def numbers_of(name, responses):
    "The log-likelihoods in what lm-eval logged for a row: one of a document, one of each choice."
    if name == "local_documents":
        return [float(responses[0][0] if isinstance(responses[0], list) else responses[0])]
    return [float(choice[0][0]) for choice in responses]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="an interpreter with lm-eval; this one if left out")
    parser.add_argument("--batch-size", default="8", help="of lm-eval: a number of texts")
    parser.add_argument("--keep", type=Path, help="a new folder for models, tasks, results; left out: a temporary one")
    given = parser.parse_args()
    asked = "from importlib.metadata import version as v; print(v('lm-eval'), v('transformers'), v('torch'))"
    there = subprocess.run([given.python, "-c", asked], capture_output=True, text=True)
    if there.returncode:
        sys.exit(f"{given.python} has no lm-eval; name an interpreter that has with --python (docs/how-to/lm-eval.md)")
    if given.keep and given.keep.exists():
        sys.exit(f"{given.keep} is there already; give a folder that is not")
    here = f"models written with transformers {version('transformers')}"
    print("lm-eval {}, transformers {}, torch {}".format(*there.stdout.split()), here, sep="; ", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        return tried(given, (given.keep or Path(folder) / "work").resolve())


def tried(given, work):
    "Makes everything below a folder, and prints a row for each model; 1 if a number disagrees."
    work.mkdir(parents=True)
    rows, problems = make_rows(), []
    write_tasks(work / "tasks", rows)
    print("| model | accuracy | word perplexity | bits per byte | largest difference | equal texts |")
    print("|---|---|---|---|---|---|", flush=True)
    for kind, folder in make_models(work).items():
        found, metrics = direct(folder, rows)
        results, samples = run_lm_eval(given, folder, work / "tasks", work / f"{folder.name}_results")
        relative, nats, wrong = compared(found, metrics, results, samples)
        choice, documents = (results["results"][name] for name in ("local_choice", "local_documents"))
        texts = len(rows["local_generation"])
        equal = texts - sum(line.startswith("local_generation") for line in wrong)
        cells = [kind, f"{choice['acc,none']:.4f}", f"{documents['word_perplexity,none']:.6g}"]
        cells += [f"{documents['bits_per_byte,none']:.6f}", f"{nats:.1e} nats, {relative:.1e} of the value"]
        print("| " + " | ".join([*cells, f"{equal} of {texts}"]) + " |", flush=True)
        problems += [f"{kind}: {line}" for line in wrong]
    if problems:
        print(*problems, sep="\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
