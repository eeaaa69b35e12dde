"""Answers read back out of the table, whole: the outcomes of rows that stand in a published part.

Owns the way from the columns of a row to its `Outcome`, and which columns that takes. Its sums are left out: what an
answer cost stands in the book, and once. It does not know what becomes of an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from batch.core.records import Outcome, Sums
from batch.labels.schema import label_columns
from batch.output import labelled
from batch.output.parts import PartReader
from batch.output.unreadable import reading

Place = tuple[int, str]
"""Number and variant of a row; the variant is empty in a job without any."""
_NAMES: Final = ("answer", "reasoning", "finish_reason", "messages", "model", "lane", "provider", "model_asked")
_READ: Final = (
    *("row_number", "variant", "status", "flags", "confidence", "endpoint", "deduplicated_from"),
    *("cached_tokens", "reasoning_tokens", "currency", *_NAMES),
)


def read(part: Path, places: Iterable[Place]) -> dict[Place, Outcome]:
    """The answers that stand at these places of a part, by place; without those that are not there, or no answers.

    Args:
        part: the file, as it was published last.
        places: of the rows.

    Raises:
        UnreadableFile: the part is gone or damaged.
    """
    wanted = set(places)
    with reading(part), PartReader(part) as file:
        schema = file.schema_arrow
        names = [name for name in schema.names if name in {*_READ, *label_columns(schema).names}]
        return {
            place: _outcome(row, schema)
            for table in tables_with(file, sorted({number for number, _ in wanted}), names)
            for row in table.to_pylist()
            if row["status"] == "ok" and (place := (row["row_number"], row["variant"] or "")) in wanted
        }


def tables_with(file: PartReader, numbers: Sequence[int], names: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of a part with these numbers; row groups that have none of them are not read.

    Args:
        file: the part.
        numbers: ascending.
        names: of the columns to read.
    """
    import pyarrow.compute as pc  # noqa: PLC0415 - slow to load, and hardly ever needed

    wanted = pa.array(numbers, pa.int64())
    place = file.schema_arrow.names.index("row_number")
    for group in range(file.num_row_groups):
        found = file.metadata.row_group(group).column(place)
        statistics = found.statistics if found.path_in_schema == "row_number" else None
        low, high = numbers[0], numbers[-1]
        if statistics is not None and statistics.has_min_max:
            low, high = statistics.min, statistics.max
        if low <= numbers[-1] and numbers[0] <= high:
            table = file.read_row_group(group, columns=list(names))
            yield table.filter(pc.is_in(table.column("row_number"), wanted))


def _outcome(row: dict[str, Any], schema: pa.Schema) -> Outcome:
    known = {name: row[name] for name in ("cached_tokens", "reasoning_tokens", "currency")}
    return Outcome(
        status="ok",
        sums=Sums(**known),
        settled_at_us=0,
        flags=tuple(row["flags"] or ()),
        label=labelled.label_of(row, schema),
        confidence=row.get("confidence"),
        endpoint=row.get("endpoint"),
        deduplicated_from=row.get("deduplicated_from"),
        **{name: row[name] for name in _NAMES},
    )
