"""Totals: sums over many calls and rows, for the live line, `status.json`, a run's file and the table at the end.

Owns how they are summed, so that no two of them can disagree. It does not know where they are shown. A run's published
totals are kept in the ledger and change only with a publication; the live ones also count what is not published yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from batch.core.records import Call, Outcome, cost_decimal
from batch.job.options import WORDS, Kind
from batch.ledger.model_sums import ModelSums, add_models, priced_as, public_models

MAX_ERRORS: Final = 1_000
"""How many kinds of failure, or models without a price, a run tells apart: invented codes must not fill the memory."""
OTHERS: Final = "others"
_BOUNDED: Final = ("errors", "without_price")
_WRITTEN: Final = {"units": "cost", "bounds": "cost_bound"}
"""Fields that are called something else where they are written."""

AnsweredBy = Literal["calls", "another row", "nobody"]
"""What brought the outcome of a row: calls of its own, the answer of another row that asks the same, or nothing."""


def answered_by(calls: int | None, deduplicated_from: str | None) -> AnsweredBy:
    """What brought the outcome of a row, by two of its columns."""
    return "another row" if deduplicated_from is not None else "calls" if calls else "nobody"


class Totals(msgspec.Struct):
    """Counts and sums over rows and calls."""

    rows_ok: int = 0
    rows_failed: int = 0
    rows_retryable: int = 0
    rows_copied: int = 0
    """How many of the rows share the answer of another."""
    calls: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    unknown: int = 0
    tool_calls: int = 0
    tool_errors: int = 0
    """How many of the tool calls gave the model an error."""
    polls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    """None as long as no reply said it; the same holds for `cached_tokens`."""
    unknown_usage: int = 0
    """How many answered calls came without their usage."""
    unpriced: int = 0
    """How many calls have known tokens and no price in the table."""
    units: dict[str, int] = msgspec.field(default_factory=dict, name="cost")
    """By currency, in 10⁻¹² of its unit: sums are exact. `cost` has them as decimals."""
    errors: dict[str, int] = {}
    """How many rows failed, by `kind/code`."""
    flags: dict[str, int] = {}
    """How many rows have each flag of `core.flags`."""
    purposes: dict[str, int] = {}
    """How many calls were made for what no row asks at first: `reask`, `escalate`, `sample`."""
    bounds: dict[str, int] = msgspec.field(default_factory=dict, name="cost_bound")
    """By currency, the most that calls whose tokens are not known can have cost; in the unit of `units`."""
    unbounded: int = 0
    """Of how many such calls nothing can be said."""
    token_bound: int = 0
    """The most tokens that the calls can have taken of which that can be said, and whose tokens are not known."""
    rows_asked: int = 0
    """How many of the settled rows were asked at all."""
    without_price: dict[str, int] = {}
    """How many of the `unpriced` calls there are, by `provider/model`; runs of older versions did not say it."""
    models: dict[str, dict[str, ModelSums]] = {}
    """What calls came to by the model they asked and the lane they took; runs of older versions did not say it."""
    held: dict[str, int] = {}  # what budgets count for calls that cannot be told: by pot of a day in `units`; `tokens`

    @property
    def rows(self) -> int:
        """How many rows are settled."""
        return self.rows_ok + self.rows_failed

    @property
    def cost(self) -> dict[str, Decimal]:
        """What is known of the cost, by currency."""
        return {currency: cost_decimal(units) for currency, units in sorted(self.units.items())}

    @property
    def cost_bound(self) -> dict[str, Decimal]:
        """The most that calls whose tokens are not known can have cost, by currency, where that can be said."""
        return {currency: cost_decimal(units) for currency, units in sorted(self.bounds.items())}

    def __repr__(self) -> str:
        fields = msgspec.structs.asdict(self) | {"units": self.cost, "bounds": self.cost_bound}
        return f"Totals({', '.join(f'{_WRITTEN.get(name, name)}={value!r}' for name, value in fields.items())})"

    def add_call(self, call: Call) -> None:
        """Add one final call."""
        state, usage, cost, currency = call.state, call.usage, call.cost, call.currency
        answered = state == "answered"
        self.calls += 1
        setattr(self, state, getattr(self, state) + 1)
        try:  # not a function: this runs for every call
            sums = self.models[call.model_asked][call.lane]
        except KeyError:
            sums = self.models.setdefault(call.model_asked, {}).setdefault(call.lane, ModelSums())
        sums.calls[state] = sums.calls.get(state, 0) + 1
        self.polls += call.polls
        if call.purpose not in (None, "first", "retry"):
            self.purposes[call.purpose] = self.purposes.get(call.purpose, 0) + 1
        if call.held is not None:
            self.held = {name: self.held.get(name, 0) + call.held.get(name, 0) for name in self.held | call.held}
        if usage is None:
            self.unknown_usage += answered
            self._add_bound(call)
            return
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        self.prompt_tokens += prompt
        self.completion_tokens += completion
        self.total_tokens += usage.total_tokens
        sums.prompt_tokens += prompt
        sums.completion_tokens += completion
        if answered:
            if (cached := usage.cached_tokens) is not None:
                self.cached_tokens = (self.cached_tokens or 0) + cached
                sums.cached_tokens = (sums.cached_tokens or 0) + cached
            if (thought := usage.reasoning_tokens) is not None:
                self.reasoning_tokens = (self.reasoning_tokens or 0) + thought
                sums.reasoning_tokens = (sums.reasoning_tokens or 0) + thought
        if cost is None:
            self.unpriced += 1
            _count(self.without_price, priced_as(call), 1)
        elif currency is not None:
            self.units[currency] = self.units.get(currency, 0) + cost
            sums.units[currency] = sums.units.get(currency, 0) + cost

    def _add_bound(self, call: Call) -> None:
        """Add what can be said of a call whose tokens are not known."""
        if call.cost_bound is None or call.currency is None:
            self.unbounded += 1
        else:
            self.bounds[call.currency] = self.bounds.get(call.currency, 0) + call.cost_bound
        self.token_bound += call.token_bound or 0

    def add_outcome(self, outcome: Outcome) -> None:
        """Add one settled row."""
        sums = outcome.sums
        if outcome.status == "ok" and sums.calls and not (outcome.flags or outcome.deduplicated_from):
            self.rows_ok += 1  # what nearly all rows come to; `count_row` says the same of it
            self.rows_asked += 1
            self.tool_calls += sums.tool_calls
            self.tool_errors += sums.tool_errors
            return
        self.count_row(
            ok=outcome.status == "ok",
            retryable=bool(outcome.retryable),
            tool_calls=sums.tool_calls,
            tool_errors=sums.tool_errors,
            kind=outcome.error_kind,
            code=outcome.error_code,
            flags=outcome.flags,
            answered_by=answered_by(sums.calls, outcome.deduplicated_from),
        )

    def count_row(
        self,
        *,
        ok: bool,
        retryable: bool,
        tool_calls: int,
        kind: str | None,
        code: str | None,
        flags: Sequence[str] = (),
        tool_errors: int = 0,
        answered_by: AnsweredBy = "calls",
    ) -> None:
        """Count one settled row by what the table has of it.

        Args:
            ok: whether it has an answer.
            retryable: of a failed one, whether it is worth another try.
            tool_calls: how many tools were called for it.
            kind: the failure's kind.
            code: the failure's code.
            flags: of the row.
            tool_errors: how many of the tool calls gave an error.
            answered_by: what brought its outcome.
        """
        self.rows_copied += answered_by == "another row"
        self.rows_asked += answered_by == "calls"
        self.tool_calls += tool_calls
        self.tool_errors += tool_errors
        for flag in flags:
            self.flags[flag] = self.flags.get(flag, 0) + 1
        if ok:
            self.rows_ok += 1
            return
        self.rows_failed += 1
        self.rows_retryable += retryable
        key: str = kind or "unknown"
        if code:
            key += f"/{code}"
        _count(self.errors, key, 1)

    def add(self, other: Totals) -> None:
        """Add all counts and sums of other totals."""
        for field in msgspec.structs.fields(Totals):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if field.name == "models":
                add_models(mine, theirs)
            elif field.name in _BOUNDED:
                for key, value in theirs.items():
                    _count(mine, key, value)
            elif isinstance(mine, dict):
                for key, value in theirs.items():
                    mine[key] = mine.get(key, 0) + value
            else:
                setattr(self, field.name, _known(mine, theirs))

    def public(self) -> dict[str, Any]:
        """The totals as they are written to files for people and monitors: costs as decimal strings."""
        shown = {_WRITTEN.get(name, name): value for name, value in msgspec.structs.asdict(self).items()}
        del shown["held"]  # no sense without the budget that it counts in, which tells what is left
        for name, costs in (("cost", self.cost), ("cost_bound", self.cost_bound)):
            shown[name] = {currency: f"{cost:f}" for currency, cost in costs.items()}
        shown["models"] = public_models(self.models)
        shown["errors"] = dict(sorted(self.errors.items(), key=lambda item: -item[1])[:100])
        return shown


def _count(counts: dict[str, int], name: str, number: int) -> None:
    """Count something under a name that a server may have made up."""
    if name not in counts and len(counts) >= MAX_ERRORS:
        name = OTHERS
    counts[name] = counts.get(name, 0) + number


def _known(sum_: int | None, more: int | None) -> int | None:
    """The sum of two numbers that may be unknown; None only when both are."""
    if more is None:
        return sum_
    return more if sum_ is None else sum_ + more


class Planned(msgspec.Struct):
    """What planning has found in this run so far, in rows."""

    read: int = 0
    new: int = 0
    changed: int = 0
    retried: int = 0
    unchanged: int = 0
    standing: int = 0
    """Rows that failed for good in an earlier run and are not asked again."""
    source_rows: int = 0
    """Rows of the source that need work: as many as `admitted`, unless each is asked in several variants."""
    refreshed: int = 0
    """Rows that are not asked, and of which other columns changed in the input: the table follows."""
    gone: int | None = None
    """Rows of the table whose row is not in the input any more, or whose variant is not asked any more; None before the
    end of a pass over the whole source."""
    gone_variants: int = 0
    """How many of these are rows whose variant is not asked any more."""
    left_out: int = 0
    """Rows that need work of a kind that this run was not asked to do (`--only`)."""
    empty: str = "fail"
    """What the job said of rows that say nothing (`prompt.empty`); rows before its position were chosen by it."""
    kinds: tuple[Kind, ...] = WORDS
    """The kinds of work this run was asked to do; all rows before its position were chosen by them."""
    given_up: bool = False
    """Whether rows before the position were taken back, so that this pass over the source cannot go on from there."""
    complete: bool = False
    """Whether the whole source was read."""
    left: int | None = None
    """Rows admitted and not settled when the run was closed; None before that."""
    unread: bool | None = None
    """Whether the run was closed before it had looked at all rows of the source; None as for `left`."""
    short: int = 0
    """Rows that are asked for more samples, because they have fewer than the job asks."""
    taken_over: int = 0
    """Rows that get the answer to the same question that stands under the name of a former variant."""

    @property
    def admitted(self) -> int:
        """How many rows need work in this run."""
        return self.new + self.changed + self.retried + self.short
