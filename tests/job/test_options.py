"""`batch.job.options`: what the flags of one command may be where a program fills them in."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from batch.core.errors import RefusedToStart
from batch.job.options import ORDINARY, MaxFailed, RunOptions


def test_a_program_may_say_what_the_command_line_says() -> None:
    """FIELD 46. Numbers and words, not structs that are not public."""
    assert RunOptions(max_failed=20).max_failed == MaxFailed("20", rows=20)
    assert RunOptions(max_failed="0.5%").max_failed == MaxFailed("0.5%", share=Fraction(1, 200))
    assert RunOptions(kinds=["new", "failed"]).kinds == frozenset({"new", "failed"})
    assert RunOptions(kinds="new").kinds == frozenset({"new"})
    assert RunOptions().kinds == ORDINARY


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"kinds": ["nw"]}, "new, changed, failed, permanent"),
        ({"kinds": []}, "one or more"),
        ({"limit": 0}, "at least 1 row"),
        ({"sample_seed": 3}, "needs a limit"),
        ({"max_failed": "lots"}, "0.5%"),
        ({"max_failed": -1}, "give a number of rows"),
        ({"if_running": "skp"}, "fail, wait, skip"),
    ],
)
def test_a_wrong_option_is_refused_with_what_it_takes(given: dict[str, Any], told: str) -> None:
    """FIELD 46. At once, not in the middle of a run."""
    with pytest.raises(RefusedToStart, match=told):
        RunOptions(**given)
