"""Sums over calls: counts, tokens and exact money, of one group in one currency or of several.

Owns how calls are summed batch by batch, so that no row is kept, and what is counted beside the known costs: calls of
which nobody knows what they cost, and calls without a price. Money is in integers of 10⁻¹² of the currency unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.core.errors import RefusedToStart
from batch.core.records import COST_DIGITS
from batch.report.cost.waste import NAMES as WAYS
from batch.report.cost.windows import whole

CALLS: Final = (
    *("state", "cost", "currency", "price_id", "cost_bound", "lane", "provider", "model_asked", "model_served"),
    *("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "cache_write_tokens"),
)
"""The columns of calls that are needed."""
_TOKENS: Final = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "cache_write_tokens")
_SUMMED: Final = (*_TOKENS, "cost", "cost_bound")

MOST_GROUPS: Final = 100_000

_KNOWN, _FREE, _UNKNOWN, _UNMEASURED, _UNPRICED = range(5)
"""What is known of the cost of a call: all; that it was refused or never left; nothing, because it was never answered;
nothing, because the answer did not tell its tokens; its tokens, but no price."""


class Line(msgspec.Struct):
    """The calls that one line of a price list was used for, as far as their cost depends on it."""

    calls: int = 0
    prompt: int = 0
    completion: int = 0
    cached: int = 0
    written: int = 0
    cost: int = 0

    def add(self, other: Line) -> None:
        """Add the calls of another."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Wasted(msgspec.Struct):
    """Calls that were paid for nothing in one way."""

    calls: int = 0
    tokens: int = 0
    cost: int = 0

    def add(self, other: Wasted) -> None:
        """Add the calls of another."""
        self.calls += other.calls
        self.tokens += other.tokens
        self.cost += other.cost


