"""A stage for killing: one job, one output folder, one simulator, and the checks that hold after any number of kills.

The command is a real process, killed with SIGKILL from outside or at a failpoint; the simulator is another, with its
own books. Used by the tests of this folder and by `scripts/chaos`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import bills, duck, processes

ROOT = Path(__file__).resolve().parents[3]
CONCURRENCY = 16
CHUNKS = """
[stream]
chunks = 8
[latency]
first_chunk_ms = [5, 20]
chunk_ms = [2, 6]
"""
"""A stream lasts as long as an answer in one piece, and most of that time is inside it: that is where kills fall."""


@contextmanager
def simulator(folder: Path, scenario: str = "") -> Iterator[str]:
    """A simulator of its own; gives its root URL."""
    file = folder / "scenario.toml"
    file.write_text(scenario, encoding="utf-8")
    process = processes.start([sys.executable, "-m", "batch.simulator", "--port", "0", "--scenario", str(file)])
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        lines = process.communicate(timeout=120)[1].splitlines()
        # Whether a port that closes without a word wants TLS is asked with one handshake.
        assert not [line for line in lines if line != "Invalid HTTP request received."], lines


class Moment(NamedTuple):
    """When to kill: after so many requests of this run, and so many seconds, in which the next commits fall."""

    requests: int
    later_s: float


@dataclass
class Stage:
    """One job over `rows` questions, half of which need a tool."""

    folder: Path
    url: str
    lane: str
    rows: int = 240
    rows_per_part: int = 60
    max_attempts: int = 8
    publish_every_s: float = 0.1
    """Soon, so that parts are published early as well as whole."""
    deadline_s: float | None = None
    workers: int = 1
    quick: bool = False
    """Tools run in the process of the run, without worker processes, of which each takes longer than all its calls."""
    kills: int = 0
    """Of the command and of its workers."""
    refusals: int = 0
    out: Path = field(init=False)
    key_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.out = self.folder / "out"
        self.write_input(self.rows)
        tools = (ROOT / "jobs" / "quickstart" / "tools.py").read_text(encoding="utf-8")
        # A sum counts as an effect here, so that its intent is one more step to be killed at.
        text = tools.replace("@tool\ndef add", "@tool(effects=True)\ndef add")
        if self.quick:
            text = text.replace("@tool(", "@tool(quick=True, ").replace("@tool\n", "@tool(quick=True)\n")
        (self.folder / "tools.py").write_text(text, encoding="utf-8")
        (self.folder / "job.toml").write_text(
            f"""
            name = "kills"
            [input]
            path = "rows.jsonl"
            [prompt]
            user = "{{{{ question }}}}"
            [model]
            provider = "glm"
            name = "{"glm-4-plus" if self.lane.startswith("bulk") else "glm-4"}"
            lane = "{self.lane}"
            base_url = "{self.url}/api/paas/v4"
            [limits]
            concurrency = {CONCURRENCY}
            max_attempts = {self.max_attempts}
            [bulk]
            lines = 10
            wave_wait_s = 0.2
            {"" if self.deadline_s is None else f"deadline = {self.deadline_s}"}
            [tools]
            module = "tools.py"
            policy = "rerun"
            [output]
            path = "out"
            rows_per_part = {self.rows_per_part}
            publish_every_s = {self.publish_every_s}
            """,
            encoding="utf-8",
        )

    def write_input(self, rows: int) -> None:
        """Variants whose answers differ from row to row."""
        self.rows = rows
        lines = (
            {"n": n, "question": f"What is {n} plus {2 * n}?" if n % 2 else f"Tell me about the number {n}."}
            for n in range(rows)
        )
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self.folder / "rows.jsonl").write_text(text, encoding="utf-8")

    def start(self, failpoint: str | None = None, *options: str) -> subprocess.Popen[str]:
        """The command as a user would give it."""
        environ = {
            **os.environ,
            "ZHIPUAI_API_KEY": f"{self.key_id}.SecretSecret1234",
            "PROMPTMILL_FAILPOINT": failpoint or "",
            **self.environ(),
        }
        command = [sys.executable, "-m", "batch", "run", str(self.folder), "--progress", "none", *options]
        command += ["--workers", str(self.workers)]
        return processes.start(command, env=environ)

    def environ(self) -> dict[str, str]:
        """More variables of the command."""
        return {}

    def run(self, failpoint: str | None = None, *options: str) -> int:
        """Run to its end, whatever it is; minus nine when it was killed."""
        process = self.start(failpoint, *options)
        said = process.communicate(timeout=120)
        self.said = "".join(said)
        self.kills += process.returncode == -signal.SIGKILL
        return process.returncode

    def run_and_kill(self, moment: Moment) -> int | None:
        """Run, and kill once the provider has had so many more requests, and a little later; the exit code if it was faster."""
        first = self.requests()
        process = self.start()
        deadline = time.monotonic() + 60
        while process.poll() is None and self.requests() < first + moment.requests:
            assert time.monotonic() < deadline, "the requests never came"
            time.sleep(0.005)
        time.sleep(moment.later_s)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        said = process.communicate(timeout=120)
        self.said = "".join(said)
        if process.returncode == -signal.SIGKILL:
            self.kills += 1
            return None
        return process.returncode

    def finish(self, code: int = 0) -> None:
        """The same command until it ends by itself."""
        assert self.run() == code, self.said

    # -- what must hold ---------------------------------------------------------------------------------------------

    def requests(self) -> int:
        """How many the provider has had, from whomever; of a job in batches all that were about these."""
        if self.lane.startswith("bulk"):
            return len(self.books())
        with urllib.request.urlopen(f"{self.url}/_sim/judge") as answer:
            return int(json.load(answer)["requests"])

    def books(self) -> list[dict[str, Any]]:
        """The simulator's own account."""
        with urllib.request.urlopen(f"{self.url}/_sim/books") as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return [record for record in found if record["key_id"].startswith(self.key_id)]

    def results(self, columns: str = "n, answer") -> list[tuple[Any, ...]]:
        """Rows of the result table as they lie in the files."""
        return self.query(f"SELECT {columns} FROM read_parquet('{self.out}/results/*.parquet')")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Any question to DuckDB."""
        return duck.query(sql)

    def verify(self, answers: dict[int, str]) -> dict[str, int]:
        """Every promise that a kill could break; returns the figures."""
        found = self.results("n, answer, row_number, row_id, status")
        assert [row[0] for row in found] == list(range(self.rows)), "a row is lost, doubled or out of order"
        assert [row[2] for row in found] == list(range(self.rows))
        assert len({row[3] for row in found}) == self.rows
        assert {row[4] for row in found} == {"ok"}
        assert {row[0]: row[1] for row in found} == {n: answers[n] for n in range(self.rows)}
        return self.verify_books()

    def verify_books(self) -> dict[str, int]:
        """Our book against the provider's."""
        ours = {
            row[0]: row[1:]
            for row in self.query(
                "SELECT client_call_id, state, total_tokens, task_id, cost::VARCHAR FROM "
                f"read_parquet('{self.out}/calls/*/*.parquet', hive_partitioning=false)"
            )
        }
        count = self.query(f"SELECT count(*) FROM read_parquet('{self.out}/calls/*/*.parquet')")[0][0]
        assert count == len(ours), "a call stands twice in the book"
        theirs = {record["client_call_id"]: record for record in self.books() if record["route"] != "poll"}
        billed = {call_id: record for call_id, record in theirs.items() if record["billed"]}
        assert billed.keys() <= ours.keys(), "a billed call is not in our book"
        for call_id, record in billed.items():
            state, tokens, _, _ = ours[call_id]
            assert state == "unknown" or tokens == record["total_tokens"], (call_id, state, tokens, record)
        answered = sum(row[1] for name, row in ours.items() if row[0] == "answered" and not name.endswith("-late"))
        for name, row in ours.items():
            if name.endswith("-late"):
                first = name.removesuffix("-late")
                assert ours[first][0] == "unknown", "an answer that came late stands beside one that did not"
                assert row[1] == billed[first]["total_tokens"]
        unknown_billed = sum(
            record["total_tokens"] for call_id, record in billed.items() if ours[call_id][0] == "unknown"
        )
        assert answered + unknown_billed == sum(record["total_tokens"] for record in billed.values())
        unknown = [row for row in ours.values() if row[0] == "unknown"]
        assert len(unknown) <= self.kills * CONCURRENCY, "more calls at risk than slots"
        assert all(row[2] is None for row in unknown), "a task with a committed id was bought again"
        open_ = {name for name, row in ours.items() if row[0] == "unknown" and f"{name}-late" not in ours}
        bills.agree([self.out], theirs.values(), open_=open_, by_day=False)
        assert not list((self.out / "pending").iterdir()), "pending is empty after a finished run"
        return {
            "kills": self.kills,
            "unknown": len(unknown),
            "calls": len(ours),
            "billed": len(billed),
            "late": sum(name.endswith("-late") for name in ours),
            "unknown_billed": sum(ours[call_id][0] == "unknown" for call_id in billed),
        }


def expected_answers(folder: Path, url: str, lane: str, rows: int) -> dict[int, str]:
    """The answers of a run that nothing disturbs."""
    calm = Stage(folder, url, lane, rows=rows)
    calm.finish()
    return dict(calm.results())


def moments(seed: int, count: int, most: int) -> list[Moment]:
    """Moments to kill at, each after at most so many requests: reproducible, wherever the machine is by then."""
    chance = random.Random(seed)
    return [Moment(chance.randint(1, most), 0.03 * chance.random()) for _ in range(count)]
