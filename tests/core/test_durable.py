"""`batch.core.durable`: a file is there whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batch.core import durable
from batch.core.durable import AtomicFile


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_seen_under_its_name_only_when_it_was_renamed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    file = AtomicFile(path)
    file.open().write(b"new")
    file.seal()
    assert (path.read_bytes(), file.hidden.read_bytes()) == (b"old", b"new")
    file.rename()
    assert (path.read_bytes(), names_in(tmp_path)) == (b"new", ["a.json"])


def test_an_abandoned_file_leaves_nothing_and_the_old_one_whole(tmp_path: Path) -> None:
    """Before anything was opened, half written, and again after the rename."""
    path = tmp_path / "a.json"
    file = AtomicFile(path)
    file.abandon()
    file.open().write(b"half")
    assert names_in(tmp_path) == [".a.json.tmp"]
    file.abandon()
    assert names_in(tmp_path) == []
    file.open().write(b"whole")
    file.commit()
    file.abandon()
    assert (path.read_bytes(), names_in(tmp_path)) == (b"whole", ["a.json"])


def test_data_and_name_reach_the_disk_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise of a power cut: the name never comes before the data, and is durable when `commit` returns."""
    done: list[str] = []

    def noted(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            done.append(name)
            return call(*arguments, **named)

        return run

    monkeypatch.setattr(os, "fsync", noted(os.fsync, "sync"))
    monkeypatch.setattr(Path, "replace", noted(Path.replace, "rename"))
    file = AtomicFile(tmp_path / "a")
    file.open().write(b"x")
    file.commit()
    assert done == ["sync", "rename", "sync"]
    done.clear()
    file.open()
    file.seal(sync=False)
    assert done == []


def test_a_refusal_of_the_disk_is_told_as_the_system_says_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AtomicFile(tmp_path / "gone" / "a").open()


def test_a_copy_is_on_the_disk_before_what_it_was_made_of_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old ledger is copied aside, then a new one takes its name: after a power cut the copy may be all there is."""
    synced: list[int] = []
    sync = os.fsync

    def noted(handle: int) -> None:
        synced.append(os.fstat(handle).st_ino)
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    (tmp_path / "old").write_bytes(b"words")
    durable.copy(tmp_path / "old", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"words"
    assert synced == [(tmp_path / "copy").stat().st_ino]
