"""`batch.limits.shared`: several jobs keep to one limit between them, over real files, in time moved by hand."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from batch.core.clock import HandClock
from batch.core.records import LimitHeaders
from batch.limits.pool import AHEAD_S
from batch.limits.shared import SharedLimits
from batch.limits.tokens import TokenWeight
from tests.support.callers import most_in_a_window
from tests.support.hand import LateClock
from tests.support.sharers import Job, attach, die, limiter_of, share


def together(jobs: list[Job]) -> list[float]:
    return sorted(at for job in jobs for at in job.times())


def weight(tokens: int) -> TokenWeight:
    return TokenWeight(units=tokens, most=1, asked=tokens)


def most_tokens(jobs: list[Job], window_s: float = 60.0) -> float:
    """The most that left within any minute."""
    left = sorted(entry for job in jobs for entry in job.departed)
    first, total, most = 0, 0.0, 0.0
    for at, amount in left:
        total += amount
        while left[first][0] <= at - window_s + 1e-6:
            total -= left[first][1]
            first += 1
        most = max(most, total)
    return most


@pytest.mark.parametrize("rpm", [6, 10, 60, 600])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_request_limit_is_one_line_for_all_jobs_and_is_used(tmp_path: Path, rpm: int, count: int) -> None:
    """However many there are: never more than the limit in any minute, at least 98 % of it, an even part each."""
    jobs = [Job(rpm=rpm) for _ in range(count)]
    began = share(tmp_path, jobs, seconds=180)

    assert most_in_a_window(together(jobs)) <= rpm
    assert len(together(jobs)) >= 0.98 * rpm * 3
    even = rpm * 3 / count
    assert all(0.9 * even - 2 <= len(job.times(began)) for job in jobs)


@pytest.mark.parametrize("rpm", [6, 10, 60, 100, 600])
@pytest.mark.parametrize("count", [1, 2])
def test_a_limit_that_answers_tell_when_many_calls_were_let_go_is_used(tmp_path: Path, rpm: int, count: int) -> None:
    """Those that wait to leave go first, one after the other; new ones would take their part of the limit."""
    jobs = [Job(concurrency=90, senders=90, commit_s=0.05, service_s=0.2, told_rpm=rpm) for _ in range(count)]
    began = share(tmp_path, jobs, seconds=300)

    after = [at for at in together(jobs) if at >= began + 60]
    assert most_in_a_window(after) <= rpm
    assert len(after) >= 0.97 * rpm * 4


def test_late_timers_cross_no_shared_limit(tmp_path: Path) -> None:
    """On a busy machine each timer fires 50 ms late."""
    jobs = [Job(rpm=300) for _ in range(2)]
    share(tmp_path, jobs, seconds=150, clock=LateClock(0.05))
    assert most_in_a_window(together(jobs)) <= 300
    assert len(together(jobs)) >= 0.95 * 750


def test_the_smallest_declared_limit_holds_for_all(tmp_path: Path) -> None:
    """Also for a job that declares none, from the moment on at which another one does."""
    jobs = [Job(rpm=600), Job(rpm=300), Job(senders=5, begins_s=1.0)]
    share(tmp_path, jobs, seconds=120)
    assert most_in_a_window(together(jobs)) <= 300
    assert all(job.times() for job in jobs)


def test_what_one_job_leaves_the_others_use(tmp_path: Path) -> None:
    """Max-min: who wants little gets that, and nothing of the limit is lost by it."""
    jobs = [Job(rpm=600), Job(rpm=600, senders=1, every_s=1.5)]
    share(tmp_path, jobs, seconds=120)
    assert most_in_a_window(together(jobs)) <= 600
    assert len(together(jobs)) >= 0.98 * 1_200
    assert len(jobs[1].times()) >= 45, "nearly each of its calls leaves within a second"


@pytest.mark.parametrize("end", ["killed_s", "stopped_s", "ends_s"])
def test_the_share_of_a_job_that_is_gone_is_the_others_within_five_seconds(tmp_path: Path, end: str) -> None:
    """Killed, stopped by a signal, or done."""
    jobs = [Job(rpm=600), Job(rpm=600)]
    setattr(jobs[1], end, 60.3)
    began = share(tmp_path, jobs, seconds=120)

    assert most_in_a_window(together(jobs)) <= 600
    assert len(jobs[0].times(began + 10, began + 60)) <= 0.55 * 500
    assert len(jobs[0].times(began + 65.3, began + 115.3)) >= 0.95 * 500


@pytest.mark.parametrize("at_s", [0.0, 0.01, 0.3, 0.5, 0.77, 1.0, 2.49])
def test_kills_at_any_moment_cross_no_limit(tmp_path: Path, at_s: float) -> None:
    """Four jobs that come and are killed, one after the other: what each had taken stays counted."""
    jobs = [Job(rpm=60), *(Job(rpm=60, begins_s=10.0 * n, killed_s=10.0 * n + at_s) for n in range(1, 8))]
    share(tmp_path, jobs, seconds=100)
    assert most_in_a_window(together(jobs)) <= 60
    assert len(together(jobs)) >= 0.85 * 100, "a kill loses at most what was given for the next second"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_token_limit_is_one_line_for_all_jobs_and_is_used(tmp_path: Path, count: int) -> None:
    """By the minute never above it, at least 95 % of it, an even part each."""
    jobs = [Job(tpm=60_000, weight=weight(500)) for _ in range(count)]
    share(tmp_path, jobs, seconds=180)

    assert most_tokens(jobs) <= 60_000
    sent = [sum(amount for _, amount in job.departed) for job in jobs]
    assert sum(sent) >= 0.95 * 180_000
    assert min(sent) >= 0.85 * 180_000 / count


def test_tokens_are_counted_of_a_job_that_declares_no_limit_of_them(tmp_path: Path) -> None:
    jobs = [Job(rpm=6_000, weight=weight(500)), Job(tpm=30_000, weight=weight(100))]
    share(tmp_path, jobs, seconds=120)
    assert most_tokens(jobs) <= 30_000 + 500, "its first request left before it heard of the limit"
    assert sum(amount for job in jobs for _, amount in job.departed) >= 0.95 * 60_000


def test_large_requests_do_not_take_what_small_ones_want(tmp_path: Path) -> None:
    """Even parts are of tokens, and not of requests."""
    jobs = [Job(tpm=60_000, weight=weight(3_000)), Job(tpm=60_000, weight=weight(300))]
    share(tmp_path, jobs, seconds=240)
    assert most_tokens(jobs) <= 60_000
    sent = [sum(amount for _, amount in job.departed) for job in jobs]
    assert min(sent) >= 0.35 * sum(sent)


def test_tokens_that_were_reserved_and_not_used_come_back_to_all(tmp_path: Path) -> None:
    """What usage corrects in one job is room for the other."""
    clock = HandClock()
    one, other = (limiter_of(Job(tpm=6_000), clock) for _ in range(2))
    shared = [attach(tmp_path, limiter, name) for limiter, name in ((one, "a"), (other, "b"))]
    assert shared[0].wait(5_900.0, clock.monotonic()) == 0
    grant = shared[0].take(5_900.0, clock.monotonic())
    assert grant is not None
    clock.advance(1.1)
    assert shared[1].wait(3_000.0, clock.monotonic()) > 10
    shared[0].settle(grant, 100.0)
    clock.advance(1.0)
    shared[0].keep()
    clock.advance(60.0)  # the pace is back as well
    assert shared[1].wait(3_000.0, clock.monotonic()) == 0


@pytest.mark.parametrize(("mine", "others", "limit"), [(20, 20, 20), (20, 10, 10), (2, 2, 2), (1, 1, 1)])
def test_calls_in_flight_are_shared_as_evenly_as_they_can_be(
    tmp_path: Path, mine: int, others: int, limit: int
) -> None:
    """The smallest number holds; where there are fewer slots than jobs, they take turns."""
    jobs = [Job(declares=most, concurrency=most, service_s=2.0) for most in (mine, others)]
    began = share(tmp_path, jobs, seconds=100)

    # What the first one sent before it knew of the other has come back by then.
    assert most_in_flight(jobs, since=began + 2.5) <= limit
    counts = [len(job.times(began)) for job in jobs]
    assert sum(counts) >= 0.9 * limit * 50
    assert min(counts) >= 0.4 * sum(counts)


def test_a_job_that_comes_later_gets_its_part_as_calls_end(tmp_path: Path) -> None:
    jobs = [
        Job(declares=20, concurrency=20, service_s=2.0),
        Job(declares=20, concurrency=20, service_s=2.0, begins_s=30),
    ]
    began = share(tmp_path, jobs, seconds=90)
    assert most_in_flight(jobs) <= 20
    assert len(jobs[0].times(began, began + 30)) >= 270, "it had all of them"
    assert len(jobs[1].times(began + 36, began + 90)) >= 0.45 * 540


def most_in_flight(jobs: list[Job], *, since: float = 0.0) -> int:
    """The most calls of all jobs at one time."""
    changes = [(at, 1) for job in jobs for at in job.times()]
    changes += [(at + job.service_s, -1) for job in jobs for at in job.times()]
    now = most = 0
    for at, change in sorted(changes):
        now += change
        most = max(most, now) if at >= since else most
    return most


def two(tmp_path: Path, clock: HandClock, **job: float) -> tuple[SharedLimits, SharedLimits]:
    one, other = (limiter_of(Job(**job), clock) for _ in range(2))  # type: ignore[arg-type]  # limits only
    return attach(tmp_path, one, "a"), attach(tmp_path, other, "b")


def test_a_pause_that_one_job_is_told_holds_for_all(tmp_path: Path) -> None:
    """A 429 with Retry-After: nobody else has to run into it."""
    clock = HandClock()
    one, other = (limiter_of(Job(rpm=600), clock) for _ in range(2))
    shared = [attach(tmp_path, limiter, name) for limiter, name in ((one, "a"), (other, "b"))]
    one.pause("m", 20.0)
    clock.advance(0.5)
    shared[1].keep()
    assert 19 < other.model("m").pause_left(clock.monotonic()) <= 19.6
    clock.advance(20.0)
    assert other.model("m").wait(None) == 0


def test_a_limit_that_headers_tell_one_job_holds_for_all(tmp_path: Path) -> None:
    clock = HandClock()
    one, other = limiter_of(Job(), clock), limiter_of(Job(), clock)
    one.model("m")._adapt = True
    shared = [attach(tmp_path, limiter, name) for limiter, name in ((one, "a"), (other, "b"))]
    one.observe_headers("m", LimitHeaders(limit_requests=60, remaining_requests=60))
    clock.advance(0.5)
    for each in shared:
        each.keep()
    assert shared[1].requests == 60
    assert other.model("m").rates.in_force


def test_a_cap_that_refusals_taught_one_job_is_known_to_all(tmp_path: Path) -> None:
    """It counts the calls of both: ten of each were there when one more was refused."""
    clock = HandClock()
    limiters = [limiter_of(Job(), clock) for _ in range(2)]
    for limiter in limiters:
        limits = limiter.model("m")
        limits.slots._adapt = True
    shared = [attach(tmp_path, limiter, name) for limiter, name in zip(limiters, "ab", strict=True)]
    for limiter in limiters:
        limiter.model("m").in_flight = 10
    for _ in range(2):
        clock.advance(0.5)
        for each in shared:
            each.keep()
    limiters[0].model("m").failed(1, clock.monotonic() - 0.1, "in_flight")
    assert limiters[0].model("m").slots.limit == 19
    for _ in range(2):
        clock.advance(0.5)
        for each in shared:
            each.keep()
    assert limiters[1].model("m").slots.limit == 19
    assert limiters[0].model("m").most + limiters[1].model("m").most <= 20


def test_it_says_with_how_many_it_shares_and_what_it_waits_for(tmp_path: Path) -> None:
    clock = HandClock()
    one, other = limiter_of(Job(rpm=6), clock), limiter_of(Job(rpm=6), clock)
    shared = [attach(tmp_path, limiter, name) for limiter, name in ((one, "a"), (other, "b"))]
    clock.advance(0.5)
    shared[0].keep()
    assert shared[0].wait(None, clock.monotonic()) == 0
    shared[0].take(None, clock.monotonic())
    assert shared[1].wait(None, clock.monotonic()) > 8
    assert shared[1].binding(None, clock.monotonic()) == "requests_per_minute"
    assert (shared[0].others, shared[0].with_whom) == (1, "shared with 1 other job")
    die(shared[1])
    clock.advance(0.5)
    shared[0].keep()
    assert shared[0].others == 0, "the system tells at once who is dead"


def test_one_process_alone_visits_the_file_a_few_times_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is touched for a row: 100 requests a second are ten visits at most."""
    visits = 0
    before = SharedLimits._visit

    def counted(self: SharedLimits, *args: object, **more: object) -> None:
        nonlocal visits
        visits += 1
        before(self, *args, **more)  # type: ignore[arg-type]  # handed on

    monkeypatch.setattr(SharedLimits, "_visit", counted)
    job = Job(rpm=6_000)
    share(tmp_path, [job], seconds=20)
    assert len(job.times()) >= 0.98 * 2_000
    assert visits <= 20 * 10


