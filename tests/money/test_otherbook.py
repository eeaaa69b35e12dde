"""Our book against that of the genai-prices project: each line that both have, and each difference with its reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from batch.core.records import Usage, cost_decimal
from batch.money.prices import Prices
from batch.money.rates import Rates
from batch.money.shelves import Book
from tests.support import otherbook

MINUTE = 60 * 1_000_000
NOW = int(datetime(2026, 11, 25, 12, 7, tzinfo=UTC).timestamp()) * 1_000_000
"""A Wednesday."""
LINES = [line for line in Book.shipped().lines() if line.provider in otherbook.PROVIDERS and line.currency == "USD"]
BOOK = {host: Prices.load(host=host) for host in ("api.moonshot.ai", None)}

HOLIDAY = "genai-prices has no days of the week: it takes peak hours for peak hours at weekends, too"
DIFFERENCES = {
    "deepseek/deepseek-flash@2026-09-10": HOLIDAY,
    "deepseek/deepseek-v4-flash*@2026-09-10": HOLIDAY,
    "deepseek/deepseek-v4-pro*@2026-08-23": HOLIDAY,
    "deepseek/deepseek-v4-flash*": "genai-prices cannot say a day and an hour at once: peak hours of V4.1 count before it",
    "deepseek/deepseek-v4-pro*": "genai-prices cannot say a day and an hour at once: peak hours count before August 2026",
    "deepseek/deepseek-v4-flash*@2026-08-17/01:00-04:00_UTC,06:00-10:00_UTC": "as above; the peak price of V4 is not there",
    "deepseek/deepseek-v4-flash*@2026-08-23": "as above, and the weekends",
    "deepseek/deepseek-v4-flash*@2026-08-23/mon-fri_09:00-12:00_Asia/Shanghai,mon-fri_14:00-18:00_Asia/Shanghai": "as above",
    "zai/glm-5.3-flash@2026-09-10": "the promotion ended at 16:00 UTC; genai-prices counts days of UTC",
}
"""By the id of a line: why it is another price there, at least at some moment."""

NO_CHAT = "no chat model"
OTHER_FEES = "bills searches, pictures or sound beside the tokens, which usage does not tell"
NOT_THEIRS = "imported from another seller; the provider itself does not sell it"
LEFT_OUT = {
    r"ada|babbage(-002)?|curie|davinci(-002)?|text-davinci-.*|gpt-3.5-turbo-instruct": NO_CHAT,
    r"text-embedding-.*|moderation|tts-.*|whisper-.*|.*transcribe.*|.*-tts|computer-use": NO_CHAT,
    r".*realtime.*|gpt-live-.*|.*audio.*|.*image.*|GLM-OCR": OTHER_FEES,
    r".*search.*|.*deep-research": OTHER_FEES,
    r"gpt-oss-.*|gpt-4o:extended": NOT_THEIRS,
}
"""By a pattern of their names: the models that our book leaves out, and why."""


def moments(line: Rates) -> Iterator[int]:
    """Moments at which a line counts: its first, its last or now, and hours of a week after and before those."""
    first = NOW - 7 * 24 * 60 * MINUTE if line.from_us is None else line.from_us
    last = NOW if line.to_us is None else line.to_us - MINUTE
    if line.from_us is None and line.to_us is not None:
        first = last - 7 * 24 * 60 * MINUTE
    # Every fifth hour of eight days: all hours of the day, and all days of the week.
    hours = range(0, 8 * 24, 5) if line.provider == "deepseek" or "flash" in line.id else (0,)
    found = {at for hour in hours for at in (first + hour * 60 * MINUTE, last - hour * 60 * MINUTE)}
    yield from sorted(at for at in found if first <= at <= last)


def usages(line: Rates) -> Iterator[Usage]:
    """Calls at both ends of the bands, with tokens cached and written."""
    ends = {line.in_from or 0, 1_000_000 if line.in_below is None else line.in_below - 1}
    for prompt in ends:
        yield Usage(prompt, 1_000, prompt + 1_000)
        yield Usage(prompt, 0, prompt, cached_tokens=prompt // 3)
        yield Usage(prompt, 7, prompt + 7, cached_tokens=prompt // 5, cache_write_tokens=prompt // 7)


def differences(line: Rates) -> list[str]:
    """Where a line says something else than genai-prices: moment, tokens, both costs."""
    model = line.models[0].replace("*", "").rstrip("-")
    prices = BOOK["api.moonshot.ai" if line.hosts else None]
    found = []
    for at_us in moments(line):
        for usage in usages(line):
            charge = prices.charge(line.provider, model, at_us, usage, tier=line.tier)
            if charge is None or charge.price_id != line.id:
                continue
            theirs = otherbook.cost(line.provider, model, at_us, usage, line.tier)
            if theirs is not None and theirs != cost_decimal(charge.cost):
                found.append(f"{at_us} {usage} {cost_decimal(charge.cost)} {theirs}")
    return found


def test_every_line_that_both_have_is_the_same_but_for_listed_reasons() -> None:
    """A new release that says something else fails here, and a person looks at the provider's page."""
    found = {line.id: wrong for line in LINES if (wrong := differences(line))}
    assert {name: wrong[:2] for name, wrong in found.items() if name not in DIFFERENCES} == {}
    assert set(DIFFERENCES) - set(found) == set()


@pytest.mark.parametrize("provider", otherbook.PROVIDERS)
def test_every_chat_model_it_knows_has_a_price_or_a_reason(provider: str) -> None:
    """By its name there, for its own provider, today."""
    prices = Prices.load(host="api.moonshot.ai")
    without = [
        model
        for model in otherbook.models(provider)
        if not any(prices.current(provider, name, NOW) for name in (model, f"{model}-2024-07-18", f"{model}x"))
    ]
    reasons = {model for model in without for name in LEFT_OUT if re.fullmatch(name, model)}
    assert sorted(set(without) - reasons) == []


def test_nothing_is_left_out_that_is_not_there() -> None:
    names = [model for provider in otherbook.PROVIDERS for model in otherbook.models(provider)]
    assert [name for name in LEFT_OUT if not any(re.fullmatch(name, model) for model in names)] == []
