"""`batch.output.objects`: objects below a place are written under a condition, read, listed and removed."""

from __future__ import annotations

import hashlib
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batch.core.clock import HandClock
from batch.core.errors import StorageError
from batch.core.places import Place
from batch.output import storeclient
from batch.output.objects import LATE_S, Listed, Objects, Tag
from batch.output.storeclient import Taken
from tests.support.halfway import Halfway
from tests.support.seaweed import BUCKET


def test_an_object_is_made_once(objects: Objects) -> None:
    tag = objects.create("one", b"first")
    with pytest.raises(Taken):
        objects.create("one", b"second")
    assert objects.read("one") == (b"first", tag)


def test_an_object_is_replaced_by_whoever_knows_what_is_there(objects: Objects) -> None:
    """Not by somebody who was asleep meanwhile, nor where it is gone."""
    first = objects.create("one", b"first")
    second = objects.replace("one", b"second", first)
    with pytest.raises(Taken):
        objects.replace("one", b"third", first)
    assert objects.read("one") == (b"second", second)
    objects.delete("one")
    with pytest.raises(Taken):
        objects.replace("one", b"fourth", second)


def test_what_nobody_decides_by_is_written_over(objects: Objects) -> None:
    objects.create("status.json", b"{}")
    objects.overwrite("status.json", b'{"state": "running"}')
    found = objects.read("status.json")
    assert found is not None
    assert found[0] == b'{"state": "running"}'


def test_a_write_that_meets_another_one_is_made_again(objects: Objects, way: Halfway) -> None:
    """S3 answers 409 while a write of the same object is under way, and says nothing of what is there."""
    way.conflict = 1
    first = objects.create("one", b"first")
    way.conflict = 2
    second = objects.replace("one", b"second", first)
    assert objects.read("one") == (b"second", second)
    way.conflict = 1
    objects.overwrite("one", b"third")
    found = objects.read("one")
    assert found is not None
    assert found[0] == b"third"


def test_a_conflict_that_does_not_end_is_told_as_a_fault_of_the_store(objects: Objects, way: Halfway) -> None:
    """Not as an object that somebody else wrote."""
    way.conflict = 1_000
    for write in (objects.create, objects.overwrite):
        with pytest.raises(StorageError, match="cannot be written: ConditionalRequestConflict"):
            write("one", b"first")


def test_objects_of_another_place_are_not_listed(objects: Objects) -> None:
    """One whose name begins alike is another place; names come in their order, without the place."""
    objects.create("results/b", b"22")
    objects.create("results/a", b"1")
    objects.create("runs/c", b"333")
    beside = Objects(Place("s3", BUCKET, f"{objects.place.key}-other"))
    beside.create("results/d", b"4444")
    beside.close()
    found = objects.list("results/")
    assert {name: each.size for name, each in found.items()} == {"results/a": 1, "results/b": 2}
    assert list(found) == ["results/a", "results/b"]


def test_what_is_not_there_is_none_and_removing_it_is_harmless(objects: Objects) -> None:
    assert objects.read("nothing") is None
    assert objects.look("nothing") is None
    objects.delete("nothing")


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_file_goes_up_and_comes_back_byte_for_byte(objects: Objects, tmp_path: Path, size: int) -> None:
    """An empty one, too, and one that comes in several pieces."""
    path = tmp_path / "file"
    path.write_bytes(bytes(number % 251 for number in range(size)))
    tag = objects.create("results/file", path)
    with closing(objects.pieces("results/file")) as pieces:
        assert b"".join(pieces) == path.read_bytes()
    listed = objects.list("results/")["results/file"]
    assert (listed.size, objects.holds("results/file", listed, path)) == (size, True)
    assert objects.look("results/file") is not None
    assert tag.e_tag == listed.e_tag


def test_another_file_of_the_same_size_is_told_from_the_object(objects: Objects, tmp_path: Path) -> None:
    """By the hash in its tag, or where a tag is no hash of the content, by the content."""
    path = tmp_path / "file"
    path.write_bytes(b"ours")
    objects.create("results/file", b"them")
    listed = objects.list("results/")["results/file"]
    assert listed.e_tag.strip('"') == hashlib.md5(b"them").hexdigest()
    assert not objects.holds("results/file", listed, path)
    assert not objects.holds("results/file", Listed('"no-hash-3"', 4), path)
    path.write_bytes(b"them")
    assert objects.holds("results/file", Listed('"no-hash-3"', 4), path)
    assert not objects.holds("results/file", Listed(listed.e_tag, 5), path)


def test_who_waits_for_a_store_can_be_told_so(objects: Objects, way: Halfway, clock: HandClock) -> None:
    """A request that takes long, and one that is made again; not one that has just begun, and none that is done."""
    objects.create("one", b"first")
    assert objects.awaited is None
    way.held.set()
    waiting = threading.Thread(target=objects.read, args=("one",))
    waiting.start()
    while not way.passed[-1].startswith("GET"):
        pass
    found = [objects.awaited]
    clock.advance(LATE_S)
    found.append(objects.awaited)
    way.held.clear()
    way.released.set()
    waiting.join()
    assert [*found, objects.awaited] == [None, f"{objects.place.text}/one", None]
    seen: list[str | None] = []

    class Watching(HandClock):
        def pause(self, seconds: float) -> None:
            seen.append(failing.awaited)
            super().pause(seconds)

    failing = Objects(objects.place, Watching())
    way.refuse = 1_000
    with pytest.raises(StorageError):
        failing.read("two")
    failing.close()
    assert set(seen) == {f"{objects.place.text}/two"}
    assert failing.awaited is None


def test_a_tag_is_kept_as_text() -> None:
    for tag in (Tag('"abc"'), Tag("abc", "17")):
        assert Tag.parse(tag.text) == tag


@pytest.mark.parametrize(
    ("scheme", "listed", "tag"),
    [("s3", '"0a1b"', '"0a1b"'), ("az", "0x8DCAFE", '"0x8DCAFE"'), ("gs", None, "")],
)
def test_a_tag_in_a_list_is_the_tag_of_the_object(
    scheme: str, listed: str | None, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure leaves the quotes out in lists: every part would be taken for one that somebody else wrote."""
    client: Any = SimpleNamespace(list=lambda *_, **__: [[{"path": "out/results/x", "e_tag": listed, "size": 3}]])
    monkeypatch.setattr(storeclient, "loaded", lambda _: client)
    monkeypatch.setattr(storeclient, "connected", lambda *_: None)
    assert Objects(Place(scheme, "bucket", "out")).list("results/") == {"results/x": Listed(tag, 3)}
