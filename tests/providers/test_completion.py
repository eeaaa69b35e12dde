"""What the dialects make of answers: usual, odd and hostile ones; both dialects share these rules."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.records import Accepted, Failure, Incoming, Processing, Reply, Request, Usage
from batch.core.redaction import MASK
from batch.providers import registry
from batch.providers.base import Dialect

KEY = "id123.secret456"
GLM, _ = registry.dialect("glm", base_url=None, key=KEY)
OPENAI, _ = registry.dialect("openai", base_url=None, key=KEY)
BOTH = pytest.mark.parametrize("dialect", [GLM, OPENAI], ids=["glm", "openai"])


def answer(message: Any = None, *, finish: Any = "stop", usage: Any = None, **more: Any) -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", "content": "hello"} if message is None else message
    usage = {"prompt_tokens": 19, "completion_tokens": 26, "total_tokens": 45} if usage is None else usage
    choices = [{"index": 0, "finish_reason": finish, "message": message}]
    return {"id": "831", "created": 1, "model": "glm-4", "choices": choices, "usage": usage, **more}


def incoming(body: Any, status: int = 200, **headers: str) -> Incoming:
    """An HTTP answer; anything but bytes is encoded as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Incoming(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def reply(dialect: Dialect, body: Any) -> Reply:
    result = dialect.read_chat(incoming(body))
    assert isinstance(result, Reply), result
    return result


def failure(dialect: Dialect, body: Any, status: int = 200, **headers: str) -> Failure:
    result = dialect.read_chat(incoming(body, status, **headers))
    assert isinstance(result, Failure), result
    return result


@BOTH
def test_a_plain_answer_gives_text_usage_and_ids(dialect: Dialect) -> None:
    """The documented form; unknown fields and their order do not matter."""
    found = reply(dialect, answer(request_id="r-1", service_tier="default", novelty={"a": [1]}))
    assert (found.content, found.finish_reason, found.model) == ("hello", "stop", "glm-4")
    assert (found.request_id, found.service_tier) == ("r-1", "default")
    assert found.usage == Usage(19, 26, 45)
    assert found.message == {"role": "assistant", "content": "hello"}


@BOTH
def test_nested_token_counts_are_read(dialect: Dialect) -> None:
    """Cached, written to cache, reasoning."""
    usage = {
        "prompt_tokens": 251,
        "completion_tokens": 203,
        "total_tokens": 454,
        "prompt_tokens_details": {"cached_tokens": 42, "cache_write_tokens": 3, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 192},
    }
    assert reply(dialect, answer(usage=usage)).usage == Usage(251, 203, 454, 42, 192, 3)


@BOTH
@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ({}, None),
        ([], None),
        ("many", None),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
        ({"prompt_tokens": -1, "completion_tokens": 2, "total_tokens": 1}, None),
        ({"prompt_tokens": 2**41, "completion_tokens": 2, "total_tokens": 1}, None),
        ({"prompt_tokens": 10**30, "completion_tokens": 2, "total_tokens": 1}, None),
        ({"prompt_tokens": None, "completion_tokens": 2}, None),
        ({"prompt_tokens": 3, "completion_tokens": 2}, Usage(3, 2, 5)),
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": None}, Usage(3, 2, 5)),
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 9}, Usage(3, 2, 5, estimated=True)),
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": -9}, None),
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 10**15}, None),
        ({"prompt_tokens": 3.0, "completion_tokens": "2", "total_tokens": 5}, Usage(3, 2, 5)),
        ({"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}, Usage(3, 2, 5)),
        ({"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(3, 2, 5)),
    ],
)
def test_usage_that_is_missing_or_cannot_be_is_unknown_and_not_zero(
    dialect: Dialect, usage: Any, expected: Usage | None
) -> None:
    """The text is kept; the parts of a wrong total are kept and marked."""
    body = answer(usage=usage) if usage is not None else {**answer(), "usage": None}
    found = reply(dialect, body)
    assert found.content == "hello"
    assert found.usage == expected


@BOTH
def test_all_zero_usage_of_an_empty_answer_is_zero(dialect: Dialect) -> None:
    """Only under a real answer is zero a lie."""
    zero = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert reply(dialect, answer({"content": ""}, usage=zero)).usage == Usage(0, 0, 0)


def call(arguments: Any, call_id: Any = "call_-83", name: Any = "add") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "index": 0, "function": {"name": name, "arguments": arguments}}


@BOTH
def test_tool_calls_come_with_their_arguments_verbatim_and_can_be_replayed(dialect: Dialect) -> None:
    """The next request holds the assistant message in the form the service wants."""
    text = '{"a": 53195444847186410,  "b":"é"}'
    found = reply(dialect, answer({"content": None, "tool_calls": [call(text)]}, finish="tool_calls"))
    assert [(tool.id, tool.name, tool.arguments) for tool in found.tool_calls] == [("call_-83", "add", text)]
    sent = json.loads(dialect.chat(Request(model="m", messages=[found.message]), "c").body or b"")
    function = {"name": "add", "arguments": text}
    calls = [{"id": "call_-83", "type": "function", "function": function}]
    assert sent["messages"] == [{"role": "assistant", "content": None, "tool_calls": calls}]


@BOTH
@pytest.mark.parametrize(
    ("tool_calls", "expected"),
    [
        ([], []),
        (None, []),
        ([call({"a": 12345678901234567890123})], [("call_-83", "add", '{"a": 12345678901234567890123}')]),
        ([call({"a": 1.50})], [("call_-83", "add", '{"a": 1.5}')]),
        ([call(None)], [("call_-83", "add", "")]),
        ([call("")], [("call_-83", "add", "")]),
        ([call("{}"), call("{}")], [("call_-83", "add", "{}"), ("call_-83-2", "add", "{}")]),
        ([call("{}", call_id=None)], [("call_0", "add", "{}")]),
        ([call("{}", call_id=7)], [("7", "add", "{}")]),
        ([call("{}", name=None)], [("call_-83", "", "{}")]),
        (["nonsense"], [("call_0", "", "")]),
    ],
)
def test_odd_tool_calls_are_kept_for_the_turn_to_judge(
    dialect: Dialect, tool_calls: Any, expected: list[tuple[str, str, str]]
) -> None:
    """Objects for text stay exact; ids are made different; nothing crashes."""
    found = reply(dialect, answer({"content": "x", "tool_calls": tool_calls}, finish="tool_calls"))
    assert [(tool.id, tool.name, tool.arguments) for tool in found.tool_calls] == expected


@BOTH
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ""),
        (None, None),
        ([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}], "ab"),
        ([], ""),
        (12, "12"),
        ("a\u0000\u2028b", "a\u0000\u2028b"),
        ("\ud83d!", "\ufffd!"),
    ],
)
def test_content_in_any_form_becomes_text_or_none(dialect: Dialect, content: Any, expected: str | None) -> None:
    """Lists of parts are joined; lone surrogates become U+FFFD."""
    found = reply(dialect, answer({"content": content}))
    assert found.content == expected
    msgspec.json.encode(found)


