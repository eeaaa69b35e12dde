"""An address that is right but for its path, and one that nobody answers: the run names it, and no model is blamed."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from batch.job.job import Job
from batch.ledger.totals import Totals
from batch.report.status import status_of
from batch.run.command import Report, run
from batch.run.progress import Progress
from tests.simulator.conftest import Start
from tests.support.scripted import Answer, Asked, reply, scripted, told
from tests.support.sockets import Counts, serving
from tests.support.stub import reply as http
from tests.system.runs.conftest import Mill

NOT_FOUND = told({"detail": "Not Found"}, 404)


def only_at(path: str, otherwise: Answer = NOT_FOUND) -> Callable[[Asked], Answer]:
    """A server that chats at one path, as FastAPI's do: all others are not found."""
    return lambda asked: reply() if asked.path == path else otherwise


def at(base_url: str, mill: Mill) -> Report:
    """The run of a job whose base_url is this one."""
    job = Job.load(mill.save(), overrides=[f"model.base_url={base_url}"])
    return anyio.run(lambda: run(job, environ=mill.environ), backend_options={"use_uvloop": True})


@pytest.mark.parametrize(
    ("lane", "otherwise"),
    [("sync", NOT_FOUND), ("stream", (404, {"Content-Type": "text/plain"}, b"404 page not found"))],
    ids=["FastAPI", "Go"],
)
def test_a_missing_v1_is_named_with_the_whole_url_and_what_is_likelier(
    tmp_path: Path, lane: str, otherwise: Answer
) -> None:
    """FIELD 47: "HTTP 404 without a message. Check model.name and what this key may use"."""
    with scripted(only_at("/v1/chat/completions", otherwise)) as server:
        mill = Mill(tmp_path, server.url, provider="openai", lane=lane)
        mill.questions(20)
        report = at(server.url, mill)
        assert (report.state, report.exit_code, report.totals.rows) == ("provider", 6, 0)
        said = str(report.fault)
        assert f"HTTP 404 at {server.url}/chat/completions: " in said
        assert f"Correct base_url, perhaps to {server.url}/v1, then" in said
        assert "model.name" not in said
        assert mill.run().exit_code == 0
        assert mill.one("status") == ["ok"] * 20


def test_two_rows_that_met_no_path_say_so_themselves(tmp_path: Path) -> None:
    """FIELD 47: too few to stop a run, and `status` shows only what stands in the rows."""
    with scripted(lambda _: told({"detail": "Not Found"}, 404)) as server:
        mill = Mill(tmp_path, f"{server.url}/v1", provider="openai")
        mill.questions(2)
        assert mill.run().exit_code == 1
        said = mill.one("error_message")[0]
        assert f"HTTP 404 at {server.url}/v1/v1/chat/completions: Not Found." in said
        assert f"perhaps to {server.url}/v1," in said
        assert mill.results("error_kind, error_code, retryable") == [("bad_request", "no_such_path", True)] * 2


def test_a_404_that_may_mean_model_or_path_names_both(tmp_path: Path) -> None:
    """FIELD 47: servers use the same words for both, and only one of them was told."""
    with scripted(lambda _: told({"error": {"message": "not here", "code": None}}, 404)) as server:
        mill = Mill(tmp_path, server.url, provider="openai")
        mill.questions(20)
        said = str(mill.run().fault)
        for text in (f"{server.url}/v1/chat/completions", "Check model.name", "base_url"):
            assert text in said


def test_a_path_that_the_task_lane_does_not_find_is_named(tmp_path: Path, start: Start) -> None:
    """FIELD 47: GLM says so inside a 200."""
    mill = Mill(tmp_path, start(), lane="task")
    mill.questions(5)
    report = at(f"{mill.url}/api/paas/v4/x", mill)
    assert report.exit_code == 6
    said = str(report.fault)
    assert f"HTTP 200 at {mill.url}/api/paas/v4/x/async/chat/completions: 404 NOT_FOUND" in said
    assert f"perhaps to {mill.url}/api/paas/v4," in said


def test_a_tls_server_that_will_never_agree_stops_the_run_at_once(tmp_path: Path) -> None:
    """FIELD 47: like a bad certificate, and not after 15 minutes."""

    def refuse(line: socket.socket, counts: Counts) -> None:
        line.recv(65536)
        counts.requests += 1
        line.sendall(b"\x15\x03\x01\x00\x02\x02\x46")

    with serving(refuse) as (url, counts):
        mill = Mill(tmp_path, url.replace("http://", "https://"), provider="openai")
        mill.questions(20)
        seen: list[Progress] = []
        job = Job.load(mill.save())
        run_it = partial(run, job, environ=mill.environ, on_progress=seen.append)
        report = anyio.run(run_it, backend_options={"use_uvloop": True})
        assert (report.state, report.exit_code, report.totals.rows) == ("provider", 6, 0)
        assert {now.waits_for for now in seen if now.state != "running"} == {None}, "it waits for nobody"
        assert url.removeprefix("http://") in str(report.fault)
        assert counts.requests <= mill.limits["concurrency"]
        assert report.totals.unknown == 0


