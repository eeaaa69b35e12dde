"""One streamed answer on its way in: its pieces go to the folding as they come, and its times are taken.

Owns what belongs to a stream beyond its meaning: whether the answer is one at all (a refusal or a JSON body is not, and
is collected like any other), when the first chunk came, and the longest silence. Used by `batch.wire.http`, which
gives it the pieces, and by `batch.submit.stream`, which takes the result.
"""

from __future__ import annotations

from typing import Final

from batch.clock import Clock
from batch.errors import WireError
from batch.records import Failure, Reply
from batch.wire.folding import Folding, looks_like_json

Header = tuple[bytes, bytes]
MAX_WHOLE: Final = 64 * 1024 * 1024


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
        self.whole: list[bytes] | None = None
        """The body, when it was no stream after all."""
        self._json: bool | None = None
        self._start = b""
        self._size = 0
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
        """Whether the answer may be a stream: of status 200, not packed, and not said to be JSON or a page."""
        if status != 200:
            return False
        for name, value in headers:
            lower = name.lower()
            if lower == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                return False
            if lower == b"content-type" and value.lower().startswith((b"application/json", b"text/html")):
                return False
        self.taken = True
        return True

    def feed(self, data: bytes) -> bool:
        """A piece of the body; True when nothing that follows can change the result."""
        now = self._clock.monotonic()
        if self._first is None:
            self._first = now
        else:
            self._longest = max(self._longest, now - self._last)
        self._last = now
        if self.raw is not None:
            self.raw.append(data)
        if self.whole is not None:
            return self._collect(data)
        if self._json is None:
            self._start += data
            self._json = looks_like_json(self._start)
            if self._json is None:
                return False
            data, self._start = self._start, b""
            if self._json:
                self.taken = False
                self.whole = []
                return self._collect(data)
        self._folding.feed(data)
        return self._folding.done

    def _collect(self, data: bytes) -> bool:
        """One JSON answer although a stream was asked for, under whatever label: read like one of lane `sync`."""
        assert self.whole is not None
        self.whole.append(data)
        self._size += len(data)
        if self._size > MAX_WHOLE:
            raise WireError(f"the answer is larger than {MAX_WHOLE} bytes", kind="bad_payload", sent=True)
        return False

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
