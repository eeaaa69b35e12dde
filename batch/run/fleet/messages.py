"""What goes between the core and a worker, and how it is written: see the package for who says what when.

Owns the messages and their form as bytes. It opens no socket and knows no process.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from batch.core import redaction
from batch.core.errors import FailureKind
from batch.core.records import Accepted, Asks, Failure, Incoming, Message, Processing, Reply
from batch.core.redaction import NamedSecret, Secret
from batch.job.providers import ProviderSpec

Result = Reply | Accepted | Processing | Failure
"""What one of a dialect's readers makes of an answer."""


class KeyPlace(msgspec.Struct, frozen=True, array_like=True):
    """Where a worker finds the key on the machine it runs on, when no key goes over the line."""

    variable: str | None = None
    """The only variable that is looked at; None for the usual ones of the provider."""
    form: Literal["raw", "jwt"] = "raw"
    """How it goes out."""
    where: str = ""
    """What errors call the file or the command; empty where a variable has the key."""
    file: str | None = None
    command: tuple[str, ...] = ()
    folder: str = ""
    """Where the command runs."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Core to worker, first of all: what it works with. No key: that stands in the headers of errands, or nowhere."""

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
    keys: dict[str, KeyPlace] = {}
    """Where the worker finds each key itself, by the name of its address, "" where there is one; empty where errands
    bring them."""


class Errand(msgspec.Struct, frozen=True, array_like=True):
    """One request that may leave now."""

    ticket: int
    """By which its report is known; new for each."""
    departed_at: float
    """When the limits let it go, in monotonic seconds of the core."""
    base_url: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    streamed: bool
    """Whether the answer comes in pieces, to be put together."""
    asks: Asks | None = None
    """By which of the dialect's readers its answer is read where it arrives; None for the bytes as they came."""
    key: str = ""
    """Of the keys that the worker finds itself, the one that it is sent with."""


class Take(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Core to worker: errands."""

    errands: list[Errand]
    keys: dict[str, int] = {}
    """How many times each key was fetched anew before, where errands do not bring them."""


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
    """One of the two; none of them beside what a whole one says (`Said`)."""
    first_chunk_ms: int | None = None
    longest_gap_ms: int | None = None
    received: bytes = b""
    """As it came, where that is wanted."""


class Done(msgspec.Struct, frozen=True, array_like=True):
    """What came of one errand: an answer as bytes or a fault, and what the stream was, if it was one."""

    ticket: int
    incoming: Incoming | None = None
    fault: Fault | None = None
    stream: StreamEnd | None = None
    """None where nothing came in pieces: a refusal is read as any other answer."""


class Said(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the answer to one errand says, read where it arrived, as nearly all are: the core need not see its bytes."""

    ticket: int
    headers: dict[str, str]
    """Those that are looked at behind the reading."""
    reply: Reply | None = None
    accepted: Accepted | None = None
    processing: Processing | None = None
    failure: Failure | None = None
    """One of the four. Never a failure as it comes, but the core makes one of a task id that holds a key."""
    stream: StreamEnd | None = None
    """The times of the stream that it came in, if it did."""


Found = Done | Said
"""What came of an errand, in either form."""


class Report(msgspec.Struct, array_like=True, tag=True):
    """Worker to core: what came of errands, and tickets of those that were not sent, because they came too late."""

    epoch: int
    done: list[Done]
    stale: list[int]
    said: list[Said] = []
    spared: bool = False
    """Whether none of its texts can hold a key of ours; whoever reads the message knows, whatever it says itself."""


class Alive(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Worker to core: it is there. The first one says that it is ready."""

    epoch: int


def said_of(ticket: int, headers: dict[str, str], result: Result, stream: StreamEnd | None = None) -> Said:
    """What an answer says, as it goes over.

    Args:
        ticket: of the errand.
        headers: that are looked at behind the reading.
        result: what the dialect made of the answer.
        stream: has the times of a stream.
    """
    if isinstance(result, Reply):
        return Said(ticket, headers, result, stream=stream)
    if isinstance(result, Accepted):
        return Said(ticket, headers, accepted=result)
    if isinstance(result, Processing):
        return Said(ticket, headers, processing=result)
    return Said(ticket, headers, failure=result)


def result_of(said: Said) -> Result:
    """What an answer says, as it came over."""
    result = said.reply or said.accepted or said.processing or said.failure
    assert result is not None
    return result


def leave_out_echo(reply: Reply) -> None:
    """Take its message out of a reply where that says nothing but its content: it goes over once, not twice.

    Args:
        reply: of which nobody else knows yet, for it is changed; `for_core` puts it back.
    """
    if reply.message == _message_of(reply):
        msgspec.structs.force_setattr(reply, "message", {})


def _message_of(reply: Reply) -> Message:
    """The message that most replies have."""
    return {"role": "assistant", "content": reply.content}


ToWorker = Hello | Take | Cancel | Leave
ToCore = Report | Alive


def keyless(table: ProviderSpec) -> ProviderSpec:
    """A provider's table without what says where its key is, and what it costs."""
    return msgspec.structs.replace(table, api_key_env=None, key_file=None, key_command=(), price=())


def _plain(value: Any) -> str:
    """A key as the text that it is, for it goes out in the headers of an errand: over a line that is ours alone."""
    if isinstance(value, str):
        return str.encode(value).decode()
    raise NotImplementedError(f"{type(value).__name__} is no part of a message")


def encode_keyless(message: ToWorker | ToCore) -> bytes:
    """A message as bytes that hold no key, whoever reads them: errands lose the header that has it.

    Raises:
        TypeError: a key stands anywhere else in it.
    """
    if isinstance(message, Take):
        message = Take([_unsigned(errand) for errand in message.errands], message.keys)
    return _encode_all_but_keys(message)


def _unsigned(errand: Errand) -> Errand:
    headers = tuple(header for header in errand.headers if not isinstance(header[1], Secret))
    return msgspec.structs.replace(errand, headers=headers, key=key_of(errand))


def key_of(errand: Errand) -> str:
    """The name of the address whose key an errand has in its headers; "" where there is one address."""
    return next((value.address for _, value in errand.headers if isinstance(value, NamedSecret)), "")


_encode_all_but_keys: Final = msgspec.msgpack.Encoder().encode
encode: Final = msgspec.msgpack.Encoder(enc_hook=_plain).encode
for_worker: Final = msgspec.msgpack.Decoder(ToWorker).decode
_for_core: Final = msgspec.msgpack.Decoder(ToCore).decode


def for_core(message: bytes) -> ToCore:
    """A message of a worker.

    Raises:
        msgspec.ValidationError: it is none.
    """
    told: ToCore = _for_core(message)
    if isinstance(told, Report):
        told.spared = redaction.process.spares_bytes(message)
        for said in told.said:
            if (reply := said.reply) is not None and not reply.message:
                msgspec.structs.force_setattr(reply, "message", _message_of(reply))
    return told
