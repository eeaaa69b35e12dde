"""What goes over the seam reads back as it was written."""

from __future__ import annotations

import msgspec
import pytest

from batch.core import redaction
from batch.core.records import Accepted, Failure, Incoming, Message, Processing, Reply, TokenChance, ToolCall, Usage
from batch.core.redaction import Secret
from batch.job.providers import ProviderSpec
from batch.run.fleet import messages

KEY = "fleet.0123456789abcdefghij"
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
    for told in (messages.Report(2, done, [9], spared=True), messages.Alive(2)):
        assert messages.for_core(messages.encode(told)) == told


@pytest.mark.parametrize("result", [REPLY, Accepted(task_id="t-1"), Processing("QUEUED", 2.0)])
def test_what_an_answer_says_goes_over_without_its_bytes(result: messages.Result) -> None:
    said = messages.said_of(7, {"x-request-id": "r"}, result)
    told = messages.for_core(messages.encode(messages.Report(2, [], [], [said])))
    assert isinstance(told, messages.Report)
    (heard,) = told.said
    assert (heard.ticket, heard.headers, messages.result_of(heard)) == (7, {"x-request-id": "r"}, result)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "Good day"},
        {"content": "Good day", "role": "assistant", "n": 1},
        {"role": "assistant", "content": ""},
    ],
)
def test_what_a_reply_says_twice_goes_over_once_and_is_there_again(message: Message) -> None:
    """The message for the next turn, where that is the content and no more; any other goes over as it is."""
    kept = Reply(content="Good day", finish_reason="stop", message=message)
    sent = msgspec.structs.replace(kept)
    messages.leave_out_echo(sent)
    assert (sent.message == {}) is (message == {"role": "assistant", "content": "Good day"})
    told = messages.for_core(messages.encode(messages.Report(2, [], [], [messages.said_of(7, {}, sent)])))
    assert isinstance(told, messages.Report)
    assert messages.result_of(told.said[0]) == kept


@pytest.mark.parametrize(
    ("text", "spared"),
    [("Good day", True), (f"it is {KEY}", False), (KEY.upper(), False), (r"a\b", False), ("é" * 30, True)],
)
def test_whether_a_report_can_hold_a_key_is_seen_by_whoever_reads_it(text: str, spared: bool) -> None:
    """A key in capitals too; behind a backslash one may be escaped. What the message says of itself counts for nothing."""
    redaction.hide(KEY)
    said = messages.said_of(1, {}, msgspec.structs.replace(REPLY, content=text))
    told = messages.for_core(messages.encode(messages.Report(2, [], [], [said], spared=True)))
    assert isinstance(told, messages.Report)
    assert told.spared is spared


def test_a_key_goes_over_as_the_text_that_it_is() -> None:
    errand = messages.Errand(7, 0.0, "", "", (("Authorization", Secret("Bearer k-1")),), None, False)
    (heard,) = messages.for_worker(messages.encode(messages.Take([errand]))).errands
    assert heard.headers == (("Authorization", "Bearer k-1"),)


def test_what_is_no_message_is_refused_on_both_sides() -> None:
    with pytest.raises(NotImplementedError, match="object is no part of a message"):
        messages.encode(messages.Done(1, object()))  # type: ignore[arg-type]  # that is what is tried
    with pytest.raises(msgspec.ValidationError):
        messages.for_core(messages.encode(messages.Leave()))