@BOTH
def test_invalid_utf8_and_a_byte_order_mark_do_not_lose_the_answer(dialect: Dialect) -> None:
    """The text around the bad bytes was paid for."""
    raw = json.dumps(answer({"content": "good @ text"})).encode().replace(b"@", b"\xff\xfe")
    found = reply(dialect, raw)
    assert found.content is not None
    assert found.content.startswith("good \ufffd")
    assert found.usage == Usage(19, 26, 45)
    assert reply(dialect, b"\xef\xbb\xbf" + json.dumps(answer()).encode()).content == "hello"
    assert reply(dialect, b"\n\n \n" + json.dumps(answer()).encode()).content == "hello"
    assert reply(dialect, b"\r\n\xef\xbb\xbf" + json.dumps(answer()).encode()).content == "hello"


@BOTH
def test_line_breaks_and_control_characters_as_they_are_do_not_lose_the_answer(dialect: Dialect) -> None:
    """Servers that put their JSON together by hand forget to write them as escapes."""
    raw = json.dumps(answer({"content": "one@two"})).encode().replace(b"@", b"\r\n\t\x01")
    found = reply(dialect, raw)
    assert found.content == "one\r\n\t\x01two"
    assert found.usage == Usage(19, 26, 45)


def test_reasoning_is_replayed_where_the_service_wants_it_back() -> None:
    """GLM with clear_thinking false needs it; OpenAI has no such field."""
    body = answer({"content": "x", "reasoning_content": "because"})
    assert reply(GLM, body).reasoning == "because"
    assert reply(GLM, body).message["reasoning_content"] == "because"
    assert "reasoning_content" not in reply(OPENAI, body).message


