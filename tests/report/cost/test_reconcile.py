"""`batch.report.cost.reconcile` and `bill`: a bill is held against the book, and every difference is found."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from batch.core.errors import RefusedToStart
from batch.core.records import Usage
from batch.report.cost.bill import Bill, Entry
from batch.report.cost.reconcile import KINDS, Reconciliation
from batch.report.cost.report import Query
from batch.report.cost.zones import Zones, until
from tests.support.books import DAY_US, OCTOBER_US, BookCall, book
from tests.support.values import call, refused, unknown

UTC = ZoneInfo("UTC")
YUAN = 10**12


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A bill as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def spent(n: int, cost: int = YUAN // 4, **fields: Any) -> BookCall:
    """A call of 10 + 5 tokens on 1 October, for a quarter of a yuan."""
    return BookCall(call(n, cost=cost, sent_at_us=OCTOBER_US + n, usage=Usage(10, 5, 15), **fields), n)


def line(n: int, **fields: Any) -> dict[str, Any]:
    """The line of a bill for it."""
    told = {"request_id": f"pm-{n}", "date": "2026-10-01", "model": "glm-4", "input_tokens": 10, "output_tokens": 5}
    return {**told, "cost": "0.25", "currency": "CNY", **fields}


def test_a_bill_of_the_same_calls_agrees(tmp_path: Path) -> None:
    """By our own id, the provider's or that of the task; refused calls are on no bill; a late answer is one call."""
    calls = [
        spent(0),
        spent(1, request_id="their-1"),
        spent(2, task_id="task-2"),
        BookCall(refused(3, sent_at_us=OCTOBER_US), 3),
        BookCall(unknown(4, client_call_id="pm-4", sent_at_us=OCTOBER_US), 4),
        spent(5, client_call_id="pm-4-late"),
        BookCall(unknown(6, sent_at_us=OCTOBER_US), 6),
    ]
    folder = book(tmp_path / "out", calls)
    rows = [line(0), line(1, request_id="their-1"), line(2, request_id="task-2"), line(4)]
    found = Reconciliation([folder.root], Query(), written(tmp_path / "bill.csv", rows))
    assert (found.by_id, found.agrees, found.differences) == (True, True, [])
    (key, whole), *others = found.sorted()
    assert (key, others) == (("2026-10-01", "glm-4", "CNY"), [])
    assert (whole.booked, whole.billed, whole.left) == (YUAN, YUAN, 0)


