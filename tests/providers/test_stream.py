"""Streams over real sockets: their own time limits, every framing, every way to break off, and no trace left behind."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import random
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import pytest

from batch.core import redaction
from batch.core.clock import Clock
from batch.core.errors import WireError
from batch.core.records import Failure, Incoming, Reply, Request
from batch.http import parsing, sse, timing
from batch.http.client import Client
from batch.providers import registry, stream
from batch.providers.folding import MAX_TEXT, TRUNCATED
from batch.providers.stream import Stream
from batch.submit.results import failure_of
from tests.support.stub import Answer, Exchange, Stub, reply

KEY = "0123456789abcdef0123456789abcdef.Zq7kPw3mVx9tRb2c"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;charset=UTF-8\r\n"
DONE = b"data: [DONE]\n\n"
DIALECT, _ = registry.dialect("glm", base_url=None, key=KEY)
OUTGOING = DIALECT.stream(
    Request(model="glm-4", messages=[{"role": "user", "content": "?"}], parameters={}, tools=()), "c"
)
WORDS = ("你好", ", ", "\u2028", "world", "!")
TEXT = "".join(WORDS)


def frame(text: str = "", finish: str | None = None, **more: Any) -> bytes:
    choice: dict[str, Any] = {"index": 0, "delta": {"role": "assistant", "content": text}}
    if finish:
        choice["finish_reason"] = finish
    return (
        b"data: "
        + json.dumps({"id": "8", "model": "glm-4", "choices": [choice], **more}, ensure_ascii=False).encode()
        + b"\n\n"
    )


USAGE = {"usage": {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13}}
FRAMES = (*(frame(word) for word in WORDS), frame("", "stop", **USAGE))
BODY = b"".join(FRAMES) + DONE


def chunked(*pieces: bytes, last: bool = True) -> bytes:
    """The pieces as HTTP chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + (b"0\r\n\r\n" if last else b"")


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = CHUNKED + chunked(*FRAMES, DONE)


class Came(NamedTuple):
    """What came of one call."""

    result: Reply | Failure
    incoming: Incoming | Failure
    stream: Stream


class Caller:
    """Asks for streams and reads them as lane `stream` does."""

    def __init__(self, url: str, *, first_s: float = 5, idle_s: float = 5, call_timeout_s: float = 20) -> None:
        self.client = Client(url, call_timeout_s=call_timeout_s)
        self.first_s, self.idle_s = first_s, idle_s

    async def __call__(self, *, keep_raw: bool = False) -> Came:
        stream = Stream(DIALECT.folding(), Clock(), first_s=self.first_s, idle_s=self.idle_s, keep_raw=keep_raw)
        incoming: Incoming | Failure
        try:
            incoming = await self.client.exchange(OUTGOING, stream=stream)
        except WireError as error:
            incoming = failure_of(error)
        if stream.taken:
            return Came(stream.end(clean=isinstance(incoming, Incoming)), incoming, stream)
        return Came(DIALECT.read_chat(incoming) if isinstance(incoming, Incoming) else incoming, incoming, stream)


@asynccontextmanager
async def calling(url: str, **limits: float) -> AsyncIterator[Caller]:
    caller = Caller(url, **limits)
    try:
        yield caller
    finally:
        await caller.client.aclose()


def is_answer(came: Came) -> bool:
    """Whether the whole text and the whole usage arrived."""
    result = came.result
    assert isinstance(result, Reply), result
    assert result.usage is not None
    assert (result.content, result.finish_reason, result.usage.total_tokens) == (TEXT, "stop", 13)
    return True


def is_open(came: Came, kind: str, code: str | None = TRUNCATED) -> bool:
    """Whether it is left open if it was billed, with this code; the line's own story has this kind."""
    assert isinstance(came.result, Failure), came.result
    assert (came.result.sent, came.result.answered) == (True, False)
    assert came.result.code == code
    assert came.incoming.kind == kind if isinstance(came.incoming, Failure) else kind == "clean"
    return True


