"""`batch.ledger.waves`: batch files and their lines, written down and read back."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec

from batch.ledger import waves
from batch.ledger.saved import SavedReader
from batch.ledger.schema import connect
from batch.ledger.waves import BUILT, COLLECTED, CREATED, LineCall, Told, WaveRow, WavesReader
from tests.support.ledgers import admitted, count

WAVE = WaveRow(
    wave=0,
    run="r",
    model="m",
    base_url="http://x",
    state=BUILT,
    lines=3,
    size=90,
    digest="d",
    made_at_us=5,
)


def calls(first: int, rows: int) -> list[LineCall]:
    return [LineCall(n, n, 0, 0, f"pm-{n}", 7) for n in range(first, first + rows)]


def built(path: Path) -> Path:
    """A ledger with five rows, of which three are lines of a wave."""
    admitted(path, 5)
    change(path, waves.build(WAVE, calls(1, 3)))
    return path


def change(path: Path, *changes: object) -> None:
    with closing(connect(path)) as db:
        for one in changes:
            db.execute("BEGIN")
            one(db)  # type: ignore[operator]  # each is a transaction
            db.execute("COMMIT")


def test_a_wave_is_written_down_with_all_its_calls(tmp_path: Path) -> None:
    """Its rows are begun, wait for no task, and are not asked by anybody else."""
    path = built(tmp_path / "ledger.db")
    with WavesReader(path) as reader:
        assert reader.waves() == [WAVE]
        assert (reader.next_wave(), reader.away()) == (1, {"": 3})
        assert [row.work_id for row in reader.unsent(-1, 9)] == [0, 4]
        lines = reader.open_after(0, -1)
        assert [(line.call, line.call_id, line.line, line.row.work_id) for line in lines] == [
            (1, "pm-1", 1, 1),
            (2, "pm-2", 2, 2),
            (3, "pm-3", 3, 3),
        ]
    with SavedReader(path) as saved:
        assert saved.begun() == []
        assert saved.saved_tasks() == []


def test_lines_are_found_by_the_ids_of_their_calls(tmp_path: Path) -> None:
    """Those that are open and of this wave; of the others it is known how many are of it."""
    path = built(tmp_path / "ledger.db")
    change(path, lambda db: db.execute("UPDATE calls SET record = x'00' WHERE call = 2"))
    with WavesReader(path) as reader:
        lines, known = reader.found_of(0, ["pm-1", "pm-2", "pm-9", "other-1", "nobody", "pm-1-late"])
        assert (set(lines), known) == ({"pm-1"}, 2)
        assert reader.found_of(1, ["pm-1"]) == ({}, 0)
        assert (reader.lines_of(0), reader.lines_of(1)) == (3, 0)
        assert [line.call for line in reader.open_after(0, 1)] == [3]


def test_a_line_whose_call_is_published_is_a_line_of_its_wave_still(tmp_path: Path) -> None:
    """Else a batch that ended early would seem to lack an answer, and what it never did would be taken for billed."""
    path = built(tmp_path / "ledger.db")
    change(path, lambda db: db.execute("DELETE FROM calls WHERE call = 2"))
    with WavesReader(path) as reader:
        lines, known = reader.found_of(0, ["pm-1", "pm-2", "pm-9", "nobody"])
    assert (set(lines), known) == ({"pm-1"}, 2)


def test_what_the_provider_said_comes_back_as_it_was(tmp_path: Path) -> None:
    """Each step is one transaction; a collected wave is forgotten with its lines."""
    path = built(tmp_path / "ledger.db")
    told = Told("in_progress", 1.5, 9.0, 3, 1, None)
    created = msgspec.structs.replace(WAVE, state=CREATED, file_id="f", batch_id="b", told=told)
    change(path, waves.advance(created))
    with WavesReader(path) as reader:
        assert reader.waves() == [created]
    change(path, waves.advance(msgspec.structs.replace(created, state=COLLECTED)))
    with WavesReader(path) as reader:
        assert (reader.waves(), reader.next_wave(), reader.away()) == ([], 1, {})
    assert count(path, "lines") == 0


def test_a_number_that_is_given_again_belongs_to_the_newer_wave(tmp_path: Path) -> None:
    """Numbers of calls are free again when their records are pruned."""
    path = built(tmp_path / "ledger.db")
    change(
        path,
        lambda db: db.execute("DELETE FROM calls WHERE call = 3"),
        waves.build(msgspec.structs.replace(WAVE, wave=1, lines=1), [LineCall(3, 4, 0, 0, "pm-new", 7)]),
    )
    with WavesReader(path) as reader:
        assert [line.call_id for line in reader.open_after(0, -1)] == ["pm-1", "pm-2"]
        assert [line.call_id for line in reader.open_after(1, -1)] == ["pm-new"]


def test_rows_in_the_middle_tell_what_the_provider_has_taken_of_them(tmp_path: Path) -> None:
    """A batch that has an id, a task whose id is saved; not a file that is still here, nor a task that was given up."""
    path = built(tmp_path / "ledger.db")
    with WavesReader(path) as reader:
        assert {row.row_id: row.bought for row in reader.begun_rows()} == {"row-1": None, "row-2": None, "row-3": None}
    change(path, waves.advance(msgspec.structs.replace(WAVE, state=CREATED, batch_id="batch_1")))
    with closing(connect(path)) as db:
        insert = "INSERT INTO calls(call, work, turn, attempt, call_id, lane, sent_at, task, late) VALUES(?,?,0,0,?,'task',7,?,?)"
        db.execute(insert, (8, 0, "pm-8", "t-8", None))
        db.execute(insert, (9, 4, "pm-9", "t-9", 2))
    with WavesReader(path) as reader:
        found = {row.row_id: row.bought for row in reader.begun_rows()}
    assert found == {"row-0": "task", "row-1": "bulk", "row-2": "bulk", "row-3": "bulk", "row-4": None}
