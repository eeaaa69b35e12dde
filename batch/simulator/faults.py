"""The register of faults: what each one does to a request. Owns their exact forms; who is struck is `strikes.py`.

A fault is one entry of `BEHAVIOURS`, made of at most four small functions:

- `refuse(strike)` answers in place of the model, before any work; such a request is not billed;
- `answer(strike, body)` changes the finished answer, which is billed as it would have been;
- `task(strike, fate)` changes when a submitted task ends;
- `wire(strike, reply)` changes how the bytes leave.

To add one, write the function and its entry. Numbers are those of the list of behaviours this simulator follows: 18, 19
and 28 are refusals, 33 and 34 connections, 48 answers, 56 and 58 tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from . import failures
from .wire import Headers, Reply

ROUTES = ("chat", "submit", "poll")


@dataclass(frozen=True, slots=True)
class Fault:
    """One `[[fault]]` of a scenario, checked.

    Attributes:
        behaviour: its number.
        routes: where it strikes.
        rate: the share of requests it strikes; None strikes all that `rows` and `first` leave.
        rows: texts looked for in user messages, or numbers of conversations from 1 by first arrival; empty: all.
        first: strikes only the first so many attempts of each conversation; None: all attempts.
        options: what this behaviour can be told besides.
        salt: tells entries of one behaviour apart, so that their coins fall independently.
    """

    behaviour: int
    routes: tuple[str, ...]
    rate: float | None = None
    rows: tuple[str | int, ...] = ()
    first: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    salt: int = 0


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that strikes a request.

    Attributes:
        fault: which one.
        dialect: `glm` or `openai`, for the form of what is sent.
        conversation: 64 bits that stand for model and messages.
        attempt: the number of this attempt of the conversation on its route, from 1.
    """

    fault: Fault
    dialect: str
    conversation: int
    attempt: int

    def pick(self, option: str, choices: tuple[Any, ...]) -> Any:
        """The option's value if the scenario gives one, else the choices in turn from attempt to attempt."""
        given = self.fault.options.get(option)
        return choices[(self.conversation + self.attempt) % len(choices)] if given is None else given


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a submitted task, in monotonic seconds.

    Attributes:
        now: when it was made.
        ready_at: when it succeeds.
        held_until: when its place in flight is given back.
    """

    now: float
    ready_at: float
    held_until: float


def rate_limited(strike: Strike, headers: Headers = ()) -> Reply:
    """HTTP 429 in the dialect's words."""
    if strike.dialect == "glm":
        return failures.glm("1302", headers=headers)
    return failures.openai(
        429, "Rate limit reached for requests", "requests", code="rate_limit_exceeded", headers=headers
    )


def retry_after(strike: Strike) -> Reply:
    """HTTP 429 with a `Retry-After` in whole seconds."""
    return rate_limited(strike, ((b"retry-after", str(strike.fault.options.get("seconds", 2)).encode()),))


def server_error(strike: Strike) -> Reply:
    """HTTP 500, 502, 503 or 504 with a JSON body."""
    status = strike.pick("status", (500, 502, 503, 504))
    if strike.dialect == "glm":
        code = {500: "1200", 502: "1230", 503: "1230", 504: "1234"}[status]
        return failures.glm(code, status=status, error_id=f"{strike.conversation:016x}")
    if status == 503:
        text = "The server is currently overloaded with other requests. Please try again later."
        return failures.openai(status, text, "service_unavailable_error", code="server_is_overloaded")
    text = "The server had an error while processing your request. Sorry about that!"
    return failures.openai(status, text, "server_error")


def reset_before_headers(_strike: Strike) -> Reply:
    """The connection is reset and nothing is sent."""
    return Reply(0, b"", cut=-1)


def lost_answer(_strike: Strike, reply: Reply) -> Reply:
    """The work is done, then the connection is reset and nothing is sent."""
    return msgspec.structs.replace(reply, status=0, cut=-1)


def reset_mid_body(_strike: Strike, reply: Reply) -> Reply:
    """The headers and half of the body are sent, then the connection is reset."""
    return msgspec.structs.replace(reply, cut=max(1, len(reply.body) // 2))


def bad_usage(strike: Strike, body: dict[str, Any]) -> dict[str, Any]:
    """The usage is missing, null, all zero, or its total is not the sum of its parts."""
    if "usage" not in body:
        return body
    form = strike.pick("form", ("missing", "null", "zero", "sum"))
    changed = dict(body)
    if form == "missing":
        del changed["usage"]
    elif form == "null":
        changed["usage"] = None
    elif form == "zero":
        changed["usage"] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    else:
        changed["usage"] = {**body["usage"], "total_tokens": body["usage"]["total_tokens"] + 7}
    return changed


def never_ready(strike: Strike, fate: Fate) -> Fate:
    """The task stays PROCESSING for ever; its place in flight is given back after `hold_seconds`, if that is said."""
    return replace(fate, ready_at=math.inf, held_until=fate.now + strike.fault.options.get("hold_seconds", math.inf))


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a fault number means.

    Attributes:
        title: for people.
        routes: where it strikes unless the scenario says otherwise.
        allowed: where it may strike.
        options: further keys of its `[[fault]]`, each with the values it may have; a type stands for all its values
            above 0.
        refuse: see the module.
        answer: see the module.
        task: see the module.
        wire: see the module.
    """

    title: str
    routes: tuple[str, ...] = ("chat", "submit")
    allowed: tuple[str, ...] = ROUTES
    options: Mapping[str, type | tuple[Any, ...]] = field(default_factory=dict)
    refuse: Callable[[Strike], Reply] | None = None
    answer: Callable[[Strike, dict[str, Any]], dict[str, Any]] | None = None
    task: Callable[[Strike, Fate], Fate] | None = None
    wire: Callable[[Strike, Reply], Reply] | None = None


BEHAVIOURS: Mapping[int, Behaviour] = {
    18: Behaviour("429 without a header", refuse=rate_limited),
    19: Behaviour("429 with Retry-After in seconds", options={"seconds": int}, refuse=retry_after),
    28: Behaviour("5xx with a JSON body", options={"status": (500, 502, 503, 504)}, refuse=server_error),
    33: Behaviour("reset before the headers", routes=ROUTES, refuse=reset_before_headers),
    34: Behaviour("reset in the middle of the body", routes=ROUTES, wire=reset_mid_body),
    48: Behaviour("usage missing or wrong", options={"form": ("missing", "null", "zero", "sum")}, answer=bad_usage),
    56: Behaviour("task made, answer lost", routes=("submit",), allowed=("submit",), wire=lost_answer),
    58: Behaviour(
        "task stuck for ever",
        routes=("submit",),
        allowed=("submit",),
        options={"hold_seconds": float},
        task=never_ready,
    ),
}
