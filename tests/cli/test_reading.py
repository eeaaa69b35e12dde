"""`check`, `status`, `show`, `tools`, `init` and `simulate`."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.core.canonical import repeated_key_id
from batch.core.plain import clean
from tests.cli.conftest import ROOT, Cli, Shell
from tests.simulator.conftest import Start

# -- check ------------------------------------------------------------------------------------------------------------


def test_check_shows_what_would_be_asked_and_touches_nothing(alone: Shell, cli: Cli) -> None:
    """Input, key variable, price, limits, output, columns, the first three prompts; no file is written."""
    folder = alone.write(alone.rows(5))
    before = sorted(folder.rglob("*"))
    said = cli("check", folder)
    assert said.code == 0
    first = "parts of 10,000 rows, each readable first after 60 s"
    for told in (
        "rows.jsonl",
        "from ZHIPUAI_API_KEY",
        "CNY per million tokens",
        "50 in flight",
        "(new)",
        alone.base,
        first,
    ):
        assert told in said.out
    assert said.out.count("Tell me about the number") == 3
    assert sorted(folder.rglob("*")) == before


def test_check_shows_the_limits_of_the_job_and_of_each_model(alone: Shell, cli: Cli) -> None:
    """FIELD 21: as they will be kept."""
    folder = alone.write(alone.rows(1))
    own = ["requests_per_minute=60", "tokens_per_minute=9000", "concurrency=4"]
    name = '"glm-4"'
    flags = [flag for key in own for flag in ("--set", f"limits.model.{name}.{key}")]
    said = cli("check", folder, "--set", "limits.tokens_per_minute=200000", *flags)
    assert said.code == 0
    first, second = said.out[said.out.index("  limits") :].splitlines()[:2]
    assert first.split("limits")[1].strip() == "50 in flight, 200,000 tokens per minute, 8 attempts a turn"
    assert second.strip() == "glm-4: 4 in flight, 60 requests per minute, 9,000 tokens per minute"


def test_check_names_renamed_columns_and_rows_and_long_messages_are_cut(alone: Shell, cli: Cli) -> None:
    """A column called like one of ours keeps its values under another name."""
    folder = alone.write([])
    table = pa.table({"id": ["a"], "text": ["y" * 5_000], "Status": ["open"]})
    pq.write_table(table, folder / "rows.parquet")
    said = cli("check", folder, "--set", "input.path=rows.parquet")
    assert said.code == 0
    assert "called input_Status in the output" in said.out
    assert ", 1 row (" in said.out
    assert "y" * 500 + "…" in said.out
    assert "y" * 501 not in said.out


def test_check_says_when_there_is_no_price(alone: Shell, cli: Cli) -> None:
    """Before the bill, not after it."""
    said = cli("check", alone.write(alone.rows(1)), "--set", "model.name=nobodys")
    assert said.code == 0
    assert "no price for glm/nobodys: cost will be null" in said.out


def test_check_refuses_what_run_would_refuse(alone: Shell, cli: Cli) -> None:
    """A template over a column that is not there, in a prompt that does not compile, from a file that is not there."""
    folder = alone.write(alone.rows(1))
    said = cli("check", folder, "--set", "prompt.user={{ txt }}")
    assert (said.code, "Did you mean text?" in said.err) == (2, True)
    said = cli("check", folder, "--set", "prompt.user={{ text")
    assert (said.code, "prompt.user line 1" in said.err) == (2, True)
    said = cli("check", folder, "--set", "input.path=row.jsonl")
    assert (said.code, "Did you mean rows.jsonl?" in said.err) == (2, True)


def test_check_full_names_every_row_that_cannot_be_asked(alone: Shell, cli: Cli) -> None:
    """Unreadable lines, missing and double keys, with file and line; exit 1."""
    lines = [
        '{"id": "a", "text": "one"}',
        "nonsense",
        '{"id": "a", "text": "two"}',
        '{"id": null, "text": "three"}',
        '{"id": "b", "text": "four"}',
        '{"id": "torn',
    ]
    folder = alone.write("\n".join(lines))
    assert cli("check", folder).code == 0
    said = cli("check", folder, "--full")
    assert said.code == 1
    assert "6 rows, 4 of them cannot be asked" in said.out
    for told in (
        "rows.jsonl line 2: ",
        "rows.jsonl line 3: id 'a' stands already at rows.jsonl line 1",
        "rows.jsonl line 4: id is empty",
        "rows.jsonl line 6: ",
    ):
        assert told in said.out


def test_check_full_names_rows_the_prompt_fails_on_and_at_most_ten_of_a_kind(alone: Shell, cli: Cli) -> None:
    """Ten are enough to see what is wrong; the count is exact."""
    folder = alone.write([{"id": str(number), "text": "x", "n": number % 2} for number in range(60)])
    said = cli("check", folder, "--full", "--set", "prompt.user={{ 1 // n }}")
    assert said.code == 1
    assert "30 rows the prompt fails on, the first 10:" in said.out
    assert said.out.count("ZeroDivisionError") == 10 + 2, "ten in the list, two among the first prompts"


def test_check_full_of_a_sound_input_is_quiet_and_repeats_are_counted(alone: Shell, cli: Cli) -> None:
    """Without a key, equal rows are no fault."""
    folder = alone.write([{"id": "a", "text": "same"}] * 3)
    text = (folder / "job.toml").read_text().replace('key = "id"\n', "")
    (folder / "job.toml").write_text(text)
    said = cli("check", folder, "--full")
    assert said.code == 0
    assert "2 rows equal to an earlier one" in said.out


# -- status and show --------------------------------------------------------------------------------------------------


@pytest.fixture
def done(shell: Shell) -> Shell:
    """A finished run: one row with a tool, one that failed for a passing reason, one for good."""
    shell.sections["limits"] = ["max_attempts = 1"]
    shell.sections["tools"] = ['module = "tools.py"']
    source = Path(__file__).resolve().parents[2] / "batch" / "cli" / "samples" / "tools" / "tools.txt"
    shutil.copy(source, shell.folder / "tools.py")
    rows = [
        {"id": "sum-1", "text": "What is 9007199254740993 plus 1?"},
        {"id": "bad-one", "text": "struck \x1b[31m"},
        {"id": "sum-2", "text": "What is 2 plus 2?"},
        {"id": "sum-2", "text": "again"},
    ]
    shell.write(rows)
    assert shell("run", ".", "--progress", "none").code == 1
    return shell


def test_status_tells_the_last_run_and_the_standing_failures(done: Shell, cli: Cli) -> None:
    """By kind and code, with example ids and the first message, for good or worth another try."""
    said = cli("status", done.out)
    assert said.code == 0
    assert said.out.startswith("shell: finished\n")
    assert "4: 2 ok, 2 failed" in said.out
    assert "1 for good, 1 worth another try" in said.out
    assert "1 row  input/duplicate_key, for good: sum-2-2-" in said.out
    assert "rows.jsonl line 4" in said.out
    assert "worth another try: bad-one" in said.out
    assert "promptmill show" in said.out
    found = json.loads(cli("status", done.out, "--json").out)
    assert (found["state"], found["permanent"], found["retryable"], found["table_rows"]) == ("finished", 1, 1, 4)
    assert found["totals"]["cost"]["CNY"].count(".") == 1
    assert {entry["code"] for entry in found["standing"]} >= {"duplicate_key"}


AS_NOBODY = """
import os, sys, zoneinfo
from batch.cli import main
from batch.money.prices import Prices
from tests.support.forking import load
load()  # what is read later may be root's alone
prices = Prices.load()
Prices.load = lambda: prices
zoneinfo.ZoneInfo("UTC")
main(["status", "--help"])
out = sys.argv[1]
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
commands = (["status", out], ["show", out, "sum-1"], ["compare", out], ["rebuild", out])
print([main(words) for words in commands], file=sys.stderr)
"""


def test_a_folder_in_which_nothing_may_be_written_can_be_looked_at(done: Shell) -> None:
    """FIELD 45. A backup, a colleague's folder, another disk: exit 5 it was. What writes says that it cannot."""
    with tempfile.TemporaryDirectory() as open_folder:
        Path(open_folder).chmod(0o755)
        copy = Path(shutil.copytree(done.out, Path(open_folder, "out")))
        for name in ("ledger.db-wal", "ledger.db-shm"):
            (copy / name).unlink(missing_ok=True)
        places = [copy, *copy.rglob("*")]
        for place in places:
            place.chmod(0o555 if place.is_dir() else 0o444)
        told = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(copy)], capture_output=True, text=True, cwd=ROOT, check=False
        )
        assert [copy, *copy.rglob("*")] == places
        for place in places:
            place.chmod(0o755)
    *refused, codes = told.stderr.splitlines()
    assert codes == "[0, 0, 2, 5]", told.stderr
    assert "its rows have no variants" in refused[0]
    assert "cannot be written: Permission denied. Make it writable" in refused[1]
    assert "shell: " in told.stdout
    assert "row sum-1" in told.stdout


