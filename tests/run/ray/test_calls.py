"""A line made of calls: whole and in order, with the core's time, without keys, and with an end that is told once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Future

import anyio
import msgspec
import pytest

from batch.core import redaction
from batch.core.clock import HandClock
from batch.core.records import Failure, Incoming, Reply
from batch.core.redaction import MASK, Masker, Secret
from batch.providers.base import Credentials, NamedSigner
from batch.run.fleet import messages
from batch.run.ray.actor import KEPT, Answer, FarCalls, Trade
from batch.run.ray.calls import ON_THE_WAY, ActorWorker
from batch.run.ray.coretime import CoreTime
from tests.support.farworkers import Ended, HandActor
from tests.support.hand import by_hand

HELLO = messages.Hello(7, "glm", {}, "http://h/v4", 600.0, 300.0, 60.0, False)
PLACE = {"": messages.KeyPlace("SOME_KEY"), "b": messages.KeyPlace("OTHER_KEY")}
KEY = "abcdefabcdefabcd.SecretSecret1234"


def errand(ticket: int, key: str = KEY) -> messages.Errand:
    headers = (("Authorization", Secret(f"Bearer {key}")), ("Content-Type", "application/json"))
    return messages.Errand(ticket, 1.0, "http://h/v4", "/chat", headers, b"{}", False)


def errand_of(address: str, key: str = KEY) -> messages.Errand:
    """One of several addresses."""
    return msgspec.structs.replace(errand(1), headers=NamedSigner(Credentials(key), address).headers())


class FoundKey:
    """A key of the worker's own machine."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.renewed = 0

    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("Authorization", Secret(f"Bearer of this machine{self.name}")),)

    def renew(self, times: int) -> None:
        self.renewed = times


class Recorded(HandActor):
    """An actor whose calls are kept, as they would go over the network."""

    def __init__(self, far: FarCalls) -> None:
        super().__init__(far)
        self.trades: list[Trade] = []
        self.answers: list[Answer] = []

    def trade(self, trade: Trade) -> Future[Answer]:
        self.trades.append(trade)
        future = super().trade(trade)
        future.add_done_callback(lambda done: None if done.exception() else self.answers.append(done.result()))
        return future


