"""What goes over the seam reads back as it was written."""

from __future__ import annotations

import msgspec
import pytest

from batch.core.records import Failure, Incoming, Reply, TokenChance, ToolCall, Usage
from batch.core.redaction import Secret
from batch.job.providers import ProviderSpec
from batch.run.fleet import messages

REPLY = Reply(
    content="é",
    finish_reason="stop",
    tool_calls=(ToolCall("c1", "add", '{"a": 53195444847186410}'),),
    message={"role": "assistant", "content": "é", "n": 53195444847186410},
    usage=Usage(1, 2, 3),
    tokens=(TokenChance(2, -0.5),),
)
FAILURE = Failure(kind="server", message="no", verdict="retry", http_status=500)
HELLO = messages.Hello(
    3,
    "mycorp",
    {"mycorp": ProviderSpec(base_url="https://x.example/v1")},
    "https://x.example/v1",
    600.0,
    300.0,
    60.0,
    False,
)


def test_what_the_core_says_is_understood() -> None:
    errand = messages.Errand(7, 12.5, "http://h/v4", "/chat", (("Accept", "json"),), b"{}", True)
    for told in (HELLO, messages.Take([errand]), messages.Cancel([7, 8]), messages.Leave()):
        assert messages.for_worker(messages.encode(told)) == told


def test_what_a_worker_says_is_understood() -> None:
    done = [
        messages.Done(1, Incoming(200, {"x": "y"}, b"\x00\xff")),
        messages.Done(2, None, messages.Fault("reset", "transport", True, False, False)),
        messages.Done(3, Incoming(200, {}, b""), None, messages.StreamEnd(REPLY, None, 5, 9, b"data: {}")),
        messages.Done(4, Incoming(200, {}, b""), None, messages.StreamEnd(None, FAILURE)),
    ]
    for told in (messages.Report(2, done, [9]), messages.Alive(2)):
        assert messages.for_core(messages.encode(told)) == told


def test_a_key_goes_over_as_the_text_that_it_is() -> None:
    errand = messages.Errand(7, 0.0, "", "", (("Authorization", Secret("Bearer k-1")),), None, False)
    (heard,) = messages.for_worker(messages.encode(messages.Take([errand]))).errands
    assert heard.headers == (("Authorization", "Bearer k-1"),)


def test_what_is_no_message_is_refused_on_both_sides() -> None:
    with pytest.raises(NotImplementedError, match="object is no part of a message"):
        messages.encode(messages.Done(1, object()))  # type: ignore[arg-type]  # that is what is tried
    with pytest.raises(msgspec.ValidationError):
        messages.for_core(messages.encode(messages.Leave()))
