"""The framing of streams: one result however the bytes are cut, and the same as other readers of the standard."""

from __future__ import annotations

import itertools
import os
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batch.core.errors import WireError
from batch.http.sse import Parser, StreamTooLarge

EXAMPLES = 10_000 if os.environ.get("PROMPTMILL_LONG") else 300
"""Generated streams per property; 10,000 with PROMPTMILL_LONG=1."""


def parsed(*pieces: bytes) -> tuple[list[bytes], bytes]:
    """The events of these pieces, and what is left without its blank line."""
    parser = Parser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events, parser.rest


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces, cut at these places; empty pieces come up as well."""
    at = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(at)]


STREAMS = {
    "usual": (b'data: {"a":1}\n\ndata: [DONE]\n\n', [b'{"a":1}', b"[DONE]"], b""),
    "no space": (b"data:1\n\ndata:  2\n\n", [b"1", b" 2"], b""),
    "CRLF": (b"data: 1\r\n\r\ndata: 2\r\n\r\n", [b"1", b"2"], b""),
    "CR": (b"data: 1\r\rdata: 2\r\r", [b"1", b"2"], b""),
    "all line ends": (b"data: 1\r\n\ndata: 2\n\rdata: 3\r\r\n", [b"1", b"2", b"3"], b""),
    "several lines": (b"data: 1\ndata\ndata:2\n\n", [b"1\n\n2"], b""),
    "several lines, then usual": (b"data: 1\ndata: 2\n\ndata: 3\n\n", [b"1\n2", b"3"], b""),
    "comments": (b": keep-alive\n\n:\ndata: 1\n: x\n\n: keep-alive\n\n", [b"1"], b""),
    "blank keep-alives": (b"\n\n\n\ndata: 1\n\n\n\n\ndata: 2\n\n\n", [b"1", b"2"], b""),
    "other fields": (b"event: x\nid: 7\nretry: 10\ndata: 1\ndataset: 2\n\nevent: y\n\n", [b"1"], b""),
    "mark": (b"\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\n", [b"1"], b""),
    "empty data": (b"data:\n\ndata: \n\ndata\n\n", [b"", b"", b""], b""),
    "text separators": (
        "data: a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\n\n".encode(),
        ["a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg".encode()],
        b"",
    ),
    "ends in a line": (b"data: 1\n\ndata: 2", [b"1"], b"2"),
    "ends after a line": (b"data: 1\n\ndata: 2\n", [b"1"], b"2"),
    "ends in a second line": (b"data: 1\ndata: 2", [], b"1\n2"),
    "ends in a comment": (b"data: 1\n\n: dat", [b"1"], b""),
    "no stream": (b"<html>\n\n<body>data: 1\n\n", [], b""),
    "nothing": (b"", [], b""),
}


@pytest.mark.parametrize(("stream", "events", "rest"), STREAMS.values(), ids=STREAMS)
def test_events_are_the_same_wherever_the_bytes_are_cut(stream: bytes, events: list[bytes], rest: bytes) -> None:
    """protocol: behaviours 38 and 40; whole, at every place in two, and byte by byte."""
    assert parsed(stream) == (events, rest)
    assert parsed(*(stream[at : at + 1] for at in range(len(stream)))) == (events, rest)
    for place in range(len(stream) + 1):
        assert parsed(stream[:place], b"", stream[place:]) == (events, rest)


PIECES = st.lists(
    st.sampled_from([b"data", b"data:", b"data: ", b"event: x", b": c", b"\n", b"\n\n", b"\r", b"\r\n", b'{"a": 1}'])
    | st.sampled_from(["\ufeff", "\u2028", "\u0085", "中", "😀"]).map(str.encode)
    | st.binary(max_size=4),
    max_size=24,
).map(b"".join)
PLACES = st.lists(st.integers(0, 10**6), max_size=12)


def by_the_book(stream: bytes) -> list[bytes]:
    """The events as the standard tells it, line by line, the whole stream at once."""
    events: list[bytes] = []
    data: list[bytes] = []
    for line in re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]:
        if not line:
            events += [b"\n".join(data)] if data else []
            data = []
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
    return events


@given(stream=PIECES, places=PLACES)
@example(stream=b"data: 1\r\n\r\ndata: 2\n\n", places=[8, 10])
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_stream_cut_anywhere_gives_the_events_of_the_standard(stream: bytes, places: list[int]) -> None:
    """Against a plain reading of the standard over the whole stream."""
    assert parsed(*cut(stream, places))[0] == by_the_book(stream)


@given(stream=PIECES, places=PLACES)
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_stream_cut_anywhere_gives_the_events_of_httpx_sse(stream: bytes, places: list[int]) -> None:
    """Differential; it hands on text, keeps the byte-order mark, and events without data, which say nothing here."""
    httpx = pytest.importorskip("httpx")
    httpx_sse = pytest.importorskip("httpx_sse")
    stream = stream.decode("utf-8", "ignore").replace("\ufeff", "").encode()
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=stream)
    theirs = [event.data.encode() for event in httpx_sse.EventSource(response).iter_sse() if event.data]
    assert [event for event in parsed(*cut(stream, places))[0] if event] == theirs


@pytest.mark.parametrize("piece", [1, 7, 1000], ids=["bytes", "pieces", "whole"])
@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"x" * 100 + b"\n\n",
        b"data: " + b"x" * 100,
        b": " + b"x" * 100,
        b"data: xxxx\n" * 20,
        b"data: 1\n\ndata\n" + b"data: xxxx\n" * 20 + b"\n",
    ],
    ids=["event", "no end", "comment without end", "lines without end", "lines"],
)
def test_an_event_above_its_cap_is_refused_before_it_is_whole(stream: bytes, piece: int) -> None:
    """A server that never ends a line fills no memory."""
    parser = Parser(max_event_bytes=64)
    with pytest.raises(StreamTooLarge, match="an event of the stream is larger than 64 bytes") as caught:
        for at in range(0, len(stream), piece):
            parser.feed(stream[at : at + piece])
    assert isinstance(caught.value, WireError)
    assert (caught.value.kind, caught.value.sent) == ("bad_payload", True)


def test_a_stream_above_its_cap_is_refused_comments_and_all() -> None:
    """Endless keep-alives come to an end too."""
    parser = Parser(max_stream_bytes=100)
    for _ in range(10):
        assert parser.feed(b": beat\n\n\n\n") == []
    with pytest.raises(StreamTooLarge, match="the stream is larger than 100 bytes"):
        parser.feed(b"\n")


def test_many_small_events_in_one_piece_are_not_above_the_cap_of_one() -> None:
    """The cap is on an event, not on what one read brings."""
    assert len(Parser(max_event_bytes=64).feed(b"data: 1\n\n" * 1000)) == 1000
    assert Parser(max_event_bytes=64).feed(b": c\n\n" * 1000) == []
    parser = Parser(max_event_bytes=64)
    for _ in range(1000):
        parser.feed(b": comment\ndata: 1\n")
        assert parser.feed(b"\n") == [b"1"]
