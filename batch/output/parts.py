"""Files that appear whole or not at all: Parquet parts, run summaries, `status.json`.

Owns how a file is named, synced and replaced, how rows are gathered into row groups, and how an old part is rewritten
around the rows that changed. Does not know what stands in a batch (`tables` builds it), where the folders are
(`folder`), or which part comes next (the publisher asks the ledger). Nothing here is safe for two writers of one file:
the run holds the lock of the output folder.

Every published file takes the same road: a hidden name beside the target, fsync, rename, fsync of the folder. Whoever
reads the folder sees the old file or the new one, also after a power cut. `pyarrow.parquet.ParquetWriter` is never
used as a context manager, because leaving it on an error still writes a footer and half a part would read as valid.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch.core import durable, failpoints
from batch.core.errors import StorageError
from batch.output import merge

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

GROUP_ROWS: Final = 10_000
GROUP_BYTES: Final = 32 * 1024 * 1024
"""A row group is written when it holds this many rows or about this much memory, whichever comes first."""

_FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HIDDEN_IN_OUT: Final = (".status.json.tmp", ".ledger.db.tmp")


def write_part(target: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], *, points: tuple[str, str]) -> int:
    """Write one new part and make it visible all at once.

    Args:
        target: Final path; missing folders are made. An existing file is replaced.
        schema: Columns and metadata of the file, also when there is no batch.
        batches: Rows in their final order, of exactly this schema; taken one at a time.
        points: Failpoints passed after the sync of the hidden file and after the sync of the folder.

    Returns:
        Rows written.

    Raises:
        StorageError: the disk refused. Nothing new is visible, an old file is intact.
    """
    part = _PartFile(target, schema)
    try:
        for batch in batches:
            part.add(pa.Table.from_batches([batch]))
        part.finish(points)
    except BaseException:
        part.abandon()
        raise
    return part.rows


def rewrite_part(
    target: Path,
    schema: pa.Schema,
    replacements: Iterable[pa.RecordBatch],
    *,
    variants: Sequence[str | None],
    points: tuple[str, str],
) -> int:
    """Replace and insert rows in a published part; all others keep their values.

    A replacement takes the place of the row with the same `row_id` and `variant`, or is inserted where it belongs:
    by `row_number`, then in the order of `variants`, then variants no longer asked for in the order they had. Columns
    the old file lacks are null in its rows. At most one row group of the old file, one batch of replacements and the
    row group being filled are in memory.

    Args:
        target: A published part.
        schema: Columns of the new file: those of the old one, perhaps with more.
        replacements: Batches of this schema with ascending `row_number`, no two rows with one key; may be empty.
        variants: The job's variants in their order; `[None]` when it has none.
        points: Failpoints passed after the sync of the hidden file and after the sync of the folder.

    Returns:
        Rows in the new file.

    Raises:
        StorageError: the old part is missing, damaged or of another shape, or the disk refused. It stays as it is.
        ValueError: the replacements are not in order.
    """
    with _old_part(target) as old:
        part = _PartFile(target, schema)
        try:
            changed = (pa.Table.from_batches([batch]) for batch in replacements)
            for rows in merge.merged(_conformed(old, schema, target), changed, variants=variants):
                part.add(rows)
            part.finish(points)
        except BaseException:
            part.abandon()
            raise
        return part.rows


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file durably; for the summary of a run.

    Args:
        path: Its folder must exist.
        value: Whatever msgspec encodes; half a surrogate pair in a text becomes U+FFFD.

    Raises:
        StorageError: the disk refused; the old file, if any, is intact.
    """
    _replace(path, _json(value), sync=True)


