"""`batch.run.lost_batches`: rows take the lines of lost batches that ask what they ask, each line once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from batch.core.records import Request, RowRequest
from batch.ledger import orphans, waves
from batch.ledger.orphans import Lost, OrphansReader
from batch.ledger.waves import CREATED, WavesReader
from batch.ledger.writer import Ledger
from batch.output.folder import OutputFolder
from batch.providers import registry
from batch.run.lost_batches import LostBatches, Taken
from batch.submit.call_ids import CallIds
from batch.submit.lost_lines import asks_of, own
from batch.submit.rows import Row
from tests.ledger.test_waves import WAVE, change
from tests.support.ledgers import admitted, fingerprint, read

NOTHING: Any = None
LINE = Taken(0, booked=False)
DIALECT, _ = registry.dialect("glm", base_url="http://127.0.0.1:1/v4", key="id123456.secret456789")


def asked(text: str) -> RowRequest:
    return RowRequest([{"role": "user", "content": text}], "m")


def asks(text: str) -> bytes:
    """What a line asks that asks this."""
    body = DIALECT.chat(Request(model="m", messages=asked(text).messages), "").body
    assert body is not None
    return asks_of(body)


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    """A folder with five rows to be asked, that has found a lost batch of three lines, two of which ask the same."""
    folder = OutputFolder(tmp_path / "out")
    folder.prepare()
    admitted(folder.ledger, 5)
    wave = msgspec.structs.replace(WAVE, state=CREATED, batch_id="b", made_at_us=70)
    lines = [Lost(1, "pm-old-41", asks("red")), Lost(2, "pm-old-42", asks("red")), Lost(3, "pm-old-43", asks("blue"))]
    change(folder.ledger, waves.build(wave, []), waves.advance(wave), orphans.register(0, lines))
    return folder


def known(folder: OutputFolder, ledger: Any, reader: OrphansReader) -> tuple[LostBatches, Callable[[int, str], Row]]:
    """The lost batches of a process that begins now, and rows that ask something."""
    context: Any = SimpleNamespace(
        dialect=DIALECT,
        ids=CallIds("a", reader.next_number("call")),
        ledger=ledger,
        request=lambda row: Request(model="m", messages=row.conversation.messages),
    )
    lost = LostBatches(reader, context, NOTHING, folder)
    lost.begin()
    pending = {row.work_id: row for row in reader.unsent(-1, 9)}
    return lost, lambda work, text: Row(pending[work], asked(text))


async def test_a_row_takes_a_line_that_asks_the_same_and_no_other_row_gets_it(folder: OutputFolder) -> None:
    """Under the id that the line has: by it, its answer comes back to the row."""
    async with Ledger(folder.ledger) as ledger:
        with OrphansReader(folder.ledger) as reader:
            lost, row = known(folder, ledger, reader)
            first = row(0, "red")
            assert [lost.claim(first), lost.claim(row(1, "red")), lost.claim(row(2, "red"))] == [LINE, LINE, None]
            assert lost.claim(row(3, "green")) is None
            assert first.next_attempt == 1
            await ledger.committed()
            assert (reader.unclaimed(asks("red")), len(reader.unclaimed(asks("blue")))) == ([], 1)
    with WavesReader(folder.ledger) as waves_reader:
        found, _ = waves_reader.found_of(0, ["pm-old-41", "pm-old-42", "pm-old-43"])
    assert {call_id: line.row.work_id for call_id, line in found.items()} == {"pm-old-41": 0, "pm-old-42": 1}


async def test_a_line_that_is_booked_goes_to_its_own_row_alone_and_stays_booked(folder: OutputFolder) -> None:
    """Whether its request is known or only the fingerprint of its row; before any line that was not booked."""
    red, blue = own("row-1", "", asks("red")), own("row-2", "", fingerprint(2))
    change(folder.ledger, orphans.register(0, [Lost(4, "pm-old-44", red), Lost(5, "pm-old-45", blue)]))
    async with Ledger(folder.ledger) as ledger:
        with OrphansReader(folder.ledger) as reader:
            lost, row = known(folder, ledger, reader)
            assert [lost.claim(row(0, "red")), lost.claim(row(1, "red"))] == [LINE, Taken(0, booked=True)]
            assert [lost.claim(row(2, "blue")), lost.claim(row(3, "blue"))] == [Taken(0, booked=True), LINE]
            await ledger.committed()
    found = read(folder.ledger, "SELECT work, call_id, published FROM calls ORDER BY work")
    assert found == [(0, "pm-old-41", 0), (1, "pm-old-44", 1), (2, "pm-old-45", 1), (3, "pm-old-43", 0)]


async def test_the_fingerprint_of_a_row_stands_for_its_first_request_alone(folder: OutputFolder) -> None:
    """What it asks later is not told by it."""
    change(folder.ledger, orphans.register(0, [Lost(4, "pm-old-44", own("row-1", "", fingerprint(1)))]))
    async with Ledger(folder.ledger) as ledger:
        with OrphansReader(folder.ledger) as reader:
            lost, row = known(folder, ledger, reader)
            later = row(1, "green")
            later.conversation = msgspec.structs.replace(later.conversation, turn=1)
            assert lost.claim(later) is None


async def test_a_lost_batch_is_collected_once_no_more_rows_can_take_its_lines(folder: OutputFolder) -> None:
    """It is worth that as soon as it has a row and nothing more comes, and at once when all its lines have one."""
    async with Ledger(folder.ledger) as ledger:
        with OrphansReader(folder.ledger) as reader:
            lost, row = known(folder, ledger, reader)
            assert lost.awaits_rows(0, quiet=lambda: True), "nobody waits for it"
            lost.claim(row(0, "red"))
            assert lost.awaits_rows(0, quiet=lambda: False)
            assert not lost.awaits_rows(0, quiet=lambda: True)
            assert lost.collected(0), "others may still ask what its other lines asked"
            assert lost.awaits_rows(0, quiet=lambda: True)
            lost.claim(row(1, "red"))
            lost.claim(row(2, "blue"))
            assert not lost.awaits_rows(0, quiet=lambda: False)
            assert not lost.collected(0)
            await ledger.committed()


async def test_the_next_process_knows_which_lines_have_a_row(folder: OutputFolder) -> None:
    """Killed after a row took one: the line is the row's, the others are still to be had."""
    async with Ledger(folder.ledger) as ledger:
        with OrphansReader(folder.ledger) as reader:
            lost, row = known(folder, ledger, reader)
            lost.claim(row(0, "red"))
            await ledger.committed()
            again, row = known(folder, ledger, reader)
            assert again.waves == {0: (2, 70)}
            assert again.partly == {0}
            assert not again.awaits_rows(0, quiet=lambda: True)
            assert [again.claim(row(1, "red")), again.claim(row(2, "red"))] == [LINE, None]
            await ledger.committed()


async def test_nothing_is_looked_for_at_the_provider_where_the_ledger_was_never_lost(folder: OutputFolder) -> None:
    async with Ledger(folder.ledger) as ledger:
        with OrphansReader(folder.ledger) as reader:
            lost, _ = known(folder, ledger, reader)
            assert not lost.sought
            assert await lost.look(1) is None
