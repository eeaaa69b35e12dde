"""The GLM dialect of BigModel and Z.ai, v4: chat and tasks.

Owns the bodies, the task states and the meaning of the business codes. Sources: BigModel API reference ("chat
completion", "asynchronous chat completion", "query result") and BigModel "API error codes". Codes whose HTTP status
is not documented are judged by the code alone. The two services as data stand in `services.bigmodel`. Knows no other
dialect.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from batch.core.clock import Clock, describe
from batch.core.records import NO_SUCH_PATH, Accepted, Failure, Outgoing, Processing, Reply
from batch.http.headers import retry_after, seconds_until, server_now
from batch.providers import body, completion, loose_json, refusal
from batch.providers.base import NamedSigner
from batch.providers.folding import NO_HEADERS, Folding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.core.records import Asks, Incoming, Lane, Request
    from batch.providers.base import Headers, Signer
    from batch.providers.service import Service

_OVER: Final = ("1304", "1308", "1310", "1316", "1317", "1318", "1319", "1320", "1321")
CODES: Final[refusal.Codes] = {
    "500": ("server", "retry"),
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004", "1005"), ("auth", "stop")),
    **dict.fromkeys(("1100", "1110", "1111", "1112", "1121", "1220"), ("auth", "stop")),
    **dict.fromkeys(("1113", "1309", "1313", "1314", "1315"), ("balance", "stop")),
    "1120": ("server", "retry"),
    **dict.fromkeys(("1200", "1230", "1234"), ("server", "retry")),
    **dict.fromkeys(("1210", "1213", "1214", "1215"), ("bad_request", "fail")),
    **dict.fromkeys(("1211", "1212", "1221", "1222", "1311"), ("model", "stop")),
    # "You already have a request": ours are new for every attempt, so something on the way sent this one twice.
    "1231": ("task", "retry"),
    "1261": ("too_large", "fail"),
    "1300": ("content_filter", "fail"),
    "1301": ("content_filter", "fail"),
    **dict.fromkeys(("1302", "1303"), ("rate_limit", "retry")),
    **dict.fromkeys(("1305", "1312"), ("overloaded", "retry")),
    **dict.fromkeys(_OVER, ("quota", "park")),
    **dict.fromkeys(("1701", "1702", "1703"), ("server", "once")),
}
"""BigModel's business codes: what went wrong and what it asks for."""


CHINA: Final = timezone(timedelta(hours=8))
"""BigModel writes its reset times in Chinese local time; z.ai shows the same form and is read the same way."""
_RESET: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)", re.ASCII)

TASK_ID_MAX: Final = 512
"""Characters of a task id; those of BigModel have some 40."""

SKEW_S: Final = 60.0
"""Clocks that differ by more are worth a word when a token is called expired."""


class _Submitted(msgspec.Struct):
    id: str
    request_id: str | None = None
    model: str | None = None
    task_status: str | None = None
    error: None = None


_submitted: Final = msgspec.json.Decoder(_Submitted)


