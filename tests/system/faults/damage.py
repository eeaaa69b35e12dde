"""Output folders whose files were removed, emptied, cut, flipped or replaced by older ones, and what must hold then.

A scene is a folder as a few commands left it, finished or killed, with an older copy of every file. A trial damages one
file, runs the same command again, and goes on by the way out that is named, if one is. `scripts/damage` runs many and
prints what became of each; the suite runs a few.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import shutil
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from batch.cli import main as promptmill
from tests.support.ledgers import read
from tests.system.faults.stage import CONCURRENCY, SIMULATOR, TOOLS, Broken, command, question
from tests.system.kills.stage import simulator
from tests.system.runs.conftest import Mill

How = Literal["removed", "emptied", "cut", "flipped", "older"]
HOWS: tuple[How, ...] = get_args(How)
ROWS, WHOLE = 30, 1_000


@dataclass(frozen=True)
class Damage:
    """What is done to which file; `name` is relative to the output folder."""

    name: str
    how: How
    where: float = 0.5
    """Which part of the file is before the byte that is flipped."""

    def __str__(self) -> str:
        return f"{self.name} {self.how}" + (f" at {self.where:.0%}" if self.how == "flipped" else "")


@dataclass
class Scene:
    """A job, its output folder as it is before the damage, and as it was some time before."""

    name: str
    mill: Mill
    before: Path
    older: Path
    bought: dict[int, int]
    """The last turn of each row that is paid for, by its `n`; `WHOLE` for rows that have their answer."""
    runs: dict[int, str]
    """Of the rows whose answers are in the table, the run that put each there."""

    def damages(self) -> list[Damage]:
        """Every file of the folder in every way that changes it."""
        found = []
        for path in sorted(path for path in self.before.rglob("*") if path.is_file()):
            name = path.relative_to(self.before).as_posix()
            for how in HOWS:
                older = self.older / name
                if how == "older" and (not older.is_file() or older.read_bytes() == path.read_bytes()):
                    continue
                if path.stat().st_size or how == "removed":
                    found.append(Damage(name, how))
                    if how == "flipped" and name.startswith("ledger.db"):
                        found += [Damage(name, how, where) for where in (0.07, 0.21, 0.37, 0.62, 0.78, 0.94)]
        return found

    def table(self) -> dict[int, tuple[Any, ...]]:
        """The rows of the result table by `n`."""
        rows: dict[int, tuple[Any, ...]] = {}
        for part in sorted((self.mill.out / "results").glob("*.parquet")):
            for row in pq.read_table(part, partitioning=None).to_pylist():
                if row["n"] in rows:
                    raise Broken(f"row {row['n']} stands twice in the table")
                rows[row["n"]] = (row["status"], row["run"])
        return rows

    def calls(self) -> dict[str, tuple[int, int]]:
        """Row and turn of every call in the book, those set aside included."""
        found: dict[str, tuple[int, int]] = {}
        for where in ("calls", ".strays/calls"):
            for part in sorted((self.mill.out / where).rglob("part-*.parquet")):
                try:
                    rows = pq.read_table(
                        part, columns=["client_call_id", "row_id", "turn"], partitioning=None
                    ).to_pylist()
                except (OSError, pa.ArrowException):
                    continue  # what the trial damaged
                found |= {row["client_call_id"]: (int(row["row_id"]), row["turn"]) for row in rows}
        return found

    def billed(self) -> list[str]:
        """Every call the provider has billed, in order."""
        with urllib.request.urlopen(f"{self.mill.url}/_sim/books") as answer:
            return [record["client_call_id"] for record in json.load(answer) if record["billed"]]


def strike(scene: Scene, damage: Damage) -> str:
    """One trial.

    Returns:
        What the command did: `went on`, or `refused` and was helped by the way out that it named.

    Raises:
        Broken: a promise did not hold.
    """
    try:
        return _strike(scene, damage)
    except Broken as exc:
        raise Broken(f"{scene.name}, {damage}: {exc}") from exc


def _strike(scene: Scene, damage: Damage) -> str:
    out, job = scene.mill.out, scene.mill.folder
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(scene.before, out)
    book = {_digest(path) for path in out.glob("calls/*/*.parquet")}
    _damage(scene, damage)
    book &= {_digest(path) for path in out.glob("calls/*/*.parquet")}
    billed, told = len(scene.billed()), set[int]()
    code, said = command(out, job)
    came_to = "refused" if code == 2 else "went on"
    if code == 2:
        if f"promptmill rebuild {out}" not in said:
            raise Broken(f"does not name the way out: {said}")
        if len(scene.billed()) != billed:
            raise Broken("sent something before it refused")
        told = _rebuild(scene)
        code, said = command(out, job)
    if code != 0:
        raise Broken(f"exit {code}: {said}")
    _check(scene, billed, told)
    if damage.how == "flipped" and damage.name.endswith(".parquet"):
        # A start compares no contents; the way out does.
        _rebuild(scene)
        code, said = command(out, job)
        _expect(code == 0, f"exit {code} after a second rebuild: {said}")
        scene.table()
    kept = {_digest(path) for where in ("calls", ".strays") for path in (out / where).rglob("*.parquet")}
    _expect(book <= kept, "a file of the book is gone")
    again, said = command(out, job)
    _expect((again, "nothing to do" in said) == (0, True), f"not finished after all: exit {again}: {said}")
    return came_to


def _rebuild(scene: Scene) -> set[int]:
    """The way out; gives the rows that it leaves to be asked again."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        code = promptmill(["rebuild", str(scene.mill.out)])
    _expect(code in (0, 1), f"rebuild: exit {code}: {said.getvalue()}")
    kept = _paid(scene.mill.out / "ledger.db")
    found = scene.table()
    there = {n for n, run in scene.runs.items() if n in found and found[n][1] == run}
    return {n for n, turn in scene.bought.items() if n not in there and kept.get(n, -1) < turn}


