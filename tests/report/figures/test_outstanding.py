"""`batch.report.figures.outstanding`: the slowest and the dearest rows of the whole table."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa

from batch.core.records import Sums
from batch.report.figures.memory import FileMemory
from batch.report.figures.outstanding import NAMED, outstanding
from tests.support.outfolders import finished
from tests.support.values import outcome


def made(number: int, cost: int, took_ms: int, currency: str = "CNY", **fields: Any) -> Any:
    sums = Sums(calls=1, turns=1, first_sent_at_us=1_000_000, cost=cost, currency=currency)
    return outcome(f"a{number}", sums=sums, latency_ms=took_ms, settled_at_us=2_000_000, **fields)


def test_the_ten_with_the_most_are_named_over_all_parts(tmp_path: Path) -> None:
    """Whatever part they stand in; of the same value those that stand first."""
    rng = random.Random(5)
    values = [(rng.randrange(1, 60), rng.randrange(1, 60)) for _ in range(120)]
    outcomes = [made(n, cost * 10**9, took * 1_000) for n, (cost, took) in enumerate(values)]
    folder = finished(tmp_path / "out", pa.table({"t": [str(n) for n in range(120)]}), outcomes, part_rows=17)
    told = outstanding(sorted(folder.results.iterdir()), FileMemory()).public()
    slowest = sorted(range(120), key=lambda n: (-values[n][1], n))[:NAMED]
    assert [(row["row_number"], row["duration_s"]) for row in told["slowest"]] == [(n, values[n][1]) for n in slowest]
    dearest = sorted(range(120), key=lambda n: (-values[n][0], n))[:NAMED]
    assert [row["row_number"] for row in told["dearest"]] == dearest
    assert told["dearest"][0] == {
        "row_number": dearest[0],
        "row_id": f"r{dearest[0]}",
        "variant": None,
        "cost": f"{values[dearest[0]][0] / 1000:g}",
        "currency": "CNY",
    }
