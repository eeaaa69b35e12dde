"""Output folders that lost something: refused with the way out, made whole by it, and no answer bought twice in silence.

What each file may suffer is `tests/system/faults/damage.py`'s matter; here stand the cases that cost money.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pyarrow.parquet as pq
import pytest

from batch.cli import main
from batch.core.errors import EXIT_STORAGE, OutputError
from batch.output.folder import Busy
from tests.simulator.conftest import Gate
from tests.support.ledgers import read
from tests.support.outfolders import blank
from tests.system.runs.conftest import Make, Mill

TASKS = "[latency]\ntask_ms = [1500, 1500]\n"


def finished(mill: Mill, rows: int = 20) -> Mill:
    """Two nights: the second one brings half of the rows."""
    mill.key = "n"
    mill.output = {"rows_per_part": 5}
    mill.questions(rows // 2)
    assert mill.run().exit_code == 0
    shutil.copytree(mill.out, mill.folder / "week-ago")
    mill.questions(rows)
    assert mill.run().exit_code == 0
    return mill


def killed(mill: Mill, failpoint: str, rows: int = 20) -> Mill:
    """Killed in the middle of its first night."""
    mill.key = "n"
    mill.output = {"rows_per_part": 5}
    # One after the other: no commit settles two rows, so that no part is complete after four of them.
    mill.limits = {"concurrency": 1 if failpoint.startswith("settled") else 4}
    mill.questions(rows)
    code, said = mill.command(failpoint=failpoint)
    assert code == -9, said
    return mill


def refused(mill: Mill, *words: str) -> None:
    """Exit 2, nothing sent, nothing deleted, and the way out."""
    sent, before = len(mill.books()), files(mill)
    with pytest.raises(OutputError) as caught:
        mill.run()
    for word in (*words, f"promptmill rebuild {mill.out}"):
        assert word in str(caught.value)
    assert caught.value.exit_code == 2
    assert len(mill.books()) == sent
    assert files(mill) == before


def files(mill: Mill) -> set[bytes]:
    """The contents of all published files."""
    return {path.read_bytes() for path in mill.out.rglob("*.parquet")}


def rebuilt(mill: Mill, capsys: pytest.CaptureFixture[str], *words: str, lost: bool = True) -> None:
    """The way out, which says what is lost."""
    before = files(mill)
    assert main(["rebuild", str(mill.out)]) == int(lost)
    said = capsys.readouterr().out
    for word in words:
        assert word in said
    assert before <= files(mill), "set aside at most"


def went_on(mill: Mill, rows: int, *, bought: int = 0) -> None:
    """The same command buys so many answers a second time, and no more; then there is nothing to do."""
    assert mill.run().exit_code == 0
    assert len(mill.calls("1", "state = 'answered'")) == rows + bought
    mill.check_table(rows)
    assert mill.one("status") == ["ok"] * rows
    mill.check_books(at_risk=-1)
    assert mill.run().state == "nothing_to_do"


# -- the ledger ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["missing", "empty", "older"])
def test_a_ledger_that_is_lost_is_made_again_and_nothing_is_bought_twice(
    how: str, mill: Mill, capsys: pytest.CaptureFixture[str]
) -> None:
    """FIELD 1. It was exit 0, all rows bought again, and the files of the book deleted as strays."""
    finished(mill)
    log = mill.out / "ledger.db-wal"
    log.unlink(missing_ok=True)
    if how == "missing":
        (mill.out / "ledger.db").unlink()
    elif how == "empty":
        (mill.out / "ledger.db").write_bytes(b"")
    else:
        shutil.copy(mill.folder / "week-ago" / "ledger.db", mill.out / "ledger.db")
    refused(mill, "ledger" if how != "older" else "calls/run=", "" if how == "older" else f"ledger.db: is {how}")
    rebuilt(mill, capsys, "20 rows in 4 parts", "20 calls in ", "2 runs")
    went_on(mill, 20, bought=0)
    assert [run["totals"]["calls"] for run in mill.runs()[:2]] == [10, 10]


@pytest.mark.parametrize("how", ["missing", "empty", "cut", "flipped", "header"])
def test_a_log_that_is_lost_after_a_kill_shows(how: str, mill: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    """FIELD 1. What it held was forgotten without a word, and bought again with exit 0."""
    killed(mill, "settled.committed:4")
    log = mill.out / "ledger.db-wal"
    data = log.read_bytes()
    assert len(data) > 50_000
    damages: dict[str, Callable[[], object]] = {
        "missing": log.unlink,
        "empty": lambda: log.write_bytes(b""),
        "cut": lambda: log.write_bytes(data[: len(data) // 2]),
        "flipped": lambda: log.write_bytes(data[:40_000] + bytes([data[40_000] ^ 1]) + data[40_001:]),
        "header": lambda: log.write_bytes(data[:12] + bytes(4) + data[16:]),
    }
    damages[how]()
    words = {"missing": "is lost", "empty": "is lost", "header": "is damaged"}.get(how, "is cut or damaged")
    refused(mill, f"ledger.db-wal: {words}")
    refused(mill, words)  # a look does not wipe out what tells of it
    rebuilt(mill, capsys, f"ledger.db-wal: {words}", ".strays/ledger-")
    assert mill.run().exit_code == 0
    mill.check_table(20)
    assert mill.run().state == "nothing_to_do"


def test_a_kill_alone_is_gone_on_from_without_a_word(mill: Mill) -> None:
    """FIELD 1. Also one in the first moment, when the log holds nothing but our mark."""
    killed(mill, "admitted.committed:1")
    assert mill.command(failpoint="sent.committed:1")[0] == -9
    assert mill.run().exit_code == 0
    mill.check_table(20)


def test_ids_of_accepted_tasks_go_on_in_the_new_ledger(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """FIELD 1. Promise 2 holds over a rebuild: a task id, once committed, is collected and not bought again."""
    mill = killed(make(TASKS, lane="task"), "accepted.committed:1", rows=12)
    (mill.out / "results" / "somebody's.parquet").write_bytes(b"no part")
    refused(mill, "somebody's.parquet: the ledger does not name it")
    held = {row[0] for row in read(mill.out / "ledger.db", "SELECT call_id FROM calls WHERE task IS NOT NULL")}
    assert held
    rebuilt(mill, capsys, f"{len(held)} accepted task", "results/somebody's.parquet")
    assert mill.run().exit_code == 0
    billed = [record["client_call_id"] for record in mill.books() if record["billed"]]
    assert held <= set(billed)
    assert len(billed) <= 12 + 4, "those whose id was not committed yet are at risk"
    assert len({row[0] for row in mill.calls("row_id", f"client_call_id IN {tuple(held)}")}) == len(held)
    assert len(mill.calls("1", "state = 'answered'")) == 12


# -- rows that wait -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["missing", "flipped", "all"])
def test_rows_whose_spill_is_lost_are_read_from_the_source_again(how: str, mill: Mill) -> None:
    """FIELD 2. It was exit 5 at every command, with the advice to remove the output folder."""
    killed(mill, "settled.committed:4")
    spills = sorted((mill.out / "pending").iterdir())
    assert spills
    if how == "all":
        shutil.rmtree(mill.out / "pending")
    for spill in spills if how != "all" else ():
        data = spill.read_bytes()
        middle = len(data) // 2
        spill.unlink() if how == "missing" else spill.write_bytes(data[:middle] + b"\xff" + data[middle + 1 :])
    went_on(mill, 20)
    assert sorted(mill.results("n, question")) == [(n, f"Tell me something about the number {n}.") for n in range(20)]
    assert mill.pending() == []


def test_a_settled_row_that_the_source_lost_is_published_without_its_input(mill: Mill) -> None:
    """FIELD 2. The answer was paid for, so it stays; only its input columns are null."""
    killed(mill, "settled.committed:4")
    settled = {row[0] for row in read(mill.out / "ledger.db", "SELECT row_id FROM pending WHERE state=1")}
    assert settled
    shutil.rmtree(mill.out / "pending")
    mill.questions(10, first=100)
    assert mill.run().exit_code == 0
    rows = {row[0]: row[1:] for row in mill.results("row_id, n, status, answer IS NOT NULL")}
    assert {rows[row_id] for row_id in settled} == {(None, "ok", True)}
    assert [rows[str(n)][0] for n in range(100, 110)] == list(range(100, 110))


def test_a_task_whose_input_is_lost_is_collected_all_the_same(make: Make) -> None:
    """FIELD 2. What waits at the provider is paid for, whatever became of its row's input."""
    mill = killed(make(TASKS, lane="task"), "accepted.committed:1", rows=4)
    shutil.rmtree(mill.out / "pending")
    mill.questions(2, first=100)
    held = {
        row[0]
        for row in read(
            mill.out / "ledger.db", "SELECT row_id FROM calls JOIN pending USING(work) WHERE task IS NOT NULL"
        )
    }
    assert mill.run().exit_code == 0
    rows = {row[0]: row[1:] for row in mill.results("row_id, n, status, model_asked, answer IS NOT NULL")}
    assert {rows[row_id] for row_id in held} == {(None, "ok", "glm-4", True)}
    assert {rows[row_id] for row_id in ("100", "101")} == {(100, "ok", "glm-4", True), (101, "ok", "glm-4", True)}


