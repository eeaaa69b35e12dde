"""Streams as replies: what the services send, what goes wrong with it, and that it equals the answer in one piece."""

from __future__ import annotations

import itertools
import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.records import Failure, Incoming, Reply, ToolCall, Usage
from batch.http.sse import Parser, begins
from batch.providers import folding, registry
from batch.providers.folding import Folding
from batch.providers.glm import Glm
from batch.providers.openai import OpenAI
from tests.http.test_sse import EXAMPLES, PLACES, cut

Dialect = Glm | OpenAI


def spoken(provider: str) -> Dialect:
    dialect, _ = registry.dialect(provider, base_url=None, key="id123.secret456")
    assert isinstance(dialect, Glm | OpenAI)
    return dialect


GLM, OPENAI = spoken("glm"), spoken("openai")
BOTH = pytest.mark.parametrize("dialect", [GLM, OPENAI], ids=["glm", "openai"])


def opened(dialect: Dialect = GLM, *, parser: Parser | None = None) -> Folding:
    judge = partial(dialect.refused, incoming=Incoming(200, {}, b""))
    return Folding(judge, replay_reasoning=dialect.service.replays_reasoning, parser=parser)


def folded(*pieces: bytes, dialect: Dialect = GLM, clean: bool = True) -> Reply | Failure:
    stream = opened(dialect)
    for piece in pieces:
        stream.feed(piece)
    return stream.end(clean=clean)


def reply(*pieces: bytes, dialect: Dialect = GLM, clean: bool = True) -> Reply:
    result = folded(*pieces, dialect=dialect, clean=clean)
    assert isinstance(result, Reply), result
    return result


def failure(*pieces: bytes, dialect: Dialect = GLM, clean: bool = True) -> Failure:
    result = folded(*pieces, dialect=dialect, clean=clean)
    assert isinstance(result, Failure), result
    return result


def frame(value: Any) -> bytes:
    raw = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()
    return b"data: " + raw + b"\n\n"


def chunk(delta: Any = None, finish: Any = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return {"id": "831", "created": 1, "model": "glm-4", "choices": [choice], **more}


def said(text: Any, finish: Any = None, **more: Any) -> bytes:
    return frame(chunk({"role": "assistant", "content": text}, finish, **more))


DONE = frame(b"[DONE]")
COUNTED = {
    "prompt_tokens": 8,
    "completion_tokens": 262,
    "total_tokens": 270,
    "prompt_tokens_details": {"cached_tokens": 4},
}

GLM_TEXT = (
    b'data: {"id":"8635243129834723621","created":1715329207,"model":"glm-4","choices":[{"index":0,"delta":{"role":"assistant","content":"1"}}]}\n\n'
    b'data: {"id":"8635243129834723621","created":1715329207,"model":"glm-4","choices":[{"index":0,"delta":{"role":"assistant","content":"2"}}]}\n\n'
    b'data: {"id":"8635243129834723621","created":1715329207,"model":"glm-4","choices":[{"index":0,"finish_reason":"stop","delta":{"role":"assistant","content":""}}],'
    b'"usage":{"prompt_tokens":8,"completion_tokens":262,"total_tokens":270,"prompt_tokens_details":{"cached_tokens":0}}}\n\n'
    b"data: [DONE]\n\n"
)
OPENAI_TEXT = (
    b'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":1758770660,"model":"gpt-5-mini-2025-08-07","service_tier":"default","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"a"}\n\n'
    b'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":1758770660,"model":"gpt-5-mini-2025-08-07","service_tier":"default","choices":[{"index":0,"delta":{"content":"Hello"},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
    b'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":1758770660,"model":"gpt-5-mini-2025-08-07","service_tier":"default","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}\n\n'
    b'data: {"id":"chatcmpl-9","object":"chat.completion.chunk","created":1758770660,"model":"gpt-5-mini-2025-08-07","service_tier":"default","choices":[],'
    b'"usage":{"completion_tokens":213,"completion_tokens_details":{"reasoning_tokens":192},"prompt_tokens":201,"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":7},"total_tokens":414}}\n\n'
    b"data: [DONE]\n\n"
)
OPENAI_TOOLS = b"".join(
    [
        frame(
            chunk(
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"index": 0, "id": "call_a", "type": "function", "function": {"name": "f", "arguments": ""}}
                    ],
                }
            )
        ),
        frame(chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a'}}]})),
        frame(
            chunk(
                {
                    "tool_calls": [
                        {"index": 1, "id": "call_b", "type": "function", "function": {"name": "g", "arguments": ""}}
                    ]
                }
            )
        ),
        frame(
            chunk(
                {
                    "tool_calls": [
                        {"index": 1, "function": {"arguments": "{}"}},
                        {"index": 0, "function": {"arguments": '":1}'}},
                    ]
                }
            )
        ),
        frame(chunk({}, "tool_calls")),
        frame({"id": "831", "model": "glm-4", "choices": [], "usage": COUNTED}),
        DONE,
    ]
)
CALLS = (ToolCall("call_a", "f", '{"a":1}'), ToolCall("call_b", "g", "{}"))


