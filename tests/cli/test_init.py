"""`init`: every sample is a job that runs against the simulator, and says what it is about."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

from batch.cli import init
from tests.cli.conftest import Cli
from tests.simulator.conftest import Gate, Start
from tests.system.faults.key_campaign import said, undisturbed

TEMPLATES = list(init.TEMPLATES)
NO_WAIT = "[latency]\nchat_ms = [0, 0]\ntask_ms = [0, 0]\nbatch_ms = [0, 0]\n"


def address(start: Start) -> str:
    return f"model.base_url=http://127.0.0.1:{start(NO_WAIT).port}/api/paas/v4"


def tomorrow() -> str:
    """A moment that is far off, whatever the time is now: a batch has the time that it needs."""
    return f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d %H:%M} UTC"


def test_there_is_a_sample_for_each_word_that_the_flag_takes() -> None:
    """And none that nobody can ask for; the first is what is written without the flag."""
    assert tuple(TEMPLATES) == get_args(init.TemplateName)


@pytest.mark.parametrize(
    "template", [pytest.param(name, marks=[pytest.mark.slow] if name == "tools" else []) for name in TEMPLATES]
)
def test_a_sample_is_sound_and_nothing_is_overwritten(template: str, tmp_path: Path, cli: Cli) -> None:
    """`check --full` finds nothing against it, without a key, and no warning."""
    job = tmp_path / "my job"
    written = cli("init", job, "--template", template)
    assert (written.code, written.err) == (0, "")
    files = {str(path.relative_to(job)) for path in job.rglob("*") if path.is_file()}
    assert files == set(init.TEMPLATES[template].files.values())
    checked = cli("check", job, "--full")
    assert (checked.code, checked.err) == (0, "")
    assert "warnings" not in checked.out
    assert "\n  promptmill simulate\n" in written.out
    again = cli("init", job, "--template", template)
    assert (again.code, "job.toml" in again.err) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("template", ["labels", "compare", "nightly", "batches"])
def test_a_sample_runs_and_the_commands_it_names_tell_what_it_is_about(
    template: str, tmp_path: Path, start: Start, cli: Cli
) -> None:
    """Every row is answered; the second time there is nothing to do. The one with tools runs in `test_reading`."""
    job = tmp_path / "my job"
    written = cli("init", job, "--template", template)
    words: list[str | Path] = ["run", job, "--set", address(start), "--progress", "none"]
    words += ["--set", f"bulk.by={tomorrow()}"] if template == "batches" else []
    with undisturbed({}):
        code, told = said(*words)
        assert code == 0, told
        assert ", 0 failed" in told
        code, told = said(*words)
    assert (code, "nothing to do" in told) == (0, True)
    for line in init.TEMPLATES[template].then:
        assert line.replace("FOLDER", f"'{job}'") in written.out
        program, command, *rest = shlex.split(line.replace("FOLDER", f"'{job}'"))
        if program == "promptmill":
            shown = cli(command, *rest)
            assert (shown.code, shown.err) == (0, "")
            assert re.search("%|batch saved", shown.out)  # what it is about


@pytest.mark.slow
def test_the_nights_of_the_sample_for_cron_go_as_it_says(
    tmp_path: Path, start: Start, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its crontab line as cron would run it, in a folder with a blank and a % in its name; the next night; the morning."""
    job = tmp_path / "50% off"
    assert cli("init", job, "--template", "nightly").code == 0
    assert (job / "nightly.env").stat().st_mode & 0o777 == 0o600
    *_, line = (job / "crontab").read_text("utf-8").strip().splitlines()
    assert line.replace(r"\%", "").count("%") == 0  # cron takes a bare one for the end of the command
    command = line.split(None, 5)[5].replace(r"\%", "%")
    environ = {**os.environ, "PROMPTMILL_SET": address(start)}
    with undisturbed({"PROMPTMILL_SET": environ["PROMPTMILL_SET"]}):
        code, told = said("run", job, "--env-file", job / "nightly.env")
    assert (code, "7 ok, 0 failed" in told) == (0, True), told
    (job / "in" / "2026-11-30.jsonl").write_text('{"id": "n-08", "subject": "Refund", "body": "When?"}\n')
    cron = subprocess.run(["/bin/sh", "-c", command], env=environ, cwd="/", check=False)
    told = (job / "nightly.log").read_text("utf-8")
    assert cron.returncode == 0, told
    assert "1 new" in told
    assert "max_cost = 50 CNY" in told
    assert subprocess.run(["/bin/sh", "-n", str(job / "morning.sh")], check=False).returncode == 0
    monkeypatch.chdir(job)
    told = ""
    for line in (job / "morning.sh").read_text("utf-8").splitlines():
        if line.startswith('"$promptmill" '):  # in this process: four starts would take longer than the nights
            words = shlex.split(line.replace("$out", "out/nightly"), comments=True)[1:]
            shown = cli(*words)
            assert (shown.code, shown.err) == (0, "")
            told += shown.out
    for text in ("nightly: finished", "cost, CNY", "have a valid label", "failed.csv: 0 rows"):
        assert text in told


@pytest.mark.slow
def test_the_sample_for_batches_hands_over_and_collects_from_cron_and_takes_the_lanes_it_names(
    tmp_path: Path, start: Start, cli: Cli
) -> None:
    """Its crontab line twice: exit 7 while the batch is at the provider, then all answers; each lane in it is sound."""
    job = tmp_path / "job"
    assert cli("init", job, "--template", "batches").code == 0
    *_, line = (job / "crontab").read_text("utf-8").strip().splitlines()
    command = line.split(None, 5)[5].replace(r"\%", "%")
    gate = Gate()
    port = start(NO_WAIT.replace("batch_ms = [0, 0]", "batch_ms = [300, 300]"), gate).port
    settings = [f"model.base_url=http://127.0.0.1:{port}/api/paas/v4", f"bulk.by={tomorrow()}"]
    environ = {**os.environ, "PROMPTMILL_SET": shlex.join(settings)}
    codes: list[int] = []
    for _ in range(2):
        cron = subprocess.run(["/bin/sh", "-c", command], env=environ, cwd="/", check=False)
        codes.append(cron.returncode)
        gate.open()
    told = (job / "nightly.log").read_text("utf-8")
    assert codes == [7, 0], told
    assert "7 ok, 0 failed" in told
    assert json.loads(cli("cost", job / "out" / "batches", "--by", "lane", "--json").out)["groups"][0]["lane"] == "bulk"
    lanes = re.findall(r"^# (lane = .*?) +#", (job / "job.toml").read_text("utf-8"), re.MULTILINE)
    assert len(lanes) == 3
    for lane in lanes:
        text = (job / "job.toml").read_text("utf-8").replace("# deadline", "deadline")
        text = re.sub(r"^by = .*$", "", re.sub(r"^lane = .*$", lane, text, flags=re.MULTILINE), flags=re.MULTILINE)
        (job / "other.toml").write_text(text, encoding="utf-8")
        checked = cli("check", job / "other.toml")
        assert (checked.code, checked.err) == (0, "")
        assert "warnings" not in checked.out
