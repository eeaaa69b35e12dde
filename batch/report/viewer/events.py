"""Tells a page when something about an output folder changed, as server-sent events.

Owns how often the folder is looked at, and what is looked at: the file with the live numbers, and the folders of the
tables. A look reads nothing; only when it sees a change is the status put together and sent.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import anyio

from batch.core import exactjson
from batch.core.errors import BatchError
from batch.report.figures.figures import Figures
from batch.report.status import FRESH_S

LOOK_S: Final = 0.5
BEAT_S: Final = 10.0
"""After so long without a change something is sent all the same, so that a page that is gone is noticed."""
_BEAT: Final = b": nothing new\n\n"
_RETRY_MS: Final = 2_000

Call = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Calls a function in a thread."""


async def events(figures: Figures, call: Call, look_s: float = LOOK_S) -> AsyncIterator[bytes]:
    """The status of a folder at once, and again whenever something changed; without end.

    Args:
        figures: of the folder.
        call: where reading is done.
        look_s: seconds between two looks.
    """
    yield f"retry: {_RETRY_MS}\n\n".encode()
    seen: Any = None
    beat_at = 0.0
    while True:
        now = await call(lambda: look(figures))
        if now != seen:
            seen = now
            yield message(await call(lambda: told(figures)))
            beat_at = time.monotonic() + BEAT_S
        elif time.monotonic() >= beat_at:
            yield _BEAT
            beat_at = time.monotonic() + BEAT_S
        await anyio.sleep(look_s)


def look(figures: Figures) -> tuple[Any, ...]:
    """Differs from the last look when something changed; a status file that got old is a change, too."""
    try:
        found = figures.folder.status.stat()
    except OSError:
        return (figures.version(), None)
    fresh = time.time() - found.st_mtime < FRESH_S
    return (figures.version(), found.st_ino, found.st_mtime_ns, found.st_size, fresh)


def told(figures: Figures) -> dict[str, Any]:
    """What a message says."""
    try:
        return {"at": time.time(), "status": figures.status()}
    except BatchError as exc:
        return {"at": time.time(), "error": str(exc)}


def message(value: Any) -> bytes:
    """One event: JSON has no line breaks of its own, so it is one line."""
    return b"data: " + exactjson.encoded(value) + b"\n\n"
