"""The lock of an output in an object store: taken, renewed, given back, taken over."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from batch.core.clock import MICROSECONDS, HandClock
from batch.core.errors import StorageError
from batch.output.lease import NAME, RENEWED_S, SILENT_S, HeldElsewhere, ObjectLease
from batch.output.objects import Objects, Tag
from batch.output.storeclient import Taken


def lease(objects: Objects, owner: str, clock: HandClock) -> ObjectLease:
    return ObjectLease(objects, lambda: owner, clock=clock)


def test_a_second_machine_is_kept_out_and_told_who_is_at_work(objects: Objects) -> None:
    clock = HandClock()
    lease(objects, "one", clock).acquire()
    clock.advance(30)
    with pytest.raises(HeldElsewhere) as told:
        lease(objects, "two", clock).acquire()
    assert told.value.silent_s == 30
    assert told.value.holder.host


def test_whoever_comes_after_it_was_given_back_need_not_wait(objects: Objects) -> None:
    clock = HandClock()
    first = lease(objects, "one", clock)
    first.acquire()
    first.free()
    second = lease(objects, "two", clock)
    second.acquire()
    with pytest.raises(HeldElsewhere):
        lease(objects, "three", clock).acquire()
    assert second.lost is None


def test_the_next_process_with_the_same_working_copy_takes_it_at_once(objects: Objects) -> None:
    """After kill -9 nobody gave it back; that its process is dead is shown by the lock of the operating system."""
    clock = HandClock()
    lease(objects, "one", clock).acquire()
    again = lease(objects, "one", clock)
    again.acquire()
    again.renew()
    assert again.lost is None


def test_a_silent_lock_is_taken_over_after_two_minutes_and_not_before(objects: Objects) -> None:
    clock = HandClock()
    first, second = lease(objects, "one", clock), lease(objects, "two", clock)
    first.acquire()
    clock.advance(SILENT_S - 1)
    with pytest.raises(HeldElsewhere):
        second.acquire()
    clock.advance(1)
    second.acquire()
    with pytest.raises(StorageError, match="has taken over this output"):
        first.renew()
    assert first.lost is not None


def test_a_holder_that_only_seems_silent_is_seen_to_be_alive(objects: Objects) -> None:
    """The clocks of two machines need not agree: what was written meanwhile counts."""
    clock = HandClock()
    first = lease(objects, "one", clock)
    first.acquire()

    watched: list[float] = []

    class Renewing(HandClock):
        def pause(self, seconds: float) -> None:
            assert seconds > RENEWED_S
            watched.append(seconds)
            first.renew()

    ahead = Renewing(1.0, clock.now_us() + int(10 * SILENT_S * MICROSECONDS))
    with pytest.raises(HeldElsewhere):
        lease(objects, "two", ahead).acquire()
    assert watched
    assert first.lost is None
    first.renew()


@pytest.mark.parametrize("alive", [True, False])
def test_a_lock_whose_time_is_still_to_come_is_watched_for_as_long_as_one_may_be_silent(
    objects: Objects, alive: bool
) -> None:
    """The clock of a machine was a year ahead: when that run died, nobody could have written there for a year."""
    clock = HandClock()
    first = lease(objects, "one", HandClock(1.0, clock.now_us() + 365 * 86_400 * MICROSECONDS))
    first.acquire()

    class Watching(HandClock):
        def pause(self, seconds: float) -> None:
            assert seconds == SILENT_S
            if alive:
                first.renew()

    second = lease(objects, "two", Watching(1.0, clock.now_us()))
    if alive:
        with pytest.raises(HeldElsewhere):
            second.acquire()
        first.renew()
    else:
        second.acquire()
        with pytest.raises(StorageError, match="has taken over this output"):
            first.renew()


def test_a_renewed_lock_is_not_silent(objects: Objects) -> None:
    clock = HandClock()
    first = lease(objects, "one", clock)
    first.acquire()
    for _ in range(12):
        clock.advance(RENEWED_S)
        first.renew()
    with pytest.raises(HeldElsewhere) as told:
        lease(objects, "two", clock).acquire()
    assert told.value.silent_s == 0


def test_a_renewal_whose_answer_was_lost_is_known_as_ours(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store took it, the client tried again, and was refused by its own first try."""
    clock = HandClock()
    first = lease(objects, "one", clock)
    first.acquire()
    clock.advance(RENEWED_S)

    def unheard(name: str, data: bytes | Path, old: Tag) -> Tag:
        replace(name, data, old)
        raise Taken

    replace = objects.replace
    with monkeypatch.context() as patched:
        patched.setattr(objects, "replace", unheard)
        first.renew()
    assert first.lost is None
    clock.advance(RENEWED_S)
    first.renew()


def test_renewals_that_failed_and_came_in_all_the_same_are_known_as_ours(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network went away after the store had taken them, for longer than a request is made again."""
    clock = HandClock()
    first = lease(objects, "one", clock)
    first.acquire()

    def gone(name: str, data: bytes | Path, old: Tag) -> Tag:
        replace(name, data, old)
        raise StorageError("gone")

    replace = objects.replace
    clock.advance(RENEWED_S)
    with monkeypatch.context() as patched:
        patched.setattr(objects, "replace", gone)
        with pytest.raises(StorageError, match="gone"):
            first.renew()
    clock.advance(RENEWED_S)
    first.renew()
    assert first.lost is None
    with monkeypatch.context() as patched:
        patched.setattr(objects, "replace", gone)
        with pytest.raises(StorageError, match="gone"):
            first.renew()
    first.free()
    lease(objects, "two", clock).acquire()


def test_a_holder_whose_renewal_is_kept_waiting_gives_up_before_another_may_take_it(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that takes a request and never answers: no error comes, and time passes."""
    clock = HandClock()
    first = lease(objects, "one", clock)
    first.acquire()
    asked, answered = threading.Event(), threading.Event()

    def slow(name: str, data: bytes | Path, old: Tag) -> Tag:
        asked.set()
        answered.wait()
        return replace(name, data, old)

    replace = objects.replace
    monkeypatch.setattr(objects, "replace", slow)
    renewing = threading.Thread(target=first.renew)
    renewing.start()
    asked.wait()
    clock.advance(SILENT_S / 2)
    found = [first.lost]
    clock.advance(SILENT_S / 2 - 1)
    found.append(first.lost)
    answered.set()
    renewing.join()
    assert found[0] is None
    assert "could not be renewed for 119 s" in str(found[1])
    first.free()
    lease(objects, "two", clock).acquire()


def test_a_holder_that_was_stopped_for_long_tries_before_it_gives_up(objects: Objects) -> None:
    """Ctrl-Z, or a machine asleep: nobody came meanwhile, so the lock is still its own."""
    clock = HandClock()
    first = lease(objects, "one", clock)
    first.acquire()
    clock.advance(100 * SILENT_S)
    assert first.lost is None
    first.renew()
    assert first.lost is None


def test_the_thread_beats_until_the_lock_is_given_back(objects: Objects) -> None:
    clock, beats = HandClock(), list[int]()
    first = ObjectLease(objects, lambda: "one", clock=clock, beat=lambda: beats.append(1))
    first.take()
    first.free()
    assert beats == [1], "the last beat comes before it is given back"
    found = objects.read(NAME)
    assert found is not None
    assert msgspec.json.decode(found[0])["free"] is True
