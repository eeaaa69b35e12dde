"""Faults that answer in place of the model: limits, money, keys, overload, redirects. Owns their exact forms.

None of these is billed. Sources: BigModel pages "API code" and "rate limits" with answers recorded from the live
service; OpenAI guides "Rate limits" and "Error codes"; DashScope page "error codes"; DeepSeek page "error codes".
"""

from __future__ import annotations

import math
import time

import msgspec

from batch.simulator import auth
from batch.simulator.dialects import errors
from batch.simulator.faults.behaviour import Strike
from batch.simulator.wire import Headers, Reply, http_date, json_reply

RETRY_AFTER_FORMS = ("3600", "garbage", "0", "negative")
STATUSES = (408, 409, 413, 422, 425, 434, 435, 499, 529)
SKEW_S = 3 * 3600
_BEIJING_S = 8 * 3600
_HTML = b"text/html"
_OVERLOADED = "The server is currently overloaded with other requests. Please try again later."
_GATEWAY = {502: "Bad Gateway", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out"}
_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
)
_LOGIN = """<!DOCTYPE html>
<html><head><title>Sign in to the network</title></head>
<body><form action="/login"><input name="user"><input name="password" type="password"></form></body></html>
"""
_STATUS_TEXTS = {
    408: "Request timeout.",
    409: "The resource was modified while the request was worked on.",
    413: "Request entity too large.",
    422: "The request could not be processed.",
    425: "Too early.",
    434: "您无权使用此 API，接口处于内测阶段。",
    435: "文件大小不能超过 100MB。",
    499: "The client closed the request.",
    529: "The service is overloaded.",
}


def rate_limited(strike: Strike, headers: Headers = ()) -> Reply:
    """HTTP 429 in the dialect's words; GLM says 1302, or 1303 if told to."""
    if strike.dialect == "glm":
        return errors.glm(strike.option("code", "1302"), headers=headers)
    return errors.openai(
        429, "Rate limit reached for requests", "requests", code="rate_limit_exceeded", headers=headers
    )


def retry_after(strike: Strike) -> Reply:
    """HTTP 429 with a `Retry-After` in whole seconds."""
    return rate_limited(strike, ((b"retry-after", str(strike.option("seconds", 2)).encode()),))


def retry_after_date(strike: Strike, usual_skew_s: int = 0) -> Reply:
    """HTTP 429 with a `Retry-After` as a date, by a clock that may be off as the `Date` beside it is."""
    skew = strike.option("skew_s", usual_skew_s)
    when = http_date(math.ceil(strike.scene.wall + skew) + strike.option("seconds", 2))
    return msgspec.structs.replace(rate_limited(strike, ((b"retry-after", when),)), date_skew_s=skew)


def retry_after_ms(strike: Strike) -> Reply:
    """HTTP 429 with `retry-after-ms`, and a `Retry-After` that says something else."""
    fine, coarse = strike.option("milliseconds", 1320), strike.option("seconds", 20)
    return rate_limited(strike, ((b"retry-after-ms", str(fine).encode()), (b"retry-after", str(coarse).encode())))


def odd_retry_after(strike: Strike) -> Reply:
    """HTTP 429 with a `Retry-After` of an hour, of no sense, of zero, or below it."""
    form = strike.pick("form", RETRY_AFTER_FORMS)
    text = {"garbage": "soon", "negative": "-5"}.get(form, form)
    return rate_limited(strike, ((b"retry-after", text.encode()),))


def overloaded(strike: Strike) -> Reply:
    """The model has too many users: GLM 429 with 1305 or 1312; OpenAI 503, or 429 `slow_down` for 1312."""
    code = strike.option("code", "1305")
    if strike.dialect == "glm":
        return errors.glm(code)
    if code == "1312":
        return errors.openai(429, "Please slow down your request rate.", "rate_limit_error", code="slow_down")
    return errors.openai(503, _OVERLOADED, "service_unavailable_error", code="server_is_overloaded")


