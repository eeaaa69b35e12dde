"""Faults of tasks and their polls. Owns their exact forms.

Sources: BigModel API reference, "query async result" (the states); forms seen in third-party fixtures for FAIL, whose
body no document shows; a stuck or failed task is not billed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import msgspec

from batch.simulator.dialects import errors
from batch.simulator.dialects.checks import decoded
from batch.simulator.faults.behaviour import Fate, Strike
from batch.simulator.tasks import processing_body
from batch.simulator.wire import Reply, json_reply

FAIL_FORMS = ("bare", "object", "string")
POLL_FORMS = ("regress", "no_choices", "server_error", "rate_limited")
FAIL_CODES = ("1301", "1200")


def never_ready(strike: Strike, fate: Fate) -> Fate:
    """The task stays PROCESSING for ever; its place in flight is given back after `hold_seconds`, if that is said."""
    return replace(fate, ready_at=math.inf, held_until=fate.now + strike.option("hold_seconds", math.inf))


def failing(strike: Strike, fate: Fate) -> Fate:
    """The task ends as FAIL: bare, with an error object, or with an error text."""
    form = strike.pick("form", FAIL_FORMS)
    code = strike.option("code", FAIL_CODES[0])
    text = errors.GLM_TEXTS[code][1]
    extra: dict[str, dict[str, Any]] = {
        "bare": {},
        "object": {"error": {"code": code, "message": text}},
        "string": {"error": text},
    }
    return replace(fate, failure=extra[form])


def same_id(strike: Strike, reply: Reply) -> Reply:
    """The receipt carries the id of the task this key submitted before; polls of it tell of that earlier task."""
    receipt = decoded(reply.body)
    if not strike.scene.earlier or receipt is None:
        return reply
    return msgspec.structs.replace(reply, body=msgspec.json.encode({**receipt, "id": strike.scene.earlier}))


def not_found(strike: Strike) -> Reply | None:
    """The id is not known, or no longer known so many seconds after the task ended."""
    task, after = strike.scene.task, strike.option("after_seconds", None)
    if after is not None and (task is None or strike.scene.now < task.ready_at + after):
        return None
    if strike.pick("form", ("400", "404")) == "400":
        return errors.glm("1214", field="id")
    return json_reply(404, {"code": 404, "msg": "404 NOT_FOUND", "success": False})


def poll_refused(strike: Strike) -> Reply | None:
    """The poll meets an error that has nothing to do with the task."""
    form = strike.pick("form", POLL_FORMS)
    if form == "server_error":
        return errors.glm("1230")
    return errors.glm("1302") if form == "rate_limited" else None


def odd_result(strike: Strike, body: dict[str, Any]) -> dict[str, Any]:
    """A SUCCESS that is PROCESSING again once it was shown, or one without choices."""
    form, task = strike.pick("form", POLL_FORMS), strike.scene.task
    if form == "regress" and task is not None and task.shown:
        return processing_body(task)
    if form == "no_choices" and "choices" in body:
        return {name: value for name, value in body.items() if name != "choices"}
    return body
