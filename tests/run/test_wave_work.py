"""`batch.run.wave_work`: what is known of a batch file on its way, and what a run says it waits for."""

from __future__ import annotations

from batch.core.records import Failure
from batch.ledger.waves import BUILT, CREATED, WaveRow
from batch.run.wave_work import WaveWork, not_ended, waits_for

CUT = Failure(kind="transport", verdict="retry", message="the answer was cut in the middle")


def work(number: int, state: int, lines: int = 50) -> WaveWork:
    """A wave on its way."""
    wave = WaveRow(
        wave=number, run="r", model="m", base_url="u", state=state, lines=lines, size=1, digest="d", made_at_us=0
    )
    return WaveWork(wave, doubted=False)


def test_what_is_at_the_provider_is_waited_for() -> None:
    """Files that are still here are not waited for; they go by themselves."""
    assert waits_for([work(0, BUILT)]) is None
    assert waits_for([work(0, CREATED), work(1, BUILT)]) == "1 batch of 50 requests at the provider"
    assert waits_for([work(0, CREATED), work(1, CREATED, 20)]) == "2 batches of 70 requests at the provider"


def test_a_refusal_is_told_until_the_provider_does_what_it_is_asked() -> None:
    """Somebody who watches a run that waits for hours sees why."""
    there, here = work(0, CREATED), work(1, BUILT)
    assert there.refused(CUT, 100.0) == 0.0
    assert there.refused(CUT, 160.0) == 60.0
    assert there.tries == 2
    said = "the provider said last: the answer was cut in the middle"
    assert waits_for([there, here]) == f"1 batch of 50 requests at the provider; {said}"
    here.refused(CUT, 0.0)
    assert waits_for([here]) == f"its batch files to be taken; {said}"
    there.went_well()
    assert waits_for([there]) == "1 batch of 50 requests at the provider"
    assert there.refused(CUT, 500.0) == 0.0


def test_a_run_ends_when_all_that_is_left_are_cancelled_batches_that_do_not_end() -> None:
    """Not while another one may answer."""
    one, other = work(0, CREATED), work(1, CREATED, 20)
    assert not_ended([]) is None
    assert not_ended([one, other]) is None
    one.stays_s = 1_900.0
    assert not_ended([one, other]) is None
    other.stays_s = 2_400.0
    told = not_ended([one, other])
    assert told is not None
    assert told.exit_code == 7
    assert "and 1 more: the provider was told 40 min 00 s ago to cancel it" in str(told)
    assert "which of its 70 requests are billed" in str(told)
