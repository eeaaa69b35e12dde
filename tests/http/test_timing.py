"""Time is judged after reading: a process that was stopped or busy does not throw away what waits in its sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import anyio
import pytest

from batch.core.clock import Clock, HandClock
from batch.core.errors import WireError
from batch.core.records import Incoming, Outgoing, Reply
from batch.http import timing
from batch.http.client import Client
from batch.http.timing import Deadlines, Timer
from batch.providers.stream import Stream
from tests.providers.test_folding import DONE, opened, said
from tests.support.hand import by_hand
from tests.support.sockets import Counts, asked, serving
from tests.support.stub import reply
from tests.support.wire_fixtures import when_sent

POST = Outgoing("/chat", (), b'{"a":1}')
LARGE = reply(b" " * 30_000_000 + b"{}")
"""More than the sockets of both sides hold."""
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(*frames: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames)


def answering(
    *pieces: bytes, pause_s: float = 0.0, done: threading.Event | None = None
) -> Callable[[socket.socket, Counts], None]:
    def serve(line: socket.socket, counts: Counts) -> None:
        while asked(line, counts):
            for piece in pieces:
                line.sendall(piece)
                time.sleep(pause_s)
            if done is not None:
                done.set()

    return serve


def asleep(seconds: float, done: threading.Event | None = None) -> Callable[[], None]:
    """Holds up the event loop as soon as the request has left, as a stopped process is; the answer comes meanwhile."""

    def sleep() -> None:
        time.sleep(seconds)
        if done is not None:
            assert done.wait(60)
            done.clear()

    return sleep


@pytest.mark.parametrize(
    ("answer", "sleeps"), [(reply(b"{}"), (1.1, 2.3)), (LARGE, (2.3,))], ids=["small", "larger than the socket"]
)
async def test_an_answer_that_came_while_we_slept_is_read(
    answer: bytes, sleeps: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 11: it was a timeout, and bought again."""
    monkeypatch.setattr(timing, "EXCUSE_S", 20.0)  # the server is another thread, and may be held up itself
    done = None if answer is LARGE else threading.Event()
    with serving(answering(answer, done=done)) as (url, _):
        wire = Client(url, call_timeout_s=1.0)
        for seconds in sleeps:
            when_sent(monkeypatch, asleep(seconds, done))
            incoming = await wire.exchange(POST)
            assert isinstance(incoming, Incoming)
            assert incoming.body.endswith(b"{}")
        await wire.aclose()


