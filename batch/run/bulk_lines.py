"""What the lines of a batch come to: each answer goes to its row, and a row goes on as after any other call.

Owns the way from a file of answers to the rows, a slice at a time: a row is brought back from the ledger, concluded,
and forgotten again. It asks the provider for nothing but the files; which batch has ended is known by `bulk`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import anyio
from anyio import to_thread

from batch.core import failpoints
from batch.core.records import Failure, Reply
from batch.ledger.waves import LineRow, WaveRow, WavesReader
from batch.providers.batch_files import Batch, Line, absent
from batch.run.conclusion import Conclusion
from batch.run.overdue import BatchDeadline
from batch.run.resume import Resumer
from batch.run.schedule import Schedule
from batch.run.state import RunState
from batch.submit.attempt import CallContext
from batch.submit.bulk import BatchExchange, no_slot, refused
from batch.submit.results import masked_result
from batch.submit.rows import Row

SLICE: Final = 200
MOST_OPEN: Final = 2_000
"""Open rows in memory beyond which no further line is read: they go into the next wave, or run their tools."""
LOOK_AGAIN_S: Final = 0.05

Result = Reply | Failure


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
        self._schedule = schedule
        self._state = state
        self._folder = folder
        self._one_at_a_time = anyio.Lock()
        self.conclusion: Conclusion | None = None
        """What follows from a call; set before the run begins."""

    async def collect(self, wave: WaveRow, batch: Batch) -> Failure | None:
        """Conclude every line of a batch that has ended; what keeps a file from being read, or None when all is done.

        Raises:
            StorageError: the disk refused.
        """
        async with self._one_at_a_time:
            found = 0
            for what, file_id in (("output", batch.output_file_id), ("error", batch.error_file_id)):
                if file_id is None:
                    continue
                path = self._folder / f".wave-{wave.wave:05d}-{what}.jsonl"
                failure = await self._exchange.download(wave, file_id, path)
                if failure is not None:
                    return failure
                failpoints.hit("bulk.downloaded")
                found += await self._read(wave, batch, path)
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

    async def give_up(self, wave: WaveRow, failure: Failure) -> None:
        """Conclude every open line of a wave with one failure."""
        async with self._one_at_a_time:
            await self._rest(wave, wave.batch_id, lambda _: failure)

    async def _read(self, wave: WaveRow, batch: Batch, path: Path) -> int:
        """Conclude the lines of a file; how many of them are lines of the wave."""
        found = 0
        try:
            with path.open("rb") as file:
                while not self._state.stopping and (texts := await to_thread.run_sync(_some, file)):
                    lines: dict[str, Line] = {}
                    for text in texts:
                        if (line := self._exchange.files.read_line(text)) is not None:
                            lines.setdefault(line.custom_id, line)  # one that comes again says nothing new
                    ids = list(lines)
                    known = await to_thread.run_sync(self._reader.open_of, wave.wave, ids)
                    found += await to_thread.run_sync(self._reader.known_of, wave.wave, ids)
                    for call_id, line_row in known.items():
                        await self._conclude(line_row, wave, batch.id, lines[call_id].result)
                    await self._slice_done()
        except OSError as exc:
            raise refused(path, exc) from exc
        return found

    async def _rest(self, wave: WaveRow, batch_id: str | None, result: Callable[[LineRow], Result]) -> None:
        """Conclude the lines that are still open."""
        after = -1
        while not self._state.stopping:
            some = await to_thread.run_sync(self._reader.open_after, wave.wave, after, SLICE)
            if not some:
                return
            for line in some:
                await self._conclude(line, wave, batch_id, result(line))
            after = some[-1].call
            await self._slice_done()

    async def _conclude(self, line: LineRow, wave: WaveRow, batch_id: str | None, result: Result) -> None:
        """What follows for one row; nothing awaits between the row and its record."""
        if self._state.stopping:
            return  # it lies in the ledger as before, for the next run
        assert self.conclusion is not None
        await anyio.lowlevel.checkpoint()  # a row costs a millisecond, and others want the loop meanwhile
        lease = no_slot(self._context, line.row.work_id, self._resumer.model_of_variant(line.row.variant))
        row = self._resumer.rebuild(line.row, lease, in_batch=line.call)
        call, row.call = row.call, None
        if call is None:
            return
        call.batch_id = batch_id
        if (target := self._exchange.target(wave)).name is not None:
            call.target, row.endpoint = target, target.name
        self._schedule.come_back(row)
        result = masked_result(self._deadline.renamed(wave, result))
        self.conclusion.conclude(row, call, result, last=self._deadline.over(wave))
        failpoints.hit("bulk.line")

    async def _slice_done(self) -> None:
        """Go on when what was concluded is durable, and few rows are in memory."""
        await self._context.ledger.committed()
        while self._schedule.open > MOST_OPEN and not self._state.stopping:
            await self._context.clock.sleep(LOOK_AGAIN_S)


def _some(file: IO[bytes]) -> list[bytes]:
    """The next lines of a file; empty at its end."""
    return [text for text in (file.readline() for _ in range(SLICE)) if text]