def _check(scene: Scene, billed: int, told: set[int]) -> None:
    """The whole table, and no answer bought again unless it was said to be lost."""
    found = scene.table()
    _expect(sorted(found) == list(range(ROWS)), f"{len(found)} rows in the table, not {ROWS}")
    _expect(all(status == "ok" for status, _ in found.values()), "rows failed")
    book = scene.calls()
    new = scene.billed()[billed:]
    _expect(set(new) <= book.keys(), "a billed call is not in the book")
    twice = sorted({n for n, turn in map(book.__getitem__, new) if turn <= scene.bought.get(n, -1)} - told)
    _expect(not twice, f"bought again without a word: {twice}")


def _expect(holds: bool, text: str) -> None:
    if not holds:
        raise Broken(text)


def _damage(scene: Scene, damage: Damage) -> None:
    path = scene.mill.out / damage.name
    if damage.how == "removed":
        path.unlink()
        return
    data = path.read_bytes()
    if damage.how == "older":
        path.write_bytes((scene.older / damage.name).read_bytes())
    elif damage.how == "flipped":
        place = int(len(data) * damage.where)
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
    else:
        path.write_bytes(data[: len(data) // 2] if damage.how == "cut" else b"")


def _digest(path: Path) -> bytes:
    return hashlib.blake2b(path.read_bytes()).digest()


# -- the scenes -----------------------------------------------------------------------------------------------------


def scenes(folder: Path, url: str, names: Sequence[str] = ("finished", "killed", "tasks")) -> list[Scene]:
    """Two nights that finished, and the second one killed in the middle: calls at once, and by tasks."""
    makers: dict[str, Callable[[], Scene]] = {
        "finished": lambda: _scene(folder / "finished", url, "sync"),
        "killed": lambda: _scene(folder / "killed", url, "sync", "publish.committed"),
        "tasks": lambda: _scene(folder / "tasks", url, "task", "accepted.committed"),
    }
    return [makers[name]() for name in names]


CHANGED = (0, 3)
"""Rows that the second night asks otherwise, in the first part."""


def _scene(folder: Path, url: str, lane: str, failpoint: str = "") -> Scene:
    mill = Mill(folder, url, lane=lane)
    mill.key = "n"
    mill.tools = TOOLS
    mill.limits = {"concurrency": CONCURRENCY}
    mill.output = {"rows_per_part": 8}
    mill.write([question(n) for n in range(18)])
    code, said = mill.command()
    assert code == 0, said
    older, before = folder / "older", folder / "before"
    shutil.copytree(mill.out, older)
    mill.write([question(n, " Again." if n in CHANGED else "") for n in range(ROWS)])
    if failpoint:
        _kill(mill, older, failpoint)
    else:
        code, said = mill.command()
        assert code == 0, said
    shutil.copytree(mill.out, before)
    copy = folder / "copy"  # to read a ledger in place would tidy up its log
    shutil.copytree(mill.out, copy)
    scene = Scene(folder.name, mill, before, older, _paid(copy / "ledger.db"), {})
    runs = {path.name.removeprefix("run=") for path in older.glob("calls/*")}
    for part in (mill.out / "results").glob("*.parquet"):
        for row in pq.read_table(part, columns=["n", "run"], partitioning=None).to_pylist():
            if row["n"] not in CHANGED or row["run"] not in runs:
                scene.bought[row["n"]] = WHOLE
                scene.runs[row["n"]] = row["run"]
    return scene


def _kill(mill: Mill, older: Path, failpoint: str) -> None:
    """Kill the second night as late at this point as it comes there; how many calls share a commit is chance.

    At a publication, the first part was written anew by then (which part is first is chance, too), and not all rows
    were published.
    """
    first = "results/part-00000.parquet"
    for passed in 3 * (6, 5, 4, 3, 2, 1):  # on a busy machine all parts may be published at once
        shutil.rmtree(mill.out)
        shutil.copytree(older, mill.out)
        if mill.command(failpoint=f"{failpoint}:{passed}")[0] != -9:
            continue
        if not failpoint.startswith("publish."):
            return
        if (mill.out / first).read_bytes() != (older / first).read_bytes() and any((mill.out / "pending").iterdir()):
            return
    raise AssertionError(f"{failpoint} was never passed")


def _paid(ledger: Path) -> dict[int, int]:
    """The last turn that is paid for, of every row under way."""
    paid = read(
        ledger,
        "SELECT row_id, turn FROM steps s JOIN pending USING(work) WHERE s.idx = -1 "
        "UNION SELECT row_id, turn FROM calls JOIN pending USING(work) WHERE task IS NOT NULL "
        f"UNION SELECT row_id, {WHOLE} FROM pending WHERE state > 0 ORDER BY turn",
    )
    return {int(row_id): turn for row_id, turn in paid}


# -- the campaign ---------------------------------------------------------------------------------------------------


def chosen(found: Sequence[Scene], most: int, shift: int = 0) -> Iterator[tuple[Scene, Damage]]:
    """At most so many trials of all there are, spread over them; 0 is all."""
    all_of_them = [(scene, damage) for scene in found for damage in scene.damages()]
    step = max(1.0, len(all_of_them) / most) if most else 1.0
    return (all_of_them[(int(n * step) + shift) % len(all_of_them)] for n in range(int(len(all_of_them) / step)))


def main() -> int:
    """Damage one file at a time, each time in a fresh copy of the folder, and tell what became of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=40, help="at most so many, spread over all there are; 0 is all")
    parser.add_argument("--scenes", default="finished,killed,tasks")
    parser.add_argument("--shift", type=int, default=0, help="another number, other trials")
    asked = parser.parse_args()
    found: Counter[tuple[str, str]] = Counter()
    broken = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="promptmill-damage-") as name, simulator(Path(name), SIMULATOR) as url:
        for scene, damage in chosen(scenes(Path(name), url, asked.scenes.split(",")), asked.trials, asked.shift):
            try:
                came_to = strike(scene, damage)
            except Broken as exc:
                came_to = "BROKEN"
                broken += 1
                print(exc, flush=True)
            found[damage.how, came_to] += 1
    for (how, came_to), number in sorted(found.items()):
        print(f"{how:8}  {came_to:8}{number:5}")
    print(f"{found.total()} damaged folders in {time.monotonic() - began:.0f} s, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