def test_a_recorded_glm_stream_gives_its_text_and_usage() -> None:
    """BigModel: usage comes with the last content chunk."""
    found = reply(GLM_TEXT)
    assert (found.content, found.finish_reason, found.model) == ("12", "stop", "glm-4")
    assert found.request_id == "8635243129834723621"
    assert found.usage == Usage(8, 262, 270, 0)
    assert found.message == {"role": "assistant", "content": "12"}


def test_a_recorded_openai_stream_gives_its_text_usage_and_tier() -> None:
    """OpenAI: usage comes in a chunk of its own, without choices; the dated snapshot is the model."""
    found = reply(OPENAI_TEXT, dialect=OPENAI)
    assert (found.content, found.finish_reason, found.model) == ("Hello", "stop", "gpt-5-mini-2025-08-07")
    assert (found.request_id, found.service_tier) == ("chatcmpl-9", "default")
    assert found.usage == Usage(201, 213, 414, 0, 192, 7)


@BOTH
def test_tool_calls_are_put_together_from_their_fragments(dialect: Dialect) -> None:
    """OpenAI and GLM's tool_stream: merged by index, also when two calls come in turns."""
    found = reply(OPENAI_TOOLS, dialect=dialect)
    assert (found.content, found.finish_reason, found.tool_calls) == (None, "tool_calls", CALLS)
    assert [call["function"]["name"] for call in found.message["tool_calls"]] == ["f", "g"]


def test_a_whole_tool_call_in_one_delta_after_reasoning_is_read() -> None:
    """GLM without tool_stream; the reasoning goes back with the call."""
    call = {"id": "call_a", "index": 0, "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    found = reply(
        frame(chunk({"role": "assistant", "reasoning_content": "hm"})),
        frame(chunk({"role": "assistant", "reasoning_content": "m"})),
        frame(chunk({"role": "assistant", "tool_calls": [call]})),
        said("", "tool_calls", usage=COUNTED),
        DONE,
    )
    assert (found.reasoning, found.tool_calls) == ("hmm", CALLS[:1])
    assert found.message["reasoning_content"] == "hmm"


def fragment(arguments: str | None = None, *, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **more}


MERGES = {
    "index only in the first": [fragment("{", name="f", id="a", index=0), fragment("}")],
    "no index, by id": [fragment("{", name="f", id="a"), fragment("[", name="g", id="b"), fragment("}", id="a"), fragment("]", id="b")],
    "no index, whole calls": [fragment("{}", name="f", id="a"), fragment("[]", name="g", id="b")],
    "neither index nor id, whole calls": [fragment("{}", name="f"), fragment("[]", name="g")],
    "whole calls all with index 0": [fragment("{}", name="f", id="a", index=0), fragment("[]", name="g", id="b", index=0)],
    "name and id repeated": [fragment("{", name="f", id="a", index=0), fragment("}", name="f", id="a", index=0)],
    "another id in every fragment": [fragment("{", name="f", id="a", index=0), fragment("}", id="x", index=0)],
    "empty id in every fragment": [fragment("{", name="f", id="a", index=0), fragment("}", id="", name="", index=0)],
    "arguments before the name": [fragment("{", index=0), fragment("}", name="f", id="a", index=0)],
    "in the wrong order": [fragment("[]", name="g", id="b", index=1), fragment("{}", name="f", id="a", index=0)],
    "empty fragments": [{}, fragment("{}", name="f", id="a", index=0), {"index": 0}, {"index": 7, "function": None}],
    "index as text": [fragment("{", name="f", id="a", index="0"), fragment("}", index="0")],
}  # fmt: skip


