"""What tests of streams share: a reader of server-sent events by the standard, and the answer put together again."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tests.simulator.conftest import GLM, OPENAI

if TYPE_CHECKING:
    from tests.simulator.conftest import Sim

DIALECTS = ("glm", "openai")
ASKED = "请问 hello 你好 world"


def body_of(dialect: str, asked: Any = ASKED, **more: Any) -> dict[str, Any]:
    """A request for a stream, with usage, of a model that does not think."""
    usual = {"model": "glm-4"} if dialect == "glm" else {"model": "gpt-4o", "stream_options": {"include_usage": True}}
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    return {**usual, "stream": True, "messages": messages, **more}


def path_of(dialect: str) -> str:
    return (GLM if dialect == "glm" else OPENAI) + "/chat/completions"


def streamed(sim: Sim, dialect: str, asked: Any = ASKED, **more: Any) -> bytes:
    """The bytes of a stream that ends in peace."""
    answer = sim.post(path_of(dialect), body_of(dialect, asked, **more), key="sk-a.b")
    assert answer.status_code == 200, answer.text
    return answer.content


def events(read: bytes) -> list[str]:
    """The data of each event that was closed by an empty line, by the rules of the standard."""
    lines = re.split("\r\n|\n|\r", read.decode().removeprefix("\ufeff"))
    found: list[str] = []
    data: list[str] = []
    for line in lines[:-1]:
        name, _, value = line.partition(":")
        if not line and data:
            found.append("\n".join(data))
            data = []
        elif name == "data":
            data.append(value.removeprefix(" "))
    return found


def chunks(read: bytes) -> list[dict[str, Any]]:
    """The chunks of a whole stream, which ends with `[DONE]`."""
    *found, done = events(read)
    assert done == "[DONE]"
    return [json.loads(one) for one in found]


def together(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Texts, calls, finish reason and usage of the chunks, pieces joined."""
    whole: dict[str, Any] = {"content": "", "reasoning": "", "calls": [], "finish": None, "usage": None}
    for chunk in found:
        whole["usage"] = chunk.get("usage") or whole["usage"]
        for choice in chunk["choices"]:
            whole["finish"] = choice.get("finish_reason") or whole["finish"]
            delta = choice["delta"]
            whole["content"] += delta.get("content") or ""
            whole["reasoning"] += delta.get("reasoning_content") or ""
            for part in delta.get("tool_calls") or ():
                if part["index"] == len(whole["calls"]):
                    assert part["type"] == "function"
                    whole["calls"].append([part["id"], part["function"]["name"], ""])
                whole["calls"][part["index"]][2] += part["function"]["arguments"]
    return whole


def sent_whole(sim: Sim, dialect: str, asked: Any = ASKED, **more: Any) -> dict[str, Any]:
    """The same of the answer to the same request without a stream."""
    body = {name: value for name, value in body_of(dialect, asked, **more).items() if not name.startswith("stream")}
    answer = sim.post(path_of(dialect), body, key="sk-a.b").json()
    (choice,) = answer["choices"]
    message = choice["message"]
    return {
        "content": message["content"] or "",
        "reasoning": message.get("reasoning_content") or "",
        "calls": [[c["id"], c["function"]["name"], c["function"]["arguments"]] for c in message.get("tool_calls", ())],
        "finish": choice["finish_reason"],
        "usage": answer["usage"],
    }