def no_money(strike: Strike) -> Reply | None:
    """HTTP 429 that will never pass: GLM 1113, OpenAI `insufficient_quota`, once the key has spent its tokens."""
    if strike.scene.billed < strike.option("after_tokens", 0):
        return None
    if strike.dialect == "glm":
        return errors.glm("1113")
    return errors.openai(429, _QUOTA, "insufficient_quota", code="insufficient_quota")


def used_up(strike: Strike) -> Reply | None:
    """HTTP 429 with the time at which the limit is reset, in Beijing time; after that time requests pass."""
    left = strike.begun + strike.option("seconds", 3600) - strike.scene.now
    if left <= 0:
        return None
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(math.ceil(strike.scene.wall + left) + _BEIJING_S))
    return errors.glm(strike.option("code", "1308"), when=when)


def too_large(strike: Strike) -> Reply:
    """OpenAI's HTTP 429 for a request that no waiting makes fit."""
    asked = strike.scene.ask
    text = (
        f"Request too large for {asked.model if asked else 'this model'} in organization org-simulator on tokens per "
        f"min (TPM): Limit {strike.option('limit', 30000)}, Requested {strike.option('requested', 31538)}. The input "
        "or output tokens must be reduced in order to run successfully. Visit "
        "https://platform.openai.com/account/rate-limits to learn more."
    )
    return errors.openai(429, text, "tokens", code="rate_limit_exceeded")


