"""`batch.report.cost.waste`: which calls were paid for nothing, in every way in which a row may come to its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batch.core.records import Call
from batch.report.cost.report import CostReport, Query
from tests.support.books import OCTOBER_US, BookCall, BookRow, book
from tests.support.values import call, refused, unknown

LATER = "20261002T020000000Z-a1b2"
DAY_US = 86_400_000_000


def steps(*said: str) -> list[Call]:
    """Calls of one row, a minute apart: each as `turn.attempt purpose finish_reason`."""
    made = []
    for n, text in enumerate(said):
        place, purpose, *more = text.split()
        turn, attempt = map(int, place.split("."))
        fields: dict[str, Any] = {"turn": turn, "attempt": attempt, "purpose": purpose, "cost": 10**n}
        fields["sent_at_us"] = OCTOBER_US + 60_000_000 * n
        word = more[0] if more else "stop"
        if word in ("refused", "unknown"):
            made.append(
                {"refused": refused, "unknown": unknown}[word](
                    n, **(fields | {"cost": 0 if word == "refused" else None})
                )
            )
        else:
            made.append(call(n, finish_reason=word, **fields))
    return made


def wasted(tmp_path: Path, calls: list[BookCall], rows: list[BookRow]) -> dict[str, int]:
    """By way, the cost of what was paid for nothing: each call costs another power of ten."""
    report = CostReport([book(tmp_path / "out", calls, rows, of_a_file=3).root], Query())
    return {way: part.cost for sums in report.totals.values() for way, part in sums.wasted.items()}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["0.0 first"], {}),
        (["0.0 first refused", "0.1 retry"], {}),
        (["0.0 first unknown", "0.1 retry"], {}),
        (["0.0 first error", "0.1 retry"], {"retried": 1}),
        (["0.0 first error", "0.1 retry error", "0.2 retry"], {"retried": 11}),
        (["0.0 first tool_calls", "1.0 first"], {}),
        (["0.0 first", "1.0 first", "2.0 first"], {}),
        (["0.0 first", "1.0 reask"], {"reasked": 1}),
        (["0.0 first", "1.0 reask", "2.0 escalate"], {"reasked": 11}),
        (["0.0 first tool_calls", "1.0 first", "2.0 reask tool_calls", "3.0 reask"], {"reasked": 10}),
        (["0.0 first", "1.0 first", "2.0 reask"], {"reasked": 10}),
        (["0.0 first", "1.0 reask error", "1.1 reask"], {"reasked": 1, "retried": 10}),
        (["0.0 first function_call", "1.0 first length", "2.0 escalate"], {"reasked": 10}),
    ],
)
def test_a_call_is_of_no_use_if_its_row_would_have_come_to_the_same_without_it(
    tmp_path: Path, said: list[str], expected: dict[str, int]
) -> None:
    """Turns with tools and earlier questions of a conversation are of use, whatever came after them."""
    calls = [BookCall(made) for made in steps(*said)]
    assert wasted(tmp_path, calls, [BookRow(0, first_us=OCTOBER_US)]) == expected


def test_all_answers_of_a_failed_row_are_paid_for_nothing(tmp_path: Path) -> None:
    """Its tools and its retries as well."""
    calls = [
        BookCall(made) for made in steps("0.0 first tool_calls", "1.0 first error", "1.1 retry", "2.0 first refused")
    ]
    assert wasted(tmp_path, calls, [BookRow(0, first_us=OCTOBER_US, status="failed")]) == {"failed": 111}


def test_what_an_earlier_run_paid_for_a_row_is_a_duplicate_once_the_row_was_asked_anew(tmp_path: Path) -> None:
    """Whatever became of it then; a row that a run carries over from another is no such row."""
    earlier = steps("0.0 first error", "0.1 retry")
    later = [call(2, cost=100, attempt=2, purpose="retry", sent_at_us=OCTOBER_US + DAY_US)]
    calls = [*map(BookCall, earlier), *(BookCall(made, run=LATER) for made in later)]
    assert wasted(tmp_path / "anew", calls, [BookRow(0, first_us=OCTOBER_US + DAY_US, run=LATER)]) == {"duplicate": 11}
    assert wasted(tmp_path / "carried", calls, [BookRow(0, first_us=OCTOBER_US, run=LATER)]) == {"retried": 11}


def test_a_row_that_is_refused_without_a_call_makes_its_earlier_answer_a_duplicate(tmp_path: Path) -> None:
    """Its template gives nothing over it any more: the answer that stood there is gone."""
    calls = [BookCall(call(0, cost=5, sent_at_us=OCTOBER_US))]
    assert wasted(tmp_path, calls, [BookRow(0, first_us=None, status="failed")]) == {"duplicate": 5}


def test_the_late_answer_to_a_task_is_of_use(tmp_path: Path) -> None:
    """It was booked as unknown, and is collected under the same id when the row comes again."""
    calls = [
        BookCall(unknown(0, client_call_id="pm-0", sent_at_us=OCTOBER_US)),
        BookCall(call(1, client_call_id="pm-0-late", cost=7, sent_at_us=OCTOBER_US), run=LATER),
    ]
    assert wasted(tmp_path, calls, [BookRow(0, first_us=OCTOBER_US, run=LATER)]) == {}


def test_variants_and_askings_of_a_row_have_nothing_to_do_with_each_other(tmp_path: Path) -> None:
    """An attempt is one at a turn of one variant and one asking."""
    times = {"sent_at_us": OCTOBER_US}
    calls = [
        BookCall(call(0, attempt=0, cost=1, **times), variant="a"),
        BookCall(call(1, attempt=1, cost=10, purpose="retry", **times), variant="b"),
        BookCall(call(2, attempt=0, cost=100, sample=1, **times), variant="b"),
        BookCall(call(3, attempt=0, cost=1_000, finish_reason="error", **times), variant="b"),
    ]
    rows = [BookRow(0, variant, first_us=OCTOBER_US) for variant in ("a", "b")]
    assert wasted(tmp_path, calls, rows) == {"retried": 1_000}


def test_of_a_row_that_is_in_no_table_only_its_retries_are_known_to_be_of_no_use(tmp_path: Path) -> None:
    """It is under way, or it was pruned."""
    calls = [BookCall(made, row_number=4) for made in steps("0.0 first error", "0.1 retry")]
    folder = book(tmp_path / "out", calls, [BookRow(0, first_us=OCTOBER_US)])
    report = CostReport([folder.root], Query())
    assert report.astray == 2
    assert {way: part.cost for way, part in report.totals["CNY"].wasted.items()} == {"retried": 1}