# -- published files ------------------------------------------------------------------------------------------------------


def swap(out: Path) -> None:
    first, second = out / "results" / "part-00000.parquet", out / "results" / "part-00001.parquet"
    first.rename(out / "x")
    second.rename(first)
    (out / "x").rename(second)


DAMAGES: dict[str, tuple[Callable[[Path], object], int]] = {
    "missing": (lambda out: (out / "results" / "part-00001.parquet").unlink(), 5),
    "truncated": (lambda out: os.truncate(out / "results" / "part-00001.parquet", 2_000), 5),
    "swapped": (swap, 0),
    "added": (lambda out: shutil.copy(out / "results" / "part-00001.parquet", out / "results" / "old.parquet"), 0),
    "calls": (lambda out: next(out.glob("calls/*/*.parquet")).unlink(), 0),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_files_that_are_not_those_published_are_told_at_start(
    how: str, mill: Mill, capsys: pytest.CaptureFixture[str]
) -> None:
    """FIELD 3. It was "nothing to do", exit 0, over rows that were not there, or there twice."""
    finished(mill)
    damage, bought = DAMAGES[how]
    damage(mill.out)
    refused(mill, "calls/" if how == "calls" else "results/")
    rebuilt(mill, capsys, lost=how != "swapped")
    if how != "calls":
        went_on(mill, 20, bought=bought)
    else:
        assert mill.run().exit_code == 0
        mill.check_table(20)
    assert [row[0] for row in mill.results("row_number")] == list(range(20)), "in the order of the files, too"


def test_a_damaged_page_is_found_by_a_rebuild(mill: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    """FIELD 3. A start compares names, sizes and footers; the contents are the rebuild's matter."""
    finished(mill)
    part = mill.out / "results" / "part-00002.parquet"
    data, columns = part.read_bytes(), pq.ParquetFile(part).metadata.row_group(0)
    answers = next(
        column for column in map(columns.column, range(columns.num_columns)) if column.path_in_schema == "answer"
    )
    place = answers.data_page_offset + answers.total_compressed_size - 2
    part.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    assert mill.run().state == "nothing_to_do"
    rebuilt(mill, capsys, "results/part-00002.parquet: cannot be read, its rows are to be asked again")
    went_on(mill, 20, bought=5)


def test_a_start_over_many_files_is_fast(mill: Mill) -> None:
    """FIELD 3. Size and footer of each are read, and no rows."""
    mill.key, mill.output = "n", {"rows_per_part": 1}
    mill.questions(100)
    assert mill.run().exit_code == 0
    assert len(mill.parts()) == 100
    made = 0

    def count(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal made
        made += event == "call"

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        assert mill.run().state == "nothing_to_do"
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert made < 30_000, "21,000 functions are called: 9,000 for the run, and 120 for each file"


# -- the lock ----------------------------------------------------------------------------------------------------------


def test_a_lock_file_that_is_removed_keeps_the_second_writer_out(make: Make, gate: Gate) -> None:
    """FIELD 4. It came in and ended with "UNIQUE constraint failed … Free space"."""
    mill = make(gate=gate)
    mill.questions(2)
    first = mill.start()
    try:
        deadline = time.monotonic() + 30
        while not (mill.out / "status.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for _ in range(2):
            (mill.out / ".lock").unlink()
            with pytest.raises(Busy, match=rf"process {first.pid}, since 20"):
                mill.run()
    finally:
        gate.open()
        said = "".join(first.communicate(timeout=60))
    assert first.returncode == 0, said
    assert mill.run().state == "nothing_to_do"


# -- another lane ------------------------------------------------------------------------------------------------------


def test_a_killed_run_that_goes_on_in_another_lane_says_once_what_it_did(mill: Mill) -> None:
    """FIELD 5. The next command said "0 rows, finished", and only the one after it "nothing to do"."""
    killed(mill, "publish.committed:1")
    mill.lane = "task"
    report = mill.run()
    assert (report.state, report.totals.rows_ok) == ("finished", 20)
    assert mill.run().state == "nothing_to_do"
    assert len(mill.runs()) == 1


def test_a_run_that_needs_a_file_of_calls_with_a_damaged_page_says_so_with_the_way_out(make: Make) -> None:
    """Ours: it could not be written, and was to be asked for again, for ever. What was spent today stands in it."""
    mill = make(lane="sync")
    mill.parameters = {"max_tokens": 64}
    mill.more = '[budget]\nper_day = "50 CNY"\n'
    killed(mill, "publish.committed:1")
    calls = min(mill.out.glob("calls/*/*.parquet"))
    blank(calls)
    code, said = mill.command()
    assert code == EXIT_STORAGE
    assert f"{calls}: cannot be read: " in said
    assert "cannot be written" not in said
    assert f"promptmill rebuild {mill.out}" in said
    assert main(["rebuild", str(mill.out)]) == 1
    assert mill.run().exit_code == 0
    mill.check_table(20)
