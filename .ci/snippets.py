"""Runs the Python of Markdown pages, and checks the commands that they show.

`python .ci/snippets.py PAGE.md ...`; without a page: those of the root and of docs/.
All ```python blocks of a page run in order, in one namespace, in a new folder. There, `path/to/mamba` is a small Mamba
of Hugging Face with random weights and a tokenizer, and `text.txt` is a text. In ```sh blocks every line that begins
with `codesign` is parsed by the real command line, with its types and choices, and not run. Every `make NAME` must be a
target. Of README.md only the commands are checked: its Python is in nbs/index.ipynb, where it runs.
Prints a line for each page, and exits 1 if anything failed.
"""

import contextlib
import os
import re
import shlex
import sys
import tempfile
import traceback
from pathlib import Path

root = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.M | re.S)
SHELLS = ("sh", "bash", "shell", "console")


def blocks(text, languages):
    "Line number and content of every fenced block of these languages."
    for found in FENCE.finditer(text):
        if found[1] in languages:
            yield text[: found.start()].count("\n") + 2, found[2]


def make_workspace(folder):
    "A folder as the pages assume it."
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import MambaConfig, MambaForCausalLM, PreTrainedTokenizerFast, set_seed

    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(root.glob("*.md")))
    (folder / "text.txt").write_text(text, encoding="utf-8")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=512, special_tokens=["<eos>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(text.splitlines(), trainer)
    set_seed(0)
    config = MambaConfig(
        hidden_size=64, num_hidden_layers=2, vocab_size=512, bos_token_id=0, eos_token_id=0, pad_token_id=0
    )
    model = folder / "path" / "to" / "mamba"
    MambaForCausalLM(config).save_pretrained(model)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>").save_pretrained(model)


@contextlib.contextmanager
def workspace():
    "A new folder as `make_workspace` fills it, as the current one."
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        make_workspace(Path(folder))
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def run_python(page):
    "The first error of the page's Python, with its line; else None."
    snippets = list(blocks(page.read_text(encoding="utf-8"), ("python", "py")))
    if not snippets:
        return None
    names = {"__name__": "__main__"}
    with workspace(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        for line, source in snippets:
            try:
                exec(compile("\n" * (line - 1) + source, str(page), "exec"), names)
            except BaseException as error:
                at = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(page)]
                where = at[-1] if at else getattr(error, "lineno", line)
                return f"line {where}: {type(error).__name__}: {error}"
    return None


def commands(page):
    "Line number and words of every shell line of the page, continued lines joined."
    for first, source in blocks(page.read_text(encoding="utf-8"), SHELLS):
        joined = re.sub(r"\\\n", "  ", source)
        for number, line in enumerate(joined.splitlines(), first):
            words = shlex.split(line.removeprefix("$ "), comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words = words[1:]
            if words:
                yield number, words


def wrong_command(words):
    "What the command line says of these words; None if it would take them."
    import typer

    from codesign.reproduce import app
    from codesign.study.command_line import as_options, error_line

    command = typer.main.get_command(app)
    words = [words[0], *as_options(words[1:])]
    try:
        context = command.make_context("codesign", words[1:])
        with context:
            rest = [*context._protected_args, *context.args]
            name, sub, rest = command.resolve_command(context, rest)
            while hasattr(sub, "resolve_command"):
                context = sub.make_context(name, rest, parent=context)
                name, sub, rest = sub.resolve_command(context, [*context._protected_args, *context.args])
            sub.make_context(name, rest, parent=context)
    except Exception as error:
        asked_for_text = type(error).__name__ == "Exit"  # --help, --version
        return None if asked_for_text else error_line(error)
    return None


def wrong_commands(page):
    targets = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.M))
    for line, words in commands(page):
        if Path(words[0]).name == "codesign" and (problem := wrong_command(words)):
            return f"line {line}: {problem}"
        if words[0] == "make":
            unknown = [word for word in words[1:] if "=" not in word and word.strip(".") not in targets | {"venv"}]
            if unknown:
                return f"line {line}: the Makefile has no target {unknown[0]}"
    return None


def check(page):
    "What is wrong with a page's code and commands; None if all of it works."
    return wrong_commands(page) or (None if page.name == "README.md" else run_python(page))


def pages():
    "The pages whose code is checked."
    return [
        *(root / f"{name}.md" for name in ("README", "CONTRIBUTING", "RELEASE")),
        *sorted(root.glob("docs/**/*.md")),
    ]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    failed = False
    for page in [Path(name).resolve() for name in sys.argv[1:]] or [page for page in pages() if page.is_file()]:
        problem = check(page)
        failed = failed or bool(problem)
        name = f"code and commands of {page.relative_to(root)}"
        print(f"FAILED  {name}: {problem}" if problem else f"ok  {name}", flush=True)
    sys.exit(failed)
