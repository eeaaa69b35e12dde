"""zai-sdk and zhipuai, unmodified, against the simulator over sockets: what they can do, they do."""

from __future__ import annotations

import json
from typing import Any

import pytest
import zai

from tests.simulator.conftest import GLM, HandClock, Sim, Start
from tests.simulator.struck import fault
from tests.system.clients.asked import ADD, HELLO, SUM
from tests.system.clients.conftest import KEY, Glm

ASKED: dict[str, Any] = {"model": "glm-4", "messages": HELLO}


def test_a_chat_is_read_into_their_own_types(sim: Sim, glm: Glm) -> None:
    """Text, finish reason, ids and usage are there; the request id given is the one in the books."""
    answer = glm.of(sim).chat.completions.create(**ASKED, request_id="call-1")
    assert type(answer).__name__ == "Completion"
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.role, answer.request_id) == ("stop", "assistant", "call-1")
    assert choice.message.content
    (booked,) = sim.books()
    assert (booked["client_call_id"], booked["billed"], booked["key_id"]) == ("call-1", True, "reader")
    assert answer.usage.total_tokens == booked["total_tokens"]


def test_the_client_for_the_world_outside_china_does_the_same(sim: Sim) -> None:
    """`ZaiClient` differs from `ZhipuAiClient` in its usual address alone."""
    url = f"http://127.0.0.1:{sim.port}{GLM}"
    with zai.ZaiClient(api_key=KEY, base_url=url, max_retries=0) as client:
        assert client.chat.completions.create(**ASKED).choices[0].finish_reason == "stop"


def test_their_nulls_and_moved_temperatures_are_accepted(start: Start, glm: Glm) -> None:
    """They send `response_format` and `thinking` as null, and move 0 and 1 inside the open range of 2024."""
    sim = start('mode = "2024"')
    glm.of(sim).chat.completions.create(**ASKED, temperature=0, top_p=1)
    glm.of(sim).chat.completions.create(**ASKED, temperature=1)
    assert [booked["status"] for booked in sim.books()] == [200, 200]
    assert sim.glm(temperature=0).json()["error"]["code"] == "1210"


def test_tool_calls_go_there_and_back(sim: Sim, glm: Glm) -> None:
    """Two calls at once, their results, and the answer made of them."""
    client, messages = glm.of(sim), list(SUM)
    asked = client.chat.completions.create(model="glm-4", messages=messages, tools=[ADD]).choices[0]
    assert asked.finish_reason == "tool_calls"
    assert [call.function.name for call in asked.message.tool_calls] == ["add", "add"]
    messages.append(asked.message.model_dump(exclude_none=True))
    for call in asked.message.tool_calls:
        result = str(sum(json.loads(call.function.arguments).values()))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    said = client.chat.completions.create(model="glm-4", messages=messages, tools=[ADD]).choices[0]
    assert (said.finish_reason, said.message.content) == ("stop", "The result is 7 and 11.")


def test_a_streamed_text_is_the_text_sent_whole(sim: Sim, glm: Glm) -> None:
    """Piece by piece; usage and finish reason come with the last."""
    client = glm.of(sim)
    whole = client.chat.completions.create(**ASKED)
    chunks = list(client.chat.completions.create(**ASKED, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


def test_streamed_reasoning_comes_before_the_text(sim: Sim, glm: Glm) -> None:
    """Of a model that thinks."""
    chunks = list(glm.of(sim).chat.completions.create(model="glm-4.6", messages=HELLO, stream=True))
    kinds = ["reasoning" if chunk.choices[0].delta.reasoning_content else "text" for chunk in chunks]
    assert kinds == sorted(kinds)
    assert kinds.count("reasoning") > 1


@pytest.mark.parametrize(("model", "fragments"), [("glm-4", False), ("glm-4.6", True)])
def test_streamed_tool_calls_add_up(sim: Sim, glm: Glm, model: str, fragments: bool) -> None:
    """Whole with older models, in fragments with newer ones that were asked for `tool_stream`."""
    stream = glm.of(sim).chat.completions.create(
        model=model, messages=SUM, tools=[ADD], stream=True, extra_body={"tool_stream": True}
    )
    pieces = [piece for chunk in stream for piece in chunk.choices[0].delta.tool_calls or ()]
    texts = {0: "", 1: ""}
    for piece in pieces:
        texts[piece.index] += piece.function.arguments
    assert [json.loads(text) for text in texts.values()] == [{"a": 3, "b": 4}, {"a": 5, "b": 6}]
    assert (len(pieces) > 2) is fragments
    assert [piece.function.name for piece in pieces if piece.id] == ["add", "add"]


def test_a_task_is_made_polled_and_fetched(start: Start, glm: Glm) -> None:
    """PROCESSING while it runs, its completion after, and it was billed once however often it is asked for."""
    clock = HandClock()
    sim = start("[latency]\ntask_ms = [5000, 5000]", clock)
    tasks = glm.of(sim).chat.asyncCompletions
    made = tasks.create(**ASKED, request_id="call-1")
    assert (made.task_status, made.request_id, made.model) == ("PROCESSING", "call-1", "glm-4")
    waiting = tasks.retrieve_completion_result(id=made.id)
    assert (type(waiting).__name__, waiting.task_status) == ("AsyncTaskStatus", "PROCESSING")
    clock.move(5)
    first, second = (tasks.retrieve_completion_result(id=made.id) for _ in range(2))
    for done in (first, second):
        assert (type(done).__name__, done.task_status, done.request_id) == ("AsyncCompletion", "SUCCESS", "call-1")
        assert done.choices[0].message.content
    assert [(booked["route"], booked["billed"]) for booked in sim.books()] == [
        ("submit", True), ("poll", False), ("poll", False), ("poll", False)
    ]  # fmt: skip
    assert second.usage.total_tokens == sim.books()[0]["total_tokens"]


def test_a_task_may_call_tools(sim: Sim, glm: Glm) -> None:
    """Their calls are in its result."""
    tasks = glm.of(sim).chat.asyncCompletions
    made = tasks.create(model="glm-4", messages=SUM, tools=[ADD])
    (choice,) = tasks.retrieve_completion_result(id=made.id).choices
    assert choice.finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments) for call in choice.message.tool_calls] == [
        {"a": 3, "b": 4}, {"a": 5, "b": 6}
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["bare", "object", "string"])
def test_a_failed_task_says_fail(start: Start, glm: Glm, form: str) -> None:
    """With its reason as an attribute of its own, where there is one."""
    tasks = glm.of(start(fault(59, rate=1.0, form=form))).chat.asyncCompletions
    failed = tasks.retrieve_completion_result(id=tasks.create(**ASKED).id)
    assert (type(failed).__name__, failed.task_status) == ("AsyncTaskStatus", "FAIL")
    error = getattr(failed, "error", None)
    assert {"bare": error is None, "object": isinstance(error, dict), "string": isinstance(error, str)}[form]


