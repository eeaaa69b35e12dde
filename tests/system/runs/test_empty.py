"""Whole runs over rows that say nothing: what is sent, what the table has of the others, and what sets them free."""

from __future__ import annotations

import json
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batch.cli import main
from tests.simulator.conftest import Start
from tests.system.runs.asking import Ask, Asking, ask

__all__ = ["ask"]

USER = 'system = "You label tickets."\nuser = "Subject: {{ subject }}\\n{{ body }}"'
BLANKS: list[dict[str, Any]] = [
    {"subject": None, "body": None},
    {"subject": "", "body": " \t\n"},
    {"subject": "\u00a0\u3000", "body": "\ufeff\u200b"},
]
SAYING: list[dict[str, Any]] = [{"subject": "Bill", "body": None}, {"subject": "", "body": "0"}]


def states(asking: Asking) -> list[tuple[Any, ...]]:
    return asking.results("status, error_kind, error_code, calls, total_tokens, cost")


NOT_SENT = ("failed", "input", "empty", 0, 0, Decimal(0))


def test_a_row_whose_columns_are_all_blank_is_not_sent_whatever_the_template_says_around_them(ask: Ask) -> None:
    asking = ask(USER, [*BLANKS, *SAYING])
    assert asking.run().exit_code == 1
    found = states(asking)
    assert found[:3] == [NOT_SENT] * 3
    assert [row[:4] for row in found[3:]] == [("ok", None, None, 1)] * 2
    assert len(asking.books()) == 2
    asking.check_books()
    assert asking.run().state == "nothing_to_do"


def test_a_prompt_that_reads_no_column_asks_every_row(ask: Ask) -> None:
    """No columns are not "all columns blank"."""
    asking = ask('user = "Say something."', BLANKS)
    assert asking.run().exit_code == 0
    assert len(asking.books()) == 3


def test_setting_the_key_asks_these_rows_and_no_other_and_setting_it_back_keeps_what_was_bought(ask: Ask) -> None:
    asking = ask(USER, [*BLANKS, *SAYING])
    asking.run()
    asking.prompt = f'{USER}\nempty = "send"'
    report = asking.run()
    assert (report.exit_code, report.planned.changed, report.planned.unchanged) == (0, 3, 2)
    assert len(asking.books()) == 5
    asking.prompt = USER
    report = asking.run()
    assert (report.exit_code, report.planned.admitted, report.planned.unchanged) == (0, 0, 5)
    assert [row[0] for row in states(asking)] == ["ok"] * 5
    assert len(asking.books()) == 5


def test_a_row_that_was_answered_while_it_was_blank_stays_and_one_that_becomes_blank_is_not_asked(ask: Ask) -> None:
    """What an earlier version bought, which sent such rows, is not bought again and not thrown away."""
    asking = ask(f'{USER}\nempty = "send"', [*BLANKS, *SAYING])
    asking.run()
    asking.prompt = USER
    asking.write([{"n": n, **row} for n, row in enumerate([*BLANKS, BLANKS[0], SAYING[1]])])
    report = asking.run()
    assert (report.planned.changed, report.planned.unchanged) == (1, 4)
    assert [row[:3] for row in states(asking)] == [("ok", None, None)] * 3 + [NOT_SENT[:3], ("ok", None, None)]
    assert len(asking.books()) == 5


