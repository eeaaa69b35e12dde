"""`batch.submit.bulk`: a batch file as it grows, and what it carries to be known again."""

from __future__ import annotations

import errno
import json
import time
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batch.core.clock import Clock
from batch.core.errors import StorageError
from batch.core.records import Failure
from batch.http.client import Client
from batch.ledger.waves import LineCall, WaveRow
from batch.providers import registry
from batch.submit import bulk
from batch.submit.bulk import BatchExchange, OpenWave, metadata
from batch.submit.targets import Target
from tests.support.stub import Stub, reply

WAVE = WaveRow(
    wave=12, run="r", model="m", base_url="http://x", state=0, lines=2, size=9, digest="d" * 64, made_at_us=1
)


def call(number: int) -> LineCall:
    return LineCall(number, number, 0, 0, f"pm-{number}", 0)


def test_a_file_appears_whole_under_its_name_or_not_at_all(tmp_path: Path) -> None:
    """Its hash is that of what lies there; one that is abandoned leaves nothing."""
    path = tmp_path / "bulk" / "wave-00000.jsonl"
    wave = OpenWave(0, path, model="m", began=0.0)
    wave.add(b"one\n", call(1))
    wave.add(b"two\n", call(2))
    assert not path.exists()
    assert wave.seal() == sha256(b"one\ntwo\n").hexdigest()
    assert path.read_bytes() == b"one\ntwo\n"
    assert (wave.size, [line.number for line in wave.calls]) == (8, [1, 2])
    OpenWave(1, tmp_path / "bulk" / "wave-00001.jsonl", model="m", began=0.0).abandon()
    assert [left.name for left in path.parent.iterdir()] == ["wave-00000.jsonl"]


def test_a_file_is_full_by_its_lines_or_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line goes in however large it is."""
    monkeypatch.setattr(bulk, "FILE_BYTES", 10)
    wave = OpenWave(0, tmp_path / "w.jsonl", model="m", began=0.0)
    assert wave.fits(1_000, 5)
    wave.add(b"12345\n", call(1))
    assert wave.fits(4, 5)
    assert not wave.fits(5, 5)
    assert not wave.fits(1, 1)
    wave.abandon()


def test_a_folder_that_cannot_be_made_is_told_with_the_way_out(tmp_path: Path) -> None:
    """A file lies where the folder should be."""
    (tmp_path / "bulk").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match="run the same command again") as caught:
        OpenWave(0, tmp_path / "bulk" / "w.jsonl", model="m", began=0.0)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno in (errno.ENOTDIR, errno.EEXIST)


def context_of(stub: Stub, **more: Any) -> Any:
    """What an exchange of batches needs of a run at one address."""
    dialect, _ = registry.dialect("glm", base_url=stub.url, key="id123456.secret456789")
    nothing: Any = None
    target = Target(dialect, WAVE.base_url, nothing, nothing)
    return SimpleNamespace(dialect=dialect, target=target, targets={None: target}, clock=Clock(), wire_log=None, **more)


@pytest.mark.parametrize("size", [10, 60_000, 3_000_000])
async def test_answers_for_which_the_disk_has_no_room_are_no_whole_file(stub: Stub, tmp_path: Path, size: int) -> None:
    """What came is cut off, however it came: lines that are missing in it would be bought again."""
    stub.answers = [reply(b"x" * size)]
    (tmp_path / "output.jsonl").symlink_to("/dev/full")
    wire = Client(stub.url, call_timeout_s=20)
    context = context_of(stub, policy=SimpleNamespace(call_timeout_s=20.0), client_for=lambda _: wire)
    with pytest.raises(StorageError, match="No space left"):
        await BatchExchange(context).download(WAVE, "file-1", tmp_path / "output.jsonl")
    await wire.aclose()


def page(*ids: str) -> bytes:
    """A page of batches of somebody else's, made now, with more behind it."""
    made = int(time.time())
    listed = [{"id": name, "status": "completed", "created_at": made, "metadata": {}} for name in ids]
    return reply(json.dumps({"object": "list", "data": listed, "has_more": True}).encode())


@pytest.mark.parametrize(("turns", "asked"), [(True, 3), (False, 2)])
async def test_a_list_of_batches_without_end_is_no_word_that_a_batch_is_not_there(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, turns: bool, asked: int
) -> None:
    """Nothing is made anew then; a service that shows its first page for ever has shown all that it shows."""
    monkeypatch.setattr(bulk, "_PAGES", 3)
    stub.answers = [page(f"b-{number if turns else 0}") for number in range(3)]
    wire = Client(stub.url, call_timeout_s=20)
    context = context_of(stub, client_for=lambda _: wire)
    found = await BatchExchange(context).find(WAVE)
    await wire.aclose()
    assert isinstance(found, Failure) is turns
    assert len(stub.exchanges) == asked


def test_a_batch_carries_what_tells_it_from_every_other() -> None:
    """Run, wave and file: a run of the same name elsewhere has another file."""
    carried = metadata(WAVE)
    assert carried == {"promptmill_run": "r", "promptmill_wave": "12", "promptmill_file": "d" * 64}
    assert all(len(name) <= 64 and len(value) <= 512 for name, value in carried.items())
