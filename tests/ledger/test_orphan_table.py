"""`batch.ledger.orphan_table`: a lost line leaves its table by itself, or with all of its wave."""

from __future__ import annotations

import apsw

from batch.ledger import orphan_table


def test_one_line_is_claimed_and_a_wave_is_forgotten_whole() -> None:
    with apsw.Connection(":memory:") as db:
        for _ in range(2):  # making it again harms nothing
            db.execute(orphan_table.TABLES)
        lines = [(1, 0, 0, "a", b"x"), (2, 0, 1, "b", b"x"), (3, 1, 0, "c", b"x"), (4, 1, 1, "d", b"y")]
        db.executemany("INSERT INTO orphans VALUES(?, ?, ?, ?, ?)", lines)
        db.execute(orphan_table.CLAIM, (1,))
        db.execute(orphan_table.FORGET, (1,))
        assert db.execute("SELECT id FROM orphans").get == 2
