"""Conversations with tools at a service that refuses what real ones refuse in a history, also across a kill."""

from __future__ import annotations

import itertools
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted import Answer, Asked, reply, scripted, told
from tests.system.runs.conftest import Mill

TOOL = 'from batch import tool\n\n\n@tool\ndef add(a: int, b: int) -> int:\n    """Add."""\n    return a + b\n'


def refused(messages: list[dict[str, Any]]) -> str | None:
    """What a strict service finds wrong with a history."""
    ids: list[str] = []
    open_ids: set[str] = set()
    last_user = max(at for at, message in enumerate(messages) if message["role"] == "user")
    for at, message in enumerate(messages):
        calls = message.get("tool_calls")
        if calls == [] or message.get("name") == "" or message.get("function_call", 1) is None:
            return f"message {at} has an empty member"
        if message["role"] == "tool" and message["tool_call_id"] not in open_ids:
            return f"message {at} answers no call"
        open_ids.discard(message.get("tool_call_id", ""))
        for call in calls or ():
            arguments = call["function"]["arguments"]
            if not isinstance(arguments, str) or not isinstance(json.loads(arguments), dict):
                return f"message {at}: arguments"
            ids.append(call["id"])
            open_ids.add(call["id"])
        if calls and at > last_user and "reasoning_content" not in message:
            return f"message {at} lacks its reasoning_content"
        if at < last_user and "reasoning_content" in message:
            return f"message {at} has a reasoning_content"
    return "ids repeat" if len(set(ids)) < len(ids) else f"no result of {open_ids}" if open_ids else None


def serve(asked: Asked) -> Answer:
    messages = asked.body["messages"]
    if (why := refused(messages)) is not None:
        return told({"error": {"message": why, "type": "invalid_request_error"}}, 400)
    turn = sum(message["role"] == "assistant" for message in messages[-7:] if "tool_calls" in message)
    if turn == 3:
        return reply(f"{asked.n}: {messages[-1]['content']}", message={"reasoning_content": "so"})
    arguments: Any = ['{"a": 1, "b"', '{"a": 1, "b": 2}', {"a": 3, "b": 4}][turn]
    call = {"id": "call_0", "type": "function", "function": {"name": "add", "arguments": arguments}}
    if turn == 2:
        del call["id"]
    return reply(None, "tool_calls", message={"reasoning_content": "", "tool_calls": [call]})


class ChatMill(Mill):
    """A job whose rows hold whole conversations, in the column `chat`."""

    def save(self) -> Path:
        path = super().save() / "job.toml"
        path.write_text(path.read_text("utf-8").replace('user = "{{ question }}"', 'messages = "chat"'), "utf-8")
        return self.folder


@pytest.mark.parametrize("lane", ["sync", "stream"])
def test_what_a_strict_service_refuses_in_a_history_is_not_sent(tmp_path: Path, lane: str) -> None:
    """FIELD 25: broken arguments, an object, ids that repeat, reasoning left out: HTTP 400 and a permanent failure."""
    with scripted(serve) as server:
        mill = Mill(tmp_path, server.url, provider="deepseek", lane=lane, model="deepseek-chat")
        mill.environ["DEEPSEEK_API_KEY"] = "sk-9f3b2c7d81e64a05b7d2"
        mill.tools = TOOL
        mill.questions(3)
        assert mill.run().exit_code == 0
        assert mill.results() == [(n, f"{n}: 7") for n in range(3)]
        kept = json.loads(mill.one("messages")[0])
        assert kept[0]["tool_calls"][0]["function"]["arguments"] == '{"a": 1, "b"', (
            "the table shows what the model said"
        )
        assert len(server.seen) == 12


def test_a_conversation_that_is_continued_after_a_kill_sends_the_same_ids(tmp_path: Path) -> None:
    """FIELD 25: names are made from the messages alone, so the journal gives them again."""
    with scripted(serve) as server:
        mill = Mill(tmp_path, server.url, provider="deepseek", model="deepseek-chat")
        mill.environ["DEEPSEEK_API_KEY"] = "sk-9f3b2c7d81e64a05b7d2"
        mill.tools = TOOL
        mill.questions(1)
        assert mill.command(failpoint="tool.committed:2")[0] == -signal.SIGKILL
        assert mill.run().exit_code == 0
        assert mill.results() == [(0, "0: 7")]
        histories = [asked.body["messages"] for asked in server.seen]
        assert all(later[: len(earlier)] == earlier for earlier, later in itertools.pairwise(histories))


def test_a_messages_column_with_all_that_is_refused_is_answered(tmp_path: Path) -> None:
    """FIELD 25: `tool_calls: []`, `name: ""`, `function_call: null`, arguments as an object, earlier reasoning."""
    call = {"id": "call_0", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    turn = [
        {"role": "user", "content": "Before", "name": ""},
        {"role": "assistant", "content": None, "tool_calls": [call], "function_call": None, "reasoning_content": ""},
        {"role": "tool", "content": "3", "tool_call_id": "call_0", "name": ""},
        {"role": "assistant", "content": "3", "tool_calls": [], "reasoning_content": "so"},
    ]
    with scripted(lambda asked: serve(asked) if refused(asked.body["messages"]) else reply()) as server:
        mill = ChatMill(tmp_path, server.url, provider="deepseek", model="deepseek-chat")
        mill.environ["DEEPSEEK_API_KEY"] = "sk-9f3b2c7d81e64a05b7d2"
        mill.write([{"n": 0, "chat": [*turn, *turn, {"role": "user", "content": "the number 0"}]}])
        assert mill.run().exit_code == 0
        assert mill.results() == [(0, "fine")]
