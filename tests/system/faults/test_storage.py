"""Whole runs over a disk that refuses, fills up or loses power: exit 5 with the reason, and the same command goes on.

A sample of what `scripts/storage` does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import apsw
import pytest

from batch.core import durable
from batch.ledger import schema
from batch.output import parts
from tests.system.faults.disk import KINDS, Disk, Fault, Kind, under
from tests.system.faults.points import faults
from tests.system.faults.stage import (
    CONCURRENCY,
    SIMULATOR,
    Broken,
    Scene,
    acknowledged,
    command,
    finish,
    scenes,
    strike,
)
from tests.system.kills.stage import simulator

POINTS = 2
"""Of each kind: the first of its operations in one scene, one in the middle in the other."""
AMOUNTS = 5


@pytest.fixture(scope="module")
def sync_and_rewrite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Scene]]:
    with simulator(tmp_path_factory.mktemp("sim"), SIMULATOR) as url:
        made = scenes(tmp_path_factory.mktemp("scenes"), url, ("sync", "rewrite"))
        yield {scene.name: scene for scene in made}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["sync", "rewrite"])
def test_a_disk_that_fails_at_any_operation_loses_nothing_acknowledged(
    name: str, kind: Kind, sync_and_rewrite: dict[str, Scene]
) -> None:
    """Promises 1, 2 and 5, exit code 5: refused once, for ever, or the power cut right there."""
    scene = sync_and_rewrite[name]
    # The two scenes take other ways at the same places.
    chosen = faults(scene, kind, most=POINTS, shift=len(kind) + len(name))
    assert len(chosen) == min(POINTS, 3 * scene.passed[kind]) or kind.startswith("ledger.")
    strike(scene, chosen[(KINDS.index(kind) + (name == "rewrite")) % len(chosen)])


class Unsynced(durable.AtomicFile):
    """A file whose data is never synced."""

    def seal(self, *, sync: bool = True) -> None:
        super().seal(sync=False)


@contextlib.contextmanager
def careless(what: str) -> Iterator[None]:
    """Nothing of one kind is synced."""
    set_up = schema._set_up

    def carelessly(db: apsw.Connection) -> None:
        set_up(db)
        db.pragma("synchronous", "off")

    patches: dict[str, Any] = {
        "parts": mock.patch.object(parts, "AtomicFile", Unsynced),
        "names": mock.patch.object(durable, "sync_folder", return_value=None),
        "ledger": mock.patch.object(schema, "_set_up", carelessly),
    }
    with patches[what]:
        yield


@pytest.mark.parametrize("what", ["parts", "names", "ledger"])
def test_a_sync_that_is_left_out_is_found_out(what: str, sync_and_rewrite: dict[str, Scene]) -> None:
    """The cuts have teeth: without the syncs of one kind some of them lose what was acknowledged.

    Spills are not among them: what a lost one held is read from the source again.
    """
    scene = sync_and_rewrite["sync"]
    writes = scene.passed["ledger.write"]
    # How many writes a run makes depends on how its commits fall together, so no one number is sure to hit: from the
    # last one backwards.
    assert any(_breaks(what, scene, at) for at in range(writes, 0, -max(1, writes // 40)))


def _breaks(what: str, scene: Scene, at: int) -> bool:
    """Whether a cut at a write of the ledger loses something when nothing of one kind is synced."""
    with careless(what):
        try:
            strike(scene, Fault("ledger.write", at, "cut"))
        except Broken:
            return True
    return False


def test_what_a_dying_command_left_half_written_is_gone_after_the_next(sync_and_rewrite: dict[str, Scene]) -> None:
    """Also beside the ledger, and also when there is nothing to do; what is not ours stays."""
    scene = sync_and_rewrite["rewrite"]
    scene.put_back()
    finish(scene)
    out = scene.mill.out
    ours = [out / name for name in (".status.json.tmp", ".ledger.db.tmp", ".ledger.db.tmp-journal")]
    ours += [out / "runs" / ".x.json.tmp", out / "results" / ".part-00000.parquet.tmp"]
    theirs = out / ".gitignore"
    for path in (*ours, theirs):
        path.write_text("half", encoding="utf-8")
    code, said = command(out, scene.mill.folder)
    assert (code, "nothing to do" in said) == (0, True)
    assert [path for path in (*ours, theirs) if path.exists()] == [theirs]


def test_every_kind_of_operation_is_met_by_an_undisturbed_run(sync_and_rewrite: dict[str, Scene]) -> None:
    """A kind that nothing passes would be a test that cannot fail."""
    for scene in sync_and_rewrite.values():
        assert {kind for kind in KINDS if scene.passed[kind]} == set(KINDS)


@pytest.mark.parametrize("name", ["sync", "rewrite"])
def test_a_disk_that_fills_up_at_any_byte_goes_on_after_space_is_freed(
    name: str, sync_and_rewrite: dict[str, Scene]
) -> None:
    """Some amounts of room, from nothing to nearly what is needed; each scene has others."""
    scene = sync_and_rewrite[name]
    scene.put_back()
    with under(Disk(scene.mill.out, room=1 << 30)) as plenty:
        assert command(scene.mill.out, scene.mill.folder)[0] == 0
    assert plenty.room is not None
    needed = (1 << 30) - plenty.room
    stopped = 0
    for amount in range(name == "rewrite", 2 * AMOUNTS, 2):
        scene.put_back()
        with under(Disk(scene.mill.out, room=needed * amount // 13)) as disk:
            code, said = command(scene.mill.out, scene.mill.folder)
        assert code in (0, 5), said  # fewer and larger commits need less room
        if code == 5:
            stopped += 1
            assert disk.struck
            assert str(scene.mill.out) in said
            assert "No space left" in said or "disk is full" in said or "unable to open" in said
        acknowledged(scene)
        assert finish(scene) <= CONCURRENCY
    assert stopped >= AMOUNTS - 1
