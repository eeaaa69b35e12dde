"""What remains after a stop or a limit, in the summary of a run and in `status`."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from batch.cli.sums import left_text
from batch.ledger.totals import Planned
from tests.cli.conftest import NO_WAIT, Cli, Shell
from tests.simulator.conftest import Start


@pytest.mark.parametrize(
    ("planned", "how", "text"),
    [
        ({"complete": True}, {"finished": True}, ""),
        ({"new": 1_577, "left": 1_575, "unread": False}, {"begun": 2}, "1,575 rows known to remain, 2 of them begun"),
        ({"left": 1, "unread": False}, {"begun": 1}, "1 row known to remain"),
        (
            {"left": 995, "read": 1_000, "unread": True},
            {},
            "995 rows known to remain\nthe input was not looked at beyond its row 1,000",
        ),
        ({"left": 0, "unread": True}, {}, "the input was not looked at"),
        (
            {"left": 0, "unread": True, "source_rows": 5},
            {"finished": True},
            "stopped at --limit 5: the rest was not looked at",
        ),
        (
            {"left": 0, "unread": True, "source_rows": 5},
            {"finished": True, "drawn": True},
            "stopped at --limit 5: the others were not asked",
        ),
    ],
)
def test_what_is_known_to_remain_is_told(planned: dict[str, Any], how: dict[str, Any], text: str) -> None:
    """FIELD 34. Rows that were found and not settled, and what was not even looked at."""
    assert left_text(Planned(**planned), **{"finished": False, **how}) == text


def test_a_limit_says_that_the_rest_was_not_looked_at(tmp_path: Path, start: Start, cli: Cli) -> None:
    """FIELD 34. Also after an edited prompt, when the table is full of older answers; not when nothing is left."""
    shell = Shell(tmp_path / "job", start(NO_WAIT))
    folder = shell.write(shell.rows(6))
    rest = "  left     stopped at --limit 4: the rest was not looked at\n"
    assert rest in shell("run", folder, "--limit", "4").out
    assert rest.replace("left     ", "left       ") in cli("status", shell.out).out
    assert "not looked at" not in shell("run", folder, "--limit", "2").out
    assert "not looked at" not in cli("status", shell.out).out
    edited = ["--set", "prompt.user={{ text }} Be brief."]
    assert rest in shell("run", folder, "--limit", "4", *edited).out
    drawn = shell("run", folder, "--limit", "1", "--shuffle", *edited).out
    assert "stopped at --limit 1: the others were not asked" in drawn
    assert "stopped at --limit 1: the others were not asked" in cli("status", shell.out).out
    assert "not looked at" not in shell("run", folder, *edited).out


def test_after_a_stop_status_counts_all_rows_that_remain(tmp_path: Path, start: Start, cli: Cli) -> None:
    """FIELD 34. Those never sent as well as those in the middle of a task; a run goes on with as many."""
    shell = Shell(tmp_path / "job", start("[latency]\ntask_ms = [60000, 60000]\n"))
    shell.sections["limits"] = ["concurrency = 2"]
    folder = shell.write(shell.rows(30), lane="task")
    process = shell.start("run", folder, "--progress", "json", "--set", "output.rows_per_part=5")
    assert process.stderr is not None
    try:
        while json.loads(process.stderr.readline())["waiting_tasks"] < 2:
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 4, err
    found = json.loads(cli("status", shell.out, "--json").out)
    assert (found["planned"]["left"], found["unsettled"], found["planned"]["unread"]) == (30, 2, False)
    assert found["begun"] == 2
    assert "30 rows known to remain\n" in out
    assert "30 rows known to remain, 2 of them begun\n" in cli("status", shell.out).out
