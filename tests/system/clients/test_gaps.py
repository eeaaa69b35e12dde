"""What the official clients get wrong or cannot do, each shown once: the reason for a client of our own.

Every test states what the client does today. One that fails after an upgrade is good news: the gap is closed, and its
test can go.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.simulator.conftest import Sim, Start
from tests.simulator.struck import fault
from tests.system.clients.asked import ADD, HELLO, SUM
from tests.system.clients.conftest import BRANDS, KEY, Client, Glm

Asks = Callable[..., Any]


@pytest.fixture(params=["openai", *BRANDS])
def ask(request: pytest.FixtureRequest, start: Start, connect: Client) -> Iterator[Asks]:
    """A chat of each client with a simulator on which one fault always strikes: `ask(behaviour, stream=…, form=…)`."""
    with ExitStack() as open_clients:
        brand = None if request.param == "openai" else Glm(request.param, open_clients)

        def one(behaviour: int, *, messages: Any = HELLO, options: Any = None, **fields: Any) -> Any:
            sim = start(fault(behaviour, rate=1.0, **(options or {})))
            client = brand.of(sim) if brand else connect(sim)
            model = "glm-4" if brand else "gpt-4o"
            return client.chat.completions.create(model=model, messages=messages, **fields)

        yield one


def texts(stream: Any) -> list[str]:
    """The pieces of text of a stream, and its finish reasons in angle brackets."""
    found = []
    for chunk in stream:
        for choice in chunk.choices or ():
            found.append(choice.delta.content or "")
            if choice.finish_reason:
                found.append(f"<{choice.finish_reason}>")
    return found


def test_an_html_page_is_given_back_as_a_string(ask: Asks) -> None:
    """A captive portal's sign-in page with HTTP 200 is no completion and no exception."""
    answer = ask(30)
    assert isinstance(answer, str)
    assert answer.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("behaviour", [31, 32])
def test_an_error_in_http_200_is_given_back_as_an_empty_object(ask: Asks, behaviour: int) -> None:
    """`{"error": …}` and GLM's `404 NOT_FOUND` become a completion of which every field is None."""
    answer = ask(behaviour)
    assert (answer.id, answer.choices, answer.usage) == (None, None, None)


@pytest.mark.parametrize("form", ["empty", "invalid", "truncated"])
def test_a_broken_body_raises_an_error_of_the_json_module(ask: Asks, form: str) -> None:
    """Not one of the client's own classes: `except APIError` does not catch it, and it is not tried again."""
    with pytest.raises(json.JSONDecodeError):
        ask(45, options={"form": form})


def test_arguments_that_are_an_object_break_the_promised_type(ask: Asks) -> None:
    """The field is declared a text; whoever parses it gets a TypeError."""
    answer = ask(55, options={"form": "object_arguments"}, messages=SUM, tools=[ADD])
    (arguments, *_) = [call.function.arguments for call in answer.choices[0].message.tool_calls]
    assert arguments == {"a": 3, "b": 4}


def test_json_in_answer_to_a_stream_request_is_a_stream_of_nothing(ask: Asks) -> None:
    """A whole answer, billed and delivered, and not one chunk of it."""
    assert texts(ask(42, stream=True)) == []


def test_a_stream_cut_between_two_frames_ends_like_a_whole_one(ask: Asks) -> None:
    """No finish reason, no exception."""
    pieces = texts(ask(36, stream=True))
    assert pieces
    assert not any(piece.startswith("<") for piece in pieces)


@pytest.mark.parametrize("form", ["inside", "unclosed"])
def test_half_a_frame_is_dropped_in_silence(ask: Asks, form: str) -> None:
    """A connection closed within a frame: what had come of it is thrown away, no exception."""
    pieces = texts(ask(38, options={"form": form}, stream=True))
    assert pieces
    assert not any(piece.startswith("<") for piece in pieces)


@pytest.mark.parametrize("form", ["glued", "cut_glued", "bad_json"])
def test_one_bad_frame_ends_the_stream_with_an_error_of_the_json_module(ask: Asks, form: str) -> None:
    """Also where both halves of the line could be read."""
    with pytest.raises(json.JSONDecodeError):
        texts(ask(39, options={"form": form}, stream=True))


def test_an_unknown_finish_reason_passes_the_declared_types(ask: Asks) -> None:
    """Nothing is validated unless asked for."""
    assert ask(49, options={"form": "unknown"}).choices[0].finish_reason == "paused_for_review"


def test_another_model_is_taken_without_a_word(ask: Asks) -> None:
    """Whoever does not compare the names does not know who answered."""
    assert ask(50, options={"served": "smaller-one"}).model == "smaller-one"


def test_an_empty_account_is_asked_again_and_again(start: Start, connect: Client) -> None:
    """openai: `insufficient_quota` is a 429 like any other, tried again after half a second."""
    sim = start(fault(24, first=1))
    assert connect(sim, max_retries=1).chat.completions.create(model="gpt-4o", messages=HELLO).choices
    assert [booked["status"] for booked in sim.books()] == [429, 200]


