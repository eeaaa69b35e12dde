"""Streams of servers that nobody here wrote: usage in parts, text in other places, frames without blank lines."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.records import ToolCall, Usage
from batch.providers import folding
from tests.http.test_sse import EXAMPLES, PLACES, cut
from tests.providers.test_folding import (
    BOTH,
    COUNTED,
    DONE,
    Dialect,
    chunk,
    failure,
    folded,
    frame,
    opened,
    reply,
    said,
    streams,
)

PARTS = {
    "prompt, then completion": [{"prompt_tokens": 8}, {"completion_tokens": 262}],
    "each with a total": [{"prompt_tokens": 8, "total_tokens": 8}, {"completion_tokens": 262, "total_tokens": 262}],
    "with zeros where nothing is said": [
        {"prompt_tokens": 8, "completion_tokens": 0, "total_tokens": 8},
        {"prompt_tokens": 0, "completion_tokens": 262, "total_tokens": 262},
    ],
    "with nulls": [
        {"prompt_tokens": 8, "completion_tokens": None, "total_tokens": None},
        {"prompt_tokens": None, "completion_tokens": 262, "total_tokens": 270},
    ],
    "a first count, then the last": [
        {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9},
        {"completion_tokens": 262},
    ],
    "whole, then zeros": [
        {"prompt_tokens": 8, "completion_tokens": 262, "total_tokens": 270},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "prompt_tokens_details": {"cached_tokens": 0}},
    ],
    "prompt and total": [{"prompt_tokens": 8, "total_tokens": 9}, {"prompt_tokens": 8, "total_tokens": 270}],
    "by other names": [{"input_tokens": 8, "output_tokens": 0}, {"input_tokens": 8, "output_tokens": 262}],
    "one of each name": [{"prompt_tokens": 8, "completion_tokens": 0}, {"output_tokens": 262}],
    "whole, then nothing": [{"prompt_tokens": 8, "completion_tokens": 262, "total_tokens": 270}, {}, None],
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_usage_in_parts_is_put_together(dialect: Dialect, parts: list[Any]) -> None:
    """FIELD 12: two chunks, or zeros after it: tokens and cost were unknown, or the prompt was booked as 0."""
    chunks = [chunk({"content": "a"}, "stop" if n else None, usage=part) for n, part in enumerate(parts)]
    assert reply(*map(frame, chunks), DONE, dialect=dialect).usage == Usage(8, 262, 270)
    for one, part in zip(chunks, parts, strict=True):
        one["choices"][0]["usage"] = one.pop("usage") if part else part  # where Moonshot counts
    assert reply(*map(frame, chunks), DONE, dialect=dialect).usage == Usage(8, 262, 270)


def test_the_details_of_usage_are_put_together_as_well() -> None:
    """FIELD 12: and the last count of each still counts."""
    found = reply(
        said("a", usage={"prompt_tokens": 8, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0}}),
        said("a", usage={"completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 3}}),
        said("", "stop", usage={"completion_tokens": 12, "prompt_tokens_details": {"cache_write_tokens": 2}}),
        DONE,
    )
    assert found.usage == Usage(8, 12, 20, 4, 3, 2)


def told(finish: str | None = None, **message: Any) -> dict[str, Any]:
    """A chunk that says in `message` what belongs into `delta`."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {"id": "831", "model": "glm-4", "choices": [choice]}


MESSAGES = {
    "in pieces": [told(content="Hello"), told(content=", H"), told(content="ello"), told("stop", content="")],
    "in one": [told("stop", content="Hello, Hello")],
    "growing": [told(content="Hell"), told(content="Hello, "), told("stop", content="Hello, Hello")],
    "the whole twice": [told(content="Hello, Hello"), told("stop", content="Hello, Hello")],
    "with empty deltas": [
        told(content="Hello, ") | {"x": 1},
        {"choices": [{"delta": {"role": "assistant", "content": ""}, "message": {"content": "Hello"}}]},
        told("stop"),
    ],
    "after the deltas": [chunk({"content": "Hello, "}), chunk({"content": "Hello"}), told("stop", content="Hello, Hello")],
    "as parts": [told("stop", content=[{"type": "text", "text": "Hello, Hello"}])],
}  # fmt: skip


@pytest.mark.parametrize("chunks", MESSAGES.values(), ids=MESSAGES)
def test_text_that_stands_in_message_is_the_answer(chunks: list[dict[str, Any]]) -> None:
    """FIELD 12: the row was ok, and its answer null."""
    found = reply(*map(frame, chunks), DONE)
    assert (found.content, found.finish_reason) == ("Hello, Hello", "stop")
    assert found.message == {"role": "assistant", "content": "Hello, Hello"}


def test_reasoning_refusal_and_calls_in_message_are_read_too() -> None:
    """FIELD 12: whole calls that are repeated in the last chunk are run once."""
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
    whole = told("tool_calls", reasoning_content="hm", content=None, tool_calls=calls)
    found = reply(frame(whole), DONE)
    assert (found.content, found.reasoning, found.tool_calls) == (None, "hm", (ToolCall("a", "f", '{"a":1}'),))
    assert (
        reply(frame(told(tool_calls=calls)), frame(told("tool_calls", tool_calls=calls)), DONE).tool_calls
        == found.tool_calls
    )
    deltas = frame(chunk({"tool_calls": calls}))
    assert reply(deltas, frame(told("tool_calls", tool_calls=calls)), DONE).tool_calls == found.tool_calls
    assert reply(frame(told(refusal="I can")), frame(told("stop", refusal="'t")), DONE).content == "I can't"


