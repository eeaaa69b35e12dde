"""Lane `bulk`: one file of requests, from its first line to the file of its answers.

Owns the file as it grows and the exchanges about it; each is one request and what came of it. Calls are written down
with their wave in one transaction before anything is uploaded, so a file that was not finished never was. When a wave
goes on, and what follows from its lines, is `run.bulk`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from anyio import to_thread

from batch.core.durable import AtomicFile
from batch.core.errors import StorageError, WireError
from batch.core.records import Failure, Incoming, Outgoing
from batch.core.redaction import redact
from batch.http.download import Download
from batch.ledger.waves import LineCall, WaveRow
from batch.limits.lease import Lease
from batch.providers.batch_files import Batch, BatchFiles
from batch.submit import wave_wire
from batch.submit.attempt import CallContext
from batch.submit.results import failure_of, located
from batch.submit.rows import Row
from batch.submit.targets import Target, stored_parts, target_at

FILE_BYTES: Final = 32 << 20
"""A file is closed before it is larger than this: while it is uploaded it lies in memory."""
FILE_LOST: Final = "file_lost"
"""Code of calls whose file was lost before it was uploaded."""
NOT_SENT: Final = "not_sent"
"""Code of calls whose lane was changed before their file was sent."""
OVERDUE: Final = "batch_overdue"
"""Code of calls whose batch had not come to them in the time of `[bulk] deadline`."""
QUEUE_FULL: Final = frozenset({"token_limit_exceeded", "request_limit_exceeded"})
"""Codes of a batch for which the provider's queue had no room."""
STAYS: Final = QUEUE_FULL | {FILE_LOST}
"""Codes after which a row goes into another batch, also where another lane could take it: it was never offered."""
IDLE_S: Final = 120.0
"""Seconds without a byte after which a download is given up."""
RUN: Final = "promptmill_run"
FILE: Final = "promptmill_file"
"""Members of the metadata of a batch: the run that made it, and the hash of its file."""
_PAGES: Final = 200
_EARLY_S: Final = 3_600.0
"""How much older than its intent a batch may look that is looked for: the clocks may differ."""


class OpenWave:
    """A batch file that is still being written.

    Args:
        number: of the wave.
        path: where the file will lie.
        model: that of all its lines.
        began: monotonic seconds.

    Attributes:
        calls: its lines so far, in their order.
        size: their bytes.
    """

    def __init__(self, number: int, path: Path, *, model: str, began: float) -> None:
        self.number = number
        self.path = path
        self.model = model
        self.began = began
        self.calls: list[LineCall] = []
        self.size = 0
        self._hash = sha256()
        self._file = AtomicFile(path)
        try:
            path.parent.mkdir(exist_ok=True)
            self._out = self._file.open()
        except OSError as exc:
            raise refused(path, exc) from exc

    def fits(self, size: int, lines: int) -> bool:
        """Whether a line of so many bytes still fits into a file of at most so many lines."""
        return len(self.calls) < lines and (not self.calls or self.size + size <= FILE_BYTES)

    def add(self, text: bytes, call: LineCall) -> None:
        """Write a line.

        Raises:
            StorageError: the disk refused.
        """
        try:
            self._out.write(text)
        except OSError as exc:
            raise refused(self.path, exc) from exc
        self._hash.update(text)
        self.size += len(text)
        self.calls.append(call)

    def seal(self) -> str:
        """Make the file durable and return the hash of it; nothing more is added.

        Raises:
            StorageError: the disk refused.
        """
        try:
            self._file.commit()
        except OSError as exc:
            raise refused(self.path, exc) from exc
        return self._hash.hexdigest()

    def abandon(self) -> None:
        """Leave nothing behind: no line of it was written down."""
        self._file.abandon()


def refused(path: Path, exc: OSError) -> StorageError:
    """The error of a batch file that the disk refused."""
    return StorageError(f"{path}: {exc.strerror}. Free space or mend the disk, then run the same command again.")


