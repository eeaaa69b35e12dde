"""How many calls in flight this process has open files for: each call needs a socket.

Owns the count of what a run opens besides. It does not know what a call is for, and raises no limit of the system.
"""

from __future__ import annotations

from typing import Final

from batch.core import openfiles
from batch.core.errors import RefusedToStart

OTHERS: Final = 40
"""Files of a run that are no calls': ledger, spills, parts, input, and the sockets of name look-ups."""


LOOP: Final = 9
"""Files that an event loop opens for itself and its threads."""


def wanted(concurrency: int) -> int:
    """How many files a run with so many calls in flight likes to have: a host may be tried at two addresses at once."""
    return 2 * concurrency + 256


def calls(concurrency: int, *, loop: bool = True) -> int:
    """How many of so many calls in flight there is room for now.

    Args:
        concurrency: calls in flight that the job asks for.
        loop: whether the event loop that sends them has opened its own files already.

    Raises:
        RefusedToStart: there is no room for a single one.
    """
    used = openfiles.used() + OTHERS + (0 if loop else LOOP)
    room = openfiles.limit() - used
    if room < 1:
        raise RefusedToStart(
            f"too few files may be open for even one call, which needs {used + 1}. {openfiles.advice()}."
        )
    return min(concurrency, room)


def fewer(concurrency: int, used: int) -> str:
    """What to say when fewer calls are used than asked for.

    Args:
        concurrency: calls in flight that the job asks for.
        used: as many as there is room for.
    """
    way_out = openfiles.advice(wanted(concurrency))
    return f"{used:,} calls in flight instead of {concurrency:,}: each needs an open file. {way_out}."
