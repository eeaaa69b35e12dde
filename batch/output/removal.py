"""Removes rows from the table: a part is written anew without them, or deleted when none of its rows stays.

Owns the order of steps, so that a kill between any two of them loses nothing. Which rows leave stands in the ledger
before the new file takes the old one's name, with what tells the new file from the old; the index forgets them in one
transaction afterwards. A start after a kill in between sees by the file whether they are gone (`integrity`). Their
calls stay in the book. It does not know why a row leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

import apsw
import pyarrow as pa
import pyarrow.parquet as pq

from batch.core import failpoints
from batch.core.errors import StorageError
from batch.ledger import index
from batch.ledger.index import Key
from batch.ledger.published import Footprint, announced, replaced
from batch.output import files, merge, parts
from batch.output.folder import OutputFolder
from batch.output.uploads import Uploads

POINTS: Final = ("prune.part_written", "prune.part_named")

Execute = Callable[[Callable[[apsw.Connection], None]], None]
"""Runs one transaction of the ledger, and returns when it is durable."""


def remove(folder: OutputFolder, part: int, keys: Collection[Key], execute: Execute) -> int:
    """Take rows out of a published part and out of the index.

    Args:
        folder: under the lock.
        part: number of the part.
        keys: of the rows that leave; at most as many as a part has.
        execute: the ledger's, called in this thread.

    Returns:
        How many rows of the part left.

    Raises:
        StorageError: the part cannot be read, or the disk refused.
    """
    target = folder.part(part)
    rows, leaving = _found(target, frozenset(keys))
    if not leaving:
        return 0
    if len(leaving) == rows:
        _drop(folder, part, leaving, execute)
        return rows
    schema = pq.read_schema(target)

    def announce(footprint: Footprint) -> None:
        def change(db: apsw.Connection) -> None:
            index.announce_leaving(db, part, leaving)
            announced(part, footprint)(db)

        execute(change)

    gone = frozenset(leaving)
    left = parts.rewrite_part(
        target, schema, [], variants=[], points=POINTS, announce=announce, revise=lambda table: _without(table, gone)
    )
    with files.translated(target):
        footprint = parts.footprint(target)
    uploads = Uploads.of(folder, target)
    uploads.put(target, "publish.results_put")

    def commit(db: apsw.Connection) -> None:
        uploads.record(db)
        index.forget_entries(db, part)
        replaced(db, part, footprint, rows=left)

    execute(commit)
    failpoints.hit("prune.committed")
    return rows - left


def remove_unasked(folder: OutputFolder, part: int, keys: Collection[Key], execute: Execute) -> int:
    """Take out those of these rows that stand for a line which could not be read, and that nothing was asked for.

    A line without its end, a row without its key, a key that stood twice: nothing was asked, nothing paid. A row that
    failed with what it asked stays.

    Args:
        folder: under the lock.
        part: number of the part.
        keys: of rows that failed for good.
        execute: the ledger's, called in this thread.

    Returns:
        How many left.

    Raises:
        StorageError: as `remove`.
    """
    columns = ["row_id", "variant", "status", "error_kind", "calls"]
    target = folder.part(part)
    unasked = {
        (row["row_id"], row["variant"] or "")
        for table in _groups(target, columns)
        for row in table.to_pylist()
        if row["status"] == "failed" and row["error_kind"] == "input" and not row["calls"]
    }
    return remove(folder, part, unasked.intersection(keys), execute)


def _drop(folder: OutputFolder, part: int, keys: Collection[Key], execute: Execute) -> None:
    """Remove a part none of whose rows stays: first from the ledger, then its file, and nobody misses it in between."""

    def forget(db: apsw.Connection) -> None:
        index.announce_leaving(db, part, list(keys))
        index.forget_part(db, part)

    execute(forget)
    failpoints.hit("prune.committed")
    uploads = Uploads.of(folder, folder.part(part))
    remove_file(folder, part)
    uploads.remove(folder.part(part))
    failpoints.hit("prune.part_removed")

    def forget_leaving(db: apsw.Connection) -> None:
        uploads.record(db)
        index.forget_leaving(db, part)

    execute(forget_leaving)


def remove_file(folder: OutputFolder, part: int) -> None:
    """Remove the file of a part that the ledger does not name any more; harmless when it is gone.

    Raises:
        StorageError: the disk refused.
    """
    target = folder.part(part)
    with files.translated(target):
        target.unlink(missing_ok=True)
    files.sync_folder(target.parent)


def _found(target: Path, keys: frozenset[Key]) -> tuple[int, list[Key]]:
    """How many rows a part has, and which of these are among them."""
    rows = 0
    found: list[Key] = []
    for table in _groups(target, ["row_id", "variant"]):
        rows += table.num_rows
        found += [key for key in _keys(table) if key in keys]
    return rows, found


def _without(table: pa.Table, gone: frozenset[Key]) -> pa.Table:
    stay = [place for place, key in enumerate(_keys(table)) if key not in gone]
    return table if len(stay) == table.num_rows else merge.picked(table, stay)


def _keys(table: pa.Table) -> list[Key]:
    names = zip(table.column("row_id").to_pylist(), table.column("variant").to_pylist(), strict=True)
    return [(row_id, variant or "") for row_id, variant in names]


def _groups(target: Path, columns: list[str]) -> Iterator[pa.Table]:
    try:
        with parts.PartReader(target) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=columns)
    except (OSError, pa.ArrowException) as exc:
        raise StorageError(
            f"{target}: cannot be read back: {exc}. Restore it from a backup and run the same command again, or run: "
            f"promptmill rebuild {target.parent.parent}"
        ) from exc
