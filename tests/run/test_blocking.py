"""`run_sync`, and what callers of `run` meet: errors as themselves, no lines on stdout, `await` where a loop is at work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog

from batch.core.errors import InputError, RefusedToStart
from batch.job.job import Job
from batch.run.blocking import run_sync
from batch.run.command import run
from tests.run.test_command import KEY, job

ENVIRON = {"ZAI_API_KEY": KEY}


def awaited(job: Job, **more: Any) -> Any:
    return anyio.run(partial(run, job, **more))


def fall(_: Any) -> None:
    raise LookupError("a bug of the caller's")


@pytest.mark.parametrize("call", [run_sync, awaited])
def test_errors_reach_the_caller_as_themselves(call: Callable[..., Any], tmp_path: Path) -> None:
    """FIELD 46. `except LookupError` around a run catches one that its own callback raised, and nothing hides it."""
    with pytest.raises(LookupError, match="^a bug of the caller's$") as caught:
        call(job(tmp_path), environ=ENVIRON, on_progress=fall)
    assert caught.value.__context__ is None
    (tmp_path / "rows.jsonl").unlink()
    with pytest.raises(InputError, match="rows.jsonl"):
        call(Job.load(tmp_path), environ=ENVIRON)


@pytest.mark.parametrize("call", [run_sync, awaited])
def test_a_program_hears_nothing_that_it_did_not_ask_for(
    call: Callable[..., Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """FIELD 46. Log lines came on stdout, among the data of whoever called; and the run's name stayed in its context."""
    structlog.reset_defaults()
    with pytest.raises(LookupError):
        call(job(tmp_path), environ=ENVIRON, on_progress=fall)
    assert capfd.readouterr() == ("", "")
    assert structlog.contextvars.get_contextvars() == {}


def test_where_a_loop_is_at_work_the_message_says_await(tmp_path: Path) -> None:
    """FIELD 46. In a notebook there is a loop always: what to write instead stands in the message, and works."""
    loaded = job(tmp_path)

    async def cell() -> None:
        with pytest.raises(RuntimeError, match=r"report = await run\(job\)"):
            run_sync(loaded, environ=ENVIRON)
        with pytest.raises(LookupError):
            await run(loaded, environ=ENVIRON, on_progress=fall)

    anyio.run(cell)


def test_signals_are_refused_in_a_thread_that_never_hears_one(tmp_path: Path) -> None:
    """FIELD 46. "signal only works in main thread of the main interpreter", and no word of what to do."""
    loaded = job(tmp_path)
    with ThreadPoolExecutor(1) as threads:
        for call in (run_sync, awaited):
            with pytest.raises(RuntimeError, match=r"main thread only.*leave signals out"):
                threads.submit(call, loaded, environ=ENVIRON, signals=True).result()
        with pytest.raises(LookupError):  # and without them a run is a run there
            threads.submit(run_sync, loaded, environ=ENVIRON, on_progress=fall).result()


@pytest.mark.parametrize("call", [run_sync, awaited])
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"job": "jobs/label"}, r"^job: str is given, where a Job is wanted; .*Job\.load\(PATH\)$"),
        ({"options": {"limit": 3}}, r"^options: dict is given, .*RunOptions\(limit=10\)"),
        ({"options": None}, "^options: None is given, .*leave it out for none$"),
        ({"environ": "KEY=x"}, "^environ: str is given, .*os.environ"),
        ({"on_progress": None}, "^on_progress: None is given, .*leave it out to hear nothing$"),
    ],
)
def test_an_argument_of_another_type_is_told_with_what_to_write(
    call: Callable[..., Any], wrong: dict[str, Any], told: str, tmp_path: Path
) -> None:
    """FIELD 46. Not an AttributeError from deep inside; and no value, which may be a key, is shown."""
    given = {"job": job(tmp_path), "environ": ENVIRON, **wrong}
    with pytest.raises(RefusedToStart, match=told):
        call(given.pop("job"), **given)
