"""One batch file on its way to the provider and back: what is known of it beside what the ledger has.

Owns how often it was refused, and the words for what a run waits for, or waits for no longer. What is done next is
decided by `bulk`.
"""

from __future__ import annotations

from collections.abc import Collection

from batch.core.clock import describe
from batch.core.errors import BatchNotEnded
from batch.core.records import Failure
from batch.ledger.waves import CREATED, WaveRow


class WaveWork:
    """One wave on its way.

    Args:
        wave: as the ledger has it.
        doubted: a creation may have been done unheard.

    Attributes:
        asked: its batch was asked for in this process, and had not ended.
        lingers: its batch is to be cancelled, and has not ended at once.
        tries: exchanges about it that failed, one after the other.
        lost: how many of these said that it, or a file of it, is not known.
        refused_since: the monotonic moment of the first of them.
        unwritten: how often it had ended and counted answers without a file of them.
        failure: what the last exchange failed with; None where it did not.
        stays_s: for how many seconds its batch has been cancelled without an end; None while that may still come soon.
    """

    __slots__ = (
        "asked",
        "doubted",
        "failure",
        "lingers",
        "lost",
        "refused_since",
        "stays_s",
        "tries",
        "unwritten",
        "wave",
    )

    def __init__(self, wave: WaveRow, *, doubted: bool) -> None:
        self.wave = wave
        self.doubted = doubted
        self.asked = False
        self.lingers = False
        self.tries = 0
        self.lost = 0
        self.unwritten = 0
        self.refused_since: float | None = None
        self.failure: Failure | None = None
        self.stays_s: float | None = None

    def went_well(self) -> None:
        """The provider did what it was asked."""
        self.tries, self.lost, self.refused_since, self.failure = 0, 0, None, None

    def refused(self, failure: Failure, now: float) -> float:
        """It did not; seconds for which that has been so."""
        self.refused_since = now if self.refused_since is None else self.refused_since
        self.tries += 1
        self.failure = failure
        return now - self.refused_since


def not_ended(works: Collection[WaveWork]) -> BatchNotEnded | None:
    """What a run ends with of whose batches nothing is left but cancelled ones that do not end; None of any other."""
    stays = [work for work in works if work.stays_s is not None]
    return _not_ended(stays) if len(stays) == len(works) else None


def left_cancelled(works: Collection[WaveWork]) -> BatchNotEnded | None:
    """What a run ends with that does not wait for its batches, where some of them are cancelled; None where none is."""
    return _not_ended([work for work in works if work.lingers])


def _not_ended(works: Collection[WaveWork]) -> BatchNotEnded | None:
    if not works:
        return None
    first = max(works, key=lambda work: work.stays_s or 0.0)
    ago = "" if first.stays_s is None else f"{describe(first.stays_s)} ago "
    more = f", and {len(works) - 1:,} more" if len(works) > 1 else ""
    lines = sum(work.wave.lines for work in works)
    return BatchNotEnded(
        f"batch {first.wave.batch_id}{more}: the provider was told {ago}to cancel it, "
        f"and has not ended it. Before that nobody knows which of its {lines:,} requests are billed, so none is sent "
        "again. Run the same command later: it collects what was done, and asks the rest."
    )


def waits_for(works: Collection[WaveWork]) -> str | None:
    """What is waited for, for people; None when no batch is at the provider and none was refused."""
    away = [work.wave for work in works if work.wave.state == CREATED]
    count, lines = len(away), sum(wave.lines for wave in away)
    text = f"{count:,} {'batch' if count == 1 else 'batches'} of {lines:,} requests at the provider"
    failure = next((work.failure for work in works if work.failure is not None), None)
    if failure is not None:
        return f"{text if away else 'its batch files to be taken'}; the provider said last: {failure.message}"
    return text if away else None
