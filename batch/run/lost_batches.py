"""Batches that were lost with the ledger: found again at the provider, and taken by the rows that ask what they asked.

Only after `promptmill rebuild`: before anything is bought, the list of batches is read back to the first run of the
folder. A batch of one of its runs that the ledger does not know becomes a wave again, with the lines whose answers are
in no row; what they asked is told by the file in `bulk/`, else by the provider's copy of it. A line that is in the book
already is taken by its own row alone and not booked again; where no file is left, the book tells what its row asked.
Owns that search, and how a row takes a line. What becomes of the batch then is `bulk`'s, as of any other.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import apsw
import msgspec
from anyio import to_thread

from batch.core.clock import MICROSECONDS
from batch.core.logs import logger
from batch.core.records import Failure
from batch.ledger import orphans, waves
from batch.ledger.orphans import Lost, Orphan, OrphansReader
from batch.ledger.paid import Paid
from batch.ledger.waves import CREATED, Told, WaveRow
from batch.output import files
from batch.output.folder import OutputFolder
from batch.output.parts import PartReader
from batch.output.unreadable import reading
from batch.providers.batch_files import Batch
from batch.submit import lost_lines, retry
from batch.submit.attempt import CallContext
from batch.submit.bulk import FILE, RUN, BatchExchange
from batch.submit.rows import Row

T = TypeVar("T")

TRIES: Final = 6
"""Exchanges about one thing that may fail one after the other."""
_FORGET_TAKEN: Final = 1_000


class Taken(NamedTuple):
    """The line that a row has taken."""

    wave: int
    booked: bool
    """Whether its call is in the book already."""


class LostBatches:
    """The lost batches of one folder.

    Args:
        reader: the ledger; it belongs to this object.
        context: numbers calls, and has the ledger.
        exchange: asks the provider.
        folder: with the book, and the files of requests.
    """

    def __init__(
        self, reader: OrphansReader, context: CallContext, exchange: BatchExchange, folder: OutputFolder
    ) -> None:
        self._reader = reader
        self._context = context
        self._exchange = exchange
        self._folder = folder
        self._chance = random.Random()
        self._taken: set[int] = set()
        self._claimed: Counter[int] = Counter()
        """By wave, how many of its lines have a row that waits for it."""
        self._published: Counter[str] | None = None
        """By batch, how many of its calls are in the book; counted when it is first asked for."""
        self.sought = reader.lost
        """Whether they are still to be looked for."""
        self.partial = False
        """Whether the run looks at some rows only."""
        self.waves: dict[int, tuple[int, int]] = {}
        """By number of a wave, how many of its lines no row has taken, and when it was made, in microseconds."""
        self.partly: set[int] = set()
        """The waves of which, when this process began, not every line had a row."""

    def awaits_rows(self, wave: int, *, quiet: Callable[[], bool]) -> bool:
        """Whether more rows may come for a wave before it is worth collecting.

        Args:
            wave: its number.
            quiet: whether no row can come without an answer of a batch.
        """
        return wave in self.waves and (not self._claimed[wave] or not quiet())

    def collected(self, wave: int) -> bool:
        """Note that the lines of a wave are concluded that have rows; whether others may still get some."""
        self._claimed[wave] = 0
        return wave in self.waves

    def begin(self) -> None:
        """Read which lines wait for a row."""
        self.waves = self._reader.unclaimed_by_wave()
        self._claimed.update(self._reader.claimed_by_wave())
        self.partly |= self.waves.keys()

    async def look(self, first: int) -> Failure | None:
        """Find lost batches and write them down; what keeps the provider from telling, or None when all is known.

        Args:
            first: the first free number of a wave.

        Raises:
            StorageError: the disk refused.
        """
        if not self.sought:
            return None
        found = await self._listed()
        if isinstance(found, Failure):
            return found
        left = await to_thread.run_sync(self._files_left)
        for batch in found:
            path = left.get(batch.metadata.get(FILE, ""))
            failure = await self._write_down(first, batch, path)
            if failure is not None:
                return failure
            first += 1
        await self._context.ledger.execute(orphans.looked, after="bulk.found")
        self.sought = False
        await to_thread.run_sync(self.begin)
        lines = sum(count for count, _ in self.waves.values())
        logger().info("lost_batches_found", batches=len(self.waves), lines=lines)
        return None

    def claim(self, row: Row) -> Taken | None:
        """Let a row take a line that asks what it asks next; None where there is none.

        The ledger knows the row's call as that line with the next commit, before anything can be collected for it.
        """
        if not self.waves:
            return None
        found, booked = self._asks_the_same(row)
        if found is None:
            return None
        self._taken.add(found.id)
        self._claimed[found.wave] += 1
        left, made_at_us = self.waves[found.wave]
        if left > 1:
            self.waves[found.wave] = left - 1, made_at_us
        else:
            del self.waves[found.wave]
        number, _ = self._context.ids.new()
        attempt, turn = row.next_attempt, row.conversation.turn
        row.next_attempt = attempt + 1
        call = (number, row.work_id, turn, attempt, found.call_id, "bulk", made_at_us)
        self._context.ledger.record(
            ("sent", call, 80),
            *([("booked", (number,), 10)] if booked else []),
            ("lined", (number, found.wave, found.line), 20),
            ("claimed", (found.id,), 10),
        )
        return Taken(found.wave, booked)

    async def committed(self) -> None:
        """Keep little in memory of what was taken."""
        if len(self._taken) >= _FORGET_TAKEN:
            taken = set(self._taken)
            await self._context.ledger.committed()
            self._taken -= taken

    # -- inside -----------------------------------------------------------------------------------------------------

    def _asks_the_same(self, row: Row) -> tuple[Orphan | None, bool]:
        """The line for a row, and whether the book has it: one of its own from before comes first."""
        body = self._context.dialect.chat(self._context.request(row), "").body
        assert body is not None
        asks, pending = lost_lines.asks_of(body), row.pending
        own = [asks] if row.conversation.turn else [asks, pending.fingerprint]
        keys = [(lost_lines.own(pending.row_id, pending.variant, one), True) for one in own]
        for key, booked in (*keys, (asks, False)):
            for one in self._reader.unclaimed(key):
                if one.id not in self._taken:
                    return one, booked
        return None, False

    async def _listed(self) -> list[Batch] | Failure:
        """The batches of this folder's runs that its ledger does not know, the oldest first."""
        runs = await to_thread.run_sync(self._reader.runs)
        names, known = {run.run for run in runs}, await to_thread.run_sync(self._reader.batches)
        left = await to_thread.run_sync(self._files_left)
        since_us = 0 if left else min((run.started_at_us for run in runs), default=0)
        batches = await self._asked(partial(self._exchange.listed, self._context.base_url, since_us))
        if isinstance(batches, Failure):
            return batches
        ours = (b for b in batches if b.metadata.get(RUN) in names or b.metadata.get(FILE) in left)
        return [batch for batch in ours if batch.id not in known][::-1]

    async def _asked(self, ask: Callable[[], Awaitable[T | Failure]]) -> T | Failure:
        """The answer to something that the provider is asked, some times where that fails for a passing reason."""
        tries = 0
        while isinstance(found := await ask(), Failure) and found.verdict in ("retry", "once") and tries < TRIES:
            if found.wrong_address or found.kind == "task":
                break
            await self._context.clock.sleep(max(retry.backoff(tries, self._chance), found.retry_after_s or 0.0))
            tries += 1
        return found

    def _files_left(self) -> dict[str, Path]:
        """The files of requests that lie here still, by the hash that their batches carry."""
        found = {}
        for path in sorted(self._folder.bulk.glob("wave-*.jsonl")):
            with files.translated(path), path.open("rb") as file:
                found[hashlib.file_digest(file, "sha256").hexdigest()] = path
        return found

    async def _write_down(self, number: int, batch: Batch, path: Path | None) -> Failure | None:
        """Have the ledger know a batch, with the lines whose answers are in no row."""
        if self._published is None:
            self._published = await to_thread.run_sync(self._count_published)
        paid = await to_thread.run_sync(self._reader.paid_in, batch.id)
        in_rows = self._published[batch.id] - len(paid)
        if batch.total is not None and in_rows >= batch.total:
            return None
        created = batch.created_s or self._context.clock.now_us() / MICROSECONDS
        wave = WaveRow(
            wave=number,
            run=batch.metadata.get(RUN, ""),
            model="",
            base_url=self._context.base_url,
            state=CREATED,
            lines=batch.total or 0,
            size=0,
            digest=batch.metadata.get(FILE, ""),
            made_at_us=int(created * MICROSECONDS),
            file_id=batch.input_file_id,
            batch_id=batch.id,
            told=Told(batch.status, created, batch.expires_s, batch.total, batch.completed, batch.failed),
        )
        if path is None and batch.input_file_id is not None:
            path = self._folder.bulk / f".lost-{number:05d}.jsonl"
            files.make_folder(path.parent)
            failure = await self._asked(partial(self._brought, wave, batch.input_file_id, path))
            if isinstance(failure, Failure) and failure.kind != "task":
                return failure
            path = None if isinstance(failure, Failure) else path
        if path is None:
            lines = lost_lines.lines_of_book(paid.values())
            self._tell_unknown(batch, in_rows + len(lines))
            changes: dict[str, Any] = {}
        else:
            lines, changes = await to_thread.run_sync(self._lines, batch, path, paid)
        if lines:
            await self._register(msgspec.structs.replace(wave, **changes), lines)
        return None

    def _tell_unknown(self, batch: Batch, known: int) -> None:
        """Say, before anything is bought, that rows of a batch may be bought twice, if not all of it is known.

        Some services delete the file of requests when its batch is done. Who asked what is known then only of lines
        whose calls are in the book.

        Args:
            batch: whose file is gone.
            known: how many of its lines have their answers in rows, or can be taken by their rows.
        """
        in_doubt = None if batch.total is None else max(0, batch.total - known)
        if in_doubt != 0:
            many = "its" if in_doubt is None else f"{in_doubt:,} of its"
            why = (
                f"{many} answers are in no file of this folder, and the provider has no file of its requests any more: "
                "the rows that it asked are not known, so they are asked again and may be billed twice"
            )
            logger().warning("lost_batch_unknown", batch=batch.id, lines=batch.total, in_doubt=in_doubt, why=why)

    def _count_published(self) -> Counter[str]:
        """By batch, how many of its calls stand in the book."""
        found: Counter[str] = Counter()
        for run, number in self._reader.call_parts():
            path = self._folder.calls_part(run, number)
            with reading(path), PartReader(path) as file:
                for some in file.iter_batches(columns=["batch_id"]):
                    for each in some.column(0).value_counts().to_pylist():
                        if each["values"] is not None:
                            found[each["values"]] += each["counts"]
        return found

    async def _brought(self, wave: WaveRow, file_id: str, path: Path) -> Failure | bool:
        return await self._exchange.download(wave, file_id, path) or True

    async def _register(self, wave: WaveRow, lines: list[Lost]) -> None:
        build, created = waves.build(wave, []), waves.advance(wave)
        register = orphans.register(wave.wave, lines)

        def change(db: apsw.Connection) -> None:
            build(db)
            created(db)
            register(db)

        await self._context.ledger.execute(change)

    def _lines(self, batch: Batch, path: Path, paid: Mapping[str, Paid]) -> tuple[list[Lost], dict[str, Any]]:
        """The lines of a file whose answers are in no row, and what the file tells of its wave."""
        with files.translated(path):
            lines, model = list(lost_lines.lines_of(path)), lost_lines.model_of(path) or ""
            told = {"model": model, "lines": batch.total or len(lines), "size": path.stat().st_size}
        known = self._reader.known_ids([line.call_id for line in lines])
        booked = self._booked(batch.id)
        left = (line for line in lines if line.call_id not in known)
        return [found for line in left if (found := lost_lines.to_take(line, booked, paid)) is not None], told

    def _booked(self, batch_id: str) -> set[str]:
        """The ids of the calls of a batch that stand in the book."""
        found: set[str] = set()
        for run, number in self._reader.call_parts():
            path = self._folder.calls_part(run, number)
            with reading(path), PartReader(path) as file:
                for some in file.iter_batches(columns=["client_call_id", "batch_id"]):
                    pairs = zip(*(column.to_pylist() for column in some.columns), strict=True)
                    found.update(call_id for call_id, batch in pairs if batch == batch_id)
        return found
