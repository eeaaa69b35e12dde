"""Batch files in the ledger: which waves there are, how far each has come, and which calls are lines of it.

A wave is one batch file: its lines are calls, and it is written down with all of them in one transaction before
anything is uploaded. Owns the statements over the two tables, and how they are read. What is done with a wave is
`run.bulk`'s.

`waves.state`: 0 built (the file is whole, and nothing was sent), 1 uploaded, 2 created, 3 collected. `told` is what the
provider said of the batch last. A line is forgotten with its wave; a call that is open and a line waits in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from batch.core.records import Lane
from batch.ledger import orphan_table, statements, wave_tables
from batch.ledger.reader import JournaledCall, LedgerReader, PendingRow, journaled_call

BUILT, UPLOADED, CREATED, COLLECTED = range(4)
SLICE: Final = 500
_DIGITS: Final = 18
"""Of a number that SQLite takes for a whole one."""

_INSERT_WAVE: Final = """
INSERT INTO waves(wave, run, model, base_url, state, lines, size, digest, made_at)
VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?)
"""
_SET: Final = """
UPDATE waves
SET state = ?2, file = ?3, batch = ?4, told = ?5
WHERE wave = ?1
"""
_FORGET_LINES: Final = """
DELETE FROM lines
WHERE wave = ?
"""
_WAVES: Final = """
SELECT wave, run, model, base_url, state, lines, size, digest, made_at, file, batch, told
FROM waves
WHERE state < 3
ORDER BY wave
"""
_WAVE_OF: Final = """
SELECT w.wave, w.run, w.model, w.base_url, w.state, w.lines, w.size, w.digest, w.made_at, w.file, w.batch, w.told
FROM lines l
JOIN waves w USING (wave)
WHERE l.call = ?
"""
_OPEN: Final = """
FROM lines l
JOIN calls c USING (call)
JOIN pending p USING (work)
WHERE l.wave = ?1 AND c.lane = 'bulk' AND c.record IS NULL AND p.state = 0
"""
_OPEN_WORKS: Final = """
SELECT c.work
FROM lines l
JOIN calls c USING (call)
JOIN pending p USING (work)
WHERE c.lane = 'bulk' AND c.record IS NULL AND p.state = 0
"""
_OPEN_BY_VARIANT: Final = """
SELECT p.variant, count(*)
FROM lines l
JOIN calls c USING (call)
JOIN pending p USING (work)
WHERE c.lane = 'bulk' AND c.record IS NULL AND p.state = 0
GROUP BY p.variant
"""
_OPEN_AFTER: Final = f"""
SELECT l.call, c.call_id, l.line, {", ".join(f"p.{name.strip()}" for name in statements.PENDING.split(","))}
{_OPEN} AND l.call > ?2
ORDER BY l.call
LIMIT ?3
"""
_FOUND: Final = f"""
SELECT l.call, c.call_id, l.line, {", ".join(f"p.{name.strip()}" for name in statements.PENDING.split(","))},
    c.lane = 'bulk' AND c.record IS NULL AND p.state = 0
FROM json_each(?2) k
CROSS JOIN lines l ON l.call = k.value
JOIN calls c ON c.call = l.call
LEFT JOIN pending p ON p.work = c.work
WHERE l.wave = ?1
"""
_FOUND_BY_ID: Final = f"""
SELECT l.call, c.call_id, l.line, {", ".join(f"p.{name.strip()}" for name in statements.PENDING.split(","))},
    c.lane = 'bulk' AND c.record IS NULL AND p.state = 0
