"""`batch.submit.untold`: what a budget counts for calls of which it cannot be told what they came to."""

from __future__ import annotations

import msgspec

from batch.core.records import NO_USAGE, Call, Usage
from batch.ledger.totals import Totals
from batch.submit.slices import Use, day_pot
from batch.submit.untold import lost, with_held

KNOWN = Usage(7, 3, 10)


def call(**values: object) -> Call:
    made = Call(
        client_call_id="c", turn=0, attempt=0, provider="glm", lane="sync", state="answered", model_asked="m",
        sent_at_us=86_400_000_000,
    )  # fmt: skip
    return msgspec.structs.replace(made, **values)


def test_only_what_cannot_be_told_of_a_call_stays_as_it_was_held() -> None:
    """Cost and tokens each by itself; a price in another currency tells nothing, and what was refused costs nothing."""
    day = day_pot("CNY", 86_400_000_000)
    for values, held in (
        ({"usage": KNOWN, "cost": 5, "currency": "CNY"}, None),
        ({"usage": NO_USAGE, "cost": 0}, None),
        ({"state": "unknown", "cost_bound": 9, "token_bound": 20, "currency": "CNY"}, None),
        ({"usage": KNOWN}, {day: 60}),
        ({"usage": KNOWN, "cost": 5, "currency": "USD"}, {day: 60}),
        ({"state": "unknown"}, {day: 60, "tokens": 40}),
        ({"state": "unknown", "token_bound": 20}, {day: 60}),
    ):
        assert with_held(call(**values), "CNY", cost=60, tokens=40).held == held, values
    assert with_held(call(state="unknown"), "", cost=0, tokens=40).held == {"tokens": 40}, "no money is counted"


def test_what_was_held_is_in_the_sums_of_a_run_and_read_from_them_again() -> None:
    """Those of the ledger are JSON, and a run that goes on adds its own to them; no file for people has them."""
    before, more = Totals(), Totals()
    held = with_held(call(state="unknown"), "CNY", cost=60, tokens=40)
    before.add_call(held)
    before.add_call(call(usage=KNOWN, cost=5, currency="CNY"))
    more.add_call(held)
    more.add(msgspec.json.decode(msgspec.json.encode(before), type=Totals))
    assert lost(more, "CNY") == (120, 80)
    assert lost(more, "USD") == (0, 80)
    assert lost(more, "") == (0, 80)
    assert "held" not in more.public()
    use = Use(tokens=10)
    use.add_held(more.held)
    assert (use.days, use.tokens) == ({day_pot("CNY", 86_400_000_000): 120}, 90)


def test_a_record_without_it_is_read_as_before() -> None:
    """A ledger of an older version has such."""
    old = msgspec.msgpack.encode(msgspec.to_builtins(call())[:-1])
    assert msgspec.msgpack.decode(old, type=Call) == call()
