"""Ordinary rows, which go a short way, and what leaves it: the table and the book are the same whichever way a row went."""

from __future__ import annotations

import json
import sys
from types import FrameType

import pytest

from batch.run import ordinary
from tests.system.runs.conftest import Make, Mill

ODD = "".join(
    f"[[fault]]\nbehaviour = {number}\nrows = {json.dumps([f'number {row}.'])}\nfirst = 1\n{more}"
    for number, row, more in (
        (18, 3, ""),
        (31, 5, ""),
        (46, 7, ""),
        (48, 11, ""),
        (49, 13, ""),
        (50, 17, 'served = "other"\n'),
        (65, 19, ""),
    )
)
"""Of some rows the first answer is out of the ordinary: refused, an error in a 200, without choices or usage, odd, of
another model, filtered."""
ROW = "n, status, flags, finish_reason, model, calls, prompt_tokens, completion_tokens, cost::VARCHAR, messages, answer"
CALL = "row_id, turn, attempt, state, purpose, prompt_tokens, completion_tokens, cost::VARCHAR, price_id, finish_reason"


def both(mill: Mill) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    return sorted(mill.results(ROW)), sorted(mill.calls(CALL))


@pytest.mark.parametrize("provider", ["glm", "openai"])
def test_a_row_has_the_same_outcome_whichever_way_it_went(
    provider: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same job once with the short way and once with the long one alone, over sockets."""
    tables = []
    for name in ("short", "long"):
        mill = make(ODD, provider=provider, name=name)
        mill.questions(60)
        if name == "long":
            monkeypatch.setattr(ordinary, "is_ordinary", lambda row: False)
        report = mill.run()
        assert report.totals.rows == 60
        assert report.totals.rows_failed == 1, "the filtered one"
        mill.check_books(at_risk=2)  # without usage, or without choices
        tables.append(both(mill))
    assert tables[0] == tables[1]


def calls_made(mill: Mill, rows: int) -> int:
    """How many Python functions were called, or gone on with, in this thread while a job of so many rows ran."""
    made = 0

    def count(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal made
        made += event == "call"

    mill.questions(rows)
    sys.setprofile(count)
    try:
        report = mill.run()
    finally:
        sys.setprofile(None)
    assert report.totals.rows_ok == rows
    return made


def test_an_ordinary_row_takes_few_steps_in_the_thread_of_the_event_loop(make: Make) -> None:
    """What a row more costs there, functions called or gone on with: once 385, and now 103, 26 of them of the client."""
    few, many = make(name="few"), make(name="many")
    calls_made(few, 64)  # what is loaded when it is first used
    few.out, many.out = few.folder / "again", many.folder / "out"
    each = (calls_made(many, 1_664) - calls_made(few, 464)) / 1_200  # the first 400 are measured for their tokens
    print(f"{each:.1f} calls a row")
    assert each <= 107
