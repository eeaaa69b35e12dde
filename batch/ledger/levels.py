"""Two tables of the ledger are kept in three levels: what is new stands in a small table and moves into larger ones.

Rows come in the order of the input, and `entries` and `seen` have them in the order of their ids, which are hashes or
whatever a user calls rows. Of ten thousand new rows each goes into another page of a large table, and every page is
read, checked, written into the log and folded in again, for one row: a row then costs the more, the more there are. So
new rows go into `entries_1`, which is small; when that is full, they move into `entries_2`, many into each of its
pages, and from there into `entries_3`. `seen` has the same three.

A row may stand in several levels at once: what a newer level says of it counts, and takes the place of what the older
one has when it moves there. The names `entries` and `seen` are views that show each row once, as its newest level has
it. Whoever reads needs to know nothing of this; in a ledger of an older version they are tables.

Owns these tables, how many rows each of the small ones has, and the moves, slice by slice in the order of the ids. What
a row means is not known here.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import apsw

SLICE_ROWS: Final = 1_000
"""So many rows move in one transaction: some 4 ms, in which nobody else can write."""
SLICES_AT_ONCE: Final = 10
"""So many of them at once where there is much to move."""
_LEVELS: Final = (1, 2, 3)
_SHARE: Final = 8
"""The second level may have an eighth of all rows: when they move, each page of the third gets about five of them."""


class Levelled(NamedTuple):
    """One table in levels.

    Attributes:
        name: of its view.
        columns: all of them, and the key first.
        key: the columns that tell its rows apart; it begins with `row_id`.
        most: so many rows may the first level have, and the second; that one has more when the table is large.
    """

    name: str
    columns: str
    key: tuple[str, ...]
    most: tuple[int, int]

    @property
    def tables(self) -> tuple[str, ...]:
        """Its tables, the newest rows first."""
        return tuple(f"{self.name}_{level}" for level in _LEVELS)

    @property
    def newest(self) -> str:
        """The table into which rows are put."""
        return self.tables[0]

    @property
    def largest(self) -> str:
        """The table into which they come in the end."""
        return self.tables[-1]

    @property
    def view(self) -> str:
        """The statement that makes its view."""
        arms = [self._arm(self.tables[:level], table) for level, table in enumerate(self.tables)]
        return f"CREATE VIEW {self.name} AS\n" + "\nUNION ALL\n".join(arms) + ";\n"

    def _arm(self, newer: tuple[str, ...], table: str) -> str:
        """The rows of a level that no newer one has."""
        unlike = [
            f"NOT EXISTS (SELECT 1 FROM {other} n WHERE {' AND '.join(f'n.{part} = t.{part}' for part in self.key)})"
            for other in newer
        ]
        return f"SELECT {self.columns}\nFROM {table} t" + ("\nWHERE " + "\n    AND ".join(unlike) if unlike else "")


ENTRIES: Final = Levelled(
    "entries",
    "row_id, variant, row_number, part, fingerprint, status, content, label",
    ("row_id", "variant"),
    (40_000, 300_000),
)
SEEN: Final = Levelled("seen", "row_id, times, place", ("row_id",), (60_000, 500_000))
_ALL: Final = (ENTRIES, SEEN)

_SMALL: Final = """
CREATE TABLE entries_{level}(
    row_id TEXT NOT NULL,
    variant TEXT NOT NULL,
    row_number INTEGER NOT NULL,
    part INTEGER NOT NULL,
    fingerprint BLOB,
    status INTEGER,
    content BLOB,
    label BLOB,
    PRIMARY KEY(row_id, variant)
) STRICT, WITHOUT ROWID;

CREATE INDEX entries_{level}_failed ON entries_{level}(status, row_number) WHERE status > 0;

CREATE TABLE seen_{level}(
    row_id TEXT PRIMARY KEY,
    times INTEGER NOT NULL,
    place TEXT
) STRICT, WITHOUT ROWID;
"""
TABLES: Final = (
    """
ALTER TABLE entries RENAME TO entries_3;
ALTER TABLE seen RENAME TO seen_3;

