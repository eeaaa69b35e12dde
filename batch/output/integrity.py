"""Whether the ledger and the files beside it belong together, looked at before anything is sent.

Owns the comparison: the ledger's log as a whole, every published file by name, size and footer, and every file that the
ledger does not name. What does not belong together refuses to start and names the way out. Reads no row of a file that
is as it was published, so a start stays fast; contents are `rebuild`'s matter. Repairs nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import apsw
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch.core.errors import OutputError
from batch.ledger import index, wal
from batch.ledger.published import Footprint, PublishedFile, PublishedReader, replaced
from batch.output import parts
from batch.output.folder import OutputFolder

MOST_NAMED: Final = 20
PART: Final = re.compile(r"part-(\d{5,})\.parquet")
CALLS: Final = re.compile(r"run=([^/]+)/part-(\d{5,})\.parquet")
RUN: Final = re.compile(r"(\d{8}T\d{9}Z-[0-9a-f]{4})\.json")


class Compared(msgspec.Struct):
    """What a start has to do about the files it found, when they belong to the ledger."""

    halves: list[Path] = []
    """Files of the book that a killed process named and did not commit: their records are still in the ledger."""
    parts: dict[int, Footprint] = {}
    """Parts that the ledger must know anew: replaced just before a kill, or published by an older version."""
    calls: dict[tuple[str, int], Footprint] = {}
    leaving: bool = False
    """Whether rows were leaving the table when the process ended. They are gone where the part is the new file, and
    stay where it is the old one."""
    removed: list[int] = []
    """Parts that the ledger forgot, and whose file is to go."""

    @property
    def news(self) -> bool:
        """Whether the ledger has something to learn."""
        return bool(self.parts or self.calls or self.leaving)

    def transaction(self) -> Callable[[apsw.Connection], None]:
        """The transaction that has the ledger know them."""

        def change(db: apsw.Connection) -> None:
            for part, footprint in self.parts.items():
                replaced(db, part, footprint)
            db.executemany(
                "UPDATE call_parts SET size=?3, footer=?4 WHERE run=?1 AND number=?2",
                [(*key, *footprint) for key, footprint in self.calls.items()],
            )
            if self.leaving:
                for part in self.parts:
                    index.forget_entries(db, part)
                index.forget_leaving(db)

        return change


def require_trusted(folder: OutputFolder) -> None:
    """Look at the ledger before it is opened: opening it wipes out the traces of what it lost.

    Args:
        folder: one in which nobody is at work, this process included.

    Raises:
        OutputError: the ledger is not there although files tell of one, or it lost what was written last.
    """
    if not folder.root.is_dir():
        return
    if not folder.ledger.exists() or (folder.ledger.is_file() and folder.ledger.stat().st_size == 0):
        left = [*parquet_files(folder.results), *parquet_files(folder.calls), *run_files(folder), *batch_files(folder)]
        if left:
            how = "empty" if folder.ledger.exists() else "missing"
            raise refused(folder, [f"{folder.ledger.name}: is {how}", *_named(folder, left, "tells of a lost ledger")])
        return
    if folder.ledger.is_file() and (why := wal.why_not_trusted(folder.ledger)) is not None:
        raise refused(folder, [why])


def compare(folder: OutputFolder) -> Compared:
    """Hold every published file against the ledger.

    Raises:
        OutputError: files are missing, others than were published, or not named; says which.
    """
    with PublishedReader(folder.ledger) as reader:
        found = Compared()
        faults: list[str] = []
        _compare_named(folder, reader, found, faults)
        _compare_unnamed(folder, reader, found, faults)
        if faults:
            raise refused(folder, faults)
        return found


def _compare_named(folder: OutputFolder, reader: PublishedReader, found: Compared, faults: list[str]) -> None:
    """Every file that the ledger names is there, and the one that was published."""
    for part, known in reader.published_parts().items():
        footprint = _held_against(folder, folder.part(part), known, faults, grows=True)
        if footprint is not None:
            found.parts[part] = footprint
    for (run, number), known in reader.published_calls().items():
        footprint = _held_against(folder, folder.calls_part(run, number), known, faults, grows=False)
        if footprint is not None:
            found.calls[run, number] = footprint


def _compare_unnamed(folder: OutputFolder, reader: PublishedReader, found: Compared, faults: list[str]) -> None:
    """Every file that is there is named, or the half of a publication that a kill left behind."""
    leaving = reader.leaving_parts()
    named = {folder.part(part) for part in reader.parts()} | {folder.calls_part(*key) for key in reader.call_parts()}
    for path in parquet_files(folder.results):
        number = PART.fullmatch(path.relative_to(folder.results).as_posix())
        if path not in named and number is not None and int(number[1]) in leaving:
            found.removed.append(int(number[1]))
        elif path not in named and not _half_of_part(path, reader):
            faults += _named(folder, [path], "the ledger does not name it")
    for path in parquet_files(folder.calls):
        if path in named:
            continue
        if _half_of_book(path, reader):
            found.halves.append(path)
        else:
            faults += _named(folder, [path], "the ledger does not name it")
    found.leaving = bool(leaving)
    runs = {row.run for row in reader.runs()}
    lost = [path for path in run_files(folder) if path.stem not in runs]
    faults += _named(folder, lost, "the ledger knows no such run")


def refused(folder: OutputFolder, faults: list[str]) -> OutputError:
    """The refusal to start over these faults."""
    more = [f"… and {len(faults) - MOST_NAMED:,} more"] if len(faults) > MOST_NAMED else []
    lines = "\n".join(f"  {fault}" for fault in [*faults[:MOST_NAMED], *more])
    return OutputError(
        f"{folder.text}: the ledger and the files beside it do not belong together, so answers that were paid for "
        f"could be bought again:\n{lines}\n"
        "Put back what was lost or changed, just as it was; or have the ledger made again from what is there:\n"
        f"  promptmill rebuild {shlex.quote(folder.text)}"
    )


def _held_against(
    folder: OutputFolder, path: Path, known: PublishedFile, faults: list[str], *, grows: bool
) -> Footprint | None:
    """The footprint that the ledger must learn of a file, None when it has it; or one more fault."""
    try:
        footprint = parts.footprint(path)
        rows = known.rows if known.footprint is not None else pq.read_metadata(path).num_rows
    except FileNotFoundError:
        faults += _named(folder, [path], "is missing")
        return None
    except (OSError, ValueError, pa.ArrowException) as exc:
        faults += _named(folder, [path], getattr(exc, "strerror", None) or str(exc))
        return None
    if footprint == known.footprint:
        return None
    # The last rewrite of an older version may have been named and not committed.
    as_before = known.footprint is None and (rows == known.rows or (grows and rows > known.rows))
    if as_before or footprint == known.next:
        return footprint
    faults += _named(folder, [path], "is not the file that was published")
    return None


def _half_of_part(path: Path, reader: PublishedReader) -> bool:
    """Whether every row of it is settled in the ledger and waits to be published in this part."""
    name = PART.fullmatch(path.name)
    if name is None:
        return False
    rows = _columns(path, "row_id", "variant")
    keys = [(row_id, variant or "") for row_id, variant in rows] if rows is not None else []
    return bool(keys) and reader.still_unpublished_rows(int(name[1]), keys) == len(keys)


def _half_of_book(path: Path, reader: PublishedReader) -> bool:
    """Whether every call of it is final in the ledger and waits to be published."""
    if CALLS.fullmatch(f"{path.parent.name}/{path.name}") is None:
        return False
    rows = _columns(path, "client_call_id")
    ids = [row[0] for row in rows] if rows is not None else []
    return bool(ids) and reader.still_unpublished_calls(ids) == len(ids)


def _columns(path: Path, *names: str) -> list[tuple[str, ...]] | None:
    try:
        table = parts.PartReader(path).read(columns=list(names))
        return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))
    except (OSError, KeyError, pa.ArrowException):
        return None


def parquet_files(folder: Path) -> Iterator[Path]:
    """Every Parquet file a reader of the folder would find, sorted."""
    found = folder.rglob("*.parquet") if folder.is_dir() else ()
    for path in sorted(found):
        inside = path.relative_to(folder).parts
        if not any(part.startswith(".") for part in inside) and path.is_file():
            yield path


def folders_in_the_way(folder: OutputFolder) -> list[Path]:
    """Folders that have the name of a part, or of a file of the book: none could be written there."""
    named = [(path, PART, folder.results) for path in folder.results.glob("part-*.parquet")]
    named += [(path, CALLS, folder.calls) for path in folder.calls.glob("run=*/part-*.parquet")]
    return sorted(path for path, name, root in named if path.is_dir() and name.fullmatch(str(path.relative_to(root))))


def run_files(folder: OutputFolder) -> list[Path]:
    """The file of every run, oldest first."""
    return sorted(path for path in folder.runs.glob("*.json") if RUN.fullmatch(path.name))


def batch_files(folder: OutputFolder) -> list[Path]:
    """The files of requests that wait for their batches, or did when somebody was last at work here."""
    return sorted(folder.bulk.glob("wave-*.jsonl"))


def _named(folder: OutputFolder, paths: list[Path], what: str) -> list[str]:
    return [f"{path.relative_to(folder.root).as_posix()}: {what}" for path in paths]
