"""Faults in what an answer says: the bytes are odd, the bill is that of the answer."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.simulator.struck import ADD, CHAT, OPENAI_CHAT, SUBMIT, fault, whole

if TYPE_CHECKING:
    from tests.simulator.conftest import Sim, Start

PATHS = pytest.mark.parametrize("path", [CHAT, OPENAI_CHAT])
SUM = "What is 3 + 4?"


def billed(sim: Sim, behaviour: int) -> None:
    """Every record is billed at its full tokens and names the fault."""
    for record in sim.books():
        assert (record["status"], record["billed"], record["fault"]) == (200, True, behaviour)
        assert record["total_tokens"] > 0


@PATHS
@pytest.mark.parametrize(
    ("form", "means"),
    [
        ("empty", lambda body: body == b""),
        ("invalid", lambda body: body.startswith(b"{'choices'")),
        ("truncated", lambda body: body.startswith(b"{") and not body.endswith(b"}")),
        ("list", lambda body: isinstance(json.loads(body), list)),
        ("string", lambda body: json.loads(body) == "OK"),
    ],
)
def test_45_is_no_json_object(start: Start, path: str, form: str, means: Any) -> None:
    """The length is honest and the status 200: only the body is wrong, and it is billed."""
    sim = start(fault(45, form=form))
    head, body = whole(sim, path, "sk-a.b")
    assert head.startswith(b"HTTP/1.1 200")
    assert means(body)
    billed(sim, 45)


def test_45_strikes_polls_and_a_submit_only_when_told(start: Start) -> None:
    """A spoilt receipt is a task whose id is lost: another matter, to be asked for by name."""
    sim = start(fault(45, form="string", first=1))
    task_id = sim.submit().json()["id"]
    assert [sim.poll(task_id).content, sim.poll(task_id).json()["task_status"]] == [b'"OK"', "SUCCESS"]
    lost = start(fault(45, form="empty", route="submit"))
    assert whole(lost, SUBMIT)[1] == b""
    assert lost.books()[0]["billed"]


@pytest.mark.parametrize("form", ["no_choices", "empty_choices", "null_message"])
def test_46_has_no_message(start: Start, form: str) -> None:
    """In both dialects, and in a task's result."""
    sim = start(fault(46, form=form))
    task_id = sim.submit().json()["id"]
    for body in (sim.glm().json(), sim.openai().json(), sim.poll(task_id).json()):
        expected = {"no_choices": "none", "empty_choices": []}
        if form == "null_message":
            assert body["choices"][0]["message"] is None
        else:
            assert body.get("choices", "none") == expected[form]
        assert body["usage"]["total_tokens"] > 0
    assert all(record["billed"] for record in sim.books() if record["route"] != "poll")