def test_status_of_a_job_folder_names_its_output_folder(done: Shell, cli: Cli) -> None:
    """The two are easily taken for one another."""
    said = cli("status", done.folder)
    assert said.code == 2
    assert f"its output lies in {done.out}" in said.err
    assert cli("status", done.folder / "nowhere").code == 2


@pytest.mark.parametrize("command", ["status", "show"])
def test_a_ledger_that_was_never_made_is_said_to_be_one(command: str, tmp_path: Path, cli: Cli) -> None:
    """A process killed while it made the ledger leaves an empty file."""
    (tmp_path / "ledger.db").touch()
    said = cli(command, tmp_path, *(["some-row"] if command == "show" else []))
    assert said.code == 2
    assert "Run the job again; nothing was sent yet." in said.err


def test_show_tells_a_row_whole(done: Shell, cli: Cli) -> None:
    """Input, answer, the tool call with its exact numbers, both calls with tokens and cost."""
    said = cli("show", done.out, "sum-1")
    assert said.code == 0
    for told in (
        "row sum-1, number 0: ok",
        "What is 9007199254740993 plus 1?",
        '→ add({"a": 9007199254740993, "b": 1})',
        "← 9007199254740994",
        "2 calls",
        "answered  200",
        " CNY",
    ):
        assert told in said.out
    found = json.loads(cli("show", done.out, "sum-1", "--json").out)
    assert found["outcome"]["status"] == "ok"
    assert [message["role"] for message in found["messages"]] == ["assistant", "tool", "assistant"]
    assert [call["turn"] for call in found["calls"]] == [0, 1]
    assert found["inputs"] == {"id": "sum-1", "text": "What is 9007199254740993 plus 1?", "input_rest": None}


