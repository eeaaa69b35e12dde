"""How many calls may be in flight when the provider does not say: finds its cap from refusals alone, and follows it.

Owns one number, `limit`, between 1 and the job's `concurrency`. Services such as BigModel publish no header and refuse
at once what is above their cap (code 1302), so a refusal is a measurement: with that call not counted, what is still
in flight is what they took. `limiter` asks this module before it grants, and tells it what became of each call.

- **Start.** A run begins with an eighth of its calls. Each answer makes room for one more, and so does time, an eighth
  every `WIDEN_S`: a fast service is at full width at once, a slow one within a second, and one with a low cap has
  refused few calls by the time it says so.
- **Down.** A refusal lowers the limit to what else is in flight. Refused again by a call that left *after* the last
  cut, the cap itself has moved, and a share more is cut off, so that a cap halved is met in a few refusals.
- **Up.** Below the level last refused, each answer adds its part of one more call per round trip. At that level one
  more is tried after `PROBE_AFTER` answers or `PROBE_AFTER_S`, and twice as many with each round trip that goes well:
  refusals stay under one in a hundred, and a cap four times higher is found within seconds.
- **Overloaded** (1305: the model is busy, whatever we do) takes a share off, at most once a second.

For example, concurrency 80 against a service that takes 30 calls at a time and answers each after ten seconds. The
limit is 10 at first, 20 after 0.1 s, 30 after 0.2 s and 40 after 0.3 s. The last ten calls are all refused, the tenth
while 30 others are in flight: the limit is 30. With the first answer after 15 s, one call more is tried; it is refused,
and the limit is 30 again. When the service takes 60, the 31st call is answered, and with each round trip more are in
flight: 33, 37, 45. The next step tries 61; one is refused while 60 others are in flight, and the limit is 60.

Pure arithmetic over times handed in; it never waits.
"""

from __future__ import annotations

from typing import Final

PROBE_AFTER: Final = 200
PROBE_AFTER_S: Final = 15.0  # with few and slow calls, that many answers would take minutes
CUT: Final = 0.85
WIDEN_S: Final = 0.1
START_PARTS: Final = 8
START_LEAST: Final = 8
CALM_EVERY_S: Final = 1.0
CALM_CUT: Final = 0.7
CALM_FLOOR: Final = 20  # an overloaded model is still asked by a twentieth of the job's calls, at least one
FEW_ANSWERS: Final = 20


