"""Streams in good health: what their frames say, when they leave, what is billed."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.conftest import Gate
from tests.simulator.sse import ASKED, DIALECTS, body_of, chunks, events, path_of, sent_whole, streamed, together
from tests.simulator.struck import ADD, fault

if TYPE_CHECKING:
    from tests.simulator.conftest import HandClock, Sim, Start

SAY = {
    "type": "function",
    "function": {
        "name": "say_it",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    },
}
SUM = "What is 3 + 4? And 5 + 6?"
SAID = 'Use say_it with "北京\\n😀"'
EACH = pytest.mark.parametrize("dialect", DIALECTS)


def open_stream(sim: Sim, dialect: str = "glm", asked: str = ASKED, **more: Any) -> socket.socket:
    body = json.dumps(body_of(dialect, asked, **more)).encode()
    head = f"POST {path_of(dialect)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-a.b\r\n"
    connection = socket.create_connection(("127.0.0.1", sim.port), timeout=30)
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return connection


@pytest.mark.parametrize("mode", ["current", "2024"])
def test_glm_frames_are_those_of_the_guide(start: Start, mode: str) -> None:
    """In 2024 every chunk says the role and none but the last a finish reason; usage comes unasked in the last."""
    sim = start(f'mode = "{mode}"')
    answer = sim.glm(ASKED, stream=True)
    assert answer.headers["content-type"] == "text/event-stream;charset=UTF-8"
    assert "content-length" not in answer.headers
    frames = answer.content.split(b"\n\n")
    assert frames[-2:] == [b"data: [DONE]", b""]
    *said, last = [json.loads(frame.removeprefix(b"data: ")) for frame in frames[:-2]]
    assert len(said) > 5
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in [*said, last]}) == 1
    older, role = mode == "2024", {"role": "assistant"}
    for place, chunk in enumerate(said):
        assert list(chunk) == ["id", "created", "model", "choices"]
        text = chunk["choices"][0]["delta"]["content"]
        choice = {"index": 0, "delta": {**(role if older or place == 0 else {}), "content": text}}
        assert chunk["choices"] == [choice if older else {**choice, "finish_reason": None}]
    delta = {**(role if older else {}), "content": ""}
    assert last["choices"] == [{"index": 0, "finish_reason": "stop", "delta": delta}]
    assert last["usage"]["total_tokens"] == sim.books()[0]["total_tokens"]


@pytest.mark.parametrize("asked", [True, False])
def test_openai_frames_are_those_of_the_specification(sim: Sim, asked: bool) -> None:
    """The role comes with an empty text; usage is null everywhere and then a chunk of its own, if asked for at all."""
    answer = sim.openai(ASKED, model="gpt-4o", stream=True, stream_options={"include_usage": asked})
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = chunks(answer.content)
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in found}) == 1
    assert found[0]["object"] == "chat.completion.chunk"
    if asked:
        usage = found.pop()
        assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], sim.books()[0]["total_tokens"])
        assert all(chunk["usage"] is None for chunk in found)
    else:
        assert not any("usage" in chunk for chunk in found)
    first, *said, last = [chunk["choices"][0] for chunk in found]
    empty = {"index": 0, "logprobs": None}
    assert first == {
        **empty, "delta": {"role": "assistant", "content": "", "refusal": None}, "finish_reason": None
    }  # fmt: skip
    assert all(set(choice["delta"]) == {"content"} and choice["finish_reason"] is None for choice in said)
    assert last == {**empty, "delta": {}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    "more",
    [
        {}, {"max_tokens": 3}, {"max_tokens": 40, "model": "glm-4.6"}, {"tools": [ADD], "asked": SUM},
        {"tools": [ADD], "asked": SUM, "model": "glm-4.6"}, {"tools": [ADD], "asked": SUM, "model": "gpt-5-mini"},
        {"tools": [ADD, SAY], "asked": SAID, "tool_stream": True, "model": "glm-5"}, {"model": "glm-4.5-air"},
        {"model": "glm-4.7", "thinking": {"type": "disabled"}}, {"model": "gpt-5-mini"}, {"enable_thinking": True},
        {"tools": [SAY], "asked": SAID, "tool_choice": "none"}, {"asked": 'Say \u2028 a "quote" \\ and 😀\n'},
    ],
)  # fmt: skip
@pytest.mark.parametrize("settings", ["", "escaped_arguments = true\n[stream]\nchunks = 200", "mode = '2024'"])
@EACH
def test_the_stream_put_together_is_the_answer_sent_whole(
    start: Start, settings: str, dialect: str, more: dict[str, Any]
) -> None:
    """Text, reasoning, tool calls, finish reason and usage are the same, however it is cut."""
    sim = start(settings)
    whole = sent_whole(sim, dialect, **more)
    assert together(chunks(streamed(sim, dialect, **more))) == whole
    one, two = sim.books()
    assert (one["stream"], two["stream"]) == (False, True)
    assert one["total_tokens"] == two["total_tokens"] == whole["usage"]["total_tokens"]
    assert two["billed"]
    assert two["delivered"]


def test_each_choice_is_streamed_under_its_index(sim: Sim) -> None:
    """All are billed, and each has its role and its finish."""
    found = chunks(streamed(sim, "openai", n=2))
    texts = {0: "", 1: ""}
    for choice in (choice for chunk in found for choice in chunk["choices"]):
        texts[choice["index"]] += choice["delta"].get("content") or ""
    assert texts[0] == texts[1] == sent_whole(sim, "openai")["content"]
    assert sum(chunk["choices"][0]["finish_reason"] == "stop" for chunk in found if chunk["choices"]) == 2


def test_glm_models_think_from_4_5_on_unless_told_not_to(sim: Sim) -> None:
    """Reasoning comes before the content, and is a part of the completion's tokens and of their limit."""
    thought = together(chunks(streamed(sim, "glm", model="GLM-4.6")))
    plain = together(chunks(streamed(sim, "glm", model="glm-4.6", thinking={"type": "disabled"})))
    assert thought["reasoning"]
    assert (plain["reasoning"], plain["content"]) == ("", thought["content"])
    reasoning = thought["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert thought["usage"]["completion_tokens"] == plain["usage"]["completion_tokens"] + reasoning
    found = chunks(streamed(sim, "glm", model="glm-4.6"))
    kinds = ["reasoning_content" in chunk["choices"][0]["delta"] for chunk in found]
    assert kinds == sorted(kinds, reverse=True)
    short = together(chunks(streamed(sim, "glm", model="glm-4.6", max_tokens=5)))
    assert (short["content"], short["finish"], short["usage"]["completion_tokens"]) == ("", "length", 5)
    assert thought["reasoning"].startswith(short["reasoning"])
    assert together(chunks(streamed(sim, "glm", model="glm-4-plus", thinking={"type": "enabled"})))["reasoning"] == ""


def test_openai_models_that_think_count_it_and_do_not_show_it(sim: Sim) -> None:
    """Unless they are told to think little; compatible services show it."""
    usage = "usage", "completion_tokens_details", "reasoning_tokens"

    def hidden(**more: Any) -> int:
        found = together(chunks(streamed(sim, "openai", **more)))
        assert found["reasoning"] == ""
        return int(found[usage[0]][usage[1]][usage[2]])

    assert hidden(model="gpt-5-mini") > 0
    assert hidden(model="o3") > 0
    assert hidden(model="gpt-5", reasoning_effort="minimal") == 0
    assert hidden(model="gpt-4o") == 0
    assert together(chunks(streamed(sim, "openai", model="qwen-plus", enable_thinking=True)))["reasoning"]


@pytest.mark.parametrize(
    ("dialect", "more"),
    [("glm", {"model": "glm-4.6", "tool_stream": True, "thinking": {"type": "disabled"}}), ("openai", {})],
)
def test_arguments_come_in_fragments_cut_inside_escapes_where_that_is_asked_for(
    start: Start, dialect: str, more: dict[str, Any]
) -> None:
    """First id and name, then text that is JSON only as a whole, cut inside every escape sequence."""
    sim = start("escaped_arguments = true")
    found = chunks(streamed(sim, dialect, SAID, tools=[SAY], **more))
    deltas = [
        choice["delta"]["tool_calls"] for c in found for choice in c["choices"] if "tool_calls" in choice["delta"]
    ]
    ((first,), *rest) = deltas
    assert (first["function"], first["index"], first["type"]) == ({"name": "say_it", "arguments": ""}, 0, "function")
    fragments = []
    for (part,) in rest:
        assert set(part) == {"index", "function"}
        fragments.append(part["function"]["arguments"])
    assert json.loads("".join(fragments)) == {"text": "北京\\n😀"}
    ends = [len("".join(fragments[: place + 1])) for place in range(len(fragments))]
    escapes = [found.span() for found in re.finditer(r"\\u[0-9a-f]{4}|\\\\", "".join(fragments))]
    assert all(any(begin < end < stop for end in ends) for begin, stop in escapes)


@pytest.mark.parametrize(("model", "asked"), [("glm-4.6", False), ("glm-4", True)])
def test_a_glm_call_comes_in_one_chunk_without_tool_stream(sim: Sim, model: str, asked: bool) -> None:
    """Nor do older models stream arguments when they are asked to."""
    found = chunks(streamed(sim, "glm", SUM, tools=[ADD], model=model, tool_stream=asked))
    calls = [c["choices"][0]["delta"]["tool_calls"] for c in found if "tool_calls" in c["choices"][0]["delta"]]
    assert [len(one) for one in calls] == [1, 1]
    assert [json.loads(one[0]["function"]["arguments"]) for one in calls] == [{"a": 3, "b": 4}, {"a": 5, "b": 6}]


@pytest.mark.parametrize(("tokens", "fewest", "most"), [(1, 1.0, 1.2), (5, 0.15, 0.35)])
def test_a_reply_of_n_tokens_has_about_n_chunks(start: Start, tokens: int, fewest: float, most: float) -> None:
    """`chunk_tokens` makes them longer."""
    sim = start(f"[latency]\nchat_ms = [0, 0]\nchunk_tokens = {tokens}\n")
    found = chunks(streamed(sim, "glm"))
    assert fewest <= len(found) / found[-1]["usage"]["completion_tokens"] <= most


@EACH
def test_the_number_of_chunks_can_be_said(start: Start, dialect: str) -> None:
    """For benchmarks: so many chunks with text, whatever its length."""
    found = chunks(streamed(start("[stream]\nchunks = 200"), dialect))
    said = [choice for chunk in found for choice in chunk["choices"] if "role" not in choice["delta"]]
    with_text = sum("content" in choice["delta"] for choice in said)
    assert with_text == 200  # GLM's first has the role besides and its last an empty text


def test_obfuscation_makes_chunks_of_one_length(start: Start) -> None:
    """Only in the OpenAI dialect, when the scenario or the request says so; the request has the last word."""
    sim = start("[stream]\nobfuscation = true")
    found = chunks(streamed(sim, "openai", asked="plain"))
    said = [chunk for chunk in found if chunk["choices"] and "content" in chunk["choices"][0]["delta"]][1:]
    assert len({len(c["obfuscation"]) + len(json.dumps(c["choices"][0]["delta"]["content"])) for c in said}) == 1
    off = chunks(streamed(sim, "openai", stream_options={"include_obfuscation": False}))
    assert not any("obfuscation" in chunk for chunk in off)
    assert not any("obfuscation" in chunk for chunk in chunks(streamed(sim, "glm")))


def test_chunks_leave_one_by_one_in_their_time(start: Start, clock: HandClock) -> None:
    """The first after `first_chunk_ms`, each further one after `chunk_ms`; finish, usage and `[DONE]` together."""
    sim = start("time_factor = 2\n[latency]\nfirst_chunk_ms = [500, 500]\nchunk_ms = [40, 60]\n", clock)
    found = chunks(streamed(sim, "glm"))
    first, *waits = clock.slept
    assert first == 1.0
    assert len(waits) == len(found) - 1
    assert all(0.08 <= wait <= 0.12 for wait in waits)
    assert len(set(waits)) > 1


def test_a_stream_takes_as_long_as_its_tokens(start: Start, clock: HandClock) -> None:
    """`per_token_ms` is spread over the chunks; `chat_ms` stands for the first one where nothing else is said."""
    sim = start("[latency]\nchat_ms = [70, 70]\nper_token_ms = 10\n", clock)
    tokens = chunks(streamed(sim, "openai"))[-1]["usage"]["completion_tokens"]
    assert clock.slept[0] == 0.07
    assert sum(clock.slept) == pytest.approx(0.07 + tokens * 0.01)


def test_without_a_pace_all_frames_leave_in_one_write(sim: Sim) -> None:
    """Two hundred chunks cost the server little more than one answer: one HTTP chunk holds them all."""
    with open_stream(sim) as connection:
        read = b""
        while not read.endswith(b"0\r\n\r\n"):
            read += connection.recv(65536)
    size, _, rest = read.partition(b"\r\n\r\n")[2].partition(b"\r\n")
    assert events(rest[: int(size, 16)])[-1] == "[DONE]"


@EACH
def test_a_client_that_leaves_is_billed_for_the_whole(start: Start, dialect: str) -> None:
    """The answer is generated all the same; the books say that it was not delivered."""
    sim = start("[latency]\nchat_ms = [0, 0]\nchunk_ms = [200, 200]\n")
    usage = sent_whole(sim, dialect)["usage"]
    with open_stream(sim, dialect) as connection:
        while b"data: " not in connection.recv(65536):
            pass
    record = sim.until_books(2)[1]
    assert (record["billed"], record["delivered"], record["stream"]) == (True, False, True)
    assert record["completion_tokens"] == usage["completion_tokens"]


def test_the_place_in_flight_is_held_until_the_last_byte(start: Start) -> None:
    """A second request is refused while the first one's chunks come, and served after them."""
    gate = Gate()
    sim = start("[limits]\nin_flight = 1\n[latency]\nchat_ms = [0, 0]\nchunk_ms = [30, 30]\n", gate)
    with open_stream(sim, model="glm-4") as connection:
        read = connection.recv(65536)
        assert sim.post(path_of("glm"), body_of("glm"), key="sk-a.b").status_code == 429
        assert not read.endswith(b"0\r\n\r\n")
        gate.open()
        while not read.endswith(b"0\r\n\r\n"):
            read += connection.recv(65536)
    sim.until_books(2)
    assert sim.post(path_of("glm"), body_of("glm", stream=False), key="sk-a.b").status_code == 200


@EACH
def test_a_refusal_of_a_stream_is_plain_json(start: Start, dialect: str) -> None:
    """Nothing of it is an event."""
    answer = start(fault(18)).post(path_of(dialect), body_of(dialect), key="sk-a.b")
    assert answer.status_code == 429
    assert "json" in answer.headers["content-type"]
    assert answer.json()["error"]


def test_a_task_has_no_stream(sim: Sim) -> None:
    """The parameter is for chats alone."""
    assert sim.submit(stream=True).status_code == 400


@EACH
def test_what_official_clients_send_besides_is_taken(sim: Sim, dialect: str) -> None:
    """Nulls, ids, hints, lists of parts in all their forms, and the headers of their libraries."""
    parts = [
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "image_url", "image_url": {"url": "iVBORw0KGgo="}},
        {"type": "text", "text": "What is this?"},
    ]
    more = {
        "response_format": None, "thinking": None, "tool_choice": {"type": "function", "function": {"name": "add"}},
        "tools": [ADD], "user_id": "user-123456", "do_sample": False, "temperature": 0.01, "top_p": 0.99,
        "meta": {"user_info": "x", "bot_info": "y", "bot_name": "z", "user_name": "u"}, "parallel_tool_calls": True,
        "stream_options": {"include_usage": True}, "seed": 1, "sensitive_word_check": {"type": "ALL"},
        "watermark_enabled": True, "store": False, "metadata": {"a": "b"}, "user": "u", "service_tier": "auto",
    }  # fmt: skip
    headers = {"x-stainless-lang": "python", "x-stainless-retry-count": "0", "x-stainless-async": "false"}
    body = body_of(dialect, [{"role": "user", "content": parts}], **more)
    answer = sim.post(path_of(dialect), body, key="sk-a.b", **headers)
    assert answer.status_code == 200, answer.text
    assert together(chunks(answer.content))["calls"][0][1] == "add"


def test_a_stream_is_not_compressed(start: Start) -> None:
    """Compressed as a whole it could not leave chunk by chunk; long plain answers still are."""
    sim = start("gzip = true")
    answer = sim.post(path_of("glm"), body_of("glm"), key="sk-a.b")
    assert len(answer.content) > 1024
    assert "content-encoding" not in answer.headers
