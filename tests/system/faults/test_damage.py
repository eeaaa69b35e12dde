"""A small choice of what `scripts/damage` does: damaged folders are refused with the way out, or go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.faults.damage import Damage, Scene, scenes, strike
from tests.system.faults.stage import SIMULATOR
from tests.system.kills.stage import simulator


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A folder whose second night was killed."""
    with simulator(tmp_path_factory.mktemp("sim"), SIMULATOR) as url:
        (scene,) = scenes(tmp_path_factory.mktemp("damage"), url, ["killed"])
        yield scene


@pytest.mark.parametrize(
    ("name", "how", "came_to"),
    [
        ("ledger.db", "older", "refused"),
        ("ledger.db-wal", "cut", "refused"),
        ("ledger.db-shm", "removed", "went on"),
        ("results/part-00000.parquet", "older", "refused"),
        ("status.json", "cut", "went on"),
    ],
)
def test_a_damaged_folder_is_usable_again_and_no_answer_is_bought_twice(
    name: str, how: str, came_to: str, killed: Scene
) -> None:
    """Promises 1, 2 and 5: whatever happened to one file, and with a killed run in it."""
    damages = {(damage.name, damage.how): damage for damage in killed.damages()}
    assert strike(killed, damages[name, how]) == came_to  # type: ignore[index]  # names come in pairs


def test_a_ledger_with_a_flipped_byte_is_refused_or_has_that_page_in_its_log(killed: Scene) -> None:
    """Promises 1 and 2: nine of ten flips were not noticed before the pages had sums."""
    flips = [damage for damage in killed.damages() if (damage.name, damage.how) == ("ledger.db", "flipped")]
    assert len(flips) == 7
    assert any(strike(killed, flip) == "refused" for flip in flips)  # which pages are in the log differs


def test_every_file_of_a_folder_is_damaged_in_every_way(killed: Scene) -> None:
    """Else a campaign could leave out what hurts."""
    damaged = {damage.name.partition("/")[0] for damage in killed.damages()}
    assert {"ledger.db", "ledger.db-wal", "ledger.db-shm", "results", "calls", "runs", "pending"} <= damaged
    assert isinstance(killed.damages()[0], Damage)
