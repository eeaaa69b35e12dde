"""A part that still waits for rows can be read: what a reader beside the run sees, and what is left after kills."""

from __future__ import annotations

import itertools
import math
import signal
import time
from pathlib import Path
from typing import Any

import apsw
import duckdb
import pytest

from batch.cli import main
from tests.simulator.conftest import Gate
from tests.support.ledgers import read
from tests.system.runs.conftest import Make, Mill
from tests.system.runs.test_stops import end, until

ROWS = 120


def early(make: Make, gate: Gate, rows: int = ROWS) -> Mill:
    """A job whose only part is far from full when it can be read: its answers wait at the gate."""
    mill = make(gate=gate)
    mill.key = "n"
    mill.limits = {"concurrency": 4}
    mill.output = {"publish_every_s": 0.1, "rows_per_part": 1_000}
    mill.questions(rows)
    return mill


def stamp(path: Path) -> tuple[int, ...]:
    """What tells a file from another of its name."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def test_the_table_can_be_read_at_any_moment_of_a_run(make: Make, gate: Gate) -> None:
    """FIELD 32. DuckDB beside the run: rows that only become more, none twice, none half written; few files of calls."""
    mill = early(make, gate)
    part = mill.out / "results" / "part-00000.parquet"
    passed = 8
    gate.let_pass(passed)
    process = mill.start()
    seen: list[list[tuple[Any, ...]]] = []
    columns = "row_number, row_id, answer, status, messages, settled_at::VARCHAR, fingerprint"
    try:
        until(lambda: part.exists() or process.poll() is not None, "the first publication")
        while process.poll() is None:
            before = stamp(part)
            try:
                seen.append(mill.results(columns))
            except duckdb.Error:
                # It looks at a file's size first and opens it by name twice; a part replaced between these is told.
                assert stamp(part) != before, "a part that nobody replaced could not be read"
                continue
            # As many as make the table worth another writing, which is waited for and looked at all the while; a last
            # third that is no quarter of what was written by then may come at once.
            due = math.ceil(1.25 * len(seen[-1]))
            due = ROWS if due > 0.7 * ROWS else due
            if due > passed:
                gate.let_pass(due - passed)
                passed = due
    finally:
        process.kill()
        said = process.communicate()
    assert process.returncode == 0, said
    whole = {row[0]: row for row in mill.results(columns)}
    for rows in seen:
        assert [row[0] for row in rows] == sorted({row[0] for row in rows}), "a row is doubled or out of order"
        assert all(row == whole[row[0]] for row in rows)
    sizes = [len(rows) for rows in seen]
    assert sizes == sorted(sizes)
    assert sizes[0] < ROWS / 4, "nothing could be read until the part was full"
    steps = sorted(set(sizes))
    # Of the last fifth no quarter is left: there the time counts again.
    # A row that settles while a part is written is in it, and counts for the next time.
    close = [(less, more) for less, more in itertools.pairwise(steps) if more <= 0.8 * ROWS]
    assert all(more + mill.limits["concurrency"] >= 1.25 * less for less, more in close), steps
    assert len(steps) > 5
    assert len(list(mill.out.glob("calls/*/*"))) < len(steps), "a file of calls for each publication"
    mill.check_table(ROWS)
    mill.check_books()
    mill.check_sums()
    assert mill.pending() == []


def test_a_settled_row_is_shown_at_once_and_its_calls_are_never_lost_from_sight(
    make: Make, gate: Gate, capsys: pytest.CaptureFixture[str]
) -> None:
    """FIELD 32. Before its publication from the ledger, after it from the table, its calls not being in the book yet."""
    mill = early(make, gate)
    gate.let_pass(ROWS // 2)
    mill.output["publish_every_s"] = 3600.0
    process = mill.start(failpoint="settled.committed:4")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    (row_id,) = read(mill.out / "ledger.db", "SELECT row_id FROM pending WHERE state=1 LIMIT 1")[0]
    assert main(["show", str(mill.out), row_id]) == 0
    said = capsys.readouterr().out
    assert f"row {row_id}, number {row_id}: ok; settled, not in the table yet" in said
    assert "answer\n" in said
    assert f"the number {row_id}." in said
    assert "1 call\n" in said
    assert " CNY" in said
    assert not list(mill.out.glob("results/*")), "the table knows nothing of it"


def test_an_early_publication_killed_at_any_step_loses_and_doubles_nothing(make: Make, gate: Gate) -> None:
    """FIELD 32. One output folder, killed at each step in turn; what can be read after each kill is true."""
    mill = early(make, gate, rows=300)
    mill.output["publish_every_s"] = 0.05
    seen: list[list[tuple[Any, ...]]] = []
    steps = ["calls_written", "calls_named", "results_written", "results_named", "committed"]
    for step in [*steps, "rewrite_written", "rewrite_named", "committed:2"]:
        rows_before = published(mill.out)
        gate.let_pass(20)  # far fewer than there are
        process = mill.start(failpoint=f"publish.{step}")
        if step == "committed:2":
            while process.poll() is None and published(mill.out) == rows_before:
                time.sleep(0.01)
            gate.let_pass(70)  # after one publication, as many as make another one due
        said = end(process)
        code = process.returncode
        assert code == -signal.SIGKILL, f"publish.{step} was never passed: {said}"
        if list(mill.out.glob("results/*.parquet")):
            seen.append(mill.results("row_number, row_id, answer, settled_at::VARCHAR"))
    assert len(seen[-1]) < 300, "a whole part was published, no early one"
    mill.limits["concurrency"] = 32
    gate.open()
    code, said = mill.command()
    assert code == 0, said
    whole = {row[0]: row for row in mill.results("row_number, row_id, answer, settled_at::VARCHAR")}
    for before, rows in zip([[], *seen], seen, strict=False):
        assert len({row[0] for row in rows}) == len(rows)
        assert all(row == whole[row[0]] for row in rows)
        assert len(rows) >= len(before)
    mill.check_table(300)
    mill.check_books(at_risk=-1)
    mill.check_sums()
    assert mill.pending() == []


def calls_of_published_rows(out: Path) -> int:
    """Calls that are final and not in the book, of rows that are in the table."""
    sql = "SELECT count(*) FROM calls c JOIN pending p USING(work) WHERE p.state=2 AND c.published=0"
    return int(read(out / "ledger.db", sql)[0][0])


def test_calls_that_wait_for_their_file_are_shown_and_booked_by_the_next_run(
    make: Make, gate: Gate, capsys: pytest.CaptureFixture[str]
) -> None:
    """FIELD 32. Killed when rows were in the table before their calls were in the book, and then made again."""
    mill = early(make, gate)
    process = mill.start()
    gate.let_pass(8)
    until(lambda: published(mill.out) >= 7 or process.poll() is not None, "publications that leave no quarter")
    if calls_of_published_rows(mill.out) == 0:
        gate.let_pass(2)  # worth a publication, and no other file of calls
        until(lambda: calls_of_published_rows(mill.out) > 0 or process.poll() is not None, "one more")
    process.kill()
    process.communicate()
    assert calls_of_published_rows(mill.out) > 0
    gate.open()
    sql = "SELECT p.row_id FROM pending p JOIN calls c USING(work) WHERE p.state=2 AND c.published=0 LIMIT 1"
    (row_id,) = read(mill.out / "ledger.db", sql)[0]
    assert main(["show", str(mill.out), row_id]) == 0
    assert "1 call\n" in capsys.readouterr().out
    assert main(["rebuild", str(mill.out)]) == 0
    assert "are in no file of the book" not in capsys.readouterr().out
    code, said = mill.command()
    assert code == 0, said
    mill.check_table(ROWS)
    mill.check_books(at_risk=4)
    mill.check_sums()


def published(out: Path) -> int:
    """Rows of the table."""
    try:
        return int(read(out / "ledger.db", "SELECT coalesce(sum(rows), 0) FROM parts")[0][0])
    except apsw.Error:  # its tables are not made yet
        return 0
