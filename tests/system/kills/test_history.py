"""Any prefix of any history goes on to the same table: whole commands, cut after any commit of the ledger.

`scripts/storage --histories 100` plays more of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.histories import SCENARIO, WITHOUT_SHRINKING, Step, cuts, go_on, histories, lanes, recorded
from tests.system.kills.stage import simulator


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulator(tmp_path_factory.mktemp("sim"), SCENARIO) as address:
        yield address


ALL_KINDS = Step(("plain", "tool", "struck", "severed", "silent", "bad"))


TWO_MORE = (*ALL_KINDS.rows, "tool", "plain")
NEXT = {
    "the same": Step(TWO_MORE, frozenset({1}), template=1),
    "another input": Step(TWO_MORE, frozenset({0, 1})),
    "another job": Step(ALL_KINDS.rows, template=1),
}


@pytest.mark.parametrize("then", NEXT)
def test_a_history_cut_after_any_of_its_commits_goes_on_to_the_same_table(tmp_path: Path, url: str, then: str) -> None:
    """Six rows of all kinds, then changed and new ones; after the cut the same command comes, or already the next."""
    history, expected = recorded(tmp_path, url, "sync", (ALL_KINDS, NEXT[then]))
    assert len(history.cuts) > 15
    for cut in history.cuts[1::3]:
        go_on(history, expected, cut, skip=then != "the same")


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), phases=WITHOUT_SHRINKING)
@given(histories(), lanes, cuts)
def test_any_prefix_of_any_history_goes_on_to_the_same_table(
    tmp_path_factory: pytest.TempPathFactory,
    url: str,
    steps: tuple[Step, ...],
    lane: str,
    places: list[tuple[float, bool]],
) -> None:
    """The same command again, or the next one at once."""
    history, expected = recorded(tmp_path_factory.mktemp("history"), url, lane, steps)
    for share, skip in places:
        go_on(history, expected, history.cuts[int(share * len(history.cuts))], skip=skip)
