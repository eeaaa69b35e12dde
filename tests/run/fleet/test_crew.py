"""The workers of a run as the core sees them: who gets what, who is lost, and what becomes of their errands."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.abc import TaskGroup

from batch.core.clock import HandClock
from batch.core.errors import WireError
from batch.core.records import Incoming, Outgoing
from batch.run.fleet import messages
from batch.run.fleet.crew import LOOK_S, SILENT_S, STARTS, Crew, WorkerLost
from batch.run.fleet.member import AVOIDED_S, LONGEST_AVOIDED_S
from batch.run.fleet.worker import VALID_S
from batch.submit.results import ENDED
from batch.submit.retry import NOT_TAKEN
from tests.support.farworkers import Kind, OverCalls, OverSocket
from tests.support.hand import by_hand

HELLO = messages.Hello(0, "glm", {}, "http://h/v4", 600.0, 300.0, 60.0, False)
ASKED = Outgoing("/chat", (), b"{}")
POLL = Outgoing("/result/1", ())
OK = Incoming(200, {}, b"{}")


class Peer:
    """The far end of one worker; it says what the test says."""

    def __init__(self, near: Kind) -> None:
        self.near = near
        self.epoch = 0
        self.errands: list[messages.Errand] = []
        self.cancelled: list[int] = []
        self.told_to_leave = self.near_is_gone = False

    async def open(self) -> None:
        await self.near.far.open(self._heard, self._near_ended)

    def _heard(self, told: messages.ToWorker) -> None:
        if isinstance(told, messages.Hello):
            self.epoch = told.epoch
        elif isinstance(told, messages.Take):
            self.errands += told.errands
        elif isinstance(told, messages.Cancel):
            self.cancelled += told.tickets
        else:
            self.told_to_leave = True

    def _near_ended(self) -> None:
        self.near_is_gone = True

    def alive(self) -> None:
        self.near.far.send(messages.Alive(self.epoch))

    def say(self, message: messages.ToCore) -> None:
        self.near.far.send(message)

    def answer(self, *errands: messages.Errand) -> None:
        self.say(messages.Report(self.epoch, [messages.Done(errand.ticket, OK) for errand in errands], []))

    def die(self) -> None:
        self.near.die()

    @property
    def was_ended(self) -> bool:
        return self.near.was_ended


class World:
    """A crew whose workers are peers, all in one loop and one time."""

    def __init__(
        self, clock: HandClock, size: int, *, kind: Callable[[HandClock], Kind], begin: Callable[[], Kind] | None = None
    ) -> None:
        self.clock = clock
        self.kind = kind
        self.peers: list[Peer] = []
        self.late: list[int] = []
        self.results: dict[int, Incoming | WireError] = {}
        self.crew = Crew(size, HELLO, clock=clock, late=self._came_late, begin=begin or self._begin)
        self.group: TaskGroup

    def _came_late(self, found: messages.Found) -> None:
        self.crew.start(self._book, found)

    async def _book(self, found: messages.Found) -> None:
        self.late.append(found.ticket)

    def _begin(self) -> Kind:
        peer = Peer(self.kind(self.clock))
        self.peers.append(peer)
        self.group.start_soon(peer.open)
        return peer.near

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a state; time that is moved by hand passes meanwhile."""
        while not holds():
            await self.clock.sleep(0.001)

    async def ready(self, *peers: int) -> None:
        """Have these workers come up, all of them by default."""
        wanted = peers or range(len(self.crew.members))
        await self.until(lambda: all(number < len(self.peers) and self.peers[number].epoch for number in wanted))
        for number in wanted:
            self.peers[number].alive()
        await self.until(lambda: sum(member.ready for member in self.crew.members) >= len(wanted))

    def ask(self, name: int, outgoing: Outgoing = ASKED) -> anyio.CancelScope:
        """Have an errand carried; its result stands in `results` under this name."""
        scope = anyio.CancelScope()

        async def carry() -> None:
            with scope:
                try:
                    self.results[name] = await self.crew.carry(outgoing, "http://h/v4")
                except WireError as error:
                    self.results[name] = error

        self.group.start_soon(carry)
        return scope

    def failure(self, name: int) -> WireError:
        result = self.results[name]
        assert isinstance(result, WireError)
        return result


