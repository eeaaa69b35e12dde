"""`batch.output.uploads`: what the ledger remembers of a published file, where readers find it in a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from batch.core.errors import StorageError
from batch.ledger.published import PublishedReader
from batch.ledger.schema import connect
from batch.output.folder import OutputFolder
from batch.output.uploads import Uploads
from tests.support import storedfolders
from tests.support.outfolders import finished
from tests.support.seaweed import Seaweed

TABLE = pa.table({"text": ["a", "b"]})


@pytest.fixture
def stored(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OutputFolder]:
    """A finished output in a store."""
    for name, value in {**seaweed.environ, "PROMPTMILL_STATE": str(tmp_path / "state")}.items():
        monkeypatch.setenv(name, value)
    with storedfolders.stored(seaweed, tmp_path / "made") as made:
        yield made


def record(folder: OutputFolder, uploads: Uploads) -> None:
    with closing(connect(folder.ledger)) as db:
        uploads.record(db)
    uploads.recorded()


def tags(folder: OutputFolder) -> dict[str, str]:
    with PublishedReader(folder.ledger) as reader:
        return reader.tags()


def test_of_an_output_on_a_disk_there_is_nothing_to_remember(tmp_path: Path) -> None:
    """A file that has its name is published."""
    folder = finished(tmp_path / "out", TABLE)
    uploads = Uploads.of(folder)
    uploads.put(folder.part(0), "publish.results_put")
    assert not uploads.news
    assert (uploads.known, tags(folder)) == ({}, {})


def test_the_next_process_replaces_what_this_one_published(stored: OutputFolder) -> None:
    """It knows the file by the tag that the ledger got in the transaction that made it count."""
    name, path = "results/part-00000.parquet", stored.part(0)
    first = Uploads.of(stored)
    before = tags(stored)[name]
    path.write_bytes(path.read_bytes() + b"more")
    first.put(path, "publish.results_put")
    assert (first.news, tags(stored)[name]) == (True, before), "it counts with the transaction only"
    record(stored, first)
    assert (first.news, tags(stored)[name] == before) == (False, False)
    path.write_bytes(path.read_bytes() + b"still more")
    Uploads.of(stored, path).put(path, "publish.results_put")
    path.write_bytes(b"of a process that was asleep")
    with pytest.raises(StorageError, match="was written by somebody else"):
        Uploads(stored, {name: before}).put(path, "publish.results_put")


def test_a_file_that_is_removed_is_forgotten_with_the_transaction(stored: OutputFolder) -> None:
    name, path = "results/part-00000.parquet", stored.part(0)
    uploads = Uploads.of(stored)
    uploads.remove(path)
    assert name not in stored.store.listed()
    assert (name in uploads.known, uploads.news) == (False, True)
    record(stored, uploads)
    assert name not in tags(stored)
    uploads.remove(path)
    assert not uploads.news, "there was nothing to forget any more"


def test_a_file_that_the_store_took_unheard_is_known_from_then_on(stored: OutputFolder) -> None:
    """The answer to a write may be lost, or the process killed before it could note it."""
    name, path = "results/part-00000.parquet", stored.part(0)
    tag = stored.store.tag(path)
    assert tag is not None
    unknowing = Uploads(stored, {})
    unknowing.adopt(path, tag)
    assert unknowing.known[name].text == tag
    record(stored, unknowing)
    assert tags(stored)[name] == tag


def test_of_the_files_that_are_named_only_those_are_read_from_the_ledger(stored: OutputFolder) -> None:
    """One that was never published has none."""
    assert set(Uploads.of(stored, stored.part(0), stored.part(7)).known) == {"results/part-00000.parquet"}
    assert len(Uploads.of(stored).known) > 1
