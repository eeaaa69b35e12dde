"""Faults of streams, by the bytes that arrive; all are billed as the whole answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.simulator.sse import DIALECTS, body_of, chunks, events, path_of, sent_whole, streamed, together
from tests.simulator.struck import ADD, drained, fault
from tests.simulator.test_stream import open_stream

if TYPE_CHECKING:
    from tests.simulator.conftest import HandClock, Sim, Start

EACH = pytest.mark.parametrize("dialect", DIALECTS)
NOISES = ("comments", "crlf", "no_space", "keep_alives", "bom", "line_separator", "split")


def healthy(start: Start, dialect: str) -> tuple[bytes, dict[str, Any]]:
    """The same stream without a fault, and the answer sent whole."""
    sim = start()
    return streamed(sim, dialect), sent_whole(sim, dialect)


def struck(sim: Sim, behaviour: int) -> None:
    """The last request was billed whole, and the log names the fault."""
    record = sim.until_books(1)[-1]
    assert (record["status"], record["billed"], record["fault"]) == (200, True, behaviour)
    assert record["completion_tokens"] > 5
    assert {one["behaviour"] for one in sim.faults()} == {behaviour}


def text_of(found: list[str]) -> str:
    """What the events say, none of them `[DONE]`."""
    return str(together([json.loads(one) for one in found])["content"])


@EACH
def test_36_ends_in_peace_without_finish_and_done(start: Start, dialect: str) -> None:
    """Some of the text, whole frames only, and the end of the body as it should be."""
    _, whole = healthy(start, dialect)
    sim = start(fault(36))
    found = events(streamed(sim, dialect))
    part = together([json.loads(one) for one in found])
    assert 0 < len(part["content"]) < len(whole["content"])
    assert whole["content"].startswith(part["content"])
    assert (part["finish"], part["usage"]) == (None, None)
    assert sim.books()[0]["delivered"]
    struck(sim, 36)


def test_36_may_have_the_whole_tool_call_and_no_finish(start: Start) -> None:
    """A call that came in one chunk looks complete, and the answer is not."""
    sim = start(fault(36))
    read = [streamed(sim, "glm", f"What is {number} + 4?", tools=[ADD]) for number in range(8)]
    parts = [together([json.loads(one) for one in events(one)]) for one in read]
    assert {part["finish"] for part in parts} == {None}
    assert max(len(part["calls"]) for part in parts) == 1


@EACH
def test_37_lacks_nothing_but_done(start: Start, dialect: str) -> None:
    """Finish reason and usage are there."""
    _, whole = healthy(start, dialect)
    sim = start(fault(37))
    found = events(streamed(sim, dialect))
    assert found[-1] != "[DONE]"
    assert together([json.loads(one) for one in found]) == whole
    struck(sim, 37)


@EACH
@pytest.mark.parametrize("form", ["inside", "unclosed"])
def test_38_ends_inside_a_frame_or_before_its_empty_line(start: Start, dialect: str, form: str) -> None:
    """Bytes are left over that make no event, and no event says finish."""
    sim = start(fault(38, form=form))
    read = streamed(sim, dialect)
    found = events(read)
    assert together([json.loads(one) for one in found])["finish"] is None
    rest = read.rpartition(b"\n\n")[2]
    assert rest.startswith(b"data: {")
    if form == "unclosed":
        assert rest.endswith(b"}\n")
        assert json.loads(rest.removeprefix(b"data: "))["choices"][0]["finish_reason"] == "stop"
    else:
        assert not rest.rstrip().endswith(b"}]}")
        with pytest.raises(json.JSONDecodeError):
            json.loads(rest.removeprefix(b"data: "))
    struck(sim, 38)


@EACH
@pytest.mark.parametrize("form", ["glued", "cut_glued", "bad_json"])
def test_39_has_one_line_that_is_no_json_and_goes_on(start: Start, dialect: str, form: str) -> None:
    """One event cannot be read; those before and after it can, `[DONE]` included."""
    sim = start(fault(39, form=form))
    *found, done = events(streamed(sim, dialect))
    assert done == "[DONE]"
    bad = []
    for one in found:
        try:
            json.loads(one)
        except json.JSONDecodeError:
            bad.append(one)
    assert len(bad) == 1
    assert (bad[0].count("data: {") == 1) == (form != "bad_json")
    struck(sim, 39)
    if form == "glued":
        assert text_of([part for one in found for part in one.split("data: ")]) == sent_whole(sim, dialect)["content"]


@EACH
@pytest.mark.parametrize("form", NOISES)
def test_40_is_noise_around_the_same_answer(start: Start, dialect: str, form: str) -> None:
    """The bytes differ, and a reader by the standard gets the very same out."""
    plain, whole = healthy(start, dialect)
    sim = start(fault(40, form=form))
    read = streamed(sim, dialect)
    assert together(chunks(read)) == whole
    mark = {
        "comments": b"\n: keep-alive\n", "crlf": b"\r\n\r\n", "no_space": b"data:{", "keep_alives": b"\n\n\n\n",
        "bom": "\ufeffdata:".encode(), "line_separator": "\u2028".encode(), "split": b"",
    }[form]  # fmt: skip
    assert mark in b"\n" + read
    assert form == "split" or mark not in plain
    struck(sim, 40)


@pytest.mark.parametrize(("form", "ending"), [("crlf", b"\r"), ("split", None)])
def test_40_is_written_in_pieces_that_end_at_the_worst_places(start: Start, form: str, ending: bytes | None) -> None:
    """Between CR and LF, or inside a character: each HTTP chunk is a write of its own."""
    with open_stream(start(fault(40, form=form))) as connection:
        read = b""
        while not read.endswith(b"\r\n0\r\n\r\n"):
            read += connection.recv(65536)
    rest, pieces = read.partition(b"\r\n\r\n")[2], []
    while rest != b"0\r\n\r\n":
        size, _, rest = rest.partition(b"\r\n")
        pieces.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    if ending is not None:
        assert all(piece.endswith(ending) for piece in pieces[:-1])
        return
    torn = 0
    for piece in pieces:
        try:
            piece.decode()
        except UnicodeDecodeError:
            torn += 1
    assert torn > 2


def test_40_takes_its_forms_in_turn(start: Start) -> None:
    """Seven attempts of one row meet all seven."""
    sim = start(fault(40))
    assert len({streamed(sim, "glm").split(b'"id"')[0] for _ in range(7)}) >= 4
    assert len(sim.faults()) == 7


@EACH
@pytest.mark.parametrize("form", ["error_frame", "sensitive", "network_error"])
def test_41_breaks_off_after_some_of_the_answer(start: Start, dialect: str, form: str) -> None:
    """Some text first; then an error in a frame, or a finish reason that takes the text back."""
    sim = start(fault(41, form=form))
    found = events(streamed(sim, dialect))
    if dialect == "glm" and form != "error_frame":
        part = together([json.loads(one) for one in found[:-1]])
        assert (part["finish"], found[-1]) == (form, "[DONE]")
        assert part["content"]
        assert part["usage"]
    elif form == "sensitive":
        assert together([json.loads(one) for one in found[:-1]])["finish"] == "content_filter"
    else:
        *said, last = found
        assert text_of(said)
        error = json.loads(last)["error"]
        code = {"glm": "1301", "openai": "content_filter" if form == "error_frame" else None}[dialect]
        assert error["code"] == code
        assert error["message"]
    struck(sim, 41)


def test_41_says_another_code_when_told(start: Start) -> None:
    """A model too busy to go on."""
    found = events(streamed(start(fault(41, form="error_frame", code="1305")), "glm"))
    assert json.loads(found[-1])["error"]["code"] == "1305"


@EACH
def test_42_answers_whole_as_if_no_stream_had_been_asked_for(start: Start, dialect: str) -> None:
    """One JSON body under its own Content-Type."""
    sim = start(fault(42))
    answer = sim.post(path_of(dialect), body_of(dialect), key="sk-a.b")
    assert answer.headers["content-type"].startswith("application/json")
    struck(sim, 42)
    assert answer.json()["choices"][0]["message"]["content"] == sent_whole(sim, dialect)["content"]


@pytest.mark.parametrize("number", [36, 37, 38, 39, 40, 41, 42])
def test_faults_of_streams_pass_other_answers(start: Start, number: int) -> None:
    """Nothing is changed and nothing logged."""
    sim = start(fault(number))
    assert sim.glm().json()["choices"]
    assert sim.openai().json()["choices"]
    assert sim.faults() == []


@EACH
def test_34_resets_in_the_middle_of_a_stream(start: Start, dialect: str) -> None:
    """Some frames, then RST; paced or not."""
    for pace in ("", "[latency]\nchat_ms = [0, 0]\nchunk_ms = [1, 1]\n"):
        sim = start(fault(34) + pace)
        with open_stream(sim, dialect) as connection:
            read, reset = drained(connection)
        assert reset
        assert read.count(b"data: ") > 2
        assert b"[DONE]" not in read
        assert not sim.until_books(1)[0]["delivered"]
        struck(sim, 34)


def test_33_and_35_break_streams_as_they_break_answers(start: Start) -> None:
    """Nothing at all; or FIN without the end of the body."""
    with open_stream(start(fault(33))) as connection:
        assert drained(connection) == (b"", True)
    sim = start(fault(35))
    with pytest.raises(httpx.RemoteProtocolError):
        streamed(sim, "glm")
    struck(sim, 35)


def test_43_holds_back_the_first_chunk(start: Start, clock: HandClock) -> None:
    """Headers included."""
    sim = start(fault(43, seconds=90), clock)
    assert chunks(streamed(sim, "openai"))
    assert sum(clock.slept) == pytest.approx(90)


def test_44_drips_or_falls_silent_in_the_middle_of_a_stream(start: Start, clock: HandClock) -> None:
    """A byte at a time, or two halves: in the end the answer is whole."""
    sim = start(fault(44, interval_ms=5), clock)
    read = streamed(sim, "glm")
    assert together(chunks(read))["finish"] == "stop"
    assert clock.slept == [0.005] * (len(read) - 1)
    clock.slept.clear()
    assert chunks(streamed(start(fault(44, gap_s=60), clock), "openai"))
    assert sum(clock.slept) == pytest.approx(60)


@EACH
@pytest.mark.parametrize("form", ["missing", "null", "zero", "sum"])
def test_48_spoils_the_usage_of_a_stream(start: Start, dialect: str, form: str) -> None:
    """The books keep the truth."""
    sim = start(fault(48, form=form))
    found = chunks(streamed(sim, dialect))
    usages = [chunk["usage"] for chunk in found if chunk.get("usage") is not None]
    if form in ("missing", "null"):
        assert usages == []
    else:
        (usage,) = usages
        assert (usage["total_tokens"] == 0) == (form == "zero")
        assert usage["total_tokens"] != sim.books()[0]["total_tokens"]
    assert together(found)["finish"] == "stop"
    struck(sim, 48)


@EACH
def test_50_says_another_model_in_every_chunk(start: Start, dialect: str) -> None:
    """As a whole answer would."""
    sim = start(fault(50, served="other-1"))
    assert {chunk["model"] for chunk in chunks(streamed(sim, dialect))} == {"other-1"}
    struck(sim, 50)


@EACH
@pytest.mark.parametrize(("number", "form"), [(46, "no_choices"), (46, "empty_choices"), (46, "null_message")])
def test_46_says_nothing_in_a_stream(start: Start, dialect: str, number: int, form: str) -> None:
    """What a whole answer lacks, the chunks lack."""
    found = chunks(streamed(start(fault(number, form=form)), dialect))
    assert not [c for chunk in found for c in chunk.get("choices", ()) if (c["delta"] or {}).get("content")]


@EACH
@pytest.mark.parametrize("form", ["empty", "invalid", "truncated", "list", "string"])
def test_45_has_no_event_that_is_a_chunk(start: Start, dialect: str, form: str) -> None:
    """Nothing, no JSON, JSON of another kind; or the stream is cut in the middle."""
    sim = start(fault(45, form=form))
    read = streamed(sim, dialect)
    found = [one for one in events(read) if one != "[DONE]"]
    if form == "truncated":
        assert together([json.loads(one) for one in found])["finish"] is None
    elif form == "invalid":
        assert {one[:10] for one in found} == {"{'choices'"}
    else:
        assert {type(json.loads(one)) for one in found} == {"empty": set(), "list": {list}, "string": {str}}[form]
    struck(sim, 45)


@EACH
@pytest.mark.parametrize(
    ("form", "put"), [("surrogate", rb'"\ud83d"'), ("nul", rb'"\u0000"'), ("invalid_utf8", b'"\xff\xfe"')]
)
def test_53_puts_odd_characters_into_a_chunk(start: Start, dialect: str, form: str, put: bytes) -> None:
    """Between two good chunks; without it the answer is the usual one."""
    sim = start(fault(53, form=form))
    parts = streamed(sim, dialect).split(b"\n\n")
    odd = [part for part in parts if put in part]
    assert len(odd) == 1
    struck(sim, 53)
    parts.remove(odd[0])
    assert together(chunks(b"\n\n".join(parts))) == sent_whole(start(), dialect)


@EACH
def test_53_escapes_everything(start: Start, dialect: str) -> None:
    """The same answer in ASCII."""
    sim = start(fault(53, form="escaped"))
    read = streamed(sim, dialect)
    assert read.isascii()
    assert together(chunks(read)) == sent_whole(start(), dialect)


@EACH
@pytest.mark.parametrize(("form", "said"), [("unknown", "paused_for_review"), ("null", None)])
def test_49_ends_a_stream_for_no_known_reason(start: Start, dialect: str, form: str, said: str | None) -> None:
    """`[DONE]` comes all the same."""
    assert together(chunks(streamed(start(fault(49, form=form)), dialect)))["finish"] == said


def test_54_makes_a_long_stream_of_few_chunks(start: Start) -> None:
    """Ten thousand at the most, so that the frames do not outgrow the text by far."""
    read = streamed(start(fault(54, megabytes=3)), "glm")
    found = chunks(read)
    assert len(together(found)["content"].encode()) > 3_000_000
    assert len(found) <= 10_001


@pytest.mark.parametrize("form", ["duplicate_ids", "object_arguments", "empty_list", "invalid_json", "unknown_name"])
@EACH
def test_55_spoils_the_calls_of_a_stream(start: Start, dialect: str, form: str) -> None:
    """The stream itself is in order."""
    found = chunks(streamed(start(fault(55, form=form)), dialect, "What is 3 + 4?", tools=[ADD]))
    assert [c["finish_reason"] for chunk in found for c in chunk["choices"] if c["finish_reason"]] == ["tool_calls"]
    parts = [part for c in found for choice in c["choices"] for part in choice["delta"].get("tool_calls") or ()]
    assert bool(parts) == (form != "empty_list")
    if form == "duplicate_ids":
        assert sorted({part["index"] for part in parts}) == [0, 1]
        assert len({part["id"] for part in parts if "id" in part}) == 1
