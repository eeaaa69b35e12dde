"""Output folders in an object store, as a finished run leaves them there, with a working copy and a ledger here."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from batch.output.folder import OutputFolder
from batch.output.rebuild import rebuild
from batch.output.stores import InStore
from tests.support.outfolders import finished
from tests.support.seaweed import BUCKET, Seaweed


@contextmanager
def stored(seaweed: Seaweed, aside: Path, *, rows: int = 2, part_rows: int = 1_000) -> Iterator[OutputFolder]:
    """A table and a book in the store; the variables with which it is reached are set by the caller.

    Its connections are closed at the end: an idle one stays for ten seconds, and each test would wait for that.

    Args:
        seaweed: the store.
        aside: a folder that does not exist yet, in which they are made.
        rows: of the table.
        part_rows: how many a part has.
    """
    made = finished(aside, pa.table({"text": [f"row {n}" for n in range(rows)]}), part_rows=part_rows)
    name = f"stored-{uuid.uuid4().hex}"
    for path in [*made.results.rglob("*.parquet"), *made.calls.rglob("*.parquet"), *made.runs.glob("*.json")]:
        seaweed.write(f"{name}/{path.relative_to(made.root).as_posix()}", path.read_bytes())
    folder = OutputFolder(Path(f"s3://{BUCKET}/{name}"))
    folder.prepare()
    rebuild(folder, 1_790_000_000_000_000)
    yield folder
    assert isinstance(folder.store, InStore)
    folder.store._objects.close()


def key_of(folder: OutputFolder, name: str) -> str:
    """The name of a file of such a folder in the bucket."""
    return f"{folder.text.removeprefix(f's3://{BUCKET}/')}/{name}"
