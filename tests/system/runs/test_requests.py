"""What a row asks in whole runs: conversations of several turns, seeded messages, files, parameters."""

from __future__ import annotations

import json
import signal
from itertools import pairwise
from typing import Any

import pytest

from batch.cli import main
from tests.system.runs.asking import Ask, ask
from tests.system.runs.conftest import LANES

__all__ = ["ask"]

ADD = '''from batch import tool


@tool
def add(a: int, b: int) -> int:
    """Add two numbers: a + b."""
    return a + b
'''


def talks(count: int) -> list[dict[str, Any]]:
    """Conversations of one to three turns, with blanks between."""
    every = ["Tell me of number {}.", "", "And of its double, for {}?", None, "  ", "Thanks, {}."]
    return [{"said": [text and text.format(n) for text in every[: (1, 3, 6)[n % 3]]]} for n in range(count)]


# -- conversations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("provider", "lane"), [*LANES, ("glm", "stream")])
def test_each_turn_is_sent_with_the_whole_conversation_and_paid_by_itself(provider: str, lane: str, ask: Ask) -> None:
    """One row of the table, a call for each turn, sums over them; rows know nothing of each other."""
    asking = ask('turns = "said"', talks(30), provider=provider, lane=lane)
    report = asking.run()
    assert (report.exit_code, report.totals.rows_ok) == (0, 30)
    asking.check_table(30)
    asking.check_books()
    asking.check_sums()
    assert asking.one("turns") == [(1, 2, 3)[n % 3] for n in range(30)]
    for row, turns, answer, text in asking.results("said, turns, answer, messages"):
        kept = json.loads(text)
        said = [turn for turn in row if turn and turn.strip()]
        assert [message["content"] for message in kept if message["role"] == "user"] == said[1:]
        answers = [message["content"] for message in kept if message["role"] == "assistant"]
        assert len(answers) == turns
        assert answers[-1] == answer
        assert f'About "{" ".join(said[-1].split()[:6])}"' in answer, "the last user message is the one answered"
    used = asking.calls("row_id, turn, prompt_tokens", "true ORDER BY row_id, turn")
    for before, after in pairwise(used):
        if before[0] == after[0]:
            assert after[1] == before[1] + 1
            assert after[2] > before[2], "the history is sent again, and billed again"
    assert asking.run().state == "nothing_to_do"


def test_turns_may_come_as_json_text_or_a_parquet_list_and_ask_for_the_same(ask: Ask) -> None:
    """Another form of the same conversation buys nothing again."""
    rows = talks(6)
    asking = ask('turns = "said"', rows)
    assert asking.run().exit_code == 0
    bought = len(asking.books())
    asking.write([{"n": n, "said": [turn or "" for turn in row["said"]]} for n, row in enumerate(rows)])
    assert asking.run().totals.rows == 0
    assert len(asking.books()) == bought


def test_tools_are_run_inside_a_turn_of_a_conversation(ask: Ask) -> None:
    """`max_turns` holds for each user message, not for the talk."""
    said = ["Please add 1 and 2.", "Please add 30 and 12.", "Thank you."]
    asking = ask('turns = "said"', [{"said": said}])
    asking.tools, asking.max_turns = ADD, 2
    assert asking.run().exit_code == 0
    ((turns, tools, text),) = asking.results("turns, tool_calls, messages")
    assert (turns, tools) == (5, 2)
    assert [message["content"] for message in json.loads(text) if message["role"] == "tool"] == ["3", "42"]
    asking.check_books()
    asking.check_sums()


@pytest.mark.parametrize("lane", ["sync", "task"])
def test_a_turn_that_fails_fails_the_row_and_keeps_what_was_paid_before(lane: str, ask: Ask) -> None:
    """The answers to earlier turns stay in `messages`, their tokens in the sums; other rows go on."""
    rows = [{"said": ["Tell me of 1.", f"Go {way} now.", "Bye."]} for way in ("left", "right", "straight")]
    asking = ask('turns = "said"', rows, '[[fault]]\nbehaviour = 65\nrows = ["Go right"]', lane=lane)
    report = asking.run()
    assert (report.exit_code, report.totals.rows_failed) == (1, 1)
    asking.check_table(3)
    asking.check_books()
    asking.check_sums()
    assert asking.one("status") == ["ok", "failed", "ok"]
    ((answer, kind, turns, calls, tokens, text),) = asking.query(
        "SELECT answer, error_kind, turns, calls, total_tokens, messages FROM "
        f"read_parquet('{asking.out}/results/*.parquet') WHERE status = 'failed'"
    )
    assert (answer, kind, turns, calls) == (None, "content_filter", 1, 2)
    assert tokens > 0
    assert [message["role"] for message in json.loads(text)] == ["assistant", "user"]
    assert asking.run().totals.rows == 0, "for good: not asked again"


