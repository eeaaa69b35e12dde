"""Whole runs over a faulty disk: the command in this process, the provider's own books beside it, and what must hold.

One `Scene` is a job and its output folder as they stand before the command that meets the fault, and what an
undisturbed command makes of them. A trial puts the folder back, strikes once, looks at what is left, and goes on.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import logging
import os
import re
import shutil
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import apsw
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from batch.cli import main
from tests.support import bills
from tests.support.ledgers import read, without_sums
from tests.system.faults.disk import Disk, Fault, under
from tests.system.runs.conftest import KEY, ROOT, Mill

CONCURRENCY = 4
SIMULATOR = "[latency]\nchat_ms = [1, 4]\ntask_ms = [5, 20]\n"
TOOLS = (
    (ROOT / "jobs" / "quickstart" / "tools.py").read_text(encoding="utf-8").replace("@tool\n", "@tool(quick=True)\n")
)
"""Run in this process: a worker process is slow to start, and writes nothing to the disk that fails here."""
KEPT = {
    "results",
    "calls",
    "runs",
    "pending",
    ".strays",
    "ledger.db",
    "metrics.prom",
    "status.json",
    ".lock",
    "ledger.db-wal",
    "ledger.db-shm",
}
"""The last two go with the last connection of a process; one that a fallen command left open may live on in a thread."""
REASON = re.compile(
    "Input/output error|No space left|disk I/O error|disk is full|unable to open|locking protocol|is locked",
    re.IGNORECASE,
)


class Broken(AssertionError):
    """A promise that did not hold, with the fault that broke it."""


def command(out: Path, job: Path, *options: str) -> tuple[int, str]:
    """The command of a user, in this process; exit code and all it says."""
    said = io.StringIO()
    handlers, level, interval = logging.root.handlers[:], logging.root.level, sys.getswitchinterval()
    try:
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            mock.patch.object(sys, "unraisablehook", _unless_sqlite(sys.unraisablehook)),
            mock.patch.dict(os.environ, {"ZHIPUAI_API_KEY": KEY, "PROMPTMILL_FAILPOINT": ""}),
        ):
            code = main(["run", str(job), "-o", str(out), "--progress", "none", *options])
            gc.collect()  # connections that a fallen run left open
    finally:
        # The command sets up the process it runs in; this one is also others'.
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        sys.setswitchinterval(interval)
        structlog.reset_defaults()
    return code, said.getvalue()


def _unless_sqlite(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A VFS in Python tells of a refusal when a connection is freed, which SQLite's own swallows."""
    return lambda found: None if isinstance(found.exc_value, apsw.Error) else hook(found)


@dataclass
class Scene:
    """A job, its output folder before the command, and what is expected after it."""

    name: str
    mill: Mill
    before: Path
    lane: str
    table: list[dict[str, Any]] = field(default_factory=list)
    answered: int = 0
    """Calls with an answer that an undisturbed command makes."""
    passed: Counter[Any] = field(default_factory=Counter)
    """How often an undisturbed command passes each kind of operation."""
    since: datetime | None = None
    """When the books began that are open now."""

    def put_back(self) -> None:
        """Folder and books as they were before the command."""
        for left in (self.mill.out, Path(f"{self.mill.out}.survived")):
            shutil.rmtree(left, ignore_errors=True)
        if self.before.exists():
            shutil.copytree(self.before, self.mill.out)
        request = urllib.request.Request(f"{self.mill.url}/_sim/reset", method="POST")
        with urllib.request.urlopen(request) as answer:
            answer.read()
        self.since = datetime.now(UTC)

    def rehearse(self) -> None:
        """The command undisturbed."""
        self.put_back()
        with under(Disk(self.mill.out)) as disk:
            code, said = command(self.mill.out, self.mill.folder)
        assert code == 0, said
        self.passed = disk.passed
        self.table = self.rows()
        self.answered = sum(call["state"] == "answered" for call in self.calls())

    # -- what stands in the folder ----------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """The result table, without what differs from run to run."""
        columns = ["n", "row_id", "row_number", "status", "answer", "turns", "tool_calls", "total_tokens"]
        parts = sorted((self.mill.out / "results").glob("part-*.parquet"))
        return [row for part in parts for row in pq.read_table(part, columns=columns, partitioning=None).to_pylist()]

    def calls(self) -> list[dict[str, Any]]:
        """The book of account."""
        columns = ["client_call_id", "state", "total_tokens", "row_id", "turn", "cost", "task_id"]
        parts = sorted((self.mill.out / "calls").glob("*/part-*.parquet"))
        return [row for part in parts for row in pq.read_table(part, columns=columns, partitioning=None).to_pylist()]

    def billed(self) -> dict[str, dict[str, Any]]:
        """What the provider has billed since the command began."""
        with urllib.request.urlopen(f"{self.mill.url}/_sim/books") as answer:
            books = json.load(answer)
        return {record["client_call_id"]: record for record in books if record["billed"]}


