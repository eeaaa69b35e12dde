"""The budget of one run: whether a call may be sent, by the most it can come to.

Owns what calls under way hold, and the order of those who wait for it. Before a call is sent, the most it can come to
(`batch.money.bounds`) is reserved in every limit of `[budget]`; its booking settles that. What does not fit waits while
calls are under way, for most come to less than they hold; when none is, the budget is reached and the run ends. A call
that was sent and never answered keeps what it held: its bound is in the sums of the run. The limits of one run are
checked against those sums, so they hold over its crashes; those that several runs share (a day, a prepaid pack) against
slices in the state folder (`slices`). Rows are counted by themselves: a row that is begun is brought to its end.

It does not know when requests may leave by the provider's limits, and it sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import anyio
import msgspec
from anyio import to_thread

from batch.core.clock import Clock
from batch.core.errors import BudgetReached
from batch.core.records import Call, Lane
from batch.job.budgetspec import BudgetSpec
from batch.ledger.totals import Totals
from batch.money.bounds import CallSize, dearest
from batch.money.pots import CALLS, Held, PotBook
from batch.money.prices import Prices
from batch.submit import reached
from batch.submit.slices import LOOK_AGAIN_S, Slice, Use, day_pot, day_slice, unit_of
from batch.submit.untold import told

STALE_US: Final = 600_000_000
"""A call that waits longer for the provider's limits asks for its money again: another price may hold by then."""


class PurseClosed(Exception):
    """The run takes no new sends; whoever waits for money is told so."""


class Reserved(msgspec.Struct):
    """What one call holds until it is booked."""

    at_us: int
    cost: int
    tokens: int
    slices: tuple[Slice, ...] = ()
    open: bool = True


