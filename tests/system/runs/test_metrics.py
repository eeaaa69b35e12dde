"""`metrics.prom` of real commands: at work, killed, stopped, and after the next command."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

from batch.cli.app import main
from batch.output.folder import OutputFolder
from batch.run.metrics_file import as_of_now
from tests.run.test_metric_families import Read, labels, read
from tests.simulator.conftest import Gate, start
from tests.system.runs.conftest import Make, Mill

__all__ = ["start"]
NONE = labels()
SUCCESS = "promptmill_last_success_timestamp_seconds"


def metrics(mill: Mill) -> Read:
    return read((mill.out / "metrics.prom").read_text())


def test_a_killed_run_stays_at_work_a_stopped_one_ends_and_both_keep_the_last_success(make: Make, gate: Gate) -> None:
    """What an alert needs to tell a night that hangs from one that failed and from one that went well."""
    mill = make(gate=gate)
    mill.key = "n"
    gate.open()
    mill.questions(2)
    assert mill.run().exit_code == 0
    success = metrics(mill)[SUCCESS]
    gate.shut()
    mill.questions(6)
    for number, code in ((signal.SIGKILL, None), (signal.SIGTERM, 4)):
        process = mill.start()
        wait_for(mill, process, "running")
        process.send_signal(number)
        if number == signal.SIGTERM:
            wait_for(mill, process, "stopping")
            process.send_signal(number)  # the second cuts what is in flight
        process.communicate(timeout=60)
        found = metrics(mill)
        assert found[SUCCESS] == success
        assert found["promptmill_running"] == {NONE: 1 if code is None else 0}
        assert read(as_of_now(OutputFolder(mill.out)))["promptmill_running"] == {NONE: 0}
        told = found["promptmill_last_run_timestamp_seconds"][NONE]
        assert success[NONE] < told <= time.time() + 1, "its age tells a run that was killed from one at work"
        assert found.get("promptmill_run_exit_code") == (None if code is None else {NONE: code})
        assert found["promptmill_rows"][labels(state="ok")] == 0
    gate.open()
    assert mill.run().exit_code == 0
    found = metrics(mill)
    assert found[SUCCESS][NONE] > success[NONE]
    assert (found["promptmill_running"], found["promptmill_run_exit_code"]) == ({NONE: 0}, {NONE: 0})
    assert not list(mill.out.glob(".metrics*"))


def wait_for(mill: Mill, process: subprocess.Popen[str], state: str) -> None:
    """Return when this process says of itself that it is in this state, with rows in flight."""
    status: dict[str, object] = {}
    while (status.get("process"), status.get("state"), status.get("in_flight")) != (process.pid, state, 4):
        assert process.poll() is None, "the run ended"
        time.sleep(0.02)
        status = json.loads((mill.out / "status.json").read_bytes())


def test_neither_rebuild_nor_a_lost_file_is_troubled_by_it(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """It is ours, like `status.json`, and nothing depends on it."""
    mill = make()
    mill.questions(3)
    mill.run()
    (mill.out / "metrics.prom").write_bytes(b"\x00damaged")
    (mill.out / ".metrics.prom.tmp").write_bytes(b"half")
    assert mill.run().state == "nothing_to_do"
    assert not (mill.out / ".metrics.prom.tmp").exists()
    assert metrics(mill)["promptmill_run_exit_code"] == {NONE: 0}
    (mill.out / "ledger.db").unlink()
    main(["rebuild", str(mill.out)])
    said = capsys.readouterr().out
    assert "metrics" not in said
    assert mill.run().exit_code == 0
    assert len(mill.results()) == 3
