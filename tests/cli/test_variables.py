"""Options by variables: their names, what wins, wrong values, misspelt names, and keys that stay where they are."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from batch.cli import explain, variables
from tests.cli.conftest import ROOT, Cli, Shell

SECRET = "sk-canary-Zq7kPw3mVx9tRb2c"


@pytest.fixture
def job(alone: Shell) -> Path:
    """A sound job."""
    return alone.write(alone.rows(3))


def env_file(folder: Path, *lines: str, mode: int = 0o600) -> Path:
    file = folder / "some.env"
    file.write_text("\n".join(lines))
    file.chmod(mode)
    return file


def test_every_option_of_every_command_has_variables_and_no_two_share_one() -> None:
    """But for options of the same name; the two forms are never taken for each other, nor for a variable of ours."""
    told = [flag.name.partition(" ") for flag in explain.command_flags() if " " in flag.name]
    every = [variables.names(command, option) for command, _, option in told]
    own, shared = Counter(first for first, *_ in every), {name for _, *more in every for name in more}
    assert max(own.values()) == 1
    assert not own.keys() & shared
    assert not (own.keys() | shared) & variables.OTHERS.keys()
    assert variables.names("run", "--max-cost") == ("PROMPTMILL_RUN_MAX_COST", "PROMPTMILL_MAX_COST")
    assert variables.names("compare", "--limit") == ("PROMPTMILL_COMPARE_LIMIT",)


def test_options_that_share_a_variable_mean_the_same() -> None:
    """Whoever gives a new command an option of an old name says here that it means the same, or in `OTHERWISE` not."""
    found: dict[str, set[str]] = {}
    for flag in explain.command_flags():
        command, _, option = flag.name.partition(" ")
        if option and len(variables.names(command, option)) > 1:
            found.setdefault(option, set()).add(command)
    assert {option: commands for option, commands in found.items() if len(commands) > 1} == {
        "--output": {"check", "estimate", "run", "doctor"},
        "--set": {"check", "estimate", "run", "doctor", "tools"},
        "--lane": {"check", "estimate", "run"},
        "--prices": {"check", "estimate", "run", "prices"},
        "--max-cost": {"check", "run"},
        "--shard": {"check", "estimate", "run"},
        "--json": {"estimate", "doctor", "status", "show", "labels", "compare", "prices", "cost"},
        "--variant": {"show", "compare"},
        "--label": {"labels", "compare"},
        "--gold": {"labels", "compare"},
        "--provider": {"prices", "cost"},
    }


def test_a_flag_wins_over_the_environment_that_over_a_file_that_over_the_config_folder_that_over_the_job(
    job: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each step is seen when the one above it is taken away."""
    (job / "job.toml").write_text(
        (job / "job.toml").read_text().replace('name = "glm-4"', 'name = "glm-4"\nlane = "sync"')
    )
    config = tmp_path / "config"
    config.mkdir()
    (config / "env").write_text("PROMPTMILL_LANE=stream\n")
    monkeypatch.setenv("PROMPTMILL_CONFIG", str(config))
    file = env_file(tmp_path, "PROMPTMILL_LANE=task")
    other = tmp_path / "other.env"
    other.write_text("PROMPTMILL_LANE=stream")
    monkeypatch.setenv("PROMPTMILL_CHECK_LANE", "stream")
    monkeypatch.setenv("PROMPTMILL_LANE", "tusk")  # the one of this command alone wins

    def lane(*words: str | Path) -> str:
        said = cli("check", job, *words)
        assert (said.code, said.err) == (0, "")
        return said.out

    assert "lane sync" in lane("--env-file", file, "--lane", "sync")
    assert "lane stream" in lane("--env-file", file)
    monkeypatch.delenv("PROMPTMILL_CHECK_LANE")
    monkeypatch.delenv("PROMPTMILL_LANE")
    assert "lane task" in lane("--env-file", file)
    assert "lane task" in lane("--env-file", other, f"--env-file={file}")
    monkeypatch.setenv("PROMPTMILL_ENV_FILE", str(file))
    assert "lane task" in lane()
    monkeypatch.delenv("PROMPTMILL_ENV_FILE")
    assert f"PROMPTMILL_LANE ({config}/env, line 1)" in lane()
    monkeypatch.setenv("PROMPTMILL_LANE", "")  # in the environment an empty one counts, and says: not given
    assert "lane sync" in lane("--env-file", file)
    assert "PROMPTMILL_LANE" in os.environ