def test_a_clock_of_another_start_of_the_machine_is_not_believed(tmp_path: Path) -> None:
    """Times of before mean nothing; the minute that may be used up is waited for where tokens are counted."""
    clock = HandClock(start=1_000_000.0)
    first = attach(tmp_path, limiter_of(Job(rpm=60, tpm=6_000), clock), "a", boot="before")
    assert first.wait(100.0, clock.monotonic()) == 0
    die(first)
    later = HandClock(start=50.0, wall_us=clock.now_us() + 20_000_000)
    again = attach(tmp_path, limiter_of(Job(rpm=60, tpm=6_000), later), "b", boot="after")
    assert again.alone is None
    assert again.wait(100.0, later.monotonic()) >= 0.9
    later.advance(AHEAD_S + 1)
    assert again.wait(100.0, later.monotonic()) > 30, "of the tokens of before nothing is known"


def test_a_machine_that_slept_goes_on_with_what_it_had(tmp_path: Path) -> None:
    """Monotonic time stands still meanwhile, and the wall jumps: nothing is handed out twice."""
    clock = HandClock()
    one, other = two(tmp_path, clock, rpm=60.0)
    assert one.wait(None, clock.monotonic()) == 0
    clock._wall_offset += 8 * 3_600 * 1_000_000
    assert other.alone is None
    assert other.wait(None, clock.monotonic()) > 0


