"""An answer as a stream of server-sent events.

Owns the value that faults change, how texts are cut into chunks, and how it all becomes bytes.

What the events say is made by the dialects (`glm_chunks.py`, `openai_chunks.py`); that each leaves in its time is up to
`wire.py`. One line `data: …` and an empty line make an event, the last one is `data: [DONE]` (BigModel guide
"streaming", OpenAI API specification).
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import msgspec

from batch.simulator.books.tokens import pieces
from batch.simulator.wire import Headers, Reply

DONE = b"data: [DONE]\n\n"
EVENT_STREAM = b"text/event-stream"
_MOST_CHUNKS = 10_000
_LONGEST_TOKEN = 4


class Stream(msgspec.Struct, frozen=True):
    """The events of one answer, none sent yet.

    Attributes:
        parts: what leaves in one write each: one event, until a fault cuts otherwise.
        finish: the number of parts before the one that says why the answer ended.
        content_type: of the whole.
        name: the dialect.
        plain: the client gets the answer whole, as if it had not asked for a stream.
        torn: every part is a write of its own, even where nothing has to be waited for.
    """

    parts: tuple[bytes, ...]
    finish: int
    content_type: bytes
    name: str
    plain: bool = False
    torn: bool = False

    @property
    def paced(self) -> int:
        """How many parts follow the first and take their time; what comes after the finish comes with it."""
        return max(0, min(self.finish, len(self.parts) - 1))

    def until(self, number: int, *last: bytes) -> Stream:
        """Only the first so many parts, and then `last`."""
        return msgspec.structs.replace(self, parts=(*self.parts[:number], *last), finish=min(number, self.finish))

    def reply(self, waits: list[float], headers: Headers = ()) -> Reply:
        """As an HTTP answer.

        Args:
            waits: seconds before each part; later parts leave together with the last of them. Empty: none waits, and
                all leave in one write, which costs next to nothing.
            headers: further headers.
        """
        ends: tuple[int, ...] = ()
        if waits or self.torn:
            ends = tuple(accumulate(len(part) for part in self.parts))
        if waits and not self.torn:
            ends = (*ends[: len(waits) - 1], ends[-1])
        body = b"".join(self.parts)
        return Reply(200, body, headers, self.content_type, stream=True, ends=ends, waits=tuple(waits))


class Slices(msgspec.Struct, frozen=True):
    """How texts are cut into chunks.

    Attributes:
        tokens: tokens in a chunk.
        chunks: cut a text into exactly so many, some of them empty if it is short; None goes by tokens.
    """

    tokens: int = 1
    chunks: int | None = None

    def of_text(self, text: str) -> list[str]:
        """Something said, in pieces; joined it is the text again."""
        if not text:
            return []
        if self.chunks is not None:
            return _evenly(text, self.chunks)
        if len(text) > _MOST_CHUNKS * _LONGEST_TOKEN:
            return _evenly(text, _MOST_CHUNKS)
        return pieces(text, self.tokens)

    def of_arguments(self, text: str) -> list[str]:
        """The JSON text of arguments, token by token: cuts fall inside escape sequences too."""
        return _evenly(text, _MOST_CHUNKS) if len(text) > _MOST_CHUNKS else pieces(text)


def _evenly(text: str, parts: int) -> list[str]:
    size = len(text)
    return [text[size * part // parts : size * (part + 1) // parts] for part in range(parts)]


def event(value: Any) -> bytes:
    """One event with this JSON."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
