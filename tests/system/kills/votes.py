"""A stage for killing whose rows are asked several times for a label: three samples each, then five.

The model wavers, and says broken JSON and labels that do not exist as well. Used by `scripts/chaos`.
"""

from __future__ import annotations

import json
from collections import Counter

from tests.system.kills.stage import Stage

NAMES = ("billing", "delivery", "other")
SCENARIO = """
wavers = 0.35
[latency]
chat_ms = [10, 40]
[[fault]]
behaviour = 73
rate = 0.3
[[fault]]
behaviour = 74
rate = 0.1
"""
"""Broken JSON in 30 % of the answers, and labels that are not in the list in 10 %."""


class Votes(Stage):
    """One job over `rows` tickets."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ask(3)

    def write_input(self, rows: int) -> None:
        """Tickets whose words fit one of the labels."""
        self.rows = rows
        lines = ({"n": n, "question": f"My {NAMES[n % 3]} number {n} is wrong"} for n in range(rows))
        (self.folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def ask(self, samples: int) -> None:
        """Have the job ask each row so many times."""
        job = self.folder / "job.toml"
        before, _, _ = job.read_text("utf-8").partition(
            "[tools]" if "[tools]" in job.read_text("utf-8") else "[labels]"
        )
        labels = f"[labels]\nnames = {json.dumps(NAMES)}\nsamples = {samples}\n"
        output = f"[output]\npath = 'out'\nrows_per_part = {self.rows_per_part}\npublish_every_s = 0.1\n"
        job.write_text(f"{before}{labels}{output}", encoding="utf-8")

    def verify_votes(self, samples: int) -> dict[str, int]:
        """Each sample was asked once and has at most one vote, and label and agreement are what the votes say."""
        book = f"read_parquet('{self.out}/calls/*/*.parquet', hive_partitioning=false)"
        begun = self.query(
            f"SELECT row_id, sample FROM {book} WHERE state = 'answered' AND purpose IN ('first', 'sample', 'retry')"
        )
        assert Counter(begun) == Counter(dict.fromkeys(begun, 1)), "a sample was bought twice"
        asked = Counter(row_id for row_id, _ in begun)
        found = self.results("row_id, n, status, label, votes, agreement, flags")
        assert [row[1] for row in found] == list(range(self.rows)), "a row is lost, doubled or out of order"
        for row_id, _, status, label, votes, agreement, flags in found:
            counts = [vote["count"] for vote in votes]
            assert asked[row_id] == samples
            assert sum(counts) <= samples
            first = [vote["label"] for vote in votes if vote["count"] == counts[0]]
            assert (status, label) == (("ok", first[0] if len(first) == 1 else None) if counts else ("failed", None))
            assert agreement == (counts[0] / samples if counts else None)
            assert ("tie" in flags) == (len(first) > 1)
        return {"invalid": sum(samples - sum(vote["count"] for vote in row[4]) for row in found), **self.verify_books()}
