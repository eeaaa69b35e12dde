"""Decides whether a request is answered at all, and what every answer says to the browser beside its content.

Owns the token in the address, the names under which this machine may be asked, and the headers that keep a page from
being framed, cached, sniffed or told to others. It knows no figure.

Whoever knows the address sees prompts and answers, so the address holds a secret. A page of another site cannot read
it, but it can have its own name point to this machine and so be taken for us by the browser; such a request still says
the foreign name in `Host`, and is refused.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec

TOKEN_BYTES: Final = 24
METHODS: Final = ("GET", "HEAD")
NOTHING: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The policy of every answer that is no page: nothing in it runs or is loaded."""
HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_POLICY: Final = b"content-security-policy"


def new_token() -> str:
    """A secret that nobody guesses, made of letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(TOKEN_BYTES)


class Guard:
    """An ASGI app around another one, which is only asked under `/TOKEN/`.

    Args:
        app: what is behind the token; it sees paths without it.
        token: the secret.
        port: says the port that is listened on; unknown until the server does.
    """

    def __init__(self, app: Any, token: str, port: Callable[[], int]) -> None:
        self._app = app
        self._token = token.encode()
        self._port = port

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ValueError(f"the viewer speaks http, not {scope['type']}")
        refusal = self._refusal(scope)
        guarded = _with_headers(send)
        if refusal is not None:
            await _refuse(*refusal, scope, guarded)
            return
        own, _, path = scope["path"][1:].partition("/")
        root = f"{scope.get('root_path', '')}/{own}"
        inner = {**scope, "root_path": "", "path": f"/{path}", "raw_path": f"/{path}".encode()}
        if "/" not in scope["path"][1:]:
            await _redirect(f"{root}/", guarded)
            return
        with suppress(asyncio.CancelledError):  # the server ends and has cut the line; there is nobody left to tell
            await self._app(inner, receive, guarded)

    def _refusal(self, scope: Any) -> tuple[int, str] | None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or hosts[0].decode("latin-1").lower() not in self._names():
            return 421, "Ask under the address that promptmill view printed: this name is not ours."
        if not hmac.compare_digest(scope["path"][1:].partition("/")[0].encode("utf-8", "surrogatepass"), self._token):
            return 404, "Nothing is here. The address that promptmill view printed has all that is needed."
        if scope["method"] not in METHODS:
            return 405, "Nothing can be changed here: GET and HEAD alone are answered."
        return None

    def _names(self) -> set[str]:
        """What `Host` may say."""
        port = self._port()
        names = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        return names | ({"127.0.0.1", "localhost", "[::1]"} if port == 80 else set())


def _with_headers(send: Any) -> Any:
    """The same `send`, which adds what every answer says."""

    async def guarded(message: Any) -> None:
        if message["type"] == "http.response.start":
            told = list(message.get("headers", ()))
            if _POLICY not in (name.lower() for name, _ in told):
                told.append((_POLICY, NOTHING.encode()))
            message = {**message, "headers": [*told, *HEADERS]}
        await send(message)

    return guarded


async def _refuse(status: int, text: str, scope: Any, send: Any) -> None:
    body = msgspec.json.encode({"error": text})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 405:
        headers.append((b"allow", ", ".join(METHODS).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def _redirect(target: str, send: Any) -> None:
    headers = [(b"location", target.encode("ascii", "ignore")), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 307, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
