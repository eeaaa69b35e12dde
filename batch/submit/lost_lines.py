"""What the lines of a batch file ask, to be known again by rows that ask the same.

Owns the comparison: the body of a request without the id of its call, whatever the order of its members. Pure, but for
reading a file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from batch.ledger.orphans import Lost
from batch.ledger.paid import Paid

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


def own(row_id: str, variant: str, asks: bytes) -> bytes:
    """A hash of what one row asks, where no other row that asks the same may take its answer: the book has it as its.

    Args:
        row_id: of the row.
        variant: likewise.
        asks: what it asks, as a hash: of its request, or its fingerprint.
    """
    named = msgspec.json.encode((row_id, variant))
    return blake2b(asks + named, digest_size=16, person=b"own").digest()


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


def to_take(line: Lost, booked: Collection[str], paid: Mapping[str, Paid]) -> Lost | None:
    """The line of a file as rows may take it; None where its answer is in a row already.

    Args:
        line: as it stands in the file.
        booked: the calls of its batch that are in the book, by id.
        paid: those of them whose answers are in no row.
    """
    if line.call_id not in booked:
        return line
    call = paid.get(line.call_id)
    return None if call is None else line._replace(asks=own(call.row_id, call.variant, line.asks))


def lines_of_book(paid: Iterable[Paid]) -> list[Lost]:
    """The lines of a batch whose file is gone, as far as the book tells what they asked: each row's first request.

    Args:
        paid: its calls that are in the book and whose answers are in no row.
    """
    first = (call for call in paid if call.turn == 0 and call.fingerprint)
    return [
        Lost(place, call.call_id, own(call.row_id, call.variant, call.fingerprint))
        for place, call in enumerate(first, 1)
    ]


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
