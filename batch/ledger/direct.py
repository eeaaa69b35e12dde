"""Writes the ledger from a command that is no run and has no event loop, such as `prune`: each call is one transaction.

Owns the connection and the mark that says that somebody is at work on the file; the caller holds the folder's lock. A
run writes through `writer` instead, which gathers the records of many rows in one commit.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import apsw

from batch.core.clock import Clock
from batch.core.errors import StorageError
from batch.ledger.schema import connect, mark_closed, mark_open, reason, way_out


class DirectLedger:
    """A ledger open for writing, for `with`; after an error of the disk it is left as a kill would leave it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = connect(path)
        self._broken = False
        try:
            mark_open(self._db, path, Clock().now_us())
        except StorageError:
            self._close()
            raise

    def execute(self, change: Callable[[apsw.Connection], None]) -> None:
        """Run a function inside a transaction of its own, which is durable when this returns.

        Args:
            change: what to run, with the connection.

        Raises:
            StorageError: the disk refused.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            change(self._db)
            self._db.execute("COMMIT")
        except apsw.Error as exc:
            self._broken = True
            raise StorageError(
                f"{self._path}: the ledger could not be written: {reason(exc)}. "
                f"{way_out('Free space or mend the disk')}, then run the same command again."
            ) from exc
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._broken:
            with suppress(apsw.Error):  # while somebody reads, the log stays: the next opening goes on from it
                mark_closed(self._db)
                self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._close()

    def _close(self) -> None:
        with suppress(apsw.Error):
            self._db.close()
