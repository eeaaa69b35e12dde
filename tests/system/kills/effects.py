"""A stage for killing an agent that writes files: `jobs/memory_report` over many rows, with the tool's own count of writes.

Used by the tests of this folder and by `scripts/chaos`.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

from batch.report.status import status_of
from tests.system.kills.stage import CONCURRENCY, ROOT, Stage

JOB = ROOT / "jobs" / "memory_report"
POINTS = ("answered.committed", "tool.intended", "tool.ran", "tool.committed", "settled.committed")
"""Every step of a tool: it is asked for, about to run, has run, its result is durable, its row is over."""


@dataclass
class Agents(Stage):
    """Rows that each read the memory, write one file, and answer."""

    policy: str = "fail"

    def __post_init__(self) -> None:
        super().__post_init__()
        tools = (JOB / "tools.py").read_text("utf-8")
        # A machine whose memory stands still: a row that is asked again reads the same and does the same.
        steady = tools.replace('Path("/proc/meminfo")', 'Path(__file__).with_name("meminfo")')
        assert steady != tools
        (self.folder / "tools.py").write_text(steady, encoding="utf-8")
        (self.folder / "meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable: 4080000 kB\n", encoding="utf-8")
        prompt = (JOB / "job.toml").read_text("utf-8").partition("[prompt]")[2].partition("[model]")[0]
        job = self.folder / "job.toml"
        head, _, rest = job.read_text("utf-8").partition("[prompt]")
        rest = rest.partition("[model]")[2].replace('policy = "rerun"', f'policy = "{self.policy}"')
        job.write_text(f'{head}key = "id"\n[prompt]{prompt}[model]{rest}', encoding="utf-8")

    def write_input(self, rows: int) -> None:
        """Limits from 0 to 99 percent, so that both files are written."""
        self.rows = rows
        lines = [json.dumps({"n": n, "id": f"row-{n:04d}", "limit": n % 100}) for n in range(rows)]
        (self.folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def writes(self) -> Counter[str]:
        """By row, how often the function that writes its file has begun, by its own count."""
        log = self.folder / "out" / "reports" / "written.log"
        return (
            Counter(line.partition("/")[0] for line in log.read_text("utf-8").splitlines())
            if log.exists()
            else Counter()
        )

    def verify_effects(self) -> dict[str, int]:
        """What the policy promises of every row, and that `status` lists those in doubt; returns the figures."""
        rows = self.results("row_id, status, error_kind, error_code, flags, tool_errors, answer")
        assert [row[0] for row in rows] == [f"row-{n:04d}" for n in range(self.rows)], "lost, doubled or out of order"
        writes = self.writes()
        interrupted = {row[0] for row in rows if row[1] == "failed"}
        doubted = {row[0] for row in rows if "effect_in_doubt" in (row[4] or ())}
        assert {row[2:4] for row in rows if row[1] == "failed"} <= {("tool", "interrupted")}
        assert len(interrupted | doubted) <= self.kills * CONCURRENCY
        told = status_of(self.out)
        if self.policy == "fail":
            assert not doubted
            assert sum(one.rows for one in told.standing if one.code == "interrupted") == len(interrupted)
        else:
            assert not interrupted
            assert sum(one.rows for one in told.flagged if one.flag == "effect_in_doubt") == len(doubted)
        for row_id, status, _, _, _, errors, answer in rows:
            times = writes[row_id]
            if status == "failed":
                assert times <= 1, f"{row_id} was written {times} times"
            elif self.policy == "rerun":
                assert times >= 1, f"{row_id} was answered and never written"
                assert times == 1 or row_id in doubted, f"{row_id} was written {times} times and nobody says so"
            elif row_id in doubted:
                assert times <= 1, f"{row_id} was written {times} times"
                assert errors == 1
                assert "could not be written" in answer
            else:
                assert times == 1, f"{row_id} was written {times} times"
        figures = self.verify_books()
        twice = sum(times > 1 for times in writes.values())
        return {**figures, "interrupted": len(interrupted), "doubted": len(doubted), "twice": twice}
