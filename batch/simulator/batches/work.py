"""What the lines of a batch come to: answered by the model, booked at batch price, and written into files.

It is done when somebody asks after the end of the batch, or looks into the books, and as if it had been done in time:
the moments in the books are those at which the lines were done. Owns that work, and how files are spoilt on purpose.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from batch.simulator.batches.batch import FINAL, Batch
from batch.simulator.batches.files import StoredFile
from batch.simulator.batches.lines import Line, check
from batch.simulator.call import Call, Dialect
from batch.simulator.chance import chance, digest64
from batch.simulator.provider import Provider
from batch.simulator.wire import Line as Connection
from batch.simulator.wire import Reply

_SLICE = 100
_TIER = "batch"
_FAILED = Reply(500, b'{"error":{"code":"500","message":"internal error","type":"server_error","param":null}}')


class Work:
    """Works on batches that have ended, each once."""

    def __init__(self, provider: Provider, dialects: dict[str, Dialect]) -> None:
        """Work for this provider, whose dialects go by their names."""
        self._provider = provider
        self._dialects = dialects
        self._one_at_a_time = asyncio.Lock()

    async def settle_all(self) -> float:
        """Work on every batch that has ended by now; the moment of that, at which none has that is not worked on."""
        now = self._provider.clock.monotonic()
        for batch in self._provider.batches.unsettled(now):
            await self.settle(batch)
        return now

    async def settle(self, batch: Batch) -> float:
        """Work on a batch if it has ended by now; other requests are served in between.

        Returns:
            The moment that counted as now. Whoever tells of the batch tells how it stood then: a moment later it may
            have ended, and its files are not written.
        """
        async with self._one_at_a_time:
            now = self._provider.clock.monotonic()
            status = batch.status(now)
            if batch.settled or status not in FINAL:
                return now
            if status != "failed":
                await self._write(batch, status)
            batch.settled = True
            batch.asked = None
            file = self._provider.files.find(batch.input_file_id, batch.key_id)
            if status == "completed" and batch.auto_delete and file is not None:
                self._provider.files.delete(file)
            return now

    async def _write(self, batch: Batch, status: str) -> None:
        form = self._dialects[batch.dialect].files
        good, bad = _Out(), _Out()
        finished = batch.finished_lines()
        text = batch.asked.read() if batch.asked is not None else b""
        # Read anew, for as long as it waits a batch takes no memory but for its state.
        lines = (await check(text, batch.endpoint, max(1, batch.total))).lines
        for place, position in enumerate(finished):
            if place % _SLICE == 0:
                await asyncio.sleep(0)
            line = lines[position]
            reply, number, record = self._answer(batch, line, batch.done_at(position) + batch.wall)
            out = good if reply.status == 200 else bad
            batch.failed_lines += out is bad
            written = form.answered(batch, line.custom_id, number, reply)
            struck = batch.spoilt and chance(batch.seed, position, 1) < batch.spoilt_share
            out.add(written, record, batch.spoilt if struck else "")
        if batch.spoilt == "unknown":
            stranger = form.answered(batch, "nobody-asked-this", 0, Reply(200, b'{"choices":[]}'))
            good.add(stranger, None, "")
        if status == "expired":
            done = set(finished)
            for position, line in enumerate(lines):
                late = None if position in done else form.expired(batch, line.custom_id, position)
                if late is not None:
                    bad.add(late, None, "")
        batch.output_file_id = self._stored(batch, good, "output", 1)
        batch.error_file_id = self._stored(batch, bad, "error", 2)

    def _answer(self, batch: Batch, line: Line, at: float) -> tuple[Reply, int, int]:
        """What a line is answered with, its number in the books, and the place of its record."""
        provider, dialect = self._provider, self._dialects[batch.dialect]
        entry = provider.new_entry(dialect.name, "line")
        entry.key_id, entry.at, entry.model, entry.batch = batch.key_id, at, batch.model, batch.id
        call = Call(entry, "POST", "/chat/completions", {}, line.body, Connection(None), provider.clock.monotonic())
        reply = self._asked(call, dialect, line.custom_id, errors_only=batch.spoilt == "errors_only")
        entry.status, entry.tier, entry.client_call_id = reply.status, _TIER, line.custom_id
        return reply, entry.number, provider.books.add(entry)

    def _asked(self, call: Call, dialect: Dialect, custom_id: str, *, errors_only: bool) -> Reply:
        provider, entry = self._provider, call.entry
        if errors_only:
            return _FAILED
        ask = dialect.read(call)
        if isinstance(ask, Reply):
            return ask
        entry.tier, entry.client_call_id, call.request_id = "", custom_id, custom_id
        dialect.name_reply(call)
        conversation = digest64(msgspec.json.encode([ask.model, ask.messages]))
        rows = provider.selector.rows_of(ask.model, ask.messages)
        strikes = provider.strikes_on(call, dialect, conversation, rows, ask=ask)
        refused = provider.refused_by(call, strikes)
        if refused is not None:
            return refused
        completion, usage = provider.model.work(entry.key_id, ask)
        provider.bill(entry, usage)
        body = provider.changed(call, strikes, dialect.answer(call, ask, completion, usage))
        return Reply(200, msgspec.json.encode(body))

    def _stored(self, batch: Batch, out: _Out, what: str, number: int) -> str | None:
        """The id of a file that a batch brought forth; None when there is nothing in it."""
        if not out.data:
            return None
        dialect = self._dialects[batch.dialect]
        made = batch.course.done + batch.wall
        file_id = dialect.files.ids(batch.number + number, made)[0]
        name = f"{batch.id}_{what}.jsonl"
        records = tuple(out.records)
        files = self._provider.files
        file = StoredFile(file_id, batch.key_id, name, "batch_output", files.contents.keep(out.data), made, records)
        files.add(file)
        if what == "output":
            batch.usage = self._provider.books.tokens_of(records)
        return file_id


class _Out:
    """A file of answers as it grows."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.records: list[int] = []

    def add(self, line: dict[str, Any], record: int | None, spoilt: str) -> None:
        """Write a line, unless it is to be missing.

        Args:
            line: what it says.
            record: its place in the books; None for one that nobody is billed for.
            spoilt: `missing`, `repeated` or `broken` for a line that is spoilt so.
        """
        text = msgspec.json.encode(line)
        if spoilt == "broken":
            text = text[: len(text) // 2]
        if spoilt != "missing":
            self.data += text + b"\n"
        if spoilt == "repeated":
            self.data += text + b"\n"
        if record is not None and spoilt not in ("missing", "broken"):
            self.records.append(record)
