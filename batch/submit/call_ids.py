"""The ids that calls go out with: new for every attempt, and known again when a reply names one.

Owns their form, `pm-<8 hex digits of the folder><8 of the process>-<number>`, at most 64 characters. A reply that names
an id which this folder issued for another call belongs to that call; an id that it never issued proves nothing, and
neither does one of its own with something around it.
"""

from __future__ import annotations

import re
import secrets
from hashlib import blake2b
from typing import Final

from batch.ledger.late import LATE

BEGINNING: Final = "pm-"
"""With which each of them begins."""

_FORM: Final = re.compile(r"pm-([0-9a-f]{8})[0-9a-f]{8}-[0-9]{1,19}", re.ASCII)


class CallIds:
    """Numbers and ids for the calls of one process.

    Args:
        folder: what tells this output folder from others and stays with it, such as the name of its first run.
        first: the first free number of a call in the ledger.
    """

    def __init__(self, folder: str, first: int) -> None:
        self._folder = blake2b(folder.encode(), digest_size=4).hexdigest()
        # Unique by the process and counted inside it: a random id for each call would cost as much as encoding its
        # body.
        self._prefix = f"pm-{self._folder}{secrets.token_hex(4)}"
        self._next = first

    def new(self) -> tuple[int, str]:
        """The next number and its id."""
        number = self._next
        self._next += 1
        return number, f"{self._prefix}-{number}"

    def names_another(self, call_id: str, named: str) -> bool:
        """Whether `named` is the id of another call of this folder than `call_id`."""
        if named == call_id.removesuffix(LATE):
            return False
        found = _FORM.fullmatch(named)
        return found is not None and found[1] == self._folder