def test_a_wrong_line_of_the_config_folder_is_refused(
    job: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Named as in any other file, but for the flag that nobody gave; help is to be had all the same."""
    config = tmp_path / "config"
    config.mkdir()
    (config / "env").write_text("PROMPTMILL_LANE=task\nwhat is this\n")
    monkeypatch.setenv("PROMPTMILL_CONFIG", str(config))
    said = cli("check", job)
    assert (said.code, said.err.split(":")[1]) == (2, f" {config}/env, line 2")
    for words in (("check", "--help"), ("--version",), ("explain", "exits"), ("--help",)):
        assert (cli(*words).code, cli(*words).err) == (0, "")


def test_what_a_file_said_is_gone_when_the_command_is(job: Path, cli: Cli, tmp_path: Path) -> None:
    """A program that calls commands keeps its environment as it was."""
    before = dict(os.environ)
    assert cli("check", job, "--env-file", env_file(tmp_path, "PROMPTMILL_LANE=task", "MORE=1")).code == 0
    assert dict(os.environ) == before


def test_options_of_every_kind_are_taken(job: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On or off, several, a path, a choice."""
    monkeypatch.setenv("PROMPTMILL_FULL", "yes")
    monkeypatch.setenv("PROMPTMILL_OUTPUT", str(tmp_path / "there"))
    monkeypatch.setenv("PROMPTMILL_SET", "limits.concurrency=7 'limits.hours=22:00-08:00 Asia/Shanghai'")
    said = cli("check", job)
    assert (said.code, said.err) == (0, "")
    for text in ("all of it read", str(tmp_path / "there"), "7 in flight", "sends only in 22:00-08:00 Asia/Shanghai"):
        assert text in said.out
    monkeypatch.setenv("PROMPTMILL_FULL", "off")
    assert "all of it read" not in cli("check", job).out


@pytest.mark.parametrize(
    ("name", "value", "words", "said"),
    [
        (
            "PROMPTMILL_LIMIT",
            "abc",
            ["run"],
            'Invalid value for PROMPTMILL_LIMIT from environment: unable to convert "abc"',
        ),
        ("PROMPTMILL_LANE", "tusk", ["check"], 'Invalid value "tusk" for PROMPTMILL_LANE from environment'),
        ("PROMPTMILL_RUN_LIMIT", "0", ["run"], "--limit comes from PROMPTMILL_RUN_LIMIT (environment)"),
        ("PROMPTMILL_FULL", "perhaps", ["check"], "PROMPTMILL_FULL (environment): --full is on or off"),
        ("PROMPTMILL_SET", "limits.adapt=3", ["check"], "--set comes from PROMPTMILL_SET (environment)"),
        ("PROMPTMILL_SET", "'a", ["check"], "PROMPTMILL_SET (environment): has a quote that is not closed"),
        ("PROMPTMILL_DEBUG", "so", ["check"], "PROMPTMILL_DEBUG (environment): give true or false"),
        ("PROMPTMILL_MAX_FAILED", "7x", ["run"], "--max-failed comes from PROMPTMILL_MAX_FAILED (environment)"),
    ],
)
def test_a_wrong_value_names_its_variable(
    name: str, value: str, words: list[str], said: str, job: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever set it months ago finds it."""
    monkeypatch.setenv(name, value)
    refused = cli(*words, job)
    assert refused.code == 2
    assert said in refused.err


def test_a_wrong_value_in_a_file_names_its_line(job: Path, cli: Cli, tmp_path: Path) -> None:
    """And not the environment."""
    file = env_file(tmp_path, "", "PROMPTMILL_RETRY=some")
    assert f"for PROMPTMILL_RETRY from {file}, line 2" in cli("run", job, "--env-file", file).err


def test_a_variable_that_nothing_reads_is_warned_of_with_the_nearest_one(
    job: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no error: it may be of another version. One of another command, of a script or a test is none of these."""
    for name in ("PROMPTMILL_LIMIT", "PROMPTMILL_COST_BY", "PROMPTMILL_VENV", "PROMPTMILL_LONG"):
        monkeypatch.setenv(name, "1")
    assert cli("check", job).err == ""
    monkeypatch.setenv("PROMPTMILL_MAXCOST", "3CNY")
    monkeypatch.setenv("PROMPTMILL_QUXX", "3")
    said = cli("check", job)
    assert said.code == 0
    assert "PROMPTMILL_MAXCOST (environment) is read by nothing. Did you mean PROMPTMILL_MAX_COST?" in said.err
    assert "PROMPTMILL_QUXX (environment) is read by nothing. `promptmill explain variables`" in said.err
    assert cli("--help").err == ""


@pytest.mark.parametrize("words", [["--env-file"], ["--env-file", "--full"], ["--env-file="]])
def test_a_file_that_is_not_named_is_asked_for(words: list[str], job: Path, cli: Cli) -> None:
    """Not taken for the job, nor for a flag."""
    said = cli("check", job, *words)
    assert said.code == 2
    assert "--env-file needs a value" in said.err


def test_a_file_cannot_name_another(job: Path, cli: Cli, tmp_path: Path) -> None:
    """It is said rather than left out without a word."""
    file = env_file(tmp_path, "PROMPTMILL_ENV_FILE=other.env")
    said = cli("check", job, "--env-file", file)
    assert said.code == 0
    assert "line 1: PROMPTMILL_ENV_FILE counts in the environment alone" in said.err


def test_a_key_in_a_file_is_used_and_lands_nowhere(
    job: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """FIELD T23: not in what check says, not in an error, and others who can read the file are spoken of."""
    monkeypatch.delenv("ZHIPUAI_API_KEY")
    file = env_file(tmp_path, f"ZAI_API_KEY={SECRET}", f"PROMPTMILL_LANE={SECRET}", mode=0o644)
    said = cli("check", job, "--env-file", file)
    assert said.code == 2
    assert SECRET not in said.out + said.err
    assert f"{file} holds a key, and other users of this machine can read it: chmod 600 {file}" in said.err
    file = env_file(tmp_path, f"ZAI_API_KEY={SECRET}")
    said = cli("check", job, "--env-file", file)
    assert (said.code, said.err) == (0, "")
    assert f"from ZAI_API_KEY ({file}, line 1)" in said.out
    assert SECRET not in said.out


def test_debug_by_variable_is_debug_by_flag(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For a cron line that nobody wants to change."""
    monkeypatch.setenv("PROMPTMILL_DEBUG", "1")
    assert "Traceback" in cli("status", tmp_path / "nix").err
    assert (
        "Traceback" not in cli("explain", "nothing-of-ours").err
    )  # it reads none, also not that of the command before


@pytest.mark.slow
def test_a_run_takes_its_options_from_variables(shell: Shell) -> None:
    """As cron gives them: the whole command, a key from the file, and not a word about it in the folder."""
    shell.write(shell.rows(5))
    file = env_file(shell.folder, "PROMPTMILL_LIMIT=2", "PROMPTMILL_PROGRESS=json", f"OTHER_TOKEN={SECRET}")
    said = shell("run", ".", "--env-file", file)
    assert said.code == 0, said.err
    assert "rows     2 ok" in said.out
    assert all(SECRET.encode() not in path.read_bytes() for path in shell.out.rglob("*") if path.is_file())


def test_the_readme_tells_the_rule() -> None:
    """In its own words, with an example that exists."""
    assert "PROMPTMILL_MAX_COST" in (ROOT / "README.md").read_text("utf-8")
