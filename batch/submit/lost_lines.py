"""What the lines of a batch file ask, to be known again by rows that ask the same.

Owns the comparison: the body of a request without the id of its call, whatever the order of its members. Pure, but for
reading a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from batch.ledger.orphans import Lost

_CALL_ID: Final = "request_id"
"""The member of a body that some services take the id of the call in."""


class _Line(msgspec.Struct):
    custom_id: str
    body: msgspec.Raw


_line = msgspec.json.Decoder(_Line).decode


def asks_of(body: bytes | msgspec.Raw) -> bytes:
    """A hash of what a request asks.

    Raises:
        msgspec.DecodeError: it is no JSON object.
    """
    asked = msgspec.json.decode(body, type=dict[str, object])
    asked.pop(_CALL_ID, None)
    return blake2b(msgspec.json.encode(asked, order="sorted"), digest_size=16).digest()


def lines_of(path: Path) -> Iterator[Lost]:
    """What each line of a file asks; lines that are none of ours are passed over.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            try:
                line = _line(text)
                yield Lost(number, line.custom_id, asks_of(line.body))
            except msgspec.DecodeError:
                continue


def model_of(path: Path) -> str | None:
    """The model that a file of requests asks, by its first line; None where that says none.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            found = msgspec.json.decode(_line(file.readline()).body, type=dict[str, object]).get("model")
        except msgspec.DecodeError:
            return None
    return found if isinstance(found, str) else None
