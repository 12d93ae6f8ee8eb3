"""Command lines of every sub-command, wrong and odd, to `codesign.reproduce.main`.

Nothing is made: where a run, a training or a publication would start, the input counts as accepted. A command line
that holds an unknown command, option or value, a value of a wrong type or out of range, or that lacks a value may not
be accepted. Whatever is refused is refused by one line on stderr and exit code 2 (1 where checks or runs have failed).
"""

import contextlib
import io

import damage
import outcomes
from stand_ins import stand_in

WHOLE = (("1", "3"), ("0", "-1", "x", "1.5", "nan", "1e3", "🦀", "²", "9" * 5000, "-", "1,2"))
STUDY = (("fuzzed", "a.b-c_d"), ("../x", "/abs", "con", "a/b", "x" * 65, ".hidden", "🦀", "a b"))
SIZE = (("nano", "tiny"), ("huge", "Nanoo", "130", "🦀", "nano tiny"))
SEED = (("42", "0"), ("-1", "4294967296", "x", "1.5", "🦀", "²"))
DATA = (("embedded",), ("wiki", "text:", "text:/nowhere", "🦀", "Embedded"))
TASKS = (("cola", "cola,rte"), ("x", "cola,cola", "cola,,rte", "🦀", "cola;rte"))
GROUP = (("M_base", "M_csp"), ("M_bas", "🦀", "m_base", "M_base,M_csp"))
RATE = (("1e-3", "0.1"), ("0", "-1", "nan", "inf", "1e999", "x", "🦀", "1,5"))
ANY = (("x", "a b", "🦀"), ())
RUN = dict(size=SIZE, seed=SEED, group=GROUP, data=DATA, tasks=TASKS, study=STUDY, lr=RATE, steps=WHOLE, threads=WHOLE)
OPTIONS = {
    "pretrain": RUN,
    "csp": RUN,
    "sdm": RUN,
    "challenge": RUN,
    "peers": RUN,
    "finetune": RUN | dict(examples=WHOLE, epochs=WHOLE, predict=(("test", "validation"), ("train", "x", "🦀"))),
    "profile": dict(
        size=SIZE,
        seed=SEED,
        group=(("M_base", "all", "shapes"), ("M_bas", "🦀")),
        against=(("M_csp",), ("M_bas", "M_csp,🦀")),
        data=DATA,
        study=STUDY,
        threads=WHOLE,
    ),
    "results": dict(size=SIZE, seed=SEED, data=DATA, tasks=TASKS, study=STUDY, threads=WHOLE),
    "reproduce": dict(
        size=SIZE,
        study=STUDY,
        seeds=(("42", "42,43"), ("-1", "x", "42,42", "42,", "🦀")),
        groups=(("M_base",), ("M_bas", "M_base,🦀")),
        data=DATA,
        tasks=TASKS,
        steps=WHOLE,
        examples=WHOLE,
        epochs=WHOLE,
        jobs=WHOLE,
        gpus=(("0", "1"), ("-1", "x", "²", "1.5")),
        budget=WHOLE,
    ),
    "validate": dict(study=STUDY, size=SIZE, group=GROUP),
    "compress": dict(
        out=(("out",), ()),
        flops=(("0.5",), ("0", "-1", "1.5", "x", "nan", "inf")),
        states=WHOLE,
        data=DATA,
        mask_steps=(("0", "3"), ("-1", "x", "1.5")),
        heal_steps=(("0", "3"), ("-1", "x")),
        heal_lr=RATE,
        multiple=WHOLE,
        calibration_tokens=WHOLE,
        length=WHOLE,
        batch_size=WHOLE,
        iterations=(("100",), ("99", "x", "0")),
        seed=SEED,
        threads=WHOLE,
        tokenizer=ANY,
    ),
    "convert": dict(out=(("out",), ()), tokenizer=ANY),
    "publish": dict(study=STUDY),
    "check-setup": dict(data=DATA, tasks=TASKS),
    "compare": {},
    "doctor": {},
    "init": {},
    "data list": {},
    "data get": {},
    "node": {},
}
FLAGS = {
    "reproduce": ("dry-run", "controls"),
    "compress": ("uniform",),
    "publish": ("again", "replace"),
    "validate": ("all",),
}
WORDS = {
    "compress": (("nowhere", "here/x/y", "🦀"),),
    "convert": (("nowhere", "🦀"),),
    "compare": (("a.json", "b.json", "nowhere"),) * 2,
    "node": (("plan.json", "nowhere"), ("x", "🦀")),
    "data list": (("cola", "wikitex", "🦀"),),
    "data get": (("wikitext-2", "cola", "glu", "🦀"),),
}
WRONG_WORDS = {"data list": ("wikitex", "🦀"), "data get": ("glu", "🦀")}


# the functions behind which something would start
STARTING = (
    *("execute", "run_plan", "run_job", "check_data", "check_groups", "check_profiling"),
    *("open_checkpoint", "convert_original", "publish"),
)