class Sums(msgspec.Struct):
    """What calls came to, all in one currency."""

    calls: int = 0
    answered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    """None as long as no answer said it; the same holds for `reasoning_tokens`."""
    reasoning_tokens: int | None = None
    cost: int | None = None
    """None as long as no call's is known."""
    unknown: int = 0
    """Calls that were sent and never answered: possibly billed."""
    bound: int = 0
    """The most that those of them, and of the unmeasured ones, can have cost that are bounded."""
    unbounded: int = 0
    """How many of them are not."""
    unmeasured: int = 0
    """Answered calls that came without their tokens."""
    unpriced: int = 0
    """Calls with known tokens and no price."""
    wasted: dict[str, Wasted] = {}
    """By the way in which calls were paid for nothing."""
    lines: dict[tuple[str, str, str], Line] = {}
    """By price id, provider and lane, those calls whose price is known."""

    def add(self, other: Sums) -> None:
        """Add all counts and sums of another."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if isinstance(mine, dict):
                for key, value in theirs.items():
                    mine.setdefault(key, type(value)()).add(value)
            elif theirs is not None:
                setattr(self, name, theirs if mine is None else mine + theirs)

    @property
    def measured(self) -> bool:
        """Whether tokens are known of any call; where nothing was spent, that is known."""
        return self.answered > self.unmeasured or not (self.unmeasured or self.unknown)

    @property
    def wasted_cost(self) -> int:
        """What was paid for nothing."""
        return sum(part.cost for part in self.wasted.values())


class Unpriced(msgspec.Struct, frozen=True):
    """Whose calls have no price."""

    provider: str | None
    model: str | None
    batch: bool
    """Whether they went by batch files, which have a price of their own."""


Groups = dict[tuple[tuple[str | None, ...], str | None], Sums]
"""By the values of a group, and by the currency."""


class Money(msgspec.Struct, frozen=True):
    """At which prices N calls are reckoned: of each its currency and price id, and whether its cost is known.

    `reckon` gives the cost of the calls of one price id; without it the costs of the book count.
    """

    currency: Any
    price_id: Any
    known: Any
    reckon: Callable[[str, Line], int] | None = None


class Summing:
    """Adds calls to groups, some at a time.

    Attributes:
        groups: what they came to so far.
        unpriced: how many calls have no price, by whose they are.
    """

    def __init__(self) -> None:
        self.groups: Groups = {}
        self.unpriced: dict[Unpriced, int] = {}

    def add(self, calls: pa.Table, keys: Sequence[Any], codes: Any, money: Money | None = None) -> None:
        """Add some calls.

        Args:
            calls: N calls, with the columns `CALLS`.
            keys: of each key N values, as dictionary arrays.
            codes: N codes of the ways in which calls are paid for nothing.
            money: other prices than those of the book.
        """
        if money is None:
            currency, price_id, cost = (whole(calls.column(name)) for name in ("currency", "price_id", "cost"))
            money = Money(currency, price_id, cost.is_valid())
        standing = _standing(calls, money.known)
        named = [*keys, money.currency, money.price_id, whole(calls.column("provider")), whole(calls.column("lane"))]
        table = pa.table(
            {
                **{f"k{n}": column.indices for n, column in enumerate(named)},
                "standing": standing,
                "code": codes,
                **{name: whole(calls.column(name)) for name in _SUMMED},
            }
        )
        by = [*(f"k{n}" for n in range(len(named))), "standing", "code"]
        wanted: list[Any] = [([], "count_all"), ("cost_bound", "count"), *((name, "sum") for name in _SUMMED)]
        summed = table.group_by(by, use_threads=False).aggregate(wanted)
        texts = [column.dictionary.to_pylist() for column in named]
        columns = {name: summed.column(name).to_pylist() for name in summed.column_names}
        for row in range(summed.num_rows):
            found = {name: values[row] for name, values in columns.items()}
            place = [None if (at := found[f"k{n}"]) is None else text[at] for n, text in enumerate(texts)]
            self._add_one(tuple(place[: len(keys)]), place[len(keys) :], found, money)
        self._count_unpriced(calls, standing)

    def _add_one(
        self, group: tuple[str | None, ...], named: Sequence[str | None], found: dict[str, Any], money: Money
    ) -> None:
        currency, price_id, provider, lane = named
        sums = self.groups.setdefault((group, currency), Sums())
        if len(self.groups) > MOST_GROUPS:
            raise RefusedToStart(
                f"the calls fall into more than {MOST_GROUPS:,} groups. Group them by something that has fewer values."
            )
        standing, number = found["standing"], found["count_all"]
        sums.calls += number
        if standing in (_UNKNOWN, _UNMEASURED):
            sums.bound += units(found["cost_bound_sum"])
            sums.unbounded += number - found["cost_bound_count"]
        if standing == _UNKNOWN:
            sums.unknown += number
            return
        prompt, completion, cached, reasoning, written = (found[f"{name}_sum"] for name in _TOKENS)
        line = Line(number, prompt or 0, completion or 0, cached or 0, written or 0, units(found["cost_sum"]))
        if standing == _KNOWN and money.reckon is not None and price_id is not None:
            line.cost = money.reckon(price_id, line)
        if standing in (_KNOWN, _FREE):
            sums.cost = (sums.cost or 0) + line.cost
        if standing == _FREE:
            return
        sums.answered += number
        sums.unmeasured += number if standing == _UNMEASURED else 0
        sums.unpriced += number if standing == _UNPRICED else 0
        sums.prompt_tokens += line.prompt
        sums.completion_tokens += line.completion
        sums.cached_tokens = _known(sums.cached_tokens, cached)
        sums.reasoning_tokens = _known(sums.reasoning_tokens, reasoning)
        if way := WAYS[found["code"]]:
            sums.wasted.setdefault(way, Wasted()).add(Wasted(number, line.prompt + line.completion, line.cost))
        if standing == _KNOWN and price_id is not None:
            sums.lines.setdefault((price_id, provider or "", lane or ""), Line()).add(line)

    def _count_unpriced(self, calls: pa.Table, standing: Any) -> None:
        missing = calls.select(["provider", "model_served", "model_asked", "lane"]).filter(
            pc.equal(standing, _UNPRICED)
        )
        if not len(missing):
            return
        pairs = zip(*(whole(missing.column(name)).to_pylist() for name in missing.column_names), strict=True)
        for provider, served, asked, lane in pairs:
            key = Unpriced(provider, served or asked, lane == "bulk")
            self.unpriced[key] = self.unpriced.get(key, 0) + 1


def _standing(calls: pa.Table, known: Any) -> Any:
    """What is known of the cost of each call, int8."""
    state = whole(calls.column("state"))
    answered, unknown = (
        pc.fill_null(pc.equal(state.dictionary, word).take(state.indices), fill_value=False)
        for word in ("answered", "unknown")
    )
    measured = whole(calls.column("prompt_tokens")).is_valid()
    codes = [pa.scalar(code, pa.int8()) for code in range(5)]
    found = pc.if_else(known, codes[_KNOWN], pc.if_else(measured, codes[_UNPRICED], codes[_UNMEASURED]))
    return pc.if_else(unknown, codes[_UNKNOWN], pc.if_else(answered, found, codes[_FREE]))


def units(cost: Decimal | None) -> int:
    """A sum of costs in 10⁻¹² of the currency unit."""
    if cost is None:
        return 0
    _, digits, exponent = cost.as_tuple()
    assert exponent == -COST_DIGITS
    return int("".join(map(str, digits)))


def _known(sum_: int | None, more: int | None) -> int | None:
    if more is None:
        return sum_
    return more if sum_ is None else sum_ + more


def total_of(groups: Iterable[Sums]) -> Sums:
    """The sums of several groups, all in one currency."""
    total = Sums()
    for sums in groups:
        total.add(sums)
    return total
