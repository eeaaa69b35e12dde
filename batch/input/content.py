"""The hash of a row's output columns, by which a later night knows whether the table has them as the input does.

Owns what goes into it: the values of the columns that are written to the table, by name, in their canonical form. So
neither the order of the columns nor the file format counts, and a column without a value is as good as none. It gives
the same hash for a row of the source and for the row of the table that was made from it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import blake2b
from itertools import repeat
from typing import Final

import pyarrow as pa

from batch.core.canonical import canonical
from batch.input.batches import SourceBatch
from batch.input.json_columns import REST, RowDecoder

_NOTHING: Final = blake2b(digest_size=8)
"""A hash that nothing was added to yet: to copy it takes less time than to make one."""


def contents(batch: SourceBatch, names: Collection[str], forms: Sequence[bytes | None] | None = None) -> list[bytes]:
    """The hash (8 bytes) of each row of a batch.

    Args:
        batch: as the source gave it.
        names: the columns that are written to the table, of those the source has.
        forms: the canonical form of each row's record, where it is at hand: nearly always that is what is hashed.
            None when no row's is.
    """
    schema = batch.columns.schema
    if REST in names and REST in schema.names:
        rest = batch.columns.column(REST)
        if rest.null_count < len(rest):
            # Some value has no column or does not fit it: only the columns say what will stand where.
            return contents_of(batch.columns.select([name for name in schema.names if name in names]))
    wanted = [name for name in schema.names if name in names and name != REST]
    found = []
    for record, form in zip(batch.records, forms or repeat(None), strict=False):
        if form is not None and record is not None and len(record) == len(wanted):  # it has these columns, and no other
            found.append(_hash(form))
        else:
            found.append(_hash(canonical({} if record is None else {name: record[name] for name in wanted})))
    return found


def contents_of(columns: pa.RecordBatch) -> list[bytes]:
    """The hash of each row of a batch of output columns, under the names of the source.

    Raises:
        ValueError: Python cannot hold a value.
    """
    return [_hash(canonical(record)) for record in RowDecoder(columns.schema).records(columns)]


def _hash(form: bytes) -> bytes:
    digest = _NOTHING.copy()
    digest.update(form)
    return digest.digest()
