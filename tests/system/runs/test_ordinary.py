"""Ordinary rows, which go a short way, and what leaves it: the table and the book are the same whichever way a row went."""

from __future__ import annotations

import json
import sys
from types import FrameType

import pytest

from batch.http.connection import Connection
from batch.limits.lease import Lease
from batch.run import ordinary
from batch.run.worker import Worker
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


STEPS = {Worker.send.__code__, Connection.data_received.__code__}
"""Where all that is done for one row begins, in its worker and on its connection. What is done for many at a time
(planning, feeding, commits, parts) or once in a while (progress) depends on how fast the machine is, and is not counted."""
AGAIN = Lease._grant_again.__code__
"""Nor is what a row has to ask again because its commit took long."""


def is_step(frame: FrameType) -> bool:
    """Whether a function was called for one row, however busy the machine is."""
    where: FrameType | None = frame
    while where is not None and where.f_code is not AGAIN:
        if where.f_code in STEPS:
            return True
        where = where.f_back
    return False


def calls_made(mill: Mill, rows: int, workers: int = 1) -> int:
    """How many Python functions were called for its rows, or gone on with, while a job of so many rows ran."""
    made = 0

    def count(frame: FrameType, event: str, _arg: object) -> None:
        nonlocal made
        made += event == "call" and is_step(frame)

    mill.questions(rows)
    sys.setprofile(count)
    try:
        report = mill.run(workers=workers)
    finally:
        sys.setprofile(None)
    assert report.totals.rows_ok == rows
    return made


@pytest.mark.parametrize(("workers", "least", "most"), [(1, 60, 99), (2, 50, 80)])
def test_an_ordinary_row_takes_few_steps_in_the_thread_of_the_event_loop(
    make: Make, workers: int, least: int, most: int
) -> None:
    """What a row more costs there, functions called or gone on with: once 100, and now some 97, 14 of its connection.

    With workers, who have the connections and read the answers, some 72.
    """
    few, many = make(name="few"), make(name="many")
    calls_made(few, 64, workers)  # what is loaded when it is first used
    found: list[float] = []
    while len(found) < 3 and (not found or min(found) > most):
        # On a busy machine answers come in more pieces, and commits wake fewer rows at a time: it adds steps, never less.
        few.out, many.out = few.folder / f"again-{len(found)}", many.folder / f"out-{len(found)}"
        # The first 400 are measured for their tokens.
        found.append((calls_made(many, 1_664, workers) - calls_made(few, 464, workers)) / 1_200)
    print(found, "calls a row")
    assert least <= min(found) <= most  # fewer than that is no row: its steps would begin elsewhere