MESSAGES: list[Any] = [
    [{"role": "user", "content": ""}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": " "}]}],
    None,
    [],
    [{"role": "user", "content": "Hi"}],
]


def test_a_column_of_messages_says_nothing_when_the_last_user_message_is_blank(ask: Ask) -> None:
    asking = ask('messages = "chat"', [{"chat": json.dumps(chat) if chat else chat} for chat in MESSAGES])
    asking.run()
    assert [row[:3] for row in states(asking)] == [NOT_SENT[:3]] * 4 + [("ok", None, None)]


def test_turns_say_nothing_only_when_all_of_them_are_blank(ask: Ask) -> None:
    asking = ask('turns = "said"', [{"said": turns} for turns in ([" "], None, ["", "\u200b"], ["", "Hi", "\u200b"])])
    asking.run()
    assert [row[:3] for row in states(asking)] == [NOT_SENT[:3]] * 3 + [("ok", None, None)]


def test_a_picture_beside_a_blank_text_is_asked_about(ask: Ask) -> None:
    rows = [{"text": "", "photo": "https://example.org/a.png"}, {"text": "", "photo": None}]
    asking = ask('user = "{{ text }}"\nimages = ["photo"]', rows)
    asking.run()
    assert [row[:3] for row in states(asking)] == [("ok", None, None), NOT_SENT[:3]]


def test_pictures_alone_may_be_missing_where_the_text_says_something(ask: Ask) -> None:
    """No column stands in the text, so no blank column makes it say nothing."""
    asking = ask('user = "What is it?"\nimages = ["photo"]', [{"photo": None}, {"photo": []}])
    assert asking.run().exit_code == 0


def test_each_variant_decides_for_itself(ask: Ask) -> None:
    """One prompt reads the subject alone, the other the body too."""
    prompt = 'user = "{{ subject }}"\n[prompt.variants]\nshort = {}\nlong = { user = "{{ subject }} {{ body }}" }'
    asking = ask(prompt, [{"subject": "", "body": "late"}])
    asking.run()
    assert asking.results("variant, status, error_code") == [("short", "failed", "empty"), ("long", "ok", None)]
    assert len(asking.books()) == 1


class OfBatchFile(Asking):
    """A job over the lines of an OpenAI batch file, which bring their messages."""

    def save(self) -> Path:
        folder = super().save()
        text = (folder / "job.toml").read_text("utf-8").replace("[input]", '[input]\nformat = "openai-batch"')
        (folder / "job.toml").write_text(text, encoding="utf-8")
        return folder


def test_lines_of_a_batch_file_with_nothing_to_say_are_not_sent(tmp_path: Path, start: Start) -> None:
    mill = OfBatchFile(tmp_path / "job", start(""))
    said = (("\u2003", "empty"), ("Hi", None))
    bodies = [{"messages": [{"role": "user", "content": text}]} for text, _ in said]
    where = {"method": "POST", "url": "/v1/chat/completions"}
    mill.write([{"custom_id": f"r{n}", **where, "body": body} for n, body in enumerate(bodies)])
    assert mill.run().exit_code == 1
    assert mill.results("row_id, error_code") == [(f"r{n}", code) for n, (_, code) in enumerate(said)]


def test_check_counts_them_and_the_summary_names_the_way_out(
    ask: Ask, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = ask(USER, [*BLANKS, *SAYING])
    monkeypatch.setenv("ZHIPUAI_API_KEY", asking.environ["ZHIPUAI_API_KEY"])
    folder = str(asking.save())
    assert main(["check", folder, "--full"]) == 1
    said = capsys.readouterr().out
    assert "5 rows, 3 of them cannot be asked" in said
    assert "3 rows with nothing to ask:" in said
    assert 'or set prompt.empty = "send"' in " ".join(said.split())
    asking.run()
    assert main(["status", str(asking.out)]) == 0
    assert '3 of them with nothing to ask: prompt.empty = "send"' in capsys.readouterr().out


def test_a_run_that_was_killed_under_one_rule_goes_on_under_the_other(ask: Ask) -> None:
    """Rows before the place where it was killed were chosen by the old rule, so they are looked at once more."""
    asking = ask('user = "{{ said }}"', [{"said": "" if n % 2 else f"Say {n}."} for n in range(30)])
    asking.output = {"rows_per_part": 5}
    code, _ = asking.command(failpoint="settled.committed:3")
    assert code == -signal.SIGKILL
    asking.prompt += '\nempty = "send"'
    assert asking.command()[0] == 0
    assert asking.results("count(*) FILTER (WHERE status = 'ok')") == [(30,)]
    assert len({record["client_call_id"] for record in asking.books()}) <= 30 + asking.limits["concurrency"]
    asking.check_books(at_risk=asking.limits["concurrency"])
