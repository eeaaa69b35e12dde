"""What stored usage costs at other prices, or what another model would have cost for the same tokens.

Owns how each call of a batch finds its line of a price list without being looked up alone: calls of one provider,
model, tier and lane that lie in the same band, on the same days and in the same quarter of an hour have one line. Which
line that is, `money` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from batch.core.clock import MICROSECONDS
from batch.core.errors import RefusedToStart
from batch.core.nearest import suggestion
from batch.money.prices import Prices
from batch.money.rates import Rates
from batch.report.cost.sums import Line, Money
from batch.report.cost.windows import whole

_QUARTER_US: Final = 15 * 60 * MICROSECONDS
_MINUTE_US: Final = 60 * MICROSECONDS
_SIMULATOR: Final = "simulator"
_NAMES: Final = ("provider", "model_served", "model_asked", "service_tier", "lane")


class Repricing:
    """Other prices than those that are stored with the calls.

    Args:
        prices: where lines are looked up.
        model: reckon as if this model had been asked, with the tokens that were used; `PROVIDER/MODEL` where several
            lists have it. None leaves each call its own.

    Raises:
        RefusedToStart: no list has this model; names the nearest.
    """

    def __init__(self, prices: Prices, model: str | None = None) -> None:
        self._prices = prices
        self._provider: str | None = None
        self._model = model
        self._lines: dict[str, Rates] = {}
        self._listed: set[str] = set()
        if model is not None:
            self._choose(model)

    def _choose(self, model: str) -> None:
        provider, _, name = model.partition("/")
        if name and self._prices.lines(provider, name):
            self._provider, self._model = provider, name
        self._listed = {one for line in self._prices.lines(self._provider, self._model) for one in line.providers}
        if not self._listed:
            names = {name for line in self._prices.lines() for name in line.models}
            hint = suggestion(model.rpartition("/")[2], names, "promptmill prices lists those that have one.")
            raise RefusedToStart(f"--as-model {model}: no price list has this model. {hint}")

    def money(self, calls: pa.Table) -> tuple[pa.Table, Money]:
        """The same calls at these prices.

        Args:
            calls: N calls with their tokens, models, tiers and moments.

        Returns:
            The calls, with token counts as a bill takes them, and how they are reckoned.
        """
        calls = _billed(calls)
        names = [whole(calls.column(name)) for name in _NAMES]
        code: Any = pa.scalar(0, pa.int64())
        for column in names:
            code = pc.add(
                pc.multiply(code, len(column.dictionary) + 1),
                pc.fill_null(column.indices.cast(pa.int64()), fill_value=len(column.dictionary)),
            )
        priced = pc.and_(_is_answered(calls), whole(calls.column("prompt_tokens")).is_valid())
        lines: list[Rates] = []
        places: list[Any] = []
        found: list[Any] = []
        for one in code.filter(priced).unique():
            chosen = pc.indices_nonzero(pc.and_(priced, pc.equal(code, one)))
            first = chosen[0].as_py()
            alike = calls.take(chosen)
            places.append(chosen)
            found.append(self._lines_of(alike, [column[first].as_py() for column in names], lines))
        index = _in_order(len(calls), places, found)
        currencies = list(dict.fromkeys(line.currency for line in lines))
        currency_of = pa.array([currencies.index(line.currency) for line in lines], pa.int32())
        self._lines |= {line.id: line for line in lines}
        return calls, Money(
            currency=pa.DictionaryArray.from_arrays(currency_of.take(index), pa.array(currencies, pa.string())),
            price_id=pa.DictionaryArray.from_arrays(index, pa.array([line.id for line in lines], pa.string())),
            known=index.is_valid(),
            reckon=lambda price_id, line: amount(self._lines[price_id], line),
        )

    def _lines_of(self, calls: pa.Table, names: Sequence[str | None], lines: list[Rates]) -> Any:
        """For calls of one provider, model, tier and lane, the place of each one's line in `lines`, which grows."""
        provider, served, asked, tier, lane = names
        models = [model for model in (served, asked) if model]
        if self._model is not None:
            provider, models = self._other(provider), [self._model]
        known = [line for model in models for line in self._prices.lines(provider, model)]
        prompt, completion = (whole(calls.column(name)) for name in ("prompt_tokens", "completion_tokens"))
        sent = whole(calls.column("sent_at")).cast(pa.int64())
        bucket = _buckets(known, prompt, completion, sent)
        table = pa.table({"bucket": bucket.indices, "place": pa.array(range(len(calls)), pa.int64())})
        firsts = table.group_by("bucket", use_threads=False).aggregate([("place", "min")])
        of_bucket: list[int | None] = [None] * len(bucket.dictionary)
        for at, place in zip(firsts.column("bucket").to_pylist(), firsts.column("place_min").to_pylist(), strict=True):
            for model in models:
                line = self._prices.rates(
                    provider or "",
                    model,
                    sent[place].as_py(),
                    prompt_tokens=prompt[place].as_py(),
                    completion_tokens=completion[place].as_py(),
                    tier=tier,
                    lane=lane or "sync",
                )
                if line is not None:
                    if line not in lines:
                        lines.append(line)
                    of_bucket[at] = lines.index(line)
                    break
        return pa.array(of_bucket, pa.int32()).take(bucket.indices)

    def _other(self, provider: str | None) -> str:
        """The provider whose list has the other model: the call's own, or the only one."""
        if self._provider is not None:
            return self._provider
        if provider in self._listed:
            return str(provider)
        others = sorted(self._listed - {_SIMULATOR}) or sorted(self._listed)
        if len(others) > 1:
            named = " or ".join(f"--as-model {other}/{self._model}" for other in others)
            raise RefusedToStart(f"--as-model {self._model}: several price lists have this model. Choose one: {named}")
        return others[0]