CREATE TABLE levels(
    name TEXT PRIMARY KEY,
    rows INTEGER NOT NULL,
    moved_to TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

"""
    + "".join(_SMALL.format(level=level) for level in _LEVELS[:-1])
    + "".join(table.view for table in _ALL)
)
"""`levels.rows` is how many rows a small level has, or a few more; `moved_to` the last id that moved on from it."""

_COUNT: Final = """
INSERT INTO levels(name, rows)
VALUES (?1, max(0, ?2))
ON CONFLICT DO UPDATE SET rows = max(0, rows + ?2)
"""
_COUNTS: Final = """
SELECT name, rows
FROM levels
"""
_ROWS: Final = """
SELECT value
FROM meta
WHERE key = 'next_row_number'
"""
_MOVED_TO: Final = """
SELECT moved_to
FROM levels
WHERE name = ?
"""
_SET_MOVED_TO: Final = """
UPDATE levels
SET moved_to = ?2
WHERE name = ?1
"""
_COUNT_ANEW: Final = """
UPDATE levels
SET moved_to = '', rows = (SELECT count(*) FROM {table})
WHERE name = ?1
"""
_FORGET: Final = """
DELETE FROM levels
WHERE name = ?
"""
_SLICE: Final = """
SELECT max(row_id)
FROM (SELECT row_id FROM {table} WHERE row_id >= ?1 ORDER BY row_id LIMIT ?2)
"""
_MOVE: Final = """
INSERT OR REPLACE INTO {target}({columns})
SELECT {columns}
FROM {table}
WHERE row_id BETWEEN ?1 AND ?2
"""
_REMOVE: Final = """
DELETE FROM {table}
WHERE row_id BETWEEN ?1 AND ?2
"""


def everywhere(statement: str, table: Levelled = ENTRIES) -> tuple[str, ...]:
    """A statement that changes rows where they stand, for each level: `{table}` in it is the table's name."""
    return tuple(statement.replace("{table}", name) for name in table.tables)


def has(table: Levelled, condition: str) -> str:
    """The condition that some level has a row for which this holds; not for what levels may say differently.

    The largest is asked first. To ask the view costs more: for each row it looks whether newer levels have it, too.
    """
    return " OR ".join(f"EXISTS (SELECT 1 FROM {name} WHERE {condition})" for name in reversed(table.tables))


def count(db: apsw.Connection, table: Levelled, rows: int) -> None:
    """Note that so many rows were put into the first level of a table; inside the transaction that does."""
    if rows:
        db.execute(_COUNT, (table.newest, rows))


def forget(db: apsw.Connection, table: Levelled) -> None:
    """Delete all rows of a table; inside a transaction."""
    for name in table.tables:
        db.execute(f"DELETE FROM {name}")
        db.execute(_FORGET, (name,))


def move(db: apsw.Connection, *, everything: Levelled | None = None) -> bool:
    """Move some rows out of a level that is full, and return whether there may be more to move; inside a transaction.

    That is one slice, but more of them where it has twice what it may: each transaction costs a sync of the disk, and a
    slow one must not let it grow.

    Args:
        db: the writing connection.
        everything: a table of which all is to come into the largest level, at the end of a run.
    """
    found: Any = db.execute(_COUNTS).fetchall()
    counts: dict[str, int] = dict(found)
    for table in _ALL:
        for level, name in enumerate(table.tables[:-1]):
            rows, most = counts.get(name, 0), 0 if table is everything else _most(db, table, level)
            if rows > most:
                for _ in range(SLICES_AT_ONCE if rows > 2 * most else 1):
                    rows -= _move(db, table, name, table.tables[level + 1])
                    if rows <= most:
                        break
                return True
    return False


def _most(db: apsw.Connection, table: Levelled, level: int) -> int:
    """How many rows a level may have: the first, which is 0 here, or the second, which is 1."""
    if not level:
        return table.most[0]
    found: Any = db.execute(_ROWS).fetchone()
    return max(table.most[1], int(found[0]) // _SHARE if found else 0)


def _move(db: apsw.Connection, table: Levelled, name: str, target: str) -> int:
    """Move the rows behind those that moved last, and begin anew behind the last one; how many they were.

    Since the last round came there, more rows have gathered than anywhere else: the most go into each page at once.
    """
    found: Any = db.execute(_MOVED_TO, (name,)).fetchone()
    after: str = found[0] if found else ""
    # From that very id on, and not behind it: another variant of it may have come since.
    last: Any = db.execute(_SLICE.format(table=name), (after, SLICE_ROWS)).get
    if last is None:  # that was the end; rows that were put in twice were counted twice
        db.execute(_COUNT_ANEW.format(table=name), (name,))
        return 0
    db.execute(_MOVE.format(table=name, target=target, columns=table.columns), (after, last))
    db.execute(_REMOVE.format(table=name), (after, last))
    rows = db.changes()
    db.execute(_SET_MOVED_TO, (name, last))
    db.execute(_COUNT, (name, -rows))
    if target != table.largest:
        db.execute(_COUNT, (target, rows))
    return rows