FROM lines l
JOIN calls c ON c.call = l.call
LEFT JOIN pending p ON p.work = c.work
WHERE l.wave = ?1 AND c.call_id IN (SELECT value FROM json_each(?2))
"""
_PUBLISHED: Final = """
SELECT l.call
FROM json_each(?2) k
CROSS JOIN lines l ON l.call = k.value
WHERE l.wave = ?1 AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.call = l.call)
"""
_COUNT: Final = """
SELECT count(*)
FROM lines
WHERE wave = ?
"""
_CALLS: Final = """
SELECT call, work, turn, attempt, call_id, lane, sent_at, task, base_url, late, record, published
FROM calls
WHERE work IN (SELECT value FROM json_each(?))
ORDER BY work, call
"""
_STEPS: Final = """
SELECT work, turn, idx, value
FROM steps
WHERE work IN (SELECT value FROM json_each(?))
ORDER BY work, turn, idx
"""
_BEGUN: Final = f"""
SELECT p.row_id, p.variant, p.fingerprint, (
    SELECT c.lane
    FROM calls c
    WHERE c.work = p.work AND c.record IS NULL
        AND (c.task IS NOT NULL AND coalesce(c.late, 0) != 2 OR {{in_a_batch}})
    LIMIT 1
)
FROM pending p
WHERE p.state = 0 AND (p.carried = 1 OR NOT ({statements.UNTOUCHED}))
"""
_IN_A_BATCH: Final = """
    EXISTS (SELECT 1 FROM lines l JOIN waves w USING (wave) WHERE l.call = c.call AND w.batch IS NOT NULL)
