"""The dialects and the client against the simulator over real sockets; its books say what was billed."""

from __future__ import annotations

import json

import anyio
import httpx
import pytest

from batch.core.records import Accepted, Failure, Processing, Reply, Request
from batch.http.client import Client
from batch.providers import registry
from batch.providers.base import Dialect

ASK = [{"role": "user", "content": "Say something about 天气."}]
SUM = [{"role": "user", "content": "What is 1250908070 times 42525463?"}]
MULTIPLY = {
    "type": "function",
    "function": {
        "name": "multiply",
        "description": "Multiply two numbers",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}


def spoken(simulator: str, name: str) -> tuple[Dialect, Client]:
    if name == "glm":
        dialect, base = registry.dialect("simulator", base_url=simulator.rstrip("/") + "/api/paas/v4", key=None)
    else:
        dialect, base = registry.dialect("openai", base_url=simulator.rstrip("/") + "/v1", key="sk-simulator0123456789")
    return dialect, Client(base, call_timeout_s=20)


def booked(simulator: str, call_id: str) -> dict[str, object]:
    """The simulator's line about the call we named."""
    books = httpx.get(simulator.rstrip("/") + "/_sim/books", trust_env=False).json()
    return next(line for line in books if line["client_call_id"] == call_id)


@pytest.mark.parametrize("name", ["glm", "openai"])
async def test_a_chat_comes_back_with_the_usage_the_provider_books(simulator: str, name: str) -> None:
    """Our id is in its books, and its tokens are our tokens."""
    dialect, wire = spoken(simulator, name)
    model = "glm-4" if name == "glm" else "gpt-5-mini"
    call_id = f"chat-{name}-{id(wire)}"
    result = dialect.read_chat(await wire.exchange(dialect.chat(Request(model=model, messages=ASK), call_id)))
    assert isinstance(result, Reply)
    assert result.content
    assert result.finish_reason == "stop"
    assert result.usage is not None
    line = booked(simulator, call_id)
    assert line["billed"]
    assert line["total_tokens"] == result.usage.total_tokens
    await wire.aclose()


@pytest.mark.parametrize("name", ["glm", "openai"])
async def test_a_round_of_tools_is_understood_by_both_sides(simulator: str, name: str) -> None:
    """The replayed assistant message and the tool message are accepted, and big integers stay exact."""
    dialect, wire = spoken(simulator, name)
    request = Request(model="glm-4", messages=SUM, tools=(MULTIPLY,))
    first = dialect.read_chat(await wire.exchange(dialect.chat(request, f"tool-1-{id(wire)}")))
    assert isinstance(first, Reply)
    assert first.finish_reason == "tool_calls"
    (call,) = first.tool_calls
    assert call.name == "multiply"
    arguments = json.loads(call.arguments)
    product = str(arguments["a"] * arguments["b"])
    assert product == "53195444847186410"
    messages = [*SUM, first.message, {"role": "tool", "tool_call_id": call.id, "content": product}]
    last = Request(model="glm-4", messages=messages, tools=(MULTIPLY,))
    second = dialect.read_chat(await wire.exchange(dialect.chat(last, f"tool-2-{id(wire)}")))
    assert isinstance(second, Reply)
    assert second.finish_reason == "stop"
    assert product in (second.content or "")
    await wire.aclose()


async def test_a_task_is_submitted_polled_and_collected(simulator: str) -> None:
    """Accepted, then processing, then the reply with its usage; an id that is not known is a lost task."""
    dialect, wire = spoken(simulator, "glm")
    request = Request(model="glm-4", messages=ASK)
    taken = dialect.read_submit(await wire.exchange(dialect.submit(request, f"task-{id(wire)}")))
    assert isinstance(taken, Accepted)
    states = []
    with anyio.fail_after(60):
        while True:
            state = dialect.read_poll(await wire.exchange(dialect.poll(taken.task_id)))
            states.append(state)
            if not isinstance(state, Processing):
                break
            await anyio.sleep(0.02)
    assert isinstance(states[0], Processing)
    assert isinstance(states[-1], Reply)
    assert states[-1].usage is not None
    lost = dialect.read_poll(await wire.exchange(dialect.poll("no-such-task")))
    assert isinstance(lost, Failure)
    assert (lost.kind, lost.verdict) == ("task", "once")
    await wire.aclose()


@pytest.mark.parametrize("name", ["glm", "openai"])
async def test_refusals_have_the_kind_of_the_real_services(simulator: str, name: str) -> None:
    """No messages to answer, and a key that cannot be one."""
    dialect, wire = spoken(simulator, name)
    only_system = Request(model="glm-4", messages=[{"role": "system", "content": "x"}] if name == "glm" else [])
    refused = dialect.read_chat(await wire.exchange(dialect.chat(only_system, f"bad-{id(wire)}")))
    assert isinstance(refused, Failure)
    assert (refused.kind, refused.verdict, refused.answered) == ("bad_request", "fail", True)
    stranger, _ = registry.dialect("vllm" if name == "openai" else "simulator", base_url=wire.base_url, key="")
    denied = stranger.read_chat(await wire.exchange(stranger.chat(Request(model="glm-4", messages=ASK), "x")))
    assert isinstance(denied, Failure)
    assert (denied.kind, denied.verdict, denied.http_status) == ("auth", "stop", 401)
    await wire.aclose()
