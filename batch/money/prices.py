"""Prices: which line of the price lists a call is billed by, and what it costs exactly.

Owns the search: by provider, model, tier, lengths and the moment a call was sent. Lines that a user gives win over the
book that comes with promptmill. Unknown is None, never 0. It does not know how price files are written, converts no
currency, fetches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from batch.core.clock import MICROSECONDS
from batch.core.hours import Window
from batch.core.records import Usage
from batch.job.job import Job
from batch.money import pricefile
from batch.money.rates import Rates, Tier, tier_of
from batch.money.shelves import Book, Lines, Shelf, matches

_CACHE_MAX: Final = 4096
_HOUR_US: Final = 3600 * MICROSECONDS
_MINUTE_US: Final = 60 * MICROSECONDS


class Charge(msgspec.Struct, frozen=True, gc=False):
    """What a call costs."""

    cost: int
    """In 10⁻¹² of the currency unit."""
    currency: str
    price_id: str


class _Group(msgspec.Struct, frozen=True):
    """Lines that begin to count at the same moment: each call falls into one of them, by its hour and its lengths."""

    from_us: int
    to_us: int | None
    always: tuple[Rates, ...]
    hours: tuple[tuple[tuple[Window, ...], tuple[Rates, ...]], ...]
    """Those of some hours; `always` counts at all others."""

    @property
    def free(self) -> bool:
        return all(line.free for lines in (self.always, *(some for _, some in self.hours)) for line in lines)

    def at(self, at_us: int) -> tuple[Rates, ...]:
        for windows, lines in self.hours:
            if any(at_us in window for window in windows):
                return lines
        return self.always


_Groups = Mapping[Tier, Sequence[_Group]]
"""By tier, latest first."""


class Prices:
    """All prices there are, in which a repeated search costs one access to a dictionary.

    Args:
        shelves: lines that belong together, the nearest first: a shelf that knows a model hides those behind it.
        host: where calls go; None where that is not known. Lines of another host of the same provider are left out.
    """

    def __init__(self, *shelves: Shelf, host: str | None = None) -> None:
        self._shelves = shelves
        self._host = host
        self._found: dict[tuple[str, str], tuple[_Groups, ...]] = {}
        self._bounds: dict[tuple[str, str, Tier, int], tuple[Rates, ...]] = {}
        self._latest: dict[tuple[str, str, str | None, str], tuple[int, tuple[Rates, ...]]] = {}
        """By what was asked for: the minute, and the lines that counted in it."""

    @classmethod
    def load(
        cls,
        *files: Path,
        lines: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        job: str = "the job",
        behind: Sequence[Path] = (),
        host: str | None = None,
    ) -> Prices:
        """Read price files and the book, the nearest first: files, lines of a job, files behind them, the book.

        Args:
            files: price files that win over everything else, as `--prices` gives one.
            lines: by provider, the `[[provider.NAME.price]]` tables of a job.
            job: where those stand: the path of a job file, or any name of the job.
            behind: price files that win over the book alone, as `prices` in a job gives one.
            host: where calls go, where that is known: some providers have another list at each of their addresses.

        Raises:
            RefusedToStart: a file cannot be read, is not TOML, or has wrong prices: each with its line and the way out.
        """
        shelves: list[Shelf] = [Lines(pricefile.read_file(path)) for path in files]
        if lines and any(lines.values()):
            found = [line for name, tables in lines.items() for line in pricefile.read_tables(tables, name, job=job)]
            shelves.append(Lines(found))
        shelves += [Lines(pricefile.read_file(path)) for path in behind]
        return cls(*shelves, Book.shipped(), host=host)

    @classmethod
    def of_job(cls, job: Job, file: Path | None = None, *, host: str | None = None) -> Prices:
        """The prices that count for a job, as `load` orders them.

        Args:
            job: with its price file and the prices of its own providers.
            file: a price file that wins over both.
            host: where its calls go.

        Raises:
            RefusedToStart: as `load` does.
        """
        lines = {name: table.price for name, table in job.provider.items()}
        return cls.load(
            *([file] if file is not None else []),
            lines=lines,
            job=job.where,
            behind=[job.prices] if job.prices is not None else [],
            host=host,
        )

    def rates(
        self,
        provider: str,
        model: str,
        at_us: int,
        *,
        prompt_tokens: int,
        completion_tokens: int,
        tier: str | None = None,
        lane: str = "sync",
    ) -> Rates | None:
        """The line that a call is billed by, or None when there is none.

        Upper and lower case are the same. An exact name goes before a pattern, then what began later before what began
        earlier.

        Args:
            provider: its name.
            model: its name, as the answer says it.
            at_us: when the call was sent, in microseconds of UTC.
            prompt_tokens: of the whole call, cached ones included.
            completion_tokens: of the whole call, reasoning included.
            tier: `service_tier` of the answer, else of the request; None is the standard one.
            lane: how the call travelled.
        """
        for line in self._now(provider, model, at_us, tier, lane):
            if line.holds(prompt_tokens, completion_tokens):
                return line
        return None

    def charge(
        self,
        provider: str,
        model: str,
        at_us: int,
        usage: Usage,
        *,
        tier: str | None = None,
        lane: str = "sync",
    ) -> Charge | None:
        """What a call of these tokens costs, or None when there is no price for it; the rest is as in `rates`."""
        known = self._latest.get((provider, model, tier, lane))  # once a call: `_now` where that is of another minute
        current = known is not None and known[0] == at_us // _MINUTE_US
        for line in known[1] if known and current else self._now(provider, model, at_us, tier, lane):
            if line.holds(usage.prompt_tokens, usage.completion_tokens):
                return Charge(line.cost(usage), line.currency, line.id)
        return None

    def bound(
        self,
        provider: str,
        model: str,
        at_us: int,
        *,
        prompt_tokens: int,
        completion_tokens: int,
        tier: str | None = None,
        lane: str = "sync",
    ) -> Charge | None:
        """The most that a call of up to so many tokens can cost that is sent now or within the hour after this one.

        In any band that such a call can fall into, with nothing cached and all that may be written to a cache written;
        at the tier it asks for or at the standard one, which it gets when that tier is full.

        Args:
            provider: its name.
            model: its name.
            at_us: now, in microseconds of UTC.
            prompt_tokens: the most it can have.
            completion_tokens: the most it can have.
            tier: `service_tier` of the request.
            lane: how the call will travel.

        Returns:
            None when some price it may be billed by is not known.
        """
        asked = tier_of(tier, lane)
        if asked is None:
            return None
        best: Charge | None = None
        for line in self._within(provider, model, at_us // _HOUR_US, asked):
            most = line.most(prompt_tokens, completion_tokens)
            if most is not None and (best is None or most > best.cost):
                best = Charge(most, line.currency, line.id)
        return best

    def by_id(self, price_id: str) -> Rates | None:
        """The line that a stored `price_id` names, or None when no file that was read has it."""
        return next((line for shelf in self._shelves if (line := shelf.by_id(price_id)) is not None), None)

    def lines(self, provider: str | None = None, model: str | None = None) -> list[Rates]:
        """All lines, the nearest first, in the order in which they are written.

        Args:
            provider: only lines of this one.
            model: only lines that are for this name, by name or by pattern.
        """
        provider, model = provider and provider.lower(), model and model.lower()
        return [
            line
            for shelf in self._shelves
            for line in shelf.lines()
            if (provider is None or provider in line.providers) and (model is None or matches(line.models, model))
        ]

    def currency(self, provider: str, model: str, at_us: int) -> str | None:
        """The currency a model is billed in at a moment; None when it has no price."""
        return next((line.currency for line in self._at(provider, model, at_us, "standard")), None)

    def current(
        self, provider: str, model: str, at_us: int, *, tier: str | None = None, lane: str = "sync"
    ) -> tuple[Rates, ...]:
        """The lines that count on the day of a moment, whatever the hour and the lengths; the rest is as in `rates`."""
        known = tier_of(tier, lane)
        group = None if known is None else self._group(provider, model, at_us, known)
        return () if group is None else (*group.always, *(line for _, lines in group.hours for line in lines))

    def _at(self, provider: str, model: str, at_us: int, tier: Tier) -> tuple[Rates, ...]:
        """The lines that count at a moment: one for each band; empty when there are none."""
        group = self._group(provider, model, at_us, tier)
        return () if group is None else group.at(at_us)

    def _now(self, provider: str, model: str, at_us: int, tier: str | None, lane: str) -> tuple[Rates, ...]:
        """`_at` for a tier as a call names it; prices change at whole minutes, and most calls are of the same one."""
        asked, minute = (provider, model, tier, lane), at_us // _MINUTE_US
        known = self._latest.get(asked)
        if known is None or known[0] != minute:
            if len(self._latest) >= _CACHE_MAX:
                self._latest.clear()
            named = tier_of(tier, lane)
            known = minute, () if named is None else self._at(provider, model, at_us, named)
            self._latest[asked] = known
        return known[1]

    def _group(self, provider: str, model: str, at_us: int, tier: Tier) -> _Group | None:
        for tiers in self._groups(provider, model):
            group = _valid(tiers.get(tier, ()), at_us)
            if group is None and tier == "batch":
                standard = _valid(tiers.get("standard", ()), at_us)
                group = standard if standard is not None and standard.free else None  # no batch costs more than that
            # A list that has the model and not the tier does not publish it; what another one says is not its price.
            if group is not None or any(_valid(groups, at_us) for groups in tiers.values()):
                return group
        return None

    def _groups(self, provider: str, model: str) -> tuple[_Groups, ...]:
        """What is known of a model: on each shelf the lines of its name, then those of patterns."""
        known = self._found.get((provider, model))
        if known is None:
            if len(self._found) >= _CACHE_MAX:  # a server may make up a model name for every call
                self._found.clear()
            known = self._found[provider, model] = tuple(self._search(provider.lower(), model.lower()))
        return known

    def _search(self, provider: str, model: str) -> Iterable[_Groups]:
        for shelf in self._shelves:
            lines = self._here(provider, shelf.named(provider, model))
            for hosts in dict.fromkeys(line.hosts for line in lines):
                here = [line for line in lines if line.hosts == hosts]
                exact = [line for line in here if model in line.models]
                yield from (_grouped(found) for found in (exact, here) if found)

    def _here(self, provider: str, lines: Sequence[Rates]) -> Sequence[Rates]:
        """Lines without those of another host, where ours is one of those that have a list of their own."""
        if not any(line.hosts for line in lines):
            return lines
        if all(self._host not in shelf.hosts(provider) for shelf in self._shelves):
            return lines  # not known, or an address that no list names, such as a gateway's
        return [line for line in lines if not line.hosts or self._host in line.hosts]

    def _within(self, provider: str, model: str, hour: int, asked: Tier) -> tuple[Rates, ...]:
        """The lines a call may be billed by that is sent in this hour or the next."""
        key = (provider, model, asked, hour)
        known = self._bounds.get(key)
        if known is None:
            if len(self._bounds) >= _CACHE_MAX:
                self._bounds.clear()
            known = self._bounds[key] = tuple(self._reachable(provider, model, hour * _HOUR_US, asked))
        return known

    def _reachable(self, provider: str, model: str, from_us: int, asked: Tier) -> Iterable[Rates]:
        tiers: list[Tier] = [asked] if asked in {"standard", "batch"} else [asked, "standard"]
        found: dict[str, Rates] = {}
        for minute in range(120):
            at_us = from_us + minute * _MINUTE_US
            lines = [self._at(provider, model, at_us, tier) for tier in tiers]
            if not all(lines):
                return ()
            found |= {line.id: line for some in lines for line in some}
        return found.values()


def _valid(groups: Sequence[_Group], at_us: int) -> _Group | None:
    for group in groups:
        if group.from_us <= at_us and (group.to_us is None or at_us < group.to_us):
            return group
    return None


def _grouped(lines: Sequence[Rates]) -> _Groups:
    together: dict[tuple[Tier, int, int | None], list[Rates]] = {}
    for line in lines:
        together.setdefault((line.tier, -1 if line.from_us is None else line.from_us, line.to_us), []).append(line)
    tiers: dict[Tier, list[_Group]] = {}
    for (tier, from_us, to_us), group in sorted(together.items(), key=lambda pair: pair[0][1], reverse=True):
        hours = dict.fromkeys(line.hours for line in group if line.hours)
        always = tuple(line for line in group if not line.hours)
        some = tuple((windows, tuple(line for line in group if line.hours == windows)) for windows in hours)
        tiers.setdefault(tier, []).append(_Group(from_us, to_us, always, some))
    return tiers
