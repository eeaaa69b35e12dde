"""`batch.ledger.orphans`: lines that were lost with a ledger, until a row takes them or their wave is over."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec

from batch.ledger import orphan_table, orphans, wave_tables, waves
from batch.ledger.orphans import LOST, Lost, Orphan, OrphansReader
from batch.ledger.schema import connect
from batch.ledger.waves import COLLECTED, CREATED, LineCall, WavesReader
from tests.ledger.test_waves import WAVE, change
from tests.support.ledgers import admitted

LINES = [Lost(1, "pm-old-41", b"a"), Lost(2, "pm-old-42", b"b"), Lost(3, "pm-old-43", b"a"), Lost(4, "pm-3", b"c")]


def found(path: Path) -> Path:
    """A ledger with three rows, one of them with a call, that has found a lost batch of four lines."""
    admitted(path, 3)
    wave = msgspec.structs.replace(WAVE, state=CREATED, batch_id="b", made_at_us=70)
    change(path, waves.build(msgspec.structs.replace(WAVE, wave=9), [LineCall(3, 2, 0, 0, "pm-3", 7)]))
    change(path, waves.build(wave, []), waves.advance(wave), orphans.register(0, LINES))
    return path


def test_lines_are_found_by_what_they_ask_and_each_once(tmp_path: Path) -> None:
    """Not one whose call the ledger knows already."""
    path = found(tmp_path / "ledger.db")
    with OrphansReader(path) as reader:
        assert reader.unclaimed(b"a") == [Orphan(1, 0, 1, "pm-old-41"), Orphan(3, 0, 3, "pm-old-43")]
        assert reader.unclaimed(b"c") == []
        assert reader.unclaimed_by_wave() == {0: (3, 70)}
        assert reader.known_ids(["pm-3", "pm-old-41"]) == {"pm-3"}
        assert reader.batches() == {"b"}
        assert reader.claimed_by_wave() == {}


def test_a_line_that_a_row_took_is_a_line_of_the_wave_under_its_old_id(tmp_path: Path) -> None:
    """Whatever number its call has in this ledger."""
    path = found(tmp_path / "ledger.db")
    with closing(connect(path)) as db:
        db.execute(
            "INSERT INTO calls(call, work, turn, attempt, call_id, lane, sent_at) VALUES(8,0,0,0,'pm-old-41','bulk',7)"
        )
        db.execute(wave_tables.INSERT_LINE, (8, 0, 1))
        db.execute(orphan_table.CLAIM, (1,))
    with WavesReader(path) as reader:
        lines, known = reader.found_of(0, ["pm-old-41", "pm-old-42"])
        assert ({line.call: line.row.work_id for line in lines.values()}, known) == ({8: 0}, 1)
    with OrphansReader(path) as reader:
        assert reader.claimed_by_wave() == {0: 1}
        assert reader.unclaimed_by_wave() == {0: (2, 70)}


def test_what_nobody_took_is_forgotten_with_its_wave(tmp_path: Path) -> None:
    """And that lost batches were looked for is kept in the same way as that they are to be."""
    path = found(tmp_path / "ledger.db")
    with closing(connect(path)) as db:
        db.execute("INSERT INTO meta(key, value) VALUES(?, 1)", (LOST,))
    with OrphansReader(path) as reader:
        assert reader.lost
    change(path, waves.advance(msgspec.structs.replace(WAVE, state=COLLECTED)), orphans.looked)
    with OrphansReader(path) as reader:
        assert (reader.unclaimed_by_wave(), reader.lost) == ({}, False)