def test_a_system_message_alone_is_refused_in_the_words_of_the_guide(sim: Sim, glm: Glm) -> None:
    """The text that the API guide of 2024 prints, letter for letter."""
    with pytest.raises(glm.errors.APIRequestFailedError) as raised:
        glm.of(sim).chat.completions.create(model="glm-4", messages=[{"role": "system", "content": "Be short."}])
    assert str(raised.value) == (
        'Error code: 400, with error text {"error":{"code":"1214","message":"messages 参数非法。请检查文档。"}}'
    )


@pytest.mark.parametrize(
    ("struck", "error", "code"),
    [
        ({"behaviour": 18}, "APIReachLimitError", "1302"),
        ({"behaviour": 23}, "APIReachLimitError", "1305"),
        ({"behaviour": 24}, "APIReachLimitError", "1113"),
        ({"behaviour": 28, "status": 500}, "APIInternalError", "1200"),
        ({"behaviour": 28, "status": 503}, "APIServerFlowExceedError", "1230"),
        ({"behaviour": 71, "status": 434}, "APIStatusError", "434"),
        ({"behaviour": 65}, "APIRequestFailedError", "1301"),
        ({"behaviour": 33}, "APIConnectionError", ""),
        ({"behaviour": 35}, "APIConnectionError", ""),
    ],
)
def test_a_fault_raises_the_class_for_it(start: Start, glm: Glm, struck: dict[str, Any], error: str, code: str) -> None:
    """The class says the HTTP status; the code stands in the text and nowhere else."""
    sim = start(fault(rate=1.0, **struck))
    with pytest.raises(getattr(glm.errors, error)) as raised:
        glm.of(sim).chat.completions.create(**ASKED)
    assert type(raised.value).__name__ == error
    assert f'"code":"{code}"' in str(raised.value) if code else "Connection error" in str(raised.value)


def test_a_limit_is_tried_again(start: Start, glm: Glm) -> None:
    """1302 as HTTP 429: refused once, answered the second time."""
    sim = start(fault(18, first=1))
    assert glm.of(sim, max_retries=1).chat.completions.create(**ASKED).choices
    assert [booked["status"] for booked in sim.books()] == [429, 200]


@pytest.mark.parametrize("form", ["comments", "crlf", "no_space", "keep_alives", "split"])
def test_harmless_noise_in_a_stream_is_harmless(start: Start, glm: Glm, form: str) -> None:
    """Comments, line ends, empty frames and pieces of any size change no text."""
    quiet = glm.of(start()).chat.completions.create(**ASKED).choices[0].message.content
    stream = glm.of(start(fault(40, rate=1.0, form=form))).chat.completions.create(**ASKED, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == quiet


def test_an_error_frame_in_a_stream_is_raised(start: Start, glm: Glm) -> None:
    """After the text that came before it, with the error as data."""
    stream = glm.of(start(fault(41, rate=1.0, form="error_frame"))).chat.completions.create(**ASKED, stream=True)
    seen = []
    with pytest.raises(glm.errors.APIResponseError) as raised:
        seen.extend(stream)
    assert seen
    assert raised.value.json_data["code"] == "1301"


@pytest.mark.parametrize("as_jwt", [False, True])
def test_both_forms_of_the_key_are_accepted_and_checked(start: Start, glm: Glm, as_jwt: bool) -> None:
    """Raw, or as a token signed with its secret: the right secret passes, a wrong one does not."""
    sim = start(f'[keys]\nreader = "{KEY.partition(".")[2]}"')
    client = glm.of(sim, disable_token_cache=not as_jwt)
    assert client.chat.completions.create(**ASKED).choices
    wrong = glm.of(sim, api_key=KEY[:-8] + "fedcba98", disable_token_cache=not as_jwt)
    with pytest.raises(glm.errors.APIAuthenticationError, match='"code":"1004"' if as_jwt else '"code":"1002"'):
        wrong.chat.completions.create(**ASKED)
    answered, refused = sim.books()
    assert (answered["key_id"], answered["status"], refused["status"]) == ("reader", 200, 401)


def test_a_strict_reader_of_tokens_takes_theirs(start: Start, glm: Glm) -> None:
    """Their header says `sign_type`, which some samples leave out."""
    sim = start("strict_jwt = true")
    assert glm.of(sim, disable_token_cache=False).chat.completions.create(**ASKED).choices
