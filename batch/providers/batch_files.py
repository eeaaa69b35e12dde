"""Provider batch files: the calls that carry them, and how batches and their lines are read.

Owns both forms, GLM's and OpenAI's, which differ less than their documents: what is written is the one thing both take,
and what is read is what either sends, with the traps that recorded runs have shown (times in milliseconds, empty texts
for files that are not there, null counts, the batch's id on every line, a line's error in one of two places). A line's
request and its answer are the dialect's own. Sources: BigModel guide and API reference "Batch"; OpenAI guide "Batch"
and specification; objects recorded in MetaGLM's cookbook.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from batch.core.records import Failure, Incoming, Outgoing, Reply
from batch.providers import completion, loose_json, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.core.records import Request
    from batch.providers.base import Dialect

LINES_MAX: Final = 50_000
"""Lines of one file, at both services."""
BYTES_MAX: Final = 100 * 1000 * 1000
"""Bytes of one file at BigModel; OpenAI takes twice as many."""
PAGE: Final = 100
ID_MAX: Final = 512
"""Characters of an id that is believed to be one."""
FINAL: Final = frozenset({"completed", "failed", "expired", "cancelled"})
_MILLISECONDS: Final = 10**11
"""From here on a time is in milliseconds: as seconds it would be three thousand years away."""
_ERRORS_MAX: Final = 1_000
UNDONE: Final = {
    "batch_expired": "the batch expired before it came to this line; nothing was bought",
    "batch_cancelled": "the batch was cancelled before it came to this line; nothing was bought",
}
"""By code of a line that was never done, what is said of it."""


class BatchError(msgspec.Struct, frozen=True):
    """Why a batch failed; `line` is the number of a line of its file, from 1, or None when it is about all of them."""

    code: str | None
    message: str
    line: int | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as the provider tells of it."""

    id: str
    status: str
    """In small letters: one of `FINAL`, or one of those before, or a new one, which is as if it were at work."""
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_s: float | None = None
    """Seconds since 1970, as all its times."""
    ended_s: float | None = None
    expires_s: float | None = None
    total: int | None = None
    completed: int | None = None
    failed: int | None = None
    metadata: dict[str, str] = {}
    errors: tuple[BatchError, ...] = ()

    @property
    def final(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.status in FINAL

    @property
    def unwritten(self) -> bool:
        """Whether it has ended and counts answers, and names no file that could hold them."""
        return self.final and self.status != "failed" and bool(self.completed) and self.output_file_id is None


class Line(msgspec.Struct, frozen=True):
    """What one line came to, by the id that it was sent under."""

    custom_id: str
    result: Reply | Failure


class BatchFiles:
    """Writes and reads the batch files of one service.

    Args:
        dialect: of the service, which must have `service.batch_endpoint`.
    """

    def __init__(self, dialect: Dialect) -> None:
        endpoint = dialect.service.batch_endpoint
        if endpoint is None:
            raise ValueError(f"provider {dialect.name} takes no batch files")
        self._dialect = dialect
        self._endpoint = endpoint
        self._tail = b'","method":"POST","url":"%b","body":' % endpoint.encode()

    def line(self, request: Request, call_id: str) -> bytes:
        """One line of a file, its end included; `call_id` is its `custom_id`."""
        body = self._dialect.chat(request, call_id).body
        assert body is not None
        return b'{"custom_id":"%b%b%b}\n' % (call_id.encode(), self._tail, body)

    def upload(self, name: str, data: bytes) -> Outgoing:
        """POST /files, a form of `purpose` and `file`."""
        boundary = f"promptmill-{secrets.token_hex(16)}"
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--{boundary}\r\n'
            f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = b"".join((head.encode(), data, f"\r\n--{boundary}--\r\n".encode()))
        content = ("Content-Type", f"multipart/form-data; boundary={boundary}")
        return Outgoing("/files", (*self._dialect.signed(), content), body)

    def read_upload(self, incoming: Incoming) -> str | Failure:
        """The id of the file that was uploaded, or why there is none."""
        document = self._document(incoming)
        if isinstance(document, Failure):
            return document
        return _id(document, "id") or _unusable("the answer to the upload has no file id", incoming)

    def create(self, file_id: str, metadata: Mapping[str, str]) -> Outgoing:
        """POST /batches; the metadata is what a batch is found by whose creation was not answered.

        Args:
            file_id: of the file that was uploaded.
            metadata: at most 16 pairs of 64 and 512 characters.
        """
        body = {
            "completion_window": "24h",
            "endpoint": self._endpoint,
            "input_file_id": file_id,
            "metadata": dict(metadata),
        }
        headers = (*self._dialect.signed(), ("Content-Type", "application/json"))
        return Outgoing("/batches", headers, loose_json.encode(body))

    def retrieve(self, batch_id: str) -> Outgoing:
        """GET /batches/{id}."""
        return Outgoing(f"/batches/{loose_json.path_segment(batch_id)}", self._dialect.signed())

    def cancel(self, batch_id: str) -> Outgoing:
        """POST /batches/{id}/cancel."""
        return Outgoing(f"/batches/{loose_json.path_segment(batch_id)}/cancel", self._dialect.signed(), b"")

    def page(self, after: str | None = None) -> Outgoing:
        """GET /batches, the newest first; `after` is the id of the last batch of the page before."""
        rest = f"&after={loose_json.path_segment(after)}" if after else ""
        return Outgoing(f"/batches?limit={PAGE}{rest}", self._dialect.signed())

    def content(self, file_id: str) -> Outgoing:
        """GET /files/{id}/content."""
        return Outgoing(f"/files/{loose_json.path_segment(file_id)}/content", self._dialect.signed())

    def read_batch(self, incoming: Incoming) -> Batch | Failure:
        """The batch in the answer to `create`, `retrieve` or `cancel`, or why there is none.

        A batch that the provider does not know (any more) is a failure of kind `task`.
        """
        document = self._document(incoming)
        if isinstance(document, Failure):
            return document
        return _batch(document) or _unusable("the answer is no batch: it has no id or no status", incoming)

    def read_page(self, incoming: Incoming) -> tuple[list[Batch], bool] | Failure:
        """The batches of one page, and whether more follow; those that cannot be read are left out."""
        document = self._document(incoming)
        if isinstance(document, Failure):
            return document
        if "data" not in document:
            return _unusable("the answer is no list of batches", incoming)
        entries = [loose_json.as_object(raw) for raw in loose_json.as_list(document["data"])]
        batches = [batch for entry in entries if entry is not None and (batch := _batch(entry)) is not None]
        return batches, bool(batches) and loose_json.as_text(document.get("has_more")) == "true"

    def read_refusal(self, incoming: Incoming) -> Failure:
        """Why a file was not sent, from an answer that is not the file."""
        document = self._document(incoming)
        return document if isinstance(document, Failure) else _unusable("the answer is not the file", incoming)

    def read_line(self, text: bytes) -> Line | None:
        """What a line of an output or error file says; None for one without a custom id, which nobody can place."""
        document = loose_json.parse_object(text)
        custom_id = None if document is None else loose_json.as_text(document.get("custom_id"))
        if document is None or not custom_id:
            return None
        response = loose_json.as_object(document.get("response"))
        error = loose_json.as_object(document.get("error"))
        if response is None or "body" not in response:
            return Line(custom_id, _without_response(document, error))
        status = loose_json.as_int(response.get("status_code")) or 200
        headers = {} if (said := loose_json.as_text(response.get("request_id"))) is None else {"x-request-id": said}
        result = self._dialect.read_chat(Incoming(status, headers, bytes(response["body"])))
        if isinstance(result, Failure) and error is not None and not result.message:
            result = msgspec.structs.replace(result, message=loose_json.as_text(error.get("message")) or "")
        return Line(custom_id, result)

    def _document(self, incoming: Incoming) -> loose_json.Fields | Failure:
        """The members of an answer of status 2xx without an error in it."""
        document = loose_json.parse_object(incoming.body)
        if document is None:
            return refusal.not_json(incoming)
        failure = self._dialect.refused(document, incoming)
        if failure is None:
            return document
        if incoming.status == 404 and refusal.parse_error(document) is not None:
            message = f"the provider does not know it (any more): {failure.message}"
            return msgspec.structs.replace(failure, kind="task", verdict="once", message=message, wrong_address=False)
        return failure


def absent(batch: Batch, *, found: int, asked: int) -> Failure:
    """What a line came to that is in neither file of a batch that has ended.

    Args:
        batch: the batch.
        found: how many of its lines are in its files.
        asked: how many it has.

    Returns:
        A failure that was not bought, where the batch ended before it came to the line and its counts agree; else one
        that may have been.
    """
    done = None if batch.completed is None or batch.failed is None else batch.completed + batch.failed
    if batch.status == "failed":
        return _failed(batch)
    if batch.status in ("expired", "cancelled") and (done is None or done <= found < asked):
        code = f"batch_{batch.status}"
        return Failure(kind="task", verdict="retry", code=code, message=UNDONE[code])
    message = f"batch {batch.id} is {batch.status} and has no line for this request, which may have been billed"
    return Failure(kind="task", verdict="retry", code="line_missing", answered=False, message=message)


def _failed(batch: Batch) -> Failure:
    first = batch.errors[0] if batch.errors else BatchError(None, "no reason given")
    message = f"batch {batch.id} failed before any line was done: {first.message}"
    return Failure(kind="task", verdict="retry", code=first.code or "batch_failed", message=message)


def _without_response(document: loose_json.Fields, error: loose_json.Fields | None) -> Failure:
    """The failure of a line that has no answer."""
    code = loose_json.as_text(error.get("code")) if error is not None else None
    said = loose_json.as_text(error.get("message")) if error is not None else loose_json.as_text(document.get("error"))
    if code in UNDONE:
        return Failure(kind="task", verdict="retry", code=code, message=UNDONE[code])
    message = f"the line has no answer: {loose_json.excerpt(said or 'no reason given')}"
    return Failure(
        kind="task", verdict="retry", code=loose_json.excerpt(code)[:64] if code else "line_failed", message=message
    )


def _batch(document: loose_json.Fields) -> Batch | None:
    batch_id, status = _id(document, "id"), loose_json.as_text(document.get("status"))
    if batch_id is None or not status:
        return None
    counts = loose_json.as_object(document.get("request_counts")) or document  # the schema has them flat
    errors = loose_json.as_object(document.get("errors"))
    some = loose_json.as_list((errors or {}).get("data") or document.get("errors"))[:_ERRORS_MAX]
    metadata = loose_json.as_object(document.get("metadata")) or {}
    status = status.strip().lower()
    times = (f"{name}_at" for name in ("completed", "failed", "expired", "cancelled"))
    return Batch(
        id=batch_id,
        status="cancelled" if status == "canceled" else loose_json.excerpt(status)[:64],
        input_file_id=_id(document, "input_file_id"),
        output_file_id=_id(document, "output_file_id"),
        error_file_id=_id(document, "error_file_id"),
        created_s=_time(document, "created_at"),
        ended_s=next((at for name in times if (at := _time(document, name)) is not None), None),
        expires_s=_time(document, "expires_at"),
        total=loose_json.as_int(counts.get("total")),
        completed=loose_json.as_int(counts.get("completed")),
        failed=loose_json.as_int(counts.get("failed")),
        metadata={name: loose_json.as_text(value) or "" for name, value in metadata.items()},
        errors=tuple(_error(entry) for raw in some if (entry := loose_json.as_object(raw)) is not None),
    )


def _error(entry: loose_json.Fields) -> BatchError:
    code, message = loose_json.as_text(entry.get("code")), loose_json.as_text(entry.get("message"))
    line = loose_json.as_int(entry.get("line"))
    return BatchError(loose_json.excerpt(code)[:64] if code else None, loose_json.excerpt(message or ""), line)


def _id(document: loose_json.Fields, name: str) -> str | None:
    """An id; None where there is none, it is empty, or nothing can be asked for by it."""
    found = loose_json.as_text(document.get(name))
    return found if found and len(found) <= ID_MAX and found.isprintable() else None


def _time(document: loose_json.Fields, name: str) -> float | None:
    """A moment in seconds since 1970, whether it came in seconds or in milliseconds; None where there is none."""
    raw = loose_json.as_text(document.get(name))
    try:
        value = float(raw or 0)
    except ValueError:
        return None
    if not 0 < value < _MILLISECONDS * 1000:
        return None
    return value / 1000 if value >= _MILLISECONDS else value


def _unusable(message: str, incoming: Incoming) -> Failure:
    return completion.unusable(message, status=incoming.status)
