"""Wrong and doubtful parameters, own providers and odd conversations as a person meets them on the command line."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Cli, Shell


@pytest.mark.parametrize("command", ["check", "run"])
def test_what_a_service_refuses_is_refused_before_anything_is_sent(alone: Shell, cli: Cli, command: str) -> None:
    """All of it in one go with the other faults, exit 2; the provider of this job is not even there."""
    alone.sections["model.parameters"] = ["temperature = 3", 'stop = "x"', "n = 2"]
    said = cli(command, alone.write(alone.rows(1)), "--lane", "sync")
    assert said.code == 2
    assert "3 faults\n" in said.err
    assert "  model.parameters.temperature = 3: expected a number from 0 to 1\n" in said.err
    assert "  model.parameters.n = 2: expected 1; a row has one answer" in said.err
    assert not alone.out.exists()


def test_a_doubt_is_shown_by_check_and_said_once_by_a_run(shell: Shell) -> None:
    """It goes out as it stands: services change faster than tables."""
    shell.sections["model.parameters"] = ["temprature = 0.5", "logprobs = true"]
    folder = shell.write(shell.rows(3))
    shown = shell("check", folder).out
    doubts = [
        "model.parameters.temprature = 0.5: is not known at glm and is sent as it is. Did you mean temperature?",
        "model.parameters.logprobs = true: is never sent to glm, which does not document it: take it out",
    ]
    assert "warnings\n" + "".join(f"  {doubt}\n" for doubt in doubts) in shown
    said = shell("run", folder)
    assert said.code == 0
    assert [said.err.count(doubt) for doubt in doubts] == [1, 1]
    again = shell("run", folder)
    assert again.code == 0
    assert "model.parameters" not in again.err, "nothing to do is nothing to doubt"


def test_a_service_of_ones_own_needs_a_table_and_no_code(shell: Shell) -> None:
    """Another address that speaks like OpenAI: checked, run, and booked under its own name."""
    shell.more["MYCORP_KEY"] = "sk-mycorp-0123456789"
    shell.sections["provider.mycorp"] = [
        f"base_url = {json.dumps(shell.base.replace('/api/paas/v4', '/v1'))}",
        'api_key_env = "MYCORP_KEY"',
        'never_send = ["seed"]',
    ]
    folder = shell.write(
        shell.rows(2), provider="mycorp", name="corp-1", base_url=shell.base.replace("api/paas/v4", "v1")
    )
    shown = shell("check", folder).out
    assert "/v1 (speaks openai, never sent: seed)" in shown
    assert "from MYCORP_KEY" in shown
    said = shell("run", folder)
    assert said.code == 0, said.err
    assert "no price for mycorp/corp-1" in said.out
    assert "sk-mycorp" not in said.out + said.err


def test_conversations_a_service_would_refuse_or_half_answer_are_shown(alone: Shell, cli: Cli) -> None:
    """GLM's own code for a list without a question, and the order it does not follow."""
    system, user = {"role": "system", "content": "s"}, {"role": "user", "content": "u"}
    rows = [{"id": 1, "chat": [system]}, {"id": 2, "chat": [user, user, system]}]
    folder = alone.write(rows)
    text = (folder / "job.toml").read_text("utf-8").replace('user = "{{ text }}"', 'messages = "chat"')
    (folder / "job.toml").write_text(text, "utf-8")
    said = cli("check", folder, "--full")
    assert said.code == 1
    assert "rows.jsonl line 1\n  cannot be asked: glm would refuse this with 1214: messages 参数非法。" in said.out
    assert "rows.jsonl line 2\n  warning: messages.1: of several user messages" in said.out
    assert "  warning: messages.2: a system message after a user message" in said.out
    assert "1 row the prompt fails on:\n    rows.jsonl line 1: messages 参数非法。" in said.out
