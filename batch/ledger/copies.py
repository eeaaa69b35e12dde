"""Rows of a run that ask the same: one of them is asked, the others wait in the ledger and get a copy of its answer.

Owns what becomes of them in the ledger, in transactions of the caller: which row is asked, what the others get once it
is answered, and which comes next when it fails. Every state is one to go on from after a kill: an answer is written
down beside its request before the record of its row may be pruned, and a copy waits until the very transaction that
settles it. It sends nothing and tells nobody: `run.copies` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from batch.core.records import Outcome, Sums
from batch.labels.samples import NO_SAMPLES, Sampling
from batch.ledger import copy_statements, statements
from batch.ledger.reader import LedgerReader, PendingRow

SLICE_ROWS: Final = 1_000
"""What is settled in one transaction, in copies and about in bytes: between two of them others write."""
SLICE_BYTES: Final = 8 << 20

_decode = msgspec.msgpack.Decoder(Outcome).decode
_encode = msgspec.msgpack.Encoder().encode


class CopiesReader(LedgerReader):
    """A reader that knows which rows wait for another's answer."""

    def waiting(self, after: int, count: int) -> list[PendingRow]:
        """The first rows that wait for the answer to another row which asks the same, by work id.

        Args:
            after: the work id beyond which to look.
            count: rows, at most.
        """
        return [PendingRow(*row) for row in self._rows(copy_statements.COPIES, (after, count))]

    def waiting_by_variant(self) -> dict[str, int]:
        """By variant, how many rows wait."""
        return dict(self._rows(copy_statements.WAITING_BY_VARIANT))

    def ended(self) -> list[int]:
        """The work numbers of rows that were asked for others too, and have an outcome that nobody has looked at."""
        return [row[0] for row in self._rows(copy_statements.ENDED)]

    def answered(self) -> Iterator[bytes]:
        """The keys of requests whose answers are kept for rows to come, which an older ledger has no place for."""
        if self._first(copy_statements.MADE) is not None:
            yield from (row[0] for row in self._rows(copy_statements.ANSWERED))

    def any_ready(self) -> bool:
        """Whether a row waits for an answer that is there."""
        return self._first(copy_statements.ANY_READY) is not None


class Copied(NamedTuple):
    """One row that got the answer of another."""

    variant: str
    part: int
    outcome: Outcome


class Ends(NamedTuple):
    """What followed from the outcomes of rows that were asked for others too."""

    ready: bool
    """Whether some of these others have their answer waiting for them."""
    asked_next: list[PendingRow]
    """Rows that waited, and are to be asked in place of one that failed."""


def key_of(fingerprint: bytes, had: Sampling = NO_SAMPLES) -> bytes:
    """What two rows have in common that ask the same.

    Args:
        fingerprint: of what is asked.
        had: the samples that earlier runs asked for: a row that has some asks for others, and what these come to
            depends on the votes that are there.
    """
    return fingerprint if had == NO_SAMPLES else fingerprint + blake2b(_encode(had), digest_size=16).digest()


def share(db: apsw.Connection, keys: Sequence[tuple[int, bytes]]) -> frozenset[int]:
    """Let admitted rows wait that ask what another one asks or has asked; gives their work numbers.

    Args:
        db: inside the transaction that admits them.
        keys: work number and key of rows that are to be asked, in the order of the input.
    """
    told = (msgspec.json.encode([(work, key.hex()) for work, key in keys]).decode(),)
    db.execute(copy_statements.ADD_ASKED, told)
    found: list[Any] = db.execute(copy_statements.ADD_COPIES, told).fetchall()
    db.executemany(copy_statements.LET_WAIT, [(work,) for work, _ in found])
    db.executemany(copy_statements.SET_READY, [(asked,) for asked in {asked for _, asked in found}])
    return frozenset(work for work, _ in found)


