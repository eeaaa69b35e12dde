"""One streamed answer on its way in: its pieces go to the folding as they come, and its times are taken.

Owns what belongs to a stream beyond its meaning: whether the answer is one at all (a refusal or a JSON body is not, and
is collected like any other), when the first chunk came, and the longest silence. Used by `batch.wire.http`, which
gives it the pieces, and by `batch.submit.stream`, which takes the result.
"""

from __future__ import annotations

from batch.clock import Clock
from batch.records import Failure, Reply
from batch.wire.folding import Folding

Header = tuple[bytes, bytes]


class Stream:
    """The stream of one call.

    Args:
        folding: what the pieces are put together by.
        clock: for the times.
        first_s: the most seconds until the first byte of the answer.
        idle_s: the most seconds between two pieces.
        keep_raw: keep the bytes as they came, for the wire log.
    """

    def __init__(
        self, folding: Folding, clock: Clock, *, first_s: float, idle_s: float, keep_raw: bool = False
    ) -> None:
        self.first_s = first_s
        self.idle_s = idle_s
        self.taken = False
        """The answer was a stream, so `end` has the result."""
        self.raw: list[bytes] | None = [] if keep_raw else None
        self._folding = folding
        self._clock = clock
        self._began = clock.monotonic()
        self._first: float | None = None
        self._last = self._began
        self._longest = 0.0

    def sent(self) -> None:
        """The request has left; times count from here."""
        self._began = self._last = self._clock.monotonic()

    def head(self, status: int, headers: list[Header]) -> bool:
        """Whether the answer is a stream: of status 200, not packed, and not said to be JSON."""
        if status != 200:
            return False
        for name, value in headers:
            lower = name.lower()
            if lower == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                return False
            if lower == b"content-type" and value.lower().startswith(b"application/json"):
                return False
        self.taken = True
        return True

    def feed(self, data: bytes) -> None:
        """A piece of the body."""
        now = self._clock.monotonic()
        if self._first is None:
            self._first = now
        else:
            self._longest = max(self._longest, now - self._last)
        self._last = now
        if self.raw is not None:
            self.raw.append(data)
        self._folding.feed(data)

    def end(self, *, clean: bool) -> Reply | Failure:
        """What the stream was; see `Folding.end`."""
        return self._folding.end(clean=clean)

    @property
    def first_chunk_ms(self) -> int | None:
        """Milliseconds from the request to the first piece; None when none came."""
        return None if self._first is None else int((self._first - self._began) * 1000)

    @property
    def longest_gap_ms(self) -> int | None:
        """The longest silence between two pieces, in milliseconds; None without a piece."""
        return None if self._first is None else int(self._longest * 1000)
