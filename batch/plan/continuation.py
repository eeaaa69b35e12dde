"""Choose which run opens: a new one, one that goes on after a crash, or the end of an old job's or input's.

Compares what the ledger has of the last run with the job and the source as they are now. Pure, but for reading.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args

import apsw
import msgspec

from batch.core import clock
from batch.input.batches import Position
from batch.input.source import SourceStat
from batch.job.options import ORDINARY, Kind, RunOptions
from batch.ledger import copies, index
from batch.ledger.reader import LedgerReader, RunRow
from batch.ledger.totals import Planned

Mode = Literal["new", "continue", "finish", "collect"]
"""`finish`: the input is to be read anew, rows already sent are brought to their end. `collect`: the job changed,
accepted tasks are collected."""
Closing = Literal["job_changed", "input_changed", "selection_changed"]
"""Why a run is only brought to its end, with another to follow; what it closes as."""
CLOSINGS: Final[frozenset[str]] = frozenset(get_args(Closing))
OPEN: Final = frozenset({"running", "waiting"})
"""States of a run that the next command goes on with: it was killed, or it left its batches to be collected."""


class Identity(msgspec.Struct, frozen=True):
    """The job and the source of now, as they are compared with an earlier run's."""

    request: str
    """JSON of the request part: what decides what is asked."""
    digest: str
    """Hash of the whole job."""
    source: SourceStat
    empty: str = "fail"
    """What becomes of rows that say nothing: `prompt.empty`."""
    shared: bool = False
    """Whether rows that ask the same share an answer: `prompt.dedupe`."""
    by_row: bool = False
    """Rows may name files, and whether one of those changed is not known before the rows are read."""

    @property
    def source_text(self) -> str:
        """The source's state as it is kept in the ledger."""
        return msgspec.json.encode(self.source).decode()


class RunStart(msgspec.Struct, frozen=True):
    """The run that opens now."""

    run: str
    mode: Mode
    position: Position
    planned: Planned
    fresh: bool
    """A row for it must be added to the ledger; False when a killed run goes on."""
    closes_as: Closing | None = None
    """In the modes `finish` and `collect`."""
    collects: int = 0
    """Rows of the source that wait in batches, when a run is brought to its end because the input changed."""

    def rest(self, options: RunOptions) -> RunOptions | None:
        """What the command asks of the run that follows this one, None when nothing is left of its limit.

        The rows of batches are part of it: the command that collects buys no more than the one that sent.
        """
        if options.limit is None or not self.collects:
            return options
        left = options.limit - self.collects
        return msgspec.structs.replace(options, limit=left) if left > 0 else None


def choose_run(reader: LedgerReader, identity: Identity, now_us: int, *, options: RunOptions) -> RunStart | None:
    """The run to open, None when there is nothing to do.

    Args:
        reader: the ledger, under the lock.
        identity: job and source of now.
        now_us: wall time, for the name of a new run.
        options: what the command asks for; one that limits the rows must look even after a complete run.
    """
    runs = reader.runs()
    last = runs[-1] if runs else None
    new = RunStart(_name(now_us), "new", Position(), Planned(empty=identity.empty), fresh=True)
    if last is None:
        return new
    new = msgspec.structs.replace(new, run=_name(now_us, after=last.run))
    # One that left its batches to be collected has left everything as a killed one does, and goes on in the same way.
    crashed = last.state in OPEN
    if last.state == "waiting" and options.limit is None and _only_source_changed(last, identity):
        # New rows do not wait for batches. Rows in these are passed over, whatever became of them in the source: the
        # command after this run's end has to look at them.
        return msgspec.structs.replace(new, planned=Planned(empty=identity.empty, given_up=True))
    if crashed or reader.carried():
        if last.request != identity.request:
            return _closing(last, new, "job_changed", crashed=crashed)
        if last.source != identity.source_text or (crashed and last.planned.given_up):
            # Given up: killed while it was closed, so rows that it had taken back lie before its position.
            return _closing(last, new, "input_changed", crashed=crashed)
        if crashed and (_chose_otherwise(reader, last, options) or last.planned.empty != identity.empty):
            return _closing(last, new, "selection_changed", crashed=True)
        if crashed:
            return RunStart(last.run, "continue", _position(last), last.planned, fresh=False)
        return new
    return None if options.limit is None and _nothing_to_do(reader, last, identity, options.kinds) else new