def look_at_ends(db: apsw.Connection, works: Iterable[int]) -> Ends:
    """Keep the answers of rows that have ended, and have the next row asked in place of one that failed.

    Args:
        db: inside a transaction.
        works: work numbers of rows that have an outcome; most were perhaps asked for nobody else.
    """
    ready, asked_next = False, []
    for work in works:
        found: Any = db.execute(copy_statements.END_OF, (work,)).fetchone()
        if found is None:
            continue
        number, outcome = found
        if _decode(outcome).status == "ok":
            db.execute(copy_statements.SET_ANSWER, (number, outcome))
            ready = True
            continue
        following: Any = db.execute(copy_statements.NEXT_COPY, (number,)).fetchone()
        if following is None:
            db.execute(copy_statements.DROP_ASKED, (number,))
            continue
        row = PendingRow(*following)
        db.execute(copy_statements.DROP_COPY, (number, row.work_id))
        db.execute(copy_statements.LET_BE_ASKED, (row.work_id,))
        db.execute(copy_statements.ASK_NEXT, (number, row.work_id, row.row_id))
        asked_next.append(row)
    return Ends(ready, asked_next)


def settle_slice(db: apsw.Connection, now_us: int) -> list[Copied]:
    """Settle some of the rows whose answer is there; none when no row waits for one that is.

    Args:
        db: inside a transaction.
        now_us: wall time in microseconds, UTC.
    """
    settled: list[Copied] = []
    room = SLICE_BYTES
    while len(settled) < SLICE_ROWS and room > 0:
        found: Any = db.execute(copy_statements.NEXT_READY).fetchone()
        if found is None:
            break
        number, row_id, answer = found
        outcome = copied(_decode(answer), row_id, now_us)
        blob = _encode(outcome)
        most = min(SLICE_ROWS - len(settled), 1 + room // len(blob))
        rows: list[Any] = db.execute(copy_statements.COPIES_OF, (number, most)).fetchall()
        db.executemany(statements.SET_OUTCOME, [(work, blob) for work, _, _ in rows])
        db.executemany(copy_statements.DROP_COPY, [(number, work) for work, _, _ in rows])
        settled += [Copied(variant, part, outcome) for _, variant, part in rows]
        room -= len(rows) * len(blob)
        if len(rows) < most:
            db.execute(copy_statements.NOT_READY, (number,))
    return settled


def copied(outcome: Outcome, row_id: str, now_us: int) -> Outcome:
    """The outcome of a row that gets the answer of another: all that was said, and nothing that was spent.

    Args:
        outcome: of the row that was asked.
        row_id: of that row.
        now_us: wall time in microseconds, UTC.
    """
    spent = outcome.sums
    nothing = Sums(
        prompt_tokens=0,
        completion_tokens=0,
        total_tokens=0,
        cached_tokens=None if spent.cached_tokens is None else 0,
        reasoning_tokens=None if spent.reasoning_tokens is None else 0,
        cost=0,
        currency=spent.currency,
    )
    return msgspec.structs.replace(
        outcome, sums=nothing, deduplicated_from=row_id, settled_at_us=now_us, latency_ms=None
    )


def begin(db: apsw.Connection, *, shared: bool) -> None:
    """What a run begins with.

    Args:
        db: inside the transaction that opens it, or goes on with it.
        shared: whether its rows share answers; if not, those that wait are asked, each for itself.
    """
    if shared:
        db.execute(copy_statements.KNOW_OPEN)
        unsent: list[Any] = db.execute(copy_statements.UNSENT_KEYS).fetchall()
        share(db, unsent)
        return
    db.execute(copy_statements.ASK_ALL)
    db.execute(copy_statements.DROP_COPIES)
    db.execute(copy_statements.DROP_ALL_ASKED)


def drop_waiting(db: apsw.Connection) -> None:
    """Take back the admission of rows that wait for another's answer; they keep their places and are planned again."""
    db.execute(copy_statements.DROP_WAITING)
    db.execute(copy_statements.DROP_COPIES)
    db.execute(copy_statements.NONE_READY)


def forget_gone(db: apsw.Connection, *, answers: bool = False) -> None:
    """Forget which rows are asked for others whose records are gone, before their numbers are given to other rows.

    Args:
        db: inside the transaction that takes the records away.
        answers: forget the answers that are kept for rows to come as well, because the run has come to its end.
    """
    db.execute(copy_statements.DROP_GONE)
    if answers:
        none_open = db.execute(copy_statements.ANY_OPEN).fetchone() is None
        db.execute(copy_statements.DROP_ALL_ASKED if none_open else copy_statements.DROP_ANSWERS)
