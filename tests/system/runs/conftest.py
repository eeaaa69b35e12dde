"""Whole runs against the simulator over sockets: the job, its data, the command, and what must hold afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from batch.core.clock import Clock
from batch.job.job import Job
from batch.job.options import RunOptions
from batch.run.command import Report, run
from tests.simulator.conftest import Gate, Sim, Start, start
from tests.support import bills, duck, processes

__all__ = ["start"]

ROOT = Path(__file__).resolve().parents[3]
ID, SECRET = "0123456789abcdef0123456789abcdef", "Zq7kPw3mVx9tRb2c"
KEY = f"{ID}.{SECRET}"
OPENAI_KEY = "sk-Jh4wQz8nTd1yLs6vKe3m"
ENVIRON = {"ZHIPUAI_API_KEY": KEY, "OPENAI_API_KEY": OPENAI_KEY}
LANES = [("glm", "sync"), ("openai", "sync"), ("glm", "task")]
GLM_LANES = ["sync", "task"]
SOME = "[latency]\nchat_ms = [1, 1]\ntask_ms = [1, 1]\n"
"""The latency of answers that wait at a gate; what is left of it once the gate is open."""


class Mill:
    """One job in a folder of its own, run against one simulator."""

    def __init__(
        self, folder: Path, sim: Sim | str, *, provider: str = "glm", lane: str = "sync", model: str = ""
    ) -> None:
        self.folder = folder
        self.sim = sim if isinstance(sim, Sim) else None
        self.url = sim if isinstance(sim, str) else f"http://127.0.0.1:{sim.port}"
        self.lane = lane
        self.provider = provider
        self.model = model or {"glm": "glm-4", "openai": "gpt-5-mini"}[provider]
        self.out = folder / "out"
        self.input = "rows.jsonl"
        self.key: str | None = None
        self.user = "{{ question }}"
        self.prompting: dict[str, Any] = {}
        """More keys of that section."""
        self.tools: str | None = None
        self.max_turns = 8
        self.coerce = False
        self.tool_keys: dict[str, Any] = {}
        self.limits: dict[str, Any] = {"concurrency": 16}
        self.parameters: dict[str, Any] = {}
        self.output: dict[str, Any] = {}
        self.more = ""
        self.clock: Clock | None = None
        self.environ = dict(ENVIRON)
        self.environ |= {name: os.environ[name] for name in ("HOME", "PROMPTMILL_STATE") if name in os.environ}
        folder.mkdir(parents=True, exist_ok=True)

    # -- what a user writes -----------------------------------------------------------------------------------------

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """The input, as JSONL."""
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (self.folder / self.input).write_text(text, encoding="utf-8")

    def questions(self, count: int, first: int = 0) -> list[dict[str, Any]]:
        """Rows whose answers differ, written as the input and returned."""
        rows = [{"n": n, "question": f"Tell me something about the number {n}."} for n in range(first, first + count)]
        self.write(rows)
        return rows

    def save(self) -> Path:
        """The job file as it is now."""
        base = f"{self.url}/api/paas/v4" if self.provider == "glm" else f"{self.url}/v1"
        lines = ['name = "whole"', 'tags = { team = "tests" }', "[input]", f"path = {json.dumps(self.input)}"]
        lines += [f"key = {json.dumps(self.key)}"] if self.key else []
        lines += ["[prompt]", f"user = {json.dumps(self.user)}"]
        lines += [f"{key} = {_toml(value)}" for key, value in self.prompting.items()]
        lines += ["[model]", f'provider = "{self.provider}"']
        lines += [f"name = {json.dumps(self.model)}", f'lane = "{self.lane}"', f'base_url = "{base}"']
        lines += [f"parameters.{key} = {_toml(value)}" for key, value in self.parameters.items()]
        if self.tools is not None:
            (self.folder / "tools.py").write_text(self.tools, encoding="utf-8")
            lines += ["[tools]", 'module = "tools.py"', f"max_turns = {self.max_turns}"]
            lines += ["coerce = true"] if self.coerce else []
            lines += [f"{key} = {json.dumps(value)}" for key, value in self.tool_keys.items()]
        lines += ["[limits]", *(f"{key} = {value}" for key, value in self.limits.items())]
        lines += ["[output]", f"path = {json.dumps(str(self.out))}"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in self.output.items()]
        (self.folder / "job.toml").write_text("\n".join([*lines, self.more, ""]), encoding="utf-8")
        return self.folder

    # -- the command ------------------------------------------------------------------------------------------------

    def run(self, **wishes: Any) -> Report:
        """Through the Python API, in this process."""
        begin = partial(
            run, Job.load(self.save()), options=RunOptions(**wishes), environ=self.environ, clock=self.clock
        )
        return anyio.run(begin, backend_options={"use_uvloop": True})

    def start(self, *options: str, failpoint: str = "", program: Sequence[str] = ()) -> subprocess.Popen[str]:
        """As a process of its own, to be signalled or killed."""
        self.save()
        passed = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        environ = {**passed, **self.environ, "PROMPTMILL_FAILPOINT": failpoint}
        command = [
            *(program or (sys.executable, "-m", "batch")),
            "run",
            str(self.folder),
            *(() if "--progress" in options else ("--progress", "none")),
            *options,
        ]
        return processes.start(command, env=environ)

    def command(self, *options: str, failpoint: str = "", program: Sequence[str] = ()) -> tuple[int, str]:
        """Exit code and everything said, of a process run to its end."""
        process = self.start(*options, failpoint=failpoint, program=program)
        said = "".join(process.communicate(timeout=120))
        return process.returncode, said

    # -- what came of it --------------------------------------------------------------------------------------------

    def results(self, columns: str = "n, answer") -> list[tuple[Any, ...]]:
        """Rows of the result table as they lie in the files, file after file."""
        return self.query(
            f"SELECT {columns} FROM read_parquet('{self.out}/results/*.parquet', union_by_name=true, filename=true)"
        )

    def one(self, columns: str) -> list[Any]:
        """One column of the result table."""
        return [row[0] for row in self.results(columns)]

    def calls(self, columns: str, where: str = "true") -> list[tuple[Any, ...]]:
        """Rows of the book of account."""
        found = f"read_parquet('{self.out}/calls/*/*.parquet', hive_partitioning=true)"
        return self.query(f"SELECT {columns} FROM {found} WHERE {where}") if list(self.out.glob("calls/*/*")) else []

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Any question to DuckDB."""
        return duck.query(sql)

    def parts(self) -> list[str]:
        """Names of the result parts."""
        return sorted(path.name for path in (self.out / "results").iterdir())

    def runs(self) -> list[dict[str, Any]]:
        """The run files, oldest first."""
        return [json.loads(path.read_text("utf-8")) for path in sorted((self.out / "runs").glob("*.json"))]

    def pending(self) -> list[str]:
        """What lies in `pending`."""
        return sorted(path.name for path in (self.out / "pending").iterdir())

    def books(self) -> list[dict[str, Any]]:
        """What the provider says it was asked, polls left out."""
        assert self.sim is not None
        return [record for record in self.sim.books() if record["route"] in ("chat", "submit", "line")]

    def check_table(self, count: int) -> None:
        """One row per key, numbered without a gap in the order of the files."""
        rows = self.results("row_number, row_id, variant")
        assert [row[0] for row in rows] == list(range(count)), "lost, doubled or out of order"
        assert len({row[1:] for row in rows}) == count

    def check_books(self, *, at_risk: int = 0) -> None:
        """Our book against the provider's: booked ≤ bill ≤ booked + unknown, call by call and in sum."""
        found = self.calls(
            "client_call_id, state, prompt_tokens, completion_tokens, cost::VARCHAR, currency, cost_bound::VARCHAR, "
            "model_asked, model_served"
        )
        ours = {row[0]: row[1:] for row in found}
        assert len(ours) == len(found), "a call stands twice in the book"
        theirs = {record["client_call_id"]: record for record in self.books()}
        billed = {name: record for name, record in theirs.items() if record["billed"]}
        assert billed.keys() <= ours.keys(), "a billed call is not in our book"
        open_bill = 0
        for name, (state, prompt, completion, cost, currency, bound, asked, served) in ours.items():
            if prompt is None:
                if bound is not None and name in billed:
                    assert Decimal(billed[name]["cost"]) <= Decimal(bound), "the stated bound is none"
                assert cost is None, "unknown tokens have no known cost"
                assert state in ("unknown", "answered")
                open_bill += 1
            elif name in billed:
                assert state == "answered", (state, billed[name])
                assert (prompt, completion) == (billed[name]["prompt_tokens"], billed[name]["completion_tokens"])
                if cost is None:
                    assert served != asked, "a model that was asked for has a price here"
                    continue
                assert Decimal(cost) == Decimal(billed[name]["cost"]), name
                assert currency == billed[name]["currency"]
            else:
                assert (prompt, completion, Decimal(cost)) == (0, 0, Decimal(0)), (state, name)
        booked = sum(row[1] + row[2] for row in ours.values() if row[1] is not None)
        unknown = sum(
            record["prompt_tokens"] + record["completion_tokens"]
            for name, record in billed.items()
            if ours[name][1] is None
        )
        assert booked + unknown == sum(r["prompt_tokens"] + r["completion_tokens"] for r in billed.values())
        assert open_bill <= at_risk or at_risk < 0, f"{open_bill} calls possibly billed"
        self.check_bill()

    def check_bill(self, records: Sequence[dict[str, Any]] | None = None) -> None:
        """The provider's books are a bill that `cost --reconcile` finds right, by call, and by day and model."""
        found = self.calls("client_call_id, prompt_tokens, cost::VARCHAR", "state != 'refused'")
        names = {name for name, _, _ in found}
        open_ = {name for name, prompt, _ in found if prompt is None and f"{name}-late" not in names}
        unpriced = {name for name, prompt, cost in found if prompt is not None and cost is None}
        bills.agree([self.out], self.books() if records is None else records, open_=open_, unpriced=unpriced)

    def check_sums(self) -> None:
        """The sums of each row are those of its calls, where it was admitted once."""
        book = f"read_parquet('{self.out}/calls/*/*.parquet', hive_partitioning=false)"
        table = f"read_parquet('{self.out}/results/*.parquet')"
        wrong = self.query(
            f"SELECT r.row_id FROM {table} r JOIN (SELECT row_id, count(*) AS calls, sum(total_tokens) AS total, "
            "sum(cost) AS cost, sum(prompt_tokens) AS prompt, sum((state = 'unknown')::INT) AS unknown "
            f"FROM {book} GROUP BY row_id) c USING(row_id) WHERE r.calls != c.calls OR r.total_tokens != c.total "
            "OR r.prompt_tokens != c.prompt OR r.cost != c.cost OR r.unknown_calls != c.unknown"
        )
        assert wrong == []


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)


