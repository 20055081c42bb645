"""What a user did wrong: said once, with what came, what was wanted and what to do. The command line exits with code 2."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's, or of the user's data. The message is all the user sees."""


def unknown(kind: str, name: str, names: Iterable[str], where: str = "") -> str:
    """The message for a name that does not exist, with the nearest one that does."""
    names = sorted(names)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    place = f"in {where} there are" if where else "there are"
    return f"unknown {kind} {name!r}; {place}: {', '.join(names)}." + (f" Did you mean {near[0]!r}?" if near else "")


def refuse(problems: list[str]) -> None:
    """Raise one `UserError` with every problem found, or return if there is none."""
    if problems:
        raise UserError("\n".join(problems))
