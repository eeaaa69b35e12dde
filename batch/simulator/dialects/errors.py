"""Error bodies in both dialects: codes, texts and their HTTP status. It decides nothing.

Sources: BigModel "API code" page and the recorded refusals of its 2024 tutorials; OpenAI guides "Error codes" and
"Rate limits".
"""

from __future__ import annotations

from batch.simulator.wire import Headers, Reply, json_reply

GLM_TEXTS = {
    "500": (500, "内部错误"),
    "1001": (401, "Header中未收到Authentication参数，无法进行身份验证"),
    "1002": (401, "Authentication Token非法，请确认Authentication Token正确传递"),
    "1003": (401, "Authentication Token已过期，请重新生成/获取"),
    "1004": (401, "通过提供的Authentication Token的验证失败，请确认Authentication Token正确传递"),
    "1200": (500, "API调用失败"),
    "1113": (429, "Insufficient balance or no resource package. Please recharge."),
    "1210": (400, "API 调用参数有误，请检查文档。"),
    "1211": (400, "模型不存在，请检查模型代码。"),
    "1213": (400, "未正常接收到 {field} 参数。"),
    "1214": (400, "{field} 参数非法。请检查文档。"),
    "1230": (500, "API 调用流程出错。"),
    "1231": (400, "您已有请求：{request_id}。"),
    "1234": (500, "网络错误，错误id：{error_id}，请联系客服。"),
    "1301": (
        400,
        "系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语，感谢您的配合。",
    ),
    "1302": (429, "Rate limit reached for requests"),
    "1303": (429, "您当前使用该 API 的频率过高，请降低频率，或联系客服增加限额。"),
    "1304": (429, "该 API 已达今日调用次数限额，您的限额将在 {when} 重置。如有更多需求，请联系客服购买。"),
    "1305": (429, "The service may be temporarily overloaded, please try again later"),
    "1308": (429, "Usage limit reached for 5 hour. Your limit will reset at {when}"),
    "1310": (429, "Weekly/Monthly Limit Exhausted. Your limit will reset at {when}"),
    "1312": (429, "当前模型的访问量过大，请更换其他模型。"),
}
WRONG_KEY = "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys."

OPENAI_JSON = b"application/json"


def glm(code: str, *, detail: str = "", status: int | None = None, headers: Headers = (), **values: str) -> Reply:
    """A GLM error: `{"error":{"code":"1214","message":"…"}}`, the code as text.

    Args:
        code: a key of `GLM_TEXTS`.
        detail: appended to the message, for whoever reads it here.
        status: another HTTP status than the usual one.
        headers: further headers.
        values: what the message's placeholders stand for.
    """
    usual, text = GLM_TEXTS[code]
    message = text.format(**values) + (f" {detail}" if detail else "")
    return json_reply(status or usual, {"error": {"code": code, "message": message}}, headers)


def glm_no_route() -> Reply:
    """GLM's answer to a route that does not exist: HTTP 200, as seen on the live service."""
    return json_reply(200, {"code": 500, "msg": "404 NOT_FOUND", "success": False})


def openai(
    status: int, message: str, kind: str, *, code: str | None = None, param: str | None = None, headers: Headers = ()
) -> Reply:
    """An OpenAI error: `{"error":{"message","type","param","code"}}`.

    Args:
        status: HTTP status.
        message: for people.
        kind: the `type`.
        code: the `code`.
        param: the parameter that is wrong.
        headers: further headers.
    """
    error = {"message": message, "type": kind, "param": param, "code": code}
    return json_reply(status, {"error": error}, headers, OPENAI_JSON)


def openai_invalid(message: str, *, param: str | None = None, code: str | None = "invalid_value") -> Reply:
    """An OpenAI 400 for a request that cannot be served as it is; the arguments are those of `openai`."""
    return openai(400, message, "invalid_request_error", code=code, param=param)


def duration(seconds: float) -> str:
    """A length of time as Go prints it (`20ms`, `1s`, `6m0s`, `1h0m30.5s`), rounded up to the millisecond."""
    ms = max(0, -int(-seconds * 1000 // 1))
    if ms == 0:
        return "0s"
    if ms < 1000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
