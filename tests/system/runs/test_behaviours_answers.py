"""Answers that are not what was asked for, in whole runs: one test for each numbered behaviour."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest

from tests.system.runs.conftest import GLM_LANES, Make, Mill, measured
from tests.system.runs.faulty import STRUCK, calls, faulty, finished, flags, told

OK = ("answered", None, None)
LANES = pytest.mark.parametrize("lane", GLM_LANES)
PROVIDERS = pytest.mark.parametrize("provider", ["glm", "openai"])


def answer(mill: Mill, n: int = STRUCK) -> Any:
    """What the table says that the model said."""
    [found] = [row[1] for row in mill.results("n, answer") if row[0] == n]
    return found


def right_answer(make: Make, provider: str = "glm") -> str:
    """What the same row says without a fault."""
    mill = make(provider=provider, name="healthy")
    mill.questions(STRUCK + 1)
    assert mill.run().exit_code == 0
    return str(answer(mill))


@pytest.mark.parametrize(
    ("form", "provider"),
    [("empty", "glm"), ("invalid", "openai"), ("truncated", "glm"), ("list", "openai"), ("string", "glm")],
)
def test_fault_45_what_is_no_json_object_is_tried_once_more(form: str, provider: str, make: Make) -> None:
    """Two calls, both possibly billed; then the row fails and may be tried again."""
    mill = faulty(make, 45, form=form, provider=provider)
    finished(mill, failed=(1,))
    assert told(mill) == ("bad_payload", None, True)
    assert calls(mill) == [("unknown", "bad_payload", None)] * 2
    [unknown] = [row[1] for row in mill.results("n, unknown_calls") if row[0] == 1]
    assert unknown == 2


@pytest.mark.parametrize(
    ("form", "provider"), [("no_choices", "glm"), ("empty_choices", "openai"), ("null_message", "glm")]
)
def test_fault_46_an_answer_without_a_message_is_tried_once_more(form: str, provider: str, make: Make) -> None:
    """A second one that is whole makes the row ok; a second one that is not fails it."""
    mill = faulty(make, 46, form=form, provider=provider, first=1, name="once")
    finished(mill)
    mill.check_books()
    assert calls(mill) == [OK, OK], "its usage is booked: it was read and paid"
    mill = faulty(make, 46, form=form, provider=provider, name="always")
    finished(mill, failed=(1,))
    assert (told(mill)[0], told(mill)[2], len(calls(mill))) == ("bad_payload", True, 2)


@pytest.mark.parametrize("form", ["null", "empty"])
@LANES
def test_fault_47_an_answer_without_text_is_ok_and_flagged(form: str, lane: str, make: Make) -> None:
    """The model was asked, answered nothing and was paid: no retry makes it better."""
    mill = faulty(make, 47, form=form, lane=lane)
    finished(mill)
    mill.check_books()
    assert flags(mill) == {"empty"}
    assert not answer(mill)
    assert calls(mill) == [OK]


@pytest.mark.parametrize("form", ["missing", "null", "zero"])
@LANES
def test_fault_48_usage_that_was_not_said_is_unknown_and_never_zero(form: str, lane: str, make: Make) -> None:
    """The text is kept; tokens and cost are null and counted."""
    mill = faulty(make, 48, form=form, lane=lane)
    report = finished(mill)
    assert flags(mill) == {"usage_unknown"}
    assert report.totals.unknown_usage == 1
    [row] = [row[1:] for row in mill.results("n, prompt_tokens, completion_tokens, total_tokens, cost") if row[0] == 1]
    assert row == (None, None, None, None)
    mill.check_books(at_risk=1)


@LANES
def test_fault_48_a_total_that_is_not_the_sum_is_booked_from_its_parts_and_marked(lane: str, make: Make) -> None:
    """The bill is made of the parts."""
    mill = faulty(make, 48, form="sum", lane=lane)
    report = finished(mill)
    mill.check_books()
    assert flags(mill) == {"usage_estimated"}
    assert report.totals.unknown_usage == 0
    assert mill.calls("count(*)", "usage_estimated") == [(1,)]
    assert mill.calls("count(*)", "total_tokens != prompt_tokens + completion_tokens") == [(0,)]


def test_fault_49_a_finish_reason_nobody_knows_is_an_answer_with_a_flag(make: Make) -> None:
    """FIELD 7: it was read and paid, so it is booked to the token, and kept."""
    mill = faulty(make, 49, form="unknown")
    finished(mill)
    mill.check_books()
    assert flags(mill) == {"finish_unknown"}
    assert calls(mill) == [OK]
    reasons = [row[0] for row in mill.calls("finish_reason", "finish_reason != 'stop'")]
    assert reasons == ["paused_for_review"]


def test_fault_49_a_whole_body_without_a_finish_reason_is_an_answer(make: Make) -> None:
    """FIELD 8: its usage is booked, and a flag says what was missing."""
    mill = faulty(make, 49, form="null")
    finished(mill)
    mill.check_books()
    assert flags(mill) == {"finish_unknown"}
    assert calls(mill) == [OK]


@LANES
def test_fault_50_another_model_is_kept_and_flagged_or_refused_as_the_job_says(lane: str, make: Make) -> None:
    """`served = "any"` keeps the answer and the name that served; `"same"` fails the row, paid all the same."""
    mill = faulty(make, 50, lane=lane, name="any")
    finished(mill)
    assert flags(mill) == {"served_other"}
    assert [row[1] for row in mill.results("n, model") if row[0] == 1] == ["GLM-4.7-ALI"]
    mill = faulty(make, 50, lane=lane, name="same")
    plain = mill.save

    def save() -> Any:
        path = plain() / "job.toml"
        path.write_text(path.read_text("utf-8").replace("[model]\n", '[model]\nserved = "same"\n'), "utf-8")
        return mill.folder

    mill.save = save  # type: ignore[method-assign]  # the job is written by hand
    finished(mill, failed=(1,))
    assert told(mill) == ("served_other", "GLM-4.7-ALI", True)
    assert len([record for record in mill.books() if record["billed"]]) == 4


@pytest.mark.parametrize("form", ["text/plain", "application/octet-stream", "none"])
@LANES
def test_fault_51_good_json_is_taken_under_any_type(form: str, lane: str, make: Make) -> None:
    """On every route."""
    mill = faulty(make, 51, form=form, lane=lane)
    finished(mill)
    mill.check_books()
    assert calls(mill) == [OK]


@pytest.mark.parametrize(("form", "lane"), [("gzip", "sync"), ("deflate", "task"), ("mislabelled", "sync")])
def test_fault_52_packed_bodies_and_false_labels_are_read(form: str, lane: str, make: Make) -> None:
    """The text is that of a plain answer."""
    mill = faulty(make, 52, form=form, lane=lane)
    finished(mill)
    mill.check_books()
    assert answer(mill) == right_answer(make)


@PROVIDERS
def test_fault_52_what_cannot_be_unpacked_is_tried_once_more(provider: str, make: Make) -> None:
    """Damaged on the way: it may have been billed."""
    mill = faulty(make, 52, form="corrupt", provider=provider)
    finished(mill, failed=(1,))
    assert told(mill) == ("bad_payload", None, True)
    assert calls(mill) == [("unknown", "bad_payload", None)] * 2


def test_fault_53_odd_characters_are_kept_or_marked(make: Make) -> None:
    """Escapes and NUL as they are; half a pair and broken UTF-8 as U+FFFD, with the text around them."""
    found = {}
    for form in ("escaped", "surrogate", "nul", "invalid_utf8"):
        mill = faulty(make, 53, form=form, lane="task" if form == "surrogate" else "sync", name=form)
        finished(mill)
        mill.check_books()
        found[form] = str(answer(mill))
    plain = right_answer(make)
    words = re.findall(r"\w+", plain)
    for form, text in found.items():
        assert [word for word in re.findall(r"\w+", text) if word in words] == words, (form, text)
    assert "\ufffd" in found["surrogate"]
    assert "\ufffd" in found["invalid_utf8"]
    assert "\0" in found["nul"]
    assert "\ufffd" not in found["escaped"] + found["nul"]


def test_fault_54_an_answer_of_ten_megabytes_is_kept_whole_in_bounded_memory(make: Make) -> None:
    """A few copies of it, not a few dozen."""
    mill = faulty(make, 54, megabytes=10)
    exit_code, peak = measured(mill)
    assert exit_code == 0
    mill.check_books()
    [size] = [row[1] for row in mill.results("n, strlen(answer)") if row[0] == 1]
    assert size >= 10_000_000
    assert peak < 420, peak


def test_fault_52_a_bomb_is_met_in_bounded_memory(make: Make) -> None:
    """What is unpacked never exceeds 64 MB."""
    mill = faulty(make, 52, form="bomb")
    exit_code, peak = measured(mill)
    assert exit_code == 1
    assert peak < 420, peak
    assert told(mill) == ("bad_payload", None, True)
    assert calls(mill) == [("unknown", "bad_payload", None)] * 2


ADD = (
    'from batch import tool\n\n\n@tool\ndef add(a: int, b: int) -> int:\n    """Add two numbers."""\n    return a + b\n'
)


def with_tool(make: Make, form: str, lane: str = "sync", **options: Any) -> Mill:
    """Four sums to be made with a tool, of which number 1 comes with a bad call."""
    mill = faulty(make, 55, form=form, lane=lane, struck=(), **options)
    mill.tools = ADD
    mill.max_turns = 4
    mill.write([{"n": n, "question": f"What is {n} plus 10?"} for n in range(2)])
    return mill


def tool_messages(mill: Mill, n: int = STRUCK) -> list[str]:
    """What a row's model was told by its tools."""
    [text] = [row[1] for row in mill.results("n, messages") if row[0] == n]
    return [str(message["content"]) for message in json.loads(text) if message["role"] == "tool"]


