"""Rows that share an answer, killed at every step of that: each thing is bought once, and every row has its answer."""

from __future__ import annotations

import signal
from collections import Counter
from itertools import cycle, islice

import pytest

from tests.simulator.conftest import start
from tests.system.runs.asking import Ask, ask

__all__ = ["ask", "start"]

CONCURRENCY = 2
SLOWLY = "[latency]\nchat_ms = [15, 25]\ntask_ms = [15, 25]\n"
POINTS = (
    "copies.ended:1",
    "sent.left:3",
    "copies.settled:1",
    "settled.committed:4",
    "copies.ended:2",
    "copies.settled:2",
    "publish.committed:1",
    "sent.committed:2",
    "publish.results_named:1",
)


@pytest.mark.parametrize(("lane", "kills", "distinct"), [("sync", 20, 200), ("task", 4, 40)])
def test_a_run_killed_again_and_again_buys_each_answer_once_and_shares_it(
    ask: Ask, lane: str, kills: int, distinct: int
) -> None:
    """By the provider's own books: a call that was on its way at a kill may have been billed, and no other twice."""
    count = distinct * 5 // 2
    rows = [{"question": f"Tell me about the number {(n * 7) % distinct}."} for n in range(count)]
    asking = ask('user = "{{ question }}"\ndedupe = true', rows, SLOWLY, lane=lane)
    asking.limits["concurrency"] = CONCURRENCY
    asking.output = {"rows_per_part": 50, "publish_every_s": 0.05}
    killed = 0
    for point in ("admitted.committed:1", *islice(cycle(POINTS), kills - 1)):
        code, said = asking.command(failpoint=point)
        assert code in (0, -signal.SIGKILL), said
        killed += code == -signal.SIGKILL
    assert killed >= kills // 2, "the run was over too soon: the test shows too little"
    assert asking.command()[0] == 0
    asking.check_table(count)
    asking.check_books(at_risk=CONCURRENCY * kills)
    assert asking.pending() == []

    question = dict(asking.results("row_id, question"))
    answered = Counter(question[row_id] for (row_id,) in asking.calls("row_id", "state = 'answered'"))
    assert answered == Counter(dict.fromkeys(question.values(), 1)), "bought once each"
    unknown = Counter(question[row_id] for (row_id,) in asking.calls("row_id", "state = 'unknown'"))
    asked_for = dict(asking.calls("client_call_id, row_id"))
    billed = Counter(question[asked_for[record["client_call_id"]]] for record in asking.books() if record["billed"])
    assert all(times <= 1 + unknown[text] for text, times in billed.items())
    found = {row[0]: row[1:] for row in asking.results("row_id, status, answer, deduplicated_from, calls")}
    for row_id, (status, answer, asked, calls) in found.items():
        assert status == "ok"
        assert (calls > 0) == (asked is None)
        if asked is not None:
            assert found[asked][1:3] == (answer, None)
            assert question[asked] == question[row_id]
