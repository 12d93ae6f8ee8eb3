"""What can come of an input, and how one is judged."""

import contextlib
import io
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REFUSED, SAME, SAID, OTHER, TRACEBACK, SILENT, HANG = (
    "refused",
    "same",
    "said so",
    "another input",
    "traceback",
    "silent wrong",
    "hang",
)
OUTCOMES = (REFUSED, SAME, SAID, OTHER, TRACEBACK, SILENT, HANG)
WRONG = (TRACEBACK, SILENT, HANG)


@dataclass
class Trial:
    "One damaged input and how it is judged."

    said: str  # what was done to the input
    call: Callable  # feeds it to codesign -> (what comes out, a note if codesign says that something is wrong)
    sound: object  # what comes out of the undamaged input
    guarded: bool  # whether a checksum or a rule has to notice any difference in what comes out
    heard: frozenset = frozenset()  # warnings that the undamaged input gives as well


class Refused(Exception):
    "Raised by a call for a refusal that does not come as an exception, such as a failed check or exit code 2."


def refusals():
    "The exceptions that count as a refusal if they are one line."
    from codesign.engine.errors import CodesignError

    return (CodesignError, Refused)


@contextlib.contextmanager
def listening():
    "Collects warnings for the user in the yielded set, and keeps everything off the terminal."
    heard = set()
    with (
        warnings.catch_warnings(record=True) as caught,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("always")
        try:
            yield heard
        finally:
            heard.update(str(one.message) for one in caught if issubclass(one.category, UserWarning))


def judge(trial: Trial) -> tuple[str, str, str]:
    "(outcome, what came, the place it came from): the place groups findings."
    try:
        with listening() as heard:
            found, note = trial.call()
    except refusals() as error:
        message = str(error)
        return (
            (REFUSED, message, "")
            if message.strip() and "\n" not in message
            else (TRACEBACK, f"a refusal that is not one line: {message[:300]!r}", place_of(error))
        )
    except (Exception, SystemExit) as error:
        return TRACEBACK, "".join(traceback.format_exception(error)), f"{type(error).__name__} in {place_of(error)}"
    if equal(found, trial.sound):
        return SAME, "", ""
    new = sorted(heard - trial.heard)
    if note or new:
        return SAID, str(note or new[0]), ""
    if not trial.guarded:
        return OTHER, "", ""
    return (
        SILENT,
        f"{shortened(found)} instead of {shortened(trial.sound)}",
        trial.call.__qualname__.split(".<locals>")[0],
    )


def equal(first, second):
    return type(first) is type(second) and first == second


def shortened(value):
    text = repr(value)
    return text if len(text) <= 160 else text[:157] + "..."


def place_of(error) -> str:
    "The innermost place of codesign in a traceback, as file and function."
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/codesign/" in frame.filename]
    frames = frames or traceback.extract_tb(error.__traceback__)[-1:]
    return f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "nowhere"