def test_a_turn_that_fails_at_first_is_asked_again_and_the_turns_before_it_are_not(ask: Ask) -> None:
    """Attempts are counted per turn."""
    fault = '[[fault]]\nbehaviour = 28\nrows = ["Go right"]\nfirst = 2'
    asking = ask('turns = "said"', [{"said": ["Tell me of 1.", "Go right now."]}], fault)
    assert asking.run().exit_code == 0
    calls = asking.calls("turn, attempt, state", "true ORDER BY turn, attempt")
    told = asking.calls("http_status, error_kind, error_code", "state = 'refused'")
    assert {status >= 500 and kind == "server" and bool(code) for status, kind, code in told} == {True}
    assert calls == [(0, 0, "answered"), (1, 0, "refused"), (1, 1, "refused"), (1, 2, "answered")]
    asking.check_books()
    asking.check_sums()


@pytest.mark.parametrize(
    ("lane", "point"),
    [("sync", "answered.received:5"), ("stream", "sent.committed:3"), ("task", "answered.committed:2")],
)
def test_a_killed_conversation_goes_on_and_pays_no_turn_twice(lane: str, point: str, ask: Ask) -> None:
    """Promise 2: every answered turn is journaled; at most the calls in flight are at risk."""
    asking = ask('turns = "said"', talks(9), lane=lane)
    asking.limits["concurrency"] = 2
    assert asking.command(failpoint=point)[0] == -signal.SIGKILL
    code, said = asking.command()
    assert code == 0, said
    asking.check_table(9)
    asking.check_books(at_risk=2)
    asking.check_sums()
    assert asking.one("turns") == [(1, 2, 3)[n % 3] for n in range(9)]
    answered = asking.calls("row_id, turn, count(*)", "state = 'answered' GROUP BY ALL")
    assert len(answered) == 18
    assert {times for _, _, times in answered} == {1}
    if lane == "task":
        assert len(asking.books()) == 18, "a committed task is collected"


def test_the_start_of_a_conversation_is_the_jobs_and_the_rest_the_rows(ask: Ask) -> None:
    """System, seeded messages with the row's own values, then its turns: on the wire in this order."""
    prompt = (
        'system = "You are {{ who }}."\nturns = "said"\nstart = [{ role = "user", content = "Who are you?" }, '
        '{ role = "assistant", content = "{{ who }}, at your service." }]'
    )
    asking = ask(prompt, [{"who": "Ada {{ 7*7 }}", "said": ["What do you do?", "Why?"]}])
    assert asking.run(wire_log=True).exit_code == 0
    first, second = [body["messages"] for body in asking.sent()]
    assert first == [
        {"role": "system", "content": "You are Ada {{ 7*7 }}."},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "Ada {{ 7*7 }}, at your service."},
        {"role": "user", "content": "What do you do?"},
    ]
    assert second[:4] == first
    assert [message["role"] for message in second[4:]] == ["assistant", "user"]


@pytest.mark.parametrize("cell", [None, [], ["", " "], "no list", [1], {"a": "b"}, [["x"]]])
def test_a_row_with_nothing_to_say_is_one_failed_row_unsent(cell: Any, ask: Ask) -> None:
    """Whatever the cell is: the row fails with its reason, the others are answered."""
    asking = ask('turns = "said"', [{"said": ["Hi."]}, {"said": cell}, {"said": ["Ho."]}])
    assert asking.run().exit_code == 1
    assert asking.one("status") == ["ok", "failed", "ok"]
    kind, why = asking.results("error_kind, error_message")[1]
    assert kind == ("input" if cell in (None, [], ["", " "]) else "prompt")
    assert "said" in why
    assert len(asking.books()) == 2


# -- files ----------------------------------------------------------------------------------------------------------


def test_a_file_goes_into_the_prompt_and_a_changed_one_asks_again(ask: Ask) -> None:
    """Its text is part of what is asked, so nobody has to remember to ask again."""
    asking = ask('system = "{{ file(\'guide.md\') }}"\nuser = "{{ q }}"', [{"q": "One?"}, {"q": "Two?"}])
    (asking.folder / "guide.md").write_text("# 指南 {{ q }}\n", encoding="utf-8")
    assert asking.run(wire_log=True).exit_code == 0
    assert [body["messages"][0]["content"] for body in asking.sent()] == ["# 指南 {{ q }}\n"] * 2
    assert asking.run().state == "nothing_to_do"
    (asking.folder / "guide.md").write_text("# 指南 2\n", encoding="utf-8")
    assert asking.run().totals.rows == 2
    asking.check_books()


