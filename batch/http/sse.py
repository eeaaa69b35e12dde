"""Server-sent events: takes the bytes of a stream, cut in any way, and gives the data of its events.

Owns the framing and nothing else: it works on bytes, splits lines only where the standard does (LF, CRLF, CR; never at
U+2028 or U+0085, which are text), and does not know what an event means. Comments and the fields `event`, `id` and
`retry` say nothing in chat streams and are dropped. Source: WHATWG HTML standard, "Server-sent events".
"""

from __future__ import annotations

from typing import Final

from batch.core.errors import WireError

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
MAX_STREAM_BYTES: Final = 512 * 1024 * 1024
"""A frame of 300 bytes carries a token of 4, so the longest answers (131,072 tokens) come to some 40 MB."""
_MARK: Final = b"\xef\xbb\xbf"
_BEGINNINGS: Final = (b":", b"data", b"event", b"id", b"retry")
"""How a line of a stream begins: a comment, or one of the fields of the standard."""


def begins(first: bytes) -> bool | None:
    """Whether a body that begins with these bytes is a stream of events, and not JSON, a page or other text.

    The Content-Type is wrong too often to rely on. None when more bytes are needed to tell.
    """
    text = first.lstrip().removeprefix(_MARK).lstrip()
    if text.startswith(_BEGINNINGS):
        return True
    return None if any(begin.startswith(text) for begin in (_MARK, *_BEGINNINGS)) else False


class StreamTooLarge(WireError):
    """An event, or the whole stream, is larger than allowed; nothing after it can be read."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"{what} is larger than {limit} bytes", kind="bad_payload", sent=True)


class Parser:
    """Parses one stream, piece by piece; the time it takes grows with the bytes alone, however they are cut.

    Args:
        max_event_bytes: the largest event.
        max_stream_bytes: the largest stream, comments included.
    """

    __slots__ = ("_after_cr", "_held", "_lines", "_mark", "_max_event", "_max_stream", "_partial", "_size")

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES, max_stream_bytes: int = MAX_STREAM_BYTES) -> None:
        self._max_event = max_event_bytes
        self._max_stream = max_stream_bytes
        self._size = 0
        self._mark: bytes | None = b""  # what may be the start of a byte-order mark; None once that is known
        self._after_cr = False  # a line ended in CR, so an LF that comes next belongs to it
        self._partial: list[bytes] = []  # pieces of a line that has not ended
        self._lines: list[bytes] = []  # data lines of an event that has not ended
        self._held = 0  # bytes of the two lists

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and return the data of every event that they complete, its lines joined by LF.

        Raises:
            StreamTooLarge: an event or the stream is too large; events that the same bytes completed are lost.
        """
        self._size += len(data)
        if self._size > self._max_stream:
            raise StreamTooLarge("the stream", self._max_stream)
        if self._mark is not None:
            data = self._without_mark(data)
        if self._after_cr or b"\r" in data:
            data = self._unified(data)
        if b"\n" not in data:
            self._hold(data)
            return []
        if self._partial:
            self._held -= sum(map(len, self._partial))
            data = b"".join((*self._partial, data))
            self._partial.clear()
        events: list[bytes] = []
        if self._lines:
            rest = self._closed(data, events)
            if rest is None:
                return events
            data = rest
        whole, blank, tail = data.rpartition(b"\n\n")
        if blank:
            events += _events(whole)
            if len(whole) > self._max_event and max(map(len, events), default=0) > self._max_event:
                raise StreamTooLarge("an event of the stream", self._max_event)
        if tail:
            self._keep(tail)
        return events

    @property
    def lines(self) -> list[bytes]:
        """The data of the whole lines of an event whose blank line has not come yet; not to be changed."""
        return self._lines

    def take_lines(self) -> list[bytes]:
        """Take these lines away, as if a blank line had followed each: for servers that send none."""
        lines = self._lines.copy()
        self._held -= sum(map(len, lines)) + len(lines)
        self._lines.clear()
        return lines

    @property
    def rest(self) -> bytes:
        """The data of an event whose blank line has not come yet; the standard drops it when the stream ends."""
        return b"\n".join(self._lines + _data(b"".join(self._partial)))

    @property
    def held(self) -> int:
        """How many bytes it holds of an event that has not ended."""
        return self._held

    def _closed(self, data: bytes, events: list[bytes]) -> bytes | None:
        """End the event that has begun, and return the bytes after it; None when these bytes do not end it."""
        if data.startswith(b"\n"):
            after = data[1:]
        else:
            block, blank, after = data.partition(b"\n\n")
            if not blank:
                self._keep(data)
                return None
            self._lines += _data(block)
        events.append(b"\n".join(self._lines))
        if len(events[0]) > self._max_event:
            raise StreamTooLarge("an event of the stream", self._max_event)
        self._lines.clear()
        self._held = 0
        return after

    def _keep(self, data: bytes) -> None:
        """Hold the part of an event that has not ended: the data of its whole lines, and its last line as it is."""
        whole, end, line = data.rpartition(b"\n")
        if end and (lines := _data(whole)):
            self._held += sum(map(len, lines)) + len(lines)
            self._lines += lines
        self._hold(line)

    def _hold(self, data: bytes) -> None:
        if data:
            self._partial.append(data)
            self._held += len(data)
        if self._held > self._max_event:
            raise StreamTooLarge("an event of the stream", self._max_event)

    def _without_mark(self, data: bytes) -> bytes:
        """The first bytes of the stream without a byte-order mark; empty while they may still become one."""
        data = (self._mark or b"") + data
        if len(data) < len(_MARK) and _MARK.startswith(data):
            self._mark = data
            return b""
        self._mark = None
        return data.removeprefix(_MARK)

    def _unified(self, data: bytes) -> bytes:
        """The same lines, each ended by LF."""
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data


def _events(whole: bytes) -> list[bytes]:
    """The data of these whole events; the blank line after the last one is not there."""
    if whole.startswith(b"data: "):
        events = whole[6:].split(b"\n\ndata: ")
        if b"\n" not in b"".join(events):  # the usual: one line each, and no other field or comment
            return events
    return [b"\n".join(lines) for block in whole.split(b"\n\n") if (lines := _data(block))]


def _data(block: bytes) -> list[bytes]:
    """The values of the `data` fields among these lines."""
    values: list[bytes] = []
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            values.append(line[6:] if line.startswith(b" ", 5) else line[5:])
        elif line == b"data":
            values.append(b"")
    return values
