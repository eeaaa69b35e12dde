"""Holds the book of calls against a bill: what is in one of them alone, and where both tell of one thing differently.

Owns what counts as a difference. A bill that names calls is compared call by call, any other by day or month and model.
A call that was never answered may be on the bill; it agrees if it costs no more than the bound that was stated for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from batch.core.errors import RefusedToStart
from batch.report.cost import zones
from batch.report.cost.bill import Bill, Entry
from batch.report.cost.book import BookFolder, open_folders
from batch.report.cost.matching import Matching
from batch.report.cost.report import CostReport, Query
from batch.report.cost.sums import Sums

Kind = Literal["missing_here", "missing_there", "tokens", "cost", "above_bound", "unbounded", "within_bound"]
KINDS: Final[dict[Kind, str]] = {
    "missing_here": "On the bill, and not in the book.",
    "missing_there": "In the book with a cost, and not on the bill.",
    "tokens": "Both have it, with other tokens.",
    "cost": "Both have it, with another cost or currency.",
    "above_bound": "The bill asks more for calls that were never answered than the most they can cost.",
    "unbounded": "The bill has calls that were never answered, and the book could state no bound for them, because no "
    "max_tokens was set: no fault of either.",
    "within_bound": "The bill has calls that were never answered, for no more than they can cost at most: no fault of "
    "either.",
}
"""How the book and a bill differ, for people."""
EXPLAINED: Final = ("unbounded", "within_bound")
"""Differences that only the bill could tell, and that no side is wrong in."""


class Place(msgspec.Struct, frozen=True):
    """What one side tells of a call, or of a day and model."""

    prompt: int | None = None
    completion: int | None = None
    total: int | None = None
    cost: int | None = None
    currency: str | None = None


class Difference(msgspec.Struct, frozen=True):
    """One thing in which the book and the bill do not agree, or which only the bill could tell."""

    kind: Kind
    period: str | None
    model: str | None
    book: Place | None
    bill: Place | None
    id: str | None = None
    line: int | None = None
    """Of the bill."""
    bound: int | None = None
    """The most that the calls can cost which were never answered; None where nothing can be said."""


class Compared(msgspec.Struct):
    """One day or month and model on both sides, in 10⁻¹² of the currency unit."""

    booked: int = 0
    unknown: int = 0
    """What the bill asks for calls that were never answered, as far as the book does not say that it is too much."""
    billed: int = 0
    differences: int = 0

    @property
    def left(self) -> int:
        """What the bill asks that the book does not explain; negative where it asks less."""
        return self.billed - self.booked - self.unknown


class Reconciliation:
    """What came of comparing a book with a bill.

    Args:
        outs: the output folders.
        query: which calls; without an end of time, those of the days of the bill.
        path: the bill.

    Raises:
        OutputError: one is no output folder.
        RefusedToStart: the bill cannot be read, or the calls are of several providers.
        StorageError: a ledger or a file cannot be read.

    Attributes:
        bill: the file and its columns.
        by_id: whether single calls were compared.
        differences: in the order of the bill, then what is in the book alone.
        compared: by day or month, model and currency.
        first: the first day or month of the bill; None where it tells none.
        last: the last.
        agrees: whether there is no difference but such as are explained.
    """

    def __init__(self, outs: Sequence[Path], query: Query, path: Path) -> None:
        folders = open_folders(outs)
        for folder in folders:
            folder.require_whole()
        self._provider = _provider(folders, query.provider)
        self.zone = query.zones.of(self._provider)
        self.bill = Bill(path, self.zone)
        self.by_id = "id" in self.bill.taken
        self.differences: list[Difference] = []
        self.compared: dict[tuple[str | None, str | None, str | None], Compared] = {}
        self.first: str | None = None
        self.last: str | None = None
        self._decimals = 0
        with Matching() as matching:
            for entry in self.bill.entries():
                self._look(entry)
                matching.put(entry, by_id=self.by_id)
            query = self._within(query)
            if self.by_id:
                for folder in folders:
                    matching.meet(folder, query)
                self._by_id(matching)
            else:
                self._by_period(outs, query, matching)
        self.agrees = all(found.kind in EXPLAINED for found in self.differences)

    def _look(self, entry: Entry) -> None:
        self._decimals = max(self._decimals, entry.decimals)
        if entry.period is not None:
            self.first = min(self.first or entry.period, entry.period)
            self.last = max(self.last or entry.period, entry.period)

    def _within(self, query: Query) -> Query:
        """The query; where it has no end of time, that of the bill, which knows nothing of other days."""
        since = query.since or (zones.since(self.first) if self.first else None)
        until = query.until or (zones.until(self.last) if self.last else None)
        return msgspec.structs.replace(query, since=since, until=until, provider=query.provider or self._provider)

    # -- call by call -------------------------------------------------------------------------------------------------

    def _by_id(self, matching: Matching) -> None:
        for found in matching.billed():
            bill = Place(found.prompt, found.completion, found.total, found.cost, found.currency)
            book = Place(found.our_prompt, found.our_completion, found.our_total, found.our_cost, found.our_currency)
            whole = self._compared(found.period, found.model, found.currency or found.our_currency)
            whole.billed += found.cost or 0
            whole.booked += found.our_cost or 0
            at: dict[str, Any] = {"period": found.period, "model": found.model, "id": found.id, "line": found.line}
            if not found.calls:
                if found.cost or found.prompt or found.completion or found.total:
                    self._differ(whole, Difference("missing_here", book=None, bill=bill, **at))
            elif found.known:
                self._unlike(whole, book, bill, at, lines=found.lines)
            elif found.cost or (found.cost is None and found.total):
                kind = self._unanswered(found.cost or 0, found.bound, found.lines)
                whole.unknown += (found.cost or 0) if kind in EXPLAINED else 0
                self._differ(whole, Difference(kind, book=None, bill=bill, bound=found.bound, **at))
        for ours in matching.unbilled():
            whole = self._compared(ours.period, ours.model, ours.currency)
            whole.booked += ours.cost or 0
            book = Place(ours.prompt, ours.completion, ours.total, ours.cost, ours.currency)
            self._differ(whole, Difference("missing_there", ours.period, ours.model, book, None, ours.id))

    def _unlike(self, whole: Compared, book: Place, bill: Place, at: dict[str, Any], *, lines: int) -> None:
        """Note where both sides tell of one thing differently."""
        pairs = ((book.prompt, bill.prompt), (book.completion, bill.completion), (book.total, bill.total))
        if any(theirs is not None and ours != theirs for ours, theirs in pairs):
            self._differ(whole, Difference("tokens", book=book, bill=bill, **at))
        if bill.cost is None:
            return
        other = bill.currency is not None and book.currency not in (None, bill.currency) and bool(bill.cost)
        if other or book.cost is None or abs(book.cost - bill.cost) > self._slack(lines):
            self._differ(whole, Difference("cost", book=book, bill=bill, **at))

    # -- by day and model ---------------------------------------------------------------------------------------------

    def _by_period(self, outs: Sequence[Path], query: Query, matching: Matching) -> None:
        months = self.first is not None and len(self.first) == len("2026-10")
        theirs = {
            (found.period, found.model, found.currency): found
            for found in matching.billed()
            if found.period is not None
        }
        period = "month" if months else "day"
        names = {model.lower() for _, model, _ in theirs if model is not None}
        ours: dict[tuple[str | None, str | None, str | None], Sums] = {}
        best = -1
        for word in ("model", "served"):  # bills name the one or the other
            report = CostReport(outs, msgspec.structs.replace(query, by=(period, word)))
            for folder in report.folders:
                folder.require_whole()
            met = {group.values[1].lower() for group in report.groups if group.values[1] is not None}
            if len(met & names) > best:
                best, ours = len(met & names), self._ours(report, with_model=bool(names))
            if names <= met:
                break
        only = {currency for _, _, currency in ours if currency is not None}
        for key, found in theirs.items():
            currency = found.currency or (next(iter(only)) if len(only) == 1 else None)
            sums = ours.pop((found.period, found.model and found.model.lower(), currency), None)
            bill = Place(found.prompt, found.completion, found.total, found.cost, currency)
            whole = self._compared(found.period, found.model, currency)
            whole.billed += found.cost or 0
            at: dict[str, Any] = {"period": key[0], "model": key[1], "line": found.line}
            if sums is not None:
                self._sums(whole, sums, bill, at, lines=found.lines)
            elif found.cost or found.prompt or found.completion or found.total:
                self._differ(whole, Difference("missing_here", book=None, bill=bill, **at))
        for (day, model, currency), sums in ours.items():
            if sums.cost or (sums.cost is None and sums.prompt_tokens):
                whole = self._compared(day, model, currency)
                whole.booked += sums.cost or 0
                self._differ(whole, Difference("missing_there", day, model, _place(sums, currency), None))

    def _sums(self, whole: Compared, sums: Sums, bill: Place, at: dict[str, Any], *, lines: int) -> None:
        book = _place(sums, bill.currency)
        whole.booked += sums.cost or 0
        more = (bill.cost or 0) - (sums.cost or 0)
        if (sums.unknown or sums.unmeasured) and (more > 0 if bill.cost is not None else bill.prompt != book.prompt):
            # The bill may have some of the calls that were never answered, whose tokens nobody knows here.
            bound = None if sums.unbounded else sums.bound
            kind = self._unanswered(more, bound, lines)
            whole.unknown += more if kind in EXPLAINED else 0
            self._differ(whole, Difference(kind, book=book, bill=bill, bound=bound, **at))
        else:
            self._unlike(whole, book, bill, at, lines=lines)

    @staticmethod
    def _ours(report: CostReport, *, with_model: bool) -> dict[tuple[str | None, str | None, str | None], Sums]:
        found: dict[tuple[str | None, str | None, str | None], Sums] = {}
        for group in report.groups:
            model = (group.values[1] or "").lower() if with_model else None
            found.setdefault((group.values[0], model, group.currency), Sums()).add(group.sums)
        return found

    # -- both ---------------------------------------------------------------------------------------------------------

    def _unanswered(self, cost: int, bound: int | None, lines: int) -> Kind:
        """How it is to be taken that the bill has calls that were never answered."""
        if bound is None:
            return "unbounded"
        return "within_bound" if cost <= bound + self._slack(lines) else "above_bound"

    def _slack(self, lines: int) -> int:
        """By how much costs may differ because the bill rounds each of its lines."""
        return lines * 10 ** (12 - self._decimals) // 2 if self._decimals < 12 else 0

    def _compared(self, period: str | None, model: str | None, currency: str | None) -> Compared:
        return self.compared.setdefault((period, model and model.lower(), currency), Compared())

    def _differ(self, whole: Compared, difference: Difference) -> None:
        whole.differences += difference.kind not in EXPLAINED
        self.differences.append(difference)

    def sorted(self) -> list[tuple[tuple[str | None, str | None, str | None], Compared]]:
        """Days or months and models in their order, those without one last."""
        return sorted(self.compared.items(), key=lambda item: [(part is None, part or "") for part in item[0]])

    def totals(self) -> dict[str | None, Compared]:
        """The sums of all of them, by currency."""
        found: dict[str | None, Compared] = {}
        for (_, _, currency), whole in self.sorted():
            total = found.setdefault(currency, Compared())
            total.booked += whole.booked
            total.unknown += whole.unknown
            total.billed += whole.billed
        return found

    def kinds(self) -> Iterator[tuple[Kind, int]]:
        """How many differences there are of each kind, those that there are."""
        for kind in KINDS:
            if number := sum(found.kind == kind for found in self.differences):
                yield kind, number


def _place(sums: Sums, currency: str | None) -> Place:
    total = sums.prompt_tokens + sums.completion_tokens
    return Place(sums.prompt_tokens, sums.completion_tokens, total, sums.cost, currency)


def _provider(folders: Sequence[BookFolder], asked: str | None) -> str | None:
    """Whose bill it must be."""
    known = sorted({name for folder in folders for name in folder.providers()})
    if asked is not None or not known:
        return asked
    if len(known) > 1:
        named = " or ".join(f"--provider {name}" for name in known)
        raise RefusedToStart(
            f"these calls are of {' and '.join(known)}, and a bill is of one provider. Say which: {named}"
        )
    return known[0]