def strike(scene: Scene, *faults: Fault) -> str:
    """One trial: the command meets the first fault, the same command the next one, then it goes on undisturbed.

    Returns:
        What the first command came to: `absorbed`, `stopped`, or `missed` when it never came to the fault.

    Raises:
        Broken: a promise did not hold.
    """
    scene.put_back()
    came_to = []
    for fault in faults:
        disk = Disk(scene.mill.out, fault)
        with under(disk):
            code, said = command(scene.mill.out, scene.mill.folder)
        try:
            came_to.append(_met(scene, disk, code, said))
        except Broken as exc:
            raise Broken(f"{_named(scene, faults)} (struck {disk.struck[:3]}): {exc}\nit had said: {said}") from exc
    try:
        unknown = finish(scene)
        _expect(unknown <= CONCURRENCY * len(faults), f"{unknown} calls at risk, more than slots")
    except Broken as exc:
        raise Broken(f"{_named(scene, faults)}: {exc}") from exc
    return came_to[0]


def _met(scene: Scene, disk: Disk, code: int, said: str) -> str:
    """What a command did about its fault, and what is left of its folder."""
    if not disk.struck:
        _expect(code == 0, f"exit {code} without a fault")
        return "missed"
    _told(scene, code, said)
    if disk.is_cut:
        shutil.rmtree(scene.mill.out, ignore_errors=True)
        Path(f"{disk.root}.survived").rename(scene.mill.out)
    acknowledged(scene)
    return "stopped" if code else "absorbed"


def _named(scene: Scene, faults: Sequence[Fault]) -> str:
    return f"{scene.name}, {' then '.join(map(str, faults))}"


def _expect(holds: bool, text: str) -> None:
    if not holds:
        raise Broken(text)


def _told(scene: Scene, code: int, said: str) -> None:
    """The exit code and the reason a user is given."""
    _expect(code in (0, 5), f"exit {code}")
    _expect("bug of ours" not in said and "Traceback" not in said, "a bug")
    if code == 5:
        _expect(str(scene.mill.out) in said, "does not name the file")
        _expect(REASON.search(said) is not None, "does not name the reason")
        advice = "again" in said or "Choose another folder" in said or "cannot make the folder" in said
        _expect(advice, "does not say what to do")


def acknowledged(scene: Scene) -> None:
    """Right after the fault: the ledger is whole, names every billed call, and every file it names is whole."""
    path = scene.mill.out / "ledger.db"
    if not path.exists() or not read(path, "SELECT count(*) FROM sqlite_schema")[0][0]:
        _expect(not scene.billed(), "calls were billed and there is no ledger")
        return
    _expect(read(path, "PRAGMA integrity_check") == [("ok",)], "the ledger is damaged")
    known = {row[0] for row in read(path, "SELECT call_id FROM calls")}
    for run, number, rows in read(path, "SELECT run, number, rows FROM call_parts"):
        table = _read(scene.mill.out / "calls" / f"run={run}" / f"part-{number:05d}.parquet")
        _expect(table.num_rows == rows, f"calls part {number} has {table.num_rows} rows, not {rows}")
        known |= set(table.column("client_call_id").to_pylist())
    _expect(scene.billed().keys() <= known, "a billed call is not in the ledger")
    for part, rows in read(path, "SELECT part, rows FROM parts"):
        found = _read(scene.mill.out / "results" / f"part-{part:05d}.parquet").num_rows
        # A rewritten part may be named already and not committed: it has more rows then, never fewer.
        _expect(found >= rows, f"part {part} has {found} rows, not {rows}")


def _read(part: Path) -> Any:
    try:
        return pq.read_table(part, partitioning=None)
    except (OSError, pa.ArrowException) as exc:
        raise Broken(f"{part}: the ledger names it: {exc}") from exc