class Glm:
    """The dialect for one service and one key: chat, streams and tasks.

    Args:
        service: how it differs from the others; its name is the provider as the records show it.
        credentials: the key, as it is or as tokens made from it.
        clock: tells the time for reset times in answers that carry no `Date` header.
    """

    def __init__(self, service: Service, credentials: Signer, *, clock: Clock | None = None) -> None:
        self.name = service.name
        self.counts: Literal["asked", "used"] = service.counts
        self.service = service
        own: set[Lane] = {"sync", "stream", "task"}
        self.lanes: frozenset[Lane] = frozenset(own | ({"bulk"} if service.batch_endpoint else set()))
        self._credentials = credentials
        self._clock = clock or Clock()
        accepts: Headers = (("Accept", "application/json"),)
        self._accepts = (*accepts, ("Accept-Language", service.language)) if service.language else accepts
        self._signed: Headers | None = None
        self._get: Headers = ()
        self._post: Headers = ()

    def _sign(self, signed: Headers) -> None:
        """Have `_get` and `_post` carry what the key's Authorization header is now: a token changes with the time."""
        self._signed = signed
        self._get = (*self._accepts, *signed)
        self._post = (*self._get, ("Content-Type", "application/json; charset=UTF-8"))

    def name_key(self, address: str) -> None:
        """Have the key tell from now on which of several addresses it is for."""
        self._credentials = NamedSigner(self._credentials, address)

    def signed(self) -> Headers:
        """The headers of a request without a body."""
        signed = self._credentials.headers()
        if signed is not self._signed:
            self._sign(signed)
        return self._get

    def _asking(
        self, path: str, request: Request, call_id: str, *, asks: Asks = "chat", stream: bool = False
    ) -> Outgoing:
        service, signed = self.service, self._credentials.headers()
        if signed is not self._signed:
            self._sign(signed)
        header = service.call_id_header
        members = body.write(service, request)
        if stream:
            members["stream"] = True
        if "request_id" not in service.never_send:
            members["request_id"] = call_id
        headers = (*self._post, (header, call_id)) if header else self._post
        return Outgoing(path, headers, loose_json.encode(members), asks)

    def chat(self, request: Request, call_id: str) -> Outgoing:
        """POST /chat/completions."""
        return self._asking("/chat/completions", request, call_id)

    def stream(self, request: Request, call_id: str) -> Outgoing:
        """POST /chat/completions, answered in pieces; the usage comes with the last of them, unasked."""
        return self._asking("/chat/completions", request, call_id, stream=True)

    def folding(self) -> Folding:
        """A new `Folding`, which puts the pieces of an answer to `stream` together."""
        return Folding(partial(self.refused, incoming=NO_HEADERS), replay_reasoning=self.service.replays_reasoning)

    def submit(self, request: Request, call_id: str) -> Outgoing:
        """POST /async/chat/completions."""
        return self._asking("/async/chat/completions", request, call_id, asks="submit")

    def poll(self, task_id: str) -> Outgoing:
        """GET /async-result/{id}; the id is opaque and is escaped."""
        return Outgoing(f"/async-result/{loose_json.path_segment(task_id)}", self.signed(), asks="poll")

    def read_chat(self, incoming: Incoming) -> Reply | Failure:
        """The reply to `chat`, or why there is none; an `error` inside HTTP 200 counts before `choices`."""
        if incoming.status == 200:
            reply = completion.read(incoming, replay_reasoning=self.service.replays_reasoning)
            if reply is not None:
                return reply
        document = loose_json.parse_object(incoming.body)
        if document is None:
            return refusal.not_json(incoming)
        return self.refused(document, incoming) or completion.read_loosely(
            document, status=incoming.status, replay_reasoning=self.service.replays_reasoning
        )

    def read_submit(self, incoming: Incoming) -> Accepted | Failure:
        """The id of a task, or why there is none."""
        if incoming.status == 200:
            try:
                taken = _submitted.decode(incoming.body)
            except loose_json.UNREADABLE:
                taken = None
            if taken and usable_id(taken.id) and taken.task_status != "FAIL":
                return Accepted(task_id=taken.id, request_id=taken.request_id, model=taken.model)
        document = loose_json.parse_object(incoming.body)
        if document is None:
            return refusal.not_json(incoming)
        failure = self.refused(document, incoming)
        if failure is not None:
            return failure
        if loose_json.as_text(document.get("task_status")) == "FAIL":
            return self._failed(document, incoming)
        task_id = loose_json.as_text(document.get("id"))
        if not task_id:
            return completion.unusable("the answer to the submit has no task id", status=incoming.status)
        if not usable_id(task_id):
            message = f"the answer to the submit has a task id of {len(task_id)} characters, which nobody can ask for"
            return completion.unusable(message, status=incoming.status)
        return Accepted(
            task_id=task_id,
            request_id=loose_json.as_text(document.get("request_id")),
            model=loose_json.as_text(document.get("model")),
        )

    def read_poll(self, incoming: Incoming) -> Reply | Failure | Processing:
        """The reply of a finished task, `Processing`, or a failure of the poll or (kind `task`) of the task.

        A task that the provider does not know (any more) and a success without an answer are worth one new task.
        """
        if incoming.status == 200:
            reply = completion.read(incoming, replay_reasoning=self.service.replays_reasoning)
            if reply is not None:
                return reply
        document = loose_json.parse_object(incoming.body)
        if document is None or 300 <= incoming.status < 400:
            return self._no_state(incoming)
        state = loose_json.as_text(document.get("task_status"))
        if state == "FAIL":
            return self._failed(document, incoming)
        failure = self.refused(document, incoming)
        if failure is not None:
            lost = incoming.status in (400, 404) and failure.kind in ("bad_request", "model")
            return _lost(failure) if lost else failure
        if state is not None and state != "SUCCESS":
            return Processing(state)
        if state is None and "choices" not in document:
            return completion.unusable("the answer to the poll has no task_status", status=incoming.status)
        result = completion.read_loosely(
            document, status=incoming.status, replay_reasoning=self.service.replays_reasoning
        )
        if isinstance(result, Failure):
            message = f"the task succeeded, but {result.message}"
            return msgspec.structs.replace(result, kind="task", message=message)
        return result

    def _no_state(self, incoming: Incoming) -> Failure:
        """The failure of a poll answered with a redirect or no JSON, by a gateway; an empty 404 is about the task."""
        failure = refusal.redirected(incoming) if 300 <= incoming.status < 400 else refusal.not_json(incoming)
        if incoming.status == 404 and not incoming.body.strip():
            return _lost(failure)
        if incoming.status == 404 or failure.verdict == "fail" or failure.wrong_address:
            return msgspec.structs.replace(failure, kind="server", verdict="retry", wrong_address=False)
        return failure

    def refused(self, document: loose_json.Fields, incoming: Incoming) -> Failure | None:
        """The failure that a JSON answer tells of; None when it tells of none."""
        if 300 <= incoming.status < 400:
            return refusal.redirected(incoming)
        envelope = refusal.parse_error(document)
        if envelope is None and incoming.status < 300:
            return None
        error = envelope or refusal.said_loosely(document)
        kind, verdict = refusal.classify(error, incoming.status, codes=self.service.codes)
        expired = error.code == "1003"
        refused = (kind, verdict) == ("auth", "stop") and incoming.status == 401
        if (expired or refused) and self._credentials.renew(expired=expired):
            verdict = self._credentials.again  # with another token; a key that stands in a variable has no other
            if expired:
                error = msgspec.structs.replace(error, message=error.message + self._skew(incoming))
        if error.flat and error.code == "500" and incoming.status == 200:
            # `{"code":500,"msg":"404 NOT_FOUND","success":false}`: no such route, not a fault that passes.
            failure = self._failure(("bad_request", "fail"), error, document=document, incoming=incoming)
            return msgspec.structs.replace(failure, wrong_address=True)
        failure = self._failure((kind, verdict), error, document=document, incoming=incoming)
        return refusal.misplaced(failure, has_envelope=envelope is not None)

    def _skew(self, incoming: Incoming) -> str:
        """A hint for the message when the clocks differ so much that a fresh token is an old one to the service."""
        now_us = self._clock.now_us()
        ahead = server_now(incoming.headers, now_us).timestamp() - now_us / 1e6
        if abs(ahead) < SKEW_S:
            return ""
        return f" (its clock is {describe(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} ours: set the clock)"

    def _failed(self, document: loose_json.Fields, incoming: Incoming) -> Failure:
        """The failure of a task that ended in FAIL; its code says whether a new task can do better."""
        error = refusal.parse_error(document) or refusal.ErrorEnvelope()
        kind, verdict = self.service.codes.get(error.code or "", ("task", "retry"))
        if verdict in ("retry", "once"):
            kind = "task"
        error = msgspec.structs.replace(error, message=f"the task failed: {error.message or 'no reason given'}")
        return self._failure((kind, verdict), error, document=document, incoming=incoming)

    def _failure(
        self, meaning: refusal.Meaning, error: refusal.ErrorEnvelope, *, document: loose_json.Fields, incoming: Incoming
    ) -> Failure:
        kind, verdict = meaning
        headers, now_us = incoming.headers, self._clock.now_us()
        # What is used up comes back at the time in the message, whatever a gateway's Retry-After makes of a 429.
        wait = reset_time(error.message, headers, now_us=now_us) if kind == "quota" else None
        if wait is None:
            wait = retry_after(headers, now_us)
        return Failure(
            kind=kind,
            verdict=verdict,
            message=loose_json.excerpt(error.message) or f"HTTP {incoming.status} without a message",
            code=loose_json.excerpt(error.code)[:64] if error.code else None,
            http_status=incoming.status,
            retry_after_s=wait,
            request_id=loose_json.as_text(document.get("request_id")) or refusal.request_id(headers),
            answered=error.code != "1231",  # the copy that came first may be answered, and billed
        )