@pytest.mark.parametrize("form", ["invalid_json", "unknown_name"])
@LANES
def test_fault_55_a_call_that_cannot_be_run_is_told_to_the_model(form: str, lane: str, make: Make) -> None:
    """The model reads the fault and answers; nothing runs and nothing crashes."""
    mill = with_tool(make, form, lane, first=1)
    finished(mill)
    mill.check_books()
    assert any("error" in content for content in tool_messages(mill))


def test_fault_55_arguments_that_are_an_object_are_taken_as_their_text(make: Make) -> None:
    """The tool runs, with every digit."""
    mill = with_tool(make, "object_arguments")
    finished(mill)
    assert tool_messages(mill) == ["11"]
    assert "11" in str(answer(mill))


def test_fault_55_calls_under_one_id_are_told_apart(make: Make) -> None:
    """Each is answered once, under an id of its own."""
    mill = with_tool(make, "duplicate_ids")
    finished(mill)
    [text] = [row[1] for row in mill.results("n, messages") if row[0] == STRUCK]
    messages = json.loads(text)
    asked = [call["id"] for message in messages for call in message.get("tool_calls") or ()]
    answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert len(asked) >= 2
    assert len(set(asked)) == len(asked)
    assert answered == asked


def test_fault_55_a_promise_of_calls_without_calls_is_tried_once_more(make: Make) -> None:
    """Paid twice and booked twice; then the row fails and may be tried again."""
    mill = with_tool(make, "empty_list")
    finished(mill, failed=(0, 1))
    mill.check_books()
    assert told(mill) == ("bad_payload", "no_tool_calls", True)
    assert calls(mill) == [OK] * 2


@LANES
def test_fault_55_calls_without_end_end_at_max_turns(lane: str, make: Make) -> None:
    """Every turn is booked."""
    mill = with_tool(make, "endless", lane)
    finished(mill, failed=(0, 1))
    mill.check_books()
    assert told(mill) == ("tool_loop", "max_turns", False)
    found = [row[1:] for row in mill.results("n, turns, calls, cost") if row[0] == 1]
    assert found[0][:2] == (4, 4)
    assert found[0][2] > Decimal(0)