def start_transaction(start: RunStart, identity: Identity, now_us: int) -> Callable[[apsw.Connection], None]:
    """The transaction that opens a run; a new pass over the source forgets what the last one saw.

    Args:
        start: the run.
        identity: job and source of now, kept with a new run.
        now_us: wall time in microseconds, UTC.
    """

    def change(db: apsw.Connection) -> None:
        if start.fresh:
            _leave_behind(db)
            kept = db.execute("SELECT request, source FROM runs ORDER BY run DESC LIMIT 1").fetchone()
            old = start.mode in ("collect", "finish") and kept is not None
            request, source = kept if old and kept else (identity.request, identity.source_text)
            db.execute(
                "INSERT INTO runs(run, state, started_at, request, digest, source, position, planned) "
                "VALUES(?,'running',?,?,?,?,?,?)",
                (
                    start.run,
                    now_us,
                    request,
                    identity.digest,
                    source,
                    msgspec.json.encode(start.position).decode(),
                    msgspec.json.encode(start.planned).decode(),
                ),
            )
            index.begin_pass(db, start.run)
            db.execute("DELETE FROM shared")  # results of pure tools are those of one run
        else:
            db.execute("UPDATE runs SET state='running', ended_at=NULL WHERE run=?", (start.run,))
        if start.mode == "continue":
            # It goes on as the job is now: in another lane, say. The next command compares with that.
            db.execute("UPDATE runs SET digest=? WHERE run=?", (identity.digest, start.run))
        if start.mode in ("collect", "finish"):
            drop_unsent(db)
            planned = msgspec.structs.replace(start.planned, given_up=True)
            db.execute("UPDATE runs SET planned=? WHERE run=?", (msgspec.json.encode(planned).decode(), start.run))
        copies.begin(db, shared=identity.shared)

    return change


def _leave_behind(db: apsw.Connection) -> None:
    """What a run still has that waited for its batches belongs to the new one, which plans the rest anew."""
    drop_unsent(db)
    db.execute("UPDATE pending SET carried=1 WHERE state=0")


def drop_unsent(db: apsw.Connection) -> None:
    """Take back the admission of rows that were never sent; they keep their places and are planned again."""
    index.keep_places(db)
    copies.drop_waiting(db)
    db.execute(
        "DELETE FROM pending WHERE state=0 AND work NOT IN (SELECT work FROM calls) "
        "AND work NOT IN (SELECT work FROM steps)"
    )
    copies.forget_gone(db)


def drop_half_conversations(db: apsw.Connection) -> None:
    """Give up conversations of a job that changed, once no call of theirs is open; their calls are in the book."""
    halves = (
        "(SELECT work FROM pending WHERE state=0 "
        "AND work NOT IN (SELECT work FROM calls WHERE record IS NULL AND late IS NOT 2))"
    )
    db.execute(f"DELETE FROM steps WHERE work IN {halves}")
    db.execute(f"CREATE TEMP TABLE halves AS SELECT work FROM pending WHERE work IN {halves}")
    db.execute("DELETE FROM pending WHERE work IN (SELECT work FROM halves)")
    db.execute("DELETE FROM calls WHERE work IN (SELECT work FROM halves)")
    db.execute("DROP TABLE halves")


