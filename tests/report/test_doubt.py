"""`batch.report.doubt`: which rows a person should look at, and how doubtful they are."""

from __future__ import annotations

from typing import Any

import pytest

from batch.report.doubt import Doubt, Judged, doubt


def judged(label: str | None = "a", **more: Any) -> Judged:
    known: dict[str, Any] = {"failed": False, "tie": False, "agreement": None, "confidence": None}
    return Judged(label, **{**known, **more})


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([judged()], None),
        ([judged(agreement=0.8, confidence=0.8)], None),
        ([judged(None)], None),
        ([judged(agreement=2 / 3)], Doubt(2 / 3, ("agreement",))),
        ([judged(confidence=0.5)], Doubt(0.5, ("confidence",))),
        ([judged(agreement=0.6, confidence=0.7)], Doubt(0.6, ("agreement", "confidence"))),
        ([judged(None, failed=True)], Doubt(0.0, ("failed",))),
        ([judged(None, tie=True, agreement=0.5)], Doubt(0.0, ("tie", "agreement"))),
        ([judged("a"), judged("a")], None),
        ([judged("a"), judged("b")], Doubt(0.5, ("variants",))),
        ([judged("a"), judged("b"), judged("a"), judged("a")], Doubt(0.75, ("variants",))),
        ([judged("a"), judged("b", agreement=0.4)], Doubt(0.4, ("variants", "agreement"))),
        ([judged("a", agreement=1.0), judged(None, failed=True)], Doubt(0.0, ("failed",))),
    ],
)
def test_the_certainty_of_a_row_is_the_least_of_what_is_known(results: list[Judged], expected: Doubt | None) -> None:
    """0 where there is no label to rely on; None where nothing is doubtful, though a value of an object may be null."""
    assert doubt(results, 0.8) == expected


def test_what_is_little_is_said_by_whoever_asks() -> None:
    """A share that is just so is not below."""
    assert doubt([judged(agreement=0.9)], 0.95) == Doubt(0.9, ("agreement",))
    assert doubt([judged(agreement=0.6)], 0.6) is None