def test_show_of_a_failed_row_tells_why_and_no_control_character_reaches_the_terminal(done: Shell, cli: Cli) -> None:
    """A row's text could rewrite the screen; a beginning of the id is enough when only one row has it."""
    said = cli("show", done.out, "bad-")
    assert said.code == 0
    assert "failed" in said.out
    assert "error server/" in said.out
    assert "worth another try" in said.out
    assert "refused" in said.out
    assert "\x1b" not in said.out


def test_show_refuses_a_beginning_of_several_and_names_the_nearest(done: Shell, cli: Cli) -> None:
    """Exit 2, with ids one could have meant."""
    said = cli("show", done.out, "sum-")
    repeat = repeated_key_id("sum-2", 2)
    assert (said.code, said.err) == (2, f"promptmill: 'sum-' begins several row ids: sum-1, sum-2, {repeat}\n")
    said = cli("show", done.out, "sun-1")
    assert (said.code, "Did you mean sum-1" in said.err) == (2, True)
    said = cli("show", done.out, "17")
    assert (said.code, "Row ids here look like" in said.err) == (2, True)


def test_a_row_under_way_is_shown_with_its_state_and_its_open_call(tmp_path: Path, start: Start, cli: Cli) -> None:
    """Killed in the middle: the spill has its input, the ledger its call."""
    shell = Shell(tmp_path / "job", start())
    shell.sections["limits"] = ["concurrency = 1"]
    shell.more["PROMPTMILL_FAILPOINT"] = "sent.left:2"
    shell.write(shell.rows(3))
    assert shell("run", ".").code == -signal.SIGKILL
    settled = cli("show", shell.out, "r-000").out
    assert "settled, not in the table yet" in settled
    said = cli("show", shell.out, "r-001").out
    assert "in the middle of a call" in said
    assert "Tell me about the number 1." in said
    assert "open" in said
    assert "admitted, waits to be sent" in cli("show", shell.out, "r-002").out
    assert "left     2 rows" in cli("status", shell.out).out


