"""Makes the frozen output folders of this folder with an older promptmill: `python make.py CHECKOUT [FOLDER]`.

CHECKOUT is a checkout of the older commit with its environment in `.venv`. Owns what the jobs are and what state each is
left in. The older code writes the output, in processes of its own; nothing of promptmill is imported here.

The jobs are run in `/tmp/promptmill-frozen`, so the ledgers name that place wherever they are made. Each job folder is
packed into FOLDER (by default the one of this file) as `NAME.zip`, with what was read from its ledger in `NAME.json`.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

PLACE = Path("/tmp/promptmill-frozen")
KEY = "0123456789abcdef.frozen-secret"
ROWS = 40
SLOW = "[latency]\nchat_ms = [30, 60]\ntask_ms = [100, 200]\n"
TOOLS = '''\
from batch import tool


@tool
def add(a: float, b: float) -> float:
    """Add two numbers.

    Args:
        a: the first number.
        b: the number to add.
    """
    return a + b
'''


def job(lane: str, url: str) -> str:
    """The job file."""
    return f"""\
name = "frozen"
tags = {{ team = "tests" }}

[input]
path = "rows.jsonl"
key = "n"

[prompt]
system = "Use the tools for every calculation."
user = "{{{{ question }}}}"

[model]
provider = "glm"
name = "glm-4"
lane = "{lane}"
base_url = "{url}/api/paas/v4"
parameters = {{ temperature = 0.1 }}

[limits]
concurrency = 4

[tools]
module = "tools.py"

[output]
path = "out"
rows_per_part = 12
"""


class Maker:
    """One older checkout at work."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self.python = checkout / ".venv" / "bin" / "python"

    @contextmanager
    def simulator(self) -> Iterator[str]:
        """Its simulator; gives the root URL."""
        PLACE.mkdir(exist_ok=True)
        scenario = PLACE / "scenario.toml"
        scenario.write_text(SLOW, encoding="utf-8")
        command: list[str | Path] = [self.python, "-m", "batch.simulator", "--port", "0", "--scenario", scenario]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=self.checkout)
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(10)

    def run(self, folder: Path, *options: str, failpoint: str = "") -> int:
        """Its `run`, to the end or the failpoint."""
        environ = {**os.environ, "ZHIPUAI_API_KEY": KEY, "PROMPTMILL_FAILPOINT": failpoint}
        command: list[str | Path] = [self.python, "-m", "batch", "run", folder, "--progress", "none", *options]
        return subprocess.run(command, env=environ, cwd=self.checkout, capture_output=True, check=False).returncode

    def start(self, name: str, lane: str, url: str, questions: list[str]) -> Path:
        """A job folder without output."""
        folder = PLACE / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "job.toml").write_text(job(lane, url), encoding="utf-8")
        (folder / "tools.py").write_text(TOOLS, encoding="utf-8")
        lines = (json.dumps({"n": n, "question": question}) + "\n" for n, question in enumerate(questions))
        (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
        return folder

    # -- the three folders ------------------------------------------------------------------------------------------

    def sync(self, url: str) -> None:
        """A sample of ten rows, then the whole, killed in the middle."""
        for passed in range(4, 16):
            folder = self.start("sync", "sync", url, questions())
            assert self.run(folder, "--limit", "10") == 0
            if self.run(folder, failpoint=f"tool.committed:{passed}") != -9:
                continue
            found = facts(folder)
            unsettled = len(found["open_calls"]) >= 2 and found["turns_answered"] and len(found["never_sent"]) >= 6
            if unsettled and len(found["settled_unpublished"]) >= 3 and len(list(folder.glob("out/results/*"))) > 1:
                return pack(folder, found)
        raise SystemExit("sync: no kill left the state that was wanted")

    def task(self, url: str) -> None:
        """Killed while tasks are accepted; what they came to is asked of the older simulator and kept."""
        for passed in range(8, 40):
            folder = self.start("task", "task", url, questions())
            if self.run(folder, failpoint=f"accepted.committed:{passed}") != -9:
                continue
            found = facts(folder)
            held = len(found["accepted"]) >= 3 and found["turns_answered"] and len(found["never_sent"]) >= 6
            if held and len(found["settled_unpublished"]) >= 3:
                found["task_results"] = {
                    task: settled(f"{url}/api/paas/v4/async-result/{task}") for task in found["accepted"]
                }
                return pack(folder, found)
        raise SystemExit("task: no kill left the state that was wanted")

    def finished(self, url: str) -> None:
        """Run to its end; the last line cannot be read, so its row has failed for good."""
        folder = self.start("finished", "sync", url, questions()[:14])
        with (folder / "rows.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"n": 14, "question": \n')
        assert self.run(folder) == 1
        pack(folder, facts(folder))


def questions() -> list[str]:
    """Every other one needs the tool."""
    return [f"What is {n} plus {2 * n}?" if n % 2 else f"Tell me about the number {n}." for n in range(ROWS)]


def settled(url: str) -> Any:
    """What the simulator answers about a task once that has ended."""
    while True:
        asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(asked) as answer:
            body = json.load(answer)
        if body["task_status"] != "PROCESSING":
            return body


def facts(folder: Path) -> dict[str, Any]:
    """What the ledger says, read with nothing but SQL, from a copy: to read it in place would tidy up the log."""
    copy = PLACE / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "out", copy)
    with closing(sqlite3.connect(copy / "ledger.db")) as db:

        def column(sql: str) -> list[Any]:
            return [row[0] for row in db.execute(sql)]

        return {
            "settled_unpublished": sorted(column("SELECT row_number FROM pending WHERE state = 1")),
            "settled": sorted(
                column(
                    "SELECT row_number FROM pending WHERE state > 0 "
                    "UNION SELECT row_number FROM entries WHERE status IS NOT NULL"
                )
            ),
            "never_sent": sorted(
                column("SELECT row_number FROM pending WHERE state = 0 AND work NOT IN (SELECT work FROM calls)")
            ),
            "open_calls": sorted(column("SELECT call_id FROM calls WHERE record IS NULL AND task IS NULL")),
            "accepted": sorted(column("SELECT task FROM calls WHERE record IS NULL AND task IS NOT NULL")),
            "booked_calls": sorted(column("SELECT call_id FROM calls WHERE record IS NOT NULL")),
            "turns_answered": sorted(
                db.execute(
                    "SELECT p.row_number, s.turn FROM pending p JOIN steps s USING(work) WHERE p.state = 0 AND s.idx = -1"
                )
            ),
        }


def pack(folder: Path, found: dict[str, Any]) -> None:
    """Keep the folder, log of the ledger and all, and the facts beside it."""
    facts = json.dumps(found, indent=1, ensure_ascii=False)
    folder.with_suffix(".json").write_text(f"{facts}\n", encoding="utf-8")
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, path.relative_to(folder))


def main(checkout: Path, target: Path) -> None:
    """Make all three anew."""
    maker = Maker(checkout.resolve())
    with maker.simulator() as url:
        for make in (maker.sync, maker.task, maker.finished):
            make(url)
    target.mkdir(parents=True, exist_ok=True)
    for name in ("sync", "task", "finished"):
        for suffix in ("zip", "json"):
            shutil.copy(PLACE / f"{name}.{suffix}", target)
    shutil.rmtree(PLACE)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent)
