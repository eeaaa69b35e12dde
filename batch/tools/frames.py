"""What goes between this process and a tool's worker process: messages as frames of msgpack.

Owns the messages, their lengths and the form of a frame (four bytes of length, then the message). It opens no socket.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

M = TypeVar("M", bound=msgspec.Struct)

HEAD: Final = 4
MOST: Final = 1 << 20
"""Bytes of the longest message that a worker may send; results are cut far below it."""


CROWDED: Final = b"crowded"
"""What a keeper says when it ends its worker because of too many processes, before the status."""


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """Where the tools of a job come from, so that another process can have the same ones."""

    path: str
    """Of the tools file; empty when there is none."""
    source: bytes
    """What stood in the file when it was loaded: a change of it during a run changes no tool of the run."""
    shipped: tuple[str, ...] = ()
    """Names of tools that promptmill brings along."""
    files: str = ""
    """The folder in which those read and write files."""


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """The first message to a worker: what it works with."""

    origin: Origin
    folder: str
    """Its working folder."""
    memory: int
    """Bytes of data that it may have."""
    open_files: int


class Ready(msgspec.Struct, frozen=True, array_like=True):
    """The answer to it: the tools are loaded, or why they are not."""

    fault: str = ""


class Call(msgspec.Struct, frozen=True, array_like=True):
    """One call of a tool."""

    name: str
    arguments: bytes
    """JSON, checked and coerced; the worker makes the objects of the function's own classes from it."""
    cpu_s: int
    """Seconds of processor time that it may use."""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What became of it."""

    text: str
    size: int
    failed: bool
    worn: bool
    """The process should take no further call: something is left in it that cannot be undone."""


def packed(message: msgspec.Struct) -> bytes:
    """A message as a frame."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(HEAD, "big") + body


def length(head: bytes | bytearray) -> int:
    """The length of the message that follows these bytes."""
    return int.from_bytes(head[:HEAD], "big")


def unpacked(body: bytes | bytearray, kind: type[M]) -> M:
    """The message in these bytes.

    Raises:
        ValueError: they hold no such message.
    """
    message: Any = msgspec.msgpack.decode(body, type=kind)
    return message  # type: ignore[no-any-return]  # it is of that kind
