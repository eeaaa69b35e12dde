"""What the lines of a batch come to: each answer goes to its row, and a row goes on as after any other call.

Owns the way from a file of answers to the rows, a slice at a time: what the ledger and the spills have of the rows of a
slice is read at once, in a thread; then each row is brought back, concluded as after any other call, and forgotten
again, and what they came to is committed together. It asks the provider for nothing but the files; which batch has
ended is known by `bulk`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

import anyio
from anyio import to_thread

from batch.core import failpoints
from batch.core.records import Failure, Reply
from batch.ledger.waves import LineRow, WaveRow, WavesReader
from batch.providers.batch_files import Batch, Line, absent
from batch.run.conclusion import Conclusion
from batch.run.overdue import BatchDeadline
from batch.run.resume import Known, Resumer
from batch.run.schedule import Schedule
from batch.run.state import RunState
from batch.submit.attempt import CallContext
from batch.submit.bulk import BatchExchange, no_slot, refused
from batch.submit.results import masked_result
from batch.submit.rows import Row
from batch.submit.wave_holds import WaveHolds

SLICE: Final = 500
"""Lines that are brought back together, at most."""
SLICE_BYTES: Final = 4 << 20
"""Of answers, or of what their rows ask, likewise; a single line may have more."""
TOGETHER: Final = 25
"""Rows that are concluded before anybody else gets the event loop: some milliseconds."""
MOST_LEFT: Final = 1_000
"""Open rows in memory beyond which no further line without an answer is brought back, or twice as many as slots: they
wait to be sent the other way, or for the next file."""
MOST_BACK: Final = 1_000
"""So many more, and no further answer is: its row has a next turn, or runs its tools."""
LOOK_AGAIN_S: Final = 0.05

Result = Reply | Failure


class Back(NamedTuple):
    """One line that is brought back: its row, what is known of that, and what the line came to."""

    line: LineRow
    known: Known
    result: Result


class Lines:
    """Brings what the lines of batches came to to their rows; one wave at a time.

    Args:
        reader: the ledger; it belongs to this object.
        resumer: brings back a row.
        context: books calls.
        exchange: downloads files.
        deadline: says which batches took too long.
        schedule: takes the rows that go on.
        state: says whether the run is to end.
        folder: where downloads lie meanwhile.

    Attributes:
        holds: what lines hold of the budget.
    """

    def __init__(
        self,
        reader: WavesReader,
        resumer: Resumer,
        context: CallContext,
        exchange: BatchExchange,
        *,
        deadline: BatchDeadline,
        schedule: Schedule[Row],
        state: RunState,
        folder: Path,
    ) -> None:
        self._deadline = deadline
        self._reader = reader
        self._resumer = resumer
        self._context = context
        self._exchange = exchange
        self.holds = WaveHolds(context)
        self._schedule = schedule
        self._state = state
        self._folder = folder
        self._one_at_a_time = anyio.Lock()
        self._one_leaves = anyio.Lock()
        self._one_reads = anyio.Lock()
        self._most_left = max(MOST_LEFT, 2 * context.limiter.concurrency)
        self._most_open = self._most_left + MOST_BACK
        self.partly: Collection[int] = ()
        """Waves of which not every line has a row here."""
        self.conclusion: Conclusion | None = None
        """What follows from a call; set before the run begins."""

    async def collect(self, wave: WaveRow, batch: Batch) -> Failure | None:
        """Conclude every line of a batch that has ended; what keeps a file from being read, or None when all is done.

        Raises:
            StorageError: the disk refused.
        """
        found, paths = 0, []
        async with self._one_at_a_time:
            for what, file_id in (("output", batch.output_file_id), ("error", batch.error_file_id)):
                if file_id is None:
                    continue
                path = self._folder / f".wave-{wave.wave:05d}-{what}.jsonl"
                failure = await self._exchange.download(wave, file_id, path)
                if failure is not None:
                    return failure
                failpoints.hit("bulk.downloaded")
                paths.append(path)
                found += await self._read(wave, batch, path, answers=True)
        # What has no answer may have to wait for a lane that is busy for hours; answers of other batches do not.
        async with self._one_leaves:
            for path in paths:
                await self._read(wave, batch, path, answers=False)
                path.unlink(missing_ok=True)
            named = {error.line: error for error in batch.errors if error.line is not None}

            def result(line: LineRow) -> Result:
                error = named.get(line.line) if batch.status == "failed" else None
                if error is None:
                    return absent(batch, found=found, asked=wave.lines)
                message = f"line {line.line} of batch {batch.id} was refused: {error.message}"
                return Failure(kind="bad_request", verdict="fail", code=error.code, message=message)

            await self._rest(wave, batch.id, result)
        return None

    def hold(self, wave: WaveRow) -> None:
        """Have the open lines of a wave that an earlier process sent hold what they can come to; before the run begins.

        Raises:
            StorageError: the ledger or a spill cannot be read.
        """
        after, most = -1, _slice_of(wave)
        while lines := self._reader.open_after(wave.wave, after, most):
            after = lines[-1].call
            for line, known in zip(lines, self._known(lines), strict=True):
                call = next(call for call in known.journal.calls if call.call == line.call)
                if not call.booked:
                    self.holds.adopt(wave.wave, self._resumer.as_asked(line.row, known), call.sent_at_us)

    async def give_up(self, wave: WaveRow, failure: Failure) -> None:
        """Conclude every open line of a wave with one failure."""
        async with self._one_leaves:
            await self._rest(wave, wave.batch_id, lambda _: failure)

    async def _read(self, wave: WaveRow, batch: Batch, path: Path, *, answers: bool) -> int:
        """Conclude the lines of a file, those with an answer or the others; how many of all are lines of the wave."""
        found, most = 0, _slice_of(wave)
        # Of a batch that was lost with a ledger, lines that were booked before are in the book alone.
        whole = wave.wave not in self.partly and self._reader.lines_of(wave.wave) >= wave.lines
        try:
            with path.open("rb") as file:
                while not self._state.stopping and (texts := await to_thread.run_sync(_some, file, most)):
                    async with self._one_reads:
                        some, known = await to_thread.run_sync(self._answered, wave, texts, whole)
                    found += known
                    wanted = [back for back in some if isinstance(back.result, Reply) is answers]
                    await self._conclude(wanted, wave, batch.id, most=self._most_open if answers else self._most_left)
        except OSError as exc:
            raise refused(path, exc) from exc
        return found

    def _answered(self, wave: WaveRow, texts: list[bytes], whole: bool) -> tuple[list[Back], int]:
        """The open lines that some lines of a file answer, and how many of these are lines of the wave at all.

        Args:
            wave: which one.
            texts: lines of a file of answers.
            whole: whether the ledger knows every line of the wave.
        """
        lines: dict[str, Line] = {}
        for text in texts:
            if (line := self._exchange.files.read_line(text)) is not None:
                lines.setdefault(line.custom_id, line)  # one that comes again says nothing new
        found, known = self._reader.found_of(wave.wave, lines.keys())
        some = self._with_rows([(line, lines[call_id].result) for call_id, line in found.items()])
        return some, known if whole else len(lines)

    async def _rest(self, wave: WaveRow, batch_id: str | None, result: Callable[[LineRow], Result]) -> None:
        """Conclude the lines that are still open."""
        after, most = -1, _slice_of(wave)
        while not self._state.stopping:
            async with self._one_reads:
                some = await to_thread.run_sync(self._left, wave, after, most, result)
            if not some:
                return
            after = some[-1].line.call
            await self._conclude(some, wave, batch_id, most=self._most_left)

    def _left(self, wave: WaveRow, after: int, most: int, result: Callable[[LineRow], Result]) -> list[Back]:
        lines = self._reader.open_after(wave.wave, after, most)
        return self._with_rows([(line, result(line)) for line in lines])

    def _with_rows(self, lines: list[tuple[LineRow, Result]]) -> list[Back]:
        """These lines with what is known of their rows, read at once."""
        known = self._known([line for line, _ in lines])
        return [Back(line, one, result) for (line, result), one in zip(lines, known, strict=True)]

    def _known(self, lines: Sequence[LineRow]) -> list[Known]:
        rows = [line.row for line in lines]
        journals = self._reader.journals([row.work_id for row in rows])
        return [
            Known(asked, journals[row.work_id]) for row, asked in zip(rows, self._resumer.requests(rows), strict=True)
        ]

    async def _conclude(self, some: list[Back], wave: WaveRow, batch_id: str | None, *, most: int) -> None:
        """What follows for some rows; go on when that is durable, and few rows are in memory."""
        for place, back in enumerate(some):
            if place % TOGETHER == 0:
                await anyio.lowlevel.checkpoint()
            if self._state.stopping:
                return  # the others lie in the ledger as before, for the next run
            self._conclude_one(back, wave, batch_id)
        await self._slice_done(most)

    def _conclude_one(self, back: Back, wave: WaveRow, batch_id: str | None) -> None:
        """What follows for one row; nothing awaits between the row and its record."""
        assert self.conclusion is not None
        line = back.line
        lease = no_slot(self._context, line.row.work_id, self._resumer.model_of_variant(line.row.variant))
        row = self._resumer.rebuild(line.row, lease, in_batch=line.call, known=back.known)
        call, row.call = row.call, None
        if call is None:
            return
        call.batch_id = batch_id
        if (target := self._exchange.target(wave.base_url)).name is not None:
            call.target, row.endpoint = target, target.name
        if not call.booked:
            self.holds.hand_over(wave.wave, row, call)
        self._schedule.come_back(row)
        result = masked_result(self._deadline.renamed(wave, back.result))
        self.conclusion.conclude(row, call, result, last=self._deadline.over(wave))
        failpoints.hit("bulk.line")

    async def _slice_done(self, most: int) -> None:
        """Go on when what was concluded is durable, and few rows are in memory."""
        await self._context.ledger.committed()
        while self._schedule.open > most and not self._state.stopping:
            await self._context.clock.sleep(LOOK_AGAIN_S)


def _slice_of(wave: WaveRow) -> int:
    """How many lines of a wave are brought back together."""
    return max(1, min(SLICE, SLICE_BYTES * wave.lines // max(1, wave.size)))


def _some(file: IO[bytes], most: int) -> list[bytes]:
    """The next lines of a file, so many at most; empty at its end."""
    texts: list[bytes] = []
    left = SLICE_BYTES
    while len(texts) < most and left > 0 and (text := file.readline()):
        texts.append(text)
        left -= len(text)
    return texts
