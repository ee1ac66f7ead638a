"""The one exception that is shown to a user without a traceback, and what it says of an unknown name."""

from collections.abc import Iterable
from difflib import get_close_matches

#: Most names that a line lists.
LISTED = 6


class UserError(Exception):
    """A mistake the user can mend: one line that names the file, key or clip and says what to do."""


class Diverged(UserError):
    """A training whose loss, gradient or embeddings have left all sense: a result of its constants."""


def instead(name: str, known: Iterable[str]) -> str:
    """What to write instead of an unknown name: all names if they are few, else the nearest and how many there are."""
    names = list(known)
    if len(names) <= LISTED:
        return f"there are {', '.join(names)}"
    near = get_close_matches(name, names, n=3)
    return f"did you mean {' or '.join(near)}? there are {len(names)}" if near else f"none of the {len(names)} is near"
