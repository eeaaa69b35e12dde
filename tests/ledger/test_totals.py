"""`batch.ledger.totals`: one rule for every sum that is shown, so that no two can disagree."""

from collections import Counter
from decimal import Decimal

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from batch.core.records import Call, Outcome, Sums, Usage
from batch.ledger.totals import MAX_ERRORS, Planned, Totals
from tests.support.values import call, calls, failed, outcome, outcomes, refused, unknown


def totals(made: list[Call], settled: list[Outcome]) -> Totals:
    sums = Totals()
    for one in made:
        sums.add_call(one)
    for row in settled:
        sums.add_outcome(row)
    return sums


@given(st.lists(calls, max_size=12), st.lists(outcomes, max_size=12), st.integers(0, 12))
def test_sums_of_parts_are_the_sum_of_the_whole(made: list[Call], settled: list[Outcome], cut: int) -> None:
    """A run is published in pieces; the pieces add up, and survive the ledger's JSON."""
    whole = totals(made, settled)
    first, second = totals(made[:cut], settled[:cut]), totals(made[cut:], settled[cut:])
    first.add(msgspec.json.decode(msgspec.json.encode(second), type=Totals))
    assert first == whole
    assert second == totals(made[cut:], settled[cut:])
    assert whole.calls == whole.answered + whole.refused + whole.failed + whole.unknown == len(made)
    assert whole.rows == len(settled)
    assert sum(whole.errors.values()) == whole.rows_failed


@given(st.lists(calls, max_size=12))
def test_every_known_token_is_counted_and_no_unknown_one(made: list[Call]) -> None:
    """Unknown is counted as unknown, never as 0 tokens of a known call."""
    sums = totals(made, [])
    known = [one.usage for one in made if one.usage is not None]
    assert sums.prompt_tokens == sum(usage.prompt_tokens for usage in known)
    assert sums.completion_tokens == sum(usage.completion_tokens for usage in known)
    assert sums.total_tokens == sum(usage.total_tokens for usage in known)
    for field in ("cached_tokens", "reasoning_tokens"):
        said = [
            value for one in made if one.state == "answered" and (value := getattr(one.usage, field, None)) is not None
        ]
        assert getattr(sums, field) == (sum(said) if said else None)
    assert sums.unknown_usage == sum(one.usage is None and one.state == "answered" for one in made)
    assert sums.unpriced == sum(one.usage is not None and one.cost is None for one in made)
    assert sum(sums.without_price.values()) == sums.unpriced


def test_calls_without_a_price_are_told_by_the_model_that_answered_and_by_its_tier() -> None:
    """A server that makes up a model for every call does not fill the memory."""
    priceless = msgspec.structs.replace(call(), cost=None, provider="glm", model_asked="m", model_served=None)
    sums = totals([priceless, msgspec.structs.replace(priceless, model_served="m-2", service_tier="flex")], [])
    assert sums.without_price == {"glm/m": 1, "glm/m-2 at service_tier flex": 1}
    made_up = [msgspec.structs.replace(priceless, model_served=f"m-{n}") for n in range(MAX_ERRORS + 5)]
    many = totals(made_up, [])
    assert (len(many.without_price), many.without_price["others"]) == (MAX_ERRORS + 1, 5)


@given(st.lists(calls, max_size=12))
def test_costs_of_two_currencies_are_never_added(made: list[Call]) -> None:
    """And each is exact: integers of 10⁻¹²."""
    expected: Counter[str] = Counter()
    for one in made:
        if one.cost is not None and one.currency is not None and one.usage is not None:
            expected[one.currency] += one.cost
    assert {**totals(made, []).units} == {**expected}


def test_what_is_shown_has_exact_decimal_costs_and_the_commonest_errors() -> None:
    """Files that monitors read."""
    sums = totals([call(cost=10**30 + 1), call(cost=1, currency="USD"), refused()], [failed(), outcome()])
    for n in range(300):
        for _ in range(1 + (n == 7)):
            sums.add_outcome(failed(error_code=f"{n}"))
    shown = sums.public()
    assert shown["cost"] == {"CNY": "1000000000000000000.000000000001", "USD": "0.000000000001"}
    assert len(shown["errors"]) == 100
    assert next(iter(shown["errors"].items())) == ("server/7", 2)
    assert msgspec.json.decode(msgspec.json.encode(shown)) == shown
    assert len(sums.errors) == 301


def test_a_server_that_invents_codes_does_not_fill_the_memory() -> None:
    """Memory is flat in the number of rows, and so is what a run keeps of its errors."""
    sums, more = Totals(), Totals()
    for n in range(5_000):
        sums.add_outcome(failed(error_code=f"{n}"))
        more.add_outcome(failed(error_code=f"x{n}"))
    sums.add(more)
    assert len(sums.errors) <= MAX_ERRORS + 1
    assert sum(sums.errors.values()) == sums.rows_failed == 10_000
    sums.add_outcome(failed(error_code="0"))
    assert sums.errors["server/0"] == 2


def test_failed_rows_are_grouped_by_kind_and_code() -> None:
    """Whatever is missing of the two."""
    sums = totals([], [failed(), failed(retryable=False), failed(error_code=None), failed(error_kind=None)])
    assert sums.errors == {"server/500": 2, "server": 1, "unknown/500": 1}
    assert (sums.rows_failed, sums.rows_retryable) == (4, 3)