@pytest.fixture(params=[OverSocket, OverCalls], ids=["sockets", "calls"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it holds over each kind of line."""
    monkeypatch.setattr(sys.modules[__name__], "KIND", request.param)


KIND: Callable[[HandClock], Kind] = OverSocket


def with_crew(test: Callable[[World], Awaitable[None]], size: int = 2) -> World:
    async def main(clock: HandClock) -> World:
        world = World(clock, size, kind=KIND)
        async with anyio.create_task_group() as world.group:
            async with anyio.create_task_group() as group:
                group.start_soon(world.crew.run)
                await world.until(lambda: len(world.peers) == size)
                await test(world)
                group.cancel_scope.cancel()
            assert all(peer.was_ended or peer.near_is_gone for peer in world.peers), "a worker outlives its crew"
        return world

    return by_hand(main)


def test_errands_go_to_whoever_has_the_least_to_do_and_come_back_to_who_asked() -> None:
    async def test(world: World) -> None:
        await world.ready()
        for name in range(5):
            world.ask(name)
        await world.until(lambda: sum(len(peer.errands) for peer in world.peers) == 5)
        assert sorted(len(peer.errands) for peer in world.peers) == [2, 3]
        for peer in world.peers:
            peer.answer(*reversed(peer.errands))
        await world.until(lambda: len(world.results) == 5)
        assert list(world.results.values()) == 5 * [OK]

    with_crew(test)


def test_an_errand_tells_when_it_departed_and_where_it_goes() -> None:
    async def test(world: World) -> None:
        await world.ready()
        at = world.clock.monotonic()
        world.ask(1)
        await world.until(lambda: bool(world.peers[0].errands))
        (errand,) = world.peers[0].errands
        assert errand.departed_at == pytest.approx(at)
        assert (errand.base_url, errand.path, errand.body) == ("http://h/v4", "/chat", b"{}")

    with_crew(test, size=1)


def test_a_worker_that_dies_loses_its_errands_and_another_takes_its_place() -> None:
    async def test(world: World) -> None:
        await world.ready()
        world.ask(1)
        world.ask(2)
        await world.until(lambda: all(peer.errands for peer in world.peers))
        first, second = world.peers
        first.die()
        await world.until(lambda: bool(world.results) and len(world.peers) == 3)
        (name,) = world.results
        lost = world.failure(name)
        assert isinstance(lost, WorkerLost)
        assert (lost.ticket, lost.sent, lost.code) == (first.errands[0].ticket, True, ENDED)
        assert "SIGKILL" in str(lost)
        await world.ready(2)
        assert [member.epoch for member in world.crew.members] == [second.epoch, world.peers[2].epoch] == [2, 3]
        second.answer(*second.errands)
        await world.until(lambda: len(world.results) == 2)

    with_crew(test)


def test_a_silent_worker_is_over_and_what_it_reports_then_is_late() -> None:
    async def test(world: World) -> None:
        await world.ready()
        world.ask(1)
        (peer,) = world.peers
        await world.until(lambda: bool(peer.errands))
        began = world.clock.monotonic()
        await world.until(lambda: 1 in world.results)
        assert SILENT_S <= world.clock.monotonic() - began <= SILENT_S + 2 * LOOK_S
        await world.until(lambda: peer.told_to_leave and len(world.peers) == 2)
        assert isinstance(world.failure(1), WorkerLost)
        assert not peer.was_ended
        peer.alive()  # it wakes: that makes it no worker again
        peer.answer(*peer.errands)
        peer.answer(*peer.errands)
        await world.until(lambda: bool(world.late))
        assert world.late == [peer.errands[0].ticket]
        assert peer.epoch not in [member.epoch for member in world.crew.members]

    with_crew(test, size=1)


def test_polls_are_no_calls_that_are_lost_with_their_worker() -> None:
    async def test(world: World) -> None:
        await world.ready()
        world.ask(1)
        scope = world.ask(2, POLL)
        world.ask(3, POLL)
        (peer,), (member,) = world.peers, world.crew.members
        await world.until(lambda: len(peer.errands) == 3)
        assert member.calls == 1
        scope.cancel()
        peer.answer(*peer.errands[:1])
        await world.until(lambda: bool(peer.cancelled) and 1 in world.results)
        assert (member.calls, len(member.waiting), len(member.polls)) == (0, 1, 1)
        peer.answer(peer.errands[2])
        await world.until(lambda: 3 in world.results)
        assert (member.waiting, member.polls) == ({}, set())

    with_crew(test, size=1)


def test_a_worker_that_says_it_is_alive_is_left_alone_however_long_its_exchanges_take() -> None:
    async def test(world: World) -> None:
        await world.ready()
        world.ask(1)
        (peer,) = world.peers
        await world.until(lambda: bool(peer.errands))
        for _ in range(20):
            await world.clock.sleep(SILENT_S / 2)
            peer.alive()
            await anyio.lowlevel.checkpoint()
        assert not world.results
        peer.answer(*peer.errands)
        await world.until(lambda: 1 in world.results)
        assert len(world.peers) == 1

    with_crew(test, size=1)


def test_a_core_that_was_stopped_takes_nobody_for_silent() -> None:
    async def test(world: World) -> None:
        await world.ready()
        world.ask(1)
        (peer,) = world.peers
        await world.until(lambda: bool(peer.errands))
        world.clock.advance(3_600.0)  # the machine slept
        await world.clock.sleep(SILENT_S - 2 * LOOK_S)
        assert not world.results
        peer.answer(*peer.errands)
        await world.until(lambda: 1 in world.results)
        assert len(world.peers) == 1

    with_crew(test, size=1)


def test_what_a_worker_came_to_too_late_was_not_sent_and_says_nothing_of_the_provider() -> None:
    async def test(world: World) -> None:
        await world.ready()
        world.ask(1)
        (peer,) = world.peers
        await world.until(lambda: bool(peer.errands))
        peer.say(messages.Report(peer.epoch, [], [peer.errands[0].ticket]))
        await world.until(lambda: 1 in world.results)
        assert (world.failure(1).sent, world.failure(1).code) == (False, NOT_TAKEN)

    with_crew(test, size=1)


def test_a_worker_that_comes_too_late_to_all_it_is_given_is_given_little() -> None:
    """It has the least to do, for it hands everything back; so it is asked last, for twice as long each time."""

    async def test(world: World) -> None:
        await world.ready()
        late, other = world.peers
        for number in range(200):
            world.ask(number)
            await world.until(lambda: len(late.errands) + len(other.errands) == 1)
            if late.errands:
                late.say(messages.Report(late.epoch, [], [late.errands.pop().ticket]))
            else:
                other.answer(other.errands.pop())
            await world.until(lambda number=number: number in world.results)  # type: ignore[misc]  # a default binds it
            late.alive()
            other.alive()
            await world.clock.sleep(0.5)
        refused = sum(isinstance(result, WireError) for result in world.results.values())
        assert 2 <= refused <= 2 + 100 / LONGEST_AVOIDED_S + 5

    with_crew(test)


def test_a_worker_that_was_late_for_a_while_gets_its_share_again() -> None:
    async def test(world: World) -> None:
        await world.ready()
        late, other = world.peers
        world.ask(0)
        world.ask(1)
        await world.until(lambda: bool(late.errands and other.errands))
        late.say(messages.Report(late.epoch, [], [late.errands.pop().ticket]))
        other.answer(other.errands.pop())
        await world.until(lambda: len(world.results) == 2)
        await world.clock.sleep(AVOIDED_S)
        for number in range(2, 6):
            world.ask(number)
        await world.until(lambda: len(late.errands) == len(other.errands) == 2)

    with_crew(test)


def test_where_all_come_too_late_they_are_asked_all_the_same() -> None:
    async def test(world: World) -> None:
        await world.ready()
        (peer,) = world.peers
        for number in range(3):
            world.ask(number)
            await world.until(lambda: bool(peer.errands))
            peer.say(messages.Report(peer.epoch, [], [peer.errands.pop().ticket]))
            await world.until(lambda number=number: number in world.results)  # type: ignore[misc]  # a default binds it

    with_crew(test, size=1)


def test_while_nobody_is_there_an_errand_waits_only_for_as_long_as_it_is_good() -> None:
    async def test(world: World) -> None:
        began = world.clock.monotonic()
        world.ask(1)
        await world.until(lambda: 1 in world.results)
        assert world.clock.monotonic() - began == pytest.approx(VALID_S, abs=0.05)
        assert (world.failure(1).sent, world.failure(1).code) == (False, NOT_TAKEN)
        world.ask(2)
        await world.ready()
        await world.until(lambda: bool(world.peers[0].errands))
        world.peers[0].answer(*world.peers[0].errands)
        await world.until(lambda: 2 in world.results)

    with_crew(test, size=1)


def test_an_errand_nobody_waits_for_is_taken_back() -> None:
    async def test(world: World) -> None:
        await world.ready()
        scope = world.ask(1)
        (peer,) = world.peers
        await world.until(lambda: bool(peer.errands))
        scope.cancel()
        await world.until(lambda: bool(peer.cancelled))
        assert peer.cancelled == [peer.errands[0].ticket]
        peer.answer(*peer.errands)  # it was faster
        await anyio.lowlevel.checkpoint()
        assert (world.results, world.late) == ({}, [])

    with_crew(test, size=1)


def test_workers_that_end_as_fast_as_they_are_started_are_given_up() -> None:
    async def test(world: World) -> None:
        for number in range(STARTS):
            await world.ready(number)
            world.peers[number].die()
        await world.until(lambda: world.crew.given_up)
        await world.crew.ready()
        assert len(world.peers) == STARTS

    with_crew(test, size=1)


@pytest.mark.parametrize("dying", [1, STARTS], ids=["another comes up", "nobody does"])
def test_whoever_waits_for_the_first_worker_does_not_wait_for_one_that_ended_before_it_was_ready(dying: int) -> None:
    async def test(world: World) -> None:
        there = anyio.Event()

        async def wait() -> None:
            await world.crew.ready()
            there.set()

        world.group.start_soon(wait)
        for number in range(dying):
            await world.until(lambda number=number: len(world.peers) > number)  # type: ignore[misc]  # a default binds it
            await world.until(lambda number=number: bool(world.peers[number].epoch))  # type: ignore[misc]  # likewise
            assert not there.is_set()
            world.peers[number].die()
        if dying < STARTS:
            await world.ready(dying)
        with anyio.fail_after(5):
            await there.wait()

    with_crew(test, size=1)


def test_one_answer_makes_up_for_all_that_ended_before() -> None:
    async def test(world: World) -> None:
        for number in range(2 * STARTS):
            await world.ready(number)
            world.ask(number)
            peer = world.peers[number]
            await world.until(lambda peer=peer: bool(peer.errands))  # type: ignore[misc]  # a default binds it
            if number == STARTS - 1:
                peer.answer(*peer.errands)
            await world.until(lambda number=number: number != STARTS - 1 or number in world.results)  # type: ignore[misc]  # likewise
            peer.die()
            await world.until(lambda number=number: world.crew.given_up or len(world.peers) > number + 1)  # type: ignore[misc]  # likewise
            if world.crew.given_up:
                break
        assert len(world.peers) == STARTS + STARTS

    with_crew(test, size=1)


def test_where_no_process_can_be_started_the_core_is_told_at_once() -> None:
    def begin() -> Kind:
        raise OSError("no more processes")

    async def main(clock: HandClock) -> None:
        world = World(clock, 2, kind=KIND, begin=begin)
        async with anyio.create_task_group() as world.group:
            world.group.start_soon(world.crew.run)
            await world.crew.ready()
            assert world.crew.given_up
            world.group.cancel_scope.cancel()

    by_hand(main)
