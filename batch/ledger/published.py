"""What the ledger says of the files beside it: parts, the book, spills, and what tells each from another of its name.

Owns the reading of these, and the questions by which the half of a publication that a kill left behind is told from a
file of somebody else's. Opens no file but the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import apsw
import msgspec

from batch.ledger import index_statements, statements
from batch.ledger.reader import LedgerReader, PendingRow
from batch.ledger.schema import SCHEMA_VERSION

_OBJECT: Final = "object:"
"""What keys of `meta` begin with that hold the tag of a published file in an object store."""


class Footprint(NamedTuple):
    """What tells a file from another under its name: its size in bytes, and a hash of its Parquet footer."""

    size: int
    footer: bytes


class PublishedFile(NamedTuple):
    """One file as the ledger knows it; both footprints None where an older version published it."""

    rows: int
    footprint: Footprint | None
    next: Footprint | None = None
    """Of the file that was about to take its place when the process ended."""


class PublishedReader(LedgerReader):
    """A reader that knows about files, too."""

    def part_rows(self) -> dict[int, int]:
        """How many rows each published part has; a ledger of any format tells it."""
        return dict(self._rows(statements.PART_ROWS))

    @property
    def keeps_footprints(self) -> bool:
        """Whether a version made the ledger that knows more of a file than its name."""
        return int(self._first("PRAGMA user_version")[0]) > 1

    @property
    def newer(self) -> int | None:
        """The format of a ledger that a newer version made, which is whole and not for this one to read; else None."""
        version = int(self._first("PRAGMA user_version")[0])
        return version if version > SCHEMA_VERSION else None

    def published_parts(self) -> dict[int, PublishedFile]:
        """Every published part of the result table."""
        rows = self._rows(statements.PUBLISHED_PARTS)
        return {
            part: PublishedFile(count, _footprint(size, footer), _footprint(next_size, next_footer))
            for part, count, size, footer, next_size, next_footer in rows
        }

    def published_calls(self) -> dict[tuple[str, int], PublishedFile]:
        """Every published file of the book, by run and number."""
        rows = self._rows(statements.PUBLISHED_CALLS)
        return {
            (run, number): PublishedFile(count, _footprint(size, footer)) for run, number, count, size, footer in rows
        }

    def tags(self) -> dict[str, str]:
        """The tags that an object store gave published files, by name; empty for an output on a disk."""
        rows = self._rows("SELECT key, value FROM meta WHERE key >= ?1 AND key < ?1 || char(1114111)", (_OBJECT,))
        return {key.removeprefix(_OBJECT): tag for key, tag in rows}

    def tag(self, name: str) -> str | None:
        """The tag that an object store gave a published file; None where there is none."""
        found: str | None = self.meta(f"{_OBJECT}{name}")
        return found

    def still_unpublished_calls(self, call_ids: Sequence[str]) -> int:
        """How many of these calls are final and wait to be published."""
        found = self._first(statements.COUNT_UNPUBLISHED_CALLS, (msgspec.json.encode(call_ids).decode(),))
        return int(found[0]) if found else 0

    def still_unpublished_rows(self, part: int, keys: Sequence[tuple[str, str]]) -> int:
        """How many of these (row_id, variant) are settled and wait to be published in this part."""
        found = self._first(statements.COUNT_UNPUBLISHED_ROWS, (msgspec.json.encode(keys).decode(), part))
        return int(found[0]) if found else 0

    def leaving_parts(self) -> set[int]:
        """Parts that were about to be written anew without some of their rows, or removed, when the process ended."""
        return {row[0] for row in self._rows(index_statements.LEAVING_PARTS)}

    def spills(self) -> dict[int, tuple[int, int | None, bytes | None]]:
        """Rows, size and digest of the spill of every range; the last two None where an older version wrote it."""
        return {row[0]: row[1:] for row in self._rows(statements.SPILLS)}

    def begun_in(self, ranges: Sequence[int]) -> list[PendingRow]:
        """The rows of these ranges that are not published and not unsent: settled, or with a call or step."""
        rows = self._rows(statements.BEGUN_IN_RANGES, (msgspec.json.encode(ranges).decode(),))
        return [PendingRow(*row) for row in rows]


def announced(part: int, footprint: Footprint) -> Callable[[apsw.Connection], None]:
    """The transaction that says which file is about to take the place of a published part."""

    def change(db: apsw.Connection) -> None:
        db.execute(index_statements.ANNOUNCE, (*footprint, part))

    return change


def replaced(db: apsw.Connection, part: int, footprint: Footprint, *, rows: int | None = None) -> None:
    """Have the ledger know the file that took the place of a published part.

    Args:
        db: inside a transaction.
        part: number of the part.
        footprint: of its file now.
        rows: how many it has; None when they are as many as before.
    """
    db.execute(index_statements.REPLACE_PART, (part, rows, *footprint))


def record_tags(db: apsw.Connection, tags: Mapping[str, str | None]) -> None:
    """Have the ledger know the tags of published files.

    Args:
        db: inside a transaction.
        tags: by name of the file; None for one that is removed.
    """
    db.executemany(
        "INSERT OR REPLACE INTO meta(key, value) VALUES(?,?)",
        [(f"{_OBJECT}{name}", tag) for name, tag in tags.items() if tag is not None],
    )
    db.executemany("DELETE FROM meta WHERE key=?", [(f"{_OBJECT}{name}",) for name, tag in tags.items() if tag is None])


def forget_tags(db: apsw.Connection) -> None:
    """Forget all tags of published files; inside a transaction."""
    db.execute("DELETE FROM meta WHERE key >= ?1 AND key < ?1 || char(1114111)", (_OBJECT,))


def _footprint(size: int | None, footer: bytes | None) -> Footprint | None:
    return None if size is None or footer is None else Footprint(size, footer)