def finish(scene: Scene) -> int:
    """The same command without a fault: the same table and exact books; the number of unknown calls is returned."""
    code, said = command(scene.mill.out, scene.mill.folder)
    _expect(code == 0, f"does not go on: exit {code}: {said}")
    found = scene.rows()
    if len(found) == len(scene.table) and any(row["total_tokens"] is None for row in found):
        raise Broken("tokens of a row are unknown")
    _expect(_plain(found) == _plain(scene.table), "another table")
    calls = scene.calls()
    book = {call["client_call_id"]: call for call in calls}
    _expect(len(book) == len(calls), "a call stands twice in the book")
    for name, record in scene.billed().items():
        _expect(name in book, "a billed call is not in the book")
        tokens = book[name]["total_tokens"]
        _expect(tokens is None or tokens == record["total_tokens"], "booked other tokens than billed")
        _expect(tokens is not None or book[name]["task_id"] is None, "a task with a committed id was not collected")
    open_ = {name for name, call in book.items() if call["total_tokens"] is None}
    try:
        bills.agree([scene.mill.out], scene.billed().values(), open_=open_, since=scene.since, by_day=False)
    except AssertionError as exc:
        raise Broken(f"the bill: {exc}") from exc
    answered = [call for call in calls if call["state"] == "answered"]
    _expect(len(answered) == scene.answered, f"{len(answered)} answers bought, not {scene.answered}")
    _tidy(scene)
    again, said = command(scene.mill.out, scene.mill.folder)
    _expect((again, "nothing to do" in said) == (0, True), f"not finished after all: exit {again}: {said}")
    return sum(call["state"] == "unknown" for call in calls)


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "total_tokens"} for row in rows]


def _tidy(scene: Scene) -> None:
    out = scene.mill.out
    left = {path.name for path in out.iterdir()} - KEPT
    _expect(not left, f"left behind: {left}")
    _expect(not list((out / "pending").iterdir()), "spills left behind")
    strays = [path for path in out.rglob(".*") if path.name not in KEPT]
    _expect(not strays, f"strays: {strays}")
    for path in (out / "runs").glob("*.json"):
        # The ledger has the state; a file that could not be written at the very end still says `running`.
        _expect(json.loads(path.read_text("utf-8"))["state"] in ("finished", "running"), f"{path.name} is odd")


# -- the scenes -----------------------------------------------------------------------------------------------------


def scenes(folder: Path, url: str, names: Sequence[str] = ("sync", "rewrite", "task")) -> list[Scene]:
    """A fresh run with tools in three parts, one that rewrites two parts and adds a third, and a fresh one by tasks."""
    makers: dict[str, Callable[[], Scene]] = {
        "sync": lambda: _fresh(folder / "sync", url, "sync", 36),
        "rewrite": lambda: _rewriting(folder / "rewrite", url),
        "task": lambda: _fresh(folder / "task", url, "task", 16),
    }
    made = [makers[name]() for name in names]
    for scene in made:
        scene.rehearse()
    return made


def question(n: int, again: str = "") -> dict[str, Any]:
    """Every second row needs a tool."""
    text = f"What is {n} plus {2 * n}?{again}" if n % 2 else f"Tell me about the number {n}.{again}"
    return {"n": n, "question": text}


def _mill(folder: Path, url: str, lane: str) -> Mill:
    mill = Mill(folder, url, lane=lane)
    mill.key = "n"
    mill.tools = TOOLS
    mill.limits = {"concurrency": CONCURRENCY}
    mill.output = {"rows_per_part": 12}
    mill.save()
    return mill


def _fresh(folder: Path, url: str, lane: str, rows: int) -> Scene:
    mill = _mill(folder, url, lane)
    mill.write([question(n) for n in range(rows)])
    return Scene(lane, mill, folder / "before", lane)


def _rewriting(folder: Path, url: str) -> Scene:
    """Twenty-four rows are answered; the input of six of them changes and six come new."""
    mill = _mill(folder, url, "sync")
    mill.write([question(n) for n in range(24)])
    scene = Scene("rewrite", mill, folder / "before", "sync")
    with without_sums():  # as every ledger that is to lie on a faulty disk
        code, said = command(mill.out, mill.folder)
    assert code == 0, said
    mill.write([question(n, " Again." if n in (0, 3, 5, 11, 12, 20) else "") for n in range(30)])
    shutil.copytree(mill.out, scene.before)
    return scene
