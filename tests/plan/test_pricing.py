"""`batch.plan.pricing`: what calls will cost is what the price list bills them, by band, hour and batch file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from batch.core.clock import Clock
from batch.core.records import Usage
from batch.job.fieldtypes import windows
from batch.limits.hours import Hours
from batch.money.prices import Prices
from batch.plan import pricing
from batch.plan.preflight import CheckedJob, check_job
from batch.plan.pricing import Priced
from batch.plan.spending import Spending
from batch.plan.survey import Load
from batch.tokens.model import Range
from tests.support.jobtext import SOUND, load

MONDAY_US = 1_764_547_200_000_000
"""2025-12-01 00:00 UTC."""
HOUR_US = 3_600_000_000
LINE = """
[[price]]
providers = ["glm"]
list = "ours"
models = ["glm-4"]
currency = "CNY"
input = "{input}"
output = "{output}"
source = "a test"
checked_on = 2026-11-01
{more}
"""


@pytest.fixture
def checked(tmp_path: Path) -> CheckedJob:
    """A job of one model."""
    (tmp_path / "tickets.jsonl").write_text('{"body": "x"}\n', encoding="utf-8")
    return check_job(load(tmp_path, SOUND), {"ZHIPUAI_API_KEY": "0123456789abcdef.0123456789abcdef"})


def with_lines(checked: CheckedJob, *lines: tuple[str, str, str]) -> CheckedJob:
    """The job under a price list of its own: input and output for a million tokens, and more keys."""
    file = checked.job.folder / "prices.toml"
    file.write_text("".join(LINE.format(input=a, output=b, more=more) for a, b, more in lines), encoding="utf-8")
    return msgspec.structs.replace(checked, prices=Prices.load(file))


def spending(calls: int, prompt: float, completion: float, *, lengths: list[int] | None = None) -> Spending:
    """Calls whose numbers are known within a tenth."""

    def about(number: float) -> Range:
        return Range(number, 0.9 * number, 1.1 * number)

    return Spending(
        model="glm-4",
        rows=calls,
        calls=Range(calls, calls, calls),
        prompt=about(calls * prompt),
        completion=about(calls * completion),
        basis="answers",
        answers=50,
        prompt_basis="answers",
        prompt_answers=50,
        completions=lengths or [],
    )


def loads(**calls: tuple[int, float]) -> dict[int, Load]:
    """By band: how many calls fall into it, and their likely tokens together."""
    return {int(band[1:]): Load(rows=number, calls=number, likely=tokens) for band, (number, tokens) in calls.items()}


def amount(priced: Priced) -> float:
    assert priced.now is not None
    return priced.now.amount.likely / 10**12


def test_many_equal_calls_cost_what_each_of_them_costs(checked: CheckedJob) -> None:
    """By the book that ships, to the last digit of one call."""
    priced = pricing.price(checked, spending(1_000, 400, 50), loads(b0=(1_000, 400_000)), MONDAY_US)
    charge = checked.prices.charge("glm", "glm-4", MONDAY_US, Usage(400, 50, 450))
    assert charge is not None
    assert priced.now is not None
    assert priced.now.amount.likely == pytest.approx(1_000 * charge.cost, rel=1e-9)
    assert priced.price_ids == (charge.price_id,)
    assert priced.now.amount.least < priced.now.amount.likely < priced.now.amount.most
    # Errors of prompts and of answers do not all fall on the same side.
    assert priced.now.amount.most < 1.1 * priced.now.amount.likely


def test_calls_are_billed_in_the_band_of_each_and_not_of_their_mean(checked: CheckedJob) -> None:
    """90 short prompts and 10 of 40,000 tokens: their mean would lie in the cheap band."""
    banded = with_lines(checked, ("2", "8", "in_below = 32000"), ("4", "16", "in_from = 32000"))
    assert pricing.borders(banded.prices, "glm", "glm-4") == [32_000]
    priced = pricing.price(banded, spending(100, 4_090, 100), loads(b0=(90, 9_000), b1=(10, 400_000)), MONDAY_US)
    expected = (9_000 * 2 + 400_000 * 4 + 90 * 100 * 8 + 10 * 100 * 16) / 1e6
    assert amount(priced) == pytest.approx(expected, rel=1e-6)
    assert len(priced.price_ids) == 2


def test_answers_are_billed_in_the_band_of_each_as_far_as_their_lengths_are_known(checked: CheckedJob) -> None:
    """Half of the answers have 100 tokens and half 500; from 200 on a call costs more."""
    banded = with_lines(checked, ("2", "8", "out_below = 200"), ("3", "14", "out_from = 200"))
    size = loads(b0=(100, 10_000))
    known = pricing.price(banded, spending(100, 100, 300, lengths=[100, 500] * 20), size, MONDAY_US)
    assert amount(known) == pytest.approx((5_000 * 2 + 5_000 * 3 + 50 * 100 * 8 + 50 * 500 * 14) / 1e6, rel=1e-6)
    unknown = pricing.price(banded, spending(100, 100, 300), size, MONDAY_US)
    assert amount(unknown) == pytest.approx((10_000 * 3 + 100 * 300 * 14) / 1e6, rel=1e-6)


def test_a_price_for_each_request_is_counted_for_each(checked: CheckedJob) -> None:
    """100 calls, 100 fees."""
    priced = pricing.price(
        with_lines(checked, ("0", "0", 'per_request = "0.01"')),
        spending(100, 10, 10),
        loads(b0=(100, 1_000)),
        MONDAY_US,
    )
    assert amount(priced) == pytest.approx(1.0)


def test_the_cheapest_hour_of_the_week_stands_beside_the_price_of_now(checked: CheckedJob) -> None:
    """Twice the price in the peak hours: at peak the other one is told, with its beginning, and off-peak nothing."""
    peak = 'hours = ["mon-fri 02:00-10:00 UTC"]'
    busy = with_lines(checked, ("2", "8", ""), ("4", "16", peak))
    calls, size = spending(10, 1_000, 100), loads(b0=(10, 10_000))
    at_peak = pricing.price(busy, calls, size, MONDAY_US + 3 * HOUR_US)
    assert at_peak.off_peak is not None
    assert at_peak.off_peak.amount.likely == pytest.approx(amount(at_peak) * 10**12 / 2)
    assert at_peak.off_peak.at_us == MONDAY_US + 10 * HOUR_US
    assert pricing.price(busy, calls, size, MONDAY_US).off_peak is None


def test_only_hours_in_which_calls_may_leave_are_looked_at(checked: CheckedJob) -> None:
    """Cheap from 10 to 14 and dear at all other times: of a job that sends at noon, and of one that sends at night."""
    cheap = 'hours = ["10:00-14:00 UTC"]'
    listed = with_lines(checked, ("4", "16", ""), ("2", "8", cheap))
    calls, size = spending(10, 1_000, 100), loads(b0=(10, 10_000))
    noon, night = (Hours(Clock(), windows(text)) for text in ("08:00-09:00; 12:30-13:00", "22:00-06:00"))
    found = pricing.price(listed, calls, size, MONDAY_US + 8 * HOUR_US, noon)
    assert found.off_peak is not None
    assert found.off_peak.at_us == MONDAY_US + 12 * HOUR_US + HOUR_US // 2
    assert pricing.price(listed, calls, size, MONDAY_US, night).off_peak is None
    assert pricing.price(listed, calls, size, MONDAY_US).off_peak is not None


def test_batch_files_have_a_price_where_one_is_published(checked: CheckedJob) -> None:
    """Half, and nothing where the list says nothing."""
    calls, size = spending(10, 1_000, 100), loads(b0=(10, 10_000))
    both = pricing.price(with_lines(checked, ("2", "8", ""), ("1", "4", 'tier = "batch"')), calls, size, MONDAY_US)
    assert both.batch is not None
    assert both.batch.amount.likely == pytest.approx(amount(both) * 10**12 / 2)
    assert pricing.price(with_lines(checked, ("2", "8", "")), calls, size, MONDAY_US).batch is None


def test_a_job_in_lane_bulk_costs_what_batch_files_cost(checked: CheckedJob) -> None:
    """Its calls have that price, or none where none is published."""
    calls, size = spending(10, 1_000, 100), loads(b0=(10, 10_000))
    model = msgspec.structs.replace(checked.job.model, lane="bulk")
    bulk = msgspec.structs.replace(checked, job=msgspec.structs.replace(checked.job, model=model))
    priced = pricing.price(with_lines(bulk, ("2", "8", ""), ("1", "4", 'tier = "batch"')), calls, size, MONDAY_US)
    assert priced.now is not None
    assert priced.now == priced.batch
    assert pricing.price(with_lines(bulk, ("2", "8", "")), calls, size, MONDAY_US).now is None


def test_without_a_price_for_all_calls_there_is_none(checked: CheckedJob) -> None:
    """An unknown model, and a band that the list leaves out: null, never the part that is known."""
    unknown = msgspec.structs.replace(spending(10, 1_000, 100), model="no-such-model")
    assert pricing.price(checked, unknown, loads(b0=(10, 10_000)), MONDAY_US).now is None
    half = with_lines(checked, ("2", "8", "in_below = 32000"))
    sizes = loads(b0=(9, 9_000), b1=(1, 40_000))
    assert pricing.price(half, spending(10, 4_900, 100), sizes, MONDAY_US).now is None
