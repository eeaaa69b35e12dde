"""How a cost report looks on a terminal: a table of groups, and lines about all calls under it.

Owns the layout, 80 cells wide or as wide as the terminal. It computes nothing but what a person reads more easily.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from rich.cells import cell_len, set_cell_size

from batch.cli.text import count, decimal, pairs, wrapped
from batch.core.clock import MICROSECONDS
from batch.core.plain import clean
from batch.core.records import cost_decimal
from batch.report.cost.exchange import Exchange
from batch.report.cost.public import totals
from batch.report.cost.report import CostReport, Group
from batch.report.cost.savings import Savings
from batch.report.cost.sums import Sums, Unpriced
from batch.report.cost.waste import WASTE
from batch.report.cost.zones import PERIODS

_NARROW, _NARROWEST = 12, 8
"""Cells of a name that is cut because the line has no more room: rather than fewer, columns of tokens are left out."""
_BESIDE: Final = 20
"""Cells in front of what is said under the table."""
_FORMS: Final = (
    (False, ()),
    (True, ()),
    (True, ("cached",)),
    (True, ("cached", "out")),
    (True, ("cached", "out", "tokens in")),
)
"""Ways to write a table, the widest first: whether counts are short, and which columns are left out."""
_UNITS: Final = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
_WAYS: Final = {"failed": "failed", "retried": "retried", "reasked": "re-asked", "duplicate": "duplicate"}
_UNPRICED_SHOWN: Final = 5
_NOT_KNOWN: Final = "not known"


def lines(
    report: CostReport, savings: Savings, exchange: Exchange | None, *, as_model: str | None = None
) -> Iterator[str]:
    """The whole report.

    Args:
        report: what was found.
        savings: tells what was saved.
        exchange: rates by which the total is converted; None converts nothing.
        as_model: the other model whose price stands beside what was booked.
    """
    yield _title(report)
    if report.first_us is None:
        lost = any(folder.missing for folder in report.folders)
        yield "No call of these was found" + (" in what can be read." if lost else ", so nothing was spent.")
        return
    yield from _table(report, as_model)
    yield ""
    yield from _about(report, savings, exchange)
    yield from _unpriced(report)


def _title(report: CostReport) -> str:
    folders = [clean(folder.folder.text) for folder in report.folders]
    where = folders[0] if len(folders) == 1 else count(len(folders), "folder")
    calls = sum(sums.calls for sums in report.totals.values())
    if report.first_us is None or report.last_us is None:
        return f"{where}: {count(calls, 'call')}"
    return f"{where}: {count(calls, 'call')}, sent {_minute(report.first_us)} to {_minute(report.last_us)} UTC"


def _minute(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / MICROSECONDS, UTC).strftime("%Y-%m-%d %H:%M")


# -- the table --------------------------------------------------------------------------------------------------------


def _table(report: CostReport, as_model: str | None) -> Iterator[str]:
    names = [clean(key.name) for key in report.keys] or [""]
    only = _only_currency(report)
    new = [f"as {as_model}" if as_model else "new prices"] if report.new_totals else []
    head = ["calls", "tokens in", "out", "cached", f"cost, {clean(only, most=12)}" if only else "cost", *new]
    groups = [_cells(group, _values(group), report, only) for group in report.groups] if report.keys else []
    sums = [_cells(group, ["total"] + [""] * (len(names) - 1), report, only) for group in totals(report)]
    cuttable = [at for at, name in enumerate(names) if name not in PERIODS]
    rows: list[list[str]] = []
    widths: list[int] = []
    over = 0
    for short, without in _FORMS:
        rows = [[*names, *head], *_shaped([*groups, *sums], short=short)]
        left_out = {len(names) + head.index(name) for name in without}
        rows = [[cell for at, cell in enumerate(row) if at not in left_out] for row in rows]
        widths = [max(cell_len(row[at]) for row in rows) for at in range(len(rows[0]))]
        over = 2 + sum(widths) + 2 * (len(widths) - 1) - _width()
        if over <= sum(max(0, widths[at] - _NARROW) for at in cuttable):
            break
    for at in sorted(cuttable, key=lambda at: -widths[at]):
        less = min(max(0, over), max(0, widths[at] - _NARROWEST))
        widths[at] -= less
        over -= less
    for number, row in enumerate(rows):
        if number == len(rows) - len(sums) and groups:
            yield ""
        yield _line(row, widths, len(names))


def _only_currency(report: CostReport) -> str | None:
    """The currency of every amount that was booked, where there is only one."""
    known = {group.currency for group in (*report.groups, *totals(report)) if group.sums.cost is not None}
    return known.pop() if len(known) == 1 else None


def _values(group: Group) -> list[str]:
    return ["(null)" if value is None else clean(value) or "(empty)" for value in group.values]


_Cells = tuple[list[str], Sums, list[str]]


def _cells(group: Group, values: list[str], report: CostReport, only: str | None) -> _Cells:
    money = [_money(None if group.currency == only else group.currency, group.sums)]
    if report.new_totals:
        money.append(" + ".join(_money(currency, sums) for currency, sums in group.new if sums.cost or currency))
    return values, group.sums, money


def _money(currency: str | None, sums: Sums) -> str:
    if sums.cost is None:
        return _NOT_KNOWN if sums.answered else "–"
    return f"{decimal(cost_decimal(sums.cost))} {clean(currency, most=12) if currency else ''}".rstrip()


def _shaped(cells: Sequence[_Cells], *, short: bool) -> Iterator[list[str]]:
    for values, sums, money in cells:
        calls, *tokens = (
            _short(n) if short else f"{n:,}" for n in (sums.calls, sums.prompt_tokens, sums.completion_tokens)
        )
        if not sums.measured:
            tokens = [_NOT_KNOWN if sums.answered else "–"] * 2
        yield [*values, calls, *tokens, _share(sums), *money]


def _share(sums: Sums) -> str:
    if sums.cached_tokens is None or not sums.prompt_tokens:
        return "–"
    return f"{100 * sums.cached_tokens / sums.prompt_tokens:.0f} %"


def _short(number: int) -> str:
    """A count in four digits at most."""
    for size, name in _UNITS:
        if number >= 10_000 and number >= size:
            return f"{number / size:.3g} {name}" if number < 1_000 * size else f"{number / size:,.0f} {name}"
    return f"{number:,}"


def _line(row: Sequence[str], widths: Sequence[int], names: int) -> str:
    padded = []
    for at, cell in enumerate(row):
        if cell_len(cell) > widths[at]:
            padded.append(set_cell_size(cell, widths[at] - 1).rstrip() + "…")
        else:
            blanks = " " * (widths[at] - cell_len(cell))
            padded.append(cell + blanks if at < names else blanks + cell)
    return f"  {'  '.join(padded)}".rstrip()


def _width() -> int:
    """The width of the terminal in cells, 80 at least; where there is none, that of a usual one."""
    return max(80, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 80


# -- under it ---------------------------------------------------------------------------------------------------------


def _about(report: CostReport, savings: Savings, exchange: Exchange | None) -> list[str]:
    zones = [f"of {zone} ({', '.join(sorted(found))})" for zone, found in sorted(report.zones.items())]
    days = any(key.name in ("hour", "day", "week", "month") for key in report.keys)
    about = [
        ("paid for nothing", _each(report, _wasted)),
        ("cache", _each(report, lambda currency, sums: _cached(currency, sums, savings))),
        ("batch and flex", _each(report, lambda currency, sums: _tiers(currency, sums, savings))),
        ("off-peak", _each(report, lambda currency, sums: _off_peak(currency, sums, savings))),
        ("unknown calls", _each(report, _unknown)),
        ("converted", "" if exchange is None else _converted(report, exchange)),
        ("days", "; ".join(zones) if days else ""),
        ("without a row", _rows(report)),
        ("unpublished", _waiting(report)),
    ]
    return pairs((name, _lines(value)) for name, value in about)


def _lines(text: str) -> str:
    """The text in lines that fit beside a name."""
    return "\n".join(line for part in text.split("\n") for line in wrapped(part, less=_BESIDE))


def _each(report: CostReport, said: object) -> str:
    """What is said of the calls of each currency, a line for each."""
    assert callable(said)
    return "\n".join(text for currency, sums in report.totals.items() if (text := said(currency, sums)))


def _amount(units: int, currency: str | None) -> str:
    return f"{decimal(cost_decimal(units))} {clean(currency or '', most=12)}".rstrip()


def _wasted(currency: str | None, sums: Sums) -> str:
    parts = [
        f"{_WAYS[way]} {decimal(cost_decimal(sums.wasted[way].cost))} ({count(sums.wasted[way].calls, 'call')})"
        for way in WASTE
        if way in sums.wasted
    ]
    if not parts:
        return "" if not sums.answered else _amount(0, currency)
    share = f" ({100 * sums.wasted_cost / sums.cost:.1f} %)" if sums.cost else ""
    return f"{_amount(sums.wasted_cost, currency)}{share}\n" + "\n".join(parts)


def _cached(currency: str | None, sums: Sums, savings: Savings) -> str:
    if not sums.cached_tokens:
        return ""
    saved = savings.of(sums)
    said = (
        f"{sums.cached_tokens:,} tokens, {100 * sums.cached_tokens / max(1, sums.prompt_tokens):.1f} % of those asked"
    )
    if saved.cache is not None:
        said += f", saved {_amount(saved.cache, currency)}"
    return (
        f"{said}\n{count(saved.lost_calls, 'call')} by prices of another file: --prices FILE knows what was saved"
        if saved.lost_calls
        else said
    )


def _tiers(currency: str | None, sums: Sums, savings: Savings) -> str:
    saved = savings.of(sums).tiers
    return ", ".join(f"{tier} saved {_amount(units, currency)}" for tier, units in sorted(saved.items()))


def _off_peak(currency: str | None, sums: Sums, savings: Savings) -> str:
    saved = savings.of(sums).off_peak
    return "" if saved is None else f"saved {_amount(saved, currency)} against the dearest hours"


def _unknown(currency: str | None, sums: Sums) -> str:
    parts = [
        f"{sums.unknown:,} never answered, possibly billed" if sums.unknown else "",
        f"{sums.unmeasured:,} answered without a word on tokens" if sums.unmeasured else "",
    ]
    said = ", ".join(part for part in parts if part)
    if sums.unknown + sums.unmeasured > sums.unbounded:
        said += f": at most {_amount(sums.bound, currency)}"
    return (
        f"{said}\nof {sums.unbounded:,} nothing can be said: no max_tokens, no price, or more than text"
        if sums.unbounded
        else said
    )


def _converted(report: CostReport, exchange: Exchange) -> str:
    costs = {currency: sums.cost or 0 for currency, sums in report.totals.items() if currency is not None}
    total = exchange.converted(costs)
    if total is None:
        missing = sorted(set(costs) - {exchange.to, *exchange.rates})
        return f"not possible: there is no rate from {', '.join(missing)} into {exchange.to}"
    used = [rate for currency, rate in exchange.rates.items() if currency in costs]
    by = [f"1 {rate.from_} = {rate.rate} {rate.to} on {rate.date} ({clean(rate.source, most=60)})" for rate in used]
    return "\n".join([_amount(total, exchange.to), *by])


def _rows(report: CostReport) -> str:
    if not report.astray:
        return ""
    lost = ", or in a file that cannot be read" if any(folder.missing for folder in report.folders) else ""
    return f"{count(report.astray, 'answered call')} of rows that are in no table: under way, or pruned{lost}"


def _waiting(report: CostReport) -> str:
    said = f"{count(report.waiting, 'call')} in a ledger alone so far, counted too" if report.waiting else ""
    if any(folder.at_work for folder in report.folders):
        said += f"{'; ' if said else ''}a run is at work, and calls under way are not in it yet"
    return said


def _unpriced(report: CostReport) -> Iterator[str]:
    if not report.unpriced:
        return
    yield ""
    yield f"Without a price, so in no sum: {count(sum(report.unpriced.values()), 'call')}."
    ranked = sorted(report.unpriced.items(), key=lambda item: -item[1])
    for whose, calls in ranked[:_UNPRICED_SHOWN]:
        by = ", by batch files" if whose.batch else ""
        yield f"  {calls:,} of {clean(whose.model or '?')} ({clean(whose.provider or '?')}{by})"
    if len(ranked) > _UNPRICED_SHOWN:
        yield f"  … {count(len(ranked) - _UNPRICED_SHOWN, 'more model')}: --json has all of them"
    whose = ranked[0][0]
    yield from wrapped("Write down what it costs, a million tokens each, and reckon anew with --prices FILE:")
    yield from (f"  {line}" for line in _price_lines(whose))


def _price_lines(whose: Unpriced) -> list[str]:
    return [
        "[[price]]",
        f'providers = ["{clean(whose.provider or "")}"]',
        f'models = ["{clean(whose.model or "").lower()}"]',
        'currency = "…"',
        *(['tier = "batch"'] if whose.batch else []),
        'input = "…"',
        'output = "…"',
        'source = "…"',
    ]