@pytest.mark.parametrize("fragments", MERGES.values(), ids=MERGES)
def test_fragments_find_their_call_whatever_the_server_leaves_out(fragments: list[dict[str, Any]]) -> None:
    """One chunk each, and all in one chunk: the same calls."""
    end = frame(chunk({}, "tool_calls"))
    found = reply(*(frame(chunk({"tool_calls": [one]})) for one in fragments), end, DONE)
    assert found == reply(frame(chunk({"tool_calls": fragments})), end, DONE)
    assert [(call.name, call.arguments) for call in found.tool_calls] in ([("f", "{}")], [("f", "{}"), ("g", "[]")])
    assert len({call.id for call in found.tool_calls}) == len(found.tool_calls)
    assert found.tool_calls[0].id in ("a", "call_0")


def test_a_function_name_in_pieces_is_joined() -> None:
    """Some servers stream the name like text."""
    pieces = [fragment(name="get_", id="a", index=0), fragment(name="weather", index=0), fragment("{}", index=0)]
    found = reply(*(frame(chunk({"tool_calls": [one]})) for one in pieces), said(None, "tool_calls"), DONE)
    assert found.tool_calls == (ToolCall("a", "get_weather", "{}"),)


ODD = {
    "content as parts": (chunk({"content": [{"type": "text", "text": "4"}, {"type": "x"}, {"text": "2"}]}), "42"),
    "content as number": (chunk({"content": 42}), "42"),
    "content null": (chunk({"content": None, "tool_calls": None, "reasoning_content": None}), None),
    "delta null": (chunk(None) | {"choices": [{"delta": None}]}, None),
    "index as text": (chunk() | {"choices": [{"index": "0", "delta": {"content": "42"}}]}, "42"),
    "another choice": (chunk() | {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}, {"index": 0, "delta": {"content": "42"}}]}, "42"),
    "number as id": (chunk({"content": "42"}) | {"id": 831}, "42"),
    "no error": (chunk({"content": "42"}, error=None), "42"),
    "an error that is none": (chunk({"content": "42"}, error={}), "42"),
    "choices null": (chunk() | {"choices": None}, None),
    "no choices": ({"id": "831", "model": "glm-4", "prompt_filter_results": []}, None),
    "usage as text": (chunk({"content": "42"}, usage="none"), "42"),
    "lone surrogate": (b'{"id":"831","model":"glm-4","choices":[{"delta":{"content":"4\\ud83d2"}}]}', "4\ufffd2"),
    "NaN": (b'{"id":"831","model":"glm-4","choices":[{"delta":{"content":"42"},"logprobs":NaN}]}', "42"),
    "broken UTF-8": (b'{"id":"831","model":"glm-4","choices":[{"delta":{"content":"4\xff2"}}]}', "4\ufffd2"),
    "over several lines": (json.dumps(chunk({"content": "42"}), indent=1).replace("\n", "\ndata: ").encode(), "42"),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize(("odd", "text"), ODD.values(), ids=ODD)
def test_chunks_with_odd_types_are_read_all_the_same(dialect: Dialect, odd: Any, text: str | None) -> None:
    """An answer that was paid for is not thrown away for a number where text belongs."""
    found = reply(frame(odd), frame(chunk({}, "stop", usage=COUNTED)), DONE, dialect=dialect)
    assert (found.content, found.request_id, found.finish_reason) == (text, "831", "stop")
    assert found.usage == Usage(8, 262, 270, 4)


def test_reasoning_is_read_under_both_its_names_and_once() -> None:
    """Servers such as vLLM write `reasoning`, for a time both."""
    found = reply(
        frame(chunk({"reasoning": "a"})),
        frame(chunk({"reasoning": "b", "reasoning_content": "b"})),
        frame(chunk({"reasoning_content": "", "content": "c"})),
        said("", "stop"),
        DONE,
    )
    assert (found.reasoning, found.content) == ("ab", "c")


