"""Files on their way into an object store: conditions, answers that get lost, stores that refuse."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest

from batch.core.clock import HandClock
from batch.core.errors import OutputError, StorageError
from batch.core.places import Place
from batch.output import stores
from batch.output.folder import OutputFolder, RunLock
from batch.output.objects import WAITS_S, Objects, Tag
from batch.output.stores import InStore
from tests.support.halfway import Halfway
from tests.support.seaweed import BUCKET, READER, READER_SECRET, Seaweed


@pytest.fixture
def store(objects: Objects, tmp_path: Path) -> InStore:
    made = InStore(objects.place, tmp_path / "copy", objects)
    made.prepare()
    return made


def part(store: InStore, content: bytes = b"one") -> Path:
    path = store.folder / "results" / "part-00000.parquet"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def content(seaweed: Seaweed, store: InStore) -> bytes:
    return seaweed.read(f"{store.text.removeprefix(f's3://{BUCKET}/')}/results/part-00000.parquet")


def test_a_part_takes_the_place_of_the_one_with_the_tag_that_is_known(store: InStore, seaweed: Seaweed) -> None:
    tag = store.put(part(store), None)
    assert store.put(part(store, b"two"), tag) != tag
    assert content(seaweed, store) == b"two"


@pytest.mark.parametrize("replaces", [False, True])
def test_a_part_of_another_writer_is_never_written_over(replaces: bool, store: InStore, seaweed: Seaweed) -> None:
    """Neither by a new part, nor by one that knew what was there before."""
    tag = store.put(part(store), None) if replaces else None
    seaweed.write(f"{store.text.removeprefix(f's3://{BUCKET}/')}/results/part-00000.parquet", b"theirs")
    with pytest.raises(StorageError, match="was written by somebody else, so the store took nothing") as told:
        store.put(part(store, b"ours"), tag)
    assert f"promptmill rebuild {store.text}" in str(told.value)
    assert content(seaweed, store) == b"theirs"


@pytest.mark.parametrize("replaces", [False, True])
def test_a_write_whose_answer_was_lost_is_known_as_ours(
    replaces: bool, store: InStore, way: Halfway, seaweed: Seaweed
) -> None:
    """The second try is refused by what the first one wrote; that is no second writer."""
    tag = store.put(part(store), None) if replaces else None
    way.lose = 1
    tag = store.put(part(store, b"ours"), tag)
    assert content(seaweed, store) == b"ours"
    assert store.put(part(store, b"next"), tag) is not None


def test_a_store_that_is_busy_is_asked_again_and_it_is_said(
    store: InStore, way: Halfway, clock: HandClock, seaweed: Seaweed
) -> None:
    before = clock.monotonic()
    way.refuse = 2
    store.put(part(store), None)
    assert clock.monotonic() - before == sum(WAITS_S[:2])
    assert content(seaweed, store) == b"one"


def test_a_store_that_never_answers_is_given_up_in_bounded_time(store: InStore, way: Halfway, clock: HandClock) -> None:
    """The last word says why, and what to do; what then only tells how the run ended is tried once."""
    before = clock.monotonic()
    way.refuse = 1_000
    with pytest.raises(StorageError, match=r"cannot be written: SlowDown, 503 .*run the same command again"):
        store.put(part(store), None)
    assert clock.monotonic() - before == sum(WAITS_S)
    asked = len(way.passed)
    with pytest.raises(StorageError):
        store.send(part(store))
    assert len(way.passed) == asked + 1


def test_a_tag_survives_the_ledger(store: InStore) -> None:
    tag = store.put(part(store), None)
    assert tag is not None
    assert Tag.parse(tag).text == tag


def test_a_store_that_ignores_conditions_is_refused_before_anything_is_sent(
    way: Halfway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMPTMILL_STATE", str(tmp_path))
    way.without_conditions = True
    lock = RunLock(OutputFolder(Path(f"s3://{BUCKET}/ignores-{uuid.uuid4().hex}")))
    with pytest.raises(OutputError, match="does not keep conditions"):
        lock.take()
    assert not lock.held


def test_a_key_that_may_not_write_is_told_which_right_it_lacks(
    way: Halfway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMPTMILL_STATE", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER_SECRET)
    lock = RunLock(OutputFolder(Path(f"s3://{BUCKET}/reader")))
    with pytest.raises(OutputError, match="AccessDenied, 403 Forbidden. The credentials in AWS_ACCESS_KEY_ID") as told:
        lock.take()
    assert READER_SECRET not in str(told.value)


def test_a_bucket_that_is_not_there_is_told(way: Halfway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROMPTMILL_STATE", str(tmp_path))
    with pytest.raises(OutputError, match="there is no bucket 'nowhere'. Make it, or give another place"):
        RunLock(OutputFolder(Path("s3://nowhere/out"))).take()


def test_a_server_that_is_no_store_is_not_taken_for_another_run(
    way: Halfway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who waits for that other run would wait for ever."""
    monkeypatch.setenv("PROMPTMILL_STATE", str(tmp_path))
    way.no_store = True
    with pytest.raises(OutputError, match="what answers at the address in AWS_ENDPOINT_URL is no object store"):
        RunLock(OutputFolder(Path(f"s3://{BUCKET}/out"))).take()


def test_a_server_that_is_no_store_is_not_taken_for_another_writer(store: InStore, way: Halfway) -> None:
    way.no_store = True
    told = f"404 Not Found: there is no bucket '{BUCKET}'"
    with pytest.raises(StorageError, match=told):
        store.put(part(store), None)
    with pytest.raises(StorageError, match=told):
        store.send(part(store))


def test_an_object_that_was_removed_before_it_is_fetched_is_told(store: InStore) -> None:
    with pytest.raises(StorageError, match=r"results/part-00007.parquet: was removed from the store"):
        store.fetch(store.folder / "results" / "part-00007.parquet")
    assert not [path for path in (store.folder / "results").iterdir() if path.is_file()]


def test_a_part_that_is_gone_from_the_store_is_not_written_anew(store: InStore, seaweed: Seaweed) -> None:
    tag = store.put(part(store), None)
    store.remove(part(store))
    with pytest.raises(StorageError, match="was written by somebody else"):
        store.put(part(store, b"two"), tag)


def test_without_the_extra_the_command_that_installs_it_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMPTMILL_STATE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(OutputError, match=r"pip install 'promptmill\[stores\]'"):
        RunLock(OutputFolder(Path("s3://jobs/out"))).take()


def test_a_whole_bucket_is_no_place_for_an_output() -> None:
    with pytest.raises(OutputError, match="s3://jobs: is a whole bucket"):
        OutputFolder(Path("s3://jobs"))


def test_the_working_copy_of_a_place_is_nobody_elses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Names that are one as a folder have copies of their own, and nobody else may look in."""
    monkeypatch.setenv("PROMPTMILL_STATE", str(tmp_path / "state"))
    places = [Place("s3", "jobs", "a/b"), Place("s3", "jobs", "a-b"), Place("gs", "jobs", "a/b")]
    copies = {stores.working_copy(place) for place in places}
    assert len(copies) == len(places)
    store = stores.store_of(Path("s3://jobs/a/b"))
    store.prepare()
    assert store.folder.parent.stat().st_mode & 0o077 == 0
