"""`promptmill estimate` where an earlier command left calls at the provider: they are paid for, and no longer to be."""

from __future__ import annotations

import re
import signal
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.cli.conftest import Cli, Shell
from tests.cli.test_estimates import state, told
from tests.simulator.conftest import Start

__all__ = ["state"]

LATER = "[latency]\nchat_ms = [0, 0]\ntask_ms = [600000, 600000]\nbatch_ms = [600000, 600000]\n"


@pytest.fixture
def waiting(tmp_path: Path, start: Start) -> Shell:
    """Eight rows against a provider that takes tasks and batches, and has no answer for the next ten minutes."""
    shell = Shell(tmp_path / "job", start(LATER))
    shell.sections["model.parameters"] = ["max_tokens = 8"]
    shell.write(shell.rows(8), name="glm-4-plus", lane="task")
    return shell


def put_into_batches(shell: Shell) -> None:
    """Hand all rows over, and leave."""
    shell.sections["bulk"] = ["lines = 5", "wave_wait_s = 0.1"]
    shell.write(shell.rows(8), name="glm-4-plus", lane="bulk")
    left = shell("run", shell.folder, "--no-wait")
    assert left.code == 7, left.err


def kill_with_tasks(shell: Shell, rows: int) -> None:
    """A run that dies as soon as the ids of so many tasks are on disk."""
    run = shell.start("run", shell.folder)
    try:
        while calls(shell, "task IS NOT NULL") < rows:
            assert run.poll() is None, run.communicate()
    finally:
        run.send_signal(signal.SIGKILL)
        run.communicate()


def calls(shell: Shell, where: str = "true") -> int:
    """How many calls the ledger has; it is left alone while it is made, which `status.json` tells the end of."""
    if not (shell.out / "status.json").is_file():
        return 0
    try:
        with closing(apsw.Connection(str(shell.out / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            return int(next(db.execute(f"SELECT count(*) FROM calls WHERE {where}"))[0])
    except apsw.Error:
        return 0


def amount(found: dict[str, Any], name: str) -> Decimal:
    """The likely amount in yuan; 0 where there is none."""
    return Decimal((found[name] or {}).get("CNY", {"likely": "0"})["likely"])


def test_rows_that_wait_in_batches_are_under_way_and_cost_nothing_more(waiting: Shell, cli: Cli) -> None:
    """What they come to is told beside the cost; by lane sync nothing is bought again, either."""
    shell = waiting
    before = told(cli, shell.write(shell.rows(8), name="glm-4-plus"))
    put_into_batches(shell)
    for lane in ("bulk", "sync"):
        found = told(cli, shell.folder, "--lane", lane)
        assert found["rows"].items() >= {"to_ask": 0, "new": 0, "begun": 0, "under_way": 8, "superseded": 0}.items()
        assert found["calls"]["most"] == 0
        assert amount(found, "cost") == 0
        assert amount(found, "committed") == amount(before, "cost_batch") > 0
    said = cli("estimate", shell.folder).out
    assert re.search(r"to ask +0\n", said), said
    assert "8 rows in batches at the provider: collected, not bought again" in said
    assert "spent already and not in cost" in said


def test_rows_of_a_killed_run_whose_tasks_were_taken_are_under_way(waiting: Shell, cli: Cli) -> None:
    """No command has closed that run yet; a row that it never sent is new."""
    shell = waiting
    before = told(cli, shell.folder)
    kill_with_tasks(shell, 8)
    shell.write([*shell.rows(8), {"id": "new", "text": "A new one."}], name="glm-4-plus", lane="task")
    found = told(cli, shell.folder)
    assert found["rows"].items() >= {"to_ask": 1, "new": 1, "under_way": 8}.items()
    assert amount(found, "committed") == amount(before, "cost")
    assert 0 < amount(found, "cost") < amount(before, "cost")


def test_what_is_under_way_for_another_question_is_told_and_the_new_one_is_to_be_asked(
    waiting: Shell, cli: Cli
) -> None:
    """The next run collects it all the same, and asks what the row asks now; a row that is gone asks nothing."""
    shell = waiting
    put_into_batches(shell)
    rows = shell.rows(7)
    rows[0]["text"] = "Something else."
    shell.write(rows, name="glm-4-plus", lane="bulk")
    found = told(cli, shell.folder)
    assert found["rows"].items() >= {"to_ask": 1, "under_way": 6, "superseded": 2}.items()
    assert "2 calls there for rows that are gone or changed" in cli("estimate", shell.folder).out


def test_a_row_that_may_call_again_counts_as_begun(waiting: Shell, cli: Cli) -> None:
    """What is left of it is not known, so it counts as if it were asked anew: never too low."""
    shell = waiting
    (shell.folder / "tools.py").write_text(
        "from batch import tool\n\n\n@tool\ndef add(a: int, b: int) -> int:\n    return a + b\n", encoding="utf-8"
    )
    shell.sections["tools"] = ['module = "tools.py"']
    shell.write(shell.rows(8), name="glm-4-plus", lane="task")
    before = told(cli, shell.folder)
    kill_with_tasks(shell, 8)
    found = told(cli, shell.folder)
    assert found["rows"].items() >= {"to_ask": 8, "new": 0, "begun": 8, "under_way": 0}.items()
    assert (found["cost"], found["committed"]) == (before["cost"], None)
    assert "8 begun by an earlier run" in cli("estimate", shell.folder).out


def test_a_call_of_a_killed_run_that_left_no_id_is_to_be_bought(tmp_path: Path, start: Start, cli: Cli) -> None:
    """In lane sync nobody can collect it: the row is begun, and counts in full."""
    shell = Shell(tmp_path / "job", start("[latency]\nchat_ms = [600000, 600000]\n"))
    shell.write(shell.rows(3))
    run = shell.start("run", shell.folder)
    try:
        while not calls(shell):
            assert run.poll() is None, run.communicate()
    finally:
        run.send_signal(signal.SIGKILL)
        run.communicate()
    rows = told(cli, shell.folder)["rows"]
    assert (rows["to_ask"], rows["under_way"]) == (3, 0)
    assert rows["begun"] == calls(shell) > 0
