"""A budget that several processes draw from: one even stream of requests, one minute of tokens, one count of slots.

Owns what stands in the file of such a pool, and the arithmetic of one visit to it. A visitor says how it stands, and is
given a *slice*: moments at which requests may leave, some tokens, and a number of slots. What was given counts as used
from then on, so a process that is killed or stopped takes nothing with it that another one could have twice; what it
had left over comes back by itself, because a slice is good for `AHEAD_S` at most.

- **Requests.** All members together make one even stream, at 0.99 of the limit. A slice is the next few moments of it.
  Each leaves at its moment or at most `LATE_S` later, and reaches the wire within `requests.GRANT_S` of that: over any
  60 s that is 0.99·N/60·60.5 + 1 at most, which is N when rounded down.
- **Tokens.** As in `tokens`: a line over the last minute and a pace; a slice counts until it is corrected.
- **Slots.** Each member is given what it wants as far as that is no more than an even part, and what one leaves is
  divided among the others. Where there are fewer slots than members, they go round every `TURN_S`. One alone has all.

Of several limits the smallest holds. Who has had less goes first where two want the same. Pure arithmetic
over times handed in, in monotonic seconds, which all processes of one machine have in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from batch.limits.requests import EARLY_S, PACE, SLACK_S
from batch.limits.tokens import BURST_S, CATCH_UP_S, LIMIT_S, MARGIN, WINDOW_S

AHEAD_S: Final = 1.0
"""No moment further away than this is given, and no slice is good for longer."""
TOKENS_S: Final = 0.5
"""A slice of tokens is what all members together may use in this time, divided by those that want some."""
LATE_S: Final = EARLY_S
"""A moment that was not used by then is lost, as a pace does not make up for a rest."""
SILENT_S: Final = 3.0
"""A member that has not visited for so long is given nothing, so others are not held back for it."""
TURN_S: Final = 5.0
BEHIND_S: Final = 0.3
"""Who has had more than another that waits is given no moment further away than this: the other comes before that."""
_UNKNOWN: Final = 0.0
"""The rate of a stream of which nothing is known but that there may have been one."""
RANK_S: Final = 0.05
"""Who has had more tokens than another that waits lets it go first for this long."""


class Member(msgspec.Struct):
    """One process that draws from the pool, as it stood at its last visit."""

    job: str = ""
    seen: float = 0.0
    """When it visited last."""
    in_flight: int = 0
    held: int = 0
    """Slots that nobody else may take: its calls in flight, and those it may add."""
    wants: int = 0
    """Slots it would like to have."""
    hungry: bool = False
    """Somebody waits there for a request or for tokens."""
    requests_s: float = 0.0
    """How much it was given of the stream, in seconds of it: who has had less comes first."""
    tokens_s: float = 0.0
    """The same of tokens."""
    concurrency: int | None = None
    requests: float | None = None
    tokens: float | None = None


class Spent(msgspec.Struct, array_like=True):
    """Tokens that were given to one member, as far as is known what they came to."""

    member: str
    number: int
    at: float
    """When they left, at the latest."""
    amount: float


class Slice(msgspec.Struct):
    """What a visit brought.

    Attributes:
        requests: moments at which one request each may leave, the first in front.
        requests_in: without a moment, the seconds until another visit is worth it.
        tokens: how many.
        tokens_in: without tokens, the seconds until another visit is worth it.
    """

    requests: list[float] = []
    requests_in: float = 0.0
    tokens: float = 0.0
    tokens_in: float = 0.0


class Pool(msgspec.Struct):
    """What all members share; see the module.

    Attributes:
        boot: the start of the machine whose clock the times are of.
        wall_us: when it was visited last, by the clock on the wall, in microseconds.
        seen: the same in monotonic seconds.
        next_at: the next moment of the stream that nobody has.
        spare: moments before it that were given back.
        spent: tokens of the last minute.
        paced_until: when the next tokens may leave by the pace.
        held_up: the line over the last minute has held somebody back since tokens were given last.
        paused_until: when the provider may be asked again, by its own word.
        cap: how many calls in flight it takes at a time, as far as refusals told; None while they did not.
        cap_number: how often that has changed.
        members: by name.
    """

    boot: str
    wall_us: int
    seen: float
    next_at: float = 0.0
    rate: float | None = None
    spare: list[float] = []
    spent: list[Spent] = []
    paced_until: float = 0.0
    held_up: bool = False
    paused_until: float = 0.0
    cap: int | None = None
    cap_number: int = 0
    members: dict[str, Member] = {}

    # -- limits -------------------------------------------------------------------------------------------------------

    @property
    def requests(self) -> float | None:
        """The smallest limit of requests per minute."""
        return min((one.requests for one in self.members.values() if one.requests is not None), default=None)

    @property
    def tokens(self) -> float | None:
        """The smallest limit of tokens per minute."""
        return min((one.tokens for one in self.members.values() if one.tokens is not None), default=None)

    @property
    def slots(self) -> int | None:
        """The smallest limit of calls in flight, that of the provider included."""
        declared = [one.concurrency for one in self.members.values() if one.concurrency is not None]
        return min((*declared, *(() if self.cap is None else (self.cap,))), default=None)

    def others(self, name: str) -> int:
        """How many members there are besides this one."""
        return len(self.members) - (name in self.members)

    def keep(self, names: Iterable[str]) -> None:
        """Forget all members but these; what they were given stays counted."""
        kept = set(names)
        self.members = {name: one for name, one in self.members.items() if name in kept}

    def use_up(self, now: float, since_s: float) -> None:
        """Go on as if all of its limits had been used until `since_s` before `now`."""
        if since_s < LIMIT_S:
            self.next_at = max(self.next_at, now + AHEAD_S)
            self.rate = _UNKNOWN  # the last moment that somebody has comes an interval before the next one
            self.paced_until = max(self.paced_until, now + LIMIT_S - since_s)

    # -- requests -----------------------------------------------------------------------------------------------------

    def take_requests(self, name: str, wanted: int, holds: int, now: float) -> Slice:
        """Give a member moments of the stream.

        Args:
            name: of the member.
            wanted: how many it would use soon, at least 1.
            holds: how many it has left.
            now: monotonic seconds.
        """
        limit = self.requests
        if limit is None:
            self.rate = _UNKNOWN if self.rate == _UNKNOWN else None
            return Slice()
        interval = 60 / (limit * PACE)
        if self.rate == _UNKNOWN:
            self.next_at += interval
        elif self.rate is not None and self.rate != limit:
            self.next_at = max(self.next_at, now + interval)  # as if the last one had left just now
        self.rate = limit
        # After a rest the stream begins anew, a few at once as one process alone would have it.
        self.next_at = max(self.next_at, now - (EARLY_S - SLACK_S))
        self.spare = sorted(at for at in self.spare if at + LATE_S > now)
        most = max(1, math.floor(AHEAD_S / interval / (1 + len(self._waiting(name, now)))))
        mine, others = self.members[name], self._waiting(name, now)
        # What it left to others while it wanted nothing is no claim on them.
        mine.requests_s = max(mine.requests_s, min((one.requests_s for one in others), default=0.0) - AHEAD_S)
        behind = any(one.requests_s < mine.requests_s for one in others)
        ahead = now + (BEHIND_S if behind else AHEAD_S)
        moments: list[float] = []
        while len(moments) < min(wanted, most) - holds:
            if self.spare:
                moments.append(self.spare.pop(0))
            elif self.next_at <= ahead:
                moments.append(self.next_at)
                self.next_at += interval
            else:
                break
        mine.requests_s += len(moments) * interval
        return Slice(requests=moments, requests_in=0.0 if moments else self.next_at - ahead)

    def give_back(self, moments: Iterable[float]) -> None:
        """Take back moments that a member does not need."""
        self.spare += moments

    # -- tokens -------------------------------------------------------------------------------------------------------

    def take_tokens(self, name: str, number: int, need: float, now: float) -> Slice:
        """Give a member tokens.

        Args:
            name: of the member.
            number: of the slice, by which it is corrected later.
            need: how many it needs at the least; more than the whole limit are as many as that.
            now: monotonic seconds.
        """
        limit = self.tokens
        if limit is None:
            return Slice()
        room, speed = limit * MARGIN, limit * MARGIN / WINDOW_S
        need = min(need, room)
        self.spent = [one for one in self.spent if one.at > now - WINDOW_S]
        used = sum(one.amount for one in self.spent)
        line_s, excess = 0.0, used + need - room
        if excess > 1e-6:
            self.held_up = True
            for one in sorted(self.spent, key=lambda one: one.at):
                excess -= one.amount
                if excess <= 1e-6:
                    line_s = one.at + WINDOW_S - now
                    break
        mine, others = self.members[name], self._waiting(name, now)
        mine.tokens_s = max(mine.tokens_s, min((one.tokens_s for one in others), default=0.0) - AHEAD_S)
        before = sum(one.tokens_s < mine.tokens_s for one in others)
        wait_s = max(line_s, self.paced_until - BURST_S + RANK_S * before - now)
        if wait_s > 1e-6:
            return Slice(tokens_in=wait_s)
        amount = max(need, min(room - used, speed * TOKENS_S / (1 + len(others))))
        behind = now - CATCH_UP_S if self.held_up else now
        self.paced_until = max(self.paced_until, behind) + amount / speed
        self.held_up = False
        self.spent.append(Spent(name, number, now + AHEAD_S, amount))
        mine.tokens_s += amount / speed
        return Slice(tokens=amount)

    def correct(self, name: str, changes: Mapping[int, float], last_at: Mapping[int, float]) -> None:
        """Correct what slices of tokens came to.

        Args:
            name: of the member they were given to.
            changes: by number of the slice, how many tokens more or less than it counts for.
            last_at: by number, when the last tokens of a slice left that is used up or given back.
        """
        limit, mine = self.tokens, self.members.get(name)
        for one in self.spent:
            if one.member != name:
                continue
            one.at = min(one.at, last_at.get(one.number, one.at))
            change = max(-one.amount, changes.get(one.number, 0.0))
            one.amount += change
            if limit is not None:
                self.paced_until += change * WINDOW_S / (limit * MARGIN)
                if mine is not None:  # one that the others took for dead is no member any more
                    mine.tokens_s += change * WINDOW_S / (limit * MARGIN)

    # -- slots --------------------------------------------------------------------------------------------------------

    def share_slots(self, name: str, now: float) -> int | None:
        """How many calls a member may have in flight now; None without a limit. What it has stays with it.

        One that is alone has them all, whatever it wants now: it visits often enough to make room for another.
        """
        slots, mine = self.slots, self.members[name]
        if slots is None:
            mine.held = mine.in_flight
            return None
        if len(self.members) == 1:
            mine.held = max(mine.in_flight, slots)
            return slots
        quiet = {other for other, one in self.members.items() if other != name and now - one.seen > SILENT_S}
        wants = {
            other: one.in_flight if other in quiet else max(one.in_flight, one.wants)
            for other, one in sorted(self.members.items())
        }
        part = _parts(wants, slots, turn=int(now // TURN_S))[name]
        free = slots - sum(one.held for other, one in self.members.items() if other != name)
        most = max(0, min(part, free))
        mine.held = max(mine.in_flight, most)
        return most

    def _waiting(self, name: str, now: float) -> list[Member]:
        """The other members that want something now."""
        return [
            one for other, one in self.members.items() if other != name and one.hungry and now - one.seen <= SILENT_S
        ]


def _parts(wants: Mapping[str, int], slots: int, *, turn: int) -> dict[str, int]:
    """How many slots each member may hold, of those it wants: an even part, and what others leave of theirs.

    Args:
        wants: by name.
        slots: all there are.
        turn: what cannot be divided goes to others with each turn.
    """
    names = list(wants)
    first = turn % len(names)
    order = names[first:] + names[:first]
    parts, left = dict.fromkeys(names, 0), slots
    open_names = [name for name in order if wants[name] > 0]
    while open_names and left > 0:
        even = max(1, left // len(open_names))
        for name in open_names:
            more = min(even, wants[name] - parts[name], left)
            parts[name] += more
            left -= more
        open_names = [name for name in open_names if parts[name] < wants[name]]
    return parts