class Accepted(Exception):
    "Raised where something would start."


def start(*_, **__):
    raise Accepted


class Kind:
    def __init__(self, folder):
        import codesign.compress
        import codesign.compressing.opening
        import codesign.judging.publishing
        import codesign.profiling
        import codesign.results  # noqa: F401  (all are loaded before anything is judged)
        from codesign.engine.data import get_data
        from codesign.reproduce import main

        for name in STARTING:
            stand_in(name, start)
        for name in ("available_data", "get_data"):
            stand_in(name, start_after(get_data))
        for name, text in (("a.json", "{}"), ("b.json", "[1"), ("plan.json", '{"jobs": []}')):
            (folder / "here" / name).write_text(text)
        self.main = main

    def trial(self, rng, place):
        command = rng.choice(list(OPTIONS))
        words, wrong = self._line(rng, command)
        if not wrong and rng.random() < 0.35:
            words, said = self._mutated(rng, words, command)
        else:
            said = None
        wrong += [said] if said else []
        shown = " ".join(word if len(word) < 40 else f"{word[:20]}...({len(word)})" for word in words)

        def carried_out():
            return self._run(words), ""

        carried_out.__qualname__ = f"{command}, {wrong[0].split('=')[0] if wrong else 'nothing'} wrong"
        return outcomes.Trial(
            f"codesign {shown}" + (f"    [wrong: {'; '.join(wrong)[:80]}]" if wrong else ""),
            carried_out,
            "refused" if wrong else "accepted",
            True,
        )

    def _line(self, rng, command):
        "Words of a command line, and what is wrong in them."
        words, wrong, options = command.split(), [], OPTIONS[command]
        for choices in WORDS.get(command, ()):
            words.append(rng.choice(choices))
            if words[-1] in WRONG_WORDS.get(command, ()):
                wrong.append(words[-1])
        chosen = rng.sample(list(options), min(len(options), rng.randrange(5)))
        if command in ("compress", "convert"):
            chosen = ["out", *(name for name in chosen if name != "out")]
        if command == "publish":
            chosen = ["study"]
        spoiled = rng.sample(chosen, min(len(chosen), rng.choice((0, 1, 1, 1, 3))))
        for name in chosen:
            good, bad = options[name]
            odd = rng.random() < 0.05
            value = (
                rng.choice(bad)
                if bad and name in spoiled
                else rng.choice(damage.ODD_TEXTS)
                if odd
                else rng.choice(good)
            )
            if value in bad:
                wrong.append(f"{name}={value[:20]}")
            option = name.replace("_", "-")
            words += rng.choice(
                ([f"--{option}", value], [f"--{option}={value}"], [f"{name}={value}"], [f"--{option.upper()}", value])
            )
        words += [f"--{flag}" for flag in FLAGS.get(command, ()) if rng.random() < 0.4]
        return words, wrong

    def _mutated(self, rng, words, command):
        "The words with something that no command has; and what."
        words = list(words)
        at = rng.randrange(len(command.split()), len(words) + 1)
        how = rng.choice(
            (
                "an unknown option",
                "a misspelled option",
                "a word too many",
                "no value",
                "an unknown command",
                "an odd word",
            )
        )
        if how == "an unknown option":
            words.insert(
                len(words), rng.choice(("--nothing", "--🦀", "--nothing=1", "nothing=1", "--" + "a" * 3000, "-q"))
            )
        elif how == "a misspelled option":
            words += ["--siez", "nano"]
        elif how == "a word too many":
            words.append(rng.choice(("more", "🦀", "a" * 5000)))
        elif how == "no value":
            words.append(rng.choice([f"--{name.replace('_', '-')}" for name in OPTIONS[command]] or ["--size"]))
        elif how == "an unknown command":
            words[0] = rng.choice(("pretain", "🦀", "a" * 5000, "reproduce.py", "nodes"))
        else:
            words.insert(at, rng.choice(damage.ODD_TEXTS))
            return words, None
        if how == "a word too many" and command in ("data list", "data get"):
            return words, None if words[-1] != "🦀" else how
        return words, how

    def _run(self, words):
        "accepted, or refused."
        said, errors = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
                self.main(list(words))
        except Accepted:
            return "accepted"
        except SystemExit as end:
            code = end.code
        if code == 2:
            raise outcomes.Refused(errors.getvalue().removesuffix("\n") or "nothing on stderr\n")
        if code == 1 and said.getvalue().strip():
            raise outcomes.Refused(said.getvalue().strip().splitlines()[-1])
        assert code == 0, f"exit code {code}: {said.getvalue()[-200:]}"
        return "accepted"


def start_after(original):
    "Names are checked where they are read; then it would start."

    def names_checked(names=(), *_, **__):
        from codesign.engine.text_names import DATA, TASKS

        if set(names) - {*DATA, *TASKS, "glue", "gpt2", "gpt-neox-20b"}:
            return original(names)
        raise Accepted

    return names_checked
