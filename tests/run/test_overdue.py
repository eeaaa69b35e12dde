"""`batch.run.overdue`: when a batch is over its time, and what is said of the lines that it leaves behind."""

from __future__ import annotations

import asyncio
import math

from batch.core.clock import HandClock
from batch.core.records import Failure
from batch.ledger.waves import WaveRow
from batch.providers.batch_files import Batch
from batch.run.overdue import CANCELLED_WITHIN_S, FIRST_POLL_S, LONGEST_POLL_S, BatchDeadline
from batch.submit.bulk import OVERDUE

HOUR_S = 3_600.0
UNDONE = Failure(kind="task", verdict="retry", code="batch_cancelled", message="it was cancelled")


def wave(clock: HandClock, number: int = 0) -> WaveRow:
    """A wave that is made now."""
    return WaveRow(
        wave=number,
        run="r",
        model="m",
        base_url="http://x",
        state=2,
        lines=5_000,
        size=9,
        digest="d",
        made_at_us=clock.now_us(),
        batch_id="batch_1",
    )


def deadline(clock: HandClock, seconds: float | None) -> BatchDeadline:
    """A deadline that is only asked for the time."""
    return BatchDeadline(None, clock, seconds)  # type: ignore[arg-type]  # nothing is exchanged here


def test_a_batch_is_over_its_time_by_the_wall() -> None:
    """Whichever process made it."""
    clock = HandClock()
    one = wave(clock)
    limit = deadline(clock, 6 * HOUR_S)
    assert (limit.left_s(one), limit.over(one)) == (6 * HOUR_S, False)
    clock.advance(6 * HOUR_S - 1)
    assert not limit.over(one)
    clock.advance(1)
    assert deadline(clock, 6 * HOUR_S).over(one)
    assert deadline(clock, None).left_s(one) == math.inf


def test_a_line_that_was_not_come_to_says_so_and_no_other() -> None:
    """An answer stays an answer; what may have been billed stays in doubt; an earlier end is told as it was."""
    clock = HandClock()
    one, limit = wave(clock), deadline(clock, HOUR_S)
    assert limit.renamed(one, UNDONE) is UNDONE
    clock.advance(2 * HOUR_S)
    said = limit.renamed(one, UNDONE)
    assert isinstance(said, Failure)
    assert (said.kind, said.code, said.verdict) == ("task", OVERDUE, "retry")
    assert said.message == (
        "batch batch_1 had not come to this line after 1 h 00 min, the time that [bulk] deadline gives; nothing was "
        "bought"
    )
    in_doubt = Failure(kind="task", verdict="retry", code="line_missing", message="m", answered=False)
    assert limit.renamed(one, in_doubt) is in_doubt


def test_a_file_that_was_not_sent_in_time_was_not_bought() -> None:
    """It never left."""
    clock = HandClock()
    said = deadline(clock, HOUR_S).unsent(wave(clock))
    assert (said.code, said.sent, said.verdict) == (OVERDUE, False, "retry")
    assert "5,000 requests could not be sent within 1 h 00 min" in said.message


def test_a_cancelled_batch_stays_once_it_has_not_ended_for_longer_than_a_cancellation_takes() -> None:
    """Counted in each process from the moment at which it saw the batch cancelled; the polls become rarer meanwhile."""
    clock = HandClock()
    one, limit = wave(clock), deadline(clock, HOUR_S)
    clock.advance(2 * HOUR_S)
    assert limit.stays(one) is None, "it was not cancelled yet"
    cancelling = Batch(id="batch_1", status="cancelling")
    waits = []
    while (stays_s := limit.stays(one)) is None:
        wait_s = asyncio.run(limit.cancel(one, cancelling))
        assert isinstance(wait_s, float)
        waits.append(wait_s)
        clock.advance(wait_s)
    assert CANCELLED_WITHIN_S < stays_s <= CANCELLED_WITHIN_S + LONGEST_POLL_S
    assert (waits[0], waits[-1]) == (FIRST_POLL_S / 2, LONGEST_POLL_S)
    assert deadline(clock, HOUR_S).stays(one) is None


def test_a_batch_whose_status_never_says_that_it_is_cancelled_stays_like_any_other() -> None:
    """Each time it is told once more, but not for ever twice a second."""
    clock = HandClock()
    one, told = wave(clock), 0

    class Provider:
        async def cancel(self, _: WaveRow) -> Batch:
            nonlocal told
            told += 1
            return Batch(id="batch_1", status="in_progress")

    limit = BatchDeadline(Provider(), clock, HOUR_S)  # type: ignore[arg-type]  # as much of it as is asked for
    clock.advance(2 * HOUR_S)
    while limit.stays(one) is None:
        wait_s = asyncio.run(limit.cancel(one, Batch(id="batch_1", status="in_progress")))
        assert isinstance(wait_s, float)
        clock.advance(wait_s)
        assert told < 200
    assert limit.lingers(one)
