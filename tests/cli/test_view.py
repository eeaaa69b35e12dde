"""`promptmill view`: what it prints, what it refuses, and that it ends when it is told to."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from pathlib import Path

import pyarrow as pa
import pytest

from tests.cli.conftest import Cli, Shell
from tests.support.outfolders import finished


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "no output folder is named. Give one or several: promptmill view OUT"),
        (("nowhere",), "nowhere: there is no such folder"),
        ((".",), "is no output folder"),
        (("out", "--port", "65536"), "--port 65536: a port is a number from 0 to 65535"),
        (("out", "--prot", "1"), "there is no option --prot. Did you mean --port?"),
        (("out", "nowhere"), "nowhere: there is no such folder"),
    ],
)
def test_what_cannot_be_shown_is_refused_before_anything_listens(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], reason: str
) -> None:
    """In the words of the other commands."""
    finished(tmp_path / "out", pa.table({"t": ["a"]}))
    monkeypatch.chdir(tmp_path)
    said = cli("view", *words)
    assert (said.code, said.out) == (2, "")
    assert reason in said.err


def test_a_port_that_is_taken_is_told_with_the_way_out(cli: Cli, tmp_path: Path) -> None:
    """Another viewer, say."""
    out = finished(tmp_path / "out", pa.table({"t": ["a"]})).root
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = cli("view", out, "--port", str(port))
    assert (said.code, said.out) == (2, "")
    assert f"port {port}: Address already in use. Another program listens there." in said.err
    assert "Give --port another one, or leave it out for a free one." in said.err


def test_it_prints_one_address_follows_a_run_and_ends_at_a_signal(shell: Shell) -> None:
    """From the rows of a run that has ended to those of the next, without being started again."""
    shell.write(shell.rows(6))
    assert shell("run", ".").code == 0
    process = shell.start("view", "out")
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()

        def ask(page: str) -> dict[str, object]:
            with urllib.request.urlopen(f"{address}{page}", timeout=30) as answer:
                found: dict[str, object] = json.load(answer)
                return found

        assert ask("api/0/rows")["total"] == 6
        with urllib.request.urlopen(f"{address}api/0/events", timeout=30) as events:
            assert events.readline() == b"retry: 2000\n"
            shell.write(shell.rows(9))
            assert shell("run", ".").code == 0
            told = iter(json.loads(line[6:])["status"] for line in events if line.startswith(b"data: "))
            assert next(status for status in told if status["table_rows"] == 9)["state"] in ("running", "finished")
            assert ask("api/0/rows")["total"] == 9
            assert len(ask("api/0/overview")["runs"]) == 2  # type: ignore[arg-type]  # a list
            process.send_signal(signal.SIGTERM)  # while a page listens
            out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.communicate()
