"""`OUT/metrics.prom`: written at every end of a command, true after each, and never in the way of a run."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import anyio
import pytest
import structlog

from batch.cli.app import main
from batch.core.clock import HandClock
from batch.core.errors import BatchError, StorageError
from batch.core.metrics import label_in
from batch.job.job import Job
from batch.job.options import RunOptions
from batch.job.shard import divided
from batch.output.folder import OutputFolder, RunLock
from batch.run import progress
from batch.run.command import Report, run
from batch.run.metric_families import LAST_SUCCESS
from batch.run.metrics_file import EVERY_S, MetricsFile, last_success, refused
from tests.run.test_command import KEY, job
from tests.run.test_metric_families import Read, labels, read
from tests.simulator.conftest import NO_WAIT, Start, start

__all__ = ["start"]

NONE = labels()


@pytest.fixture
def provider(start: Start) -> str:
    return f"http://127.0.0.1:{start(NO_WAIT).port}/api/paas/v4"


def go(folder: Path, url: str, *, metrics_file: Path | None = None, key: str = KEY) -> Report:
    if not (folder / "job.toml").exists():  # written again, the input would be another
        job(folder)
        text = (folder / "job.toml").read_text().replace("http://127.0.0.1:9", url)
        (folder / "job.toml").write_text(text)
    made = Job.load(folder)
    return anyio.run(partial(run, made, options=RunOptions(metrics_file=metrics_file), environ={"ZAI_API_KEY": key}))


def metrics(folder: Path) -> Read:
    [path] = folder.glob("out/*/metrics.prom")
    return read(path.read_text())


def test_a_run_leaves_its_numbers_and_the_next_command_is_a_success_too(tmp_path: Path, provider: str) -> None:
    """Those of `status.json`; "nothing to do" is a night that went well."""
    beside = tmp_path / "collector" / "tickets.prom"
    beside.parent.mkdir()
    assert go(tmp_path, provider, metrics_file=beside).exit_code == 0
    [out] = tmp_path.glob("out/*")
    found, status = metrics(tmp_path), json.loads((out / "status.json").read_bytes())
    assert found["promptmill_rows"][labels(state="ok")] == status["totals"]["rows_ok"] == 1
    assert sum(found["promptmill_calls_total"].values()) == status["totals"]["calls"]
    tokens = status["totals"]["prompt_tokens"] + status["totals"]["completion_tokens"]
    assert sum(found["promptmill_tokens_total"].values()) == tokens > 0
    assert found["promptmill_run_exit_code"] == {NONE: 0}
    assert read(beside.read_text()) == found
    assert [path.name for path in beside.parent.iterdir()] == ["tickets.prom"]
    assert go(tmp_path, provider).state == "nothing_to_do"
    assert metrics(tmp_path)[LAST_SUCCESS][NONE] > found[LAST_SUCCESS][NONE]


def test_what_fails_or_is_refused_keeps_the_last_success(tmp_path: Path, provider: str) -> None:
    """Exit code and time are those of the command that failed; also where it was refused before its start."""
    assert go(tmp_path, provider).exit_code == 0
    success = metrics(tmp_path)[LAST_SUCCESS]
    with pytest.raises(BatchError):
        go(tmp_path, provider, key="")
    found = metrics(tmp_path)
    assert found["promptmill_run_exit_code"] == {NONE: 2}
    assert found[LAST_SUCCESS] == success
    assert found["promptmill_last_run_timestamp_seconds"][NONE] > success[NONE]
    assert not list(tmp_path.glob("out/*/.metrics*"))


def test_a_folder_of_an_older_version_knows_its_last_success_by_its_runs(tmp_path: Path, provider: str) -> None:
    """It has no such file; it goes on, and the first refusal does not look like a job that never went well."""
    go(tmp_path, provider)
    [out] = tmp_path.glob("out/*")
    before = metrics(tmp_path)[LAST_SUCCESS][NONE]
    (out / "metrics.prom").unlink()
    with pytest.raises(BatchError):
        go(tmp_path, provider, key="")
    assert metrics(tmp_path)[LAST_SUCCESS][NONE] == pytest.approx(before, abs=2)
    for damaged in (b"", b"\xff\xfe", b"promptmill_last_success_timestamp_seconds x\n"):
        (out / "metrics.prom").write_bytes(damaged)
        assert last_success(OutputFolder(out), {"batch_job": "any"}) == pytest.approx(before, abs=2)


def test_a_command_that_is_refused_for_another_at_work_leaves_its_file_alone(tmp_path: Path, provider: str) -> None:
    """The numbers are those of the one at work."""
    go(tmp_path, provider)
    [out] = tmp_path.glob("out/*")
    before = (out / "metrics.prom").read_bytes()
    with RunLock(OutputFolder(out)).take():
        with pytest.raises(BatchError, match="another run is at work"):
            go(tmp_path, provider)
        with pytest.raises(BatchError):
            go(tmp_path, provider, key="")
    assert (out / "metrics.prom").read_bytes() == before


def test_a_job_that_is_refused_on_its_first_night_says_so_beside(tmp_path: Path) -> None:
    """There is no output folder yet, and none is made."""
    beside = tmp_path / "m.prom"
    with pytest.raises(BatchError):
        go(tmp_path, "http://127.0.0.1:9", metrics_file=beside, key="")
    assert read(beside.read_text())["promptmill_run_exit_code"] == {NONE: 2}
    assert not (tmp_path / "out").exists()


def test_a_job_that_cannot_be_read_is_told_in_a_file_that_knows_it(
    tmp_path: Path, provider: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody edited it in the evening: the file beside says so at once, and keeps the last success."""
    beside = tmp_path / "m.prom"
    go(tmp_path, provider, metrics_file=beside)
    before = read(beside.read_text())
    (tmp_path / "job.toml").write_text("[input]\npaht = 'x'\n")
    assert main(["run", str(tmp_path), "--metrics-file", str(beside)]) == 2
    found = read(beside.read_text())
    assert found[LAST_SUCCESS] == before[LAST_SUCCESS]
    assert (found["promptmill_run_exit_code"], found["promptmill_running"]) == ({NONE: 2}, {NONE: 0})
    text = beside.read_text()
    assert text.count("batch_job=") == text.count(f'batch_job="{tmp_path.name}"')
    for other in ("none.prom", "job.toml"):
        assert main(["run", str(tmp_path), "--metrics-file", str(tmp_path / other)]) == 2
    assert not (tmp_path / "none.prom").exists()
    assert (tmp_path / "job.toml").read_text().startswith("[input]")
    capsys.readouterr()