def test_a_retry_after_of_an_hour_means_no_retry_at_all(start: Start, connect: Client) -> None:
    """openai: what it will not wait for it does not try, although a later try would pass."""
    sim = start(fault(22, first=1, form="3600"))
    client = connect(sim, max_retries=2)
    with pytest.raises(Exception, match="Rate limit reached"):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert len(sim.books()) == 1


def test_no_money_is_tried_again_by_the_glm_clients_too(start: Start, glm: Glm) -> None:
    """1113 is a 429 and never passes; it is asked once for each try that is allowed."""
    sim = start(fault(24, rate=1.0))
    with pytest.raises(glm.errors.APIReachLimitError, match='"code":"1113"'):
        glm.of(sim, max_retries=1).chat.completions.create(model="glm-4", messages=HELLO)
    assert [booked["status"] for booked in sim.books()] == [429, 429]


def test_retry_after_is_not_heeded_by_the_glm_clients(start: Start, glm: Glm) -> None:
    """Told to come back in 30 seconds, they are back within two."""
    sim = start(fault(19, first=1, seconds=30))
    began = time.monotonic()
    assert glm.of(sim, max_retries=1).chat.completions.create(model="glm-4", messages=HELLO).choices
    assert time.monotonic() - began < 15
    assert [booked["status"] for booked in sim.books()] == [429, 200]


def test_a_token_that_has_expired_is_sent_again(start: Start, glm: Glm) -> None:
    """1003 asks for a fresh token; theirs comes from a cache of three minutes, and the 401 is final."""
    sim = start(fault(63, form="expired", first=1))
    client = glm.of(sim, disable_token_cache=False, max_retries=1)
    with pytest.raises(glm.errors.APIAuthenticationError, match='"code":"1003"'):
        client.chat.completions.create(model="glm-4", messages=HELLO)
    assert len(sim.books()) == 1


def test_a_key_of_the_wrong_form_raises_a_bare_exception_when_it_is_to_be_signed(sim: Sim, glm: Glm) -> None:
    """Neither of their classes nor a ValueError; nothing is sent."""
    client = glm.of(sim, api_key=KEY.replace(".", ""), disable_token_cache=False)
    with pytest.raises(Exception, match="(?i)invalid api.key") as raised:
        client.chat.completions.create(model="glm-4", messages=HELLO)
    assert type(raised.value) is Exception
    assert sim.books() == []


def test_a_redirect_is_an_error_to_the_glm_clients(start: Start, glm: Glm) -> None:
    """They follow none."""
    sim = start(fault(64, rate=1.0, status=307))
    with pytest.raises(glm.errors.APIStatusError, match="307"):
        glm.of(sim).chat.completions.create(model="glm-4", messages=HELLO)


def test_a_line_separator_in_a_streamed_text_breaks_the_glm_clients(start: Start, glm: Glm) -> None:
    """U+2028 is no line end of the standard, but one to their line reader: the frame is cut in two."""
    sim = start(fault(40, rate=1.0, form="line_separator"))
    with pytest.raises(json.JSONDecodeError):
        texts(glm.of(sim).chat.completions.create(model="glm-4", messages=HELLO, stream=True))


def test_a_byte_order_mark_costs_the_glm_clients_the_first_piece(start: Start, glm: Glm) -> None:
    """Its frame is not recognised and dropped in silence."""
    quiet = texts(glm.of(start()).chat.completions.create(model="glm-4", messages=HELLO, stream=True))
    sim = start(fault(40, rate=1.0, form="bom"))
    assert texts(glm.of(sim).chat.completions.create(model="glm-4", messages=HELLO, stream=True)) == quiet[1:]


@pytest.mark.parametrize("reason", ["sensitive", "network_error"])
def test_a_refusal_in_a_stream_is_only_a_finish_reason_to_the_glm_clients(start: Start, glm: Glm, reason: str) -> None:
    """Half a text and no exception."""
    sim = start(fault(41, rate=1.0, form=reason))
    pieces = texts(glm.of(sim).chat.completions.create(model="glm-4", messages=HELLO, stream=True))
    assert pieces[-1] == f"<{reason}>"
    assert len(pieces) > 2


def test_a_task_that_succeeded_without_choices_is_read_as_one_still_open(start: Start, glm: Glm) -> None:
    """SUCCESS, yet of the type for tasks in work: who waits for the other type waits for ever."""
    tasks = glm.of(start(fault(61, rate=1.0, form="no_choices"))).chat.asyncCompletions
    found = tasks.retrieve_completion_result(id=tasks.create(model="glm-4", messages=HELLO).id)
    assert (type(found).__name__, found.task_status) == ("AsyncTaskStatus", "SUCCESS")


def test_a_service_the_simulator_does_not_have_is_an_empty_object_to_the_glm_clients(sim: Sim, glm: Glm) -> None:
    """Embeddings: GLM says 404 within HTTP 200, as on the live service, and they take it for an answer."""
    answer = glm.of(sim).embeddings.create(model="embedding-3", input="hello")
    assert (answer.data, answer.usage) == (None, None)