def dashscope_throttled(strike: Strike) -> Reply:
    """DashScope's HTTP 429 `insufficient_quota`, which means tokens per minute and passes."""
    text = (
        "You exceeded your current quota, please check your plan and billing details. For details, see: "
        "https://help.aliyun.com/zh/model-studio/error-code#token-limit"
    )
    error = {"message": text, "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}
    body = {"error": error, "request_id": f"{strike.conversation:016x}"}
    return json_reply(429, body, (), errors.OPENAI_JSON)


def server_error(strike: Strike) -> Reply:
    """HTTP 500, 502, 503 or 504 with a JSON body."""
    status = strike.pick("status", (500, 502, 503, 504))
    if strike.dialect == "glm":
        code = {500: "1200", 502: "1230", 503: "1230", 504: "1234"}[status]
        return errors.glm(code, status=status, error_id=f"{strike.conversation:016x}")
    if status == 503:
        return errors.openai(status, _OVERLOADED, "service_unavailable_error", code="server_is_overloaded")
    text = "The server had an error while processing your request. Sorry about that!"
    return errors.openai(status, text, "server_error")


def _nginx(line: str) -> bytes:
    page = f"<html>\r\n<head><title>{line}</title></head>\r\n<body>\r\n<center><h1>{line}</h1></center>\r\n"
    return (page + "<hr><center>nginx/1.21.6</center>\r\n</body>\r\n</html>\r\n").encode()


def gateway_page(strike: Strike) -> Reply:
    """HTTP 502, 503 or 504 with the page of the proxy in front."""
    status = strike.pick("status", (502, 503, 504))
    return Reply(status, _nginx(f"{status} {_GATEWAY[status]}"), (), _HTML)


def login_page(_strike: Strike) -> Reply:
    """HTTP 200 with the login page of a network that has not let us out yet."""
    return Reply(200, _LOGIN.encode(), (), b"text/html; charset=utf-8")


def error_in_200(strike: Strike) -> Reply:
    """HTTP 200 whose body is an error."""
    return msgspec.structs.replace(overloaded(strike), status=200)


def no_such_route(_strike: Strike) -> Reply:
    """HTTP 200 whose body says that the route does not exist."""
    return errors.glm_no_route()


def key_refused(strike: Strike) -> Reply | None:
    """HTTP 401 in the middle of a run: the token has expired, or the key is revoked from some request on."""
    code = "1003"
    if strike.option("form", "expired") == "revoked":
        if strike.number <= strike.option("after", 0):
            return None
        code = "1002"
    else:
        oldest = strike.option("older_than_s", None)
        if oldest is not None and not _older(strike, oldest):
            return None
    if strike.dialect == "glm":
        return errors.glm(code)
    return errors.openai(401, errors.WRONG_KEY, "invalid_request_error", code="invalid_api_key")


def _older(strike: Strike, seconds: float) -> bool:
    made_ms = auth.made_ms(strike.scene.authorization)
    return made_ms is not None and strike.scene.wall * 1000 - made_ms > seconds * 1000


def redirect(strike: Strike) -> Reply:
    """HTTP 301, 302, 307 or 308 to another place; nothing listens at the usual one."""
    status = strike.pick("status", (301, 302, 307, 308))
    words = {301: "Moved Permanently", 302: "Found", 307: "Temporary Redirect", 308: "Permanent Redirect"}[status]
    where = strike.option("to", "http://127.0.0.1:9/elsewhere" + strike.scene.path)
    return Reply(status, _nginx(f"{status} {words}"), ((b"location", where.encode()),), _HTML)


def filtered(strike: Strike) -> Reply:
    """HTTP 400 for content that is not allowed."""
    if strike.dialect == "glm":
        return errors.glm("1301")
    text = "The response was filtered due to the prompt triggering the content management policy."
    return errors.openai(400, text, "invalid_request_error", code="content_filter", param="prompt")


def other_status(strike: Strike) -> Reply:
    """A status that is met seldom, with an error body of the dialect."""
    status = strike.pick("status", STATUSES)
    if strike.dialect == "glm":
        return json_reply(status, {"error": {"code": str(status), "message": _STATUS_TEXTS[status]}})
    kind = "server_error" if status == 529 else "invalid_request_error"
    return errors.openai(status, _STATUS_TEXTS[status], kind)


def no_balance(_strike: Strike) -> Reply:
    """HTTP 402 as DeepSeek says it."""
    return errors.openai(402, "Insufficient Balance", "unknown_error", code="invalid_request_error")


def skewed(strike: Strike) -> Reply | None:
    """A server whose clock is hours off: the first attempts meet a 429 with a date to wait for."""
    return None if strike.attempt > strike.option("refuse_first", 1) else retry_after_date(strike, SKEW_S)


def flooded(strike: Strike) -> Reply | None:
    """The first attempts meet a 429 among whose many headers `Retry-After` stands three times."""
    if strike.attempt > strike.option("refuse_first", 1):
        return None
    seconds = str(strike.option("seconds", 1)).encode()
    waits = ((OddCase(b"Retry-after"), b"soon"), (OddCase(b"RETRY-AFTER"), seconds), (b"retry-after", b"30"))
    return rate_limited(strike, (*waits, (OddCase(b"X-Should-Retry"), b"true"), *FLOOD))


class OddCase(bytes):
    """A header name that keeps its capitals, where the server would send it in lower case."""

    __slots__ = ()

    def lower(self) -> OddCase:
        """Itself: header names are compared without regard to case, but sent as they are written."""
        return self


def _flood() -> Headers:
    units = (b"Requests", b"Tokens", b"Project-Tokens")
    kinds = ((b"Limit", b"60000"), (b"Remaining", b"59999"), (b"Reset", b"20ms"))
    named = [(OddCase(b"X-RateLimit-" + kind + b"-" + unit), value) for unit in units for kind, value in kinds]
    odd = [(OddCase(b"x-ratelimit-LIMIT-requests"), b"many"), (b"x-ratelimit-reset-tokens", b"-1ms")]
    rest = [(OddCase(b"X-RateLimit-Limit-Window-%03d" % number), b"%d" % number) for number in range(200 - 11)]
    return (*named, *odd, *rest)


FLOOD = _flood()
"""Two hundred rate-limit headers, sensible and not."""