class Purse:
    """What one run may still spend.

    Args:
        spec: the `[budget]` of the job.
        provider: whose price list counts.
        prices: for the most a call can cost.
        totals: the sums of the run, those before a crash included; they are read here and changed elsewhere.
        clock: tells the day and the hour.
        book: the pots that other runs spend from as well; None where the budget has none.
        run: the name of the run.
        packs: prepaid packs it may use, those that end first in front.
    """

    def __init__(
        self,
        spec: BudgetSpec,
        *,
        provider: str,
        prices: Prices,
        totals: Totals,
        clock: Clock,
        book: PotBook | None = None,
        run: str = "",
        packs: Iterable[Slice] = (),
    ) -> None:
        self.spec = spec
        self.totals = totals
        self.currency = next((amount.currency for amount in spec.amounts.values()), "")
        """Of its limits of money; empty where it has none."""
        self.packs = list(packs)
        self.cost = 0
        """What calls under way can cost."""
        self.tokens = 0
        """How many tokens they can come to."""
        self.under_way = 0
        """Calls that hold something."""
        self.waiting = 0
        """Calls that wait for others to give something back."""
        self._begun: set[int] = set()
        self._days: dict[str, Slice] = {}
        self._provider = provider
        self.prices = [prices]
        """Those of each address that a call may go to."""
        self._clock = clock
        self._book = book
        self._run = run
        self._line = anyio.Lock()
        self._freed = anyio.Event()
        self._opened = False
        self._closed = False

    # -- rows ---------------------------------------------------------------------------------------------------------

    def begin_row(self, work_id: int) -> bool:
        """Whether a row may be asked: it was begun already, or there is room for another one, which it takes."""
        if work_id in self._begun:
            return True
        if self.spec.max_rows is not None and self.rows >= self.spec.max_rows:
            return False
        self._begun.add(work_id)
        return True

    def resume_row(self, work_id: int) -> None:
        """A row that an earlier process began."""
        self._begun.add(work_id)

    def end_row(self, work_id: int) -> None:
        """A row has settled, and is counted in the sums."""
        self._begun.discard(work_id)

    @property
    def rows(self) -> int:
        """Rows that were asked, those that have not settled included."""
        return self.totals.rows_asked + len(self._begun)

    # -- calls --------------------------------------------------------------------------------------------------------

    async def reserve(self, size: CallSize, *, model: str, lane: Lane, tier: str | None = None) -> Reserved:
        """Hold the most that a call can come to; wait for calls under way where it does not fit now.

        Args:
            size: of the request.
            model: who is asked.
            lane: how it travels.
            tier: what the request asks for as `service_tier`.

        Raises:
            BudgetReached: it does not fit, and no call is under way that could give something back.
            PurseClosed: the run takes no new sends.
            StorageError: the state folder cannot be read or written.
        """
        async with self._line:
            while not self._closed:
                self._freed = anyio.Event()  # before the first look: what is given back during one counts in the next
                now_us = self._clock.now_us()
                cost = self._most(size, model, lane, tier, now_us)
                fault = reached.of_the_run(self, cost, size.tokens)
                slices: list[Slice] = []
                await self._leave_ended(now_us)
                if fault is None:
                    for pots in self._pots(now_us):
                        found = await self._chosen(pots, cost, size.tokens)
                        if found is None:
                            fault = reached.of_pots(pots, cost, size.tokens)
                            break
                        slices.append(found)
                if fault is None:
                    return self._hold(now_us, cost, size.tokens, slices)
                if not self.under_way and not self._freed.is_set():
                    raise fault
                await self._something_freed()
        raise PurseClosed

    async def _something_freed(self) -> None:
        self.waiting += 1
        try:
            await self._freed.wait()
        finally:
            self.waiting -= 1

    def adopt(self, cost: int, tokens: int, *, sent_at_us: int) -> Reserved:
        """Hold what a call can come to that the provider works on already, whether it fits or not.

        Args:
            cost: the most it can cost.
            tokens: the most it can come to.
            sent_at_us: when it was sent.
        """
        return self._hold(sent_at_us, cost, tokens, [pots[0] for pots in self._pots(sent_at_us) if pots])

    def most_of(
        self, size: CallSize | None, *, model: str, lane: Lane, tier: str | None, at_us: int
    ) -> tuple[int, int]:
        """Cost and tokens that a call can come to that was sent; nothing of one whose request is not known any more.

        Args:
            size: of the request.
            model: who was asked.
            lane: how it travelled.
            tier: what the request asked for.
            at_us: when it was sent.
        """
        if size is None:
            return 0, 0
        charge = dearest(self.prices, self.currency, self._provider, model, size, at_us=at_us, lane=lane, tier=tier)
        return (0 if charge is None else charge.cost), size.tokens

    def stale(self, held: Reserved) -> bool:
        """Whether a call waited so long since that it must ask again: for the price of now, or out of another day."""
        now_us = self._clock.now_us()
        return now_us - held.at_us > STALE_US or not all(one.good_at(now_us) for one in held.slices)

    def release(self, held: Reserved) -> None:
        """Give back what a call held; harmless for one that holds nothing any more."""
        if not held.open:
            return
        held.open = False
        self.under_way -= 1
        self.cost -= held.cost
        self.tokens -= held.tokens
        for one in held.slices:
            one.reserved -= held.cost if one.unit else held.tokens
        self._freed.set()

    def booked(self, record: Call, held: Reserved) -> None:
        """Settle what a call held: its record is in the sums of the run, and says what is to be counted of it."""
        cost, tokens = told(record, self.currency)
        cost, tokens = held.cost if cost is None else cost, held.tokens if tokens is None else tokens
        if self._opened:  # before that, what was used is read from the book
            for one in held.slices:
                one.used += cost if one.unit else tokens
        self.release(held)

    def close(self) -> None:
        """Hold nothing for new calls any more; wake everybody who waits."""
        self._closed = True
        self._freed.set()

    def _most(self, size: CallSize, model: str, lane: Lane, tier: str | None, now_us: int) -> int:
        """The most a call can cost, in 10⁻¹² of the budget's currency; 0 where no money is counted."""
        if not self.currency:
            return 0
        charge = dearest(self.prices, self.currency, self._provider, model, size, at_us=now_us, lane=lane, tier=tier)
        if charge is None:
            raise BudgetReached(reached.without_price(self._provider, model, size, self.currency))
        return charge.cost

    def _hold(self, at_us: int, cost: int, tokens: int, slices: Iterable[Slice]) -> Reserved:
        held = Reserved(at_us, cost, tokens, tuple(slices))
        self.under_way += 1
        self.cost += cost
        self.tokens += tokens
        for one in held.slices:
            one.reserved += cost if one.unit else tokens
        return held

    # -- what is shared -----------------------------------------------------------------------------------------------

    @property
    def slices(self) -> list[Slice]:
        """All that the run knows of pots."""
        return [*self._days.values(), *self.packs]

    @property
    def today(self) -> list[Slice]:
        """The share of this day's pot; empty where none is counted."""
        if self.spec.per_day is None:
            return []
        one = self._days.get(day_pot(self.spec.per_day.currency, self._clock.now_us()))
        return [one] if one is not None else []

    def _pots(self, at_us: int) -> list[list[Slice]]:
        """What a call takes from at a moment: of each list, one pot."""
        pots = []
        if (per_day := self.spec.per_day) is not None:
            name = day_pot(per_day.currency, at_us)
            if name not in self._days:
                self._days[name] = day_slice(per_day.currency, per_day.units, at_us)
            pots.append([self._days[name]])
        if self.spec.grants:
            pots.append([pack for pack in self.packs if pack.good_at(at_us)])
        return pots

    async def _leave_ended(self, now_us: int) -> None:
        """Keep of packs that have ended no more than was used or is held: after a crash, only that tells them apart."""
        for one in self.slices:
            kept = one.used + one.reserved
            ended = not one.unit and (one not in self.packs or not one.good_at(now_us))
            if self._book is not None and ended and one.amount > kept:
                await to_thread.run_sync(self._book.let_go, one.name, self._run, kept)
                one.amount = kept

    async def _chosen(self, pots: list[Slice], cost: int, tokens: int) -> Slice | None:
        """The first of some pots that has room for a call, after setting more aside where there is more; None of none.

        With no call under way the file is looked at in any case: others may have given something back.
        """
        for one in pots:
            need = cost if one.unit else tokens
            lack = one.lacks(need)
            if lack == 0:
                return one
            now = self._clock.monotonic()
            seems_empty = one.limit - one.others - one.amount < lack
            if seems_empty and self.under_way and now - one.looked_at < LOOK_AGAIN_S:
                continue
            one.looked_at = now
            await to_thread.run_sync(self._extend, one, lack, CALLS * need)
            if one.lacks(need) == 0:
                return one
        return None

    def _extend(self, one: Slice, need: int, want: int) -> None:
        assert self._book is not None
        found = self._book.extend(one.name, self._run, limit=one.limit, need=need, want=want, base=one.base)
        one.amount, one.others = found

    async def open(self, use_of: Callable[[str], Use]) -> None:
        """Take up what the run had set aside, and settle what earlier runs of the folder left.

        Args:
            use_of: by the name of a run, what it used as the book tells; it is called in a thread.

        Raises:
            StorageError: the state folder, or the book, cannot be read or written.
        """
        if self._book is not None:
            self._pots(self._clock.now_us())
            await to_thread.run_sync(self._open, self._book, use_of)
        self._opened = True

    def _open(self, book: PotBook, use_of: Callable[[str], Use]) -> None:
        own = use_of(self._run)
        known = {one.name: one for one in self.slices}
        for one in known.values():
            one.base = own.days.get(one.name, 0) if one.unit else own.tokens
        fresh = [Held("", "", one.reserved, one.base) for one in known.values()]
        found = book.open(self._run, lambda run, held: use_of(run).of(held), dict(zip(known, fresh, strict=True)))
        for name, (held, used) in found.items():
            # Of a day that is over, or of a budget as it was: kept until the end, when it is given back.
            one = known.get(name) or Slice(name, 0, unit_of(name), 0)
            if name not in known:
                self._days[name] = one
            one.amount, one.base, one.used = held.amount, held.base, used
        for name, taken in book.taken(known).items():
            known[name].others = taken - known[name].amount

    async def give_back(self) -> None:
        """Give back what was set aside and not used; what calls hold that outlive the run stays set aside.

        Raises:
            StorageError: the state folder cannot be read or written.
        """
        if self._book is None or not self._opened:
            return
        mine = [one for one in self.slices if one.amount or one.used]
        used, still = {one.name: one.used for one in mine}, {one.name: one.reserved for one in mine}
        await to_thread.run_sync(self._book.settle, self._run, used, still)