def usable_id(task_id: str) -> bool:
    """Whether a task can be asked for by this id: a URL has room for it, and it is text that can be written down."""
    return 0 < len(task_id) <= TASK_ID_MAX and task_id.isprintable()


def _lost(failure: Failure) -> Failure:
    """The failure of a task that is not known (any more): it may have been done and billed all the same."""
    message = f"the provider does not know the task (any more): {failure.message}"
    code = None if failure.code == NO_SUCH_PATH else failure.code
    return msgspec.structs.replace(
        failure, kind="task", verdict="once", code=code, message=message, answered=False, wrong_address=False
    )


def reset_time(message: str, headers: Mapping[str, str], *, now_us: int) -> float | None:
    """The seconds until the time in a message of BigModel's quota codes, `YYYY-mm-dd HH:MM:SS` in UTC+8.

    Args:
        message: of the error.
        headers: of the answer, whose `Date` tells the service's own time.
        now_us: our time, in microseconds since 1970.

    Returns:
        None when the message holds no such time.
    """
    match = _RESET.search(message)
    if not match:
        return None
    try:
        year, month, day, hour, minute, second = map(int, match.groups())
        moment = datetime(year, month, day, hour, minute, second, tzinfo=CHINA)
    except ValueError:
        return None
    return seconds_until(moment, server_now(headers, now_us))