def test_a_refusal_without_content_is_the_content() -> None:
    """OpenAI's `refusal` is what the model said."""
    assert reply(OPENAI, answer({"content": None, "refusal": "I cannot."})).content == "I cannot."


@BOTH
@pytest.mark.parametrize("finish", ["sensitive", "network_error", "length", "content_filter", "never_seen_before"])
def test_every_finish_reason_is_kept_verbatim_with_its_usage(dialect: Dialect, finish: str) -> None:
    """What it means for the row is for the turn to say; what it cost is booked."""
    found = reply(dialect, answer(finish=finish))
    assert (found.finish_reason, found.usage) == (finish, Usage(19, 26, 45))


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[1,2]",
        b'"text"',
        b'{"choices": [{"mess',
        b"<html><body>Please log in</body></html>",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        {},
        {"choices": []},
        {"choices": None},
        {"choices": ["x"]},
        {"choices": [{"message": None, "finish_reason": "stop"}]},
    ],
)
def test_an_answer_that_is_none_is_tried_once_more_and_may_have_been_billed(dialect: Dialect, body: Any) -> None:
    """HTTP 200 is not success."""
    found = failure(dialect, body)
    assert (found.kind, found.verdict, found.answered, found.sent) == ("bad_payload", "once", False, True)
    assert len(found.message) <= 500


@BOTH
@pytest.mark.parametrize(
    "body",
    [answer(finish=None), answer(finish=""), {**answer(), "choices": [{"message": {"content": "3"}}]}],
)
def test_a_whole_body_without_a_finish_reason_is_a_reply_with_its_usage(dialect: Dialect, body: Any) -> None:
    """FIELD 8: it was taken for silence, its usage was not booked, and "has not answered for 42 s" was said."""
    found = dialect.read_chat(incoming(body))
    assert isinstance(found, Reply)
    assert (found.finish_reason, found.usage is not None) == ("", "usage" in body)


@BOTH
@pytest.mark.parametrize("choices", [[], None, [{}], [{"message": None, "finish_reason": "stop"}]])
def test_an_answer_that_says_nothing_is_a_reply_as_far_as_its_bill_goes(dialect: Dialect, choices: Any) -> None:
    """FIELD 8: what follows is decided later; the tokens are booked in any case."""
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    found = dialect.read_chat(incoming({"choices": choices, "usage": usage}))
    assert isinstance(found, Reply)
    assert found.content is None
    assert found.usage is not None
    assert found.usage.total_tokens == 10


@BOTH
@pytest.mark.parametrize(
    ("usage", "booked"),
    [
        ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135, "reasoning_tokens": 94}, (32, 103, 94)),
        (
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            (32, 103, 94),
        ),
        (
            {
                "prompt_tokens": 32,
                "completion_tokens": 103,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            (32, 103, 94),
        ),
    ],
)
def test_what_was_thought_beside_what_was_written_is_completion(
    dialect: Dialect, usage: dict[str, Any], booked: tuple[int, int, int]
) -> None:
    """FIELD 16: xAI and Gemini count it apart: 32 + 9 + 94 = 135 was booked as 41."""
    found = dialect.read_chat(incoming({**answer(), "usage": usage}))
    assert isinstance(found, Reply)
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.reasoning_tokens) == booked
    assert (found.usage.total_tokens, found.usage.estimated) == (135, False)