def test_every_difference_is_found_and_told_with_both_sides(tmp_path: Path) -> None:
    """What one side alone has, other tokens, another cost, another currency, and calls that nobody was answered."""
    calls = [spent(n) for n in range(5)]
    calls += [BookCall(unknown(n, sent_at_us=OCTOBER_US, currency="CNY"), n) for n in (5, 6, 7)]
    folder = book(tmp_path / "out", calls, bounds={"pm-5": YUAN // 4, "pm-6": YUAN // 8})
    rows = [
        line(0, input_tokens=11),
        line(1, cost="0.26"),
        line(2, currency="USD"),
        line(4),
        line(5),
        line(6),
        line(7),
        line(8),
        line(9, cost="0", input_tokens=0, output_tokens=0),
    ]
    found = Reconciliation([folder.root], Query(), written(tmp_path / "bill.csv", rows))
    assert [(one.kind, one.id, one.line) for one in found.differences] == [
        ("tokens", "pm-0", 2),
        ("cost", "pm-1", 3),
        ("cost", "pm-2", 4),
        ("within_bound", "pm-5", 6),
        ("above_bound", "pm-6", 7),
        ("unbounded", "pm-7", 8),
        ("missing_here", "pm-8", 9),
        ("missing_there", "pm-3", None),
    ]
    assert {one.kind for one in found.differences} == set(KINDS)
    assert not found.agrees
    first = found.differences[0]
    assert first.book is not None
    assert first.bill is not None
    assert (first.book.prompt, first.bill.prompt, first.bill.total) == (10, 11, None)
    totals = found.totals()["CNY"]
    assert (totals.booked, totals.unknown) == (4 * YUAN // 4, 2 * YUAN // 4)
    assert dict(found.kinds())["cost"] == 2


def test_calls_that_were_never_answered_agree_with_the_bill_within_their_bound(tmp_path: Path) -> None:
    """And where none could be stated: the book said that only the bill can tell."""
    calls = [spent(0), *(BookCall(unknown(n, sent_at_us=OCTOBER_US), n) for n in (1, 2))]
    folder = book(tmp_path / "out", calls, bounds={"pm-1": YUAN})
    found = Reconciliation([folder.root], Query(), written(tmp_path / "bill.csv", [line(n) for n in range(3)]))
    assert [one.kind for one in found.differences] == ["within_bound", "unbounded"]
    assert found.agrees
    assert [whole.left for _, whole in found.sorted()] == [0]


def test_a_call_that_was_given_the_id_of_another_stays_itself(tmp_path: Path) -> None:
    """A provider that mixes two tasks up answers the second in the name of the first; both are on the bill."""
    calls = [spent(0), spent(1, cost=YUAN, request_id="pm-0", task_id="pm-0"), spent(2, request_id="a", task_id="b")]
    folder = book(tmp_path / "out", calls)
    rows = [line(0), line(1, cost="1"), line(2, request_id="a"), line(3, request_id="b", cost="0")]
    found = Reconciliation([folder.root], Query(), written(tmp_path / "bill.csv", rows))
    assert [(one.kind, one.id) for one in found.differences] == [("missing_here", "b")]
    assert found.totals()["CNY"].left == 0


def test_a_bill_by_day_and_model_is_compared_in_the_zone_of_its_provider(tmp_path: Path) -> None:
    """Several lines of one day add up, each rounded; models are those asked for or those that answered."""
    calls = [spent(n, cost=123_456_789_012, model_served="GLM-4-0520") for n in range(4)]
    calls.append(BookCall(call(9, cost=YUAN, sent_at_us=OCTOBER_US - 1, usage=Usage(1, 1, 2)), 9))
    folder = book(tmp_path / "out", calls)
    half = {"输入tokens": "20", "输出tokens": "10", "应付金额": "¥0.25"}
    rows = [{"账单日期": "2026-10-01", "模型": "glm-4-0520", **half}] * 2
    rows.append({"账单日期": "2026-09-30", "模型": "glm-4", "输入tokens": "1", "输出tokens": "1", "应付金额": "1.00"})
    found = Reconciliation([folder.root], Query(), written(tmp_path / "bill.csv", rows))
    assert (found.by_id, found.agrees, found.first, found.last) == (False, True, "2026-09-30", "2026-10-01")
    rows = [{**row, "模型": "GLM-4"} for row in rows]
    assert Reconciliation([folder.root], Query(), written(tmp_path / "bill.csv", rows)).agrees
    rows[0] = {**rows[0], "应付金额": "¥0.27"}
    found = Reconciliation([folder.root], Query(), written(tmp_path / "bill.csv", rows))
    assert [(one.kind, one.period) for one in found.differences] == [("cost", "2026-10-01")]
    moved = Reconciliation([folder.root], Query(zones=Zones("UTC")), written(tmp_path / "bill.csv", rows))
    assert not moved.agrees


def test_a_bill_of_months_and_calls_that_were_not_answered(tmp_path: Path) -> None:
    """More than was booked agrees up to the bound; calls of other months are not looked at."""
    calls = [spent(0), BookCall(unknown(1, sent_at_us=OCTOBER_US, currency="CNY"), 1)]
    calls.append(BookCall(call(2, cost=YUAN, sent_at_us=OCTOBER_US + 40 * DAY_US), 2))
    folder = book(tmp_path / "out", calls, bounds={"pm-1": YUAN // 2})
    for cost, kinds in (("0.25", []), ("0.70", ["within_bound"]), ("0.80", ["above_bound"]), ("0.20", ["cost"])):
        bill = written(tmp_path / "bill.csv", [{"month": "2026-10", "model": "glm-4", "cost": cost}])
        found = Reconciliation([folder.root], Query(), bill)
        assert [one.kind for one in found.differences] == kinds
        assert found.agrees == (kinds in ([], ["within_bound"]))


def test_a_bill_is_of_one_provider(tmp_path: Path) -> None:
    """Which one is asked for where the calls are of several."""
    folder = book(tmp_path / "out", [spent(0), spent(1, provider="openai")])
    bill = written(tmp_path / "bill.csv", [line(0)])
    with pytest.raises(RefusedToStart, match="Say which: --provider glm or --provider openai"):
        Reconciliation([folder.root], Query(), bill)
    assert Reconciliation([folder.root], Query(provider="glm"), bill).agrees
    assert not Reconciliation([folder.root], Query(provider="openai"), bill).agrees
    assert Reconciliation([folder.root], Query(provider="glm", until=until("2026-10-01")), bill).agrees


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "utc_date,model,type,amount\n2026-10-01,m,request_count,5\n2026-10-01,m,input_cache_hit_tokens,7\n2026-10-01,m,output_tokens,9\n",
            [
                Entry(line=3, period="2026-10-01", model="m", prompt=7),
                Entry(line=4, period="2026-10-01", model="m", completion=9),
            ],
        ),
        (
            "user_id,utc_date,model,wallet_type,cost,currency\n1,2026-10-01,deepseek-chat,Paid,0.5,CNY\n",
            [Entry(line=2, period="2026-10-01", model="deepseek-chat", cost=YUAN // 2, currency="CNY", decimals=1)],
        ),
        (
            "start_time_iso\tamount_value\tamount_currency\tline_item\n2025-10-05T00:00:00Z\t0.87500000000000\tusd\tgpt-5-mini, input\n",
            [
                Entry(
                    line=2,
                    period="2025-10-05",
                    model="gpt-5-mini",
                    cost=7 * YUAN // 8,
                    currency="USD",
                    decimals=12,
                )
            ],
        ),
        (
            "账期;消费时间;模型编码;用量;应付金额\n202610;2026/10/1 00:00:05;glm-4.7;1,000;¥0.12\n;;;;\n",
            [
                Entry(
                    line=2,
                    period="2026-10-01",
                    model="glm-4.7",
                    total=1000,
                    cost=12 * YUAN // 100,
                    currency="CNY",
                    decimals=2,
                )
            ],
        ),
        (
            "id,at,model,billed,total_tokens,cost\na,1790784000.5,m,True,3,0.1\nb,1790784000,m,False,3,0.1\n",
            [Entry(line=2, id="a", period="2026-09-30", model="m", total=3, cost=YUAN // 10, decimals=1)],
        ),
        ("Request ID,Cost (USD)\nx,1e-3\n", [Entry(line=2, id="x", cost=YUAN // 1000, currency="USD", decimals=3)]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_the_columns_of_the_usual_exports_are_known(
    tmp_path: Path, text: str, expected: list[Entry], encoding: str
) -> None:
    """DeepSeek's amounts and costs, OpenAI's costs, BigModel's bill, the simulator's books; in any usual encoding."""
    path = tmp_path / "bill.csv"
    path.write_bytes(text.encode(encoding))
    assert list(Bill(path, UTC).entries()) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", r"of its columns \(a, b\) too few are known"),
        ("", "too few are known"),
        ("date,cost\nyesterday,1\n", "line 2: 'yesterday' is no day and no moment"),
        ("date,cost\n2026-02-30,1\n", "line 2: '2026-02-30' is no day"),
        ("date,cost\n2026-10-01,much\n", "line 2: 'much' is no amount of money"),
        ("date,tokens\n2026-10-01,1.5\n", "line 2: '1.5' is no number of tokens"),
    ],
)
def test_a_bill_that_cannot_be_read_is_refused_with_the_line_and_the_way_out(
    tmp_path: Path, text: str, message: str
) -> None:
    """Nothing is guessed."""
    path = tmp_path / "bill.csv"
    path.write_text(text)
    with pytest.raises(RefusedToStart, match=message):
        list(Bill(path, UTC).entries())
    with pytest.raises(RefusedToStart, match="cannot be read"):
        Bill(tmp_path / "nothing.csv", UTC)
