"""A pass over the source that asks nothing: which rows of the table it does not meet.

Owns the private database in which the pass keeps what it met, because the ids of ten million rows do not fit in memory;
it goes away by itself. Reads the ledger beside it and writes nothing there. What becomes of the rows is not its matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Self

import apsw
import msgspec

from batch.core.errors import StorageError
from batch.input.batches import SourceBatch
from batch.input.source import Source
from batch.job.job import InputSpec
from batch.ledger.index import Gone, Key
from batch.ledger.schema import reason
from batch.plan.row_ids import Identified, Seen, identify

READ_ROWS: Final = 1_000
EXAMPLES: Final = 3

_MAKE: Final = """
PRAGMA main.journal_mode=OFF;
PRAGMA main.synchronous=OFF;
PRAGMA main.cache_size=-65536;
CREATE TABLE met(row_id TEXT PRIMARY KEY, times INTEGER NOT NULL, place TEXT) WITHOUT ROWID;
CREATE TABLE gone(
    part INTEGER,
    row_id TEXT,
    variant TEXT,
    met INTEGER,
    PRIMARY KEY(part, row_id, variant)
) WITHOUT ROWID;
"""
_MET: Final = """
SELECT row_id, times, place
FROM met
WHERE row_id IN (SELECT value FROM json_each(?))
"""
_ADD: Final = """
INSERT OR REPLACE INTO met(row_id, times, place)
VALUES (?, ?, ?)
"""
_FIND: Final = """
INSERT INTO gone(part, row_id, variant, met)
SELECT e.part, e.row_id, e.variant, m.row_id IS NOT NULL
FROM ledger.entries e
LEFT JOIN met m ON m.row_id = e.row_id
WHERE e.status IS NOT NULL
    AND (m.row_id IS NULL OR e.variant NOT IN (SELECT value FROM json_each(?)))
"""
_COUNT: Final = """
SELECT count(*) FILTER (WHERE NOT met), count(*) FILTER (WHERE met)
FROM gone
"""
_EXAMPLES: Final = """
SELECT DISTINCT row_id
FROM gone
ORDER BY met, part
LIMIT ?
"""
_BY_PART: Final = """
SELECT part, row_id, variant
FROM gone
ORDER BY part
"""


@contextmanager
def kept_aside(what: str) -> Iterator[None]:
    """Turn what SQLite says of a private database into a `StorageError` with the way out.

    Args:
        what: is kept there, for the message.
    """
    try:
        yield
    except apsw.Error as exc:
        raise StorageError(
            f"{what}, kept in a temporary file, cannot be held against the ledger: {reason(exc)}. Make "
            "room in the folder for temporary files (TMPDIR), then run the same command again; nothing was changed."
        ) from exc


class Pass:
    """What one pass over the source meets, held against the table of one ledger. Use it as a context manager.

    Args:
        ledger: its file; None where there is no table yet, so that nothing of it can be gone.
        spec: how rows are known.

    Attributes:
        rows: how many rows the source had so far.
        unreadable: how many of them could not be read.
        unreadable_first: why, of the first few.
    """

    def __init__(self, ledger: Path | None, spec: InputSpec) -> None:
        self._spec = spec
        self._has_table = ledger is not None
        self._db = apsw.Connection(
            "", flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
        )
        if ledger is not None:
            self._db.execute("ATTACH ? AS ledger", (f"{ledger.as_uri()}?mode=ro",))
        self._db.execute(_MAKE).fetchall()  # a statement that gives rows would hold up those behind it
        self.rows = 0
        self.unreadable = 0
        self.unreadable_first: list[str] = []

    def seen(self, row_ids: Sequence[str]) -> Mapping[str, tuple[int, str | None]]:
        """How often each of these ids was met so far, and where first."""
        rows = self._db.execute(_MET, (msgspec.json.encode(row_ids).decode(),))
        return {row[0]: (row[1], row[2]) for row in rows}

    def take(self, batch: SourceBatch) -> list[Identified]:
        """Meet the rows of one batch, and say who they are.

        Raises:
            StorageError: there is no room for what is met.
        """
        self.rows += len(batch.records)
        for record, failure in zip(batch.records, batch.failures, strict=True):
            if record is None:
                self.unreadable += 1
                if failure is not None and len(self.unreadable_first) < EXAMPLES:
                    self.unreadable_first.append(failure.message)
        met: Seen = {}
        with kept_aside("the ids of the input"):
            rows = identify(batch, self._spec, {}, self)
            for row in rows:
                row.note(met)
            self._db.execute("BEGIN")
            self._db.executemany(_ADD, ((row_id, times, place) for row_id, (times, place) in met.items()))
            self._db.execute("COMMIT")
        return rows

    def read(self, source: Source) -> None:
        """Meet all rows of a source.

        Raises:
            InputError: it cannot be read to its end.
            StorageError: as `take`.
        """
        reader = source.reader()
        try:
            while (batch := reader.read(READ_ROWS)) is not None:
                self.take(batch)
        finally:
            reader.close()

    def find(self, variants: Sequence[str]) -> Gone:
        """Look for the rows of the table that were not met, and those in other variants than these; for once.

        Raises:
            StorageError: there is no room for what is found, or the ledger cannot be read.
        """
        if not self._has_table:
            return Gone()
        with kept_aside("the ids of the input"):
            self._db.execute(_FIND, (msgspec.json.encode(list(variants)).decode(),))
            found: Any = self._db.execute(_COUNT).fetchone()
        return Gone(*found)

    def examples(self) -> list[str]:
        """The ids of the first few of the rows found."""
        return [row[0] for row in self._db.execute(_EXAMPLES, (EXAMPLES,))]

    def by_part(self) -> Iterator[tuple[int, set[Key]]]:
        """The rows found, part after part."""
        for part, rows in groupby(self._db.execute(_BY_PART), key=itemgetter(0)):
            yield part, {(row_id, variant) for _, row_id, variant in rows}

    def close(self) -> None:
        """Forget everything."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
