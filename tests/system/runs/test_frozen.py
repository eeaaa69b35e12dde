"""Output folders that an older promptmill wrote (`tests/frozen`), continued by today's code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import apsw
import msgspec
import pyarrow.parquet as pq
import pytest

from batch.cli.app import main
from batch.core import canonical
from batch.job.job import Job
from batch.plan.preflight import check_job
from tests.simulator.conftest import Sim, Start
from tests.support.longer import longer
from tests.system.runs.conftest import ENVIRON, ROOT, Mill

FROZEN = ROOT / "tests" / "frozen"
PLACE = Path("/tmp/promptmill-frozen")
"""Where the jobs lay when their output was written; nothing lies there now."""


class Frozen(Mill):
    """A copy of a frozen job folder; its job file is the frozen one, but for the address of the provider."""

    def __init__(self, folder: Path, name: str, sim: Sim) -> None:
        super().__init__(folder, sim)
        self.sim: Sim = sim
        self.frozen = FROZEN / f"{name}.zip"
        with zipfile.ZipFile(self.frozen) as packed:
            packed.extractall(folder)
            self.killed = "out/ledger.db-wal" in packed.namelist()
        self.facts: dict[str, Any] = json.loads((FROZEN / f"{name}.json").read_text("utf-8"))
        self.name, file = name, folder / "job.toml"
        text = file.read_text("utf-8")
        self.old_url = text.split('base_url = "')[1].split('"')[0]
        self.old_job = Job.load(folder)
        file.write_text(text.replace(self.old_url, f"{self.url}/api/paas/v4"), encoding="utf-8")

    def save(self) -> Path:
        return self.folder

    def settle_in(self, tasks_url: str = "") -> str:
        """Change in the ledger what names the place of then: paths, inode and time of the input, the job's address.

        What must not change with the code is held against what the ledger has, before it is changed: the request, by
        which a killed run is continued, and the digest, by which a finished one has nothing to do.

        Args:
            tasks_url: where the tasks were accepted, as it is now.

        Returns:
            the name of the last run.
        """
        then = PLACE / Path(self.name).name
        assert self.old_job.tools is not None
        at_then = msgspec.structs.replace(
            self.old_job,
            folder=then,
            input=msgspec.structs.replace(self.old_job.input, path=Path("rows.jsonl")),
            tools=msgspec.structs.replace(self.old_job.tools, module=Path("tools.py")),
            output=msgspec.structs.replace(self.old_job.output, path=Path("out")),
        )
        assert at_then.input.path == then / "rows.jsonl"
        now = check_job(Job.load(self.folder), ENVIRON).identity()
        with closing(apsw.Connection(str(self.out / "ledger.db"))) as db:
            if self.killed:
                db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # the log stays a log, as a kill leaves it
            runs: list[Any] = db.execute("SELECT run, request, digest, source FROM runs ORDER BY run").fetchall()
            for run, request, digest, source in runs:
                moved = request.replace(str(then), str(self.folder))
                assert moved == now.request, "a killed run would be closed as job_changed"
                assert digest == f"{at_then.digest()}-{canonical.record_id(json.loads(request))}", "a job looks changed"
                stat = {**json.loads(source), "path": now.source.path, "inode": now.source.inode}
                stat["mtime_ns"] = now.source.mtime_ns
                db.execute(
                    "UPDATE runs SET request = ?, digest = ?, source = ? WHERE run = ?",
                    (moved, now.digest, json.dumps(stat, separators=(",", ":")), run),
                )
                assert db.execute("SELECT source FROM runs WHERE run = ?", (run,)).get == now.source_text
            if tasks_url:
                db.execute("UPDATE calls SET base_url = ? WHERE base_url = ?", (tasks_url, self.old_url))
        return str(runs[-1][0])

    def booked(self) -> dict[str, tuple[Any, ...]]:
        """The published calls by id."""
        found = self.calls("client_call_id, row_number, turn, state, total_tokens, cost::VARCHAR, task_id")
        assert len({row[0] for row in found}) == len(found), "a call stands twice in the book"
        return {row[0]: row[1:] for row in found}

    def say(self, command: str, *arguments: str) -> tuple[int, str]:
        """A command that only reads."""
        line = [sys.executable, "-m", "batch", command, str(self.out), *arguments]
        done = subprocess.run(line, env={**os.environ, **ENVIRON}, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


Thaw = Callable[[str], Frozen]


@pytest.fixture
def thaw(tmp_path: Path, start: Start) -> Thaw:
    """Unpacks a frozen folder beside a simulator of today."""

    def begin(name: str) -> Frozen:
        return Frozen(tmp_path / name / "job", name, start())

    return begin


def undisturbed(mill: Frozen, tmp_path: Path) -> dict[int, tuple[Any, ...]]:
    """What today's code makes of the same job from the beginning."""
    fresh = Frozen(tmp_path / "fresh" / "job", mill.name, mill.sim)
    for path in sorted(fresh.out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    fresh.run()
    return table(fresh)


def check_log(mill: Frozen) -> None:
    """The ledger's log is still what the kill left, with our changes behind it: it is today's code that reads it."""
    with zipfile.ZipFile(mill.frozen) as packed:
        left = packed.read("out/ledger.db-wal")
    assert len(left) > 100_000
    assert (mill.out / "ledger.db-wal").read_bytes().startswith(left)


def table(mill: Frozen) -> dict[int, tuple[Any, ...]]:
    """The rows by number: what does not depend on when and how often they were asked."""
    columns = "row_number, row_id, n, status, answer, finish_reason, turns, tool_calls, model, error_kind, error_code"
    return {row[0]: row[1:] for row in mill.results(columns)}


def check_end(mill: Frozen, before: dict[str, tuple[Any, ...]], tmp_path: Path) -> dict[str, tuple[Any, ...]]:
    """What holds in every folder that was continued to its end; gives the calls that are new in the book."""
    facts = mill.facts
    mill.check_table(40)
    seen = len(mill.books())
    assert mill.run().state == "nothing_to_do"
    assert len(mill.books()) == seen
    assert mill.pending() == []

    after = mill.booked()
    assert {call: after[call] for call in before} == before, "published calls changed"
    assert set(facts["booked_calls"]) <= after.keys(), "calls of the ledger are lost"
    assert all(after[call][2] == "answered" for call in facts["booked_calls"])
    old = before.keys() | set(facts["booked_calls"]) | set(facts["open_calls"])
    new = {call: row for call, row in after.items() if call not in old}
    assert not {row[0] for row in new.values()} & set(facts["settled"]), "a settled row was asked again"
    replied = [(row[0], row[1]) for row in new.values()]
    assert not set(replied) & {tuple(turn) for turn in facts["turns_answered"]}, "an answered turn was bought again"
    assert table(mill) == undisturbed(mill, tmp_path)
    return new


PUBLISHED = {"format-3/sync": (35, 22), "format-4/sync": (34, 10), "format-5/sync": (39, 22)}
"""Calls and rows, where they are others than of the first format."""


@pytest.mark.parametrize(
    "name", ["sync", "format-2/sync", "format-3/sync", "format-4/sync", "format-5/sync", "format-6/sync"]
)
def test_a_killed_sync_run_of_then_is_continued(name: str, thaw: Thaw, tmp_path: Path) -> None:
    """Promises 1 and 2: rows once, settled ones not again, open calls unknown, conversations from their middle."""
    mill = thaw(name)
    before, rows = mill.booked(), table(mill)
    assert (len(before), len(rows)) == PUBLISHED.get(name, (36, 22)), "what of it was published"
    killed = mill.settle_in()
    check_log(mill)
    report = mill.run()
    assert (report.exit_code, report.state, report.run) == (0, "finished", killed)
    sent = {record["client_call_id"] for record in mill.books()}
    assert {n: row for n, row in table(mill).items() if n in rows} == rows, "published rows changed"
    new = check_end(mill, before, tmp_path)
    booked = mill.booked()
    assert {booked[call][2] for call in mill.facts["open_calls"]} == {"unknown"}
    assert sent <= new.keys() | set(mill.facts["open_calls"])
    assert set(mill.facts["never_sent"]) <= {row[0] for row in new.values()}


@pytest.mark.parametrize(
    "name", ["task", *longer(["format-2/task", "format-3/task", "format-4/task", "format-5/task", "format-6/task"])]
)
def test_task_ids_that_were_accepted_then_are_collected_and_not_bought_again(
    name: str, thaw: Thaw, tmp_path: Path
) -> None:
    """Promise 2; the provider of then is a stand-in that knows these tasks and nothing else."""
    mill = thaw(name)
    assert mill.booked() == {}
    results = mill.facts["task_results"]
    with tasks_of_then(results) as (url, polled):
        killed = mill.settle_in(url)
        check_log(mill)
        report = mill.run()
    assert (report.exit_code, report.state, report.run) == (0, "finished", killed)
    assert set(polled) == set(results), "each accepted id is asked for, where it was accepted"
    sent = {record["client_call_id"] for record in mill.books()}
    new = check_end(mill, {}, tmp_path)
    booked = mill.booked()
    collected = {row[5]: row for row in booked.values() if row[5] in results}
    assert collected.keys() == results.keys()
    for task, row in collected.items():
        assert row[2:4] == ("answered", results[task]["usage"]["total_tokens"])
    assert sent == {call for call, row in new.items() if row[5] not in results}
    unanswered = {call: row[2] for call, row in booked.items() if row[2] != "answered"}
    assert unanswered == dict.fromkeys(mill.facts["open_calls"], "unknown")


@pytest.mark.parametrize(
    "name",
    [
        "finished",
        *longer(
            ["format-2/finished", "format-3/finished", "format-4/finished", "format-5/finished", "format-6/finished"]
        ),
    ],
)
def test_a_finished_run_of_then_has_nothing_to_do_and_can_be_read(name: str, thaw: Thaw) -> None:
    """Ours: nothing is sent, nothing changes; `status` and `show` answer, before and after."""
    mill = thaw(name)
    before = {path: path.read_bytes() for path in mill.out.rglob("*.parquet")}
    for time in ("as it came", "after a run"):
        code, said = mill.say("status", "--json")
        assert code == 0, said
        told = json.loads(said)
        assert (told["state"], told["exit_code"]) == ("finished", 1), time
        assert mill.say("status")[0] == 0
        code, said = mill.say("show", "3")
        assert (code, "What is 3 plus 6?" in said) == (0, True), said
        code, said = mill.say("show", mill.one("row_id")[14])
        assert (code, "rows.jsonl" in said) == (0, True), said
        if time == "as it came":
            mill.settle_in()
            assert mill.run().state == "nothing_to_do"
    assert mill.books() == []
    assert {path: path.read_bytes() for path in mill.out.rglob("*.parquet")} == before


@pytest.mark.parametrize(
    "name",
    [
        "finished",
        "format-2/finished",
        "format-3/finished",
        "format-4/finished",
        "format-5/finished",
        "format-6/finished",
    ],
)
def test_an_index_of_then_learns_what_the_table_has_and_follows_from_then_on(name: str, thaw: Thaw) -> None:
    """FIELD 28. On the first pass no row is written for it, and nothing is asked; later edits are found."""
    mill = thaw(name)
    before = {path: pq.read_table(path) for path in mill.out.rglob("*.parquet")}
    mill.settle_in()
    rows = mill.folder / "rows.jsonl"
    os.utime(rows, (1, 1))
    report = mill.run()
    assert (report.planned.unchanged, report.planned.standing, report.planned.refreshed) == (14, 1, 0)
    now = {path: pq.read_table(path) for path in mill.out.rglob("*.parquet")}
    assert now.keys() == before.keys()
    assert all(now[path].select(table.column_names).equals(table) for path, table in before.items())
    assert {tuple(now[path].column_names) for path in now if path.parent.name == "results"} == {
        tuple(check_job(Job.load(mill.folder), ENVIRON).schema.names)
    }, "every old part has the columns of today"
    with closing(apsw.Connection(str(mill.out / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        assert {len(content) for (content,) in db.execute("SELECT content FROM entries")} == {8}
    rows.write_text(rows.read_text("utf-8").replace('{"n": 3,', '{"owner": "ann", "n": 3,'), encoding="utf-8")
    assert mill.run().planned.refreshed == 1
    assert [json.loads(rest) if rest else None for rest in mill.one("input_rest")][:5] == [
        *[None] * 3,
        {"owner": "ann"},
        None,
    ]
    assert mill.books() == []


@pytest.mark.parametrize(
    "name", ["sync", *longer(["format-2/sync", "format-3/sync", "format-4/sync", "format-5/sync"])]
)
def test_a_book_of_two_versions_is_read_as_one(
    name: str, thaw: Thaw, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of the older one lack columns; whatever reads calls adds up both, before and after a rebuild."""
    mill = thaw(name)
    mill.settle_in()
    assert mill.run().exit_code == 0
    assert len({frozenset(pq.read_schema(path).names) for path in mill.out.glob("calls/*/*.parquet")}) == 2
    out = str(mill.out)
    found = f"read_parquet('{out}/calls/*/*.parquet', union_by_name=true)"
    ((calls, tokens, prints),) = mill.query(f"SELECT count(*), sum(total_tokens), count(fingerprint) FROM {found}")
    assert prints == 0, "the book tells what was asked for tasks and batches alone"
    assert (calls, tokens) == (len(mill.booked()), sum(row[3] or 0 for row in mill.booked().values()))
    for key, value in ENVIRON.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("PROMPTMILL_STATE", str(tmp_path / "state"))
    told = []
    for command in (["rebuild", out], []):
        for options in ([], ["--by", "endpoint"], ["--by", "purpose"], ["--by", "day"]):
            assert main(["cost", out, "--json", *options]) == 0, options
            told.append(json.loads(capsys.readouterr().out)["totals"])
        assert main(["show", out, "3"]) == 0
        assert main(["estimate", str(mill.folder)]) == 0
        assert main(["report", out, "-o", str(tmp_path / "report.html")]) == 0
        assert main(["export", out, str(tmp_path / "table.csv")]) == 0
        assert not command or main(command) == 0
        (tmp_path / "report.html").unlink()
        capsys.readouterr()
    assert all(totals == told[0] for totals in told), "however it is grouped, and a rebuild changes nothing of it"
    assert sum(row["calls"] for row in told[0]) == calls
    assert sum(row["prompt_tokens"] + row["completion_tokens"] for row in told[0]) == tokens


@contextmanager
def tasks_of_then(results: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """A provider that answers polls of these tasks as recorded and refuses the rest; gives its base URL and what it was asked."""
    polled: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            task = self.path.rpartition("/")[2]
            polled.append(task)
            known = task in results and self.path.startswith("/api/paas/v4/async-result/")
            refusal = {"error": {"code": "1214", "message": "no such task"}}
            body = json.dumps(results[task] if known else refusal).encode()
            self.send_response(200 if known else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/api/paas/v4", polled
        server.shutdown()
