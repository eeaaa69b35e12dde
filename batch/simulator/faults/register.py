"""The register of all faults: the number of each, its title, where it strikes, and its options.

What a fault does is in `refusals.py`, `answers.py`, `contents.py`, `streams.py`, `tasks.py`, `batches.py` and
`connections.py`, by kind; which requests it strikes is decided in `selector.py`; what a fault is made of is said in
`behaviour.py`. To add one, write its function and its entry here.
Numbers are those of the list of behaviours this simulator follows.
"""

from __future__ import annotations

from collections.abc import Mapping

from batch.simulator.faults import answers, batches, connections, contents, refusals, streams, tasks
from batch.simulator.faults.behaviour import CALLS, FILE_ROUTES, ROUTES, Behaviour

_ANSWERS = ("chat", "poll")  # where a spoilt body is an answer; at a submit it is a task whose id is lost
_FROM_0 = range(10**12)
_SKEW = range(-(10**8), 10**8)
_SUBMIT = ("submit",)
_POLL = ("poll",)
_CHAT = ("chat",)
_CREATE = ("create",)
_HTTP = (*CALLS, *FILE_ROUTES, "cancel")
_LINES = (*CALLS, "line")

BEHAVIOURS: Mapping[int, Behaviour] = {
    18: Behaviour(
        "429 without a header", options={"code": ("1302", "1303")}, refuse=refusals.rate_limited, allowed=ROUTES
    ),
    19: Behaviour(
        "429 with Retry-After in seconds", options={"seconds": int}, refuse=refusals.retry_after, allowed=_HTTP
    ),
    20: Behaviour(
        "429 with Retry-After as a date",
        options={"seconds": int, "skew_s": _SKEW},
        refuse=refusals.retry_after_date,
        allowed=_HTTP,
    ),
    21: Behaviour(
        "429 with retry-after-ms",
        options={"milliseconds": int, "seconds": int},
        refuse=refusals.retry_after_ms,
        allowed=_HTTP,
    ),
    22: Behaviour(
        "429 with an odd Retry-After",
        options={"form": refusals.RETRY_AFTER_FORMS},
        refuse=refusals.odd_retry_after,
        allowed=_HTTP,
    ),
    23: Behaviour(
        "model overloaded", options={"code": ("1305", "1312")}, rate=0.85, refuse=refusals.overloaded, allowed=ROUTES
    ),
    24: Behaviour("no money left", options={"after_tokens": _FROM_0}, refuse=refusals.no_money),
    25: Behaviour(
        "limit used up until a time",
        dialects=("glm",),
        options={"code": ("1308", "1304", "1310"), "seconds": int},
        refuse=refusals.used_up,
    ),
    26: Behaviour(
        "request too large",
        dialects=("openai",),
        options={"limit": int, "requested": int},
        refuse=refusals.too_large,
    ),
    27: Behaviour("DashScope's insufficient_quota", dialects=("openai",), refuse=refusals.dashscope_throttled),
    28: Behaviour(
        "5xx with a JSON body",
        options={"status": (500, 502, 503, 504)},
        refuse=refusals.server_error,
        allowed=ROUTES,
    ),
    29: Behaviour(
        "5xx with an HTML page", options={"status": (502, 503, 504)}, refuse=refusals.gateway_page, allowed=_HTTP
    ),
    30: Behaviour("200 with an HTML page", refuse=refusals.login_page, allowed=_HTTP),
    31: Behaviour(
        "200 with an error in it", options={"code": ("1305", "1312")}, refuse=refusals.error_in_200, allowed=_HTTP
    ),
    32: Behaviour("200 that says 404", refuse=refusals.no_such_route),
    33: Behaviour("reset before the headers", routes=_HTTP, refuse=connections.reset_before_headers, allowed=_HTTP),
    34: Behaviour("reset in the middle of the body", routes=_HTTP, wire=connections.reset_mid_body, allowed=_HTTP),
    35: Behaviour("body shorter than promised", routes=_HTTP, wire=connections.short_body, allowed=_HTTP),
    36: Behaviour("stream cut without a finish reason", routes=_CHAT, allowed=_CHAT, stream=streams.truncated),
    37: Behaviour("stream without [DONE]", routes=_CHAT, allowed=_CHAT, stream=streams.undone),
    38: Behaviour(
        "stream cut inside a frame",
        routes=_CHAT,
        allowed=_CHAT,
        options={"form": streams.CUT_FORMS},
        stream=streams.cut_frame,
    ),
    39: Behaviour(
        "frames on one line, bad frames",
        routes=_CHAT,
        allowed=_CHAT,
        options={"form": streams.BROKEN_FORMS},
        stream=streams.broken_frames,
    ),
    40: Behaviour(
        "harmless noise in a stream",
        routes=_CHAT,
        allowed=_CHAT,
        options={"form": streams.NOISE_FORMS},
        stream=streams.noisy,
    ),
    41: Behaviour(
        "error in a stream",
        routes=_CHAT,
        allowed=_CHAT,
        options={"form": streams.ERROR_FORMS, "code": streams.ERROR_CODES},
        stream=streams.broken_off,
    ),
    42: Behaviour("JSON in answer to a stream request", routes=_CHAT, allowed=_CHAT, stream=streams.whole_answer),
    43: Behaviour("slow first byte", options={"seconds": float}, wire=connections.slow_first_byte, allowed=_HTTP),
    44: Behaviour("slow drip", options={"interval_ms": int, "gap_s": float}, wire=connections.slow_drip, allowed=_HTTP),
    45: Behaviour(
        "no JSON object",
        routes=_ANSWERS,
        options={"form": answers.BODY_FORMS},
        stream=answers.bad_events,
        wire=answers.bad_body,
    ),
    46: Behaviour(
        "choices missing", options={"form": answers.CHOICE_FORMS}, answer=answers.bad_choices, allowed=_LINES
    ),
    47: Behaviour("no content", options={"form": answers.CONTENT_FORMS}, answer=answers.no_content, allowed=_LINES),
    48: Behaviour(
        "usage missing or wrong", options={"form": answers.USAGE_FORMS}, answer=answers.bad_usage, allowed=_LINES
    ),
    49: Behaviour(
        "odd finish reason", options={"form": answers.FINISH_FORMS}, answer=answers.odd_finish, allowed=_LINES
    ),
    50: Behaviour("another model served", options={"served": str}, answer=answers.other_model, allowed=_LINES),
    51: Behaviour(
        "odd Content-Type", routes=_HTTP, options={"form": answers.TYPE_FORMS}, wire=answers.odd_type, allowed=_HTTP
    ),
    52: Behaviour(
        "odd Content-Encoding",
        routes=_ANSWERS,
        options={"form": answers.CODING_FORMS, "megabytes": int},
        wire=answers.odd_coding,
    ),
    53: Behaviour(
        "odd characters",
        routes=_ANSWERS,
        options={"form": answers.CHARSET_FORMS},
        stream=answers.odd_events,
        wire=answers.odd_charset,
    ),
    54: Behaviour("very large answer", options={"megabytes": int}, answer=answers.large_answer, allowed=_LINES),
    55: Behaviour(
        "bad tool calls", options={"form": answers.TOOL_FORMS}, answer=answers.bad_tool_calls, allowed=_LINES
    ),
    56: Behaviour(
        "task made, answer lost", routes=_SUBMIT, allowed=(*_SUBMIT, "upload", *_CREATE), wire=connections.lost_answer
    ),
    57: Behaviour("one id for two tasks", routes=_SUBMIT, allowed=_SUBMIT, wire=tasks.same_id),
    58: Behaviour(
        "task stuck for ever",
        routes=_SUBMIT,
        allowed=_SUBMIT,
        options={"hold_seconds": float},
        task=tasks.never_ready,
    ),
    59: Behaviour(
        "task failed",
        routes=_SUBMIT,
        allowed=_SUBMIT,
        options={"form": tasks.FAIL_FORMS, "code": tasks.FAIL_CODES},
        task=tasks.failing,
    ),
    60: Behaviour(
        "task not found",
        routes=_POLL,
        allowed=_POLL,
        options={"form": ("400", "404"), "after_seconds": float},
        refuse=tasks.not_found,
    ),
    61: Behaviour(
        "odd answers to polls",
        routes=_POLL,
        allowed=_POLL,
        options={"form": tasks.POLL_FORMS},
        refuse=tasks.poll_refused,
        answer=tasks.odd_result,
    ),
    62: Behaviour(
        "faults of batch files",
        routes=_CREATE,
        allowed=_CREATE,
        options={"form": batches.GIVEN, "share": float},
        batch=batches.odd_batch,
    ),
    63: Behaviour(
        "key refused in mid-run",
        routes=_HTTP,
        options={"form": ("expired", "revoked"), "after": _FROM_0, "older_than_s": float},
        refuse=refusals.key_refused,
        allowed=_HTTP,
    ),
    64: Behaviour(
        "redirect",
        options={"status": (301, 302, 307, 308), "to": str},
        refuse=refusals.redirect,
        allowed=_HTTP,
    ),
    65: Behaviour("content filter", sticky=True, refuse=refusals.filtered, allowed=_LINES),
    66: Behaviour(
        "server clock off by hours",
        routes=_HTTP,
        options={"skew_s": _SKEW, "seconds": int, "refuse_first": _FROM_0},
        refuse=refusals.skewed,
        wire=answers.skewed_date,
        allowed=_HTTP,
    ),
    67: Behaviour(
        "server restart",
        routes=_HTTP,
        options={"at": int, "store": ("kept", "lost"), "down_s": float},
        refuse=connections.restart,
        allowed=_HTTP,
    ),
    69: Behaviour(
        "idle connection closed as a request arrives",
        routes=_HTTP,
        options={"form": ("fin", "rst")},
        refuse=connections.idle_close_race,
        allowed=_HTTP,
    ),
    70: Behaviour(
        "flood of headers",
        options={"seconds": int, "refuse_first": _FROM_0},
        refuse=refusals.flooded,
        wire=answers.flooded_answer,
        allowed=_HTTP,
    ),
    71: Behaviour("rare statuses", options={"status": refusals.STATUSES}, refuse=refusals.other_status, allowed=ROUTES),
    72: Behaviour("402", refuse=refusals.no_balance, allowed=_HTTP),
    73: Behaviour(
        "broken JSON in the text", options={"form": contents.JSON_FORMS}, answer=contents.broken_json, allowed=_LINES
    ),
    74: Behaviour("a label outside the list", options={"label": str}, answer=contents.outside, allowed=_LINES),
}