def close(
    run: str, reason: str, now_us: int, *, halves: bool = False, all_read: bool = False
) -> Callable[[apsw.Connection], Planned]:
    """The transaction that closes a run: what was never sent is dropped, what is in the middle is carried on.

    It returns what the run had planned, with what is known to remain of it.

    Args:
        run: its name.
        reason: what it closed with.
        now_us: wall time in microseconds, UTC.
        halves: also give up conversations that have no open call.
        all_read: no row of the source is left to be looked at, although planning did not come to its end.
    """

    def change(db: apsw.Connection) -> Planned:
        planned = msgspec.json.decode(db.execute("SELECT planned FROM runs WHERE run=?", (run,)).get, type=Planned)
        planned.left = int(db.execute("SELECT count(*) FROM pending WHERE state IN (0, 4)").get)
        planned.unread = not (planned.complete or all_read)
        if reason != "waiting":  # that one goes on where it is, and not where its pass over the source began
            drop_unsent(db)
            if halves:
                drop_half_conversations(db)
            copies.forget_gone(db, answers=reason == "finished")
            db.execute("DELETE FROM shared")
            db.execute("UPDATE pending SET carried=1 WHERE state=0")
        db.execute(
            "UPDATE runs SET state=?, ended_at=?, planned=? WHERE run=?",
            (reason, now_us, msgspec.json.encode(planned).decode(), run),
        )
        return planned

    return change


def _closing(last: RunRow, new: RunStart, reason: Closing, *, crashed: bool) -> RunStart:
    mode: Mode = "collect" if reason == "job_changed" else "finish"
    if crashed:
        sent = last.planned.source_rows if last.state == "waiting" and mode == "finish" else 0
        position = _position(last)
        return RunStart(last.run, mode, position, last.planned, fresh=False, closes_as=reason, collects=sent)
    return RunStart(new.run, mode, new.position, new.planned, fresh=True, closes_as=reason)


def _only_source_changed(last: RunRow, identity: Identity) -> bool:
    return last.request == identity.request and last.source != identity.source_text


def _chose_otherwise(reader: LedgerReader, last: RunRow, options: RunOptions) -> bool:
    """Whether a run that is not done chose its rows in another way than this command does.

    It left rows behind it that are asked for now, or admitted rows that are not. What it sent is brought to its end,
    and the rows are chosen anew from all that need work.
    """
    sample, planned = reader.sample(last.run), last.planned
    if sample is None and options.sample_seed is not None:
        return planned.read > 0  # a sample, and rows were taken in order before: killed sooner, it has yet to draw
    if sample is not None and options.sample_seed is None:
        return True  # other rows than the drawn ones, and what lies between those is to be read
    # What waits in batches is sent and counts; of a killed run, thousands of rows may be admitted and not sent.
    chosen = planned.source_rows if sample is None else len(sample)
    if options.limit is not None and chosen > options.limit and last.state == "running":
        return True
    more = options.kinds - set(planned.kinds)
    left = (planned.standing if "permanent" in more else 0) + (planned.left_out if more & ORDINARY else 0)
    return left > 0


def _nothing_to_do(reader: LedgerReader, last: RunRow, identity: Identity, kinds: frozenset[Kind]) -> bool:
    """Whether the last run did all that is asked for, over this job and this source."""
    if last.digest != identity.digest or last.source != identity.source_text or identity.by_row:
        return False
    if last.state != "finished" or not last.complete or last.planned.given_up or reader.sample(last.run) is not None:
        return False
    if last.planned.left_out and not (kinds & ORDINARY) <= set(last.planned.kinds):
        return False
    permanent, retryable = reader.standing_failures()
    return not ("failed" in kinds and retryable) and not ("permanent" in kinds and permanent)


def _position(last: RunRow) -> Position:
    return msgspec.json.decode(last.position, type=Position)


def _name(now_us: int, *, after: str = "") -> str:
    """A new run's name. Names sort as the runs were opened, also when the wall clock was set back in between."""
    stamp, before = clock.stamp(now_us), after.partition("-")[0]
    if stamp <= before:
        passed = datetime.strptime(f"{before[:-1]}+0000", "%Y%m%dT%H%M%S%f%z") - datetime.fromtimestamp(0, UTC)
        stamp = clock.stamp(passed // timedelta(microseconds=1) + 1_000)
    return f"{stamp}-{secrets.token_hex(2)}"
