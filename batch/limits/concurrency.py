"""How many calls may be in flight when the provider does not say: finds its cap from refusals alone, and follows it.

Owns one number, `limit`, between 1 and the job's `concurrency`. Services such as BigModel publish no header and refuse
at once what is above their cap (code 1302), so a refusal is a measurement: with that call not counted, what is still
in flight is what they took. `limiter` asks this module before it grants, and tells it what became of each call.

- **RunStart.** A run begins with an eighth of its calls. Each answer makes room for one more, and so does time, an
  eighth every `OPEN_S`: a fast service is at full width at once, a slow one within two seconds, and one with a low cap
  has refused few calls by the time it says so.
- **Down.** A refusal lowers the limit to what else is in flight. Refused again by a call that left *after* the last
  cut, the cap itself has moved, and a share more is cut off, so that a cap halved is met in a few refusals.
- **Up.** Below the level last refused, each answer adds its part of one more call per round trip. At that level one
  more is tried after `PROBE_AFTER` answers or `PROBE_AFTER_S`, and twice as many with each round trip that goes well:
  refusals stay under one in a hundred, and a cap four times higher is found within seconds.
- **Overloaded** (1305: the model is busy, whatever we do) takes a share off, at most once a second.

Pure arithmetic over times handed in; it never waits.
"""

from __future__ import annotations

from typing import Final

PROBE_AFTER: Final = 200
PROBE_AFTER_S: Final = 15.0  # with few and slow calls, that many answers would take minutes
CUT: Final = 0.85
OPEN_S: Final = 0.25
OPEN_PARTS: Final = 8
OPEN_LEAST: Final = 8
CALM_EVERY_S: Final = 1.0
CALM_CUT: Final = 0.7
CALM_FLOOR: Final = 20  # an overloaded model is still asked by a twentieth of the job's calls, at least one


class ConcurrencyLimit:
    """The tracked cap of one provider, key and model.

    Args:
        most: the job's concurrency, never exceeded.
        adapt: False leaves the limit at `most` for ever.
    """

    __slots__ = (
        "_adapt",
        "_answers",
        "_before",
        "_calmed",
        "_ceiling",
        "_cut_at",
        "_fraction",
        "_opens_at",
        "_refused_at",
        "_since",
        "_step",
        "limit",
        "most",
        "opening",
    )

    def __init__(self, most: int, *, adapt: bool = True) -> None:
        self.most = most
        self.opening = adapt and most > OPEN_LEAST
        """No call was refused yet, and the limit has not been at `most`."""
        self.limit = max(OPEN_LEAST, -(-most // OPEN_PARTS)) if self.opening else most
        self._opens_at: float | None = None
        self._adapt = adapt
        self._ceiling = most + 1
        """The number in flight that was refused last; one above `most` while none was."""
        self._before = most
        """The limit before the refusals that are going on."""
        self._cut_at = -1.0
        self._refused_at = 0.0
        self._calmed = -1.0
        self._answers = 0
        self._since = 0
        """Answers since the last refusal."""
        self._fraction = 0.0
        self._step = 1

    def open_in(self, now: float) -> float | None:
        """Let time open more; the seconds until it does so again, None when it does not."""
        if not self.opening:
            return None
        if self._opens_at is None:
            self._opens_at = now + OPEN_S
        while now >= self._opens_at:
            self._opens_at += OPEN_S
            if not self._open(max(1, self.most // OPEN_PARTS)):
                return None
        return self._opens_at - now

    def refused(self, sent: float, now: float, others: int) -> None:
        """A call that left at `sent` was refused for too many in flight; `others` are still there."""
        if not self._adapt:
            return
        self.opening = False
        if self._since >= max(20, self.limit):
            self._before = self.limit
        level = max(1, min(self.limit, others))
        if sent > self._cut_at >= 0.0 and self._since < self.limit // 2:
            level = max(1, min(level, int(others * CUT)))
        if level < self.limit or self.limit == 1:
            self._cut_at = now
        self.limit = level
        self._ceiling = max(level + 1, min(self._ceiling, others + 1))
        self._answers = self._since = 0
        self._refused_at = now
        self._step = 1

    def overloaded(self, now: float) -> None:
        """The model is too busy for this call; asking with fewer at a time gives it air."""
        if not self._adapt or now - self._calmed < CALM_EVERY_S:
            return
        self._calmed = now
        self.opening = False
        self.limit = max(1, -(-self.most // CALM_FLOOR), int(self.limit * CALM_CUT))

    def answered(self, in_flight: int, now: float) -> None:
        """A call was taken and answered at `now` while `in_flight` were there, itself among them."""
        self._since += 1
        if self.opening:
            self._open(1)
        if self.limit >= self.most:
            return
        self._answers += 1
        if in_flight < self.limit:
            return  # the limit held nobody back, so this answer says nothing about a higher one
        if self.limit + 1 < self._ceiling:
            self._grow(1.0 / self.limit * max(1, self.limit // 8))
        elif self._answers >= PROBE_AFTER or (self._step == 1 and now - self._refused_at > PROBE_AFTER_S):
            # At the level that was refused: one more, then twice as many with each round that goes well.
            self._answers = PROBE_AFTER - self.limit - self._step
            self._raise(self._step)
            self._step *= 2

    def restore(self) -> None:
        """Everything was refused for a while, so the refusals measured nothing: go on as before them."""
        self._raise(max(0, self._before - self.limit))

    def _open(self, by: int) -> bool:
        """Make room for so many more; whether there is still more to open."""
        self.limit = min(self.most, self.limit + by)
        self.opening = self.limit < self.most
        return self.opening

    def _grow(self, part: float) -> None:
        self._fraction += part
        whole = int(self._fraction)
        if whole:
            self._fraction -= whole
            self._raise(whole)

    def _raise(self, by: int) -> None:
        self.limit = min(self.most, self.limit + by)
        self._ceiling = max(self._ceiling, self.limit + 1)
