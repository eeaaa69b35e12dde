"""One Parquet file read a few pages at a time, from any row on.

Owns opening, the checks on its schema, and decoding batch by batch without ever holding a row group. What a row means
is its user's matter (`source`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from batch.arrowtypes import cast_batch, decoded
from batch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_ROWS: Final = 1_000
MAX_BYTES: Final = 8 * 1024 * 1024
_BUFFER: Final = 1024 * 1024


class ParquetRows:
    """An open file.

    Attributes:
        schema: its columns; a struct without fields is left out, because Arrow cannot write it again; see
            `arrowtypes.decoded` for the types that are replaced.
        rows: how many there are.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and read its footer.

        Raises:
            InputError: no whole Parquet file, or two columns of one name.
        """
        self._path = path
        try:
            # No read-ahead of whole row groups: a file may be one group of 50 GB.
            self._file = pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER, page_checksum_verification=True)
            found = self._file.schema_arrow.remove_metadata()
        except (pa.ArrowException, OSError) as exc:
            raise InputError(
                f"{path}: is not a whole Parquet file: {_first_line(exc)}. It may have been cut short while it was "
                "written or copied: make it again."
            ) from exc
        twice = sorted({name for name in found.names if found.names.count(name) > 1})
        if twice:
            self.close()
            raise InputError(f"{path}: has {', '.join(map(repr, twice))} more than once. Rename the columns.")
        fields = [field for field in found if not (pa.types.is_struct(field.type) and field.type.num_fields == 0)]
        self.schema = pa.schema([field.with_type(decoded(field.type)) for field in fields])
        # Naming columns keeps out what was dropped; without need it would take `a.b` for b inside a.
        self._names = self.schema.names if len(fields) < len(found) else None
        self.rows: int = self._file.metadata.num_rows

    def batches(self, skip: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Batches under `schema` from row `skip` on; inside its row group the rows before it are decoded and dropped.

        Raises:
            InputError: a row group is broken, or a value does not fit the type it is cast to.
        """
        for number in range(self._file.metadata.num_row_groups):
            group = self._file.metadata.row_group(number)
            if skip >= group.num_rows:
                skip -= group.num_rows
                continue
            step = max(1, min(MAX_ROWS, MAX_BYTES * group.num_rows // max(1, group.total_byte_size)))
            try:
                for batch in self._file.iter_batches(step, row_groups=[number], columns=self._names):
                    if skip < batch.num_rows:
                        yield cast_batch(batch.slice(skip), schema)
                    skip = max(0, skip - batch.num_rows)
            except (pa.ArrowException, OSError) as exc:
                raise InputError(
                    f"{self._path}: row group {number} cannot be read: {_first_line(exc)}. Make the file again."
                ) from exc

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        self._file.close()


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0].rstrip(".")