def line_call(context: CallContext, row: Row, at_us: int | None = None) -> LineCall:
    """The call that asks the next turn of a row in a batch.

    Args:
        context: numbers the calls.
        row: which one.
        at_us: when it counts as sent; None for now.
    """
    number, call_id = context.ids.new()
    attempt = row.next_attempt
    row.next_attempt = attempt + 1
    at_us = context.clock.now_us() if at_us is None else at_us
    return LineCall(number, row.work_id, row.conversation.turn, attempt, call_id, at_us)


def no_slot(context: CallContext, work_id: int, model: str) -> Lease:
    """What a call in a batch has in place of a slot: it takes none, for the provider counts such calls apart.

    Args:
        context: with the limits.
        work_id: number of the row.
        model: which it asks.
    """
    now = context.clock.monotonic()
    lease = Lease(context.limiter, context.limiter.model(model), now, 0, row=work_id, weight=None)
    lease.open = False
    return lease


class BatchExchange:
    """The exchanges about waves.

    Args:
        context: its clients, by base URL, and its dialect.
    """

    def __init__(self, context: CallContext) -> None:
        self._context = context
        self.files = BatchFiles(context.dialect)
        self._turns = 0

    def next_target(self, model: str) -> Target:
        """Where the next batch goes: to each address in turn, but for those that are out."""
        members = self._context.limiter.model(model).members
        names: list[str | None] = [one.endpoint for one in members if not one.out]
        names = names or [*self._context.targets]
        self._turns += 1
        return self._context.targets[names[(self._turns - 1) % len(names)]]

    def target(self, place: str) -> Target:
        """Where the batch of a wave is, by what the wave has as its address."""
        return target_at(place, self._context.targets, self._context.target)

    def _files(self, place: str) -> BatchFiles:
        target = self.target(place)
        return self.files if target is self._context.target else BatchFiles(target.dialect)

    async def upload(self, wave: WaveRow, path: Path) -> str | Failure:
        """The id of the file of a wave, uploaded now.

        Args:
            wave: which one.
            path: its file.

        Raises:
            StorageError: the file cannot be read.
        """
        data = await to_thread.run_sync(_read, path, wave)
        if data is None:
            message = (
                f"{path.name} is gone, or not as it was written: nothing of it was sent, and its rows go into another"
            )
            return Failure(kind="transport", verdict="retry", code=FILE_LOST, message=message, sent=False)
        files = self._files(wave.base_url)
        outgoing = files.upload(path.name, data)
        del data
        incoming = await self._exchange(wave.base_url, outgoing, wave_wire.name_of(wave))
        if isinstance(incoming, Failure):
            return incoming
        result = files.read_upload(incoming)
        return _refusal(result, wave.base_url, outgoing) if isinstance(result, Failure) else result

    async def create(self, wave: WaveRow) -> Batch | Failure:
        """The batch of a wave, made now of the file that was uploaded."""
        assert wave.file_id is not None
        return await self._batch(wave, self._files(wave.base_url).create(wave.file_id, metadata(wave)))

    async def find(self, wave: WaveRow) -> Batch | Failure | None:
        """The batch of a wave whose creation may have been done unheard; None when there is none.

        The list is read back to the time at which the wave was written down. One that goes on for longer than anybody
        reads says nothing: a batch that is made anew would be bought twice.
        """
        wanted = metadata(wave)

        def is_it(batch: Batch) -> bool:
            return all(batch.metadata.get(name) == value for name, value in wanted.items())

        found = await self.listed(wave.base_url, wave.made_at_us, is_it)
        return found if isinstance(found, Failure) else next(filter(is_it, found), None)

    async def listed(
        self, base_url: str, since_us: int, enough: Callable[[Batch], bool] = lambda _: False
    ) -> list[Batch] | Failure:
        """The batches of the key that were made since a moment, and some more, the newest first.

        Args:
            base_url: where.
            since_us: the moment, in microseconds of UTC.
            enough: whether nothing behind a batch need be read any more.
        """
        found: list[Batch] = []
        after, files = None, self._files(base_url)
        for _ in range(_PAGES):
            outgoing = files.page(after)
            incoming = await self._exchange(base_url, outgoing, "list of batches")
            if isinstance(incoming, Failure):
                return incoming
            page = files.read_page(incoming)
            if isinstance(page, Failure):
                return _refusal(page, base_url, outgoing)
            batches, more = page
            found += batches
            oldest = batches[-1].created_s if batches else None
            if not more or (oldest is not None and oldest < since_us / 1e6 - _EARLY_S) or any(map(enough, batches)):
                return found
            if batches[-1].id == after:
                return found  # the same page again: the service does not turn pages, and has shown what it shows
            after = batches[-1].id
        message = f"{stored_parts(base_url)[0]}: the list of batches goes on after {_PAGES} pages"
        return Failure(kind="server", verdict="retry", code="endless_list", message=message)

    async def retrieve(self, wave: WaveRow) -> Batch | Failure:
        """The batch of a wave as it stands."""
        assert wave.batch_id is not None
        return await self._batch(wave, self._files(wave.base_url).retrieve(wave.batch_id))

    async def cancel(self, wave: WaveRow) -> Batch | Failure:
        """Tell the provider to cancel the batch of a wave; the batch as it stands then, which may take its time."""
        assert wave.batch_id is not None
        return await self._batch(wave, self._files(wave.base_url).cancel(wave.batch_id))

    async def download(self, wave: WaveRow, file_id: str, path: Path) -> Failure | None:
        """Bring a file of a wave to the disk; what is wrong, or None when it is whole.

        Raises:
            StorageError: the disk refused.
        """
        files, log = self._files(wave.base_url), self._context.wire_log
        outgoing = files.content(file_id)
        call = wave_wire.WaveCall(wave_wire.name_of(wave), wave.base_url, self._context.clock.monotonic())
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as file:
                taker = Download(file, self._context.clock, first_s=self._context.policy.call_timeout_s, idle_s=IDLE_S)
                try:
                    client = self._context.client_for(self.target(wave.base_url).base_url)
                    incoming = await client.exchange(outgoing, stream=taker)
                except WireError as exc:
                    if taker.fault is not None:
                        raise taker.fault from exc
                    failure = failure_of(exc)
                    wave_wire.tell(log, call, outgoing, failure)
                    return failure
                if taker.fault is not None:  # an answer that came in one piece is whole all the same
                    raise taker.fault
        except OSError as exc:
            raise refused(path, exc) from exc
        if log is not None:
            told = await to_thread.run_sync(wave_wire.brought, incoming, path) if taker.taken else incoming
            wave_wire.tell(log, call, outgoing, told)
        return None if taker.taken else _refusal(files.read_refusal(incoming), wave.base_url, outgoing)

    async def _batch(self, wave: WaveRow, outgoing: Outgoing) -> Batch | Failure:
        """The batch that a request about a wave is answered with."""
        incoming = await self._exchange(wave.base_url, outgoing, wave_wire.name_of(wave))
        if isinstance(incoming, Failure):
            return incoming
        result = self.files.read_batch(incoming)
        return _refusal(result, wave.base_url, outgoing) if isinstance(result, Failure) else result

    async def _exchange(self, base_url: str, outgoing: Outgoing, name: str) -> Incoming | Failure:
        began = self._context.clock.monotonic()
        result: Incoming | Failure
        try:
            result = await self._context.client_for(self.target(base_url).base_url).exchange(outgoing)
        except WireError as exc:
            result = failure_of(exc)
        wave_wire.tell(self._context.wire_log, wave_wire.WaveCall(name, base_url, began), outgoing, result)
        return result


def metadata(wave: WaveRow) -> dict[str, str]:
    """What a batch carries by which it is known again."""
    return {RUN: wave.run, "promptmill_wave": str(wave.wave), FILE: wave.digest}


def _refusal(failure: Failure, base_url: str, outgoing: Outgoing) -> Failure:
    told: Failure = located(failure, stored_parts(base_url)[0], outgoing.path)  # type: ignore[assignment]  # it gives back its kind
    return msgspec.structs.replace(told, message=redact(told.message))


def _read(path: Path, wave: WaveRow) -> bytes | None:
    """The file of a wave; None when it is gone, or not as it was written."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise refused(path, exc) from exc
    return data if sha256(data).hexdigest() == wave.digest else None
