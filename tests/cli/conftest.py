"""The command as a user gives it: real processes, a real simulator on a socket, real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from batch.cli import main
from tests.simulator.conftest import Sim, Start, start
from tests.support import processes

__all__ = ["start"]

ROOT = Path(__file__).resolve().parents[2]
KEY = "0123456789abcdef0123456789abcdef.Zq7kPw3mVx9tRb2c"
NO_WAIT = "[latency]\nchat_ms = [0, 0]\ntask_ms = [0, 0]\n"


@dataclass(frozen=True)
class CommandResult:
    """What a command came to."""

    code: int
    out: str
    err: str


class Shell:
    """A job in a folder of its own, and the commands over it."""

    def __init__(self, folder: Path, sim: Sim | None) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.base = f"http://127.0.0.1:{sim.port}/api/paas/v4" if sim else "http://127.0.0.1:1/api/paas/v4"
        self.more: dict[str, str] = {}
        self.sections: dict[str, list[str]] = {}
        folder.mkdir(exist_ok=True)

    def write(self, rows: Sequence[dict[str, Any]] | str, **model: Any) -> Path:
        """The job and its input; rows have `id` and `text`."""
        text = rows if isinstance(rows, str) else "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (self.folder / "rows.jsonl").write_text(text, encoding="utf-8")
        asked = {"provider": "glm", "name": "glm-4", "base_url": self.base, **model}
        lines = ['name = "shell"', "[input]", 'path = "rows.jsonl"', 'key = "id"', "[prompt]", 'user = "{{ text }}"']
        lines += ["[model]", *(f"{key} = {json.dumps(value)}" for key, value in asked.items())]
        lines += ["[output]", 'path = "out"']
        for section, more in self.sections.items():
            lines += [f"[{section}]", *more]
        (self.folder / "job.toml").write_text("\n".join(lines), encoding="utf-8")
        return self.folder

    def rows(self, count: int, text: str = "Tell me about the number") -> list[dict[str, Any]]:
        """That many rows."""
        return [{"id": f"r-{number:03d}", "text": f"{text} {number}."} for number in range(count)]

    def environ(self) -> dict[str, str]:
        """Of the process: no keys and no terminal habits of whoever runs the tests."""
        left_out = ("CI", "NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS", "PROMPTMILL_FAILPOINT")
        kept = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY") and key not in left_out}
        return {**kept, "ZHIPUAI_API_KEY": KEY, "PYTHONPATH": str(ROOT), **self.more}

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """The command, under way."""
        return processes.start([sys.executable, "-m", "batch", *map(str, words)], cwd=self.folder, env=self.environ())

    def __call__(self, *words: str | Path) -> CommandResult:
        """The command, run to its end; the key is never in what it says."""
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        assert KEY.split(".")[1] not in out + err
        return CommandResult(process.returncode, out, err)


@pytest.fixture
def shell(tmp_path: Path, start: Start) -> Shell:
    """A job against a provider that fails rows with `struck` in them, and tells no usage for `silent` ones."""
    scenario = '[[fault]]\nbehaviour = 28\nstatus = 500\nrows = ["struck"]\n'
    scenario += '[[fault]]\nbehaviour = 48\nform = "missing"\nrows = ["silent"]\n'
    return Shell(tmp_path / "job", start(scenario + NO_WAIT))


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """A job whose provider is not there."""
    return Shell(tmp_path / "job", None)


Cli = Callable[..., CommandResult]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A command that sends nothing, in this process: the same code without the half second of a start."""
    for name in [name for name in os.environ if name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ZHIPUAI_API_KEY", KEY)

    def run(*words: str | Path) -> CommandResult:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        assert KEY.split(".")[1] not in said.out + said.err
        return CommandResult(code, said.out, said.err)

    return run