def together(mills: Sequence[Mill]) -> list[Report]:
    """Several jobs at once in one process, each in a folder of its own."""
    reports: dict[int, Report] = {}

    async def one(place: int, mill: Mill) -> None:
        reports[place] = await run(Job.load(mill.save()), environ=mill.environ)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for place, mill in enumerate(mills):
                group.start_soon(one, place, mill)

    anyio.run(main, backend_options={"use_uvloop": True})
    return [reports[place] for place in range(len(mills))]


Make = Callable[..., Mill]


@pytest.fixture
def make(tmp_path: Path, start: Start) -> Make:
    """Makes a job with a simulator of its own; without latency, unless the scenario says so, or there is a gate."""

    def begin(
        scenario: str = "", *, sim: Sim | None = None, gate: Gate | None = None, name: str = "job", **how: Any
    ) -> Mill:
        return Mill(tmp_path / name, sim or start(scenario or (SOME if gate else ""), gate), **how)

    return begin


@pytest.fixture
def gate() -> Gate:
    """What holds the provider's answers back until a test lets them come."""
    return Gate()


@pytest.fixture
def mill(make: Make) -> Mill:
    """A job in the sync lane of GLM with a provider in good health."""
    return make()


# Started from a small process: what a child is said to have used at most begins with what its parent had.
WATCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(process.returncode, used.ru_maxrss)
"""


def measured(mill: Mill) -> tuple[int, float]:
    """Exit code and peak of the resident memory, in MB, of one whole run in a process of its own."""
    mill.save()
    run = [sys.executable, "-m", "batch", "run", str(mill.folder), "--progress", "none"]
    environ = {**os.environ, **mill.environ}
    told = subprocess.run([sys.executable, "-c", WATCH, *run], env=environ, cwd=ROOT, capture_output=True, check=True)
    code, kib = map(int, told.stdout.split())
    return code, kib / 1024
