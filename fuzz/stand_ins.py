"""Other functions in the place of some of codesign's, wherever its modules look them up."""

import sys
from collections.abc import Callable


def stand_in(name: str, function: Callable) -> None:
    """Puts `function` in the place of every function of codesign of this name, in each module that is loaded.

    Raises LookupError if there is none: what it stood for must not start unnoticed.
    """
    found = [
        module
        for key, module in list(sys.modules.items())
        if key.split(".")[0] == "codesign" and callable(vars(module).get(name))
    ]
    if not found:
        raise LookupError(f"no module of codesign that is loaded has a function {name!r}; change its name in fuzz/ too")
    for module in found:
        setattr(module, name, function)
