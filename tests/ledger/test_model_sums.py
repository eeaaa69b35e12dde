"""`batch.ledger.model_sums`: the sums by model and lane come to those of all calls together."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from batch.core.records import Call
from batch.ledger.model_sums import ModelSums, calls_of, public_models
from batch.ledger.totals import Totals
from tests.support.values import calls


@given(st.lists(calls, max_size=12))
def test_models_and_lanes_together_are_the_whole(made: list[Call]) -> None:
    """Nothing is counted twice, nothing is left out, and taking it all away leaves nothing."""
    totals = Totals()
    for call in made:
        totals.add_call(call)
    whole = ModelSums()
    for lanes in totals.models.values():
        for sums in lanes.values():
            whole.add(sums)
    assert sum(whole.calls.values()) == sum(calls_of(totals.models).values()) == totals.calls
    assert (whole.prompt_tokens, whole.completion_tokens) == (totals.prompt_tokens, totals.completion_tokens)
    assert (whole.cached_tokens, whole.reasoning_tokens) == (totals.cached_tokens, totals.reasoning_tokens)
    assert whole.units == totals.units
    assert {(call.model_asked, call.lane) for call in made} == {
        (model, lane) for model, lanes in totals.models.items() for lane in lanes
    }
    for lanes in totals.models.values():
        for sums in lanes.values():
            whole.take_away(sums)
    assert not any((*whole.calls.values(), whole.prompt_tokens, whole.completion_tokens, *whole.units.values()))
    for shown in public_models(totals.models).values():
        for public in shown.values():
            assert all(isinstance(Decimal(cost), Decimal) for cost in public["cost"].values())
