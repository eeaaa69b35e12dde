"""`batch.report.figures.timeline`: bins, sums and quantiles are those of the calls, however they lie in files."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batch.core.records import Usage
from batch.output.folder import OutputFolder
from batch.report.figures import timeline
from batch.report.figures.figures import Figures
from batch.report.figures.memory import FileMemory
from batch.report.figures.timeline import STEPS_S, Timeline, quantile
from tests.support.books import OCTOBER_US, RUN, BookCall, BookRow, book
from tests.support.values import call, refused, unknown

LATER = "20261002T020000000Z-a1b2"


def calls(count: int, seconds: int, run: str = RUN, start_us: int = OCTOBER_US) -> list[BookCall]:
    rng = random.Random(count)
    made = []
    for number in range(count):
        sent_us = start_us + rng.randrange(seconds * 1_000_000)
        took_ms = rng.randrange(20, 9_000)
        answered_us = sent_us + took_ms * 1_000
        fields: dict[str, Any] = {"sent_at_us": sent_us, "answered_at_us": answered_us, "latency_ms": took_ms}
        if number % 10 == 3:
            one = refused(
                number, **fields, client_call_id=f"{run}-{number}", error_kind="rate_limit", error_code="1302"
            )
        elif number % 10 == 4:
            one = unknown(number, client_call_id=f"{run}-{number}", sent_at_us=sent_us, error_kind="transport")
        else:
            currency = "USD" if number % 7 == 0 else "CNY"
            one = call(
                number,
                **fields,
                client_call_id=f"{run}-{number}",
                usage=Usage(number, 2, number + 2),
                cost=number * 10**9,
                currency=currency,
            )
        made.append(BookCall(one, row_number=number, run=run))
    return made


def files_of(folder: OutputFolder) -> tuple[list[Path], list[Path]]:
    return sorted(folder.calls.rglob("*.parquet")), sorted(folder.results.glob("*.parquet"))


@pytest.mark.parametrize("seconds", [3, 1_000, 90_000, 30_000_000])
def test_bins_hold_each_call_once_at_the_moment_it_ended(tmp_path: Path, seconds: int) -> None:
    """Counts, tokens and exact money; a width that stands on the clock, and not too many bins."""
    made = calls(300, seconds)
    told = Timeline(*files_of(book(tmp_path / "out", made, of_a_file=70)), None, FileMemory()).series()
    width = told["bin_s"]
    assert width in STEPS_S
    assert all(moment % width == 0 for moment in told["t"])
    assert len(told["t"]) <= timeline.MOST_BINS + 1
    assert width == 1 or (seconds / (timeline.MOST_BINS - 1)) > STEPS_S[STEPS_S.index(width) - 1] * 0.9
    ends = [(one.call.answered_at_us or one.call.sent_at_us) // 1_000_000 // width * width for one in made]
    assert dict(zip(told["t"], told["calls"], strict=True)) == Counter(ends) | dict.fromkeys(
        set(told["t"]) - set(ends), 0
    )
    assert sum(told["tokens_in"]) == sum(one.call.usage.prompt_tokens for one in made if one.call.usage)
    assert sum(told["tokens_out"]) == sum(one.call.usage.completion_tokens for one in made if one.call.usage)
    for currency in ("CNY", "USD"):
        expected = sum(one.call.cost or 0 for one in made if one.call.currency == currency)
        assert sum(map(Decimal, told["cost"][currency])) == Decimal(expected).scaleb(-12)
    assert all(len(told[name]) == len(told["t"]) for name in ("rows", "failed", "latency_p50", "latency_p95"))


def test_latencies_are_of_answered_calls_and_quantiles_within_a_twelfth(tmp_path: Path) -> None:
    """A refused call took time, too, and is no answer."""
    made = calls(1_000, 60)
    line = Timeline(*files_of(book(tmp_path / "out", made)), None, FileMemory())
    told = line.latency()
    took = sorted(one.call.latency_ms / 1000 for one in made if one.call.state == "answered" and one.call.latency_ms)
    assert sum(told["counts"]) == len(took)
    assert len(told["edges_s"]) == len(told["counts"]) + 1 <= timeline.BARS + 1
    for low, high, count in zip(told["edges_s"], told["edges_s"][1:], told["counts"], strict=False):
        assert count == sum(low <= one < high for one in took)
    for share in (50, 95, 99):
        exact = took[round(share / 100 * len(took)) - 1]
        assert told[f"p{share}_s"] == pytest.approx(exact, rel=1 / 12)
    assert line.errors() == [
        {"kind": "rate_limit", "code": "1302", "calls": 100},
        {"kind": "transport", "code": None, "calls": 100},
    ]


def test_a_quantile_of_nothing_is_not_known() -> None:
    """No call, no figure."""
    assert quantile(Counter(), 0.5) is None


def test_nothing_at_all_is_an_empty_series(tmp_path: Path) -> None:
    """A run that has not published anything."""
    told = Timeline([], [], None, FileMemory())
    assert told.series()["t"] == []
    assert told.latency()["counts"] == []


def test_rows_are_those_that_the_run_settled(tmp_path: Path) -> None:
    """A table has rows of every run; its calls lie apart already."""
    rows = [BookRow(n, status="failed" if n % 4 == 0 else "ok", run=RUN if n < 30 else LATER) for n in range(50)]
    folder = book(tmp_path / "out", [*calls(30, 60), *calls(20, 60, LATER)], rows, of_a_file=8)
    figures = Figures(folder.root)
    for run, count, failed in ((None, 20, 5), (RUN, 30, 8), ("all", 50, 13)):
        told = figures.overview(run)
        assert told["run"] == (run or LATER)
        assert (sum(told["series"]["rows"]), sum(told["series"]["failed"])) == (count, failed)
        assert sum(told["series"]["calls"]) == count


def test_a_file_is_read_once_until_it_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of a million rows publishes a part a minute, and the page asks every two seconds."""
    folder = book(tmp_path / "out", calls(200, 60), [BookRow(n) for n in range(200)], of_a_file=50)
    memory = FileMemory()
    first = Timeline(*files_of(folder), None, memory).series()
    groups: list[Any] = []
    grouped = timeline._grouped

    def counted(*asked: Any) -> list[dict[str, Any]]:
        groups.append(asked)
        return grouped(*asked)

    monkeypatch.setattr(timeline, "_grouped", counted)
    assert Timeline(*files_of(folder), None, memory).series() == first
    assert groups == []
    part = folder.part(2)
    part.write_bytes(folder.part(1).read_bytes())
    Timeline(*files_of(folder), None, memory)
    assert len(groups) == 1


def test_a_code_that_nobody_knows_is_a_code(tmp_path: Path) -> None:
    """Null stays null."""
    one = BookCall(refused(0, error_kind=None, error_code=None), 0)
    line = Timeline(*files_of(book(tmp_path / "out", [one])), None, FileMemory())
    assert line.errors() == [{"kind": "unknown", "code": None, "calls": 1}]