ONE_LACKS = [
    ({"prompt_tokens": 3, "total_tokens": 5}, Usage(3, 2, 5)),
    ({"completion_tokens": 2, "total_tokens": 5}, Usage(3, 2, 5)),
    ({"prompt_tokens": 3, "completion_tokens": None, "total_tokens": 5}, Usage(3, 2, 5)),
    ({"prompt_tokens": "3", "total_tokens": 5.0}, Usage(3, 2, 5)),
    ({"prompt_tokens": 3, "total_tokens": 99, "reasoning_tokens": 94}, Usage(3, 96, 99, None, 94)),
    ({"prompt_tokens": 3, "total_tokens": 3}, None),
    ({"prompt_tokens": 5, "total_tokens": 3}, None),
    ({"completion_tokens": 5, "total_tokens": 5}, None),
    ({"prompt_tokens": 3}, None),
    ({"completion_tokens": 3}, None),
    ({"total_tokens": 3}, None),
]
OTHER_NAMES = [
    ({"input_tokens": 3, "output_tokens": 2}, Usage(3, 2, 5)),
    ({"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}, Usage(3, 2, 5)),
    ({"input_tokens": 3, "total_tokens": 5}, Usage(3, 2, 5)),
    ({"input_tokens": 3, "completion_tokens": 2}, Usage(3, 2, 5)),
    ({"prompt_tokens": 3, "completion_tokens": 2, "input_tokens": 0, "output_tokens": 0}, Usage(3, 2, 5)),
    ({"prompt_tokens": 0, "completion_tokens": 0, "input_tokens": 3, "output_tokens": 2}, Usage(3, 2, 5)),
    ({"prompt_tokens": 3, "completion_tokens": 2, "input_tokens": 7, "output_tokens": 7}, Usage(3, 2, 5)),
    (
        {
            "input_tokens": 30,
            "output_tokens": "20",
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens_details": {"reasoning_tokens": 9},
        },
        Usage(30, 20, 50, 4, 9),
    ),
    ({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}, None),
]


@BOTH
@pytest.mark.parametrize(("usage", "expected"), [*ONE_LACKS, *OTHER_NAMES])
def test_what_a_service_told_of_its_tokens_is_booked_as_far_as_it_follows(
    dialect: Dialect, usage: dict[str, Any], expected: Usage | None
) -> None:
    """Two of three numbers, or the names of the Responses API: all of it was unknown, and so was the cost."""
    assert reply(dialect, answer(usage=usage)).usage == expected
    assert reply(dialect, {**answer(usage=usage), "id": 831}).usage == expected  # read field by field


@BOTH
@pytest.mark.parametrize("count", [2**40, 2**63, 10**30, 100_000_001])
def test_a_count_that_no_call_can_have_is_no_bill(dialect: Dialect, count: int) -> None:
    """FIELD 15: 2^40 tokens overflowed the cost: exit 70 at every command, and the row bought each time."""
    found = dialect.read_chat(
        incoming({**answer(), "usage": {"prompt_tokens": count, "completion_tokens": 1, "total_tokens": count + 1}})
    )
    assert isinstance(found, Reply)
    assert found.usage is None


@BOTH
@pytest.mark.parametrize(
    ("status", "kind", "verdict"),
    [
        (301, "bad_request", "once"),
        (307, "bad_request", "once"),
        (400, "bad_request", "fail"),
        (401, "auth", "stop"),
        (402, "balance", "stop"),
        (403, "auth", "row_or_key"),
        (404, "model", "row_or_key"),
        (405, "bad_request", "once"),
        (408, "server", "retry"),
        (409, "server", "retry"),
        (413, "too_large", "fail"),
        (422, "bad_request", "fail"),
        (425, "server", "retry"),
        (429, "rate_limit", "retry"),
        (434, "auth", "stop"),
        (435, "too_large", "fail"),
        (499, "bad_request", "fail"),
        (500, "server", "retry"),
        (502, "server", "retry"),
        (503, "server", "retry"),
        (504, "server", "retry"),
        (529, "overloaded", "retry"),
        (599, "server", "retry"),
    ],
)
@pytest.mark.parametrize("body", [b"<html>nginx</html>", b"", b"{}", b'{"error": "plain words"}'])
def test_a_bare_status_decides_where_there_is_no_code(
    dialect: Dialect, status: int, kind: str, verdict: str, body: bytes
) -> None:
    """Any body; an HTML page of a gateway is not parsed, and one that no status explains is not the service's."""
    found = failure(dialect, body, status)
    if body.startswith(b"<html>") and verdict == "fail" and kind == "bad_request":
        verdict = "once"
    if status == 404 and b"error" not in body:
        kind = "bad_request"  # nothing of it is the service's, so nothing says that it is about the model
    assert (found.kind, found.verdict, found.http_status) == (kind, verdict, status)
    assert found.wrong_address == (verdict == "once")
    assert found.message


@BOTH
def test_a_gateway_page_leaves_open_whether_the_call_was_done(dialect: Dialect) -> None:
    """A 504 page may hide a finished answer; the provider's own error does not."""
    assert not failure(dialect, b"<html>", 504).answered
    assert failure(dialect, b"<html>", 503).answered
    assert failure(dialect, {"error": {"message": "x"}}, 504).answered


@BOTH
def test_a_key_that_the_server_echoes_is_hidden_and_controls_are_stripped(dialect: Dialect) -> None:
    """Secrets never land in error texts."""
    found = failure(dialect, {"error": {"message": f"bad\x1b[31m\n {KEY} key" + "y" * 900}}, 401)
    assert KEY not in found.message
    assert MASK in found.message
    assert found.message.isprintable()
    assert len(found.message) <= 500
    assert KEY not in repr(dialect.chat(Request(model="m", messages=[]), "c"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        "choices",
        "message",
        "content",
        "tool_calls",
        "function",
        "arguments",
        "finish_reason",
        "usage",
        "error",
        "code",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "id",
        "task_status",
        "success",
        "msg",
        "model",
        "type",
    ]
)
ODD = st.recursive(
    JSON,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)


@given(body=ODD, status=st.sampled_from([200, 400, 404, 429, 500]))
@settings(max_examples=400, deadline=None)
def test_no_json_whatever_makes_a_dialect_raise(body: Any, status: int) -> None:
    """A hostile server costs one row, and what comes out can be stored."""
    what = incoming(body, status)
    for dialect in (GLM, OPENAI):
        result = dialect.read_chat(what)
        assert isinstance(result, Reply | Failure)
        msgspec.json.encode(result)
    assert isinstance(GLM.read_submit(what), Accepted | Failure)
    assert isinstance(GLM.read_poll(what), Reply | Failure | Processing)


@given(body=st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_bytes_whatever_make_a_dialect_raise(body: bytes) -> None:
    """Bytes in place of JSON, and inside it."""
    inside = json.dumps(answer({"content": "@"})).encode().replace(b"@", body)
    for raw in (body, inside):
        for dialect in (GLM, OPENAI):
            msgspec.json.encode(dialect.read_chat(incoming(raw)))


@given(
    content=st.text(max_size=60),
    arguments=JSON,
    counts=st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)),
)
@settings(max_examples=200, deadline=None)
def test_text_and_arguments_survive_the_way_through_a_dialect(
    content: str, arguments: Any, counts: tuple[int, int]
) -> None:
    """What the model said is what comes out, character for character."""
    text = json.dumps(arguments)
    usage = {"prompt_tokens": counts[0], "completion_tokens": counts[1], "total_tokens": sum(counts)}
    body = answer({"content": content, "tool_calls": [call(text)]}, finish="tool_calls", usage=usage)
    for dialect in (GLM, OPENAI):
        found = reply(dialect, body)
        assert (found.content, found.tool_calls[0].arguments) == (content, text)
        assert found.usage == Usage(*counts, sum(counts))