@pytest.mark.parametrize("junk", ["text", 7, ["x"], {"tool_calls": "x"}, {"content": {"a": 1}}, None, {}])
def test_junk_in_message_beside_a_delta_is_no_loss(junk: Any) -> None:
    """FIELD 12: what was read without it is read with it."""
    one = chunk({"content": "42"})
    one["choices"][0]["message"] = junk
    assert reply(frame(one), said("", "stop"), DONE).content == "42"


@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=9), max_size=6))
def test_pieces_in_message_are_joined_and_a_whole_that_grows_is_not(texts: list[str]) -> None:
    """FIELD 12: where both could be meant, the pieces themselves tell."""
    wholes = ["".join(texts[: n + 1]) for n in range(len(texts))]
    if len(wholes) > 2:
        assert (reply(*(frame(told(content=text)) for text in wholes), said("", "stop")).content or "") == wholes[-1]
    grows = all(after.startswith(before) for before, after in itertools.pairwise(texts))
    if not grows:
        assert reply(*(frame(told(content=text)) for text in texts), said("", "stop")).content == "".join(texts)


def by_line(stream: bytes, end: bytes) -> bytes:
    """A stream of frames that one line end closes."""
    return stream.replace(b"\n\n", end)


LINES = by_line(said("a") + said("b") + said("", "stop", usage=COUNTED) + DONE, b"\n")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\n: ping\n", b"\nevent: x\n"])
@BOTH
def test_frames_that_one_newline_ends_are_read(dialect: Dialect, end: bytes) -> None:
    """FIELD 12: they were one frame that is no JSON, and asked for again, paid each time; whole, and cut."""
    stream = LINES.replace(b"\n", end)
    for places in ([], *([place] for place in range(1, len(stream) + 1, 5)), list(range(len(stream)))):
        found = folded(*cut(stream, places), dialect=dialect)
        assert found == reply(said("ab", "stop", usage=COUNTED), DONE, dialect=dialect), places


MIXED = {
    "blank lines now and then": said("a") + said("b")[:-1] + said("", "stop", usage=COUNTED) + DONE,
    "two in a frame": by_line(said("a") + said("b"), b"\n") + b"\n" + said("", "stop", usage=COUNTED) + DONE,
    "no end of the last line": LINES.rstrip(),
    "no done": by_line(said("a") + said("b") + said("", "stop", usage=COUNTED), b"\n"),
    "no done and no last newline": by_line(said("a") + said("b") + said("", "stop", usage=COUNTED), b"\n").rstrip(),
    "only the last two": said("ab") + by_line(said("", "stop", usage=COUNTED) + DONE, b"\n"),
    "one frame and done": by_line(said("ab", "stop", usage=COUNTED) + DONE, b"\n").rstrip(),
    "CR and LF in turns": LINES.replace(b"\n", b"\r", 1),
    "many lines, then one": json.dumps(chunk({"content": "a"}), indent=1).replace("\n", "\ndata: ").join(["data: ", "\n\n"]).encode()
    + by_line(said("b") + said("", "stop", usage=COUNTED) + DONE, b"\n"),
}  # fmt: skip


@pytest.mark.parametrize("stream", MIXED.values(), ids=MIXED)
def test_frames_of_either_kind_in_one_stream_are_read(stream: bytes) -> None:
    """FIELD 12: cut in two at many places."""
    for place in range(0, len(stream) + 1, 2):
        found = folded(stream[:place], stream[place:])
        assert found == reply(said("ab", "stop", usage=COUNTED), DONE), place


def test_what_comes_by_lines_is_life_at_once() -> None:
    """FIELD 12: not only at the end: the first chunk is timed, and silence is told from it."""
    stream = opened()
    seen = []
    for line in LINES.splitlines(keepends=True):
        stream.feed(line)
        seen.append((stream.chunks, stream.complete, stream.done))
    assert seen == [(0, False, False), (2, False, False), (3, True, False), (3, True, True)]
    assert stream.held < 100


@pytest.mark.parametrize("gone", [1, 3, 30])
def test_a_line_that_is_cut_is_still_no_answer(gone: int) -> None:
    """FIELD 12: the last frame had the finish_reason and is not whole."""
    stream = by_line(said("a") + said("b") + said("c", "stop"), b"\n").rstrip()[:-gone]
    assert failure(stream).code == "truncated_stream"
    assert failure(stream, clean=False).code == "truncated_stream"


def test_a_broken_line_breaks_the_stream_and_says_which() -> None:
    """FIELD 12: the others are no loss, this one may be."""
    found = failure(by_line(said("a") + frame(b'{"choices": [') + said("", "stop") + DONE, b"\n"))
    assert (found.code, found.answered) == ("broken_stream", False)
    assert 'after chunk 1 of the stream cannot be read: {"choices": [' in found.message


def test_a_long_line_that_is_never_whole_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD 12: a server that sends it in drops does not have it parsed again for each."""
    looked: list[int] = []
    real = folding._is_document

    def look(line: bytes) -> bool:
        looked.append(len(line))
        return real(line)

    monkeypatch.setattr(folding, "_is_document", look)
    stream = opened()
    stream.feed(b'data: {"a": ' + b"x" * 1000 + b"}\n")
    for _ in range(100):
        stream.feed(b"data: {}\n")
    assert looked == [1007]


@given(made=streams(), places=PLACES, end=st.sampled_from([b"\n", b"\r\n", b"\r"]))
@settings(max_examples=EXAMPLES // 3, deadline=None)
def test_a_stream_by_lines_gives_what_the_same_stream_with_blank_lines_gives(
    made: tuple[dict[str, Any], bytes, int], places: list[int], end: bytes
) -> None:
    """FIELD 12: text, calls, usage and ids, however the bytes are cut."""
    _, stream, _ = made
    lines = [line for line in stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n") if line]
    assert folded(*cut(end.join([*lines, b""]), places), clean=False) == folded(stream, clean=False)