def until(mill: Mill, holds: Callable[[Progress], bool]) -> Progress:
    """Run until a snapshot is as wanted, and give it; the run is cancelled then."""
    found: list[Progress] = []

    async def main() -> None:
        with anyio.fail_after(60), anyio.CancelScope() as scope:

            def look(snapshot: Progress) -> None:
                if holds(snapshot):
                    found.append(snapshot)
                    scope.cancel()

            await run(Job.load(mill.save()), environ=mill.environ, on_progress=look)

    anyio.run(main, backend_options={"use_uvloop": True})
    return found[0]


def test_a_port_that_nobody_listens_at_is_told_while_the_run_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, unasked_logs: None
) -> None:
    """FIELD 47: "waits for the provider, which has not answered for 40 s", and no word of where and why."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen; nobody else gets the port meanwhile
        port = nobody.getsockname()[1]
        mill = Mill(tmp_path, f"http://127.0.0.1:{port}", provider="openai")
        mill.questions(20)
        why = f"no connection to 127.0.0.1:{port}: Connection refused"
        snapshot = until(mill, lambda now: "not answered" in (now.waits_for or ""))
    assert snapshot.waits_for is not None
    assert snapshot.waits_for.endswith(why)
    written = json.loads((mill.out / "status.json").read_text("utf-8"))
    assert why in written["waits_for"], "what `status` shows of a run at work"
    said = "\n".join(caplog.messages)
    assert "provider_silent" in said
    assert why in said, "the log"
    totals = status_of(mill.out).totals
    assert totals.calls >= snapshot.totals.calls  # one more may have failed when the run was cancelled
    assert totals == Totals(calls=totals.calls, failed=totals.calls, models=totals.models)


def test_tasks_that_cannot_be_asked_for_are_told(tmp_path: Path) -> None:
    """FIELD 47: polls that reached nobody were told nowhere, for a day."""

    def serve(line: socket.socket, _: Counts) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := line.recv(65536)):
                return  # the run was cancelled before it asked
            data += more
        if data.startswith(b"POST"):
            line.sendall(http(b'{"id":"t-1","task_status":"PROCESSING"}', "Connection: close"))

    with serving(serve) as (url, _):
        mill = Mill(tmp_path, url, lane="task")
        mill.questions(1)
        snapshot = until(mill, lambda now: now.waits_for is not None)
        assert "cannot be asked for its tasks: the server closed" in str(snapshot.waits_for)
        assert snapshot.waiting_tasks == 1


def test_rows_in_back_off_are_no_tasks(tmp_path: Path) -> None:
    """FIELD 48: "1 tasks waiting" in lane sync, where there are none."""
    with scripted(lambda asked: told({"error": {"message": "no"}}, 500) if asked.n else reply()) as server:
        mill = Mill(tmp_path, server.url, provider="openai")
        mill.questions(2)
        snapshot = until(mill, lambda now: now.waiting_rows == 1)
        assert snapshot.waiting_tasks == 0


def test_a_stop_is_told_in_the_moment_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD 49: the line of a second ago stood there, and what happens now was told with the next tick."""
    from batch.run import pipeline

    def serve(asked: Asked) -> Answer:
        return reply() if asked.n else told({"error": {"code": "invalid_api_key", "message": "no"}}, 401)

    both, told_of = threading.Barrier(2, timeout=60), threading.Event()

    def hold(asked: Asked) -> None:
        """The second row is in flight when the first stops the run, and until that is told."""
        both.wait()
        if asked.n:
            told_of.wait(60)

    def look(now: Progress) -> None:
        seen.append(now.state)
        if now.state == "stopping":
            told_of.set()

    monkeypatch.setattr(pipeline, "TICK_S", 600.0)
    seen: list[Any] = []
    with scripted(serve, hold=hold) as server:
        mill = Mill(tmp_path, server.url, provider="openai")
        mill.questions(2)

        async def main() -> None:
            await run(Job.load(mill.save()), environ=mill.environ, on_progress=look)

        anyio.run(main, backend_options={"use_uvloop": True})
    assert "stopping" in seen
