"""The result table of an output folder at one moment: which parts it has, their columns, and the tags of its runs.

Owns what is looked up before rows are read, and that a table which changes meanwhile is looked up again: a run at work
replaces parts, and `prune` takes some away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch.core.errors import RefusedToStart, StorageError
from batch.ledger.published import PublishedReader
from batch.output.folder import OutputFolder, holder
from batch.output.unreadable import UnreadableFile, unreadable
from batch.report.folders import opened
from batch.report.missing import Missing, by_name, missing, opening

T = TypeVar("T")
_TRIES: Final = 4
_MOMENT_S: Final = 0.1


class PartEntry(msgspec.Struct, frozen=True):
    """One part as the ledger knows it."""

    path: Path
    rows: int


class TableView(msgspec.Struct, frozen=True):
    """The table as it was found."""

    folder: OutputFolder
    parts: list[PartEntry]
    schema: pa.Schema
    """The columns of the newest part, which has all of them."""
    tags: dict[str, dict[str, str]]
    """By run, the tags of its job."""
    missing: tuple[Missing, ...] = ()
    """Parts that cannot be read, and so are none of `parts`."""


def require_there(folder: OutputFolder) -> None:
    """Refuse a folder that went away, in the words that every command has for one that is not there.

    Raises:
        OutputError: it is no output folder any more.
    """
    if not folder.ledger.is_file():
        opened(folder.place)


def table_view(folder: OutputFolder) -> TableView:
    """Look the table of a folder up.

    Raises:
        OutputError: it is no output folder any more.
        RefusedToStart: it has no part yet.
        StorageError: the ledger or the newest part cannot be read, or no part can.
    """
    require_there(folder)
    with PublishedReader(folder.ledger) as reader, reader.snapshot():
        parts = [PartEntry(folder.part(number), rows) for number, rows in reader.part_rows().items()]
        runs = [run.run for run in reader.runs()]
    if not parts:
        raise RefusedToStart(f"{folder.text}: has no results yet. Look again once a part is published.")
    there, lost = opening(folder, [entry.path for entry in parts])
    if not there:
        raise StorageError(lost[0].reason)
    parts = [entry for entry in parts if entry.path in set(there)]
    try:
        schema = pq.read_schema(parts[-1].path)
    except (OSError, pa.ArrowException) as exc:
        raise unreadable(parts[-1].path, exc) from exc
    return TableView(folder, parts, schema, {run: _tags(folder, run) for run in runs}, lost)


def whole_view(folder: OutputFolder) -> TableView:
    """Look the table of a folder up for a file that is taken along: nobody sees in it what it is without.

    Raises:
        OutputError: it is no output folder any more.
        RefusedToStart: it has no part yet.
        StorageError: the ledger or a part cannot be read.
    """
    view = table_view(folder)
    if view.missing:
        raise StorageError(view.missing[0].reason)
    return view


def steadily(folder: OutputFolder, look: Callable[[TableView], T]) -> T:
    """What is found in the table; it is looked at again when the table changed meanwhile.

    Args:
        folder: has the table.
        look: reads what is wanted of it.

    Raises:
        RefusedToStart: there is no result yet, or what is asked for does not exist.
        StorageError: a part or the ledger cannot be read, and that is no passing state.
    """
    for attempt in range(_TRIES - 1):
        before = _parts(folder)
        try:
            return look(table_view(folder))
        except Changed:
            pass
        except StorageError as exc:
            # A part is gone a moment before the ledger says so.
            time.sleep(_MOMENT_S)
            if attempt and _parts(folder) == before:
                if not isinstance(exc, UnreadableFile) or holder(folder) is not None:
                    raise
                return _leaving_out(folder, look, exc)
    return look(table_view(folder))


def _leaving_out(folder: OutputFolder, look: Callable[[TableView], T], first: UnreadableFile) -> T:
    """What is found in the parts that can be read to their end."""
    broken: dict[Path, Missing] = {}
    while True:
        broken[first.path] = missing(folder.root, first.path, first)
        view = table_view(folder)
        kept = [entry for entry in view.parts if entry.path not in broken]
        if len(kept) + len(broken) > len(view.parts) or not kept:
            raise first
        try:
            return look(msgspec.structs.replace(view, parts=kept, missing=by_name(*view.missing, *broken.values())))
        except UnreadableFile as exc:
            first = exc


class Changed(StorageError):
    """A part was replaced between two looks at it."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: was replaced while it was read. Ask again.")


def _parts(folder: OutputFolder) -> list[int]:
    """The parts that the ledger names now."""
    require_there(folder)
    with PublishedReader(folder.ledger) as reader:
        return reader.parts()


def _tags(folder: OutputFolder, run: str) -> dict[str, str]:
    """The tags of the job of a run, which its file has; empty when that is lost."""
    try:
        job: Any = msgspec.json.decode(folder.run_file(run).read_bytes())["job"]
        return {str(name): str(value) for name, value in job["tags"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
