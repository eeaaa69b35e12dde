"""The ledger's index of the result table: which rows the table has, which of them are no longer in the input.

A pass is one reading of the source from its beginning to its end. Owns three things about the rows of the index: which
of them a pass did not meet, which have new input columns that must be written although nothing is asked, and how rows
leave. Opens no file but the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

import apsw
import msgspec

from batch.core.labelling import Labelling
from batch.ledger import effect_statements, index_statements, levels, statements
from batch.ledger.reader import Entry, LedgerReader, PendingRow

GONE: Final = "gone"
"""Key of the ledger's `meta`: how many rows of the table the last whole pass over the source did not meet."""

BEGAN_EMPTY: Final = index_statements.BEGAN_EMPTY

_decode_labelling = msgspec.msgpack.Decoder(Labelling).decode

Key = tuple[str, str]
"""(row_id, variant) of one row of the table; the variant is empty when the job has none."""


SETTLED_AT_ONCE: Final = 500
"""So many pages of the index may be in memory a second time; more rows at once were not faster."""


class SettledRow(msgspec.Struct, frozen=True, gc=False):
    """What the index is to learn of a row that is published."""

    row_id: str
    variant: str
    work_id: int
    status: int
    """As `entries.status`."""
    label: bytes | None
    """Its `Labelling` encoded, where it asks for a label."""


