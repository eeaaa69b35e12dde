"""A job whose `[prompt]` a test writes itself, for tests of what a row asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.conftest import Start
from tests.system.runs.conftest import Mill


class Asking(Mill):
    """A job whose `[prompt]` a test writes itself."""

    prompt = ""

    def save(self) -> Path:
        folder = super().save()
        text = (folder / "job.toml").read_text("utf-8")
        own = text.replace(f"[prompt]\nuser = {json.dumps(self.user)}\n", f"[prompt]\n{self.prompt}\n")
        assert own != text
        (folder / "job.toml").write_text(own, encoding="utf-8")
        return folder

    def sent(self) -> list[dict[str, Any]]:
        """The bodies that left, by row and turn, of runs with a wire log."""
        found = [json.loads(line) for path in (self.out / "wire").iterdir() for line in path.read_text().splitlines()]
        posts = [line for line in found if line["method"] == "POST"]
        return [
            line["request"] for line in sorted(posts, key=lambda line: (line["row_id"], line["turn"], line["attempt"]))
        ]


Ask = Callable[..., Asking]


@pytest.fixture
def ask(tmp_path: Path, start: Start) -> Ask:
    """Makes a job with this prompt and these rows, keyed by `n`, and a simulator of its own."""

    def begin(prompt: str, rows: list[dict[str, Any]], scenario: str = "", **how: Any) -> Asking:
        asking = Asking(tmp_path / "job", start(scenario), **how)
        asking.prompt, asking.key = prompt, "n"
        asking.write([{"n": n, **row} for n, row in enumerate(rows)])
        return asking

    return begin