def test_rows_are_counted_by_flag() -> None:
    """FIELD 33. A failed row's flags, too; and what an older version wrote has none."""
    sums = totals([], [outcome(flags=("truncated", "empty")), outcome(flags=("truncated",)), outcome()])
    sums.add(totals([], [failed(flags=("tool_failed",))]))
    assert sums.flags == sums.public()["flags"] == {"truncated": 2, "empty": 1, "tool_failed": 1}
    assert msgspec.json.decode(b'{"rows_ok": 3}', type=Totals).flags == {}


def test_the_sums_of_a_row_are_null_until_one_call_was_known() -> None:
    """Only `unknown` calls: tokens and cost are null, not 0."""
    sums = Sums()
    sums.add(unknown())
    assert (sums.calls, sums.unknown_calls, sums.turns) == (1, 1, 0)
    assert (sums.prompt_tokens, sums.cost, sums.currency, sums.last_answer_us) == (None, None, None, None)
    assert sums.first_sent_at_us == 1_000
    sums.add(refused(1))
    assert (sums.prompt_tokens, sums.cost, sums.currency) == (None, None, None)
    sums.add(call(2, turn=1, usage=Usage(3, 4, 7)))
    assert (sums.calls, sums.turns, sums.total_tokens, sums.cached_tokens) == (3, 2, 7, None)
    assert (sums.cost, sums.currency, sums.first_sent_at_us) == (1_000_000, "CNY", 1_000)


def test_a_refused_call_makes_no_zero_of_a_cost_that_nobody_knows() -> None:
    """An answer of a model without a price costs something, however often the row was refused before or after it."""
    unpriced = call(1, cost=None, currency=None, price_id=None)
    for made, cost in (
        ([refused(0), refused(1)], 0),
        ([refused(0), unpriced], None),
        ([unpriced, refused(0)], None),
        ([refused(0), unpriced, refused(2)], None),
        ([refused(0), unpriced, call(2)], 1_000_000),
        ([call(2), unpriced, refused(0)], 1_000_000),
    ):
        sums = Sums()
        for one in made:
            sums.add(one)
        assert sums.cost == cost, made


def test_a_refused_call_makes_no_zero_of_tokens_that_nobody_knows() -> None:
    """Ours: a row that was refused, then sent and never answered, had 0 tokens, though it may have been billed."""
    silent = call(1, usage=None, cost=None)
    zero, none = (0, 0, 0, 0, 0), (None, None, None, None, None)
    for made, tokens in (
        ([], none),
        ([refused(0)], zero),
        ([refused(0), refused(1)], zero),
        ([refused(0), unknown(1)], none),
        ([unknown(0), refused(1)], none),
        ([refused(0), silent, refused(2)], none),
        ([refused(0), unknown(1), call(2)], (10, 5, 15, 2, 1)),
        ([call(0), unknown(1), refused(2)], (10, 5, 15, 2, 1)),
        ([refused(0), call(1, usage=Usage(3, 4, 7))], (3, 4, 7, None, None)),
        ([refused(0), call(1, usage=Usage(3, 4, 7, 0)), call(2)], (13, 9, 22, 2, 1)),
    ):
        sums = Sums()
        for one in made:
            sums.add(one)
        found = sums.prompt_tokens, sums.completion_tokens, sums.total_tokens, sums.cached_tokens, sums.reasoning_tokens
        assert found == tokens, made


@given(st.lists(calls, max_size=10))
@example([call(0, usage=Usage(0, 0, 0, None, 1)), call(1, usage=None)])
def test_the_sums_of_rows_and_of_the_run_agree(made: list[Call]) -> None:
    """The live line, the table and the book are three views of the same calls."""
    row, run = Sums(), totals(made, [])
    for one in made:
        row.add(one)
    assert (row.calls, row.unknown_calls) == (run.calls, run.unknown)
    assert (row.prompt_tokens or 0, row.completion_tokens or 0) == (run.prompt_tokens, run.completion_tokens)
    assert (row.cached_tokens or 0, row.reasoning_tokens or 0) == (run.cached_tokens or 0, run.reasoning_tokens or 0)


def test_rows_that_need_work_are_new_changed_or_retried() -> None:
    """Unchanged ones and standing failures are left alone."""
    assert Planned(read=100, new=1, changed=2, retried=4, unchanged=8, standing=16).admitted == 7


def test_costs_are_decimals_to_whoever_reads_them() -> None:
    """FIELD 46. A report whose cost is 473700000000 needs its reader to know of 10⁻¹²; ledger and files stay as they were."""
    sums = Totals(units={"USD": 1, "CNY": 473_700_000_000})
    assert sums.cost == {"CNY": Decimal("0.4737"), "USD": Decimal("1E-12")}
    assert "cost={'CNY': Decimal('0.473700000000'), 'USD'" in repr(sums)
    assert "units" not in repr(sums)
    assert sums.public()["cost"] == {"CNY": "0.473700000000", "USD": "0.000000000001"}
    stored = msgspec.json.decode(msgspec.json.encode(sums))
    assert stored["cost"] == {"USD": 1, "CNY": 473_700_000_000}
    assert list(stored) == [*sums.public(), "held"]
    assert msgspec.json.decode(msgspec.json.encode(stored), type=Totals) == sums
