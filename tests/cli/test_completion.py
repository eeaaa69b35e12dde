"""Shell completion: what each shell proposes, where its file goes, and that nothing of the user's is changed."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

from batch.cli import completion
from batch.cli.app import COMMANDS
from batch.cli.completion_scripts import Shell
from tests.cli.conftest import Cli

CASES: dict[str, set[str]] = {
    "promptmill ru": {"run"},
    "promptmill e": {"estimate", "explain", "export"},
    "promptmill run --la": {"--lane"},
    "promptmill run --lane ": {"sync", "stream", "task", "bulk", "auto", "bulk,sync", "bulk,stream", "bulk,task"},
    "promptmill run --progress p": {"plain"},
    "promptmill check la": {"la bels", "labels"},
    "promptmill check labels --ori": {"--origins"},  # a job that is called like a command
    "promptmill --env-file x ch": {"check"},
    "promptmill check --env-file la": {"la bels", "labels"},
    "promptmill explain limits.conc": {"limits.concurrency"},
    "promptmill run --set ": set(),
    "promptmill init --template c": {"compare"},
    "promptmill --install-completion z": {"zsh"},
    "promptmill status out --w": {"--watch"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two jobs, one with a blank in its name and one that is called like a command."""
    for name in ("la bels", "labels", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "promptmill").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "promptmill").chmod(0o755)
    return tmp_path


def have(shell: str) -> str:
    """The path of a shell; the test is skipped without it."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed here")
    return path


@pytest.mark.slow
def test_bash_proposes_what_fits(folder: Path) -> None:
    """Commands, options, their words, paths with blanks; nothing where anything may stand."""
    lines = [completion.script("bash")]
    for typed in CASES:
        words = " ".join(f"'{word}'" for word in typed.split(" "))
        lines.append(f"COMP_WORDS=({words}) COMP_CWORD={typed.count(' ')}; _promptmill")
        lines.append('printf "%s\\0" "${COMPREPLY[@]}"; printf "\\n"')
    done = subprocess.run(
        [have("bash"), "--norc"], input="\n".join(lines), cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = [{word for word in line.split("\0") if word} for line in done.stdout.splitlines()]
    assert dict(zip(CASES, found, strict=True)) == CASES


@pytest.mark.slow
def test_bash_takes_what_is_proposed_when_tab_is_pressed(folder: Path) -> None:
    """In a real one: a word behind an equals sign, a folder with a blank in its name."""
    (folder / "script").write_text(completion.script("bash"))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [have("bash"), "--norc", "-i"],
        cwd=folder,
        env={"TERM": "dumb", "PS1": "> ", "HOME": str(folder), "PATH": os.environ["PATH"]},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, b". ./script; bind 'set bell-style none'; echo re''ady\n")
    until(ours, "ready")
    for typed, becomes in (("promptmill check --lane=ta", "--lane=task "), ("promptmill check la\\ ", "la\\ bels/")):
        os.write(ours, f"{typed}\t".encode())
        until(ours, becomes)
        os.write(ours, b"\x15\n")
    os.write(ours, b"exit\n")
    assert process.wait(60) == 0
    os.close(ours)


def until(terminal: int, text: str) -> None:
    """Wait for a text; the bytes before it are dropped."""
    seen = ""
    while text not in seen:
        seen += os.read(terminal, 4_096).decode(errors="replace")


@pytest.mark.slow
def test_fish_proposes_what_fits(folder: Path) -> None:
    """As bash does; folders with a slash behind them."""
    path = completion.place("fish", {"HOME": str(folder)})
    path.parent.mkdir(parents=True)
    path.write_text(completion.script("fish"))
    asked = "; ".join(f"complete -C '{typed}'; echo END" for typed in CASES)
    environ = {"HOME": str(folder), "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        [have("fish"), "-c", asked], cwd=folder, env=environ, capture_output=True, text=True, check=True
    )
    *blocks, _ = done.stdout.split("END\n")
    found = [{line.split("\t")[0].rstrip("/") for line in block.splitlines()} for block in blocks]
    assert dict(zip(CASES, found, strict=True)) == CASES


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_is_one_that_its_shell_can_read(shell: Shell, tmp_path: Path) -> None:
    """Whatever stands in what is said of an option: quotes, brackets, colons."""
    (tmp_path / "script").write_text(completion.script(shell))
    done = subprocess.run([have(shell), "-n", tmp_path / "script"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_every_option_is_in_it(shell: Shell, cli: Cli) -> None:
    """By what their help says."""
    text = completion.script(shell)
    for command in COMMANDS:
        assert command in text
    options = [line.split()[0].strip(",") for line in cli("run", "--help").out.splitlines() if line.startswith("  --")]
    assert len(options) > 10
    for option in options:
        assert (option if shell != "fish" else f"-l {option[2:]} ") in text


@pytest.mark.parametrize(
    ("shell", "place", "then"),
    [
        ("bash", "data/bash-completion/completions/promptmill", "add this line to ~/.bashrc"),
        ("zsh", "data/zsh/site-functions/_promptmill", "fpath=("),
        ("fish", "config/fish/completions/promptmill.fish", "New shells have it."),
    ],
)
def test_it_is_written_to_where_the_shell_looks_and_nowhere_else(
    shell: Shell, place: str, then: str, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Named, or the one in use; a second time it is written again. What is left to do is said, not done."""
    for name, value in (("HOME", "home"), ("XDG_DATA_HOME", "data"), ("XDG_CONFIG_HOME", "config")):
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    for words in ((shell,), ()):
        said = cli("--install-completion", *words)
        assert (said.code, said.err) == (0, "")
        assert f"{tmp_path / place}: the completion of {shell}." in said.out
        assert then in said.out
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / place]
    assert (tmp_path / place).read_text("utf-8") == completion.script(shell)


def test_without_variables_it_goes_where_the_shells_look_by_themselves() -> None:
    """The usual folders of a home."""
    home = {"HOME": "/home/a"}
    assert completion.place("bash", home) == Path("/home/a/.local/share/bash-completion/completions/promptmill")
    assert completion.place("fish", home) == Path("/home/a/.config/fish/completions/promptmill.fish")


@pytest.mark.parametrize(
    ("words", "shell", "said"),
    [
        (["tcsh"], "/bin/bash", "--install-completion tcsh: there is a completion for bash, zsh, fish"),
        (["bash", "zsh"], "/bin/bash", "--install-completion bash zsh: there is"),
        ([], "/bin/tcsh", "the shell in $SHELL is tcsh: there is"),
        ([], "", "the shell in $SHELL is not named"),
    ],
)
def test_another_shell_is_refused_with_those_there_are(
    words: list[str], shell: str, said: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written."""
    monkeypatch.setenv("SHELL", shell)
    refused = cli("--install-completion", *words)
    assert refused.code == 2
    assert said in refused.err


def test_a_folder_that_cannot_be_made_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit 5, as whatever the disk refuses."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    refused = cli("--install-completion", "bash")
    assert refused.code == 5
    assert "cannot be written: Not a directory" in refused.err
