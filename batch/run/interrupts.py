"""What a signal means to a run: the first, the second and the third, while it starts, works and ends.

Owns the count of signals. It does not know what a stop or a cut does: whoever is at work says what is called. Without
signals, as from Python, nothing ever calls and everything here does nothing.

| | first | second | third |
|---|---|---|---|
| before anything was sent | gives up | ends the process | |
| at work | stops: nothing new is sent, calls in flight get their time | cuts calls in flight | ends the process |
| while somebody else is waited for, at any time | as above, and it is said who | ends the process | |

Who that may be is said by whoever is waited with (`awaited`): an object store that does not answer. What is durable is
durable then, as after a kill.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, cast

import anyio

from batch.core import process
from batch.core.errors import EXIT_INTERRUPTED
from batch.core.logs import logger

_LOOK_EVERY_S: Final = 0.5


class Interrupts:
    """The signals of one command. It belongs to the event loop in which it is made.

    Attributes:
        count: how many came.
        awaited: each says who does not answer at the moment, None for nobody.
    """

    def __init__(self) -> None:
        self.count = 0
        self.awaited: list[Callable[[], str | None]] = []
        self._loop = asyncio.get_running_loop()
        self._steps: tuple[Callable[[], object], ...] = ()
        self._context = contextvars.copy_context()
        self._most = 2
        """How many signals there is an answer to; one more ends the process."""

    def received(self) -> None:
        """One more signal came; called between any two instructions of the main thread."""
        self.count += 1
        if self.count > self._most or (self.count > 1 and self._awaited() is not None):
            process.die(EXIT_INTERRUPTED)
        # Nothing may be changed between two instructions of somebody else.
        self._loop.call_soon_threadsafe(self._answer, self.count, context=self._context)
        if self.count == 1:
            self._loop.call_soon_threadsafe(self._tell_awaited, context=self._context)

    def giving_up(self) -> AbstractContextManager[None, bool]:
        """Cancel what is done inside at the first signal, at once when there was one before; go on behind it."""
        return cast("AbstractContextManager[None, bool]", self._giving_up())

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        with anyio.CancelScope() as scope, self._answered_by(scope.cancel):
            yield

    @contextmanager
    def stopping(self, stop: Callable[[], object], cut: Callable[[], object]) -> Iterator[None]:
        """Call `stop` at the first signal and `cut` at the second; at once for those that came before."""
        with self._answered_by(stop, cut):
            yield

    @contextmanager
    def _answered_by(self, *steps: Callable[[], object]) -> Iterator[None]:
        self._steps, self._most, self._context = steps, len(steps), contextvars.copy_context()
        for count in range(1, self.count + 1):
            self._answer(count)
        try:
            yield
        finally:
            self._steps, self._most = (), 2

    def _answer(self, count: int) -> None:
        if count <= len(self._steps):
            self._steps[count - 1]()

    def _awaited(self) -> str | None:
        return next((name for look in self.awaited if (name := look()) is not None), None)

    def _tell_awaited(self) -> None:
        """Say who is waited for, now or as soon as there is somebody."""
        if (name := self._awaited()) is None:
            self._loop.call_later(_LOOK_EVERY_S, self._tell_awaited, context=self._context)
            return
        why = "it does not answer; a second Ctrl-C ends this at once, and the same command goes on with what is here"
        logger().warning("store_awaited", object=name, why=why)