class Line:
    """Both ends of a line, and what each of them heard."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.keys: dict[str, FoundKey] = {}
        self.time = CoreTime(clock.monotonic)
        self.far = FarCalls(self.time, find_keys=self._found)
        self.actor = Recorded(self.far)
        self.near = ActorWorker(self.actor, PLACE, clock)
        self.at_far: list[messages.ToWorker] = []
        self.at_near: list[messages.ToCore] = []
        self.ended = 0

    def _found(self, hello: messages.Hello) -> dict[str, FoundKey]:
        self.keys = {name: FoundKey(name) for name in hello.keys}
        return self.keys

    def _near_ended(self) -> None:
        self.ended += 1

    async def open(self) -> None:
        await self.near.open(self.at_near.append, self._near_ended)
        self.near.send(HELLO)
        await self.far.open(self.at_far.append, lambda: None)
        await self.until(lambda: bool(self.at_far))

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self.clock.sleep(0.001)


def with_line(test: Callable[[Line], Awaitable[None]]) -> Line:
    async def main(clock: HandClock) -> Line:
        line = Line(clock)
        await line.open()
        await test(line)
        if not line.actor.dead:
            line.actor.die()
        await line.until(lambda: not line.near._calls or line.actor.dead)
        return line

    return by_hand(main)


def test_messages_go_both_ways_whole_and_in_order() -> None:
    async def test(line: Line) -> None:
        for number in range(30):
            line.near.send(messages.Cancel([number]))
            line.far.send(messages.Report(7, [messages.Done(number)], []))
            if number % 3 == 0:
                await line.clock.sleep(0.001)
        await line.until(lambda: len(line.at_far) == 31 and len(line.at_near) == 30)
        assert line.at_far[1:] == [messages.Cancel([number]) for number in range(30)]
        tickets = [report.done[0].ticket for report in line.at_near if isinstance(report, messages.Report)]
        assert sorted(tickets) == list(range(30))

    line = with_line(test)
    assert len(line.actor.trades) < 30, "what is said in one tick goes with one call"


def test_a_key_of_the_workers_machine_alone_does_not_come_back_in_what_a_stranger_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command may give each machine a token of its own, of which the core knows nothing."""
    monkeypatch.setattr(redaction, "process", Masker())
    redaction.hide(KEY)
    escaped = KEY.replace("S", "\\u0053")
    said = f"who is {KEY}?"
    reply = Reply(content=said, finish_reason="stop", message={"role": "assistant", "content": said})
    refused = Incoming(401, {"x-request-id": KEY}, f'{{"error": "{escaped}\n", "é": "{KEY}"}}'.encode() + b"\xff")
    fault = messages.Fault(said, "transport", sent=True, permanent=False, wrong_address=False)
    failure = Failure(kind="bad_payload", verdict="once", message=said)

    async def test(line: Line) -> None:
        line.far.send(
            messages.Report(
                7,
                [
                    messages.Done(1, refused),
                    messages.Done(2, None, fault, messages.StreamEnd(reply, received=KEY.encode())),
                    messages.Done(3, None, None, messages.StreamEnd(None, failure)),
                ],
                [4],
                [messages.Said(5, {}, reply)],
            )
        )
        await line.until(lambda: bool(line.at_near))

    line = with_line(test)
    went_over = b"".join(frame for _, frames in line.actor.answers for frame in frames)
    assert KEY.encode() not in went_over
    assert escaped.encode() not in went_over
    (report,) = line.at_near
    assert isinstance(report, messages.Report)
    assert report.done[0].incoming == Incoming(
        401, {"x-request-id": MASK}, f'{{"error": "{MASK}\n", "é": "{MASK}"}}'.encode() + b"\xff"
    )
    bare = f"who is {MASK}?"
    assert report.said[0].reply == msgspec.structs.replace(
        reply, content=bare, message={"role": "assistant", "content": bare}
    )
    assert report.stale == [4]


def test_calls_that_overtake_each_other_are_put_in_order() -> None:
    async def main(_: HandClock) -> list[messages.ToWorker]:
        heard: list[messages.ToWorker] = []
        far = FarCalls(CoreTime(lambda: 0.0), find_keys=lambda _: {})
        await far.open(heard.append, lambda: None)
        far.close()  # so that no call waits
        for number in (3, 1, 2):
            await far.trade((number, [messages.encode_keyless(messages.Cancel([number]))], 0, 0.0))
        return heard

    assert by_hand(main) == [messages.Cancel([1]), messages.Cancel([2]), messages.Cancel([3])]


def test_no_key_goes_over_the_line_and_the_worker_puts_its_own() -> None:
    async def test(line: Line) -> None:
        line.near.send(messages.Take([errand(1)]))
        await line.until(lambda: len(line.at_far) == 2)
        taken = line.at_far[1]
        assert isinstance(taken, messages.Take)
        (one,) = taken.errands
        assert one.headers == (("Content-Type", "application/json"),)
        assert ("Authorization", "Bearer of this machine") in line.far.headers(one)

    line = with_line(test)
    hello = line.at_far[0]
    assert isinstance(hello, messages.Hello)
    assert (hello.epoch, hello.keys) == (7, PLACE)
    assert KEY.encode() not in b"".join(frame for _, frames, _, _ in line.actor.trades for frame in frames)


def test_a_key_anywhere_else_in_a_message_is_refused() -> None:
    with pytest.raises(TypeError):
        messages.encode_keyless(messages.Hello(0, Secret(KEY), {}, "http://h", 1.0, 1.0, 1.0, False))


def test_a_worker_hears_that_the_core_has_another_key() -> None:
    async def test(line: Line) -> None:
        for ticket, key in enumerate((KEY, KEY, f"{KEY}5", f"{KEY}5", f"{KEY}6")):
            line.near.send(messages.Take([errand(ticket, key)]))
        await line.until(lambda: len(line.at_far) == 6)
        assert [take.keys for take in line.at_far if isinstance(take, messages.Take)] == [
            {"": times} for times in (0, 0, 1, 1, 2)
        ]
        assert line.keys[""].renewed == 2

    with_line(test)


