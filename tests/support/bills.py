"""The simulator's books as a provider's bill: written as CSV, and held against output folders by `cost --reconcile`.

Owns what must come of it after any fault: equal by call, and by day and model. What cannot be equal is stated, and has to be
exactly that: calls that were sent and never answered, or whose answer told no usage, are on the bill for what they cost,
within the bound that the book states for them; an answer in the name of a model that has no price is booked without one.
"""

from __future__ import annotations

import csv
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from batch.report.cost import zones
from batch.report.cost.reconcile import EXPLAINED, Reconciliation
from batch.report.cost.report import Query

BILLED_IN: Final = {"glm": "Asia/Shanghai", "openai": "UTC"}
"""The zone of the days on the bill, by the simulator's dialect."""
SEEN_LATE_S: Final = 10
"""A call that is sent before midnight and arrives so soon after it is of another day for us than for the provider."""
Record = dict[str, Any]


def agree(
    outs: Sequence[Path],
    records: Iterable[Record],
    *,
    open_: Collection[str] = (),
    unpriced: Collection[str] = (),
    since: datetime | None = None,
    by_day: bool = True,
) -> None:
    """Hold the books against what the runs of these folders have booked, as a bill of calls and as one of days.

    Args:
        outs: the output folders whose calls are in the books.
        records: the books, or those entries of them that belong to the folders.
        open_: ids of the billed calls whose tokens we cannot know; the bill may ask for them, within their bound.
        unpriced: ids of the calls whose answer is of a model without a price here.
        since: the moment at which the books begin; calls that were sent before are not looked at.
        by_day: whether the bill of days is held against them too; that of calls is compared by day and model anyway.
    """
    bills: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record["billed"]:
            bills[record["dialect"]].append(record)
    begin = None if since is None else zones.since(since.isoformat())
    for dialect, billed in bills.items():
        query = Query(provider=dialect if len(bills) > 1 else None, since=begin)
        with tempfile.TemporaryDirectory() as name:
            found = Reconciliation(outs, query, _written(Path(name) / "calls.csv", billed))
            ids = {record["client_call_id"] for record in billed}
            told = [(one.kind, one.id) for one in found.differences if one.kind not in EXPLAINED]
            assert sorted(told) == [("cost", call) for call in sorted(ids & set(unpriced))], found.differences
            assert {one.id for one in found.differences if one.kind in EXPLAINED} == ids & set(open_)
            if ids & set(unpriced):
                continue
            _equal(found, billed)
            if by_day and not any(_just_after_midnight(record) for record in billed):
                found = Reconciliation(outs, query, _written(Path(name) / "days.csv", _by_day(billed)))
                assert found.agrees, found.differences
                _equal(found, billed)


def _equal(found: Reconciliation, billed: Sequence[Record]) -> None:
    """What is booked, and what is asked for calls without an answer, is the bill, in each day and model."""
    theirs: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for record in billed:
        theirs[_day(record), record["model"].lower()] += Decimal(record["cost"] or 0)
    ours: defaultdict[tuple[str | None, str | None], Decimal] = defaultdict(Decimal)
    for (day, model, currency), whole in found.compared.items():
        assert whole.left == 0, (day, model, currency, whole)
        ours[day, model] += Decimal(whole.booked + whole.unknown).scaleb(-12)
    assert dict(ours) == dict(theirs)


def _written(path: Path, lines: Sequence[Record]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


def _by_day(billed: Sequence[Record]) -> list[Record]:
    """One line for each day and model, as a monthly bill has them."""
    lines: dict[tuple[str, str], Record] = {}
    for record in billed:
        day, model = _day(record), record["model"]
        fresh = {"day": day, "model": model, "input_tokens": 0, "output_tokens": 0, "cost": Decimal(0)}
        line = lines.setdefault((day, model), {**fresh, "currency": record["currency"]})
        line["input_tokens"] += record["prompt_tokens"]
        line["output_tokens"] += record["completion_tokens"]
        line["cost"] += Decimal(record["cost"] or 0)
    return [{**line, "cost": f"{line['cost']:f}"} for line in lines.values()]


def _local(record: Record) -> datetime:
    return datetime.fromtimestamp(record["at"], ZoneInfo(BILLED_IN[record["dialect"]]))


def _day(record: Record) -> str:
    return _local(record).date().isoformat()


def _just_after_midnight(record: Record) -> bool:
    local = _local(record)
    return (local.hour, local.minute) == (0, 0) and local.second < SEEN_LATE_S
