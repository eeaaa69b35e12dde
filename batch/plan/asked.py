"""What was asked so far in one pass over the source, for jobs in which rows that ask the same are asked once.

Owns the private database in which that is kept, because the questions of ten million rows do not fit in memory; it goes
away by itself. What two rows have in common that ask the same is `ledger.copies`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

import apsw

from batch.ledger.copies import CopiesReader
from batch.plan.gone import kept_aside

_MAKE: Final = """
PRAGMA journal_mode=OFF;
PRAGMA synchronous=OFF;
PRAGMA cache_size=-65536;
CREATE TABLE asked(key BLOB PRIMARY KEY) WITHOUT ROWID;
"""
_ADD: Final = """
INSERT OR IGNORE INTO asked(key)
VALUES (?)
"""
_WHAT: Final = "the questions of the input"


class Asked:
    """The questions that one pass met. A context is one transaction.

    Args:
        answered: keys of questions whose answers wait for rows to come.

    Raises:
        StorageError: there is no room for them.
    """

    def __init__(self, answered: Iterable[bytes] = ()) -> None:
        self._db = apsw.Connection("")
        self._db.execute(_MAKE).fetchall()  # a statement that gives rows would hold up those behind it
        with self, kept_aside(_WHAT):
            self._db.executemany(_ADD, ((key,) for key in answered))

    @classmethod
    def before(cls, ledger: Path | None) -> Self:
        """What the next run begins with: the answers of one that was killed or stopped, which stay for rows to come.

        Args:
            ledger: its file; None where there is none.

        Raises:
            StorageError: the ledger cannot be read, or there is no room.
        """
        if ledger is None:
            return cls()
        with CopiesReader(ledger) as reader:
            return cls(reader.answered())

    def first(self, key: bytes) -> bool:
        """Whether a question is met for the first time, which is noted.

        Raises:
            StorageError: there is no room for it.
        """
        with kept_aside(_WHAT):
            self._db.execute(_ADD, (key,))
        return bool(self._db.changes())

    def close(self) -> None:
        """Forget everything."""
        self._db.close()

    def __enter__(self) -> None:
        self._db.execute("BEGIN")

    def __exit__(self, *_: object) -> None:
        self._db.execute("COMMIT")
