"""What goes between the core and a worker, and how it is written: see the package for who says what when.

Owns the messages and their form as bytes. It opens no socket and knows no process.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from batch.core.errors import FailureKind
from batch.core.records import Failure, Incoming, Reply
from batch.job.providers import ProviderSpec


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Core to worker, first of all: what it works with. No key: that stands in the headers of each errand."""

    epoch: int
    """Number of this incarnation; what it reports is reported for this one."""
    provider: str
    tables: dict[str, ProviderSpec]
    """The job's own providers, without their keys and prices."""
    base_url: str
    call_timeout_s: float
    first_chunk_timeout_s: float
    idle_timeout_s: float
    keep_raw: bool
    """Whether the bytes of streams are wanted as they came, for the wire log."""


class Errand(msgspec.Struct, frozen=True, array_like=True):
    """One request that may leave now."""

    ticket: int
    """By which its report is known; new for each."""
    departed_at: float
    """When the limits let it go, in monotonic seconds of this machine."""
    base_url: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    streamed: bool
    """Whether the answer comes in pieces, to be put together."""


class Take(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Core to worker: errands."""

    errands: list[Errand]


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Core to worker: nobody waits for these any more; the line of each is closed, and it is not reported."""

    tickets: list[int]


class Leave(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Core to worker: take nothing more, report what is under way, and end."""


class Fault(msgspec.Struct, frozen=True, array_like=True):
    """Why there is no whole answer: a `core.errors.WireError` as a value."""

    text: str
    kind: FailureKind
    sent: bool
    permanent: bool
    wrong_address: bool


class StreamEnd(msgspec.Struct, frozen=True, array_like=True):
    """What a stream came to."""

    reply: Reply | None = None
    failure: Failure | None = None
    """One of the two."""
    first_chunk_ms: int | None = None
    longest_gap_ms: int | None = None
    received: bytes = b""
    """As it came, where that is wanted."""


class Done(msgspec.Struct, frozen=True, array_like=True):
    """What came of one errand: an answer or a fault, and what the stream was, if it was one."""

    ticket: int
    incoming: Incoming | None = None
    fault: Fault | None = None
    stream: StreamEnd | None = None
    """None where nothing came in pieces: a refusal is read as any other answer."""


class Report(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Worker to core: what came of errands, and tickets of those that were not sent, because they came too late."""

    epoch: int
    done: list[Done]
    stale: list[int]


class Alive(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Worker to core: it is there. The first one says that it is ready."""

    epoch: int


ToWorker = Hello | Take | Cancel | Leave
ToCore = Report | Alive


def _plain(value: Any) -> str:
    """A key as the text that it is, for it goes out in the headers of an errand: over a line that is ours alone."""
    if isinstance(value, str):
        return str.encode(value).decode()
    raise NotImplementedError(f"{type(value).__name__} is no part of a message")


encode: Final = msgspec.msgpack.Encoder(enc_hook=_plain).encode
for_worker: Final = msgspec.msgpack.Decoder(ToWorker).decode
for_core: Final = msgspec.msgpack.Decoder(ToCore).decode