def test_two_machines_in_one_folder_do_not_share_and_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The clocks of two machines have nothing to do with each other."""
    clock = HandClock()
    one = attach(tmp_path, limiter_of(Job(rpm=60), clock), "a", boot="here")
    there = attach(tmp_path, limiter_of(Job(rpm=60), clock), "b", boot="there")
    assert one.alone is None
    assert there.alone == "another machine uses this folder too"
    assert there.wait(None, clock.monotonic()) == 0, "its own limits hold it, and nothing else"
    assert sum("limits_not_shared" in text for text in caplog.messages) == 1


def test_a_damaged_file_is_made_anew_and_its_minute_taken_for_used(tmp_path: Path) -> None:
    clock = HandClock()
    one, other = two(tmp_path, clock, rpm=60.0, tpm=6_000.0)
    (path,) = tmp_path.glob("*.json")
    path.write_bytes(b'{"boot": "one-b')
    clock.advance(0.6)
    one.keep()
    other.keep()
    assert one.wait(10.0, clock.monotonic()) > 0
    clock.advance(61.0)
    assert one.wait(10.0, clock.monotonic()) == 0
    assert other.others == 1


def taken_away(folder: Path) -> None:
    for path in folder.glob("*"):
        path.unlink()
    folder.rmdir()


def test_a_folder_that_cannot_be_had_any_more_leaves_a_job_with_its_own_limits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = HandClock()
    one, _ = two(tmp_path / "limits", clock, rpm=60.0)
    taken_away(tmp_path / "limits")
    (tmp_path / "limits").write_text("a file where the folder was")
    clock.advance(0.6)
    one.keep()
    one.keep()
    assert one.alone is not None
    assert one.wait(None, clock.monotonic()) == 0
    (told,) = [text for text in caplog.messages if "limits_not_shared" in text]
    assert str(tmp_path / "limits") in told, "where to look"
    one.leave()


@pytest.mark.parametrize("first", ["one that was there", "one that comes new"])
def test_a_folder_that_is_taken_away_is_made_anew_and_its_minute_taken_for_used(tmp_path: Path, first: str) -> None:
    """Somebody clears the state folder under jobs at work: none of them may begin its limits anew, nor go on alone."""
    clock, folder = HandClock(), tmp_path / "limits"
    jobs = list(two(folder, clock, rpm=60.0, tpm=6_000.0))
    taken_away(folder)
    clock.advance(0.6)
    if first == "one that comes new":
        jobs.append(attach(folder, limiter_of(Job(rpm=60.0, tpm=6_000.0), clock), "c"))
    for _ in range(2):
        for job in jobs:
            job.keep()
        clock.advance(0.6)
    now = clock.monotonic()
    assert [job.alone for job in jobs] == [None] * len(jobs)
    assert [job.others for job in jobs] == [len(jobs) - 1] * len(jobs)
    assert jobs[0].wait(10.0, now) > 0
    clock.advance(61.0)
    assert jobs[0].wait(10.0, clock.monotonic()) == 0
    for job in jobs:
        job.leave()
    assert not list(folder.glob("*.member"))


@pytest.mark.parametrize("wakes", [False, True])
def test_a_process_that_is_stopped_with_the_file_in_its_hands_leaves_the_limit_to_the_others(
    tmp_path: Path, wakes: bool
) -> None:
    """They take the file over together, and none of them goes on with the whole limit for itself."""
    clock = HandClock()
    one, other = two(tmp_path, clock, rpm=600.0)
    (lock,) = tmp_path.glob("*.lock")
    with lock.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for _ in range(12):
            clock.advance(0.6)
            one.keep()
            other.keep()
        if wakes:
            fcntl.flock(held, fcntl.LOCK_UN)
        assert [one.alone, other.alone] == [None, None]
        assert [one.others, other.others] == [1, 1]
        clock.advance(2.0)
        now = clock.monotonic()
        granted = 0
        for _ in range(20):
            for job in (one, other):
                if job.wait(None, now) == 0:
                    job.take(None, now)
                    granted += 1
        assert 1 <= granted <= 2, "a rest gives a few at once, all together"
