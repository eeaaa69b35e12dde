"""Tells what the calls of output folders have cost, in groups: one pass over the book, in a memory that stays flat.

Owns the order of that pass: which calls count, which rows they belong to, how they are grouped and summed. What groups
there are is `keys`', what was paid for nothing `waste`'s, what a call costs at other prices `repricing`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.core.records import COST_DIGITS
from batch.output.unreadable import UnreadableFile
from batch.report.cost import waste
from batch.report.cost.book import BookFolder, open_folders
from batch.report.cost.keys import Key, Stretch, conditions, keys_of
from batch.report.cost.repricing import Repricing
from batch.report.cost.sums import CALLS, Summing, Sums, total_of
from batch.report.cost.waste import rows_of, ways
from batch.report.cost.windows import whole
from batch.report.cost.zones import Limit, Zones

_ZERO: Final = pa.scalar(0, pa.int8())


class Query(msgspec.Struct, frozen=True):
    """What is asked of the book."""

    by: tuple[str, ...] = ()
    since: Limit | None = None
    until: Limit | None = None
    zones: Zones = msgspec.field(default_factory=Zones)
    provider: str | None = None
    """Only calls of this one."""
    where: tuple[str, ...] = ()
    """Only calls that have these values: each as `NAME=VALUE`, with a name of `--by`."""


class Group(msgspec.Struct, frozen=True):
    """The calls of one group in one currency."""

    values: tuple[str | None, ...]
    currency: str | None
    sums: Sums
    """At the prices of the book."""
    new: tuple[tuple[str | None, Sums], ...] = ()
    """At the other prices, by currency, where such were asked for."""


class CostReport:
    """What calls have cost.

    Args:
        outs: the output folders; their runs may be at work.
        query: which calls, and how to group them.
        repricing: other prices to hold beside those of the book; None for the book alone.

    Raises:
        OutputError: one is no output folder.
        RefusedToStart: there is no such thing to group by, or it has too many values.
        StorageError: a ledger or a file cannot be read.

    Attributes:
        folders: the books that were read.
        keys: what the groups are made by.
        groups: in the order of their values.
        totals: of all calls, by currency; None stands for calls that have none.
        new_totals: the same at the other prices.
        unpriced: how many calls have no price, by provider and model; at the other prices, where such were asked for.
        zones: by the zone of its days, the providers that were met.
        first_us: when the first of the calls was sent; None when there are none.
        last_us: when the last was.
        waiting: how many calls of this time the ledgers alone have: they are not published yet.
        astray: how many answered calls belong to rows that are in no table: pruned, or not published yet.
    """

    def __init__(self, outs: Sequence[Path], query: Query, repricing: Repricing | None = None) -> None:
        self.folders = open_folders(outs)
        self._query = query
        self._repricing = repricing
        while (broken := self._broken()) is not None:
            if not any(folder.leave_out(broken) for folder in self.folders):
                raise broken
        self.groups = self._grouped()
        self.totals = _by_currency(self._book)
        self.new_totals = _by_currency(self._new) if repricing is not None else {}
        self.unpriced = (self._new if repricing is not None else self._book).unpriced

    def _broken(self) -> UnreadableFile | None:
        """Go over all books from their beginning; the file at which that breaks off, None when all was read."""
        self.zones: dict[str, set[str]] = {}
        self.first_us: int | None = None
        self.last_us: int | None = None
        self.waiting = self.astray = 0
        self._book, self._new = Summing(), Summing()
        try:
            self.keys: list[Key] = keys_of(self._query.by, self.folders, self._query.zones)
            self._where = conditions(self._query.where, self.folders, self._query.zones)
            for folder in self.folders:
                self._read(folder)
        except UnreadableFile as exc:
            return exc
        return None

    def _read(self, folder: BookFolder) -> None:
        keys = [*self.keys, *(key for key, _ in self._where)]
        calls = ["row_number", *CALLS, *waste.CALLS, "service_tier", *(name for key in keys for name in key.calls)]
        rows = [*waste.RESULTS, *(name for key in keys for name in key.results)]
        self.waiting += self._count_waiting(folder)
        for made, table in folder.stretches(list(dict.fromkeys(calls)), list(dict.fromkeys(rows))):
            places = rows_of(made, table)
            codes = ways(made, table, places)
            # Only now: whether a call was asked again may stand beyond the end of the time asked for.
            stretch = Stretch(folder, made, table, places)
            wanted = self._wanted(stretch)
            if wanted is not None:
                kept = made.filter(wanted).combine_chunks()
                stretch, codes = Stretch(folder, kept, table, places.filter(wanted)), codes.filter(wanted)
            if len(stretch.calls):
                self._sum(stretch, codes)

    def _wanted(self, stretch: Stretch) -> Any:
        """Which calls are asked for; None for all of them."""
        wanted = chosen(stretch.calls, self._query)
        for key, value in self._where:
            values = key.values(stretch)
            same = pc.fill_null(pc.equal(values.dictionary, value).take(values.indices), fill_value=False)
            wanted = same if wanted is None else pc.and_(wanted, same)
        return wanted

    def _sum(self, stretch: Stretch, codes: Any) -> None:
        calls = stretch.calls
        ends = pc.min_max(whole(calls.column("sent_at")).cast(pa.int64())).as_py()
        self.first_us = ends["min"] if self.first_us is None else min(self.first_us, ends["min"])
        self.last_us = ends["max"] if self.last_us is None else max(self.last_us, ends["max"])
        for provider in whole(calls.column("provider")).unique().to_pylist():
            self.zones.setdefault(self._query.zones.of(provider).key, set()).add(provider)
        values = [key.values(stretch) for key in self.keys]
        self._book.add(calls, values, codes)
        if self._repricing is not None:
            repriced, money = self._repricing.money(calls)
            self._new.add(repriced, values, codes, money)
        if stretch.places.null_count:
            alone = whole(calls.column("state")).dictionary_decode().filter(stretch.places.is_null())
            self.astray += pc.sum(pc.equal(alone, "answered")).as_py() or 0

    def _count_waiting(self, folder: BookFolder) -> int:
        waiting = folder.waiting
        if not len(waiting):
            return 0
        wanted = chosen(waiting, self._query)
        return len(waiting) if wanted is None else pc.sum(wanted).as_py() or 0

    def _grouped(self) -> list[Group]:
        book = _settled(self._book)
        new: dict[tuple[str | None, ...], list[tuple[str | None, Sums]]] = {}
        for (values, currency), sums in _settled(self._new).items():
            new.setdefault(values, []).append((currency, sums))
        found = []
        for (values, currency), sums in sorted(book.items(), key=_order):
            # The other prices stand beside the first currency of the group: they are of the same calls.
            found.append(
                Group(values, currency, sums, tuple(sorted(new.pop(values, []), key=lambda one: one[0] or "")))
            )
        return found


def chosen(calls: pa.Table, query: Query) -> Any:
    """Which of some calls are asked for, as N truth values; None for all of them."""
    masks = []
    provider = whole(calls.column("provider"))
    texts = provider.dictionary_decode() if pa.types.is_dictionary(provider.type) else provider
    if query.provider is not None:
        masks.append(pc.fill_null(pc.equal(texts, query.provider), fill_value=False))
    times = whole(calls.column("sent_at")).cast(pa.int64())
    for limit, is_inside in ((query.since, pc.greater_equal), (query.until, pc.less)):
        if limit is None:
            continue
        names = texts.unique().to_pylist()
        mask: Any = None
        for name in names:
            inside = is_inside(times, limit.at_us(query.zones.of(name)))
            mine = texts.is_null() if name is None else pc.fill_null(pc.equal(texts, name), fill_value=False)
            mask = inside if mask is None else pc.if_else(mine, inside, mask)
        if mask is not None:
            masks.append(mask)
    found = None
    for mask in masks:
        found = mask if found is None else pc.and_(found, mask)
    return found


def _settled(summing: Summing) -> dict[tuple[tuple[str | None, ...], str | None], Sums]:
    """The groups; calls that are in no currency stand with the only currency of their group, if it has one only."""
    found = dict(summing.groups)
    currencies: dict[tuple[str | None, ...], list[str]] = {}
    for values, currency in found:
        if currency is not None:
            currencies.setdefault(values, []).append(currency)
    for values, known in currencies.items():
        if len(known) == 1 and (alone := found.pop((values, None), None)) is not None:
            found[values, known[0]] = total_of([found[values, known[0]], alone])
    for place, sums in found.items():
        if place[1] is None and (sums.unpriced or sums.unmeasured or sums.unknown):
            found[place] = msgspec.structs.replace(sums, cost=None)  # refused calls make no zero of what is not known
    return found


def _by_currency(summing: Summing) -> dict[str | None, Sums]:
    """The sums of all calls, with the same rule as for one group."""
    whole_book = Summing()
    for (_, currency), sums in summing.groups.items():
        whole_book.groups.setdefault(((), currency), Sums()).add(sums)
    return {currency: sums for (_, currency), sums in sorted(_settled(whole_book).items(), key=_order)}


def _order(item: tuple[tuple[tuple[str | None, ...], str | None], Sums]) -> Any:
    """Groups by their values, numbers as numbers, null last; then by currency."""
    (values, currency), _ = item
    return [_place(value) for value in (*values, currency)]


def _place(value: str | None) -> tuple[int, float, str]:
    if value is None:
        return (2, 0.0, "")
    try:
        return (0, float(value), value) if value[:1].isdigit() or value[:1] == "-" else (1, 0.0, value)
    except ValueError:
        return (1, 0.0, value)


def decimal_text(units: int) -> str:
    """An amount in 10⁻¹² of a currency unit as decimal text with all its digits, never in exponent form."""
    whole_units, rest = divmod(abs(units), 10**COST_DIGITS)
    return f"{'-' if units < 0 else ''}{whole_units}.{rest:0{COST_DIGITS}d}"