def test_a_simulator_that_is_not_there_is_told_in_the_folder(
    tmp_path: Path, provider: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command refuses that before a run is asked for."""
    go(tmp_path, provider)
    settings = ["--set", "model.provider=simulator", "--set", "model.base_url=http://127.0.0.1:9"]
    assert main(["run", str(tmp_path), "--progress", "none", *settings]) == 2
    assert "promptmill simulate" in capsys.readouterr().err
    assert metrics(tmp_path)["promptmill_run_exit_code"] == {NONE: 2}


def spoilt(folder: Path) -> dict[str, tuple[Path, str]]:
    """By what is wrong, a path where no metrics can be written, and what is said of it."""
    for name in ("file", "folder", "shut"):
        (folder / name).mkdir(parents=True)
    (folder / "file" / "job.toml").write_text("name = 'x'\n")
    (folder / "other.prom").write_text('# HELP promptmill_x X.\npromptmill_x{batch_job="another"} 1\n')
    return {
        "a folder": (folder / "folder", "it is a folder"),
        "another file": (folder / "file" / "job.toml", "no file of metrics"),
        "another job": (folder / "other.prom", "the metrics of the job 'another'"),
        "no folder": (folder / "none" / "x.prom", "there is no folder"),
        "no file": (Path("/dev/null"), "no file of metrics"),
    }


@pytest.mark.parametrize("what", ["a folder", "another file", "another job", "no folder", "no file"])
def test_a_path_that_cannot_be_written_is_one_warning(
    what: str, tmp_path: Path, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The run ends as it would have, and what lay there is as it was."""
    path, why = spoilt(tmp_path / "spoilt")[what]
    before = path.read_bytes() if path.is_file() else None
    structlog.reset_defaults()
    assert go(tmp_path, provider, metrics_file=path).exit_code == 0
    [line] = [record.getMessage() for record in caplog.records if "metrics_unwritten" in record.getMessage()]
    assert why in line
    assert before is None or path.read_bytes() == before
    assert metrics(tmp_path)["promptmill_run_exit_code"] == {NONE: 0}


def test_numbers_of_shards_are_told_apart_and_no_shard_writes_over_another(tmp_path: Path) -> None:
    """Ours: all had the same labels, so a collector that reads two such files refuses both."""
    whole, beside = job(tmp_path), tmp_path / "shards.prom"
    one, other = divided(whole, "0/2"), divided(whole, "1/2")
    MetricsFile(whole, RunLock(OutputFolder(whole.output.path)), beside, HandClock()).ended(0)
    assert 'shard="' not in beside.read_text(), "a job that is not divided has no such label"
    beside.unlink()
    for made in (one, other):
        OutputFolder(made.output.path).prepare()
        with RunLock(OutputFolder(made.output.path)).take() as lock:
            MetricsFile(made, lock, beside, HandClock()).ended(0)
    texts = [OutputFolder(made.output.path).metrics.read_text() for made in (one, other)]
    assert [{label_in(line, "shard") for line in text.splitlines() if line[0] != "#"} for text in texts] == [
        {"0/2"},
        {"1/2"},
    ]
    assert label_in(beside.read_text(), "shard") == "0/2", "the first who wrote it has it"
    MetricsFile(whole, RunLock(OutputFolder(whole.output.path)), beside, HandClock()).ended(0)
    assert label_in(beside.read_text(), "shard") == "0/2"
    refused(2, None, beside, HandClock())
    assert label_in(beside.read_text(), "shard") == "0/2", "also where the job could not be read"


def test_while_a_run_works_the_file_is_written_at_most_every_15_seconds(tmp_path: Path) -> None:
    """A tick comes every second; the end comes at once."""
    folder, clock = OutputFolder(tmp_path / "out"), HandClock()
    with RunLock(folder).take() as lock:
        file = MetricsFile(job(tmp_path), lock, None, clock)
        written = set()
        for _ in range(61):
            file.show(progress.waiting(""))
            found = read(folder.metrics.read_text())
            written.add(found["promptmill_last_run_timestamp_seconds"][NONE])
            assert found["promptmill_running"] == {NONE: 1}
            assert "promptmill_run_exit_code" not in found
            age = clock.now_us() / 1e6 - found["promptmill_last_run_timestamp_seconds"][NONE]
            assert age <= EVERY_S
            clock.advance(1.0)
        assert len(written) == 5
        file.ended(4)
        found = read(folder.metrics.read_text())
    assert (found["promptmill_running"], found["promptmill_run_exit_code"]) == ({NONE: 0}, {NONE: 4})
    assert LAST_SUCCESS not in found


@pytest.mark.parametrize(
    ("error", "code"), [(StorageError("full"), 5), (LookupError("x"), 70), (KeyboardInterrupt(), 4)]
)
def test_an_error_is_told_with_the_exit_code_of_its_process(error: BaseException, code: int, tmp_path: Path) -> None:
    """A bug of ours is 70, and a program that is interrupted ends as one that was asked to."""
    folder = OutputFolder(tmp_path / "out")
    with RunLock(folder).take() as lock:
        file = MetricsFile(job(tmp_path), lock, None, HandClock())
        with pytest.raises(type(error)), file.told_of_faults():
            raise error
    assert read(folder.metrics.read_text())["promptmill_run_exit_code"] == {NONE: code}
