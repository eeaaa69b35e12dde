"""`batch.report.cost.report`: exact sums over any book, however its calls lie in files and runs."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batch.core.errors import RefusedToStart
from batch.core.records import Usage
from batch.report.cost import keys, sums, windows
from batch.report.cost.report import CostReport, Query
from batch.report.cost.waste import WASTE
from batch.report.cost.zones import PERIODS, Zones, since, until
from tests.support.books import DAY_US, OCTOBER_US, RUN, BookCall, BookRow, book
from tests.support.longbook import long_book
from tests.support.values import call, refused, unknown

RUNS = (RUN, "20261002T020000000Z-a1b2", "20261003T020000000Z-a1b2")
TEAMS = ("support", "sales", None)


def book_call(rng: random.Random) -> BookCall:
    """A call of any kind, of one of a few rows."""
    fields: dict[str, Any] = {
        "sent_at_us": OCTOBER_US + rng.randrange(-DAY_US, 3 * DAY_US),
        "turn": rng.randrange(3),
        "attempt": rng.randrange(3),
        "purpose": rng.choice(["first", "retry", "reask", "escalate", None]),
        "provider": rng.choice(["glm", "openai"]),
        "model_asked": rng.choice(["a", "b"]),
    }
    kind = rng.choice(["answered", "answered", "answered", "refused", "unknown", "unpriced", "unmeasured"])
    n = rng.randrange(10**6)
    run, row, variant = rng.choice(RUNS), rng.randrange(8), rng.choice([None, "v"])
    if kind in ("refused", "unknown"):
        return BookCall({"refused": refused, "unknown": unknown}[kind](n, **fields), row, variant, run)
    usage = Usage(rng.randrange(10**6), rng.randrange(10**6), 0, rng.choice([None, 0, 99]))
    cost, currency = (rng.randrange(10**18), rng.choice(["CNY", "USD"])) if kind == "answered" else (None, None)
    fields |= {"usage": None if kind == "unmeasured" else usage, "cost": cost, "currency": currency}
    return BookCall(call(n, finish_reason=rng.choice(["stop", "tool_calls", None]), **fields), row, variant, run)


ROWS = [
    BookRow(
        n,
        variant,
        first_us=OCTOBER_US if n % 3 else None,
        status="failed" if n % 4 == 1 else "ok",
        inputs={"team": TEAMS[n % 3]},
    )
    for n in range(6)
    for variant in (None, "v")
]


@pytest.mark.parametrize("seed", [1])
def test_the_groups_are_the_whole_whatever_they_are_made_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Each sum is that of the integers, by currency; nothing is counted twice or left out, however much is read at once.

    Calls of one row lie in the last group of one file and the first of another, and in several runs.
    """
    rng = random.Random(seed)
    calls = [book_call(rng) for _ in range(80)]
    folder = book(tmp_path / "out", calls, ROWS, of_a_file=rng.choice([13, 29]))
    records = [made.call for made in calls]
    usages = [record.usage for record in records if record.usage is not None]
    costs = Counter(dict.fromkeys(("CNY", "USD"), 0))
    for record in records:
        if record.currency is not None:
            costs[record.currency] += record.cost or 0
    wasted = []
    every = [[], *([name] for name in (*keys.BY, "team") if name != "label"), ["team", "hour"]]
    for rows, names in ((20, every), (1, [["status"]]), (10**6, [["status"]])):
        monkeypatch.setattr(windows, "ROWS", rows)
        for by in names:
            report = CostReport([folder.root], Query(by=tuple(by)))
            wasted.append({currency: part.wasted for currency, part in report.totals.items()})
            for told in (list(report.totals.items()), [(group.currency, group.sums) for group in report.groups]):
                for currency, cost in costs.items():
                    assert sum(part.cost or 0 for of, part in told if of == currency) == cost, by
                parts = [part for _, part in told]
                assert sum(part.calls for part in parts) == len(records)
                assert sum(part.answered for part in parts) == sum(record.state == "answered" for record in records)
                assert sum(part.unknown for part in parts) == sum(record.state == "unknown" for record in records)
                assert sum(part.prompt_tokens for part in parts) == sum(usage.prompt_tokens for usage in usages)
                assert sum(part.completion_tokens for part in parts) == sum(usage.completion_tokens for usage in usages)
                assert sum(part.cached_tokens or 0 for part in parts) == sum(
                    record.usage.cached_tokens or 0 for record in records if record.usage and record.state == "answered"
                )
                assert sum(part.unmeasured for part in parts) == sum(
                    record.state == "answered" and record.usage is None for record in records
                )
            assert sum(report.unpriced.values()) == sum(part.unpriced for part in report.totals.values())
    assert all(found == wasted[0] for found in wasted)
    assert {way for parts in wasted[0].values() for way in parts} == set(WASTE)


