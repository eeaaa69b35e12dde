"""`promptmill status` names the rows that have been open for longest, while a run works and after it was killed."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from batch.cli.app import main
from tests.simulator.conftest import Gate
from tests.system.runs.conftest import Make


def test_the_oldest_rows_of_a_live_and_of_a_killed_run(
    make: Make, gate: Gate, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row, age and task; after the kill it is the next run that polls it."""
    mill = make(gate=gate, lane="task")
    mill.key = "n"
    mill.questions(3)
    process = mill.start()
    status = mill.out / "status.json"
    while not (status.exists() and len(json.loads(status.read_bytes())["oldest"]) == 3):
        assert process.poll() is None, "the run ended"
        time.sleep(0.05)
    assert main(["status", str(mill.out)]) == 0
    said = capsys.readouterr().out
    assert "oldest" in said
    assert "open for" in said
    assert "waits for task" in said
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert main(["status", str(mill.out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["oldest"]
    assert {row["row_id"] for row in found} == {"0", "1", "2"}
    assert all(row["waits_for"].startswith("the next run, which polls task ") and row["age_s"] > 0 for row in found)
    gate.open()
    assert mill.run().exit_code == 0
    assert main(["status", str(mill.out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["oldest"] == []