class ConcurrencyLimit:
    """The tracked cap of one provider and key, for the calls of one run.

    Args:
        concurrency: the most calls in flight the job allows; the limit never exceeds it.
        adapt: False leaves the limit at `concurrency` for ever.
    """

    __slots__ = (
        "_adapt",
        "_answers",
        "_answers_at_level",
        "_calmed_at",
        "_ceiling",
        "_cut_at",
        "_fraction",
        "_limit_before",
        "_probe_step",
        "_refused_at",
        "_widens_at",
        "concurrency",
        "limit",
        "starting",
    )

    def __init__(self, concurrency: int, *, adapt: bool = True) -> None:
        self.concurrency = concurrency
        self.starting = adapt and concurrency > START_LEAST
        """No call was refused yet, and the limit has not reached `concurrency`."""
        self.limit = max(START_LEAST, -(-concurrency // START_PARTS)) if self.starting else concurrency
        self._widens_at: float | None = None
        self._adapt = adapt
        self._ceiling = concurrency + 1
        """The number in flight that was refused last; one above `concurrency` while none was."""
        self._limit_before = concurrency
        """The limit before the refusals that are going on."""
        self._cut_at = -1.0
        self._refused_at = 0.0
        self._calmed_at = -1.0
        self._answers_at_level = 0
        """Answers towards the next call more than the level last refused."""
        self._answers = 0
        """Answers since the last refusal."""
        self._fraction = 0.0
        self._probe_step = 1

    def widens_in(self, now: float) -> float | None:
        """Let time make room, while the run starts; the seconds until it does so again, None when it does not."""
        if not self.starting:
            return None
        if self._widens_at is None:
            self._widens_at = now + WIDEN_S
        while now >= self._widens_at:
            self._widens_at += WIDEN_S
            if not self._widen(max(1, self.concurrency // START_PARTS)):
                return None
        return self._widens_at - now

    def refused(self, sent: float, now: float, others: int) -> None:
        """Lower the limit, because a call was refused for too many in flight.

        Args:
            sent: when that call left, in monotonic seconds.
            now: when its refusal came.
            others: how many other calls were in flight then.
        """
        if not self._adapt:
            return
        self.starting = False
        # One wave of refusals has one limit before it: the next refusals of the wave find few answers since the last.
        if self._answers >= max(FEW_ANSWERS, self.limit):
            self._limit_before = self.limit
        level = max(1, min(self.limit, others))
        # A call from before the last cut only tells the same once more. One that left after it, and is refused with
        # hardly an answer in between, tells that even the lowered limit is too high.
        if sent > self._cut_at >= 0.0 and self._answers < self.limit // 2:
            level = max(1, min(level, int(others * CUT)))
        if level < self.limit or self.limit == 1:
            self._cut_at = now
        self.limit = level
        self._ceiling = max(level + 1, min(self._ceiling, others + 1))
        self._answers_at_level = self._answers = 0
        self._refused_at = now
        self._probe_step = 1

    def overloaded(self, now: float) -> None:
        """Ask with fewer calls at a time, because the model was too busy for one."""
        # A busy model refuses a whole wave at once; cut for each of them, the limit would be 1 within a second.
        if not self._adapt or now - self._calmed_at < CALM_EVERY_S:
            return
        self._calmed_at = now
        self.starting = False
        self.limit = max(1, -(-self.concurrency // CALM_FLOOR), int(self.limit * CALM_CUT))

    def answered(self, in_flight: int, now: float) -> None:
        """Raise the limit if an answer shows that there is room.

        Args:
            in_flight: how many calls were there when it came, itself among them.
            now: monotonic seconds.
        """
        self._answers += 1
        if self.starting:
            self._widen(1)
        if self.limit >= self.concurrency:
            return
        self._answers_at_level += 1
        if in_flight < self.limit:
            return  # the limit held nobody back, so this answer says nothing about a higher one
        if self.limit + 1 < self._ceiling:
            self._grow(1.0 / self.limit * max(1, self.limit // 8))
            return
        slow = self._probe_step == 1 and now - self._refused_at > PROBE_AFTER_S
        if slow or self._answers_at_level >= PROBE_AFTER:
            # At the level that was refused: one more, then twice as many with each round trip that goes well. A round
            # trip is as many answers as the limit will be, so that many are still wanted for the next step.
            self._answers_at_level = PROBE_AFTER - self.limit - self._probe_step
            self._raise(self._probe_step)
            self._probe_step *= 2

    def adopt(self, level: int) -> None:
        """Continue at a level that somebody else has found out by the same way."""
        if not self._adapt:
            return
        self.starting = False
        self.limit = max(1, min(self.concurrency, level))
        self._ceiling = max(self.limit + 1, self._ceiling)
        self._answers_at_level = 0

    def restore(self) -> None:
        """Return to the limit before the refusals: everything was refused for a while, so they measured nothing."""
        self._raise(max(0, self._limit_before - self.limit))

    def _widen(self, by: int) -> bool:
        """Make room for so many more calls; whether the run is still starting."""
        self.limit = min(self.concurrency, self.limit + by)
        self.starting = self.limit < self.concurrency
        return self.starting

    def _grow(self, part: float) -> None:
        self._fraction += part
        whole = int(self._fraction)
        if whole:
            self._fraction -= whole
            self._raise(whole)

    def _raise(self, by: int) -> None:
        self.limit = min(self.concurrency, self.limit + by)
        self._ceiling = max(self._ceiling, self.limit + 1)