def test_calls_stand_under_what_they_and_their_rows_are(tmp_path: Path) -> None:
    """Each name of `--by` has its values; null is a value; a row that is in no table has none."""
    calls = [
        BookCall(
            call(0, sent_at_us=OCTOBER_US, model_served="a-0520", model_asked="a", purpose="first", endpoint="gpu"),
            0,
        ),
        BookCall(
            call(1, sent_at_us=OCTOBER_US + DAY_US, model_asked="b", lane="task", purpose="retry"), 1, "v", RUNS[1]
        ),
        BookCall(call(2, sent_at_us=OCTOBER_US + 40 * DAY_US, model_asked="b", provider="openai"), 9),
    ]
    rows = [
        BookRow(0, first_us=OCTOBER_US, inputs={"team": "support", "day": "mon", "n": 1}),
        BookRow(1, "v", first_us=OCTOBER_US + DAY_US, status="failed", inputs={"team": None, "day": "tue", "n": 2}),
    ]
    names = {RUN: "tickets", RUNS[1]: "renamed"}
    folder = book(tmp_path / "out", calls, rows, tags={"team": "night"}, names=names)
    expected: dict[str, list[str | None]] = {
        "model": ["a", "b", "b"],
        "served": ["a-0520", "b", "b"],
        "provider": ["glm", "glm", "openai"],
        "endpoint": ["gpu", None, None],
        "lane": ["sync", "task", "sync"],
        "day": ["2026-10-01", "2026-10-02", "2026-11-09"],
        "hour": ["2026-10-01T00:00+08:00", "2026-10-02T00:00+08:00", "2026-11-09T16:00+00:00"],
        "week": ["2026-W40", "2026-W40", "2026-W46"],
        "month": ["2026-10", "2026-10", "2026-11"],
        "job": ["tickets", "renamed", "tickets"],
        "run": [RUN, RUNS[1], RUN],
        "folder": [str(folder.root)] * 3,
        "variant": [None, "v", None],
        "purpose": ["first", "retry", None],
        "status": ["ok", "failed", None],
        "team": ["support", None, None],
        "column:day": ["mon", "tue", None],
        "n": ["1", "2", None],
        "tag:team": ["night"] * 3,
    }
    assert set(keys.BY) - set(expected) == {"label"}
    assert set(PERIODS) < set(keys.BY)
    for name, values in expected.items():
        report = CostReport([folder.root], Query(by=(name,)))
        found = {group.values[0]: group.sums.calls for group in report.groups}
        assert found == Counter(values), name
    assert CostReport([folder.root], Query()).zones == {"Asia/Shanghai": {"glm"}, "UTC": {"openai"}}


def test_several_names_and_several_folders_make_one_table(tmp_path: Path) -> None:
    """With commas or repeated; a folder that is named twice counts once; groups come in order, null last."""
    rows = [BookRow(n, first_us=OCTOBER_US, inputs={"n": value}) for n, value in enumerate([10, 9, None])]
    one = book(tmp_path / "one", [BookCall(call(n, sent_at_us=OCTOBER_US), n) for n in range(3)], rows)
    other = book(tmp_path / "other", [BookCall(call(9, sent_at_us=OCTOBER_US, model_asked="a"))])
    outs = [one.root, other.root, tmp_path / "other" / ".." / "one"]
    for by in (("model,n",), ("model", "n")):
        report = CostReport(outs, Query(by=by))
        assert [group.values for group in report.groups] == [
            ("a", None),
            ("glm-4", "9"),
            ("glm-4", "10"),
            ("glm-4", None),
        ]
        assert report.totals["CNY"].cost == 4_000_000