def test_status_of_a_running_run_is_live(tmp_path: Path, start: Start, cli: Cli) -> None:
    """From status.json, which the run rewrites every second."""
    shell = Shell(tmp_path / "job", start("[latency]\nchat_ms = [20000, 20000]\n"))
    shell.write(shell.rows(2))
    process = shell.start("run", ".", "--progress", "plain")
    try:
        assert process.stderr is not None
        while "in flight" not in (line := process.stderr.readline()):
            assert line, "it ended"
        said = cli("status", shell.out)
        assert said.out.startswith("shell: running\n")
        assert "in flight" in said.out
        assert json.loads(cli("status", shell.out, "--json").out)["live"]["waiting_tasks"] == 0
    finally:
        process.kill()
        process.communicate()
    assert "killed" in cli("status", shell.out).out


# -- tools, init, simulate --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_tools_prints_the_schemas_and_calls_one_by_hand(tmp_path: Path, cli: Cli) -> None:
    """As the model sees them; a failing tool is exit 1, a wrong name exit 2."""
    job = tmp_path / "sample"
    assert cli("init", job).code == 0
    schemas = json.loads(cli("tools", job).out)
    assert [schema["function"]["name"] for schema in schemas] == ["add", "subtract", "multiply", "divide"]
    assert cli("tools", job, "add", '{"a": 9007199254740993, "b": 1}').out == "9007199254740994\n"
    failed = cli("tools", job, "divide", '{"a": 1, "b": 0}')
    assert (failed.code, "ZeroDivisionError" in failed.out) == (1, True)
    wrong = cli("tools", job, "add", "not json")
    assert (wrong.code, "invalid arguments" in wrong.out) == (1, True)
    for words, told in [(["ad"], "Did you mean add?"), (["add"], "a, b"), (["zzz", "{}"], "There are: add")]:
        said = cli("tools", job, *words)
        assert (said.code, told in said.err) == (2, True), said


@pytest.mark.slow
def test_a_call_by_hand_says_what_is_wrong_and_what_was_coerced(tmp_path: Path, cli: Cli) -> None:
    """What the model would read goes to stdout, what only the author can know to stderr."""
    job = tmp_path / "sample"
    assert cli("init", job).code == 0
    text = '{"a": "2", "b": 3}'
    refused = cli("tools", job, "add", text)
    assert (refused.code, refused.err) == (1, "")
    assert json.loads(refused.out) == {"error": "invalid arguments: parameter 'a': Expected `int | float`, got `str`"}
    taken = cli("tools", job, "add", text, "--set", "tools.coerce=true")
    assert (taken.code, taken.out) == (0, "5\n")
    assert taken.err == "promptmill: accepted because tools.coerce is true, and not of the right type: a\n"
    assert cli("tools", job, "add", '{"a": 2, "b": 3}', "--set", "tools.coerce=true").err == ""


