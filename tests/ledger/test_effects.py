"""`batch.ledger.effects`: what tools did stays as long as its row has a place, and goes with it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from batch.ledger import effects, index
from batch.ledger.effects import Effect, EffectsReader
from batch.ledger.schema import connect
from batch.ledger.writer import Ledger
from tests.support.ledgers import admitted


async def test_an_intent_is_known_without_its_end_until_the_end_is_there(tmp_path: Path) -> None:
    """Begun again, it is in doubt; its result ends that, and the doubt stays known."""
    path = admitted(tmp_path / "ledger.db", 1)
    async with Ledger(path) as ledger:
        with EffectsReader(path) as reader:
            (row,) = reader.unsent(-1, 1)
            found = []
            for record in (
                effects.intent(row, (2, 1), "one"),
                effects.intent(row, (2, 1), "two"),
                effects.result(row, (2, 1), "fertig €".encode()),
                effects.doubt(row, (2, 1)),
            ):
                ledger.record(record)
                await ledger.committed()
                found.append(reader.effects_of(row)[2, 1])
            assert reader.effects_of(row._replace(variant="other")) == {}
    assert found == [
        Effect("one", None),
        Effect("two", None, in_doubt=True),
        Effect("two", "fertig €", in_doubt=True),
        Effect("two", "fertig €", in_doubt=True),
    ]


@pytest.mark.parametrize("forget", [index.forget_entries, index.forget_part])
async def test_what_a_row_did_goes_when_the_row_leaves_the_table(
    forget: Callable[[apsw.Connection, int], None], tmp_path: Path
) -> None:
    """And nothing of the rows that stay."""
    path = admitted(tmp_path / "ledger.db", 2)
    with EffectsReader(path) as reader:
        rows = reader.unsent(-1, 2)
    async with Ledger(path) as ledger:
        for row in rows:
            ledger.record(effects.intent(row, (0, 0), "call"))

        def leave(db: apsw.Connection) -> None:
            db.execute("INSERT INTO parts(part, rows) VALUES(0, 2)")
            index.announce_leaving(db, 0, [("row-0", "")])
            forget(db, 0)

        await ledger.execute(leave)
        with EffectsReader(path) as reader:
            assert [bool(reader.effects_of(row)) for row in rows] == [False, True]


async def test_shared_results_are_found_by_their_key(tmp_path: Path) -> None:
    """The last one counts, and their size is known."""
    path = admitted(tmp_path / "ledger.db", 1)
    async with Ledger(path) as ledger:
        for text in ("one", "zwölf"):
            ledger.record(effects.share("key", text.encode()))
        await ledger.committed()
    with EffectsReader(path) as reader:
        assert (reader.shared("key"), reader.shared("other"), reader.shared_bytes()) == ("zwölf", None, 6)


def test_an_older_ledger_gets_the_tables_when_it_is_opened(tmp_path: Path) -> None:
    """No new format is needed for them."""
    path = admitted(tmp_path / "ledger.db", 1)
    with closing(connect(path)) as db:
        db.execute("DROP TABLE effects")
        db.execute("DROP TABLE shared")
    with closing(connect(path)) as db:
        assert db.execute("SELECT count(*) FROM effects").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM shared").fetchone() == (0,)
