"""What happens to a request about files or batches, in either dialect: from its arrival to its answer.

Owns that course. What the lines of a batch come to is `work`'s, the state of a batch `batch`'s, the wire forms the
dialects'.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from batch.simulator.batches import lines, multipart, paths
from batch.simulator.batches.batch import FINAL, Batch, Course
from batch.simulator.batches.files import StoredFile, page
from batch.simulator.batches.form import Form
from batch.simulator.batches.work import Work
from batch.simulator.call import Call, Dialect
from batch.simulator.chance import digest64, mixed
from batch.simulator.dialects import checks
from batch.simulator.faults.behaviour import BatchFate, Strike
from batch.simulator.faults.register import BEHAVIOURS
from batch.simulator.provider import Provider
from batch.simulator.wire import Reply, json_reply

_PAGE, _LONGEST_PAGE = 20, 100
_METADATA = (16, 64, 512)  # pairs, characters of a key, characters of a value
_CHECKING, _WRITING = 0.1, 0.1  # of the time that a batch takes, before its lines and after them


class Desk:
    """Serves files and batches of one provider."""

    def __init__(self, provider: Provider, dialects: list[Dialect]) -> None:
        """Open for this provider, which speaks these dialects."""
        self._provider = provider
        self._rules = provider.scenario.batches
        self.work = Work(provider, {dialect.name: dialect for dialect in dialects})

    async def serve(self, call: Call, dialect: Dialect) -> Reply:
        """Answer a request on a route of `paths`, from a key that may ask."""
        provider, form = self._provider, dialect.files
        conversation = digest64(call.body or f"{call.method} {call.path}".encode())
        rows = provider.selector.rows_of("", [{"role": "user", "content": self._label(call)}])
        strikes = provider.strikes_on(call, dialect, conversation, rows)
        refused = provider.refused_by(call, strikes)
        if refused is not None:
            return refused
        serve = getattr(self, f"_{call.entry.route}")
        reply: Reply = await serve(call, form, strikes)
        return provider.wired(call, strikes, reply)

    def _label(self, call: Call) -> str:
        """The text by which the `rows` of a scenario may name a request: its path, of a creation the file's name."""
        file = None
        if call.entry.route == "create":
            body = checks.decoded(call.body) or {}
            file = self._provider.files.find(str(body.get("input_file_id")), call.entry.key_id)
        return call.path if file is None else file.name

    async def _upload(self, call: Call, form: Form, _strikes: list[Strike]) -> Reply:
        found = multipart.fields(call.headers.get(b"content-type", b""), call.body)
        if found is None:
            return form.refused("no_form", param="file", detail="the body is not multipart/form-data")
        for name in ("purpose", "file"):
            if name not in found:
                return form.refused("missing", param=name)
        most = self._rules.file_bytes or form.file_bytes
        sent = found["file"]
        if len(sent.data) > most:
            return form.refused("too_large", param="file", detail=f"{len(sent.data)} bytes; at most {most} are taken")
        entry = call.entry
        file_id, _ = form.ids(self._number(call), entry.at)
        purpose = found["purpose"].data.decode("utf-8", "replace")
        files, name = self._provider.files, sent.filename or "upload"
        file = StoredFile(file_id, entry.key_id, name, purpose, files.contents.keep(sent.data), entry.at)
        files.add(file)
        return self._json(call, form.file(file))

    async def _files(self, call: Call, form: Form, _strikes: list[Strike]) -> Reply:
        if name := paths.named(call.path):
            file = self._provider.files.find(name, call.entry.key_id)
            return self._json(call, form.file(file)) if file else form.refused("no_file", param="id", detail=name)
        asked = parse_qs(call.query)
        mine = self._provider.files.of(call.entry.key_id, asked.get("purpose", [None])[0])
        if asked.get("order") != ["asc"]:
            mine.reverse()
        found = self._page([file.id for file in mine], asked, form)
        return found if isinstance(found, Reply) else self._json(call, form.files(mine[found[0]], found[1]))

    async def _content(self, call: Call, form: Form, _strikes: list[Strike]) -> Reply:
        name = paths.named(call.path)
        await self.work.settle_all()
        file = self._provider.files.find(name, call.entry.key_id)
        if file is None:
            return form.refused("no_file", param="id", detail=name)
        call.sends = file
        return Reply(200, file.content.read(), (), b"application/octet-stream")

    async def _delete(self, call: Call, form: Form, _strikes: list[Strike]) -> Reply:
        name = paths.named(call.path)
        file = self._provider.files.find(name, call.entry.key_id)
        if file is None:
            return form.refused("no_file", param="id", detail=name)
        self._provider.files.delete(file)
        return self._json(call, {"id": name, "object": "file", "deleted": True})

    async def _create(self, call: Call, form: Form, strikes: list[Strike]) -> Reply:
        provider, key_id = self._provider, call.entry.key_id
        body = checks.decoded(call.body)
        if body is None:
            return form.refused("invalid", detail="the body is not a JSON object")
        refused = _wrong(body, form)
        if refused is not None:
            return refused
        file = provider.files.find(body["input_file_id"], key_id)
        if file is None or file.purpose != "batch":
            return form.refused("no_file", param="input_file_id", detail=body["input_file_id"])
        checked = await lines.check(file.content.read(), form.endpoint, self._rules.lines)
        checked = self._enqueued(checked, key_id)
        if form.refuses_full_queue and any("limit_exceeded" in error.code for error in checked.errors):
            return form.refused("queue_full")
        fate = BatchFate()
        for strike in strikes:
            change = BEHAVIOURS[strike.fault.behaviour].batch
            if change is not None:
                fate = change(strike, fate)
                provider.applied(call, strike)
        batch = self._made(call, form, body, checked, fate)
        provider.batches.add(batch)
        return self._json(call, form.batch(batch, batch.course.created - 1.0, fresh=True))

    def _enqueued(self, checked: lines.Checked, key_id: str) -> lines.Checked:
        """The file as it was checked, or refused because the queue of its model has no room for it."""
        rules = self._rules
        if checked.errors or (rules.enqueued_lines is None and rules.enqueued_tokens is None):
            return checked
        now = self._provider.clock.monotonic()
        held, tokens = self._provider.batches.enqueued(key_id, checked.model, now)
        code, limit = "", 0
        if rules.enqueued_lines is not None and held + len(checked.lines) > rules.enqueued_lines:
            code, limit = "request_limit_exceeded", rules.enqueued_lines
        asked = tokens + sum(line.prompt for line in checked.lines)
        if rules.enqueued_tokens is not None and asked > rules.enqueued_tokens:
            code, limit = "token_limit_exceeded", rules.enqueued_tokens
        if not code:
            return checked
        message = lines.CODES[code].format(model=checked.model, limit=f"{limit:,}")
        return lines.Checked([], checked.model, [lines.LineError(code, message)])

    def _made(self, call: Call, form: Form, body: dict[str, Any], checked: lines.Checked, fate: BatchFate) -> Batch:
        provider, number = self._provider, self._number(call)
        file = provider.files.find(body["input_file_id"], call.entry.key_id)
        if fate.ends == "failed" and not checked.errors:
            checked = lines.Checked([], checked.model, _spoilt_lines(checked.lines, fate, number))
        now, seed = provider.clock.monotonic(), mixed(provider.scenario.seed, number)
        seconds = provider.waits.seconds(provider.scenario.latency.batch_ms, seed, 0)
        course = Course(
            created=now,
            begun=now + seconds * _CHECKING,
            worked=now + seconds * (1 - _WRITING),
            done=now + seconds,
            window_ends=now + self._rules.window_s,
            finalize_s=seconds * _WRITING,
            ends="failed" if checked.errors else fate.ends,
            share=fate.share,
        )
        return Batch(
            id=form.ids(number, call.entry.at)[1],
            key_id=call.entry.key_id,
            dialect=call.entry.dialect,
            endpoint=form.endpoint,
            input_file_id=body["input_file_id"],
            window=body.get("completion_window"),
            metadata=body.get("metadata"),
            model=checked.model,
            asked=None if checked.errors or file is None else file.content,
            errors=checked.errors,
            course=course,
            wall=provider.clock.wall() - now,
            seed=seed,
            number=number,
            spoilt=fate.spoilt,
            spoilt_share=fate.spoilt_share,
            auto_delete=form.refuses_full_queue and body.get("auto_delete_input_file") is not False,
            prompt=sum(line.prompt for line in checked.lines),
            total=len(checked.lines),
        )

    async def _batch(self, call: Call, form: Form, _strikes: list[Strike]) -> Reply:
        batch, now = await self._found(call)
        if batch is None:
            return form.refused("no_batch", param="id", detail=paths.named(call.path))
        return self._json(call, form.batch(batch, now))

    async def _batches(self, call: Call, form: Form, _strikes: list[Strike]) -> Reply:
        now = await self.work.settle_all()
        mine = self._provider.batches.of(call.entry.key_id)
        found = self._page([batch.id for batch in mine], parse_qs(call.query), form)
        if isinstance(found, Reply):
            return found
        data = [form.batch(batch, now) for batch in mine[found[0]]]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        told = {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": found[1]}
        return self._json(call, told)

    async def _cancel(self, call: Call, form: Form, _strikes: list[Strike]) -> Reply:
        batch, now = await self._found(call)
        if batch is None:
            return form.refused("no_batch", param="id", detail=paths.named(call.path))
        status = batch.status(now)
        if status in FINAL:
            return form.refused("ended", param="id", detail=status)
        batch.cancelled = min(batch.cancelled, now)
        return self._json(call, form.batch(batch, now))

    async def _found(self, call: Call) -> tuple[Batch | None, float]:
        """The batch that the path names, and a moment at which its files are written if it has ended by then."""
        batch = self._provider.batches.find(paths.named(call.path), call.entry.key_id)
        now = self._provider.clock.monotonic() if batch is None else await self.work.settle(batch)
        return batch, now

    def _page(self, ids: list[str], asked: dict[str, list[str]], form: Form) -> tuple[slice, bool] | Reply:
        text = asked.get("limit", [str(_PAGE)])[0]
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _LONGEST_PAGE:
            return form.refused("invalid", param="limit", detail=f"limit must be from 1 to {_LONGEST_PAGE}")
        after = asked.get("after", [None])[0]
        found = page(ids, after, int(text))
        return form.refused("invalid", param="after", detail="after is not on the list") if found is None else found

    def _number(self, call: Call) -> int:
        """What ids are made of: unlike those of another scenario, and of a server that was started at another time."""
        return mixed(self._provider.scenario.seed, self._provider.started, call.entry.number)

    def _json(self, call: Call, value: dict[str, Any]) -> Reply:
        call.entry.client_call_id = None
        return json_reply(200, value)


def _wrong(body: dict[str, Any], form: Form) -> Reply | None:
    """The refusal of a creation that is not in order, or None."""
    for name in ("input_file_id", "endpoint"):
        if not isinstance(body.get(name), str) or not body[name]:
            return form.refused("missing", param=name)
    if body["endpoint"] != form.endpoint:
        return form.refused("invalid", param="endpoint", detail=f"endpoint must be {form.endpoint}")
    window = body.get("completion_window")
    if window != "24h" and not (window is None and form.refuses_full_queue):
        return form.refused("invalid", param="completion_window", detail="completion_window must be 24h")
    metadata = body.get("metadata")
    if metadata is None:
        return None
    pairs, longest_key, longest = _METADATA
    if not isinstance(metadata, dict) or len(metadata) > pairs:
        return form.refused("invalid", param="metadata", detail=f"metadata must have at most {pairs} pairs")
    for name, value in metadata.items():
        if len(name) > longest_key or not isinstance(value, str) or len(value) > longest:
            return form.refused("invalid", param="metadata", detail=f"metadata.{name[:longest_key]} is too long")
    return None


def _spoilt_lines(some: list[lines.Line], fate: BatchFate, number: int) -> list[lines.LineError]:
    """The errors of a validation that fails on the scenario's word: of some lines, at least of one."""
    hit = [n for n in range(1, len(some) + 1) if mixed(number, n, 11) / 2**64 < fate.spoilt_share] or [1]
    return [lines.LineError("invalid_json_line", lines.CODES["invalid_json_line"], n) for n in hit[:100]]


def deliver(provider: Provider, call: Call) -> None:
    """Note that the lines of a file reached a client, which has been sent the whole of it."""
    if isinstance(call.sends, StoredFile) and call.entry.delivered:
        provider.books.deliver(call.sends.records)