"""
_HAS_TABLE: Final = "SELECT 1 FROM sqlite_schema WHERE name = 'waves'"


class Told(msgspec.Struct, frozen=True):
    """What the provider said of a batch last; times in seconds since 1970."""

    status: str
    at_s: float
    expires_s: float | None = None
    total: int | None = None
    completed: int | None = None
    failed: int | None = None


class WaveRow(msgspec.Struct, frozen=True, kw_only=True):
    """One wave that is not collected."""

    wave: int
    run: str
    model: str
    base_url: str
    state: int
    lines: int
    size: int
    digest: str
    made_at_us: int
    file_id: str | None = None
    batch_id: str | None = None
    told: Told | None = None


class LineRow(msgspec.Struct, frozen=True):
    """One line that is open: its call, its place in the file (from 1), and its row."""

    call: int
    call_id: str
    line: int
    row: PendingRow


class LineCall(msgspec.Struct, frozen=True):
    """One call that goes into a wave, as the ledger has it."""

    number: int
    work_id: int
    turn: int
    attempt: int
    call_id: str
    sent_at_us: int


class Journal(NamedTuple):
    """What the ledger has of one row: its calls in the order in which they were made, and its steps in theirs."""

    calls: list[JournaledCall]
    steps: list[tuple[int, int, bytes]]


class BegunRow(NamedTuple):
    """One row that an earlier command left in the middle of a call or conversation."""

    row_id: str
    variant: str
    fingerprint: bytes
    """Of what it asked."""
    bought: Lane | None
    """By which lane the provider took a call of it that is still to be collected; None when it has none."""


class WavesReader(LedgerReader):
    """A reader that knows the waves."""

    def waves(self) -> list[WaveRow]:
        """The waves that are not collected, in the order in which they were made; none in an older ledger."""
        if self._first(_HAS_TABLE) is None:
            return []
        return [_wave(row) for row in self._rows(_WAVES)]

    def wave_of(self, call: int) -> WaveRow | None:
        """The wave of which a call is a line, if that is not collected."""
        found = None if self._first(_HAS_TABLE) is None else self._first(_WAVE_OF, (call,))
        return None if found is None else _wave(found)

    def next_wave(self) -> int:
        """The first free number."""
        row = self._first(statements.highest("wave", "waves"))
        return int(row[0]) + 1 if row and row[0] is not None else 0

    def away(self) -> dict[str, int]:
        """By variant, how many rows wait in a wave."""
        return dict(self._rows(_OPEN_BY_VARIANT))

    def begun_rows(self) -> Iterator[BegunRow]:
        """The rows in the middle of a call or conversation, whether the run that began them was closed or killed."""
        known = self._first(_HAS_TABLE) is not None
        rows = self._rows(_BEGUN.format(in_a_batch=_IN_A_BATCH if known else "0"))
        return (BegunRow(*row) for row in rows)

    def works_away(self) -> Iterator[int]:
        """The work numbers of these rows."""
        return (row[0] for row in self._rows(_OPEN_WORKS))

    def found_of(self, wave: int, call_ids: Collection[str]) -> tuple[dict[str, LineRow], int]:
        """Those of these calls that are open lines of a wave, by call id, and how many are lines of it, open or not.

        The number behind an id leads to its call. Of a call that is published the ledger has no more than that.
        """
        numbers = {number for call_id in call_ids if (number := number_of(call_id)) is not None}
        listed = msgspec.json.encode(list(numbers)).decode()
        known = [row for row in self._rows(_FOUND, (wave, listed)) if row[1] in call_ids]
        if len(known) < len(call_ids) and (others := set(call_ids).difference(row[1] for row in known)):
            # Of a batch that was lost with a ledger: its calls have other numbers here.
            known += self._rows(_FOUND_BY_ID, (wave, msgspec.json.encode(list(others)).decode()))
        found = {line.call_id: line for line in _lines(row[:-1] for row in known if row[-1])}
        published = 0 if len(known) == len(call_ids) else len(list(self._rows(_PUBLISHED, (wave, listed))))
        return found, len(known) + published

    def lines_of(self, wave: int) -> int:
        """How many lines the ledger knows of a wave: of one that was lost and found again not all."""
        return int(next(iter(self._rows(_COUNT, (wave,))))[0])

    def journals(self, work_ids: Sequence[int]) -> dict[int, Journal]:
        """What was journaled of each of these rows, by work id."""
        listed = (msgspec.json.encode(work_ids).decode(),)
        found = {work_id: Journal([], []) for work_id in work_ids}
        for row in self._rows(_CALLS, listed):
            found[row[1]].calls.append(journaled_call(row))
        for work_id, *step in self._rows(_STEPS, listed):
            found[work_id].steps.append((step[0], step[1], step[2]))
        return found

    def open_after(self, wave: int, call: int, count: int = SLICE) -> list[LineRow]:
        """The open lines of a wave behind a call, in the order of the file.

        Args:
            wave: its number.
            call: number of the call; -1 begins at the beginning.
            count: lines, at most.
        """
        return list(_lines(self._rows(_OPEN_AFTER, (wave, call, count))))


def build(wave: WaveRow, calls: Sequence[LineCall]) -> Callable[[apsw.Connection], None]:
    """The transaction that writes a wave down with its calls: from now on it is to be sent.

    Args:
        wave: the wave.
        calls: its lines, in the order of the file.
    """

    def change(db: apsw.Connection) -> None:
        db.execute(
            _INSERT_WAVE,
            (wave.wave, wave.run, wave.model, wave.base_url, wave.lines, wave.size, wave.digest, wave.made_at_us),
        )
        db.executemany(
            statements.INSERT_CALL,
            ((c.number, c.work_id, c.turn, c.attempt, c.call_id, "bulk", c.sent_at_us) for c in calls),
        )
        db.executemany(wave_tables.INSERT_LINE, ((c.number, wave.wave, n) for n, c in enumerate(calls, 1)))

    return change


def advance(wave: WaveRow) -> Callable[[apsw.Connection], None]:
    """The transaction that writes down how far a wave has come.

    Args:
        wave: as it is now; one that is collected has no open line.
    """

    def change(db: apsw.Connection) -> None:
        told = None if wave.told is None else msgspec.json.encode(wave.told)
        db.execute(_SET, (wave.wave, wave.state, wave.file_id, wave.batch_id, told))
        if wave.state == COLLECTED:
            db.execute(_FORGET_LINES, (wave.wave,))
            db.execute(orphan_table.FORGET, (wave.wave,))

    return change


def _wave(row: tuple[Any, ...]) -> WaveRow:
    wave, run, model, base_url, state, lines, size, digest, made_at, file, batch, told = row
    known: Told | None = None
    if told is not None:
        with suppress(msgspec.DecodeError):
            known = msgspec.json.decode(told, type=Told)
    return WaveRow(
        wave=wave,
        run=run,
        model=model,
        base_url=base_url,
        state=state,
        lines=lines,
        size=size,
        digest=digest,
        made_at_us=made_at,
        file_id=file,
        batch_id=batch,
        told=known,
    )


def number_of(call_id: str) -> int | None:
    """The number of the call that an id of ours was given to; None for any other text."""
    digits = call_id.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS else None


def _lines(rows: Iterable[Any]) -> Iterator[LineRow]:
    for row in rows:
        yield LineRow(row[0], row[1], row[2], PendingRow(*row[3:]))