@pytest.mark.slow
def test_functions_without_hints_are_told_by_tools_and_by_check(tmp_path: Path, cli: Cli) -> None:
    """They are offered all the same; one line says what they lack."""
    job = tmp_path / "sample"
    assert cli("init", job).code == 0
    (job / "tools.py").write_text("from batch import tool\n@tool\ndef add(a, b):\n    return a + b\n", encoding="utf-8")
    told = f"tools.module ({job / 'tools.py'}): without type hints a model may send anything"
    shown = cli("tools", job)
    assert (shown.code, shown.err.count(told)) == (0, 1)
    assert "add(a, b)" in shown.err
    assert json.loads(shown.out)[0]["function"]["parameters"]["properties"] == {"a": {}, "b": {}}
    checked = cli("check", job)
    assert (checked.code, checked.out.count(told)) == (0, 1)
    assert cli("tools", job, "add", '{"a": [1], "b": [2]}').out == "[1,2]\n"


def test_what_a_tool_prints_is_shown_beside_its_result(alone: Shell) -> None:
    """Its author looks for a mistake; stdout is the result alone."""
    alone.sections["tools"] = ['module = "tools.py"']
    (alone.folder / "tools.py").write_text(
        'from batch import tool\n@tool\ndef talk() -> str:\n    """Talk."""\n    print("on the way")\n    return "done"\n'
    )
    said = alone("tools", alone.write(alone.rows(1)), "talk")
    assert (said.code, said.out, said.err) == (0, "done\n", "on the way\n")


def test_tools_of_a_job_without_any_says_so(alone: Shell, cli: Cli) -> None:
    """Exit 2, with the section to add."""
    said = cli("tools", alone.write(alone.rows(1)))
    assert (said.code, "[tools]" in said.err) == (2, True)


def test_init_writes_a_job_that_runs_and_never_overwrites(tmp_path: Path, start: Start, cli: Cli) -> None:
    """The two commands it names are all a newcomer needs."""
    job = tmp_path / "first"
    said = cli("init", job)
    assert said.code == 0
    assert "  promptmill simulate\n" in said.out
    assert f"promptmill run {job}" in said.out
    assert sorted(path.name for path in job.iterdir()) == ["job.toml", "rows.jsonl", "tools.py"]
    again = cli("init", job)
    assert (again.code, "job.toml" in again.err) == (2, True)
    assert cli("check", job, "--full").code == 0
    shell = Shell(job, start())
    ran = shell("run", ".", "--set", f"model.base_url={shell.base}", "--progress", "none")
    assert ran.code == 0, ran
    assert "12 ok, 0 failed" in ran.out
    assert "9007199254740994" in shell("show", "out/sample", "q-10").out


def test_simulate_prints_its_address_serves_and_stops_in_peace(alone: Shell) -> None:
    """One line on stdout; SIGINT is the ordinary end, a port that is taken is not."""
    process = alone.start("simulate", "--port", "0")
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:")
    port = url.rsplit(":", 1)[1]
    taken = alone("simulate", "--port", port)
    assert (taken.code, f"port {port}: Address already in use" in taken.err) == (2, True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_wrong_scenario_is_told_with_its_place(tmp_path: Path, cli: Cli) -> None:
    """Exit 2."""
    path = tmp_path / "scenario.toml"
    path.write_text("[latency]\nchat_msec = [1, 2]\n")
    said = cli("simulate", "--scenario", path)
    assert (said.code, "latency.chat_msec" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a [2Jb"),
        ("right\u202eleft", "right left"),
        ("half\ud800", "half "),
        ("好 ok", "好 ok"),
        ("a\nb", "a b"),
    ],
)
def test_text_from_outside_is_made_harmless(text: str, shown: str) -> None:
    """Control characters, direction marks and half surrogates become blanks; what people write stays."""
    assert clean(text) == shown
