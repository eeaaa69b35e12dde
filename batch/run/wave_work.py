"""One batch file on its way to the provider and back: what is known of it beside what the ledger has.

Owns how often it was refused, and the words for what a run waits for. What is done next is decided by `bulk`.
"""

from __future__ import annotations

from collections.abc import Collection

from batch.core.records import Failure
from batch.ledger.waves import CREATED, WaveRow


class WaveWork:
    """One wave on its way.

    Args:
        wave: as the ledger has it.
        doubted: a creation may have been done unheard.

    Attributes:
        asked: its batch was asked for in this process, and had not ended.
        tries: exchanges about it that failed, one after the other.
        lost: how many of these said that it, or a file of it, is not known.
        refused_since: the monotonic moment of the first of them.
        unwritten: how often it had ended and counted answers without a file of them.
        failure: what the last exchange failed with; None where it did not.
    """

    __slots__ = ("asked", "doubted", "failure", "lost", "refused_since", "tries", "unwritten", "wave")

    def __init__(self, wave: WaveRow, *, doubted: bool) -> None:
        self.wave = wave
        self.doubted = doubted
        self.asked = False
        self.tries = 0
        self.lost = 0
        self.unwritten = 0
        self.refused_since: float | None = None
        self.failure: Failure | None = None

    def went_well(self) -> None:
        """The provider did what it was asked."""
        self.tries, self.lost, self.refused_since, self.failure = 0, 0, None, None

    def refused(self, failure: Failure, now: float) -> float:
        """It did not; seconds for which that has been so."""
        self.refused_since = now if self.refused_since is None else self.refused_since
        self.tries += 1
        self.failure = failure
        return now - self.refused_since


def waits_for(works: Collection[WaveWork]) -> str | None:
    """What is waited for, for people; None when no batch is at the provider and none was refused."""
    away = [work.wave for work in works if work.wave.state == CREATED]
    count, lines = len(away), sum(wave.lines for wave in away)
    text = f"{count:,} {'batch' if count == 1 else 'batches'} of {lines:,} requests at the provider"
    failure = next((work.failure for work in works if work.failure is not None), None)
    if failure is not None:
        return f"{text if away else 'its batch files to be taken'}; the provider said last: {failure.message}"
    return text if away else None
