"""Parquet parts that appear whole or not at all.

Owns how rows are gathered into row groups, how a part is written beside its target and takes its name, and how an old
part is rewritten around the rows that changed. It does not know what stands in a batch (`tables` builds it), where the
folders are (`folder`), or which part comes next (the publisher asks the ledger). Nothing here is safe for two writers
of one part: the run holds the lock of the output folder.

`pyarrow.parquet.ParquetWriter` is never used as a context manager, because leaving it on an error still writes a footer
and half a part would read as valid.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from batch.core import failpoints
from batch.core.arrowcommon import cast
from batch.core.durable import AtomicFile
from batch.core.errors import StorageError
from batch.ledger.published import Footprint
from batch.output import merge
from batch.output.columns import DISTINCT
from batch.output.files import make_folder, sync_folder, translated
from batch.output.input_columns import input_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

_TAIL: Final = 8
"""The last bytes of a Parquet file: the length of its footer and a magic word."""
GROUP_ROWS: Final = 10_000
GROUP_BYTES: Final = 16 * 1024 * 1024
"""A row group is written when it holds this many rows or about this much memory, whichever comes first."""
READ_ROWS: Final = 1_000
READ_BYTES: Final = 4 * 1024 * 1024
"""How much of an old part is in memory at once: this many rows or about this much, whichever is less."""


def write_part(target: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], *, points: tuple[str, str]) -> int:
    """Write one new part and make it visible all at once.

    Args:
        target: the final path; missing folders are made, an existing file is replaced.
        schema: columns and metadata of the file, also when there is no batch.
        batches: rows in their final order, of exactly this schema; taken one at a time.
        points: the failpoints to pass after the sync of the hidden file and after the sync of the folder.

    Returns:
        How many rows were written.

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
    announce: Callable[[Footprint], None] = lambda _: None,
    revise: Callable[[pa.Table], pa.Table] = lambda table: table,
) -> int:
    """Replace and insert rows in a published part; all other rows keep their values.

    A replacement takes the place of the row with the same `row_id` and `variant`, or is inserted where it belongs:
    by `row_number`, then in the order of `variants`, then variants no longer asked for in the order they had. A column
    that the old file lacks is null in its rows. In memory are at most some rows of the old file, one batch of
    replacements and the row group that is being filled.

    Args:
        target: a published part.
        schema: the columns of the new file: those of the old one, perhaps with more.
        replacements: batches of this schema with ascending `row_number`, no two rows with one key; may be empty.
        variants: the job's variants in their order; `[None]` when it has none.
        points: the failpoints to pass after the sync of the hidden file and after the sync of the folder.
        announce: is told what the new file is before it takes the place of the old one, so that a start after a kill
            can tell either of the two from a third.
        revise: is given the old rows, some at a time, and gives back what they have become.

    Returns:
        How many rows the new file has.

    Raises:
        StorageError: the old part is missing, damaged or of another shape, or the disk refused. It stays as it is.
        ValueError: the replacements are not in order.
    """
    with _old_part(target) as old:
        part = _PartFile(target, schema)
        try:
            changed = (pa.Table.from_batches([batch]) for batch in replacements)
            kept = map(revise, _conformed(old, schema, target))
            for rows in merge.merged(kept, changed, variants=variants):
                part.add(rows)
            part.finish(points, announce)
        except BaseException:
            part.abandon()
            raise
        return part.rows


def footprint(path: Path) -> Footprint:
    """What tells this Parquet file from another; reads its end only.

    Raises:
        OSError: it cannot be read.
        ValueError: it does not end as a Parquet file does.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size >= _TAIL:
            file.seek(size - _TAIL)
            tail = file.read(_TAIL)
            length = int.from_bytes(tail[:4], "little") + _TAIL
            if tail[4:] == b"PAR1" and length <= size:
                file.seek(size - length)
                return Footprint(size, hashlib.blake2b(file.read(length), digest_size=16).digest())
    raise ValueError("is not whole: it does not end as a Parquet file does")


class PartReader(pq.ParquetFile):  # type: ignore[misc]  # pyarrow has no types
    """A file of the table or the book, opened to be read: all that was written comes, or an error.

    Each page is held against its sum; and where the head of a page decayed, so that pyarrow passes over it, there are
    fewer rows than the footer says.

    Args:
        path: the file, or what reads it.
        how: more arguments of `pyarrow.parquet.ParquetFile`.

    Raises:
        OSError: it is gone or cannot be opened; one that is damaged is told when it is read.
        pyarrow.ArrowException: it is no Parquet file.
    """

    def __init__(self, path: Path | pa.OSFile, **how: Any) -> None:
        super().__init__(path, page_checksum_verification=True, **how)

    def iter_batches(self, *args: Any, row_groups: Sequence[int] | None = None, **how: Any) -> Iterator[pa.RecordBatch]:
        """As pyarrow's; raises OSError behind the last rows where some are not there."""
        groups = range(self.num_row_groups) if row_groups is None else row_groups
        left = sum(self.metadata.row_group(group).num_rows for group in groups)
        for batch in super().iter_batches(*args, row_groups=groups, **how):
            left -= batch.num_rows
            yield batch
        _require_none(left)

    def read(self, **how: Any) -> pa.Table:
        """As pyarrow's; raises OSError where rows are not there."""
        return self.read_row_groups(range(self.num_row_groups), **how)

    def read_row_group(self, i: int, **how: Any) -> pa.Table:
        """As pyarrow's; raises OSError where rows are not there."""
        return self.read_row_groups([i], **how)

    def read_row_groups(self, row_groups: Sequence[int], **how: Any) -> pa.Table:
        """As pyarrow's; raises OSError where rows are not there."""
        table = super().read_row_groups(row_groups, **how)
        _require_none(sum(self.metadata.row_group(group).num_rows for group in row_groups) - table.num_rows)
        return table