def test_a_file_that_changed_under_a_killed_run_is_another_job(ask: Ask) -> None:
    """Half a conversation is not gone on with over another background text."""
    asking = ask('system = "{{ file(\'guide.md\') }}"\nturns = "said"', talks(9))
    asking.limits["concurrency"] = 2
    (asking.folder / "guide.md").write_text("one", encoding="utf-8")
    assert asking.command(failpoint="answered.committed:2")[0] == -signal.SIGKILL
    (asking.folder / "guide.md").write_text("two", encoding="utf-8")
    assert asking.command("--wire-log")[0] == 0
    assert {body["messages"][0]["content"] for body in asking.sent()} == {"two"}
    assert [run["state"] for run in asking.runs()] == ["job_changed", "finished"]
    asking.check_table(9)
    asking.check_books(at_risk=2)


def test_a_file_outside_the_folder_is_refused_before_anything_is_sent(ask: Ask) -> None:
    """A fault of the job: exit 2, with the template's line."""
    asking = ask("user = \"{{ q }}\\n{{ file('../../etc/passwd') }}\"", [{"q": "One?"}])
    code, said = asking.command()
    assert code == 2
    assert "prompt.user line 2" in said
    assert "outside the job's folder" in said
    assert asking.books() == []


# -- what is refused or warned of -----------------------------------------------------------------------------------


def test_rows_that_ask_nothing_are_refused_as_the_service_would_and_not_sent(ask: Ask) -> None:
    """System and assistant messages only: 1214, for good, without a call."""
    kind = [{"role": "system", "content": "Be kind."}]
    chats = [kind, [*kind, {"role": "assistant", "content": "Hello."}], [*kind, {"role": "user", "content": "Hi."}]]
    asking = ask('messages = "chat"', [{"chat": chat} for chat in chats])
    assert asking.run().exit_code == 1
    table = asking.results("status, error_kind, error_code, retryable, calls")
    assert table[:2] == [("failed", "bad_request", "1214", False, 0)] * 2
    assert table[2][0] == "ok"
    assert len(asking.books()) == 1
    assert asking.run().totals.rows == 0


@pytest.mark.parametrize(
    ("prompt", "row", "model", "warning"),
    [
        (
            'messages = "chat"',
            {"chat": [{"role": "user", "content": "Hi."}, {"role": "system", "content": "Be kind."}]},
            "glm-4",
            "a system message after a user message",
        ),
        (
            'messages = "chat"',
            {"chat": [{"role": "user", "content": "One?"}, {"role": "user", "content": "Two?"}]},
            "glm-4",
            "of several user messages in a row",
        ),
        (
            'user = "What?"\nimages = ["photo"]',
            {"photo": ["https://h/1", "https://h/2"]},
            "glm-4v-flash",
            "2 images: glm-4v-flash is documented to take at most 1",
        ),
    ],
)
def test_check_warns_of_what_the_model_would_make_less_of(
    prompt: str,
    row: dict[str, Any],
    model: str,
    warning: str,
    ask: Ask,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before anything is paid; the run may go on all the same."""
    asking = ask(prompt, [row], model=model)
    for name, value in asking.environ.items():
        monkeypatch.setenv(name, value)
    assert main(["check", str(asking.save())]) == 0
    said = capsys.readouterr()
    assert warning in " ".join((said.out + said.err).split())
    assert asking.run().exit_code == 0


def test_parameters_of_a_row_are_sent_with_it(ask: Ask) -> None:
    """Null: left out; what the service would refuse is that row's failure."""
    rows = [{"q": "One?", "most": 5}, {"q": "One?", "most": None}, {"q": "One?", "most": 0}]
    asking = ask('user = "{{ q }}"', rows)
    asking.more = '[model.parameters]\nmax_tokens = { column = "most" }\ntemperature = 0.5'
    assert asking.run(wire_log=True).exit_code == 1
    assert [body.get("max_tokens") for body in asking.sent()] == [5, None]
    assert asking.one("error_kind") == [None, None, "prompt"]
    assert asking.results("flags")[0] == (["truncated"],)


def test_greedy_answers_stop_words_and_bounds_reach_the_provider(ask: Ask) -> None:
    """As they were written; an answer that was cut says so, one that ended at a stop word is whole."""
    long = "Tell me a lot about the sky, the sea and the mountains."
    asking = ask('user = "{{ q }}"', [{"q": long, "most": 3}, {"q": long, "most": None}])
    asking.more = '[model.parameters]\ndo_sample = false\nstop = ["lot"]\nmax_tokens = { column = "most" }'
    assert asking.run(wire_log=True).exit_code == 0
    assert [(body["do_sample"], body["stop"]) for body in asking.sent()] == [(False, ["lot"])] * 2
    assert not any("temperature" in body or "top_p" in body for body in asking.sent())
    cut, whole = asking.results("answer, finish_reason, flags, completion_tokens")
    assert cut[1:] == ("length", ["truncated"], 3)
    assert whole[1:3] == ("stop", [])
    assert whole[0] == 'About "Tell me a '
    asking.write([{"n": 2, "q": long, "most": None}])
    asking.more = "[model.parameters]\ndo_sample = false"
    assert asking.run().exit_code == 0
    assert "lot" in asking.results("answer")[-1][0]
