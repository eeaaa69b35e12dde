"""The openai package, unmodified, against the simulator over sockets: what it can do, it does."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest

from tests.simulator.conftest import OPENAI, Sim, Start
from tests.simulator.struck import fault
from tests.system.clients.asked import ADD, HELLO, SUM
from tests.system.clients.conftest import OPENAI_KEY, Client

ASKED: dict[str, Any] = {"model": "gpt-4o", "messages": HELLO}


def test_a_chat_is_read_into_its_own_types(sim: Sim, connect: Client) -> None:
    """Text, finish reason and usage are there, and the usage is the one in the books."""
    answer = connect(sim).chat.completions.create(**ASKED, extra_headers={"X-Client-Request-Id": "call-1"})
    assert isinstance(answer, openai.types.chat.ChatCompletion)
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.role) == ("stop", "assistant")
    assert choice.message.content
    (booked,) = sim.books()
    assert (booked["client_call_id"], booked["billed"], booked["delivered"]) == ("call-1", True, True)
    assert answer.usage is not None
    assert answer.usage.total_tokens == booked["total_tokens"]
    assert answer._request_id is not None
    assert answer._request_id.startswith("req_")


def test_every_answer_holds_to_its_schema(sim: Sim, connect: Client) -> None:
    """With strict validation of responses, which raises for a field of another type."""
    client = connect(sim, _strict_response_validation=True)
    client.chat.completions.create(**ASKED)
    client.chat.completions.create(model="gpt-4o", messages=SUM, tools=[ADD])
    assert [model.id for model in client.models.list()]
    with client.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True}) as stream:
        assert len(list(stream)) > 5


def test_tool_calls_go_there_and_back(sim: Sim, connect: Client) -> None:
    """Two calls at once, their results, and the answer made of them."""
    client, messages = connect(sim), list(SUM)
    asked = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[ADD]).choices[0]
    assert asked.finish_reason == "tool_calls"
    calls = asked.message.tool_calls or []
    assert len(calls) == 2
    messages.append(asked.message.model_dump(exclude_none=True))
    for call in calls:
        assert call.type == "function"
        result = str(sum(json.loads(call.function.arguments).values()))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    said = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[ADD]).choices[0]
    assert (said.finish_reason, said.message.content) == ("stop", "The result is 7 and 11.")


def test_a_streamed_text_is_the_text_sent_whole(sim: Sim, connect: Client) -> None:
    """Piece by piece; the usage that was asked for comes last, without choices."""
    client = connect(sim)
    whole = client.chat.completions.create(**ASKED)
    with client.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True}) as stream:
        *chunks, last = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert (last.choices, last.usage) == ([], whole.usage)


def test_its_own_stream_helper_puts_tool_calls_together(sim: Sim, connect: Client) -> None:
    """Arguments come in fragments; the helper adds them up and parses them."""
    asked: dict[str, Any] = {"model": "gpt-4o", "messages": SUM, "tools": [ADD]}
    options: Any = {"include_usage": True}
    with connect(sim).chat.completions.stream(**asked, stream_options=options) as stream:
        fragments = [event for event in stream if event.type == "tool_calls.function.arguments.delta"]
        final = stream.get_final_completion()
    assert len(fragments) > 6
    calls = final.choices[0].message.tool_calls or []
    assert [call.function.parsed_arguments for call in calls] == [{"a": 3, "b": 4}, {"a": 5, "b": 6}]
    assert final.usage is not None
    assert final.usage.total_tokens == sim.books()[0]["total_tokens"]


async def test_the_async_client_does_the_same(sim: Sim) -> None:
    """Chat and stream over its other transport."""
    url = f"http://127.0.0.1:{sim.port}{OPENAI}"
    async with openai.AsyncOpenAI(api_key=OPENAI_KEY, base_url=url, max_retries=0) as client:
        whole = await client.chat.completions.create(**ASKED)
        async with await client.chat.completions.create(**ASKED, stream=True) as stream:
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(pieces) == whole.choices[0].message.content
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="gpt-4o", messages=[])


@pytest.mark.parametrize(
    ("change", "error", "code", "param"),
    [
        ({"api_key": "wrong"}, openai.AuthenticationError, "invalid_api_key", None),
        ({"model": "gpt-9"}, openai.NotFoundError, "model_not_found", None),
        ({"messages": []}, openai.BadRequestError, "missing_required_parameter", "messages"),
        ({"temperature": 3}, openai.BadRequestError, "invalid_value", "temperature"),
    ],
)
def test_a_refused_request_raises_the_class_for_it(
    start: Start, connect: Client, change: dict[str, Any], error: type[openai.APIStatusError], code: str, param: Any
) -> None:
    """401, 404 and 400, with the code and the parameter that the body names; nothing is billed."""
    sim = start('models = ["gpt-4o"]')
    change = dict(change)
    key = change.pop("api_key", OPENAI_KEY)
    with pytest.raises(error) as raised:
        connect(sim, api_key=key).chat.completions.create(**{**ASKED, **change})
    assert (raised.value.code, raised.value.param) == (code, param)
    assert raised.value.request_id is not None
    assert [booked["billed"] for booked in sim.books()] == [False]


@pytest.mark.parametrize(
    ("struck", "error", "code"),
    [
        ({"behaviour": 18}, openai.RateLimitError, "rate_limit_exceeded"),
        ({"behaviour": 24}, openai.RateLimitError, "insufficient_quota"),
        ({"behaviour": 28, "status": 500}, openai.InternalServerError, None),
        ({"behaviour": 23}, openai.InternalServerError, "server_is_overloaded"),
        ({"behaviour": 71, "status": 409}, openai.ConflictError, None),
        ({"behaviour": 71, "status": 422}, openai.UnprocessableEntityError, None),
        ({"behaviour": 72}, openai.APIStatusError, "invalid_request_error"),
        ({"behaviour": 33}, openai.APIConnectionError, None),
        ({"behaviour": 35}, openai.APIConnectionError, None),
    ],
)
def test_a_fault_raises_the_class_for_it(
    start: Start, connect: Client, struck: dict[str, Any], error: type[openai.APIError], code: str | None
) -> None:
    """Limiter, money, overload, rare statuses and broken connections."""
    sim = start(fault(rate=1.0, **struck))
    with pytest.raises(error) as raised:
        connect(sim).chat.completions.create(**ASKED)
    assert raised.value.code == code


def test_a_limit_is_waited_out_as_its_headers_say(start: Start, connect: Client) -> None:
    """`retry-after-ms` goes before `Retry-After`: two refusals of 30 ms, not of 20 s."""
    sim = start(fault(21, first=2, milliseconds=30, seconds=20))
    began = time.monotonic()
    connect(sim, max_retries=2).chat.completions.create(**ASKED)
    assert 0.06 <= time.monotonic() - began < 10
    assert [booked["status"] for booked in sim.books()] == [429, 429, 200]


def test_a_limit_of_the_simulator_itself_is_waited_out(start: Start, connect: Client) -> None:
    """120 requests a minute with room for one: what comes too early passes after the half second it is told to wait."""
    sim = start("[limits]\nrpm = 120\nburst_s = 0.5")
    client = connect(sim, max_retries=3)
    for _ in range(3):
        client.chat.completions.create(**ASKED)
    statuses = [booked["status"] for booked in sim.books()]
    assert statuses.count(200) == 3
    assert set(statuses) == {200, 429}


def test_a_broken_connection_is_tried_again(start: Start, connect: Client) -> None:
    """By the client's own back-off of half a second."""
    sim = start(fault(33, first=1))
    assert connect(sim, max_retries=1).chat.completions.create(**ASKED).choices
    assert len(sim.books()) == 2