@pytest.mark.parametrize(("form", "content"), [("null", None), ("empty", "")])
def test_47_has_no_content_and_no_tool_calls(start: Start, form: str, content: Any) -> None:
    """Where a tool would have been called, too."""
    sim = start(fault(47, form=form))
    for answer in (sim.glm(), sim.openai(), sim.glm(SUM, tools=[ADD])):
        (choice,) = answer.json()["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == (content, "stop")
        assert "tool_calls" not in choice["message"]
    billed(sim, 47)


def test_49_ends_for_no_known_reason(start: Start) -> None:
    """A word no document knows, and null, in turn."""
    sim = start(fault(49))
    reasons = [sim.glm().json()["choices"][0]["finish_reason"] for _ in range(2)]
    assert sorted(reasons, key=str) == [None, "paused_for_review"]
    billed(sim, 49)


def test_50_is_answered_by_another_model(start: Start) -> None:
    """The asked model stands in the books; the receipt of a task still names it."""
    sim = start(fault(50))
    receipt = sim.submit().json()
    assert (receipt["model"], sim.poll(receipt["id"]).json()["model"]) == ("glm-4", "GLM-4.7-ALI")
    assert [sim.glm().json()["model"], sim.openai().json()["model"]] == ["GLM-4.7-ALI", "gpt-3.5-other"]
    assert {record["model"] for record in sim.books()} == {"glm-4", "gpt-5-mini"}
    assert start(fault(50, served="glm-9")).glm().json()["model"] == "glm-9"


def test_51_wears_the_wrong_label_or_none(start: Start) -> None:
    """The JSON under it is good."""
    sim = start(fault(51))
    answers = [sim.glm() for _ in range(3)]
    assert {answer.headers.get("content-type") for answer in answers} == {
        "text/plain",
        "application/octet-stream",
        None,
    }
    assert all(answer.json()["choices"] for answer in answers)
    billed(sim, 51)


@pytest.mark.parametrize("path", [CHAT, OPENAI_CHAT])
@pytest.mark.parametrize(("form", "label"), [("gzip", b"gzip"), ("deflate", b"deflate"), ("mislabelled", b"gzip")])
def test_52_is_compressed_unasked_or_says_so(start: Start, path: str, form: str, label: bytes) -> None:
    """Two good codings, and a plain body under the label of one."""
    sim = start(fault(52, form=form))
    head, body = whole(sim, path, "sk-a.b")
    assert b"content-encoding: " + label in head
    if form == "gzip":
        body = gzip.decompress(body)
    elif form == "deflate":
        body = zlib.decompress(body)
    assert json.loads(body)["choices"]
    billed(sim, 52)


def test_52_may_be_damaged(start: Start) -> None:
    """It begins as gzip does and cannot be opened."""
    _, body = whole(start(fault(52, form="corrupt")))
    assert body.startswith(b"\x1f\x8b")
    with pytest.raises((zlib.error, gzip.BadGzipFile)):
        gzip.decompress(body)


def test_52_may_be_a_bomb(start: Start) -> None:
    """A thousandth of what it grows to, valid to its last byte, and still the answer's JSON."""
    head, body = whole(start(fault(52, form="bomb", megabytes=20)))
    assert b"content-encoding: gzip" in head
    assert len(body) < 40_000
    opened = gzip.decompress(body)
    assert len(opened) > 20_000_000
    assert json.loads(opened)["choices"]


def test_52_is_made_of_hundreds_of_megabytes_unless_told_otherwise(start: Start) -> None:
    """Small on the wire; its own count of its length says what is inside."""
    _, body = whole(start(fault(52, form="bomb")))
    assert len(body) < 600_000
    assert int.from_bytes(body[-4:], "little") > 300_000_000


@pytest.mark.parametrize(
    ("form", "holds"),
    [("escaped", b"\\u4f60\\u597d"), ("surrogate", rb"\ud83d"), ("nul", rb"\u0000"), ("invalid_utf8", b"\xff\xfe")],
)
def test_53_spells_its_text_oddly(start: Start, form: str, holds: bytes) -> None:
    """Bytes, because a JSON reader would hide or refuse them."""
    sim = start(fault(53, form=form))
    for answer in (sim.glm("你好"), sim.openai("你好"), sim.poll(sim.submit("你好").json()["id"])):
        assert holds in answer.content
        if form == "escaped":
            assert answer.content.isascii()
            assert "你好" in answer.json()["choices"][0]["message"]["content"]
    assert all(record["billed"] for record in sim.books() if record["route"] != "poll")


def test_54_is_ten_megabytes_on_one_line(start: Start) -> None:
    """The usage stays what it was, so bill and answer agree; the size can be told."""
    sim = start(fault(54))
    answer = sim.glm()
    assert len(answer.content) > 10_000_000
    assert b"\n" not in answer.content
    assert answer.json()["usage"]["total_tokens"] == sim.books()[0]["total_tokens"]
    task = start(fault(54, megabytes=1))
    result = task.poll(task.submit().json()["id"])
    assert 1_000_000 < len(result.content) < 1_100_000


def calls(answer: httpx.Response) -> list[dict[str, Any]]:
    (choice,) = answer.json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    found: list[dict[str, Any]] = choice["message"]["tool_calls"]
    return found


@pytest.mark.parametrize("dialect", ["glm", "openai"])
def test_55_spoils_the_calls_of_tools(start: Start, dialect: str) -> None:
    """Each form in both dialects; what is spoilt is one field."""

    def asked(form: str) -> list[dict[str, Any]]:
        sim = start(fault(55, form=form))
        answer = getattr(sim, dialect)(SUM, tools=[ADD])
        billed(sim, 55)
        return calls(answer)

    assert asked("invalid_json")[0]["function"]["arguments"].endswith('"unfinished": ')
    assert asked("unknown_name")[0]["function"]["name"] == "no_such_tool"
    assert asked("object_arguments")[0]["function"]["arguments"] == {"a": 3, "b": 4}
    one, other = asked("duplicate_ids")
    assert one["id"] == other["id"]
    assert asked("empty_list") == []
    assert asked("endless")[0]["function"]["name"] == "add"


def test_55_never_stops_calling(start: Start) -> None:
    """A conversation that has its result is asked for the same again."""
    sim = start(fault(55, form="endless"))
    messages: list[dict[str, Any]] = [{"role": "user", "content": SUM}]
    for _ in range(3):
        (call,) = calls(sim.glm(messages, tools=[ADD]))
        assert json.loads(call["function"]["arguments"]) == {"a": 3, "b": 4}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": "7"})


def test_55_leaves_alone_who_offers_no_tools(start: Start) -> None:
    """What had nothing to spoil is not logged."""
    sim = start(fault(55))
    assert sim.glm().json()["choices"][0]["finish_reason"] == "stop"
    assert sim.faults() == []
    assert sim.books()[0]["fault"] is None


def test_several_faults_spoil_one_answer_together(start: Start) -> None:
    """In the order of the file; what an earlier one took away the later ones leave."""
    sim = start(fault(46, form="no_choices") + fault(47) + fault(53, form="nul") + fault(51, form="none"))
    answer = sim.glm()
    assert "choices" not in answer.json()
    assert "content-type" not in answer.headers
    assert [one["behaviour"] for one in sim.faults()] == [46, 51]
    assert sim.books()[0]["fault"] == 46