def test_a_refusal_in_pieces_is_the_content() -> None:
    """OpenAI: as in an answer in one piece, where content is null beside it."""
    found = reply(
        said(""), frame(chunk({"refusal": "I "})), frame(chunk({"refusal": "can't"})), said(None, "stop"), DONE
    )
    assert found.content == "I can't"


def test_the_last_usage_counts() -> None:
    """Servers such as vLLM with continuous_usage_stats counts in every chunk; Moonshot inside the choice."""
    early = {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9}
    found = reply(said("a", usage=early), said("b", "stop", usage=COUNTED), said("", usage=None), DONE)
    assert found.usage == Usage(8, 262, 270, 4)
    last = chunk({}, "stop")
    last["choices"][0]["usage"] = COUNTED
    assert reply(said("a"), frame(last), DONE).usage == Usage(8, 262, 270, 4)


def test_a_request_id_goes_before_the_id_of_the_chunks_and_an_empty_model_is_none() -> None:
    """As in an answer in one piece; Azure's first chunk has no model."""
    found = reply(frame({"id": "", "model": "", "choices": []}), said("a", request_id="r-1"), said("", "stop"), DONE)
    assert (found.request_id, found.model) == ("r-1", "glm-4")


@pytest.mark.parametrize("finish", ["sensitive", "content_filter", "network_error", "novelty", "length"])
def test_every_finish_reason_is_kept_as_it_came(finish: str) -> None:
    """What it means is decided where answers in one piece are judged too."""
    found = reply(said("half"), said("", finish, usage=COUNTED), DONE)
    assert (found.finish_reason, found.usage) == (finish, Usage(8, 262, 270, 4))


@pytest.mark.parametrize("clean", [True, False])
def test_an_answer_with_finish_reason_stands_without_done(*, clean: bool) -> None:
    """protocol: behaviour 37; all text is there, and to ask again would be to pay again."""
    found = reply(said("a"), said("b", "stop"), b'data: {"usa', clean=clean)
    assert (found.content, found.usage) == ("ab", None)


CUT = {
    "nothing at all": (b"", True),
    "clean end": (said("a"), True),
    "broken off": (said("a"), False),
    "inside a frame": (said("a") + said("b", "stop")[:-8], True),
    "last frame without its blank line": (said("a") + said("b", "stop")[:-1], True),
    "done without finish_reason": (said("a") + DONE, True),
    "keep-alives only": (b": keep-alive\n\n" * 3, True),
}


@pytest.mark.parametrize(("stream", "clean"), CUT.values(), ids=CUT)
def test_a_stream_without_finish_reason_is_no_answer(stream: bytes, *, clean: bool) -> None:
    """protocol: behaviours 36 and 38; it may have been billed, so the call is neither answered nor refused."""
    found = failure(stream, clean=clean)
    assert (found.kind, found.code, found.verdict) == ("transport", "truncated_stream", "retry")
    assert (found.sent, found.answered, found.http_status) == (True, False, 200)


BROKEN = {
    "no JSON": b'{"choices": [',
    "no object": b"[1]",
    "text": b"hello",
    "glued": json.dumps(chunk({"content": "b"})).encode()[:40] + said("b", "stop").strip(),
    "choices no list": b'{"choices": {"0": {}}}',
    "choice no object": b'{"choices": ["a"]}',
    "delta no object": b'{"choices": [{"delta": "a"}]}',
    "tool_calls no list": b'{"choices": [{"delta": {"tool_calls": {"id": "a"}}}]}',
    "tool call no object": b'{"choices": [{"delta": {"tool_calls": ["a"]}}]}',
    "function no object": b'{"choices": [{"delta": {"tool_calls": [{"function": "a"}]}}]}',
    "deep": b"[" * 100_000,
}


@BOTH
@pytest.mark.parametrize("bad", BROKEN.values(), ids=BROKEN)
def test_a_frame_that_cannot_be_read_breaks_the_stream(dialect: Dialect, bad: bytes) -> None:
    """protocol: behaviour 39; whatever it held is missing, and what comes after cannot mend it."""
    stream = opened(dialect)
    stream.feed(said("a") + frame(bad) + said("c", "stop") + DONE)
    assert stream.done
    stream.feed(said("d", "stop") + DONE)
    found = stream.end(clean=True)
    assert isinstance(found, Failure)
    assert (found.kind, found.code, found.verdict) == ("bad_payload", "broken_stream", "retry")
    assert (found.sent, found.answered, found.request_id) == (True, False, "831")
    assert "the frame after chunk 1 of the stream cannot be read" in found.message
    assert len(found.message) < 300


