"""`batch.providers.history`: what services refuse in the history of a conversation is mended on its way out."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.records import Incoming, Message, Reply, Request
from batch.prompts import conversation, steps
from batch.providers import history, registry
from tests.providers.test_folding import DONE, OPENAI, chunk, frame, reply, said, spoken

SERVICES = ["openai", "glm", "deepseek", "moonshot"]
ASKED: Message = {"role": "user", "content": "1 + 2?"}


def sent(messages: list[Message], provider: str = "openai", **more: Any) -> list[Any]:
    """The messages in the body that goes out; the ones handed in stay as they are."""
    before = copy.deepcopy(messages)
    dialect = spoken(provider)
    body = json.loads(dialect.chat(Request(model="m", messages=messages, **more), "id").body or b"")
    assert messages == before
    return list(body["messages"])


def call(arguments: Any = "{}", call_id: str = "a", name: str = "f") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def asking(*calls: dict[str, Any], **more: Any) -> Message:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **more}


def result(call_id: str = "a", content: str = "3") -> Message:
    return {"role": "tool", "content": content, "tool_call_id": call_id}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"a": 1}', '{"a": 1}'),
        (' {"n": 53195444847186410, "x": 1e400, "s": "\\ud800"} ', None),
        ("", "{}"),
        ("null", "{}"),
        ("[1]", "{}"),
        ('{"a": 1', "{}"),
        ("{'a': 1}", "{}"),
        ('```json\n{"a": 1}\n```', "{}"),
        ('{"a": NaN}', "{}"),
        ("[" * 100_000, "{}"),
        ('"{\\"a\\": 1}"', '{"a": 1}'),
        ({"a": 1, "b": "三"}, '{"a":1,"b":"三"}'),
        ([1], "{}"),
        (None, "{}"),
    ],
)
def test_arguments_are_sent_back_as_the_json_text_of_an_object(arguments: Any, expected: str | None) -> None:
    """FIELD 25: broken ones went back verbatim, an object as an object: a permanent failure of the row."""
    found = sent([ASKED, asking(call(arguments)), result()])
    assert found[1]["tool_calls"] == [call(arguments if expected is None else expected)]


def test_what_the_model_said_stays_in_the_conversation_as_it_came() -> None:
    """FIELD 25: the journal and the results show the raw text; the model sees that its call had none."""
    broken = {"role": "assistant", "content": None, "tool_calls": [call('{"a": 1')]}
    answer = OPENAI.read_chat(
        Incoming(200, {}, json.dumps({"choices": [{"message": broken, "finish_reason": "tool_calls"}]}).encode())
    )
    assert isinstance(answer, Reply)
    rules = steps.Rules(tools=True)
    talk, action = conversation.after_reply(steps.start([ASKED]), answer, rules, model_asked="m")
    assert isinstance(action, steps.RunTools)
    assert action.calls[0].arguments == '{"a": 1'
    talk = conversation.after_tools(talk, action.calls, ["no JSON"])
    assert json.loads(talk.kept("turns") or "")[0]["tool_calls"] == [call('{"a": 1')]
    assert sent(list(talk.messages))[1]["tool_calls"] == [call("{}")]


def test_ids_differ_in_the_whole_conversation() -> None:
    """FIELD 25: models that count from 0 in every turn, and our own `call_0`; results follow their call."""
    talk = [ASKED]
    for turn in range(3):
        talk += [
            asking(call(call_id="call_0"), call(call_id="call_1")),
            result("call_1", f"b{turn}"),
            result("call_0", f"a{turn}"),
        ]
    found = sent(talk)
    ids = [[one["id"] for one in message["tool_calls"]] for message in found if "tool_calls" in message]
    assert ids == [["call_0", "call_1"], ["call_0-2", "call_1-2"], ["call_0-3", "call_1-3"]]
    assert [m["tool_call_id"] for m in found if m["role"] == "tool"] == [i for a, b in ids for i in (b, a)]


def test_two_calls_of_one_turn_under_one_id_get_their_results_in_order() -> None:
    """FIELD 25: as a column of messages may hold them."""
    found = sent([ASKED, asking(call(call_id="x"), call(call_id="x")), result("x", "1"), result("x", "2")])
    assert [one["id"] for one in found[1]["tool_calls"]] == ["x", "x-2"]
    assert [message["tool_call_id"] for message in found[2:]] == ["x", "x-2"]


IDS = st.sampled_from(["", "a", "a-2", "a-3", "call_0", "b" * 40, "b" * 41, "c" * 300])


@given(turns=st.lists(st.lists(IDS, min_size=1, max_size=3), max_size=5), more=st.lists(IDS, min_size=1, max_size=2))
@settings(deadline=None, max_examples=100)
def test_ids_are_unique_short_enough_and_never_change(turns: list[list[str]], more: list[str]) -> None:
    """FIELD 25: the same after a crash, and whatever is added: a cache of prompts sees the same beginning."""
    talk = [ASKED]
    for calls in turns:
        talk += [asking(*(call(call_id=name) for name in calls)), *(result(name) for name in calls)]
    found = sent(talk)
    ids = [one["id"] for message in found for one in message.get("tool_calls", ())]
    assert len(set(ids)) == len(ids)
    assert all(0 < len(name) <= 40 for name in ids)
    assert [message["tool_call_id"] for message in found if message["role"] == "tool"] == ids
    assert sent(talk) == found
    longer = [*talk, asking(*(call(call_id=name) for name in more)), *(result(name) for name in more)]
    assert sent(longer)[: len(found)] == found


@pytest.mark.parametrize("provider", SERVICES)
@pytest.mark.parametrize(
    "empty",
    [{"tool_calls": []}, {"name": ""}, {"function_call": None}, {"annotations": []}, {"refusal": None, "audio": {}}],
)
def test_empty_members_are_left_out(provider: str, empty: dict[str, Any]) -> None:
    """FIELD 25: of a messages column; services refuse a list without calls and a name without letters."""
    history = [ASKED, {"role": "assistant", "content": "3", **empty}, {"role": "user", "content": "And?", "name": ""}]
    assert sent(history, provider) == [
        ASKED,
        {"role": "assistant", "content": "3"},
        {"role": "user", "content": "And?"},
    ]
    assert sent([{"role": "user", "content": "", "name": "Ann"}]) == [{"role": "user", "content": "", "name": "Ann"}]


@pytest.mark.parametrize("provider", ["glm", "deepseek", "moonshot"])
@pytest.mark.parametrize("reasoning", ["hm", ""])
def test_reasoning_goes_back_while_its_tools_are_at_work_and_not_later(provider: str, reasoning: str) -> None:
    """FIELD 25: DeepSeek refuses a tool turn without it, an empty one too, and refuses it in later user turns."""
    turn = [ASKED, asking(call(), reasoning_content=reasoning), result()]
    assert sent(turn, provider)[1]["reasoning_content"] == reasoning
    later = [
        *turn,
        {"role": "assistant", "content": "3", "reasoning_content": "so"},
        {"role": "user", "content": "And?"},
    ]
    assert "reasoning_content" not in json.dumps(sent(later, provider))
    again = [*later, asking(call(), reasoning_content="hm"), result()]
    assert [message.get("reasoning_content") for message in sent(again, provider)] == [None] * 5 + ["hm", None]


def test_reasoning_stays_where_a_job_asks_that_it_be_kept() -> None:
    """FIELD 25: with `clear_thinking = false` GLM wants all of it back."""
    later = [
        ASKED,
        {"role": "assistant", "content": "3", "reasoning_content": "so"},
        {"role": "user", "content": "And?"},
    ]
    assert sent(later, "glm", parameters={"thinking": {"type": "enabled", "clear_thinking": False}}) == later
    assert sent(later, "openai") == later, "a column that holds it, and a service of which nothing is known"


@pytest.mark.parametrize("lane", ["sync", "stream"])
@pytest.mark.parametrize("reasoning", ["", "hm", None])
def test_an_empty_reasoning_of_a_tool_turn_is_kept_and_one_that_never_came_is_not_made(
    reasoning: str | None, lane: str
) -> None:
    """FIELD 25: `reasoning_content: ""` was left out, and the next turn refused for good."""
    dialect = spoken("deepseek")
    message = {"content": "", "reasoning_content": reasoning, "tool_calls": [call(call_id="a")]}
    if lane == "sync":
        body = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
        found = dialect.read_chat(Incoming(200, {}, json.dumps(body).encode()))
    else:
        found = reply(frame(chunk(message)), said(None, "tool_calls"), DONE, dialect=dialect)
    assert isinstance(found, Reply)
    assert found.message.get("reasoning_content") == reasoning
    assert ("reasoning_content" in found.message) == (reasoning is not None)
    plain = {"choices": [{"message": {"content": "x", "reasoning_content": ""}, "finish_reason": "stop"}]}
    answer = dialect.read_chat(Incoming(200, {}, json.dumps(plain).encode()))
    assert isinstance(answer, Reply)
    assert answer.message == {"role": "assistant", "content": "x"}


def test_names_that_no_service_takes_are_sent_as_ones_that_it_does() -> None:
    """FIELD 25: a name that the model made up; one that is offered stays as it is."""
    names = ["f", "functions.add", "", "加 法", "x" * 80, "own.tool"]
    tools = {"tools": [{"type": "function", "function": {"name": "own.tool"}}]}
    found = sent([ASKED, asking(*(call(call_id=str(n), name=name) for n, name in enumerate(names)))], parameters=tools)
    told = [one["function"]["name"] for one in found[1]["tool_calls"]]
    assert told == ["f", "functions_add", "unknown", "___", "x" * 64, "own.tool"]


PLAIN: list[list[Message]] = [
    [{"role": "system", "content": "Add."}, ASKED],
    [{"role": "user", "content": [{"type": "text", "text": ""}]}],
    [ASKED, {"role": "assistant", "content": "3"}, {"role": "user", "content": "And?"}],
    [ASKED, asking(call(), call('{"n": 1}', "b")), result("b"), result("a"), {"role": "assistant", "content": ""}],
    [ASKED, {"role": "tool", "content": "4", "tool_call_id": "of no call"}],
    [ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}, "odd"]}],
]


@pytest.mark.parametrize("provider", SERVICES)
@pytest.mark.parametrize("messages", PLAIN)
def test_a_history_without_a_fault_goes_out_as_it_is(provider: str, messages: list[Message]) -> None:
    """FIELD 25: nothing is mended that is not broken."""
    assert sent(messages, provider) == messages


def test_messages_of_a_prompt_are_not_even_copied() -> None:
    """The usual request has a system and a user message; there are millions of them."""
    request = Request(model="m", messages=PLAIN[0])
    service = registry.dialect("openai", base_url=None, key="k")[0].service
    assert history.sendable(service, request) is request.messages