def test_only_calls_of_the_time_asked_for_count_each_in_the_zone_of_its_bill(tmp_path: Path) -> None:
    """Whether they were asked again is known all the same, and other zones may be asked for."""
    moments = [OCTOBER_US - 1, OCTOBER_US, OCTOBER_US + 8 * 3_600_000_000 - 1, OCTOBER_US + 8 * 3_600_000_000]
    calls = [
        BookCall(call(n, sent_at_us=at, provider=provider, cost=10 ** (2 * n)), 10 * n + m)
        for n, at in enumerate(moments)
        for m, provider in enumerate(("glm", "openai"))
    ]
    again = call(8, sent_at_us=moments[1] + DAY_US, attempt=1, cost=0, purpose="retry")
    folder = book(tmp_path / "out", [*calls, BookCall(again, 10)])
    asked = Query(since=since("2026-10-01"), until=until("2026-10-01"), by=("provider",))
    report = CostReport([folder.root], asked)
    assert {group.values[0]: group.sums.cost for group in report.groups} == {"glm": 1_010_100, "openai": 1_000_000}
    assert report.totals["CNY"].wasted["retried"].cost == 100
    utc = Query(since=since("2026-10-01"), zones=Zones("UTC"), by=("provider",))
    assert {group.values[0]: group.sums.cost for group in CostReport([folder.root], utc).groups} == {
        "glm": 1_000_000,
        "openai": 1_000_000,
    }
    one = Query(provider="openai", where=("day=2026-09-30",))
    assert CostReport([folder.root], one).totals["CNY"].cost == 1 + 100 + 10_000


def test_a_book_of_an_older_version_has_no_bounds_and_no_purposes(tmp_path: Path) -> None:
    """Columns that came later count as null."""
    calls = [BookCall(call(0)), BookCall(call(1, attempt=1)), BookCall(unknown(2), 1)]
    folder = book(tmp_path / "out", calls, leave_out=("purpose", "sample", "longest_gap_ms", "cost_bound"))
    found = CostReport([folder.root], Query(by=("purpose",))).totals["CNY"]
    assert (found.calls, found.cost, found.unknown, found.unbounded, found.bound) == (3, 2_000_000, 1, 1, 0)
    assert found.wasted["retried"].calls == 1


@pytest.mark.parametrize(
    ("by", "where", "message"),
    [
        (("modl",), (), "--by modl: there is no such thing to group by. Did you mean model"),
        (("taem",), (), "Did you mean team"),
        (("tag:taem",), (), "no call has this tag. Did you mean tag:team"),
        (("label",), (), "--by label"),
        (("model,",), ("team",), "says no value. Write NAME=VALUE"),
        (("model",), ("taem=a",), "Did you mean team"),
        ((",",), (), "names nothing"),
        (("things",), (), "there is no such thing"),
    ],
)
def test_a_name_that_stands_for_nothing_is_refused_with_the_nearest(
    tmp_path: Path, by: tuple[str, ...], where: tuple[str, ...], message: str
) -> None:
    """Lists and objects are no values to group by, either."""
    rows = [BookRow(0, inputs={"team": "a", "things": [1, 2]})]
    folder = book(tmp_path / "out", [BookCall(call(0))], rows, tags={"team": "a"})
    with pytest.raises(RefusedToStart, match=message):
        CostReport([folder.root], Query(by=by, where=where))


def test_too_many_groups_are_refused_before_they_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column that names every row is none to group by."""
    monkeypatch.setattr(sums, "MOST_GROUPS", 5)
    rows = [BookRow(n, inputs={"n": n}) for n in range(6)]
    folder = book(tmp_path / "out", [BookCall(call(n), n) for n in range(6)], rows)
    with pytest.raises(RefusedToStart, match="more than 5 groups. Group them by something that has fewer values"):
        CostReport([folder.root], Query(by=("n",)))


def test_memory_does_not_grow_with_the_number_of_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums are exact all the same; 10 million calls take about 20 s and 320 MB (`tests/support/longbook.py`)."""
    monkeypatch.setattr(windows, "ROWS", 10_000)
    peaks = []
    for number, calls in enumerate((20_000, 80_000)):
        cost = long_book(tmp_path / str(number), calls)
        pool = pa.proxy_memory_pool(pa.default_memory_pool())
        before = pa.default_memory_pool()
        pa.set_memory_pool(pool)
        try:
            report = CostReport([tmp_path / str(number)], Query(by=("day", "model", "team")))
        finally:
            pa.set_memory_pool(before)
        peaks.append(pool.max_memory())
        assert report.totals["CNY"].cost == cost
        assert report.totals["CNY"].wasted["retried"].calls == calls // 20
        assert report.totals["CNY"].unknown == calls // 50
    assert peaks[1] < 1.1 * peaks[0]
