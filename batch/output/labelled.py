"""What was done for the labels of rows, read out of the table and the book when the ledger that knew it is lost.

Owns the way from a row's columns and its calls to its `Labelling`. Without it every row without a label would be asked
again after a `rebuild`, or none when the job allows more; and every row with one would be asked for all its samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec
import pyarrow as pa

from batch.core.labelling import Labelling, Vote
from batch.core.records import Call
from batch.labels.samples import vote_of
from batch.labels.schema import LABEL, PROPERTY_KEY, label_columns
from batch.ledger.levels import ENTRIES
from batch.output.parts import PartReader
from batch.output.unreadable import reading

_INDEX: Final = "CREATE INDEX IF NOT EXISTS temp.book_rows ON book(row_id, variant)"
_CALLS: Final = """
SELECT record
FROM book
WHERE row_id = ? AND variant = ?
"""
_KEEP: Final = f"""
UPDATE {ENTRIES.largest} AS e
SET label = o.label
FROM old_entries o
WHERE o.row_id = e.row_id AND o.variant = e.variant
    AND o.fingerprint = e.fingerprint AND o.status = e.status AND o.label IS NOT NULL
"""
_READ_ROWS: Final = 5_000
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Call).decode


def columns(results: pa.Schema) -> list[str]:
    """The columns of a part that tell of labels and votes."""
    return list(label_columns(results).names)


def from_book(db: apsw.Connection, row: dict[str, Any], results: pa.Schema) -> bytes | None:
    """The `Labelling` of a row of the table, encoded; None of a row without a label that did not fail for want of one.

    Args:
        db: with the book in a temporary table.
        row: its columns of the result table.
        results: their schema.
    """
    if row["error_kind"] != "label":
        kept = _voted(row, results)
        return None if kept is None else _encode(kept)
    db.execute(_INDEX)
    booked: list[Any] = db.execute(_CALLS, (row["row_id"], row["variant"] or "")).fetchall()
    calls = sorted((_decode(record) for (record,) in booked), key=lambda call: call.sent_at_us)
    mine = [call for call in calls[-(row["calls"] or 0) :] if call.state == "answered"]
    reasks = sum(call.purpose == "reask" for call in mine)
    escalated = next((call.model_asked for call in reversed(mine) if call.purpose == "escalate"), None)
    samples = 1 + max((call.sample for call in mine), default=0)
    return _encode(Labelling(reasks, escalated, invalid=True, samples=samples))


def _voted(row: dict[str, Any], results: pa.Schema) -> Labelling | None:
    """The votes of a row, or the one vote that a label without votes is; None of a row without either."""
    sure = row.get("confidence")
    if voted := row.get("votes"):
        votes = [Vote(vote["label"], vote["count"]) for vote in voted]
        if sure is not None:
            votes[0] = _sure(votes[0], sure)
        return Labelling(votes=tuple(votes), samples=round(votes[0].count / row["agreement"]))
    label = label_of(row, results)
    if label is None:
        return None
    vote = Vote(vote_of(label), 1)
    return Labelling(votes=(vote if sure is None else _sure(vote, sure),), samples=1)


def _sure(vote: Vote, chance: float) -> Vote:
    return Vote(vote.label, vote.count, chance * vote.count, vote.count)


def label_of(row: dict[str, Any], results: pa.Schema) -> Any:
    """The label in the columns of a row: a name, or an object of its properties."""
    of = {
        field.name: field.metadata[PROPERTY_KEY.encode()].decode()
        for field in label_columns(results)
        if field.name.startswith(LABEL)
    }
    if row["status"] != "ok":
        return None
    if row.get(LABEL) is not None and not of.get(LABEL, "?"):
        return row[LABEL]
    found = {name: row[column] for column, name in of.items() if name and row.get(column) is not None}
    return found or None


def votes_in(part: Path) -> Iterator[tuple[bytes, str, str]]:
    """The votes of the rows of a published part that have a label: (`Labelling` encoded, row_id, variant).

    Raises:
        StorageError: it cannot be read.
    """
    with reading(part), PartReader(part) as file:
        results = file.schema_arrow
        chosen = ["row_id", "variant", "status", *columns(results)]
        for batch in file.iter_batches(batch_size=_READ_ROWS, columns=chosen):
            for row in batch.to_pylist():
                if (kept := _voted(row, results)) is not None:
                    yield _encode(kept), row["row_id"], row["variant"] or ""


def keep_known(db: apsw.Connection) -> None:
    """Have the new index know what the old one did of the rows that are still those of the table."""
    db.execute(_KEEP)