def writing(*pieces: bytes, then: Callable[[Exchange], Any] | None = None) -> Answer:
    """Each piece in a write of its own, and what to do afterwards."""

    async def answer(exchange: Exchange) -> None:
        for piece in pieces:
            await exchange.write(piece)
            await anyio.lowlevel.checkpoint()  # lets it leave before the next
        if then is not None:
            await then(exchange)

    return answer


# -- framing ------------------------------------------------------------------------------------------------------------


async def test_a_stream_that_ends_well_leaves_its_connection_for_the_next_call(stub: Stub) -> None:
    """Chunked and with a length; identity is asked for, for who packs a stream holds it back."""
    stub.answers = [WHOLE, HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY, WHOLE]
    async with calling(stub.url) as call:
        for _ in range(5):
            assert is_answer(await call())
        assert stub.connections == 1
    assert b"Accept-Encoding: identity\r\n" in stub.exchanges[0].head


async def test_a_stream_that_ends_with_its_connection_is_whole(stub: Stub) -> None:
    """Neither chunks nor a length."""
    stub.answers = [writing(HEAD + b"\r\n", *FRAMES, DONE, then=Exchange.close)]
    async with calling(stub.url) as call:
        for _ in range(2):
            assert is_answer(await call())
    assert stub.connections == 2


async def test_chunks_cut_anywhere_change_no_letter(stub: Stub) -> None:
    """HTTP chunks of every size from one byte up, packets cut at every place of the answer."""
    chance = random.Random(1)
    for size in (1, 2, 3, 7, 64, 1_000):
        cut = [BODY[at : at + size] for at in range(0, len(BODY), size)]
        stub.answers = [CHUNKED + chunked(*cut)]
        async with calling(stub.url) as call:
            assert is_answer(await call())
    for _ in range(20):
        places = sorted(chance.sample(range(len(WHOLE)), 12))
        stub.answers = [writing(*(WHOLE[a:b] for a, b in zip([0, *places], [*places, len(WHOLE)], strict=True)))]
        async with calling(stub.url) as call:
            assert is_answer(await call())


