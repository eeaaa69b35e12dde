"""Reads answers that are errors: what an error says, and what it means for the call.

Owns the error envelopes (`{"error": {...}}`, the flat `code`/`msg` and `message`/`type` forms, FastAPI's `detail`,
HTML pages), what a bare HTTP status means, and which refusals are about the path and not about what was asked. What a
code means is data of the service (`Codes`). No message text decides anything, with two exceptions that are the
services' documented contract and are read by the dialects: BigModel's reset time and OpenAI's Limit/Requested numbers.
Sources: BigModel "API error codes", OpenAI guide "Error codes", FastAPI "Handling errors".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from batch.core.records import NO_SUCH_PATH, Failure, Verdict
from batch.core.redaction import address
from batch.providers import completion, loose_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.core.errors import FailureKind
    from batch.core.records import Incoming

Meaning = tuple["FailureKind", Verdict]
Codes = dict[str, Meaning]

STATUSES: Final[dict[int, Meaning]] = {
    401: ("auth", "stop"),
    402: ("balance", "stop"),
    403: ("auth", "row_or_key"),
    404: ("model", "row_or_key"),
    407: ("auth", "stop"),
    408: ("server", "retry"),
    409: ("server", "retry"),
    413: ("too_large", "fail"),
    425: ("server", "retry"),
    429: ("rate_limit", "retry"),
    434: ("auth", "stop"),
    435: ("too_large", "fail"),
    529: ("overloaded", "retry"),
}
"""What a status means when no code says more; 400–499 else are bad requests, 500–599 else the server's fault."""

_OF_THE_PATH: Final = frozenset({"unknown_url"})
"""Codes with which services themselves say so."""
_SAYING: Final = ("detail", "message", "msg", "error_msg", "error_message", "error_description", "title", "reason")
"""Members in which frameworks and gateways say what is wrong, where there is no envelope."""
_MOST_DETAILS: Final = 5

# A gateway that gave up waiting does not know what the service behind it did; a busy one never passed the call on.
_MAYBE_DONE: Final = frozenset({500, 502, 504, 520, 522, 524})


class ErrorEnvelope(msgspec.Struct, frozen=True):
    """The code, type and message of an error, as text; `flat` when there was no `error` object around them."""

    code: str | None = None
    type: str | None = None
    message: str = ""
    flat: bool = False


def parse_error(document: loose_json.Fields) -> ErrorEnvelope | None:
    """The error in a JSON answer, whatever its envelope and status; None when there is none."""
    raw = document.get("error")
    if raw is not None and bytes(raw).strip() not in (b"null", b"{}", b'""', b"false"):
        inner = loose_json.as_object(raw)
        if inner is None:
            return ErrorEnvelope(message=loose_json.as_text(raw) or "")
        return _envelope(inner)
    if "choices" in document or "task_status" in document:
        return None
    if loose_json.as_text(document.get("success")) == "false" or loose_json.as_text(document.get("object")) == "error":
        return _envelope(document, flat=True)
    if "code" in document and ("msg" in document or "message" in document):
        return _envelope(document, flat=True)
    return None


def said_loosely(document: loose_json.Fields) -> ErrorEnvelope:
    """What an answer with an error status says that has no known envelope, such as FastAPI's `{"detail": …}`.

    Of a list of details (a 422) each says where and what; the input they repeat is left out, because it is the prompt.
    """
    said = next((document[name] for name in _SAYING if loose_json.as_text(document.get(name))), None)
    inner = loose_json.as_object(said)
    if inner is not None and (error := parse_error(inner) or _envelope(inner)).message:
        return error
    details = [loose_json.as_object(item) for item in loose_json.as_list(said)[:_MOST_DETAILS]]
    told = "; ".join(_detail(detail) for detail in details if detail) or loose_json.as_text(said)
    return ErrorEnvelope(message=told or loose_json.excerpt(loose_json.encode(document))[:200])


def _detail(detail: loose_json.Fields) -> str:
    """One entry of FastAPI's list: `body.messages.0.content: Field required`."""
    place = ".".join(loose_json.as_text(part) or "" for part in loose_json.as_list(detail.get("loc")))
    text = loose_json.as_text(detail.get("msg")) or "is refused"
    return f"{place}: {text}" if place else text