def amount(rates: Rates, line: Line) -> int:
    """What calls cost by one line of a price list, in 10⁻¹² of its currency unit; exact, because it is linear."""
    return (
        (line.prompt - line.cached - line.written) * rates.input
        + line.cached * rates.cached_input
        + line.written * rates.cache_write
        + line.completion * rates.output
        + line.calls * rates.per_request
    )


def _billed(calls: pa.Table) -> pa.Table:
    """The calls with cached and written tokens cut to what there is, as `Rates.cost` does."""
    prompt = whole(calls.column("prompt_tokens"))
    zero = pa.scalar(0, pa.int64())
    cached = pc.min_element_wise(
        pc.max_element_wise(whole(calls.column("cached_tokens")), zero, skip_nulls=False), prompt, skip_nulls=False
    )
    room = pc.subtract(prompt, pc.fill_null(cached, fill_value=0))
    written = pc.min_element_wise(
        pc.max_element_wise(whole(calls.column("cache_write_tokens")), zero, skip_nulls=False), room, skip_nulls=False
    )
    for name, column in (("cached_tokens", cached), ("cache_write_tokens", written)):
        calls = calls.set_column(calls.schema.get_field_index(name), name, column)
    return calls


def _is_answered(calls: pa.Table) -> Any:
    state = whole(calls.column("state"))
    return pc.fill_null(pc.equal(state.dictionary, "answered").take(state.indices), fill_value=False)


def _buckets(lines: Sequence[Rates], prompt: Any, completion: Any, sent: Any) -> Any:
    """For each call a number that it shares with the calls that no line tells apart from it, as a dictionary array."""
    code = _steps(prompt, {end for line in lines for end in (line.in_from, line.in_below)})
    for values, ends in (
        (completion, {end for line in lines for end in (line.out_from, line.out_below)}),
        (sent, {end for line in lines for end in (line.from_us, line.to_us)}),
    ):
        code = pc.add(pc.multiply(code, len(ends) + 1), _steps(values, ends))
    windows = [window for line in lines for window in line.hours]
    if windows:
        odd = any(minute % 15 for window in windows for minute in (window.begin, window.end))
        quarter = pc.divide(sent, _MINUTE_US if odd else _QUARTER_US)
        code = pc.add(pc.multiply(quarter, pc.add(pc.max(code), 1)), code)
    return code.dictionary_encode()


def _steps(values: Any, ends: set[int | None]) -> Any:
    """How many of these borders each value has reached."""
    found: Any = pc.multiply(values, 0)
    for end in ends:
        if end is not None:
            found = pc.add(found, pc.greater_equal(values, end).cast(pa.int64()))
    return found


def _in_order(count: int, places: list[Any], found: list[Any]) -> Any:
    """Values that belong to some of N places, with null at all others."""
    if not places:
        return pa.nulls(count, pa.int32())
    at, values = pa.concat_arrays(places), pa.concat_arrays(found)
    return values.take(pc.index_in(pa.array(range(count), at.type), value_set=at))
