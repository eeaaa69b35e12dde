"""`batch.submit.bulk`: a batch file as it grows, and what it carries to be known again."""

from __future__ import annotations

import errno
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batch.core.clock import Clock
from batch.core.errors import StorageError
from batch.http.client import Client
from batch.ledger.waves import LineCall, WaveRow
from batch.providers import registry
from batch.submit import bulk
from batch.submit.bulk import BatchExchange, OpenWave, metadata
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


@pytest.mark.parametrize("size", [10, 60_000, 3_000_000])
async def test_answers_for_which_the_disk_has_no_room_are_no_whole_file(stub: Stub, tmp_path: Path, size: int) -> None:
    """What came is cut off, however it came: lines that are missing in it would be bought again."""
    stub.answers = [reply(b"x" * size)]
    (tmp_path / "output.jsonl").symlink_to("/dev/full")
    wire = Client(stub.url, call_timeout_s=20)
    context: Any = SimpleNamespace(
        dialect=registry.dialect("glm", base_url=stub.url, key="id123456.secret456789")[0],
        clock=Clock(),
        policy=SimpleNamespace(call_timeout_s=20.0),
        client_for=lambda _: wire,
    )
    with pytest.raises(StorageError, match="No space left"):
        await BatchExchange(context).download(WAVE, "file-1", tmp_path / "output.jsonl")
    await wire.aclose()


def test_a_batch_carries_what_tells_it_from_every_other() -> None:
    """Run, wave and file: a run of the same name elsewhere has another file."""
    carried = metadata(WAVE)
    assert carried == {"promptmill_run": "r", "promptmill_wave": "12", "promptmill_file": "d" * 64}
    assert all(len(name) <= 64 and len(value) <= 512 for name, value in carried.items())
