"""Whole runs over a disk that refuses, fills up or loses power: exit 5 with the reason, and the same command goes on.

A sample of what `scripts/storage` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faultfs.disk import KINDS, Disk, Kind, under
from tests.faultfs.points import faults
from tests.faultfs.stage import CONCURRENCY, SIMULATOR, Scene, acknowledged, command, finish, scenes, strike
from tests.kills.stage import simulator

POINTS = 3
"""Of each kind in each scene."""


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
    for fault in chosen:
        strike(scene, fault)


def test_every_kind_of_operation_is_met_by_an_undisturbed_run(sync_and_rewrite: dict[str, Scene]) -> None:
    """A kind that nothing passes would be a test that cannot fail."""
    for scene in sync_and_rewrite.values():
        assert {kind for kind in KINDS if scene.passed[kind]} == set(KINDS)


@pytest.mark.parametrize("name", ["sync", "rewrite"])
def test_a_disk_that_fills_up_at_any_byte_goes_on_after_space_is_freed(
    name: str, sync_and_rewrite: dict[str, Scene]
) -> None:
    """Ten amounts of room, from nothing to almost enough."""
    scene = sync_and_rewrite[name]
    scene.put_back()
    with under(Disk(scene.mill.out, room=1 << 30)) as plenty:
        assert command(scene.mill.out, scene.mill.folder)[0] == 0
    assert plenty.room is not None
    needed = (1 << 30) - plenty.room
    stopped = 0
    for tenth in range(10):
        scene.put_back()
        with under(Disk(scene.mill.out, room=needed * tenth // 10)) as disk:
            code, said = command(scene.mill.out, scene.mill.folder)
        assert disk.struck
        assert code in (0, 5), said  # the log need not be folded in at the end, nor the lock tell our number
        if code == 5:
            stopped += 1
            assert str(scene.mill.out) in said
            assert "No space left" in said or "disk is full" in said or "unable to open" in said
        acknowledged(scene)
        assert finish(scene) <= CONCURRENCY
    assert stopped >= 9
