"""What `promptmill estimate` says of an estimate, in lines for a terminal.

Owns these words, and how a number with its range is written. It estimates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from batch.cli.sums import shared_text, taken_over_text
from batch.cli.text import count, decimal, money, pairs, table, wrapped
from batch.core.clock import MICROSECONDS, describe, iso
from batch.core.plain import clean, quoted

if TYPE_CHECKING:
    from batch.plan.forecast import Forecast, ModelForecast
    from batch.plan.preflight import CheckedJob
    from batch.run.command import Report
    from batch.tokens.model import Range

_USUAL_SAMPLE: Final = 50


def lines(checked: CheckedJob, found: Forecast, bought: Report | None) -> Iterator[str]:
    """All that is told.

    Args:
        checked: the job.
        found: the estimate.
        bought: the run that bought a sample before; None for none.
    """
    job, survey = checked.job, found.survey
    if bought is None:
        yield f"{clean(job.name)}: an estimate; nothing was sent"
    else:
        yield f"{clean(job.name)}: an estimate of what is left after the sample"
    yield from pairs(
        [
            ("sample", _sample(bought)),
            ("input", f"{count(survey.read, 'row')} in {clean(checked.source.stat.path)}"),
            ("output", checked.folder.text),
            ("to ask", _to_ask(found, checked)),
            ("under way", _under_way(found)),
            ("gone", _gone(found)),
            ("calls", _number(found.total(lambda one: one.calls))),
            ("prompt tokens", _number(found.total(lambda one: one.prompt))),
            ("answer tokens", _number(found.total(lambda one: one.completion))),
            ("cost", _cost(found, checked)),
            ("off-peak", _off_peak(found)),
            ("batch files", _amounts(found.cost(lambda priced: priced.batch)) if checked.lanes != ("bulk",) else ""),
            ("lanes", _lanes(checked)),
            ("time", _time(found)),
            ("rests on", _basis(found, checked)),
        ]
    )
    if len(found.models) > 1 and survey.to_ask:
        yield "by model"
        yield from table([_model_row(one) for one in found.models], right=frozenset({1}))


def _to_ask(found: Forecast, checked: CheckedJob) -> str:
    survey = found.survey
    words = {"failed": "to try again", "short": "short of samples"}
    kinds = [f"{survey.asked[kind]:,} {words.get(kind, kind)}" for kind in survey.kinds if survey.asked[kind]]
    kinds += [f"{survey.begun:,} begun by an earlier run"] if survey.begun else []
    alone = [(survey.unchanged, "answered before"), (survey.standing, "failed for good before")]
    left = ", ".join(f"{number:,} {word}" for number, word in alone if number)
    several = f", each in {len(checked.variants)} variants" if len(checked.variants) > 1 else ""
    shown = f" ({', '.join(kinds)})" if kinds else ""
    lines = [f"{survey.to_ask:,}{shown}{several}"]
    samples = checked.job.labels.samples if checked.job.labels is not None else 1
    if samples > 1 and survey.to_ask:
        lines.append(f"asked {survey.askings:,} times in all, for labels.samples = {samples}")
    if survey.shared:
        lines.append(shared_text(survey.shared))
    if survey.taken_over:
        lines.append(taken_over_text(survey.taken_over))
    if survey.unaskable:
        lines.append(
            f"{count(survey.unaskable, 'row')} cannot be asked and will fail: promptmill check --full names them"
        )
    return "\n".join([*lines, *([f"{left}: left alone"] if left else [])])


def _under_way(found: Forecast) -> str:
    """What is at the provider and is collected instead of being bought again, and what it comes to."""
    survey, places = found.survey, {"task": "in tasks", "bulk": "in batches"}
    rows = {lane: survey.rows_bought(lane) for lane in survey.bought}
    lines = []
    if rows:
        each = ", ".join(f"{count(number, 'row')} {places.get(lane, lane)}" for lane, number in sorted(rows.items()))
        lines.append(f"{each} at the provider: collected, not bought again")
        for currency, amount in sorted(found.committed_cost.items()):
            lines.append(f"{_amount(currency, amount)}, spent already and not in cost")
        unpriced = sorted({clean(one.model, most=60) for one in found.committed if one.money is None})
        lines += [f"what those of {model} come to is not known: no price" for model in unpriced]
    if survey.superseded:
        number = count(survey.superseded.total(), "call")
        lines.append(f"{number} there for rows that are gone or changed: collected, too, and not in any sum here")
    return "\n".join(lines)


def _gone(found: Forecast) -> str:
    gone = found.survey.gone
    kinds = [
        f"{count(gone.rows, 'row')} of the table not in the input any more" if gone.rows else "",
        f"{count(gone.variants, 'row')} of variants not asked any more" if gone.variants else "",
    ]
    return ", ".join(kind for kind in kinds if kind)


def _number(found: Range) -> str:
    """`about 1,234 (1,100 to 1,400)`, or the number alone where it is known."""
    import math

    likely, least, most = round(found.likely), math.floor(found.least), math.ceil(found.most)
    return f"{likely:,}" if least == likely == most else f"about {likely:,} ({least:,} to {most:,})"


def _lanes(checked: CheckedJob) -> str:
    """Of a job with two lanes, where between the two costs it ends."""
    lanes, by = checked.lanes, checked.job.bulk.by
    if len(lanes) == 1:
        return ""
    if checked.job.model.decides:
        return f"auto: batch files if these bring all by {by}, cost if all has to be bought in lane sync, or between"
    return f"{' then '.join(lanes)}: batch files for what a batch answers, cost for what it leaves to {lanes[-1]}"


def _amounts(amounts: dict[str, Range]) -> str:
    return "\n".join(_amount(currency, amount) for currency, amount in sorted(amounts.items()))


def _amount(currency: str, amount: Range) -> str:
    likely, least, most = (_rounded(value, amount.most) for value in (amount.likely, amount.least, amount.most))
    if least == likely == most:
        return f"{likely} {clean(currency, most=12)}"
    return f"about {likely} {clean(currency, most=12)} ({least} to {most})"


def _rounded(units: float, most: float) -> str:
    """An amount with two decimals, or with more where the largest beside it is small: three digits of that count."""
    from decimal import Decimal

    from batch.core.records import COST_DIGITS, COST_UNIT, cost_decimal

    digits = 2
    while digits < COST_DIGITS and 0 < most < 100 * COST_UNIT / 10**digits:
        digits += 1
    return decimal(cost_decimal(round(units)).quantize(Decimal(1).scaleb(-digits)))


def _cost(found: Forecast, checked: CheckedJob) -> str:
    """What the calls cost, what speaks against their prices, and how to add those that are missing."""
    from batch.money import advice

    provider, prices = checked.job.model.provider, checked.prices
    lines = [_amounts(found.cost(lambda priced: priced.now))]
    if found.waits and lines[0]:
        lines.append(f"at the prices of {iso(found.begins_us)}, when the hours of the job begin")
    rates = [prices.by_id(name) for one in found.models for name in one.priced.price_ids]
    doubts = advice.doubts([line for line in rates if line is not None], datetime.now(UTC).date())
    lines += [line for text in doubts for line in wrapped(text, less=18)]
    if found.unpriced:
        models = ", ".join(found.unpriced)
        lines.append(f"unknown for {clean(f'{provider}/{models}')}: no price; tokens are told all the same")
        tier = advice.tier_key(checked.job.model.lanes[-1])
        lines += advice.how_to_add(prices, provider, found.unpriced[0], tier=tier)
    return "\n".join(line for line in lines if line)


def _off_peak(found: Forecast) -> str:
    starts = {one.priced.off_peak.at_us for one in found.models if one.priced.off_peak is not None}
    amounts = _amounts(found.cost(lambda priced: priced.off_peak))
    first = min((start for start in starts if start is not None), default=None)
    return f"{amounts}, sent from {iso(first)} on" if amounts and first is not None else amounts


def _time(found: Forecast) -> str:
    duration = found.duration
    if not found.survey.to_ask:
        return ""
    if duration is None:
        return "not known: no limit is set per minute, and no call was timed yet"
    text = f"{_about(duration.sending, describe)}, held by {duration.limit}"
    if (hours := found.hours) is None:
        return text

    def moment(seconds: float) -> str:
        return hours.local(duration.from_us + round(seconds * MICROSECONDS))

    ends = f"done {_about(duration.seconds, moment)}, {describe(duration.seconds.likely)} from now"
    return f"{text}, sent only in {clean(str(hours))}:\n{ends}"


def _about(seconds: Range, text: Callable[[float], str]) -> str:
    """A time in words, with its ends where these read otherwise."""
    likely, *ends = (text(value) for value in (seconds.likely, seconds.least, seconds.most))
    between = "" if set(ends) == {likely} else f" ({ends[0]} to {ends[1]})"
    return f"about {likely}{between}"


def _basis(found: Forecast, checked: CheckedJob) -> str:
    """What the numbers rest on, and how to know more."""
    from batch.plan.forecast import CONFIDENCE

    begun = [one.spending for one in found.models if one.spending.rows]
    if not begun:
        return ""
    rows = sum(one.answers for one in begun)
    lengths = {
        "answers": f"the answers to {count(rows, 'row')} of this job",
        "learned": "answers that earlier jobs had of the model, perhaps to questions of another kind",
        "guess": "a guess of how long answers are and how many calls a row takes",
    }[found.basis]
    sizes = {
        "answers": "prompts are counted as the answers taught",
        "learned": "prompts are counted as earlier jobs taught",
        "guess": "prompts are counted as by the usual tokenizers",
    }[min((one.prompt_basis for one in begun), key=("guess", "learned", "answers").index)]
    lines = [f"{lengths};", sizes]
    if found.basis == "answers":
        lines.append(f"{CONFIDENCE:.0%} of such ranges hold what they are of")
    if found.basis != "answers" or rows < _USUAL_SAMPLE:
        command = f"promptmill estimate {quoted(str(checked.job.folder))} --sample {_USUAL_SAMPLE}"
        lines.append(f"{command} buys so many rows and knows more")
    if found.trouble is not None:
        lines.append(clean(found.trouble, most=400))
    return "\n".join(lines)


def _model_row(one: ModelForecast) -> tuple[str, ...]:
    spending, now = one.spending, one.priced.now
    return (
        clean(spending.model, most=60),
        count(spending.rows, "row") if spending.rows else "in the end",
        f"{_number(spending.prompt)} in, {_number(spending.completion)} out",
        "no price" if now is None else _amount(now.currency, now.amount),
    )


def _sample(bought: Report | None) -> str:
    if bought is None:
        return ""
    totals = bought.totals
    cost = money(totals.cost)
    if bought.state == "nothing_to_do":
        return "nothing was bought: no row needs work"
    return (
        f"{count(totals.rows, 'row')} asked ({totals.rows_failed:,} failed), {totals.total_tokens:,} tokens"
        f"{f', {cost}' if cost else ''}"
    )