ERRORS: list[tuple[Dialect, Any, tuple[str, str | None, str]]] = [
    (GLM, {"error": {"code": "1301", "message": "不安全"}}, ("content_filter", "1301", "fail")),
    (GLM, {"error": {"code": "1302", "message": "slow"}}, ("rate_limit", "1302", "retry")),
    (GLM, {"error": {"code": 1234, "message": "net"}}, ("server", "1234", "retry")),
    (GLM, {"code": "1305", "msg": "busy"}, ("overloaded", "1305", "retry")),
    (OPENAI, {"type": "error", "error": {"type": "server_error", "code": None, "message": "x"}}, ("server", "server_error", "retry")),
    (OPENAI, {"error": {"message": "x", "type": "BadRequestError", "code": 400}}, ("bad_request", "400", "fail")),
    (OPENAI, {"object": "error", "message": "x", "type": "BadRequestError", "code": 400}, ("bad_request", "400", "fail")),
    (OPENAI, {"error": {"code": "content_filter", "message": "x"}, "choices": []}, ("content_filter", "content_filter", "fail")),
    (OPENAI, {"error": "went wrong"}, ("server", None, "once")),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "error", "expected"), ERRORS)
def test_an_error_frame_is_judged_by_the_codes_of_the_dialect(
    dialect: Dialect, error: Any, expected: tuple[str, str | None, str]
) -> None:
    """protocol: behaviour 41; alone it is a refusal, after text it may have been billed; nothing of the text is kept."""
    found = failure(frame(error), dialect=dialect)
    assert (found.kind, found.code, found.verdict) == expected
    assert found.answered
    later = failure(said("partial"), frame(error), said("", "stop"), DONE, dialect=dialect)
    assert (later.kind, later.code, later.verdict) == expected
    assert (later.sent, later.answered, later.request_id) == (True, False, "831")
    assert "partial" not in later.message


def test_an_error_frame_after_finish_reason_wins() -> None:
    """BigModel: a violation found late takes the whole answer back."""
    assert failure(said("a", "stop"), frame({"error": {"code": "1301", "message": "x"}})).kind == "content_filter"


def test_nothing_after_done_counts() -> None:
    """`[DONE]` is told by its beginning; the answer stands whatever a server adds."""
    stream = opened()
    stream.feed(said("a", "stop") + b"data:  [DONE] bye\n\n" + said("b") + frame(b"{"))
    assert stream.done
    stream.feed(b"data: {\n\n")
    result = stream.end(clean=False)
    assert isinstance(result, Reply)
    assert (result.content, stream.chunks) == ("a", 1)