@pytest.mark.parametrize("form", ["comments", "crlf", "no_space", "keep_alives", "bom", "line_separator", "split"])
def test_harmless_noise_in_a_stream_is_harmless(start: Start, connect: Client, form: str) -> None:
    """Its reader goes by the standard: the text is whole whatever stands between the frames."""
    quiet = connect(start()).chat.completions.create(**ASKED).choices[0].message.content or ""
    noisy = connect(start(fault(40, rate=1.0, form=form)))
    with noisy.chat.completions.create(**ASKED, stream=True) as stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text.replace("\u2028", "").replace("\u2029", "") == quiet


@pytest.mark.parametrize(
    ("form", "code"), [("error_frame", "content_filter"), ("network_error", None)]
)  # fmt: skip
def test_an_error_in_a_stream_is_raised(start: Start, connect: Client, form: str, code: str | None) -> None:
    """After the text that came before it."""
    stream = connect(start(fault(41, rate=1.0, form=form))).chat.completions.create(**ASKED, stream=True)
    seen = []
    with stream, pytest.raises(openai.APIError) as raised:
        seen.extend(stream)
    assert seen
    assert raised.value.code == code


def test_what_the_simulator_does_not_have_is_404_with_its_name(sim: Sim, connect: Client) -> None:
    """Embeddings and the Responses API are not part of it, and the client is told so."""
    client = connect(sim)
    for use in (client.embeddings, client.responses):
        with pytest.raises(openai.NotFoundError, match="Unknown request URL: POST /v1/") as raised:
            use.create(model="gpt-4o", input="hello")
        assert raised.value.code == "unknown_url"
