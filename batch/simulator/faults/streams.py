"""Faults of streamed answers: cut short, torn, noisy, or broken off with an error. Owns their exact forms.

All are billed as the whole answer: it was generated, whoever read it. Sources: WHATWG HTML, "server-sent events", for
what a reader must bear; BigModel API reference and error codes for 1301 and the finish reasons `sensitive` and
`network_error`; a defect of the live service, reported in public, for frames glued together.
"""

from __future__ import annotations

import msgspec

from batch.simulator.dialects.errors import GLM_TEXTS
from batch.simulator.dialects.stream import DONE, Stream, event
from batch.simulator.faults.behaviour import Strike

CUT_FORMS = ("inside", "unclosed")
BROKEN_FORMS = ("glued", "cut_glued", "bad_json")
NOISE_FORMS = ("comments", "crlf", "no_space", "keep_alives", "bom", "line_separator", "split")
ERROR_FORMS = ("error_frame", "sensitive", "network_error")
ERROR_CODES = ("1301", "1234", "1305")

_ODD_SPACES = ',"padding":"\u2028 \u2029 \u0085"}'.encode()
_STEP = 7  # bytes of a write; prime, so that cuts fall at every place inside a character sooner or later
_FILTERED = "The response was filtered due to the prompt triggering the content management policy."
_FAILED = "The server had an error while processing your request. Sorry about that!"


def _middle(stream: Stream) -> int:
    """A number of parts that leaves some of the answer out, and never holds the finish."""
    return min((stream.finish + 1) // 2, stream.finish)


def _whole(stream: Stream) -> bool:
    """Whether it still has its finish, and a part for each event: no other fault has been there before."""
    return not stream.torn and stream.finish + 1 < len(stream.parts)


def truncated(_strike: Strike, stream: Stream) -> Stream:
    """The stream ends in peace after about half of the answer, without finish reason and `[DONE]`."""
    return stream.until(_middle(stream)) if _whole(stream) else stream


def undone(_strike: Strike, stream: Stream) -> Stream:
    """Everything is there but `[DONE]`."""
    parts = tuple(part for part in stream.parts if part != DONE)
    return stream if len(parts) == len(stream.parts) else msgspec.structs.replace(stream, parts=parts)


def cut_frame(strike: Strike, stream: Stream) -> Stream:
    """The stream ends in peace inside a frame, or its last frame lacks the empty line that would make it count."""
    if not _whole(stream):
        return stream
    if strike.pick("form", CUT_FORMS) == "unclosed":
        return stream.until(stream.finish, stream.parts[stream.finish].rstrip(b"\n") + b"\n")
    middle = _middle(stream)
    half = stream.parts[middle]
    return stream.until(middle, half[: len(half) // 2])


def broken_frames(strike: Strike, stream: Stream) -> Stream:
    """Two frames on one line, whole or the first cut short; or a frame whose JSON is broken. The rest is in order."""
    if not _whole(stream):
        return stream
    form, middle = strike.pick("form", BROKEN_FORMS), _middle(stream)
    before, broken, after = stream.parts[:middle], stream.parts[middle].rstrip(b"\n"), stream.parts[middle + 1 :]
    if form == "bad_json":
        bad = broken[: -len(broken) // 3] + b"\n\n"
    else:
        bad = broken if form == "glued" else broken[: len(broken) // 2]
    finish = stream.finish if form == "bad_json" else max(0, stream.finish - 1)
    if form != "bad_json":
        bad, after = bad + after[0], after[1:]
    return msgspec.structs.replace(stream, parts=(*before, bad, *after), finish=finish)


def noisy(strike: Strike, stream: Stream) -> Stream:
    """Everything a reader must bear; the answer is the same."""
    form, parts = strike.pick("form", NOISE_FORMS), stream.parts
    if stream.torn:
        return stream
    if form == "comments":
        parts = (b": keep-alive\n\n" + parts[0], *(b":HTTP_STATUS/200\n" + part + b":\n\n" for part in parts[1:]))
    elif form == "no_space":
        parts = tuple(b"data:" + part.removeprefix(b"data: ") for part in parts)
    elif form == "keep_alives":
        parts = tuple(b"\n\n" + part + b"\n" for part in parts)
    elif form == "bom":
        parts = ("\ufeff".encode() + parts[0], *parts[1:])
    elif form == "line_separator":
        parts = tuple(part if part == DONE else part.removesuffix(b"}\n\n") + _ODD_SPACES + b"\n\n" for part in parts)
    elif form == "crlf":
        # Each write ends between the carriage return and its line feed, which must not count as two line ends.
        whole = b"".join(parts).replace(b"\n", b"\r\n").split(b"\r\n")
        torn = (whole[0] + b"\r", *(b"\n" + line + b"\r" for line in whole[1:-1]), b"\n" + whole[-1])
        return msgspec.structs.replace(stream, parts=torn, torn=True)
    else:
        body = b"".join(parts)
        torn = tuple(body[begin : begin + _STEP] for begin in range(0, len(body), _STEP))
        return msgspec.structs.replace(stream, parts=torn, torn=True)
    return msgspec.structs.replace(stream, parts=parts)


def broken_off(strike: Strike, stream: Stream) -> Stream:
    """After about half of the answer an error in place of a chunk, or a finish reason that takes the answer back."""
    form, glm = strike.pick("form", ERROR_FORMS), stream.name == "glm"
    if not _whole(stream):
        return stream
    middle, last = _middle(stream), stream.parts[stream.finish :]
    if form == "error_frame" and glm:
        code = strike.option("code", ERROR_CODES[0])
        text = GLM_TEXTS[code][1].format(error_id=f"{strike.conversation:016x}")
        return stream.until(middle, event({"error": {"code": code, "message": text}}))
    if form == "error_frame":
        error = {"message": _FILTERED, "type": "invalid_request_error", "param": None, "code": "content_filter"}
        return stream.until(middle, event({"error": error}))
    if form == "network_error" and not glm:
        error = {"message": _FAILED, "type": "server_error", "param": None, "code": None}
        return stream.until(middle, event({"type": "error", "error": error}))
    reason = form if glm else "content_filter"
    chunk = msgspec.json.decode(last[0].removeprefix(b"data: "))
    for choice in chunk.get("choices") or ():
        choice["finish_reason"] = reason
    return stream.until(middle, event(chunk), *last[1:])


def whole_answer(_strike: Strike, stream: Stream) -> Stream:
    """The answer in one JSON body, as if no stream had been asked for."""
    return msgspec.structs.replace(stream, plain=True)