class Gone(msgspec.Struct, frozen=True):
    """How many rows of the table the job does not ask any more, and why."""

    rows: int = 0
    """Their row is not in the input."""
    variants: int = 0
    """Their row is in the input, and the job has no such variant."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.rows + self.variants


def _labelling(value: bytes | None) -> Labelling | None:
    return None if value is None else _decode_labelling(value)


def gone_of(reader: LedgerReader) -> Gone:
    """What the last whole pass over the source found; nothing gone where there was none."""
    kept = reader.meta(GONE)
    return msgspec.json.decode(kept, type=Gone) if kept else Gone()


class IndexReader(LedgerReader):
    """A reader that knows what stands in the table, row by row."""

    def entries(self, row_ids: Sequence[str]) -> dict[Key, Entry]:
        """The index entries of these rows with the hash of their output columns, by row id and variant."""
        rows = self._rows(index_statements.CONTENTS, (msgspec.json.encode(row_ids).decode(),))
        return {(row[0], row[1]): Entry._make((*row[:7], _labelling(row[7]))) for row in rows}

    def began_empty(self, run: str) -> bool:
        """Whether the pass of this run began when the index knew no row, and none was admitted; see `begin_pass`."""
        return bool(self.meta(BEGAN_EMPTY) == run)

    def indexed(self, row_ids: Sequence[str]) -> set[str]:
        """Those of these ids that the index has, in whatever variant."""
        return {row[0] for row in self._rows(index_statements.INDEXED, (msgspec.json.encode(row_ids).decode(),))}

    def unmet(self) -> Iterator[tuple[int, str]]:
        """Range and id of every row that is admitted and not written down as met; by ascending range."""
        return self._rows(index_statements.UNMET)

    def oldest_range(self) -> int | None:
        """The lowest number of a range that has rows which are not published; None when there is none."""
        row = self._first(index_statements.OLDEST_RANGE)
        return None if row is None else int(row[0])

    def labellings(self, work_ids: Sequence[int]) -> dict[int, Labelling]:
        """By work id, what was done for the labels of admitted rows that asked the same before."""
        rows = self._rows(index_statements.LABELLINGS, (msgspec.json.encode(work_ids).decode(),))
        return {work_id: _decode_labelling(value) for work_id, value in rows}

    def labelled(self) -> Iterator[tuple[str, Labelling]]:
        """Variant and labelling of every row of the table that has a label, or failed for want of one."""
        for variant, value in self._rows(index_statements.LABELLED):
            yield variant, _decode_labelling(value)

    def settled(self) -> dict[Key, bytes]:
        """The rows that have settled and are not published yet, with the fingerprint of what they asked."""
        return {(row[0], row[1]): row[2] for row in self._rows(index_statements.SETTLED)}

    def refreshed(self, part: int, first: int, last: int) -> list[PendingRow]:
        """Rows of a part of which only the input columns are new, by ascending row number.

        Args:
            part: number of the part.
            first: the lowest row number.
            last: the highest one.
        """
        return [PendingRow(*row) for row in self._rows(index_statements.REFRESHED, (part, first, last))]

    def last_refreshed(self, part: int) -> int | None:
        """The highest work number among such rows of a part; None when there are none."""
        row = self._first(index_statements.LAST_REFRESHED, (part,))
        return None if row is None or row[0] is None else int(row[0])

    def count_gone(self, variants: Sequence[str]) -> Gone:
        """How many rows of the table this pass over the source did not meet, and how many no variant asks for.

        Args:
            variants: those of the job, as the ledger names them.
        """
        row = self._first(index_statements.COUNT_GONE, (msgspec.json.encode(list(variants)).decode(),))
        return Gone(*row)

    def failed_and_gone(self) -> Iterator[tuple[int, set[Key]]]:
        """By part, the rows that failed for good and were not met by this pass over the source."""
        found = self._rows(index_statements.FAILED_AND_GONE)
        for part, rows in groupby(found, key=itemgetter(0)):
            yield part, {(row_id, variant) for _, row_id, variant in rows}


# -- statements of the writer -----------------------------------------------------------------------------------------


def begin_pass(db: apsw.Connection, run: str) -> None:
    """Forget what the last pass over the source has met, and write down whether the index knows any row now.

    Where it knows none, it will know rows of this pass alone until the next one begins, whoever goes on with it.

    Args:
        db: inside the transaction that opens the run.
        run: whose pass it is.
    """
    levels.forget(db, levels.SEEN)
    db.execute(index_statements.FORGET_BEGAN_EMPTY, (BEGAN_EMPTY,))
    db.execute(index_statements.NOTE_BEGAN_EMPTY, (BEGAN_EMPTY, run))


def meet(db: apsw.Connection, met: Sequence[tuple[str, int, str | None]]) -> None:
    """Have the index know which ids a pass over the source has met.

    Args:
        db: inside the transaction that admits what was found there.
        met: id, how often it was met, and where first; by ascending id.
    """
    db.executemany(index_statements.MEET, met)
    levels.count(db, levels.SEEN, len(met))


def keep_places(db: apsw.Connection) -> None:
    """Have the index know the place of every admitted row, also of one that is not published.

    While a run goes on its records have these places, and publication writes them down with the outcome; here it is
    done before records go away without one, or while another pass over the source may meet the rows.
    """
    db.execute(index_statements.KEEP_PLACES)


def keep_gone(db: apsw.Connection, gone: Gone, *, run: str | None) -> None:
    """Keep what a whole pass over the source found.

    Args:
        db: inside a transaction.
        gone: what it found.
        run: the run whose pass it was; None when it was no run's.
    """
    db.execute(statements.SET_META, (GONE, msgspec.json.encode(gone).decode()))
    if run is not None:
        db.execute(index_statements.SET_PLANNED_GONE, (gone.total, gone.variants, run))


def learn_outcomes(db: apsw.Connection, settled: Sequence[SettledRow]) -> None:
    """Have the index know the outcomes of rows.

    Args:
        db: inside the transaction that publishes them; their records are there still.
        settled: by ascending id, so that each page of a large index is looked for and written once.
    """
    for start in range(0, len(settled), SETTLED_AT_ONCE):
        plain: dict[int, list[int]] = {}
        for row in settled[start : start + SETTLED_AT_ONCE]:
            if row.label is None:
                plain.setdefault(row.status, []).append(row.work_id)
            else:
                db.execute(index_statements.SET_OUTCOME, (row.work_id, row.status, row.label))
        for status, work_ids in plain.items():
            db.execute(index_statements.SET_OUTCOMES, (msgspec.json.encode(work_ids).decode(), status, None))
    levels.count(db, levels.ENTRIES, len(settled))


def learn_votes(db: apsw.Connection, votes: Sequence[tuple[bytes, str, str]]) -> None:
    """Have the index know the votes of rows with a label, by (`Labelling` encoded, row_id, variant)."""
    for statement in index_statements.SET_VOTES:
        db.executemany(statement, votes)


def learn_contents(db: apsw.Connection, known: Sequence[tuple[str, str, bytes]]) -> None:
    """Have the index know the hash of the output columns of rows by (row_id, variant, hash)."""
    for statement in index_statements.FILL_CONTENT:
        db.executemany(statement, known)


def settle_refreshed(db: apsw.Connection, part: int, last: int) -> None:
    """Have the index know the input columns that a part now has.

    Args:
        db: inside a transaction.
        part: number of the part, which was written.
        last: the highest work number whose columns are in it.
    """
    for statement in index_statements.SET_CONTENTS:
        db.execute(statement, (part, last))
    db.execute(index_statements.MARK_REFRESHED, (part, last))


def doubt_unknown(db: apsw.Connection) -> None:
    """Have rows refreshed of which the index does not know the columns: the table got one more, and they lack it."""
    for statement in index_statements.DOUBT_UNKNOWN:
        db.execute(statement)


def drop_refreshed(db: apsw.Connection, ranges: Sequence[int]) -> None:
    """Give up writing the columns of rows whose spill (their input, kept) is lost; the next pass finds them again.

    Their part may have been written just before a kill, so what it holds of them is not known.
    """
    lost = (msgspec.json.encode(list(ranges)).decode(),)
    for statement in index_statements.DOUBT_CONTENTS:
        db.execute(statement, lost)
    db.execute(index_statements.DROP_REFRESHED, lost)


def announce_leaving(db: apsw.Connection, part: int, keys: Sequence[Key]) -> None:
    """Write down which rows a part is about to lose.

    Args:
        db: inside a transaction.
        part: number of the part.
        keys: of the rows that leave.
    """
    forget_leaving(db, part)
    db.executemany(index_statements.ADD_LEAVING, [(part, *key) for key in keys])


def look_again(db: apsw.Connection) -> None:
    """Have no run count as one that read the whole source.

    Else a source that is put back as that run saw it would have nothing to do, and a row of it that left the table
    would never come back.
    """
    db.execute(index_statements.NOTHING_COMPLETE)


def forget_part(db: apsw.Connection, part: int) -> None:
    """Have the index forget a part none of whose rows stays, and these rows; its file is to be removed."""
    db.execute(effect_statements.FORGET_LEFT, (part,))
    _delete_left(db, part)
    db.execute(index_statements.FORGET_PART, (part,))


def forget_entries(db: apsw.Connection, part: int) -> None:
    """Have the index forget the rows that left a part, and know how many that has now."""
    db.execute(index_statements.COUNT_DOWN, (part,))
    db.execute(effect_statements.FORGET_LEFT, (part,))
    _delete_left(db, part)
    forget_leaving(db, part)


def _delete_left(db: apsw.Connection, part: int) -> None:
    for statement in index_statements.DELETE_LEFT:
        db.execute(statement, (part,))


def forget_leaving(db: apsw.Connection, part: int | None = None) -> None:
    """Cross out which rows a part, or any part, was about to lose."""
    db.execute(index_statements.FORGET_LEAVING, (part,))