def write_status(path: Path, value: Any) -> None:
    """Replace a JSON file so that readers never see half of it, but without a sync: it is rewritten every second.

    Raises:
        StorageError: the disk refused; the old file, if any, is intact.
    """
    _replace(path, _json(value), sync=False)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        StorageError: the disk refused. A file system that cannot sync folders at all is taken as it is.
    """
    with _translated(path):
        durable.sync_folder(path)


def remove_strays(folder_results: Path, folder_calls: Path, *, known_calls: Collection[str]) -> list[str]:
    """Remove what a killed run left half done; at start, under the lock.

    Gone are hidden files in `results/`, `calls/`, `runs/` and `.pending/`, a half-written `status.json` or ledger, and
    every file under `calls/` the ledger does not name: its records are still in the ledger and will be published again.
    Folders of the user are left alone.

    Args:
        folder_results: `OUT/results`; `OUT/runs` and `OUT/.pending` are looked for beside it.
        folder_calls: `OUT/calls`.
        known_calls: Published files as POSIX paths, relative to `OUT/calls` or to `OUT`.

    Returns:
        Names of the removed files relative to `OUT`, sorted.

    Raises:
        StorageError: a file cannot be removed.
    """
    out = folder_results.parent
    strays = [
        path
        for folder in (folder_results, out / "runs", out / ".pending")
        if folder.is_dir()
        for path in folder.iterdir()
        if path.name.startswith(".") and (path.is_symlink() or path.is_file())
    ]
    strays += [path for path in sorted(out.glob(".*")) if path.name.startswith(_HIDDEN_IN_OUT) and path.is_file()]
    for root, _, names in os.walk(folder_calls):
        for name in names:
            path = Path(root, name)
            inside = path.relative_to(folder_calls).as_posix()
            # Both spellings count as known: taking one for a stray would delete the book of account.
            known = inside in known_calls or f"{folder_calls.name}/{inside}" in known_calls
            if name.startswith(".") or not known:
                strays.append(path)
    for path in strays:
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise _refused(path, exc) from exc
    _remove_empty(folder_calls)
    return sorted(path.relative_to(out).as_posix() for path in strays)


class _PartFile:
    """A part under its hidden name: gathers rows into whole groups, then is either finished or abandoned."""

    def __init__(self, target: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._target = target
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._file: IO[bytes] | None = None
        self._writer: Any = None
        _make_folder(target.parent)
        self._hidden = _hidden(target)
        with _translated(target):
            # Our own file object: the handle that is synced is the one that was written through, so an error of a
            # delayed write-back reaches us.
            self._file = self._hidden.open("wb")
        try:
            self._writer = pq.ParquetWriter(self._file, schema, compression="zstd", compression_level=1)
        except BaseException:
            self.abandon()
            raise

    def add(self, table: pa.Table) -> None:
        """Take rows in their final order; writes when a row group is full."""
        # Cut by the average row, so that no row group outgrows the memory readers expect, whatever a batch holds.
        row_bytes = max(1, table.nbytes // max(1, table.num_rows))
        start = 0
        while start < table.num_rows:
            room = min(GROUP_ROWS - self._waiting_rows, (GROUP_BYTES - self._waiting_bytes) // row_bytes)
            taken = table.slice(start, max(1, room))
            start += taken.num_rows
            self._waiting.append(taken)
            self._waiting_rows += taken.num_rows
            self._waiting_bytes += taken.nbytes
            if self._waiting_rows >= GROUP_ROWS or self._waiting_bytes + row_bytes > GROUP_BYTES:
                self._write_group()

    def finish(self, points: tuple[str, str]) -> None:
        """Write the rest and the footer, sync, and take the target's name."""
        assert self._file is not None
        if self._waiting:
            self._write_group()
        with _translated(self._target):
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            failpoints.hit(points[0])
            self._hidden.replace(self._target)
        sync_folder(self._target.parent)
        failpoints.hit(points[1])

    def abandon(self) -> None:
        """Leave nothing behind; harmless after `finish`."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # what could not be written is not wanted any more
                self._file.close()
        if self._writer is not None:
            # Otherwise its finaliser writes a footer, into a file that is closed by now.
            self._writer.is_open = False
        with contextlib.suppress(OSError):
            self._hidden.unlink(missing_ok=True)

    def _write_group(self) -> None:
        table = pa.concat_tables(self._waiting)
        with _translated(self._target):
            self._writer.write_table(table, row_group_size=GROUP_ROWS)
        self.rows += table.num_rows
        self._waiting.clear()
        self._waiting_rows = self._waiting_bytes = 0


@contextlib.contextmanager
def _old_part(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        old = pq.ParquetFile(path)
    except FileNotFoundError as exc:
        raise StorageError(
            f"{path}: is missing, but the ledger says that it was published. Restore it from a backup and run the same "
            "command again, or start anew with another folder (-o)."
        ) from exc
    except (OSError, pa.ArrowException) as exc:
        raise _damaged(path, exc) from exc
    with old:
        yield old


def _conformed(old: pq.ParquetFile, schema: pa.Schema, path: Path) -> Iterator[pa.Table]:
    """The row groups of an old part under a newer schema."""
    present = old.schema_arrow.names
    surplus = [name for name in present if name not in schema.names]
    if surplus:
        raise StorageError(
            f"{path}: has columns that the results of this run have not: {', '.join(surplus)}. Rewriting it would "
            "lose them; give the job an output folder of its own (-o)."
        )
    for group in range(old.num_row_groups):
        try:
            table = old.read_row_group(group)
            columns = [
                table.column(field.name).cast(field.type)
                if field.name in present
                else pa.nulls(table.num_rows, field.type)
                for field in schema
            ]
        except (OSError, pa.ArrowException) as exc:
            raise _damaged(path, exc) from exc
        yield pa.Table.from_arrays(columns, schema=schema)


def _replace(path: Path, data: bytes, *, sync: bool) -> None:
    hidden = _hidden(path)
    try:
        with _translated(path):
            with hidden.open("wb") as file:
                file.write(data)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            hidden.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            hidden.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def _json(value: Any) -> bytes:
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:
        data = msgspec.json.encode(_valid(msgspec.to_builtins(value, str_keys=True)))
    return msgspec.json.format(data, indent=2) + b"\n"


def _valid(value: Any) -> Any:
    """Builtins with every text free of lone surrogates."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {_valid(key): _valid(item) for key, item in value.items()}
    return [_valid(item) for item in value] if isinstance(value, list) else value


def _hidden(target: Path) -> Path:
    # Neither the leading dot nor the ending lets a reader's `*.parquet` find a half-written part.
    return target.with_name(f".{target.name}.tmp")


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, each name durable before something is put inside."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with _translated(folder):
        folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def _remove_empty(root: Path) -> None:
    for folder, _, _ in os.walk(root, topdown=False):
        if Path(folder) != root:
            with contextlib.suppress(OSError):  # not empty, which is the usual case
                Path(folder).rmdir()


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise _refused(path, exc) from exc


def _refused(path: Path, exc: OSError) -> StorageError:
    advice = "Free some space" if exc.errno in _FULL_DISK else "Check the disk and the permissions of the folder"
    return StorageError(
        f"{path}: cannot be written: {exc.strerror or exc}. {advice}, then run the same command again: "
        "what was published is whole, and no answer is bought twice."
    )


def _damaged(path: Path, exc: Exception) -> StorageError:
    return StorageError(
        f"{path}: cannot be read back: {exc}. Restore it from a backup and run the same command again, or start anew "
        "with another folder (-o)."
    )
