"""`run` as others see it: signature, help and tracebacks tell nothing of the environment."""

from __future__ import annotations

import inspect
import pydoc
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

import batch
from batch.core.errors import JobError, RefusedToStart
from batch.core.redaction import Secret, Unshown
from batch.job.job import InputSpec, Job, ModelSpec, PromptSpec
from batch.providers import base, registry
from batch.run.command import run

SECRET = "Zq7kPw3mVx9tRb2c"
KEY = f"0123456789abcdef0123456789abcdef.{SECRET}"
JOB = """
[input]
path = "rows.jsonl"
[prompt]
user = "{{ q }}"
[model]
provider = "glm"
name = "glm-4"
base_url = "http://127.0.0.1:9"
"""


def job(folder: Path, more: str = "") -> Job:
    (folder / "rows.jsonl").write_text('{"q": "x"}\n')
    (folder / "job.toml").write_text(JOB + more)
    return Job.load(folder)


def told(exc: BaseException) -> str:
    """A traceback as debuggers, error trackers and rich print it: with the locals of every frame but the test's own."""
    found = traceback.TracebackException.from_exception(exc, capture_locals=True)
    for one in every(found):
        frames = [frame for frame in one.stack if frame.filename != __file__]
        one.stack = traceback.StackSummary.from_list(frames)
    return "".join(found.format())


def every(one: traceback.TracebackException | None) -> Iterator[traceback.TracebackException]:
    """It, those in its group, and those it came of."""
    if one is not None:
        yield one
        for inner in (*(one.exceptions or ()), one.__cause__, one.__context__):
            yield from every(inner)


def test_help_and_signature_show_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD 17. `help(run)`, `run?` and every documentation tool print default arguments."""
    monkeypatch.setenv("ZAI_API_KEY", KEY)
    for thing in (batch, run, *(getattr(batch, name) for name in batch.__all__)):
        assert SECRET not in pydoc.render_doc(thing)
    assert inspect.signature(run).parameters["environ"].default is None


def test_a_job_that_was_built_in_code_is_named_and_no_file(tmp_path: Path) -> None:
    """FIELD 46. Its faults came from /…/job.toml, which is not there."""
    (tmp_path / "rows.jsonl").write_text('{"q": "x"}\n')
    built = Job(
        folder=tmp_path,
        name="tickets",
        input=InputSpec(path="rows.jsonl"),
        prompt=PromptSpec(user="{{ quest }}"),
        model=ModelSpec(provider="glm", name="glm-4"),
    )
    with pytest.raises(JobError) as found:
        anyio.run(partial(run, built, environ={"ZHIPUAI_API_KEY": KEY}))
    assert str(found.value).startswith("job 'tickets': 1 fault\n  prompt.user: {{ quest }} is no column")


def test_the_faults_of_a_job_are_said_of_its_own_file_and_of_no_other(tmp_path: Path) -> None:
    """FIELD 46. A job built in code was blamed on the job.toml that lies in its folder, a nightly.toml on its neighbour."""
    (tmp_path / "rows.jsonl").write_text('{"q": "x"}\n')
    (tmp_path / "job.toml").write_text("of somebody else")
    own = tmp_path / "nightly.toml"
    own.write_text(
        'name = "tickets"\n[input]\npath = "rows.jsonl"\n[prompt]\nuser = "{{ quest }}"\n'
        '[model]\nprovider = "glm"\nname = "glm-4"\n'
    )
    loaded = Job.load(own)
    built = Job(folder=tmp_path, name="tickets", input=loaded.input, prompt=loaded.prompt, model=loaded.model)
    changed = msgspec.structs.replace(loaded, tags={"team": "a"})
    assert built == loaded
    for given, where in ((built, "job 'tickets'"), (changed, "job 'tickets'"), (loaded, str(own))):
        with pytest.raises(JobError) as found:
            anyio.run(partial(run, given, environ={"ZHIPUAI_API_KEY": KEY}))
        assert found.value.where == where
        assert str(found.value).startswith(f"{where}: 1 fault\n")


def test_the_environment_is_the_process_own_when_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the default argument was for still holds."""
    for name in ("ZHIPUAI_API_KEY", "ZAI_API_KEY", "ZHIPU_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RefusedToStart, match="ZAI_API_KEY"):
        anyio.run(run, job(tmp_path))
    monkeypatch.setenv("ZAI_API_KEY", f"{KEY}\u00e9")
    with pytest.raises(RefusedToStart, match="ZAI_API_KEY holds characters"):
        anyio.run(run, job(tmp_path))


@pytest.mark.parametrize("more", ["", 'key_form = "jwt"\n'])
@pytest.mark.parametrize("key", [KEY, f"{KEY} {KEY}", f"{KEY}."])
def test_a_traceback_with_locals_shows_no_key(
    key: str, more: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 17. Whatever ends a run, a refused key and a bug in the middle of it alike."""
    monkeypatch.setenv("ZAI_API_KEY", key)

    def fall(_: Any) -> None:
        raise LookupError("a bug of the caller's")

    loaded = job(tmp_path, more)

    async def main() -> None:
        await run(loaded, on_progress=fall)

    with pytest.raises((RefusedToStart, LookupError, BaseExceptionGroup)) as caught:
        anyio.run(main)
    text = told(caught.value)
    assert "batch/run/command.py" in text
    assert SECRET not in text


def test_nothing_that_holds_a_key_shows_it() -> None:
    """Reprs end up in logs, assertions and error trackers."""
    environ = {"ZAI_API_KEY": KEY, "OPENAI_API_KEY": KEY}
    for provider, form in (("glm", "raw"), ("glm", "jwt"), ("openai", "raw")):
        found = registry.resolve(
            provider,
            base_url="http://h",
            api_key_env=None,
            environ=environ,
            key_form=form,  # type: ignore[arg-type]  # one of the forms
        )
        request = batch_request()
        shown = [found, found.dialect, found.dialect.chat(request, "c"), found.dialect.stream(request, "c")]
        assert SECRET not in repr(shown) + str(shown)
    assert SECRET not in repr([base.Credentials(KEY), Secret(KEY), Unshown(environ)])
    assert Unshown(environ)["ZAI_API_KEY"] == KEY
    assert dict(Unshown(environ)) == environ


def batch_request() -> Any:
    from batch.core.records import Request

    return Request(model="m", messages=[{"role": "user", "content": "x"}])