@pytest.mark.parametrize("form", ["gzip", "deflate, gzip", "mislabelled"])
async def test_a_packed_stream_is_unpacked_and_read(form: str, stub: Stub) -> None:
    """Nobody asked for it, but a proxy may do as it likes."""
    data = {"gzip": gzip.compress(BODY), "deflate, gzip": gzip.compress(zlib.compress(BODY)), "mislabelled": BODY}[form]
    label = "gzip" if form == "mislabelled" else form
    stub.answers = [HEAD + f"Content-Encoding: {label}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data]
    async with calling(stub.url) as call:
        assert is_answer(await call())


@pytest.mark.parametrize("label", ["text/event-stream", "application/json", "text/html", "text/plain", None])
async def test_what_it_is_decides_and_not_what_it_is_called(label: str | None, stub: Stub) -> None:
    """A stream is one under any label, so is a JSON answer, and a page is none under any."""
    said = [f"Content-Type: {label}"] if label else []
    message = {"message": {"content": TEXT}, "finish_reason": "stop"}
    whole = json.dumps({"id": "8", "model": "glm-4", "choices": [message], **USAGE}).encode()
    stub.answers = [reply(body, *said) for body in (BODY, whole, b"\n\n  " + whole, b"<html>log in</html>", b"denied")]
    async with calling(stub.url) as call:
        for _ in range(3):
            assert is_answer(await call())
        for _ in range(2):
            came = await call()
            assert isinstance(came.result, Failure)
            assert (came.result.kind, came.result.verdict) == ("bad_payload", "once")
    assert stub.connections == 1


@pytest.mark.parametrize(("status", "code", "kind"), [(429, "1302", "rate_limit"), (500, "500", "server")])
async def test_a_refusal_in_json_is_read_as_in_any_lane(status: int, code: str, kind: str, stub: Stub) -> None:
    """Also with the label of a stream."""
    body = json.dumps({"error": {"code": code, "message": "no"}}).encode()
    for label in ("application/json", "text/event-stream"):
        stub.answers = [reply(body, f"Content-Type: {label}", "Retry-After: 2", status=f"{status} X")]
        async with calling(stub.url) as call:
            came = await call()
        assert isinstance(came.result, Failure)
        assert (came.result.kind, came.result.answered, came.result.http_status) == (kind, True, status)
        assert (came.result.retry_after_s, came.stream.taken) == (2, False)


async def test_a_redirect_of_a_stream_request_is_not_followed(stub: Stub) -> None:
    """The key goes to no second host."""
    stub.answers = [reply(b"", "Location: http://127.0.0.1:1/", status="307 Temporary Redirect")]
    async with calling(stub.url) as call:
        came = await call()
    assert isinstance(came.result, Failure)
    assert came.result.http_status == 307
    assert len(stub.exchanges) == 1


async def test_a_stream_over_tls_is_read_and_its_connection_kept(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames in records of their own."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with Stub(tls=context) as stub, calling(stub.url) as call:
        stub.answers = [writing(CHUNKED, *(chunked(one, last=False) for one in (*FRAMES, DONE)), b"0\r\n\r\n")]
        for _ in range(3):
            assert is_answer(await call())
        assert stub.connections == 1


# -- the end ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_server_that_says_done_and_does_not_end_is_not_waited_for(stub: Stub) -> None:
    """It has a second; even one that goes on sending comments. Its connection is not used again."""

    async def mutter(exchange: Exchange) -> None:
        while True:
            await exchange.write(chunked(b": still here\n\n", last=False))
            await anyio.sleep(0.05)

    for then in (Exchange.hang, mutter):
        stub.answers = [writing(CHUNKED, chunked(*FRAMES, DONE, last=False), then=then)]
        async with calling(stub.url, first_s=60, idle_s=60, call_timeout_s=60) as call:
            began = Clock().monotonic()
            came = await call()
            assert is_answer(came)
            assert isinstance(came.incoming, Incoming)
            assert timing.LINGER_S - 0.1 <= Clock().monotonic() - began < 30
    assert stub.connections == 2


async def test_a_reset_before_the_finish_reason_is_no_answer_and_one_after_it_is(stub: Stub) -> None:
    """Wherever after it: with the usage, when that had come."""
    async with calling(stub.url) as call:
        stub.answers = [writing(CHUNKED, chunked(*FRAMES[:3], last=False), then=Exchange.reset)]
        assert is_open(await call(), "transport")
        for rest in ((), (DONE,)):
            stub.answers = [writing(CHUNKED, chunked(*FRAMES, *rest, last=False), then=Exchange.reset)]
            came = await call()
            assert is_answer(came)


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_a_body_that_is_cut_short_is_no_answer(framing: str, stub: Stub) -> None:
    """FIN in the middle; where the connection's end is the body's, the finish reason alone tells."""
    half = b"".join(FRAMES[:3])
    head = {"chunked": CHUNKED, "length": HEAD + b"Content-Length: 9999\r\n\r\n", "close": HEAD + b"\r\n"}[framing]
    stub.answers = [writing(head, chunked(half, last=False) if framing == "chunked" else half, then=Exchange.close)]
    async with calling(stub.url) as call:
        assert is_open(await call(), "clean" if framing == "close" else "transport")


async def test_a_head_without_a_body_is_no_answer(stub: Stub) -> None:
    """An empty stream, and one that ends right after its head."""
    for head, then in ((CHUNKED + b"0\r\n\r\n", None), (HEAD + b"\r\n", Exchange.close)):
        stub.answers = [writing(head, then=then)]
        async with calling(stub.url) as call:
            assert is_open(await call(), "clean")


async def test_a_broken_frame_ends_the_reading_at_once(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows cannot mend it, so the connection is closed instead of read to its end."""
    monkeypatch.setattr(timing, "LINGER_S", 60.0)
    stub.answers = [writing(CHUNKED, chunked(FRAMES[0], b"data: {oops\n\n", last=False), then=Exchange.hang)]
    async with calling(stub.url, first_s=60, idle_s=60, call_timeout_s=60) as call:
        began = Clock().monotonic()
        assert is_open(await call(), "bad_payload", "broken_stream")
        assert Clock().monotonic() - began < 30


# -- time ---------------------------------------------------------------------------------------------------------------


async def test_the_first_chunk_has_a_limit_that_heads_and_comments_do_not_lift(stub: Stub) -> None:
    """Apart from the silence between two pieces and from the whole."""

    async def comment(exchange: Exchange) -> None:
        while True:
            await exchange.write(chunked(b": waiting\n\n", last=False))
            await anyio.sleep(0.02)

    for answer in (Exchange.hang, writing(CHUNKED, then=Exchange.hang), writing(CHUNKED, then=comment)):
        stub.answers = [answer]
        async with calling(stub.url, first_s=0.2, idle_s=60, call_timeout_s=60) as call:
            began = Clock().monotonic()
            came = await call()
            assert isinstance(came.result, Failure)
            assert 0.15 < Clock().monotonic() - began < 30
            assert isinstance(came.incoming, Failure)
            assert (came.incoming.kind, came.incoming.message) == ("timeout", "no first chunk within 0.2 s")
            assert came.stream.first_chunk_ms is None


@pytest.mark.slow
async def test_a_model_that_thinks_long_after_its_head_is_waited_for(stub: Stub) -> None:
    """The limit on silence begins with the first chunk: services send the head, and comments, long before it."""

    async def think(exchange: Exchange) -> None:
        await anyio.sleep(0.4)
        await exchange.write(chunked(*FRAMES, DONE))

    for first in (b"", chunked(b": connected\n\n", last=False)):
        stub.answers = [writing(CHUNKED + first, then=think)]
        async with calling(stub.url, first_s=5, idle_s=0.2) as call:
            came = await call()
            assert is_answer(came)
            assert came.stream.first_chunk_ms is not None
            assert came.stream.first_chunk_ms >= 390


async def test_silence_in_the_middle_has_a_limit_of_its_own(stub: Stub) -> None:
    """After the finish reason it costs the answer nothing."""
    for frames, good in ((FRAMES[:2], False), (FRAMES, True)):
        stub.answers = [writing(CHUNKED, chunked(*frames, last=False), then=Exchange.hang)]
        async with calling(stub.url, first_s=60, idle_s=0.2, call_timeout_s=60) as call:
            began = Clock().monotonic()
            came = await call()
            assert 0.15 < Clock().monotonic() - began < 30
            assert is_answer(came) if good else is_open(came, "timeout")
            assert "the stream stood still for 0.2 s" in str(came.incoming)


@pytest.mark.slow
async def test_a_drip_of_single_bytes_is_life_and_ends_with_the_call(stub: Stub) -> None:
    """No silence is too long, and the text arrives; a longer one runs into the limit of the whole call."""

    async def drip(exchange: Exchange) -> None:
        for at in range(len(WHOLE)):
            await exchange.write(WHOLE[at : at + 1])
            await anyio.sleep(0.0002)

    stub.answers = [drip]
    async with calling(stub.url, first_s=60, idle_s=1.0, call_timeout_s=60) as call:
        assert is_answer(await call())

    async def forever(exchange: Exchange) -> None:
        await exchange.write(CHUNKED)
        while True:
            await exchange.write(chunked(frame("x"), last=False))
            await anyio.sleep(0.02)

    stub.answers = [forever]
    async with calling(stub.url, first_s=9, idle_s=9, call_timeout_s=0.4) as call:
        came = await call()
        assert is_open(came, "timeout")
        assert came.stream.first_chunk_ms is not None


async def test_an_answer_in_one_piece_is_under_the_limit_on_silence_too(stub: Stub) -> None:
    """A refusal that stops in the middle, and a JSON answer that does."""
    for status in (b"200 OK", b"500 X"):
        head = b"HTTP/1.1 " + status + b"\r\nContent-Length: 999\r\n\r\n{"
        stub.answers = [writing(head, then=Exchange.hang)]
        async with calling(stub.url, first_s=9, idle_s=0.2) as call:
            assert is_open(await call(), "timeout", None)


# -- nothing left behind --------------------------------------------------------------------------------------------------


async def test_thousands_of_streams_leave_no_timer_behind(
    anyio_backend: tuple[str, dict[str, bool]], stub: Stub
) -> None:
    """Each has three that would stay for minutes, and hold its answer for as long."""
    stub.answers = [WHOLE]
    many = 2_500
    async with calling(stub.url, first_s=300, idle_s=60, call_timeout_s=600) as call:
        await call()

        async def some() -> None:
            for _ in range(many // 10):
                assert isinstance((await call()).result, Reply)
            stub.exchanges.clear()

        tracemalloc.start()
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(some)
        gc.collect()  # what nobody holds is not left behind, and tests look for it seldom
        grown = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert grown < 1_000_000  # 2,500 timers with what hangs on them are more than five times that
        if not anyio_backend[1]["use_uvloop"]:
            loop: Any = asyncio.get_running_loop()
            assert len([timer for timer in loop._scheduled if not timer._cancelled]) <= 2
            assert len(loop._scheduled) < 500


ENDLESS = {
    "comments": b": " + b"x" * 65_000 + b"\n\n",
    "line": b"data: " + b"x" * 65_000,
    "text": frame("x" * 60_000),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_a_stream_without_end_is_cut_at_its_cap_in_bounded_memory(kind: str, stub: Stub) -> None:
    """600 MB of comments, of one line, of text; with what is kept for the wire log."""
    data = chunked(ENDLESS[kind], last=False)

    async def pour(exchange: Exchange) -> None:
        await exchange.write(CHUNKED + chunked(FRAMES[0], last=False))
        for _ in range(600_000_000 // len(data)):
            await exchange.write(data)

    stub.answers = [pour]
    async with calling(stub.url, call_timeout_s=60) as call:
        tracemalloc.start()
        came = await call(keep_raw=True)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    print(kind, peak)
    assert is_open(came, "bad_payload", "stream_too_large")
    assert isinstance(came.result, Failure)
    assert came.result.verdict == "once"
    assert len(came.stream.received) == stream.MAX_RAW
    assert peak < (4 * MAX_TEXT if kind == "text" else 3 * sse.MAX_EVENT_BYTES + stream.MAX_RAW)


async def test_all_streams_together_hold_no_more_than_there_is(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that takes more than its part ends; the short one beside it does not."""
    monkeypatch.setattr(parsing, "HELD_MAX", 400_000)
    begun, go = anyio.Event(), anyio.Event()

    async def fat(exchange: Exchange) -> None:
        await exchange.write(CHUNKED)
        for number in range(100):
            await exchange.write(chunked(frame("x" * 10_000), last=False))
            if number == 20:
                begun.set()
                await go.wait()
        await exchange.hang()

    stub.answers = [fat, WHOLE]
    async with calling(stub.url) as call:
        came: list[Came] = []

        async def first() -> None:
            came.append(await call())

        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await begun.wait()
            assert is_answer(await call())
            go.set()
        assert is_open(came[0], "bad_payload")
        assert call.client._own is not None
        assert call.client._own._shared.held == 0


async def test_a_cancel_in_the_middle_closes_the_connection(stub: Stub) -> None:
    """What is still to come must not meet the next call."""
    begun = anyio.Event()

    async def hang(exchange: Exchange) -> None:
        begun.set()
        await exchange.hang()

    stub.answers = [writing(CHUNKED, chunked(*FRAMES[:2], last=False), then=hang), WHOLE]
    async with calling(stub.url) as call:
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await begun.wait()
            group.cancel_scope.cancel()
        assert is_answer(await call())
    assert stub.connections == 2


async def test_the_times_of_a_stream_are_taken_from_its_request_on(stub: Stub) -> None:
    """First chunk and longest gap, in milliseconds."""

    async def pace(exchange: Exchange) -> None:
        await anyio.sleep(0.1)
        await exchange.write(CHUNKED + chunked(FRAMES[0], last=False))
        await anyio.sleep(0.2)
        await exchange.write(chunked(*FRAMES[1:], DONE))

    stub.answers = [pace]
    async with calling(stub.url) as call:
        began = Clock().monotonic()
        stream = (await call()).stream
        took_ms = 1_000 * (Clock().monotonic() - began)
    assert stream.first_chunk_ms is not None
    assert stream.longest_gap_ms is not None
    assert stream.first_chunk_ms >= 95
    assert stream.longest_gap_ms >= 195
    assert stream.first_chunk_ms + stream.longest_gap_ms <= took_ms + 2, "neither is in the other"


# -- through a proxy --------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """The stub, as what HTTP_PROXY names."""
    monkeypatch.setenv("http_proxy", stub.url.removesuffix("/base"))
    return stub


FAR = "http://far.example/base"


@pytest.mark.slow
async def test_a_stream_through_a_proxy_is_the_same_answer(proxy: Stub) -> None:
    """Whole, packed, cut after the finish reason, in one JSON piece, refused."""
    message = {"message": {"content": TEXT}, "finish_reason": "stop"}
    packed = gzip.compress(BODY)
    answers: list[bytes | Answer] = [
        WHOLE,
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed,
        writing(CHUNKED, chunked(*FRAMES, last=False), then=Exchange.reset),
        reply(json.dumps({"id": "8", "model": "glm-4", "choices": [message], **USAGE}).encode()),
        writing(CHUNKED, chunked(*FRAMES, DONE, last=False), then=Exchange.hang),
    ]
    for answer in answers:
        proxy.answers = [answer]
        async with calling(FAR) as call:
            came = await call()
            assert is_answer(came)
    proxy.answers = [reply(b'{"error":{"code":"1302","message":"no"}}', status="429 X")]
    async with calling(FAR) as call:
        result = (await call()).result
        assert isinstance(result, Failure)
        assert (result.kind, result.answered) == ("rate_limit", True)


@pytest.mark.slow
async def test_the_limits_of_a_stream_hold_through_a_proxy(proxy: Stub) -> None:
    """First chunk, silence, a broken frame, an end without a finish reason, and the whole call."""

    async def forever(exchange: Exchange) -> None:
        while True:
            await exchange.write(chunked(frame("x"), last=False))
            await anyio.sleep(0.01)

    cases: list[tuple[Answer, dict[str, float], str, str | None]] = [
        (Exchange.hang, {"first_s": 0.2}, "timeout", None),
        (writing(CHUNKED, then=Exchange.hang), {"first_s": 0.2}, "timeout", TRUNCATED),
        (writing(CHUNKED, chunked(FRAMES[0], last=False), then=Exchange.hang), {"idle_s": 0.2}, "timeout", TRUNCATED),
        (writing(CHUNKED, chunked(FRAMES[0], b"data: {oops\n\n")), {}, "bad_payload", "broken_stream"),
        (writing(CHUNKED, chunked(*FRAMES[:2])), {}, "clean", TRUNCATED),
        (writing(CHUNKED, then=forever), {"call_timeout_s": 0.3}, "timeout", TRUNCATED),
    ]
    for answer, limits, kind, code in cases:
        proxy.answers = [answer]
        async with calling(FAR, **limits) as call:
            assert is_open(await call(), kind, code)


# -- secrets ----------------------------------------------------------------------------------------------------------------


async def test_what_came_is_kept_once_and_as_it_was_for_the_wire_log(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a stream that broke off."""
    monkeypatch.setattr(redaction, "process", redaction.Masker())
    redaction.hide(KEY)
    stub.answers = [WHOLE, writing(CHUNKED, chunked(*FRAMES[:2], last=False), then=Exchange.reset)]
    async with calling(stub.url) as call:
        assert (await call(keep_raw=True)).stream.received == BODY
        assert (await call(keep_raw=True)).stream.received == b"".join(FRAMES[:2])
        assert (await call()).stream.received == b""
