"""`promptmill explain` as a person sees it."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

from batch.cli import app
from batch.cli.explain import command_flags
from batch.core.codes import CODES
from batch.job.keys import KEYS
from batch.simulator.faults.register import BEHAVIOURS
from tests.cli.conftest import ROOT, Cli

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def eighty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No terminal of whoever runs the tests."""
    monkeypatch.delenv("COLUMNS", raising=False)


def test_alone_it_lists_all_there_is(cli: Cli) -> None:
    """FIELD 50. Keys, columns, flags, errors, exit codes and the simulator's faults, each by name."""
    said = cli("explain")
    assert (said.code, said.err) == (0, "")
    for group in ("keys", "columns", "flags", "errors", "exits", "simulator"):
        assert f"\n{group}: " in said.out
    words = set(re.findall(r"[\w-]+", said.out))
    assert {name.rpartition(".")[2] for name in KEYS} <= words
    assert set(map(str, BEHAVIOURS)) <= words
    assert {"--max-failed", "error_message", "finish_unknown", "rate_limit", "70"} <= words


@pytest.mark.parametrize("command", app.COMMANDS)
def test_every_flag_of_every_command_is_told(command: str, cli: Cli) -> None:
    """FIELD 50. Those of the function behind the command, with the words of its help: nothing is written twice."""
    module, _, name = app.COMMANDS[command][0].partition(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters.values()
    flags = {f"--{one.name.strip('_').replace('_', '-')}" for one in parameters if one.kind is one.KEYWORD_ONLY}
    told = {topic.name.split()[1]: topic.text for topic in command_flags() if topic.part_of == (command,)}
    assert set(told) == flags
    helped = " ".join(cli(command, "--help").out.split())
    assert all(text and text in helped for text in told.values())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["limits.concurrency"], ["key of job.toml", "default  50", "concurrency = 20"]),
        (["--only"], ["run --only  (flag of promptmill run)", "new, changed,", "short (of samples)"]),
        (
            ["run", "--if-running"],
            ["takes     fail, wait, skip", "default   fail", "PROMPTMILL_RUN_IF_RUNNING or PROMPTMILL_IF_RUNNING"],
        ),
        (["-o"], ["check --output", "run --output", "also      -o"]),
        (["exit", "2"], ["2  (exit code)", "Refused to start"]),
        (["70"], ["A bug of ours.", "fault 70  (fault of the simulator)"]),
        (["truncated"], ["flag of an answer", "raise max_tokens"]),
        (["rate_limit"], ["kind of error"]),
        (["calls.cost"], ["column of calls", "decimal128(38, 12)"]),
        (["fault", "23"], ["1305, 1312", "usual rate  0.85", "behaviour = 23"]),
        (["limits"], ["[limits]: How fast", "limits.model.NAME.concurrency"]),
        (["latency.chat_ms"], ["key of a scenario", "default  [20, 60]"]),
        (["exits"], ["  70  A bug of ours."]),
    ],
)
def test_a_topic_is_told_in_plain_words(words: list[str], told: list[str], cli: Cli) -> None:
    """FIELD 50. By its name, in as many words as it has."""
    said = cli("explain", *words)
    assert (said.code, said.err) == (0, "")
    assert [text for text in told if text not in said.out] == []


@pytest.mark.parametrize(
    ("written", "kind"),
    [("failed/label", "label"), ("label/no_label", "label"), ("input/empty", "input"), ("failed/input/empty", "input")],
)
def test_a_kind_of_error_as_it_stands_in_a_summary_is_told_alone(written: str, kind: str, cli: Cli) -> None:
    """Not with all else that is called so: a column, a section of the job, a line. A code of ours is told beside it."""
    said = cli("explain", written).out
    assert said.startswith(f"{kind}  (kind of error)\n")
    own = re.findall(r"^code (\w+)  \(code of an error\)$", said, re.MULTILINE)
    assert own == [code for code in written.split("/")[-1:] if code in CODES and code != kind]
    assert said.count("\n\n") == len(own)


@pytest.mark.parametrize("written", ["duplicate_key", "input/duplicate_key", "failed/input/duplicate_key"])
def test_a_code_of_ours_is_told_however_a_summary_writes_it(written: str, cli: Cli) -> None:
    """It was no topic, although rows fail with it."""
    assert CODES["duplicate_key"][:40] in cli("explain", written).out


def test_an_unknown_topic_names_near_ones_and_ends_with_2(cli: Cli) -> None:
    """FIELD 50. On stderr, like every refusal."""
    said = cli("explain", "limits.concurrenci")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(
        "promptmill: nothing is called 'limits.concurrenci' here. Did you mean limits.concurrency"
    )


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_lines_are_as_wide_as_the_terminal_and_never_coloured(
    columns: int, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 50. At most a hundred characters: wider lines are hard to read."""
    monkeypatch.setenv("COLUMNS", str(columns))
    for topic in ("", "errors", "limits", "model.parameters", "fault 66"):
        out = cli("explain", topic).out
        assert "\x1b" not in out
        prose = [line for line in out.splitlines() if " = " not in line and len(line.split()) > 3]
        assert max(map(len, prose), default=0) <= min(columns, 100)
    assert max(len(line) for line in cli("explain", "errors").out.splitlines()) > min(columns, 100) - 25


def test_the_readme_shows_what_it_says(cli: Cli) -> None:
    """FIELD 50. The block of the README is the command's own output."""
    blocks = re.findall(r"```console\n\$ promptmill (explain [^\n]*)\n(.*?)```", README, re.DOTALL)
    assert blocks
    for command, expected in blocks:
        assert cli(*command.split()).out == expected


def test_help_and_readme_list_the_exit_codes_there_are(cli: Cli) -> None:
    """FIELD 50. One list of codes: in `--help`, in the README's table, in `explain exits`."""
    listed = re.findall(r"^\| (\d+) \|", README, re.MULTILINE)
    told = re.findall(r"^  (\d+) ", cli("explain", "exits").out, re.MULTILINE)
    helped = re.findall(r"^  (\d+) ", cli("--help").out, re.MULTILINE)
    assert listed == told == helped