def _require_none(left: int) -> None:
    if left:
        raise OSError(f"{left:,} rows of it are not there that its footer tells of")


class _PartFile:
    """A part that is being written: it gathers rows into whole row groups, then is either finished or abandoned."""

    def __init__(self, target: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._target = target
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._writer: Any = None
        make_folder(target.parent)
        self._file = AtomicFile(target)
        with translated(target):
            file = self._file.open()
        try:
            self._writer = pq.ParquetWriter(
                file,
                schema,
                compression="zstd",
                compression_level=1,
                write_page_checksum=True,
                use_dictionary=[path for field in schema if field.name not in DISTINCT for path in _leaves(field)],
            )
        except BaseException:
            self.abandon()
            raise

    def add(self, table: pa.Table) -> None:
        """Take rows in their final order; write when a row group is full."""
        # Cut by the size of an average row, so that no row group needs more memory than readers expect.
        size = table.nbytes  # which looks at every buffer of every column
        row_bytes = max(1, size // max(1, table.num_rows))
        start = 0
        while start < table.num_rows:
            room = min(GROUP_ROWS - self._waiting_rows, (GROUP_BYTES - self._waiting_bytes) // row_bytes)
            taken = table.slice(start, max(1, room))
            start += taken.num_rows
            self._waiting.append(taken)
            self._waiting_rows += taken.num_rows
            self._waiting_bytes += size if taken.num_rows == table.num_rows else taken.nbytes
            if self._waiting_rows >= GROUP_ROWS or self._waiting_bytes + row_bytes > GROUP_BYTES:
                self._write_group()

    def finish(self, points: tuple[str, str], announce: Callable[[Footprint], None] = lambda _: None) -> None:
        """Write the rest and the footer, sync the file, and give it the name of the target."""
        if self._waiting:
            self._write_group()
        with translated(self._target):
            self._writer.close()
            self._file.seal()
            failpoints.hit(points[0])
            announce(footprint(self._file.hidden))
            self._file.rename()
        sync_folder(self._target.parent)
        failpoints.hit(points[1])

    def abandon(self) -> None:
        """Remove the unfinished file; harmless after `finish`."""
        self._file.abandon()
        if self._writer is not None:
            # Otherwise the writer's finaliser writes a footer, into a file that is closed by now.
            self._writer.is_open = False

    def _write_group(self) -> None:
        table = pa.concat_tables(self._waiting)
        with translated(self._target):
            self._writer.write_table(table, row_group_size=GROUP_ROWS)
        self.rows += table.num_rows
        self._waiting.clear()
        self._waiting_rows = self._waiting_bytes = 0


@contextlib.contextmanager
def _old_part(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        old = PartReader(path)
    except FileNotFoundError as exc:
        raise StorageError(
            f"{path}: is missing, but the ledger says that it was published. Restore it from a backup and run "
            f"the same command again, or run: promptmill rebuild {path.parent.parent}"
        ) from exc
    except (OSError, pa.ArrowException) as exc:
        raise _damaged(path, exc) from exc
    with old:
        yield old


def _conformed(old: pq.ParquetFile, schema: pa.Schema, path: Path) -> Iterator[pa.Table]:
    """The rows of an old part under the newer schema, some at a time."""
    places = _places(old.schema_arrow)
    wanted = _places(schema)
    surplus = [name for _, name in places.keys() - wanted.keys()]
    if surplus:
        raise StorageError(
            f"{path}: has columns that the results of this run have not: {', '.join(sorted(surplus))}. Rewriting it "
            "would lose them; give the job an output folder of its own (-o)."
        )
    batches = _read(old)
    while True:
        try:
            if (batch := next(batches, None)) is None:
                return
            columns = [
                cast(batch.column(places[key]), field.type) if key in places else pa.nulls(batch.num_rows, field.type)
                for key, field in zip(wanted, schema, strict=True)
            ]
        except (OSError, pa.ArrowException) as exc:
            raise _damaged(path, exc) from exc
        yield pa.Table.from_arrays(columns, schema=schema)


def _read(old: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """The rows of a file; a row group of large rows in more pieces than one of small rows."""
    for number in range(old.num_row_groups):
        group = old.metadata.row_group(number)
        rows = max(1, min(READ_ROWS, group.num_rows * READ_BYTES // max(1, group.total_byte_size)))
        yield from old.iter_batches(rows, row_groups=[number], use_threads=False)


def _places(schema: pa.Schema) -> dict[tuple[bool, str], int]:
    """Where each column stands: ours by name, those of the input by the name that they have there.

    A column that we write since a later version may have taken the name of an input column, which then has another.
    """
    inputs = input_schema(schema).names
    ours = schema.names[len(inputs) :]
    keys = [*((False, name) for name in inputs), *((True, name) for name in ours)]
    return {key: place for place, key in enumerate(keys)}


def _leaves(field: pa.Field, path: str = "") -> list[str]:
    """The columns that a field is made of in a file, by the names that they have there."""
    name, kind = f"{path}{field.name}", field.type
    if pa.types.is_struct(kind):
        return [leaf for inner in kind for leaf in _leaves(inner, f"{name}.")]
    if pa.types.is_map(kind):
        return [leaf for inner in (kind.key_field, kind.item_field) for leaf in _leaves(inner, f"{name}.key_value.")]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _leaves(kind.value_field.with_name("element"), f"{name}.list.")
    return [name]


def _damaged(path: Path, exc: Exception) -> StorageError:
    return StorageError(
        f"{path}: cannot be read back: {exc}. Restore it from a backup and run the same command again, or run: "
        f"promptmill rebuild {path.parent.parent}"
    )
