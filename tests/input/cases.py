"""What one awkward input is and what must come of it: the form of all cases, and how they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch.input.batches import Position, SourceBatch
from batch.input.source import Source
from batch.input.spill import Spill, SpillWriter
from batch.job.job import InputSpec

Content = Any
"""Of one file: bytes, text, JSON records, a table written as Parquet, or how it is made."""


@dataclass(frozen=True)
class Bad:
    """A row that fails alone; `text` stands in its message."""

    text: str
    code: str = "unreadable"


@dataclass(frozen=True)
class Case:
    """An input, and either its rows or a part of the sentence it is refused with."""

    name: str
    files: Mapping[str, Content]
    rows: list[Any] | None = None
    refused: str = ""
    path: str = ""
    """Of the input; by default the one file, or the folder when there are several."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    types: Mapping[str, str] | None = None
    """What `Source.types` must be, where that is the point."""
    reads: frozenset[str] | None = None
    """The columns that the job reads; None for all."""
    texts: frozenset[str] = frozenset()
    """Those of them that are read as text."""


def lines(*texts: str | bytes) -> bytes:
    """Lines of a file, each with its end."""
    return b"".join((text.encode() if isinstance(text, str) else text) + b"\n" for text in texts)


def write(folder: Path, files: Mapping[str, Content]) -> None:
    """Make the files of a case."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        elif isinstance(content, list):
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content), "utf-8")
        elif isinstance(content, (bytes, str)):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        else:
            content(path)


def opened(folder: Path, case: Case) -> Source:
    """The source of a case."""
    write(folder, case.files)
    path = folder / case.path if case.path or len(case.files) != 1 else folder / next(iter(case.files))
    spec = InputSpec(path=path, **case.spec)
    return Source.open(spec, model="m", parameters={"temperature": 0}, reads=case.reads, texts=case.texts)


def read(source: Source, rows: int = 1000, position: Position | None = None) -> list[SourceBatch]:
    """All batches from a position on."""
    reader = source.reader(position)
    found = []
    while (batch := reader.read(rows)) is not None:
        found.append(batch)
    reader.close()
    return found


def outcomes(batches: list[SourceBatch]) -> list[tuple[Any, ...]]:
    """Every row: place, record, and code, text and identity of its failure."""
    return [
        (
            batch.place(index),
            repr(batch.records[index]),
            failure and (failure.code, failure.message),
            batch.raw_ids[index],
        )
        for batch in batches
        for index, failure in enumerate(batch.failures)
    ]


def check_places(source: Source, whole: list[tuple[Any, ...]]) -> None:
    """Killed after any row, reading goes on with the next: positions are durable as JSON."""
    position = None
    for index, row in enumerate(whole):
        reader = source.reader(position)
        batch = reader.read(1)
        reader.close()
        assert batch is not None
        assert outcomes([batch]) == [row], index
        position = msgspec.json.decode(msgspec.json.encode(batch.position), type=Position)
    reader = source.reader(position)
    assert reader.read(1) is None
    reader.close()


def check_spill(folder: Path, source: Source, batches: list[SourceBatch]) -> None:
    """A row read back from the spill is the row that was planned."""
    writer = SpillWriter(folder / "spill.arrow", source.schema, rest_is_input=source.rest_is_input)
    for batch in batches:
        writer.add(batch.columns)
    writer.close()
    records = [record for batch in batches for record in batch.records]
    with Spill(folder / "spill.arrow") as spill:
        again = spill.records(0, len(records))
    for record, back in zip(records, again, strict=True):
        assert record is None or repr(back) == repr(record)


THREE = lines('{"n": 1}', '{"n": 2}', '{"n": 3}')
ROWS = [{"n": 1}, {"n": 2}, {"n": 3}]