@pytest.mark.parametrize("first_s", [1.0, 20.0], ids=["first chunk", "between"])
async def test_a_stream_that_came_while_we_slept_is_read(first_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD 11: the first chunk, and what comes after it."""
    monkeypatch.setattr(timing, "EXCUSE_S", 20.0)
    frames = [HEAD, *(chunked(said("a" * 50_000)) for _ in range(40)), chunked(said("", "stop"), DONE), b"0\r\n\r\n"]
    with serving(answering(*frames, pause_s=0.005)) as (url, _):
        wire = Client(url, call_timeout_s=20)
        stream = Stream(opened(), Clock(), first_s=first_s, idle_s=1.0)
        when_sent(monkeypatch, asleep(2.3))
        await wire.exchange(POST, stream=stream)
        result = stream.end(clean=True)
        assert isinstance(result, Reply)
        assert len(result.content or "") == 2_000_000
        await wire.aclose()


@pytest.mark.parametrize(("stream", "slept_s"), [(False, 1.1), (True, 2.3)])
async def test_silence_is_still_told_after_a_sleep(
    stream: bool, slept_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 11: nothing is there to read, so time is up; how much later is told by the timers below."""
    gone = threading.Event()

    def hold(line: socket.socket, counts: Counts) -> None:
        assert asked(line, counts)
        gone.wait(60)

    with serving(hold) as (url, _):
        wire = Client(url, call_timeout_s=60 if stream else 1.0)
        taker = Stream(opened(), Clock(), first_s=1.0, idle_s=1.0) if stream else None
        begin = time.monotonic()
        when_sent(monkeypatch, asleep(slept_s))
        with pytest.raises(WireError) as caught:
            await wire.exchange(POST, stream=taker)
        assert (caught.value.kind, caught.value.sent) == ("timeout", True)
        assert time.monotonic() - begin < 30
        gone.set()
        await wire.aclose()


async def test_a_server_that_never_pauses_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD 11: there is always something to read; the deadline holds a moment later."""
    monkeypatch.setattr(timing, "READING_S", 0.2)

    def flood(line: socket.socket, counts: Counts) -> None:
        assert asked(line, counts)
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        while True:
            line.sendall(b" " * 65536)
            time.sleep(0.0005)

    with serving(flood) as (url, _):
        wire = Client(url, call_timeout_s=1.5, max_body_bytes=1 << 40)
        with anyio.fail_after(60), pytest.raises(WireError, match=r"no whole answer within 1\.5 s"):
            await wire.exchange(POST)
        await wire.aclose()


def timer_of(clock: HandClock, rang: list[float], *, unread_until: float) -> Timer:
    """A timer that notes when it rings, over something that is unread until then."""
    return Timer(lambda: clock.monotonic() < unread_until, lambda: rang.append(clock.monotonic()))


def test_a_timer_rings_on_its_time_when_nothing_waits() -> None:
    """To the instant, by a clock moved by hand; with something unread as long as that is so, and not for ever."""

    async def main(clock: HandClock) -> None:
        for unread_s, rings in ((0.0, 5.0), (0.5, 5.5), (60.0, 5.0 + timing.READING_S)):
            begin = clock.monotonic()
            rang: list[float] = []
            timer = timer_of(clock, rang, unread_until=begin + 5.0 + unread_s)
            timer.start(5.0)
            states = [timer.running]
            await anyio.sleep(20.0)
            states.append(timer.running)
            assert rang == [pytest.approx(begin + rings, abs=0.01)]
            assert states == [True, False]
            timer.start(1.0)
            timer.cancel()
            await anyio.sleep(2.0)
            assert len(rang) == 1

    by_hand(main)


def test_a_timer_that_rings_a_little_late_gives_nothing() -> None:
    """A busy event loop is no reason to wait longer."""

    async def main(clock: HandClock) -> None:
        rang: list[float] = []
        timer = Timer(lambda: False, lambda: rang.append(clock.monotonic()))
        timer.start(5.0)
        clock.advance(5.0 + 0.9 * timing.LATE_S)
        late = clock.monotonic()
        await anyio.sleep(0.01)
        assert rang == [pytest.approx(late, abs=0.01)]

    by_hand(main)


def test_a_timer_that_rings_late_gives_one_second_more_once() -> None:
    """FIELD 11: the rest of an answer found no room in the socket while we slept."""

    async def main(clock: HandClock) -> None:
        rang: list[float] = []
        timer = Timer(lambda: False, lambda: rang.append(clock.monotonic()))
        timer.start(5.0)
        clock.advance(100.0)
        await anyio.sleep(timing.EXCUSE_S - 0.1)
        assert rang == []
        clock.advance(100.0)
        await anyio.sleep(0.1)
        assert len(rang) == 1

    by_hand(main)


class Exchange:
    """An exchange that notes when its time was up."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.rang: list[tuple[float, float]] = []

    def overdue(self, due: float) -> None:
        self.rang.append((due, self._clock.monotonic()))


def test_all_deadlines_are_kept_under_one_timer() -> None:
    """Each to its instant; what is over in time never rings, and when nothing is under way nothing is waited for."""

    async def main(clock: HandClock) -> None:
        deadlines, begin = Deadlines(5.0), clock.monotonic()
        first, second, third, fourth = (Exchange(clock) for _ in range(4))
        for exchange in (first, second, third):
            deadlines.start(exchange)
            await anyio.sleep(1.0)
        deadlines.stop(second)
        await anyio.sleep(4.5)
        assert first.rang[0] == pytest.approx((begin + 5.0, begin + 5.0), abs=0.01)
        assert second.rang == []
        assert third.rang[0] == pytest.approx((begin + 7.0, begin + 7.0), abs=0.01)
        deadlines.start(fourth)
        deadlines.stop(fourth)
        assert deadlines._handle is None
        await anyio.sleep(20.0)
        assert fourth.rang == []
        deadlines.start(fourth)
        await anyio.sleep(5.5)
        assert fourth.rang[0] == pytest.approx((clock.monotonic() - 0.5,) * 2, abs=0.05)

    by_hand(main)


def test_a_deadline_that_passed_while_we_slept_gives_a_second_more() -> None:
    """As every timer; counted from its own end and not from the moment in which all are looked at."""

    async def main(clock: HandClock) -> None:
        rang: list[float] = []
        timer = Timer(lambda: False, lambda: rang.append(clock.monotonic()))
        timer.ring_since(clock.monotonic() - 100.0)
        await anyio.sleep(timing.EXCUSE_S - 0.1)
        assert rang == []
        await anyio.sleep(0.2)
        assert len(rang) == 1
        timer.ring_since(clock.monotonic())
        assert len(rang) == 2

    by_hand(main)
