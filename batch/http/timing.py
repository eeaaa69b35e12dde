"""How long an answer is waited for: the timers of one exchange, which judge only after reading.

Owns the deadline of a whole answer and the waiting times of a stream. A timer that rings says that time is up, not that
nothing came: when this process was stopped, or busy, the answer may have been in the socket for long, and is paid for.
So as long as there is something to read it is read first, and a timer that rings late gives the rest of the answer a
second more. It parses nothing and closes nothing; it does not know what a connection is.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

Phase = Literal["first", "between", "over"]
"""Where a stream is: before its first chunk, between two chunks, after its last one."""

LINGER_S: Final = 1.0
"""How long a stream may take to end its answer after its last chunk, so that the connection can be used again."""
READ_S: Final = 0.002
"""How long the event loop has to read what there is, before the socket is looked at again."""
READING_S: Final = 5.0
"""The most that reading what lies there may take: a server that never pauses cannot put off its end for longer."""
LATE_S: Final = 1.0
"""A timer that rings so late was not waited for: the process was stopped, or the machine asleep."""
EXCUSE_S: Final = 1.0
"""How much longer is waited then, for the part of the answer that found no room in the socket."""


class Timer:
    """One timer. It rings when its time is up and nothing is left to read.

    Args:
        unread: whether something lies in the socket.
        ring: called once when the time is up.
    """

    __slots__ = ("_due", "_excused", "_handle", "_ring", "_unread", "_until")

    def __init__(self, unread: Callable[[], bool], ring: Callable[[], None]) -> None:
        self._unread = unread
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._until = math.inf
        self._excused = False

    def start(self, seconds: float) -> None:
        """Ring in so many seconds from now, and not before."""
        self.cancel()
        self._excused = False
        self._wait(seconds)

    def ring_since(self, due: float) -> None:
        """Time was up at this moment of the event loop: ring as soon as nothing is left to read."""
        self.cancel()
        self._excused = False
        self._due = due
        self._until = math.inf
        self._look()

    def cancel(self) -> None:
        """Do not ring."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    @property
    def running(self) -> bool:
        """Whether it will ring."""
        return self._handle is not None

    def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + seconds
        self._until = math.inf
        self._handle = loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Time is up: read first, then ring."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._until == math.inf:
            self._until = now + READING_S
            if now - self._due > LATE_S and not self._excused:
                self._excused = True
                self._wait(EXCUSE_S)
                return
        if now < self._until and self._unread():
            self._handle = loop.call_later(READ_S, self._look)
            return
        self._handle = None
        self._ring()


class Deadlines:
    """The deadline of every whole answer of one client, under one timer: all have the same time from their request on.

    Args:
        whole_s: how many seconds that is; None waits for ever.
    """

    def __init__(self, whole_s: float | None) -> None:
        self.whole_s = whole_s
        self._due: dict[Overdue, float] = {}
        """In the order of their ends, because all have the same time."""
        self._handle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, exchange: Overdue) -> None:
        """An exchange begins; its `overdue` is called when its time is up."""
        if self.whole_s is None:
            return
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()  # kept: asking for it is a system call
        self._due[exchange] = due = loop.time() + self.whole_s
        if self._handle is None:
            self._handle = loop.call_at(due, self._sweep)

    def stop(self, exchange: Overdue) -> None:
        """An exchange is over."""
        if self._due.pop(exchange, None) is not None and not self._due and self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _sweep(self) -> None:
        """Tell those whose time is up, and wait for the next."""
        loop = asyncio.get_running_loop()
        self._handle = None
        now = loop.time()
        while self._due:
            exchange, due = next(iter(self._due.items()))
            if due > now:
                if self._handle is None:  # else one that began meanwhile has set it
                    self._handle = loop.call_at(due, self._sweep)
                return
            del self._due[exchange]
            exchange.overdue(due)


class Overdue(Protocol):
    """An exchange that has a deadline."""

    def overdue(self, due: float) -> None:
        """Its time was up at this moment of the event loop."""


class Waiting:
    """The waiting times of one stream.

    Args:
        unread: whether something lies in the socket.
        expired: called with what was waited for in vain; the exchange ends with it.
        lingered: called when a stream did not end its answer after its last chunk.
    """

    __slots__ = ("_expired", "_idle_s", "_last", "_limit_s", "_lingered", "_silence", "phase")

    def __init__(
        self, unread: Callable[[], bool], expired: Callable[[str], None], lingered: Callable[[], None]
    ) -> None:
        self._expired = expired
        self._lingered = lingered
        self._silence = Timer(unread, self._check_silence)
        self._limit_s = self._idle_s = math.inf
        self._last = 0.0
        self.phase: Phase = "first"

    def watch(self, first_s: float, idle_s: float) -> None:
        """From now on, end the exchange when its stream is silent for too long.

        Args:
            first_s: seconds to wait for the first chunk.
            idle_s: seconds to wait for each byte after it.
        """
        self._idle_s = idle_s
        self._start("first", first_s)

    def heard(self, *, over: bool, begun: bool) -> None:
        """Count the waiting time anew, because bytes of the answer have come.

        Args:
            over: the stream said its last word.
            begun: a part of the answer has come.
        """
        if over:  # a server that does not end the answer after its last chunk is not waited for
            self._start("over", LINGER_S)
        elif self.phase == "between":
            self._last = asyncio.get_running_loop().time()
        elif begun and self._silence.running:
            self._start("between", self._idle_s)

    def stop(self) -> None:
        """The exchange is over."""
        self._silence.cancel()

    def _start(self, phase: Phase, seconds: float) -> None:
        self.phase = phase
        self._limit_s = seconds
        self._last = asyncio.get_running_loop().time()
        self._silence.start(seconds)

    def _check_silence(self) -> None:
        """End the exchange when nothing has come for too long; else look again when that could be so."""
        left = self._last + self._limit_s - asyncio.get_running_loop().time()
        if left > 0:
            self._silence.start(left)
        elif self.phase == "over":
            self._lingered()
        elif self.phase == "between":
            self._expired(f"the stream stood still for {self._limit_s:g} s")
        else:
            self._expired(f"no first chunk within {self._limit_s:g} s")
