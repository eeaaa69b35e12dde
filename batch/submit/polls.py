"""When to poll each task: early enough to lose little time, seldom enough to ask only a few times.

Learns how long tasks of one model take, by the size of what they are asked (`durations`), and polls at the times that
are best for that (`polltimes`), each task a little earlier or later than the others, within the rate of all polls
(`limits.pollrate`). Until a few tasks of a model have ended, polls come at growing distances. What was learned is kept
with the run, so that the next process begins with it. Owns these times; how a poll is made is `task`'s.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from batch.core.clock import Clock
from batch.core.records import Message
from batch.limits.pollrate import PollRate
from batch.submit.durations import MEMORY, Durations, Shape, bin_of, parts_of, shape_of
from batch.submit.polltimes import poll_times
from batch.submit.rows import OpenCall

KEY: Final = "task_durations"
"""Key of the ledger's `meta` that holds what was learned."""
POLLS: Final = 3.8
"""Polls that a task takes on average; those before anything is known are more, and all of a run should be below 4."""
POLLS_AT_FIRST: Final = 3.2
"""The same while fewer are known than are remembered: what few tell is wide, and takes more polls than reckoned."""
WORTH_S: Final = 0.001  # a poll must save as much waiting as this
FIRST_POLL_S: Final = 0.25
GROWTH: Final = 1.5
SCOUTS: Final = 16  # tasks of a model that are polled often, so that the others need not be
OTHERS_FIRST_S: Final = 20.0  # they are asked sooner once the scouts have told how long it takes
OTHERS_GROWTH: Final = 3.0
FEW: Final = 8  # tasks of a model, below which nothing is believed
MANY: Final = 1_000  # from here on the times are reckoned at most every `AGAIN_S`
DOUBT_EVERY: Final = 8
"""When nearly all tasks are done at their first poll, one of so many is taken to have ended at any time before it."""
NEARLY_ALL: Final = 0.8
LEANING: Final = 20.0
"""Tasks of one size are believed to take as long as all of the model, as if so many of them had been seen."""
EARLIER: Final = 0.03  # by up to this part a task is polled before its time, or after it
LATE_PART: Final = 0.1  # of its age, between two polls of a task that takes longer than all others did
LATE_POLL_S: Final = 5.0  # at most, unless the polls of others lie further apart
LONGEST_POLL_S: Final = 60.0  # which they do by this much at most
AGAIN_S: Final = 5.0  # between two reckonings of the times of one kind
LEARN_S: Final = AGAIN_S / MEMORY
"""From `MANY` on, one task in so long is learned from: of more, none would be remembered at the next reckoning."""
LARGEST: Final = 12


class _Kind:
    """Tasks of one model and one size."""

    __slots__ = ("at_once", "durations", "known", "model", "open", "reckoned_at", "shape", "times")

    def __init__(self, model: _Model, durations: Durations) -> None:
        self.model = model
        self.durations = durations
        self.shape: Shape | None = None
        self.times: list[float] = []
        self.known = 0
        """Tasks of the model that had been seen when the times were reckoned."""
        self.reckoned_at = -float("inf")
        self.open: dict[Watch, None] = {}
        """Tasks of this process that are waited for; none more once `MANY` of the model are known."""
        self.at_once = 0.0
        """The part of the tasks, lately, that the first poll found finished."""


class _Model:
    """All tasks of one model, and the kinds among them."""

    __slots__ = ("all", "kinds", "learned_at", "watched")

    def __init__(self) -> None:
        self.all = Durations()
        self.learned_at = -float("inf")
        self.watched = 0
        """Tasks that this process submitted so far."""
        self.kinds: dict[int, _Kind] = {}


class Watch:
    """What is known of one task that is waited for."""

    __slots__ = ("after_s", "blind", "factor", "first_s", "growth", "kind")

    def __init__(self, kind: _Kind, factor: float, first_s: float, growth: float) -> None:
        self.kind = kind
        self.first_s = first_s
        self.growth = growth
        """While nothing is known, it is polled at this age, and when it is so many times as old as at the last poll."""
        self.blind = False
        """Its next poll was set while nothing was known."""
        self.factor = factor
        """Its times are those of its kind times this."""
        self.after_s = 0.0
        """How old it was when it was last found unfinished, in seconds."""


