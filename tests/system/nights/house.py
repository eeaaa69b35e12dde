"""A house that asks every night: one job over one output folder, a source that changes, and what must always hold.

`House` writes the source as people do (a file a day, or one file that grows), starts the command of the night on a
date, disturbs it, and compares the table, the book of account, the run files and `status --json` with the simulator's
books and with what was there the night before. It knows what the simulator answers and what a token costs on a day.
"""

from __future__ import annotations

import contextlib
import io
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from batch.cli.app import main
from batch.job.job import Job
from batch.run.command import run
from batch.simulator.models.completion import Ask
from batch.simulator.models.speaker import complete
from tests.simulator.conftest import Gate, Sim
from tests.support import bills
from tests.system.nights.cron import Dated
from tests.system.runs.conftest import Mill

Form = Literal["folder", "parquet", "file"]
Record = dict[str, Any]

SCENARIO = """
[latency]
chat_ms = [2, 12]
task_ms = [5, 40]
[[fault]]
behaviour = 65
rows = ["forbidden"]
[[fault]]
behaviour = 28
status = 500
rows = ["flaky"]
first = 2
"""
ATTEMPTS = 2  # as many as a flaky row fails: it fails one night and is answered in the next
CONCURRENCY = 16
MODEL = "glm-3-turbo"
CHEAPER = date(2024, 6, 1)
BILLED_IN = timezone(timedelta(hours=8))
"""BigModel's days begin at midnight there."""


def price(day: date) -> Decimal:
    """What a token of GLM-3-Turbo cost on a day, in yuan: 5 and then 1 for a million (BigModel price pages 2024)."""
    return Decimal(1 if day >= CHEAPER else 5) / 1_000_000


def answer_to(question: str) -> str:
    """What the simulator's model says."""
    return complete(Ask(MODEL, [{"role": "user", "content": question}], (), "", True, (), None, None, 1, 0)).text


@dataclass
class Night:
    """What came of one start of the command."""

    code: int
    said: str
    disturbed: bool
    """Whether what was to happen in the middle did happen in the middle."""


