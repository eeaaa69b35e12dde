"""What every command shares: help, exit codes, and messages for a command line that cannot be."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from batch.cli import app, explain, main, variables
from batch.core import errors
from tests.cli.conftest import ROOT, Cli, Shell


def test_help_lists_every_command_and_every_exit_code(cli: Cli) -> None:
    """The first thing a person reads, and the contract cron jobs rely on."""
    said = cli("--help")
    assert said.code == 0
    assert not said.err
    for command in ("init", "check", "run", "status", "show", "tools", "simulate"):
        assert re.search(rf"^  {command}  +[A-Z]", said.out, re.MULTILINE)
    for code in (0, 1, 2, 4, 5, 6, 70):
        assert f"\n  {code:<3} " in said.out
    assert "--debug" in said.out


def test_exit_codes_are_named_where_they_exist_and_nowhere_else(cli: Cli) -> None:
    """FIELD 48: a 3 that nothing ends with, in --help."""
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(code) for code in re.findall(r"^ {1,2}(\d+) ", cli("--help").out, re.MULTILINE)} == codes
    readme = (ROOT / "README.md").read_text("utf-8")
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", readme, re.MULTILINE)} == codes


def test_variables_of_ours_are_named_where_something_reads_them() -> None:
    """FIELD 48: PROMPTMILL_STATE was set by a script, and read by nobody."""
    scripts = [path.read_text("utf-8") for path in (ROOT / "scripts").iterdir() if path.is_file()]
    code = [path.read_text("utf-8") for folder in ("batch", "tests") for path in (ROOT / folder).rglob("*.py")]
    readme = (ROOT / "README.md").read_text("utf-8")
    named = {name for text in (readme, *scripts) for name in re.findall(r"PROMPTMILL_[A-Z_]+", text)}
    read = {name for text in code for name in re.findall(r'"(PROMPTMILL_[A-Z_]+)"', text)}
    read |= {name for text in scripts for name in re.findall(r"\$\{(PROMPTMILL_[A-Z_]+)", text)}
    for flag in explain.command_flags():
        command, _, option = flag.name.partition(" ")
        read |= {*variables.names(command, option)} if option else set()
    assert named - read == set()


@pytest.mark.parametrize("command", app.COMMANDS)
def test_the_help_of_a_command_says_what_each_of_its_flags_is_for(command: str, cli: Cli) -> None:
    """A flag without a word beside it helps nobody."""
    said = cli(command, "--help")
    assert said.code == 0
    shown = said.out.split("Options:")[1].splitlines() if "Options:" in said.out else []
    flags = [line for line in shown if line.startswith("  --")]
    assert ("[OPTIONS]" in said.out) is bool(flags)
    assert all(re.fullmatch(r"  --\S.*?  +\S.*", line) for line in flags), flags
    assert "Exit codes" not in said.out


FAST = ("cyclopts", "rich", "attr", "attrs", "asyncio", "structlog", "difflib", "email", "inspect")
"""What the list of commands does without, too: `--help` alone is to come in a blink."""
MOST_FAST_MODULES = 120
HEAVY = ("pyarrow", "httpx", "jinja2", "starlette", "uvicorn", "apsw", "msgspec")
MOST_MODULES = 300
"""Each costs a fraction of a millisecond; `scripts/bench` measures the time itself."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["run", "--help"], ["status", "--help"], ["simulate", "--help"], ["explain", "--help"]],
)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    """Arrow and the servers cost more than the rest of the command together; and many light ones are heavy, too."""
    code = (
        "import sys; from batch.cli import main; main(sys.argv[1:]); "
        f"print(len(sys.modules), *(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=True)
    count, *heavy = done.stderr.split()
    assert heavy == []
    assert int(count) <= MOST_MODULES


@pytest.mark.slow
def test_the_list_of_commands_needs_no_parser_of_commands() -> None:
    """It is asked for by whoever has forgotten a name, and takes three times as long with cyclopts and rich."""
    code = (
        "import sys; from batch.cli import main; main(['--help']); "
        f"print(len(sys.modules), *(name for name in {HEAVY + FAST!r} if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    count, *heavy = done.stderr.split()
    assert heavy == []
    assert int(count) <= MOST_FAST_MODULES


@pytest.mark.parametrize("columns", ["30", "80", "200"])
def test_the_list_of_commands_is_what_the_parser_would_print(
    columns: str, monkeypatch: pytest.MonkeyPatch, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two that print one page must not drift apart."""
    monkeypatch.setenv("COLUMNS", columns)
    printed = cli("--help").out
    assert cli("-h").out == printed
    app.make_app(None)(["--help"])
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rnu", "x"], "there is no command 'rnu'. Did you mean run?\n"),
        (["run"], "run needs JOB"),
        (["run", ".", "--lmit", "3"], "there is no option --lmit. Did you mean --limit?\n"),
        (["run", ".", "--limit", "many"], "--limit"),
        (["run", ".", "--limit", "0"], "--limit 0"),
        (["run", ".", "--lane", "boat"], '"sync", "stream"'),
        (["run", ".", "--lane", "sync,bulk"], "Did you mean 'bulk,sync'?"),
        (["run", ".", "--progress", "loud"], "--progress"),
        (["run", ".", "--progress", "plan"], "Did you mean plain?"),
        (["run", ".", "--shuffle"], "--limit N"),
        (["run", ".", "--limit", "3", "--seed", "1"], "--shuffle"),
        (["run", "a", "b"], "unexpected argument: b"),
        (["run", "/nowhere/at/all"], "/nowhere/at/all"),
        (["check", "/nowhere/at/all"], "promptmill init"),
        (["check", ".", "--fll"], "Did you mean --full?"),
        (["check", ".", "--zzzz"], "there is no option --zzzz.\n"),
        (["status", "/nowhere/at/all"], "/nowhere/at/all"),
        (["status"], "OUT"),
        (["show", "/nowhere/at/all", "1"], "/nowhere/at/all"),
        (["show", "."], "show needs ROW_ID"),
        (["tools", "/nowhere/at/all"], "/nowhere/at/all"),
        (["simulate", "--port", "99999"], "--port 99999"),
        (["simulate", "--scenario", "/nowhere/x.toml"], "/nowhere/x.toml"),
        (["run", ".", "--set"], "--set needs a value"),
        (["init"], "init needs FOLDER"),
    ],
)
def test_a_wrong_command_line_is_refused_with_its_place_and_a_way_out(words: list[str], told: str, cli: Cli) -> None:
    """Exit 2, one message on stderr, nothing on stdout, no traceback."""
    said = cli(*words)
    assert said.code == 2, said
    assert said.err.startswith("promptmill: ")
    assert told in said.err
    assert "Traceback" not in said.err
    assert not said.out


def test_every_fault_of_a_job_is_told_in_one_go(alone: Shell, cli: Cli) -> None:
    """With dotted path, value, where it came from and the nearest name."""
    folder = alone.write(alone.rows(1))
    said = cli("run", folder, "--set", "model.lne=sync", "--set", "limits.concurrency=none", "--set", "nonsense")
    assert said.code == 2
    assert "3 faults" in said.err
    assert "Did you mean lane?" in said.err
    assert 'limits.concurrency = "none"' in said.err
    assert "--set nonsense" in said.err


def test_a_fault_names_its_key_once(alone: Shell, cli: Cli) -> None:
    """FIELD 48: "output.columns: output.columns: the input has no column"."""
    alone.sections["output"] = ['columns = ["txt"]']
    folder = alone.write(alone.rows(1))
    job = (folder / "job.toml").read_text("utf-8").replace('[output]\npath = "out"\n[output]', "[output]")
    (folder / "job.toml").write_text(job, "utf-8")
    said = cli("check", folder)
    assert said.code == 2
    assert said.err.count("output.columns") == 1
    assert "the input has no column 'txt'. Did you mean text?" in said.err


def test_a_secret_given_as_a_setting_is_not_shown_again(alone: Shell, cli: Cli) -> None:
    """People try to put keys where they do not belong; the message must not keep them in a log of cron."""
    said = cli("run", alone.write(alone.rows(1)), "--set", "model.api_key=sk-1234567890abcdefghij")
    assert said.code == 2
    assert "keys never stand in a job" in said.err
    assert "sk-1234567890" not in said.err


def test_a_bug_of_ours_ends_with_70_and_a_traceback_only_on_wish(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No locals in either: they may hold rows and keys."""

    def broken(out: Path) -> None:
        secret = "sk-" + "a1b2c3d4e5f6g7h8i9"
        raise ExceptionGroup("several", [RuntimeError(f"boom with {secret}")])

    monkeypatch.setattr("batch.report.status.status_of", broken)
    said = cli("status", tmp_path)
    assert said.code == 70
    assert "a bug of ours: RuntimeError: boom with [masked]" in said.err
    assert "Traceback" not in said.err
    assert "--debug" in said.err
    told = cli("status", tmp_path, "--debug")
    assert told.code == 70
    assert "Traceback" in told.err
    assert "a1b2c3d4e5f6g7h8i9" not in told.err


def test_an_interrupt_outside_of_a_run_ends_with_4(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a run does."""

    def interrupted(out: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("batch.report.status.status_of", interrupted)
    assert cli("status", tmp_path).code == 4


def test_a_reader_that_has_had_enough_is_no_error(alone: Shell) -> None:
    """`promptmill check JOB | head -1`."""
    alone.write(alone.rows(3))
    process = alone.start("check", ".")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(120) == 0


def test_a_full_disk_behind_stdout_is_told(alone: Shell) -> None:
    """Half a table that reads as a whole one would be believed."""
    alone.write(alone.rows(3))
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "batch", "check", "."],
            cwd=alone.folder,
            env=alone.environ(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert process.returncode == 5
    assert process.stderr == "promptmill: stdout: cannot be written: No space left on device.\n"


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"]])
def test_help_behind_a_full_disk_is_no_bug_of_ours(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 42. It was exit 70, with a word about answers that are safe."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(words) == 5
    assert capsys.readouterr().err == "promptmill: stdout: cannot be written: No space left on device.\n"


@pytest.mark.parametrize(
    "words",
    [
        ["run", "JOB", "-o", "LONG"],
        ["check", "JOB", "-o", "LONG"],
        ["run", "LONG"],
        ["check", "LONG"],
        ["tools", "LONG"],
        ["init", "LONG"],
        ["status", "LONG"],
        ["show", "LONG", "r-001"],
        ["compare", "LONG"],
        ["rebuild", "LONG"],
        ["simulate", "--scenario", "LONG"],
        ["run", "JOB", "--set", "input.path=LONG"],
        ["run", "JOB", "--set", "tools.module=LONG"],
        ["run", "JOB", "-o", "JOB/job.toml"],
        ["check", "JOB", "-o", "JOB/job.toml"],
        ["run", "JOB", "-o", "JOB/job.toml/out"],
        ["status", "JOB/job.toml"],
        ["run", "JOB", "-o", "JOB"],
        ["check", "JOB", "-o", "JOB/.."],
    ],
    ids=" ".join,
)
def test_a_name_that_can_be_none_is_refused(words: list[str], alone: Shell, cli: Cli) -> None:
    """FIELD 45. A slip of the hand: exit 5 or 70 it was, or parts beside job.toml."""
    job = alone.write(alone.rows(1))
    before = sorted(job.parent.rglob("*"))
    said = cli(*(word.replace("LONG", "x" * 5_000).replace("JOB", str(job)) for word in words))
    assert (said.code, said.out) == (2, ""), said
    assert sorted(job.parent.rglob("*")) == before


def test_certificates_that_are_not_there_are_told_before_anything_is_sent(
    alone: Shell, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 44. Exit 70 it was, in the first call; where no certificate is looked at, the variable is nobody's matter."""
    monkeypatch.setenv("SSL_CERT_FILE", "/opt/conda/ssl/cacert.pem")
    assert cli("check", alone.write(alone.rows(1))).code == 0
    job = alone.write(alone.rows(1), base_url="https://127.0.0.1:1/v1")
    for command in ("check", "run"):
        said = cli(command, job)
        assert (said.code, said.out) == (2, "")
        assert "SSL_CERT_FILE = /opt/conda/ssl/cacert.pem: cannot be read: no such file" in said.err
    assert not alone.out.exists()


def test_the_module_is_the_command(alone: Shell) -> None:
    """`python -m batch` where the script is not on the path."""
    said = alone("--version")
    assert said.code == 0
    assert said.out.strip()
