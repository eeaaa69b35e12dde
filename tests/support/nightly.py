"""A folder as a month of nights leaves it: two models, a tag, failures, repeats, and a price that changed in between.

`python -m tests.support.nightly FOLDER` makes the one whose costs the README shows, and its price file beside it.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from batch.core.records import Usage
from batch.money.prices import Prices
from tests.support.books import DAY_US, OCTOBER_US, BookCall, BookRow, book
from tests.support.values import call, refused, unknown

MODELS: Final = ("glm-4-plus", "glm-4-air")
TEAMS: Final = ("support", "sales")
NIGHTS: Final = 30
BOUND: Final = 12 * 10**9
"""The most that each call without an answer can have cost."""
PRICES: Final = """
[[price]]
providers = ["glm"]
models = ["glm-4-plus"]
currency = "CNY"
input = 5
output = 5
cached_input = "2.5"
valid_to = 2026-10-15
zone = "Asia/Shanghai"
source = "offer of 2026-01-10"

[[price]]
providers = ["glm"]
models = ["glm-4-plus"]
currency = "CNY"
input = 4
output = 6
cached_input = "1"
valid_from = 2026-10-16
zone = "Asia/Shanghai"
source = "offer of 2026-10-12"

[[price]]
providers = ["glm"]
models = ["glm-4-air"]
currency = "CNY"
input = "0.5"
output = "0.5"
source = "offer of 2026-01-10"
"""


class Month(msgspec.Struct):
    """What was written, for whoever reckons it apart."""

    calls: list[BookCall]
    rows: dict[tuple[int, str | None], BookRow]
    prices: Prices


def month(root: Path, *, of_a_night: int = 20) -> Month:
    """Make the folder `tickets` and the file `prices.toml` in `root`.

    Args:
        root: where.
        of_a_night: how many rows are new each night; each is asked of both models.
    """
    root.mkdir(parents=True, exist_ok=True)
    (root / "prices.toml").write_text(PRICES, encoding="utf-8")
    made = Month([], {}, Prices.load(root / "prices.toml"))
    rng = random.Random(10)
    failed: list[tuple[int, str]] = []
    for night in range(NIGHTS):
        run = f"202610{night + 1:02d}T020000000Z-a1b2"
        new = [(night * of_a_night + n, model) for n in range(of_a_night) for model in MODELS]
        again, failed = failed, []
        for n, (row, model) in enumerate([*again, *new]):
            at_us = OCTOBER_US + night * DAY_US + 2 * 3_600_000_000 + n * 1_000_000
            ok = rng.random() > 0.06
            made.calls += _asked(made, rng, (row, model, run), at_us, ok=ok)
            team = TEAMS[row % 3 == 0]
            status = "ok" if ok else "failed"
            made.rows[row, model] = BookRow(row, model, at_us, status, {"team": team}, run)
            failed += [(row, model)] if not ok and rng.random() < 0.5 else []  # the others failed for good
    rows = sorted(made.rows.values(), key=lambda row: (row.row_number, MODELS.index(row.variant or "")))
    bounds = {one.call.client_call_id: BOUND for one in made.calls if one.call.state == "unknown"}
    book(root / "tickets", made.calls, rows, tags={"job": "nightly"}, bounds=bounds)
    return made


def _asked(made: Month, rng: random.Random, of: tuple[int, str, str], at_us: int, *, ok: bool) -> list[BookCall]:
    """The calls of one row in one night: an answer, sometimes refused, unanswered or broken off before."""
    row, model, run = of
    ends = [word for word in ("refused", "unknown", "error") if rng.random() < 0.04]
    calls: list[BookCall] = []
    for attempt, end in enumerate([*ends, "stop" if ok else "content_filter"]):
        sent = at_us + attempt * 10_000
        fields: dict[str, Any] = {
            "model_asked": model,
            "attempt": attempt,
            "purpose": "retry" if attempt else "first",
            "sent_at_us": sent,
        }
        number = len(made.calls) + len(calls)
        if end in ("refused", "unknown"):
            made_so = refused(number, **fields) if end == "refused" else unknown(number, **fields | {"currency": "CNY"})
            calls.append(BookCall(made_so, row, model, run))
            continue
        prompt, completion = rng.randrange(400, 1_600), rng.randrange(20, 120)
        usage = Usage(prompt, completion, prompt + completion, prompt // 3 if row % 2 else 0)
        charge = made.prices.charge("glm", model, sent, usage)
        assert charge is not None
        money = {"cost": charge.cost, "currency": charge.currency, "price_id": charge.price_id}
        answered = call(number, usage=usage, model_served=model, finish_reason=end, **fields, **money)
        calls.append(BookCall(answered, row, model, run))
    return calls


if __name__ == "__main__":
    month(Path(sys.argv[1]))
