"""What tools with effects have done, and which results rows share: their records, and how they are read back.

Owns the form of these records. An intent is durable before its function begins, its result with the step that goes on
from it; both outlive the row's own records, so that a row that is asked again does not act again. It does not know what
follows from them: `run.effects` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import apsw
import msgspec

from batch.ledger import effect_statements
from batch.ledger.group import Record
from batch.ledger.reader import LedgerReader, PendingRow

Place = tuple[int, int]
"""Where in a conversation a tool is called: the turn, and the index in the turn, both from 0."""


Change = Record
"""What `Ledger.record` takes, or what goes beside a step."""


class Effect(NamedTuple):
    """What is known of one call of a tool with effects."""

    call: str
    """Which call it was: `canonical.call_key`."""
    result: str | None
    """What the model got; None when its function began and its end is not known."""
    in_doubt: bool = False
    """Whether a later process found it so, and went on all the same."""


class EffectsReader(LedgerReader):
    """A reader that knows what tools did for a row, and what rows share."""

    def effects_of(self, row: PendingRow) -> dict[Place, Effect]:
        """What tools did for a row that asked what it asks now, over all its runs."""
        found = self._rows(effect_statements.EFFECTS_OF_ROW, (row.row_id, row.variant, row.fingerprint))
        return {
            (turn, idx): Effect(call, None if result is None else result.decode(), bool(in_doubt))
            for turn, idx, call, result, in_doubt in found
        }

    def shared(self, key: str) -> str | None:
        """A result that an earlier process of this run got from a pure tool; None when there is none."""
        found = self._first(effect_statements.SHARED, (key,))
        return found[0].decode() if found else None

    def shared_bytes(self) -> int:
        """The size of all such results."""
        return int(self._first(effect_statements.SHARED_BYTES)[0])


def intent(row: PendingRow, place: Place, call: str) -> Record:
    """The record that a tool with effects is about to run.

    Args:
        row: for which row.
        place: where in its conversation.
        call: which call.
    """
    return Record("intended", (*_who(row, place), call), 120)


def result(row: PendingRow, place: Place, content: bytes) -> Record:
    """The record of what it came to.

    Args:
        row: for which row.
        place: where in its conversation.
        content: what the model gets.
    """
    return Record("acted", (*_who(row, place), content), len(content))


def doubt(row: PendingRow, place: Place) -> Record:
    """The record that it was found without an end, and that the row goes on all the same."""
    return Record("doubted", _who(row, place), 80)


def share(key: str, content: bytes) -> Record:
    """The record of a result that other rows may have."""
    return Record("shared", (key, content), len(content))


def forget_other_questions(db: apsw.Connection, work_ids: Sequence[int]) -> None:
    """Have the ledger forget what published rows did for another question than the one that is in the table now.

    Args:
        db: inside the transaction that publishes them; so no row of theirs is under way with that other question.
        work_ids: of the rows.
    """
    if db.execute(effect_statements.ANY_EFFECT).fetchone():
        asked = db.execute(effect_statements.ASKED, (msgspec.json.encode(work_ids).decode(),)).fetchall()
        db.executemany(effect_statements.FORGET_OTHER_QUESTIONS, asked)


def _who(row: PendingRow, place: Place) -> tuple[str, str, bytes, int, int]:
    return (row.row_id, row.variant, row.fingerprint, *place)