def test_each_address_has_its_own_key_and_has_it_renewed_alone() -> None:
    async def test(line: Line) -> None:
        line.near.send(messages.Take([errand(1), errand_of("b"), errand_of("b", f"{KEY}5")]))
        await line.until(lambda: len(line.at_far) == 2)
        taken = line.at_far[1]
        assert isinstance(taken, messages.Take)
        sent_with = [dict(line.far.headers(one))["Authorization"] for one in taken.errands]
        assert sent_with == ["Bearer of this machine", "Bearer of this machineb", "Bearer of this machineb"]
        assert {name: key.renewed for name, key in line.keys.items()} == {"": 0, "b": 1}

    line = with_line(test)
    assert KEY.encode() not in b"".join(frame for _, frames, _, _ in line.actor.trades for frame in frames)


def test_an_errand_without_a_key_is_sent_without_one() -> None:
    """One of several addresses may be of a server that wants none."""

    async def test(line: Line) -> None:
        line.near.send(messages.Take([msgspec.structs.replace(errand_of("c", ""), key="")]))
        await line.until(lambda: len(line.at_far) == 2)
        taken = line.at_far[1]
        assert isinstance(taken, messages.Take)
        line.keys.pop("")
        assert line.far.headers(taken.errands[0]) == ()

    with_line(test)


def test_the_worker_knows_the_time_of_the_core_from_its_first_answer_on() -> None:
    async def test(line: Line) -> None:
        assert line.far.core_now() == float("inf")
        line.far.send(messages.Alive(7))
        await line.until(lambda: bool(line.at_near))
        await line.until(lambda: line.far.core_now() < float("inf"))
        assert line.clock.monotonic() <= line.far.core_now() <= line.clock.monotonic() + 0.1

    with_line(test)


def test_calls_are_few_whatever_there_is_to_say() -> None:
    async def test(line: Line) -> None:
        for number in range(100):
            line.near.send(messages.Cancel([number]))
            await line.clock.sleep(0.001)
            assert line.near._calls <= ON_THE_WAY
            assert len(line.far._waiting) <= KEPT
        await line.until(lambda: len(line.at_far) == 101)
        assert line.near._calls >= 1, "the worker can say something at any time"

    with_line(test)


def test_a_worker_that_leaves_is_heard_to_its_last_word() -> None:
    async def test(line: Line) -> None:
        line.far.send(messages.Report(7, [messages.Done(5)], []))
        line.actor.leaves()
        await line.until(lambda: line.ended == 1)
        assert [report.done for report in line.at_near if isinstance(report, messages.Report)] == [[messages.Done(5)]]
        assert line.near.how_it_ended() == "left"
        line.near.send(messages.Leave())  # to nobody

    with_line(test)


def test_the_end_of_an_actor_is_told_once_with_what_ray_says_of_it() -> None:
    async def test(line: Line) -> None:
        line.actor.die()
        await line.until(lambda: line.ended == 1)
        await line.clock.sleep(0.1)
        assert line.ended == 1
        assert line.near.how_it_ended() == "ended as an actor of Ray: was ended by SIGKILL"

    with_line(test)


def test_a_call_that_cannot_be_made_is_the_end_as_well() -> None:
    class Unreachable(HandActor):
        def trade(self, trade: Trade) -> Future[Answer]:
            raise Ended("Ray is gone")

    async def main(clock: HandClock) -> str:
        far = FarCalls(CoreTime(clock.monotonic), find_keys=lambda _: {})
        near = ActorWorker(Unreachable(far), PLACE, clock)
        over = anyio.Event()
        await near.open(lambda _: None, over.set)
        near.send(HELLO)
        await over.wait()
        return near.how_it_ended()

    assert by_hand(main) == "ended as an actor of Ray: Ray is gone"


def test_a_line_that_was_aborted_tells_nothing_more() -> None:
    async def test(line: Line) -> None:
        line.near.abort()
        line.far.send(messages.Alive(7))
        line.actor.end()
        await line.clock.sleep(0.1)
        assert (line.ended, line.at_near, line.actor.was_ended) == (0, [], True)

    with_line(test)