class House(Mill):
    """One job, night after night.

    Attributes:
        days: the source: by name of the day's file, the text of each key.
        owners: whose a key is, which nobody asks about; ann's, if it is not here.
        pruned: whether rows were ever taken out of the table.
        now: the wall clock at the start of the next command.
        risk: calls that may be unknown by now.
        gate: of the provider, if it has one: open, but for nights in which something happens in the middle.
    """

    def __init__(self, folder: Path, sim: Sim, *, form: Form, lane: str, gate: Gate | None = None) -> None:
        super().__init__(folder, sim, lane=lane, model=MODEL)
        self.gate = gate
        if gate is not None:
            gate.open()
        self.form = form
        self.key = "id"
        self.user = "{{ text }}"
        self.input = "rows.jsonl" if form == "file" else "days"
        self.limits = {"concurrency": CONCURRENCY, "max_attempts": ATTEMPTS}
        self.output = {"rows_per_part": 50}
        self.days: dict[str, dict[str, str]] = {}
        self.owners: dict[str, str] = {}
        self.pruned = False
        self.now = datetime(2024, 5, 28, 2, tzinfo=UTC)
        self.risk = 0
        self.before: list[Record] = []
        self._keys = 0
        self._edits = 0
        self._templates: dict[str, str] = {}
        self._moved: list[tuple[float, float]] = []
        """When each command was started, and how many seconds its date was ahead."""
        self._reader = duckdb.connect(config={"threads": 1})

    # -- the source --------------------------------------------------------------------------------------------------

    def add(self, day: str, count: int, *, kind: str = "plain", note: str = "says that all is well") -> list[str]:
        """New rows in a day's file; their keys."""
        keys = [f"T-{self._keys + number:05d}" for number in range(count)]
        self._keys += count
        self.days.setdefault(day, {}).update({key: f"Ticket {key} rev 0 is {kind} and {note}" for key in keys})
        return keys

    def edit(self, keys: list[str], *, kind: str = "plain") -> None:
        """Another text for these rows, wherever they stand."""
        self._edits += 1
        for texts in self.days.values():
            texts.update({k: f"Ticket {k} rev {self._edits} is {kind} and was edited" for k in keys if k in texts})

    def gone(self) -> set[str]:
        """Keys of the table that are not in the source."""
        return {row["id"] for row in self.table()} - self.source().keys()

    def prune(self) -> None:
        """Take what is gone out of the table, and see that nothing else left it; the source is to be read once more."""
        gone, rows = self.gone(), self.table()
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(["prune", str(self.out), str(self.save()), "--yes", "--max-gone", str(len(rows))]) == 0
        self.pruned = self.pruned or bool(gone)
        self.before = [row for row in rows if row["id"] not in gone]
        assert self.table() == self.before

    def source(self) -> dict[str, str]:
        """Key → text in the order in which the command reads them."""
        return {key: text for day in sorted(self.days) for key, text in self.days[day].items()}

    def put(self) -> None:
        """Write what changed, each file renamed over the old one, as careful people do."""
        if self.form == "file":
            self._put(self.folder / self.input, self.source())
            return
        folder = self.folder / self.input
        folder.mkdir(exist_ok=True)
        ending = "parquet" if self.form == "parquet" else "jsonl"
        for path in folder.iterdir():
            if path.stem not in self.days:
                path.unlink()
        for day, texts in self.days.items():
            self._put(folder / f"{day}.{ending}", texts)

    def _put(self, path: Path, texts: Mapping[str, str]) -> None:
        records = [{"id": key, "text": text, "owner": self.owners.get(key, "ann")} for key, text in texts.items()]
        new = path.with_name(f".{path.name}.new")
        if self.form == "parquet":
            pq.write_table(pa.Table.from_pylist(records), new)
        else:
            new.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        if path.exists() and path.read_bytes() == new.read_bytes():
            new.unlink()
        else:
            new.rename(path)

    # -- the command -------------------------------------------------------------------------------------------------

    def night(
        self,
        *options: str,
        failpoint: str = "",
        after: int = 0,
        then: Callable[[subprocess.Popen[str]], None] | None = None,
        cron: bool = False,
    ) -> Night:
        """One night; with `then`, do that to the process once the provider has had `after` more requests.

        Where there is a gate, no more answers come before that than must, so that no run is over by then. It is a process of its own when something happens to it or `cron` says so, else a call of the Python API.
        """
        assert self.sim is not None
        first = self._requests()
        self._moved.append((time.time(), self.now.timestamp() - time.time()))
        if not (options or failpoint or then or cron):
            return self._within()
        program = (sys.executable, "-m", "tests.system.nights.cron", self.now.strftime("%Y-%m-%dT%H:%M:%S"))
        if then is not None and self.gate is not None:
            self.gate.shut()
        process = self.start(*options, failpoint=failpoint, program=program)
        disturbed = bool(failpoint)
        try:
            if then is not None:
                if self.gate is not None and after > CONCURRENCY:
                    self._await_requests(first + CONCURRENCY, process)
                    self.gate.let_pass(after - CONCURRENCY)
                self._await_requests(first + after, process)
                if process.poll() is None:
                    disturbed = True
                    then(process)
                if self.gate is not None:
                    self.gate.open()
            said = "".join(process.communicate(timeout=120))
        finally:
            process.kill()
            process.wait(60)
        return Night(process.returncode, said, disturbed)

    def _await_requests(self, count: int, process: subprocess.Popen[str]) -> None:
        """Wait until the provider has had so many requests in all, or the process has ended."""
        deadline = time.monotonic() + 60
        while self._requests() < count and process.poll() is None:
            assert time.monotonic() < deadline, "the requests never came"
            time.sleep(0.002)

    def _within(self) -> Night:
        begin = partial(run, Job.load(self.save()), environ=self.environ, clock=Dated(self.now))
        report = anyio.run(begin, backend_options={"use_uvloop": True})
        return Night(report.exit_code, report.state.replace("_", " "), disturbed=False)

    def later(self, **how: float) -> None:
        """Let time pass."""
        self.now += timedelta(**how)

    def _requests(self) -> int:
        assert self.sim is not None
        return self.sim.requests()

    # -- what is there -----------------------------------------------------------------------------------------------

    def table(self) -> list[Record]:
        """The result table, whole, in the order of its files; `filename` is the part."""
        return list(self._records("results/*.parquet", ("first_sent_at", "settled_at"), named="union_by_name"))

    def book(self) -> list[Record]:
        """The book of account, whole; `filename` has the run."""
        return list(self._records("calls/*/*.parquet", ("sent_at", "answered_at"), named="union_by_name"))

    def _records(self, pattern: str, times: tuple[str, ...], *, named: str) -> Iterator[Record]:
        if not list(self.out.glob(pattern)):
            return
        moments = ", ".join(f"epoch_us({name}) AS {name}" for name in times)
        found = self._reader.execute(
            f"SELECT * REPLACE ({moments}) FROM read_parquet('{self.out}/{pattern}', filename=true, {named}=true)"
        )
        names = [column[0] for column in found.description or ()]
        for row in found.fetchall():
            yield dict(zip(names, row, strict=True))

    def status(self) -> dict[str, Any]:
        """What `status --json` says."""
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            assert main(["status", str(self.out), "--json"]) == 0
        found: dict[str, Any] = json.loads(told.getvalue())
        return found

    def work_id(self) -> set[str]:
        """Keys that the next command must ask: new, edited, under another template, or failed for a passing reason."""
        stand = {row["id"]: row for row in self.table()}
        return {
            key
            for key, text in self.source().items()
            if key not in stand
            or (stand[key]["text"], self._template(stand[key]["run"])) != (text, self.user)
            or stand[key]["retryable"]
        }

    def _template(self, name: str) -> str:
        """What was asked in a run."""
        if name not in self._templates:
            self._templates = {told["run"]: told["job"]["request"]["user"] for told in self.runs()}
        return self._templates[name]

    # -- what must hold ----------------------------------------------------------------------------------------------

    def check(self, *, may_change: set[str], ended: bool = False) -> None:
        """What holds at any time, also right after a kill; `may_change` are the keys that had to be asked."""
        rows = self.table()
        self._check_rows(rows)
        now = {row["id"]: row for row in rows}
        for row in self.before:
            assert row["id"] in now, f"{row['id']} is lost"
            new = now[row["id"]]
            if row["id"] not in may_change:
                assert new == row | {"owner": new["owner"]}, f"a row that nobody asked for changed: {row} → {new}"
            else:
                assert (new["row_number"], new["filename"]) == (row["row_number"], row["filename"]), "lost its place"
        self.before = rows
        self.check_money(ended=ended)

    def check_end(self, *, work_id: set[str], order: bool = True) -> None:
        """What holds after a finished command over the source as it is now, in which `work` were to be asked."""
        source, rows = self.source(), self.table()
        now = {row["id"]: row for row in rows}
        assert self.pruned or [row["row_number"] for row in rows] == list(range(len(rows))), "a gap"
        assert {key: now[key]["text"] for key in source if key in now} == source, "an answer to another text, or none"
        owners = {key: self.owners.get(key, "ann") for key in source if key in now}
        assert {key: now[key]["owner"] for key in owners} == owners, "the table does not follow its input"
        if order:
            known = {row["id"] for row in self.before}
            assert [row["id"] for row in rows if row["id"] not in known] == [key for key in source if key not in known]
        self.check(may_change=work_id, ended=True)
        assert self.pending() == []
        dots = [str(path) for path in self.out.rglob(".*") if path.name not in (".lock", ".strays")]
        assert dots == []
        self._check_runs(rows)

    def check_asked(self, run: str, expected: Mapping[str, int]) -> None:
        """In this run each row was asked as often as it must be, and no other row at all."""
        asked = Counter(call["row_id"] for call in self.book() if f"run={run}/" in call["filename"])
        assert asked == Counter(expected)

    def check_nothing_to_do(self, *, cron: bool = False) -> None:
        """The same command again does nothing and says so."""
        before, requests, runs = self._stamps(), self._requests(), len(self.runs())
        night = self.night(cron=cron)
        assert (night.code, "nothing to do" in night.said) == (0, True), night.said
        assert (self._stamps(), self._requests(), len(self.runs())) == (before, requests, runs)

    def _stamps(self) -> list[tuple[str, int]]:
        return sorted((str(path), path.stat().st_mtime_ns) for path in self.out.glob("[rc]*/**/*.parquet"))

    def _check_rows(self, rows: list[Record]) -> None:
        numbers = [row["row_number"] for row in rows]
        assert numbers == sorted(set(numbers)), "not in order, or one place given twice"
        assert len({row["row_id"] for row in rows}) == len(rows), "a key stands twice"
        for row in rows:
            assert row["row_id"] == row["id"]
            text = row["text"]
            if row["status"] == "ok":
                assert "forbidden" not in text
                question = self._template(row["run"]).replace("{{ text }}", text)
                assert row["answer"] == answer_to(question), "the answer to another question"
                assert (row["error_kind"], row["error_code"], row["retryable"]) == (None, None, None), row
                assert row["finish_reason"] == "stop"
            elif "forbidden" in text:
                assert (row["status"], row["error_kind"], row["retryable"]) == ("failed", "content_filter", False)
                assert row["answer"] is None
            else:
                assert "flaky" in text, row
                assert (row["status"], row["error_kind"], row["retryable"]) == ("failed", "server", True)

    def check_money(self, *, ended: bool) -> None:
        """Call by call and in sum: tokens are those of the simulator's books, cost is tokens × the price of the day."""
        book = self.book()
        calls = {call["client_call_id"]: call for call in book}
        assert len(calls) == len(book), "a call stands twice in the book"
        billed = {record["client_call_id"]: record for record in self.books() if record["billed"]}
        assert not ended or billed.keys() <= calls.keys(), "a billed call is not in our book"
        booked = bill = Decimal(0)
        unknown, open_ = 0, set()
        for name, call in calls.items():
            day = datetime.fromtimestamp(call["sent_at"] / 1e6, tz=BILLED_IN).date()
            theirs = billed.get(name.removesuffix("-late"))
            tokens = theirs["prompt_tokens"] + theirs["completion_tokens"] if theirs else 0
            if call["prompt_tokens"] is None:
                assert (call["state"], call["cost"], call["total_tokens"]) == ("unknown", None, None)
                unknown += 1
                open_.add(name)
            elif theirs is None:
                assert (call["total_tokens"], call["cost"], call["state"] == "answered") == (0, 0, False), call
            else:
                assert call["state"] == "answered", (call, theirs)
                said = (call["prompt_tokens"], call["completion_tokens"])
                assert said == (theirs["prompt_tokens"], theirs["completion_tokens"])
                assert (call["cost"], call["currency"]) == (tokens * price(day), "CNY"), call
                booked += call["cost"]
            if not name.endswith("-late"):
                bill += tokens * price(day)
        open_ = {name for name in open_ if f"{name}-late" not in calls}
        lost = Decimal(0)
        for name in open_ & billed.keys():
            day = datetime.fromtimestamp(calls[name]["sent_at"] / 1e6, tz=BILLED_IN).date()
            lost += billed[name]["total_tokens"] * price(day)
        assert booked + lost == bill
        assert unknown <= self.risk, f"{unknown} calls possibly billed, at most {self.risk} were at risk"

    def check_bill(self, records: Sequence[Record] | None = None) -> None:
        """Of all nights together: the provider's books are a bill that `cost --reconcile` finds right."""
        book = self.book()
        names = {call["client_call_id"] for call in book}
        unknown = {call["client_call_id"] for call in book if call["prompt_tokens"] is None}
        open_ = {name for name in unknown if f"{name}-late" not in names}
        bills.agree([self.out], map(self._on_its_day, records or self.books()), open_=open_)

    def _on_its_day(self, record: Record) -> Record:
        """An entry of the books as the provider had written it at the date of that night, by its prices of that day."""
        ahead = next(ahead for began, ahead in reversed(self._moved) if began <= record["at"])
        at = record["at"] + ahead
        tokens = record["prompt_tokens"] + record["completion_tokens"]
        return {**record, "at": at, "cost": f"{tokens * price(datetime.fromtimestamp(at, tz=BILLED_IN).date()):f}"}

    def _check_runs(self, rows: list[Record]) -> None:
        """`runs/*.json` and `status --json` count what stands in the tables."""
        book, told = self.book(), self.runs()
        for one in told:
            calls = [call for call in book if f"run={one['run']}/" in call["filename"]]
            totals = one["totals"]
            assert totals["calls"] == len(calls), one["run"]
            states = Counter(call["state"] for call in calls)
            assert {state: totals[state] for state in ("answered", "refused", "failed", "unknown")} == {
                state: states[state] for state in ("answered", "refused", "failed", "unknown")
            }
            assert totals["total_tokens"] == sum(call["total_tokens"] or 0 for call in calls)
            assert sum(map(Decimal, totals["cost"].values())) == sum(call["cost"] or 0 for call in calls)
            assert one["state"] != "running"
        last, status = told[-1], self.status()
        mine = Counter(row["status"] for row in rows if row["run"] == last["run"])
        assert (last["totals"]["rows_ok"], last["totals"]["rows_failed"]) == (mine["ok"], mine["failed"])
        failed = Counter(row["retryable"] for row in rows if row["status"] == "failed")
        table = {"rows": len(rows), "permanent": failed[False], "retryable": failed[True]}
        assert last["table"] == table
        assert {
            "rows": status["table_rows"],
            "permanent": status["permanent"],
            "retryable": status["retryable"],
        } == table
        assert (status["state"], status["run"], status["runs"]) == ("finished", last["run"], len(told))
        assert (status["totals"], status["exit_code"], status["unsettled"]) == (last["totals"], last["exit_code"], 0)
        assert sum(entry["rows"] for entry in status["standing"]) == failed.total()


def kill(process: subprocess.Popen[str]) -> None:
    """As the out-of-memory killer does it."""
    process.send_signal(signal.SIGKILL)


def terminate(process: subprocess.Popen[str]) -> None:
    """As `systemctl stop` and a shutdown do it."""
    process.send_signal(signal.SIGTERM)


def interrupt_twice(process: subprocess.Popen[str]) -> None:
    """Ctrl-C, and again because it takes so long."""
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)  # two signals at once are one
    process.send_signal(signal.SIGINT)


def interrupt(process: subprocess.Popen[str]) -> None:
    """Ctrl-C."""
    process.send_signal(signal.SIGINT)