class Polls:
    """The times of all polls of one run.

    Args:
        clock: where time comes from.
        chance: spreads tasks of one moment.
        kept: what earlier processes learned, in the words of `keep`; None for a new folder.
        keep: makes what was learned durable.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        chance: random.Random | None = None,
        kept: str | None = None,
        keep: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._chance = chance or random.Random()
        self._keep = keep
        self._kept_at = clock.monotonic()
        self._models = _models(kept)
        self.rate = PollRate()

    def first(self, call: OpenCall, messages: Sequence[Message], *, most_s: float) -> float:
        """The seconds to wait before the first poll of a task that was just submitted.

        Args:
            call: the task.
            messages: what it was asked.
            most_s: the most seconds it may be waited for.
        """
        self.rate.submitted(self._clock.monotonic())
        call.watch = self._watch(call, _size(messages))
        return self._booked(call, call.watch, 0.0, most_s)

    def next(self, call: OpenCall, *, least_s: float, most_s: float) -> float:
        """The seconds to wait before the next poll of a task that is not done.

        Args:
            call: the task; it was polled just now.
            least_s: what the provider asked us to wait.
            most_s: the most seconds it may be waited for, which win over the least.
        """
        watch = call.watch = call.watch or self._watch(call, 0)
        watch.after_s = max(watch.after_s, call.exchange_began - call.started + call.earlier_s)
        return self._booked(call, watch, least_s, most_s)

    def finished(self, call: OpenCall) -> bool:
        """The poll that was made just now brought the result of a task.

        Returns:
            Whether from now on something is known of its model: then those that are `blind` have better times than
            those that they wait for, which `early` tells.
        """
        if call.earlier_s:
            return False  # another process submitted it, and only the wall tells how long ago: nothing to learn from
        watch = call.watch = call.watch or self._watch(call, 0)
        self.forget(call)
        by_s = max(call.exchange_began - call.started + call.earlier_s, watch.after_s)
        kind = watch.kind
        kind.at_once += ((watch.after_s == 0.0) - kind.at_once) / 20
        if kind.model.all.seen >= MANY:
            if call.exchange_began - kind.model.learned_at < LEARN_S:
                return False
            kind.model.learned_at = call.exchange_began
        shape = kind.shape
        if watch.after_s == 0.0 and kind.at_once > NEARLY_ALL and kind.model.all.seen % DOUBT_EVERY == 0:
            shape = None  # the first poll tells nothing of how much too late it is, so an earlier one is tried
        first, parts = parts_of(watch.after_s, by_s, shape)
        kind.durations.add(first, parts)
        kind.model.all.add(first, parts)
        return kind.model.all.seen == FEW

    @staticmethod
    def forget(call: OpenCall) -> None:
        """A task is waited for no more: if it brought no result, nobody knows how long one would have taken."""
        if call.watch is not None:
            call.watch.kind.open.pop(call.watch, None)

    @staticmethod
    def blind(call: OpenCall) -> bool:
        """Whether the next poll of a task was set while nothing was known."""
        return call.watch is not None and call.watch.blind

    def early(self, call: OpenCall) -> float:
        """The seconds that a task should still be left alone whose time was set while nothing was known."""
        watch = call.watch
        if watch is None or not watch.blind or not (times := self._times(watch.kind)):
            return 0.0
        watch.blind = False
        now = self._clock.monotonic()
        age_s = now - call.started + call.earlier_s
        wait_s = times[0] * watch.factor - age_s
        return self.rate.book(now + max(0.0, wait_s), now) - now

    def refused(self) -> None:
        """A poll was refused for its rate, or because the provider is too busy."""
        self.rate.refused(self._clock.monotonic())

    def _booked(self, call: OpenCall, watch: Watch, least_s: float, most_s: float) -> float:
        now = self._clock.monotonic()
        age_s = now - call.started + call.earlier_s
        wait_s = min(max(self._due(watch, age_s) - age_s, least_s), most_s)
        return self.rate.book(now + wait_s, now) - now

    def _due(self, watch: Watch, age_s: float) -> float:
        """The age at which a task is to be polled next."""
        times, factor = self._times(watch.kind), watch.factor
        watch.blind = not times
        if not times:
            return max(watch.first_s, watch.growth * age_s) if age_s < LONGEST_POLL_S else _late(age_s)
        place = bisect_right(times, (age_s * 1.02 + 0.001) / factor)
        if place < len(times):
            return times[place] * factor
        usual = times[-1] - times[-2] if len(times) > 1 else times[-1]
        return max(age_s + min(usual, LONGEST_POLL_S), _late(age_s))

    def _watch(self, call: OpenCall, size: int) -> Watch:
        models, model = self._models, call.model
        if model not in models:
            models[model] = _Model()
        kinds = models[model].kinds
        if size not in kinds:
            kinds[size] = _Kind(models[model], Durations())
        teaches = not call.earlier_s
        models[model].watched += teaches
        scout = models[model].watched <= SCOUTS
        when = (FIRST_POLL_S, GROWTH) if scout else (OTHERS_FIRST_S, OTHERS_GROWTH)
        watch = Watch(kinds[size], 1.0 + EARLIER * (2.0 * self._chance.random() - 1.0), *when)
        if teaches and models[model].all.seen < MANY:
            kinds[size].open[watch] = None
        return watch

    def _times(self, kind: _Kind) -> list[float]:
        """The best times for tasks of this kind, reckoned again when much was learned; none while too little was."""
        seen = kind.model.all.seen
        if seen < FEW or seen < 1.25 * kind.known:
            return kind.times if seen < kind.known + 250 else self._fresh(kind)
        return self._fresh(kind)

    def _fresh(self, kind: _Kind) -> list[float]:
        now, seen = self._clock.monotonic(), kind.model.all.seen
        if kind.known >= MANY and now - kind.reckoned_at < AGAIN_S:
            return kind.times
        kind.known, kind.reckoned_at = seen, now
        unfinished = Counter(bin_of(watch.after_s) for watch in kind.open if watch.after_s) if seen < MANY else {}
        kind.shape = shape_of(kind.durations, kind.model.all, leaning=LEANING, unfinished=unfinished)
        if kind.shape is not None:
            polls = POLLS_AT_FIRST if seen < MEMORY else POLLS
            kind.times = poll_times(kind.shape.edges, kind.shape.masses, polls=polls, worth_s=WORTH_S)
        if now - self._kept_at >= AGAIN_S:
            self._kept_at = now
            self._keep(self.learned())
        return kind.times

    def learned(self) -> str:
        """What another process needs to go on from."""
        told: dict[str, Any] = {}
        for name, model in self._models.items():
            kinds = {str(size): kind.durations.kept() for size, kind in model.kinds.items() if kind.durations.seen}
            if model.all.seen:
                told[name] = {"all": model.all.kept(), **kinds}
        return msgspec.json.encode(told).decode()


def _models(kept: str | None) -> dict[str, _Model]:
    """What `Polls.learned` gave; what cannot be read is as if nothing was known."""
    try:
        told = msgspec.json.decode(kept or "{}", type=dict[str, dict[str, list[float]]])
    except msgspec.DecodeError:
        return {}
    models = {}
    for name, kinds in told.items():
        model = models[name] = _Model()
        model.all = Durations.of(kinds.pop("all", []))
        model.kinds = {
            int(size): _Kind(model, Durations.of(weights)) for size, weights in kinds.items() if size.isdigit()
        }
    return models


def _late(age_s: float) -> float:
    """The age at which a task is polled next that is older than any is known to become."""
    return age_s + min(LATE_PART * age_s, LATE_POLL_S)


def _size(messages: Sequence[Message]) -> int:
    """The size of what is asked: by one more when it has four times as many characters."""
    length = sum(len(content) for message in messages if isinstance(content := message.get("content"), str))
    return min(LARGEST, length.bit_length() // 2)
