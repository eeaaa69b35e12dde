"""What the wire log gets of the exchanges about batch files, which belong to no single call.

Owns the name under which such an exchange is written down, and how much of a file: its first lines. A file has
thousands of requests or answers, and all of them would push everything else out of the log.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from batch.core.records import Failure, Incoming, Outgoing
from batch.http.wirelog import WireLog
from batch.ledger.waves import WaveRow

FILE_BYTES: Final = 16_384
"""How much of a file is written down, in whole lines."""


class WaveCall(msgspec.Struct):
    """An exchange about batch files, as the wire log names calls."""

    call_id: str
    """What it is about: the id of a batch, the name of a file, or all batches."""
    base_url: str | None
    exchange_began: float
    row_id: str = ""
    turn: int = 0
    attempt: int = 0
    lane: str = "bulk"


def name_of(wave: WaveRow) -> str:
    """What an exchange about a wave is written down under: its batch, or its file as long as there is none."""
    return wave.batch_id or f"wave-{wave.wave:05d}.jsonl"


def tell(log: WireLog | None, call: WaveCall, outgoing: Outgoing, result: Incoming | Failure) -> None:
    """Write an exchange about batch files down, if that is wanted.

    Args:
        log: the wire log; None for none.
        call: what it is written down under.
        outgoing: the request; of a file in it the first lines are written.
        result: the answer, or why there is none.
    """
    if log is None:
        return
    if outgoing.body is not None and len(outgoing.body) > FILE_BYTES:
        outgoing = msgspec.structs.replace(outgoing, body=shortened(outgoing.body, len(outgoing.body)))
    log(call, outgoing, result)


def brought(incoming: Incoming, path: Path) -> Incoming:
    """An answer whose body went to the disk, with the first lines of that; as it is where they cannot be read."""
    try:
        with path.open("rb") as file:
            head, size = file.read(FILE_BYTES + 1), path.stat().st_size
    except OSError:
        return incoming
    return Incoming(incoming.status, incoming.headers, head if size <= FILE_BYTES else shortened(head, size))


def shortened(data: bytes, size: int) -> bytes:
    """The first whole lines of a file of so many bytes, and how large it is: a key that is cut could not be masked."""
    head = data[:FILE_BYTES]
    lines = head[: head.rfind(b"\n") + 1]
    return lines + f"… {size:,} bytes in all".encode()
