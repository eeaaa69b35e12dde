"""What the lines of batches hold of the budget of a run, summed up by wave.

A line that goes into a file holds the most it can come to at the price of batches, as any call does before it is sent
(`purse`); a line that comes back takes its part out of what its wave holds, and its booking settles that. So rows that
wait in batches take no memory: what a line holds is found again by measuring its request once more. Owns these sums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batch.money import bounds
from batch.money.bounds import CallSize
from batch.submit import afford
from batch.submit.purse import Purse, Reserved
from batch.submit.rows import OpenCall, Row

if TYPE_CHECKING:
    from batch.core.records import Lane
    from batch.submit.attempt import CallContext

LANE: Final[Lane] = "bulk"


class WaveHolds:
    """The holds of the waves of one run; a run without limits of money and tokens has none.

    Args:
        context: with the purse and the prices.
    """

    def __init__(self, context: CallContext) -> None:
        self._context = context
        purse = context.purse
        self._purse: Purse | None = purse if purse is not None and purse.spec.bounds_calls else None
        self._waves: dict[int, list[Reserved]] = {}
        """By number of a wave, one for each choice of pots that its lines are paid from."""

    @property
    def counts(self) -> bool:
        """Whether lines hold anything at all."""
        return self._purse is not None

    @property
    def short(self) -> bool:
        """Whether somebody waits for what others hold."""
        return self._purse is not None and self._purse.waiting > 0

    async def reserve(self, row: Row) -> Reserved | None:
        """Hold the most that the next line of a row can come to; None where nothing is counted.

        Raises:
            BudgetReached: it does not fit, and nothing is under way that could give something back.
            PurseClosed: the run takes no new sends.
            StorageError: the state folder cannot be read or written.
        """
        if self._purse is None:
            return None
        size = bounds.size_of(self._context.request(row), self._context.policy.never_sent)
        return await self._purse.reserve(size, model=row.model, lane=LANE, tier=afford.tier_of(row))

    def release(self, held: Reserved | None) -> None:
        """Give back what a line held that goes into no file."""
        if self._purse is not None and held is not None:
            self._purse.release(held)

    def goes_with(self, wave: int, held: Reserved | None) -> bool:
        """Whether a line may go into a wave: all of them are paid out of the pot of one day."""
        return held is None or all(_days(one) == _days(held) for one in self._waves.get(wave, ()))

    def add(self, wave: int, held: Reserved | None) -> None:
        """Let a wave hold what a line of it holds.

        Args:
            wave: its number.
            held: of the line, which holds nothing by itself any more.
        """
        if self._purse is None or held is None:
            return
        holds = self._waves.setdefault(wave, [])
        same = next((one for one in holds if one.slices == held.slices), None)
        if same is None:
            holds.append(held)
            return
        same.cost += held.cost
        same.tokens += held.tokens
        held.open = False
        self._purse.under_way -= 1

    def adopt(self, wave: int, row: Row, sent_at_us: int) -> None:
        """Have a line that an earlier process wrote hold what it can come to.

        Args:
            wave: in which it is.
            row: as it stood when the line was written.
            sent_at_us: when that was.
        """
        if self._purse is not None:
            size, tier = self._size(row), afford.tier_of(row)
            most = self._purse.most_of(size, model=row.model, lane=LANE, tier=tier, at_us=sent_at_us)
            self.add(wave, self._purse.adopt(*most, sent_at_us=sent_at_us))

    def hand_over(self, wave: int, row: Row, call: OpenCall) -> None:
        """Let a line that comes back hold its own part of what its wave holds, until it is booked.

        Args:
            wave: whose line it is.
            row: as it stood when the line was written.
            call: of the line.
        """
        holds = self._waves.get(wave)
        if self._purse is None or not holds:
            return
        call.size = self._size(row)
        cost, tokens = self._purse.most_of(
            call.size, model=call.model, lane=LANE, tier=afford.tier_of(row), at_us=call.sent_at_us
        )
        whole = next((one for one in holds if one.cost >= cost and one.tokens >= tokens), holds[-1])
        part = Reserved(whole.at_us, min(cost, whole.cost), min(tokens, whole.tokens), whole.slices)
        whole.cost -= part.cost
        whole.tokens -= part.tokens
        self._purse.under_way += 1
        call.held = part

    def end(self, wave: int) -> None:
        """A wave is over, or was never sent: give back what is left of what it held."""
        for held in self._waves.pop(wave, ()):
            self.release(held)

    def _size(self, row: Row) -> CallSize | None:
        """What the next line of a row can come to; None where its request is not known any more."""
        if row.fault is not None or not row.request.messages:
            return None
        return bounds.size_of(self._context.request(row), self._context.policy.never_sent)


def _days(held: Reserved) -> tuple[str, ...]:
    return tuple(one.name for one in held.slices if one.unit)
