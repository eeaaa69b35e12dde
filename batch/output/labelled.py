"""What was done for the labels of rows that have none, read out of the book when the ledger that knew it is lost.

Owns the way from a row's calls to its `Labelling`. Without it every such row would be asked again after a `rebuild`, or
none when the job allows more.
"""

from __future__ import annotations

from typing import Any, Final

import apsw
import msgspec

from batch.core.records import Call, Labelling

_INDEX: Final = "CREATE INDEX IF NOT EXISTS temp.book_rows ON book(row_id, variant)"
_CALLS: Final = """
SELECT record
FROM book
WHERE row_id = ? AND variant = ?
"""
_KEEP: Final = """
UPDATE entries
SET label = o.label
FROM old_entries o
WHERE o.row_id = entries.row_id AND o.variant = entries.variant
    AND o.fingerprint = entries.fingerprint AND o.status = entries.status AND o.label IS NOT NULL
"""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Call).decode


def from_book(db: apsw.Connection, row: dict[str, Any]) -> bytes | None:
    """The `Labelling` of a row of the table, encoded; None of a row that did not fail for its label.

    Args:
        db: with the book in a temporary table.
        row: its columns of the result table.
    """
    if row["error_kind"] != "label":
        return None
    db.execute(_INDEX)
    booked: list[Any] = db.execute(_CALLS, (row["row_id"], row["variant"] or "")).fetchall()
    calls = sorted((_decode(record) for (record,) in booked), key=lambda call: call.sent_at_us)
    mine = [call for call in calls[-(row["calls"] or 0) :] if call.state == "answered"]
    reasks = sum(call.purpose == "reask" for call in mine)
    escalated = next((call.model_asked for call in reversed(mine) if call.purpose == "escalate"), None)
    return _encode(Labelling(reasks, escalated, invalid=True))


def keep_known(db: apsw.Connection) -> None:
    """Have the new index know what the old one did of the rows that are still those of the table."""
    db.execute(_KEEP)