def test_a_stream_above_a_cap_is_a_bad_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the bytes of an event, of the stream, and by the characters of the answer."""
    monkeypatch.setattr(folding, "MAX_TEXT", 1000)
    for stream in (opened(parser=Parser(max_event_bytes=50)), opened(parser=Parser(max_stream_bytes=50)), opened()):
        for _ in range(10):
            stream.feed(said("x" * 200))
        assert stream.done
        found = stream.end(clean=True)
        assert isinstance(found, Failure)
        assert (found.kind, found.code, found.verdict) == ("bad_payload", "stream_too_large", "once")
        assert (found.sent, found.answered) == (True, False)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (b"", None),
        (b"\n\n \r\n", None),
        (b"\xef\xbb", None),
        (b"\xef\xbb\xbf", None),
        (b"\xef\xbb\xbf\n{", False),
        (b'\n\n{"choices"', False),
        (b"dat", None),
        (b"\r\n\xef\xbb\xbf\ndata", True),
        (b"data: {", True),
        (b"id:1\nevent:result\n", True),
        (b": keep-alive", True),
        (b"<html>", False),
        (b"denied", False),
    ],
)
def test_a_stream_is_told_from_an_answer_in_one_piece_by_its_first_bytes(
    first: bytes, *, expected: bool | None
) -> None:
    """protocol: behaviours 30 and 42; blank lines come before both."""
    assert begins(first) is expected


TEXT = st.text(max_size=12) | st.sampled_from(
    ["a\u2028b", "\u0085", "😀中", "data: [DONE]\n\n", "\r\n", "\\", '"', "\ufeff"]
)
COUNTS = st.integers(0, 2000)


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    """A chat completion in one piece."""
    calls = draw(st.lists(st.tuples(TEXT, TEXT), max_size=3))
    message: dict[str, Any] = {"role": "assistant", "content": draw(TEXT | st.none())}
    if reasoning := draw(TEXT | st.none()):
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = [
            {"id": f"call_{place}x", "type": "function", "function": {"name": name, "arguments": arguments}}
            for place, (name, arguments) in enumerate(calls)
        ]
    finish = draw(st.sampled_from(["stop", "length", "tool_calls", "sensitive", "network_error", "x"]))
    body: dict[str, Any] = {
        "id": "831",
        "model": "glm-4",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    if draw(st.booleans()):
        prompt, written = draw(COUNTS), draw(COUNTS)
        body["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": draw(st.just(prompt + written) | COUNTS),
            "prompt_tokens_details": {"cached_tokens": draw(COUNTS | st.none())},
        }
    return body


def pieces(draw: st.DrawFn, text: str) -> list[str]:
    """The text cut at random; empty pieces come up as well."""
    at = [0, *sorted(draw(st.lists(st.integers(0, len(text)), max_size=3))), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(at)]


def deltas(draw: st.DrawFn, message: dict[str, Any]) -> list[dict[str, Any]]:
    """The message in fragments: reasoning, content, then calls whole or in turns."""
    found: list[dict[str, Any]] = []
    if "reasoning_content" in message or "tool_calls" not in message:  # an empty one beside calls is kept, see FIELD 25
        found += [{"reasoning_content": piece} for piece in pieces(draw, message.get("reasoning_content") or "")]
    if message["content"] is not None:
        found += [{"content": piece} for piece in pieces(draw, message["content"])]
    later = []
    for index, call in enumerate(message.get("tool_calls") or ()):
        first, *others = pieces(draw, call["function"]["arguments"])
        head = {"name": call["function"]["name"], "arguments": first}
        found.append({"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": head}]})
        later += [(place, index, {"arguments": other}) for place, other in enumerate(others)]
    later.sort(key=lambda one: one[:2])
    return found + [{"tool_calls": [{"index": index, "function": function}]} for _, index, function in later]


@st.composite
def streams(draw: st.DrawFn) -> tuple[dict[str, Any], bytes, int]:
    """An answer in one piece, the same as a stream, and where in it the frame with the finish_reason ends."""
    answer = draw(answers())
    choice, usage = answer["choices"][0], answer.get("usage")
    apart = draw(st.booleans())
    chunks = [chunk({"role": "assistant", **delta}) for delta in deltas(draw, choice["message"])]
    last = chunk({}, choice["finish_reason"])
    after = []
    if usage is not None and apart:
        after = [{"id": "831", "model": "glm-4", "choices": [], "usage": usage}]
    elif usage is not None:
        last["usage"] = usage
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    stream = "\ufeff" if draw(st.booleans()) else ""
    finished = 0
    for one in [*chunks, last, *after, None]:
        text = "[DONE]" if one is None else json.dumps(one, ensure_ascii=draw(st.booleans()))
        stream += draw(st.sampled_from(["", "", f": keep-alive{end}{end}", f"{end}{end}", f"event: x{end}", f":{end}"]))
        stream += draw(st.sampled_from(["data: ", "data:"])) + text + end * 2
        if one is last:
            finished = len(stream.encode())
    return answer, stream.encode(), finished


@given(made=streams(), places=PLACES, dialect=st.sampled_from([GLM, OPENAI]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_stream_gives_the_reply_of_the_same_answer_in_one_piece(
    made: tuple[dict[str, Any], bytes, int], places: list[int], dialect: Dialect
) -> None:
    """protocol: behaviour 40; text, calls, usage, ids and the message to send back, however the bytes are cut."""
    answer, stream, _ = made
    whole = dialect.read_chat(Incoming(200, {}, json.dumps(answer).encode()))
    assert folded(*cut(stream, places), dialect=dialect, clean=False) == whole


@given(made=streams(), places=PLACES, clean=st.booleans(), at=st.integers(0, 10**6))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_stream_cut_anywhere_is_an_answer_only_after_its_finish_reason(
    made: tuple[dict[str, Any], bytes, int], places: list[int], at: int, *, clean: bool
) -> None:
    """No truncated success: what is an answer has the whole text, and its own usage or none."""
    answer, stream, finished = made
    whole = GLM.read_chat(Incoming(200, {}, json.dumps(answer).encode()))
    assert isinstance(whole, Reply)
    at %= len(stream) + 1
    found = folded(*cut(stream[:at], places), clean=clean)
    if isinstance(found, Reply):
        assert at >= finished - 1  # the last byte may be the LF of a CRLF
        assert (found.content, found.reasoning, found.tool_calls) == (whole.content, whole.reasoning, whole.tool_calls)
        assert found.usage in (whole.usage, None)
    else:
        assert at < finished
        assert (found.code, found.answered) == ("truncated_stream", False)


@BOTH
@pytest.mark.parametrize("stream", [GLM_TEXT, OPENAI_TEXT, OPENAI_TOOLS], ids=["glm", "openai", "tools"])
def test_recorded_streams_cut_at_every_byte_are_never_half_an_answer(dialect: Dialect, stream: bytes) -> None:
    """Every place, cleanly and not."""
    whole = reply(stream, dialect=dialect)
    mark = stream.rindex(f'"{whole.finish_reason}"'.encode())
    finished = stream.index(b"\n\n", mark) + 2
    for at in range(len(stream)):
        for clean in (True, False):
            found = folded(stream[:at], dialect=dialect, clean=clean)
            assert isinstance(found, Reply) == (at >= finished)
            if isinstance(found, Reply):
                assert (found.content, found.tool_calls) == (whole.content, whole.tool_calls)


JUNK = st.sampled_from(
    [b"data: ", b"\n\n", b"{", b'"choices":', b"[", b'{"error":', b"[DONE]", b"\r", b"null", b"1e999"]
)


@given(
    junk=st.lists(JUNK | st.binary(max_size=6), max_size=8).map(b"".join),
    places=PLACES,
    at=st.integers(0, 10**6),
    gone=st.integers(0, 40),
    dialect=st.sampled_from([GLM, OPENAI]),
)
@settings(max_examples=EXAMPLES, deadline=None)
def test_spoiled_streams_raise_nothing_and_do_not_change_the_text(
    junk: bytes, places: list[int], at: int, gone: int, dialect: Dialect
) -> None:
    """Bytes put in and left out anywhere, and random bytes alone: a reply or a failure, never an exception."""
    at %= len(OPENAI_TOOLS)
    spoiled = OPENAI_TOOLS[:at] + junk + OPENAI_TOOLS[at + gone :]
    for stream in (spoiled, junk):
        result = folded(*cut(stream, places), dialect=dialect)
        assert isinstance(result, Reply | Failure)


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "index", "id", "name"]), inner)
    ),
    max_leaves=4,
)


@given(data=st.data(), dialect=st.sampled_from([GLM, OPENAI]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_value_in_any_field_gives_a_reply_or_a_failure(data: st.DataObject, dialect: Dialect) -> None:
    """A lying server costs itself one call, never the run."""
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    delta: dict[str, Any] = {"content": "x", "reasoning_content": "y", "refusal": None, "tool_calls": [call]}
    one = chunk(delta, "stop", usage=dict(COUNTED), request_id="r", service_tier="t", error=None)
    spots: list[tuple[Any, str]] = [(one, key) for key in one]
    spots += [(one["choices"][0], key) for key in one["choices"][0]]
    spots += [(delta, key) for key in delta] + [(call, key) for key in call]
    spots += [(one["usage"], key) for key in COUNTED]
    for place in data.draw(st.lists(st.integers(0, len(spots) - 1), min_size=1, max_size=3, unique=True)):
        holder, key = spots[place]
        holder[key] = data.draw(VALUE)
    result = folded(frame(json.dumps(one).encode()), said("", "stop"), DONE, dialect=dialect)
    assert isinstance(result, Reply | Failure)
