"""One streamed answer while it comes in: its pieces go to a `Folding`, and its times are taken.

Owns what belongs to a stream beyond its meaning: whether the answer is one at all (a refusal, a page or a JSON body is
not, and is collected like any other), when the first chunk came, and the longest silence.
"""

from __future__ import annotations

from typing import Final

from batch.core.clock import Clock
from batch.core.errors import WireError
from batch.core.records import Failure, Reply
from batch.http import sse
from batch.providers.folding import Folding

Header = tuple[bytes, bytes]
MAX_WHOLE: Final = 64 * 1024 * 1024
MAX_RAW: Final = 8 * 1024 * 1024
"""What is kept for the wire log of one stream; what comes after it is left out."""


class Stream:
    """Takes in the streamed answer of one call.

    Args:
        folding: puts the pieces together.
        clock: for the times.
        first_s: the most seconds until the first chunk of the answer.
        idle_s: the most seconds between two pieces from then on.
        keep_raw: keep the bytes as they came, for the wire log.
    """

    def __init__(
        self, folding: Folding, clock: Clock, *, first_s: float, idle_s: float, keep_raw: bool = False
    ) -> None:
        self.first_s = first_s
        self.idle_s = idle_s
        self.taken = False
        """The answer is a stream, as far as one can tell, so `end` has the result."""
        self._whole: list[bytes] | None = None  # the body, when it is no stream after all
        self._raw: list[bytes] | None = [] if keep_raw else None
        self._room = MAX_RAW
        self._is_stream: bool | None = None
        self._start = b""
        self._size = 0
        self._folding = folding
        self._clock = clock
        self._began = clock.monotonic()
        self._first: float | None = None
        self._last = self._began
        self._longest = 0.0

    def sent(self) -> None:
        """Note that the request has left; times count from here."""
        self._began = self._last = self._clock.monotonic()

    def head(self, status: int, headers: list[Header]) -> bool:
        """Whether the answer may be a stream: of status 200 and not packed. Its label is not believed, see `feed`."""
        packings = [value.strip().lower() for name, value in headers if name.lower() == b"content-encoding"]
        self.taken = status == 200 and all(packing in (b"", b"identity") for packing in packings)
        return self.taken

    def feed(self, data: bytes) -> bool:
        """Take a piece of the body, of any length.

        Returns:
            True when nothing that follows can change the result.

        Raises:
            WireError: it is broken or too large, so nothing that follows is worth reading.
        """
        now = self._clock.monotonic()
        if self._raw is not None and self._room > 0:
            self._raw.append(data[: self._room])
            self._room -= len(data)
        if self._first is not None:
            self._longest = max(self._longest, now - self._last)
        self._last = now
        if self._is_stream is None:
            self._start = (self._start + data).lstrip(b"\r\n")
            self._is_stream = sse.begins(self._start)
            if self._is_stream is None:
                return False
            data, self._start = self._start, b""
            if not self._is_stream:
                self.taken = False
                self._whole = []
        if self._whole is not None:
            self._collect(data)
        else:
            self._folding.feed(data)
        if self._first is None and self.begun:
            self._first = now
        if self._folding.broken:
            raise WireError(self._folding.failure_message, kind="bad_payload", sent=True)
        return self._folding.done

    def remainder(self, status: int, body: bytes) -> bytes:
        """What is left to be read as one body, when the answer was no stream; b"" when it is one after all.

        A body that had to be unpacked before it could be read is only looked at here.

        Raises:
            WireError: as `feed` does.
        """
        if self._whole is not None:
            return b"".join(self._whole)
        if status != 200 or not sse.begins(body):
            return body
        self.taken = True
        self.feed(body)
        return b""

    def _collect(self, data: bytes) -> None:
        """Collect an answer that is no stream although one was asked for; it is read like one of lane `sync`."""
        assert self._whole is not None
        self._whole.append(data)
        self._size += len(data)
        if self._size > MAX_WHOLE:
            raise WireError(f"the answer is larger than {MAX_WHOLE} bytes", kind="bad_payload", sent=True)

    def end(self, *, clean: bool) -> Reply | Failure:
        """The reply or the failure that the stream was; see `Folding.end`."""
        return self._folding.end(clean=clean)

    @property
    def begun(self) -> bool:
        """Whether a part of an answer has come; blank lines and comments are none."""
        return self._folding.chunks > 0 or self._folding.done or self._whole is not None

    @property
    def left_s(self) -> float:
        """Seconds that are left for the first chunk."""
        return max(0.0, self._began + self.first_s - self._clock.monotonic())

    @property
    def complete(self) -> bool:
        """Whether what came so far is an answer, whatever becomes of the line."""
        return self.taken and self._folding.complete

    @property
    def held(self) -> int:
        """Bytes that are kept of it, about."""
        return self._size + self._folding.held

    @property
    def received(self) -> bytes:
        """The bytes as they came, for the wire log; the first `MAX_RAW` of them."""
        return b"".join(self._raw or ())

    @property
    def first_chunk_ms(self) -> int | None:
        """Milliseconds from the request to the first chunk; None when none came."""
        return None if self._first is None else int((self._first - self._began) * 1000)

    @property
    def longest_gap_ms(self) -> int | None:
        """The longest silence between two pieces after the first chunk, in milliseconds; None without a chunk."""
        return None if self._first is None else int(self._longest * 1000)