def misplaced(failure: Failure, *, has_envelope: bool) -> Failure:
    """The failure as one of the path, where it is: a 405, or a 404 in which nothing says that it is about a model.

    Args:
        failure: as status and codes have it.
        has_envelope: the answer had the service's own form of an error, so the service was reached.
    """
    if failure.http_status == 405:  # every path of a chat takes a POST
        return msgspec.structs.replace(
            failure, kind="bad_request", verdict="once", code=NO_SUCH_PATH, wrong_address=True
        )
    if failure.http_status == 404 and (not has_envelope or failure.code in _OF_THE_PATH):
        return msgspec.structs.replace(failure, kind="bad_request", verdict="row_or_key", code=NO_SUCH_PATH)
    return failure


def by_status(status: int) -> Meaning:
    """What a refusal means when only the HTTP status is known."""
    if status in STATUSES:
        return STATUSES[status]
    if status >= 500:
        return ("server", "retry")
    return ("bad_request", "fail")


def classify(error: ErrorEnvelope, status: int, *, codes: Codes) -> Meaning:
    """What a refusal means, by its code, else by its type, else by its status, else by the status its code repeats.

    Args:
        error: what the answer says.
        status: HTTP status.
        codes: of the service.
    """
    if error.code == str(status) and error.type in codes:
        return _of_the_row_too(codes[error.type], status)  # the code says nothing that the status does not
    if error.code in codes:
        return _of_the_row_too(codes[error.code], status)
    if error.type in codes and status != 529:  # which says more than the `server_error` that comes with it
        return _of_the_row_too(codes[error.type], status)
    if status >= 300:
        return by_status(status)
    if error.code is not None and error.code.isdecimal() and 400 <= int(error.code[:4]) < 600:
        return by_status(int(error.code[:4]))
    return ("server", "once")


def _of_the_row_too(meaning: Meaning, status: int) -> Meaning:
    """A code for the key or the model, under a status that moderation and firewalls use for single requests as well."""
    kind, verdict = meaning
    return (kind, "row_or_key") if verdict == "stop" and status in (403, 404) and kind != "balance" else meaning


def not_json(incoming: Incoming) -> Failure:
    """The failure for an answer that is no JSON object: an HTML page, an empty or cut body, a list."""
    status = incoming.status
    body_text = loose_json.excerpt(incoming.body)[:200] or "an empty body"
    if status < 300:
        message = f"HTTP {status} with something that is no JSON object: {body_text}"
        return msgspec.structs.replace(completion.unusable(message, status=status), wrong_address=is_page(incoming))
    if status < 400:
        return redirected(incoming)
    kind, verdict = by_status(status)
    wrong_address = status not in STATUSES and status < 500 and is_page(incoming)
    failure = Failure(
        kind=kind,
        verdict="once" if wrong_address else verdict,
        code="web_page" if wrong_address else None,
        message=f"HTTP {status}: {body_text}",
        http_status=status,
        answered=status not in _MAYBE_DONE,
        wrong_address=wrong_address,
    )
    return failure if wrong_address else misplaced(failure, has_envelope=False)


def is_page(incoming: Incoming) -> bool:
    """Whether an answer is a web page: what a proxy, a firewall or another site says, never the service."""
    if incoming.headers.get("content-type", "").lower().startswith("text/html"):
        return True
    return incoming.body[:200].lstrip(b"\xef\xbb\xbf \t\r\n")[:5].lower() in (b"<html", b"<!doc")


def redirected(incoming: Incoming) -> Failure:
    """The failure for a redirect: it is never followed, because the key and the prompt would go wherever it points."""
    target = loose_json.excerpt(address(incoming.headers.get("location", "nowhere")))[:200]
    status = incoming.status
    message = f"HTTP {status} redirects to {target}, which is never followed: set base_url to where it points"
    return Failure(
        kind="bad_request", verdict="once", code="redirect", message=message, http_status=status, wrong_address=True
    )


def request_id(headers: Mapping[str, str]) -> str | None:
    """The service's own id of an exchange, from its headers."""
    return headers.get("x-request-id") or headers.get("x-log-id")


def _envelope(fields: loose_json.Fields, *, flat: bool = False) -> ErrorEnvelope:
    message = loose_json.as_text(fields.get("message")) or loose_json.as_text(fields.get("msg")) or ""
    return ErrorEnvelope(loose_json.as_text(fields.get("code")), loose_json.as_text(fields.get("type")), message, flat)
