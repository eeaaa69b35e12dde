"""The ASGI app of the simulator.

Owns dispatch by path, the pages under `/_sim` and `/health`; what is served is decided in the dialects.

Served requests do not pass through a framework: dispatch is two dictionary look-ups, because a simulator that is slower
than its clients measures itself. Starlette serves the pages for people and tests.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from batch.simulator.auth import AuthError
from batch.simulator.batches import desk, paths
from batch.simulator.books.use import used
from batch.simulator.call import Call, Dialect
from batch.simulator.clock import Clock
from batch.simulator.dialects import errors, glm, openai
from batch.simulator.provider import Provider
from batch.simulator.scenario import Scenario
from batch.simulator.wire import LINE, Line, Reply, deliver, gzipped

_CLIENT_GONE = 499  # the status web servers note for a client that left before its request was whole
_RECORDS_A_CHUNK = 500
HEALTH = "/health"


class Simulator:
    """The app: one provider behind two dialects, and its books."""

    def __init__(self, scenario: Scenario, clock: Clock) -> None:
        """Open a provider with this scenario."""
        self.provider = Provider(scenario, clock)
        self._dialects: tuple[tuple[str, Dialect], ...] = (
            (glm.PREFIX, glm.Glm(self.provider)),
            (openai.PREFIX, openai.OpenAI(self.provider)),
        )
        self._desk = desk.Desk(self.provider, [dialect for _, dialect in self._dialects])
        self._pages = Starlette(
            routes=[
                Route(HEALTH, self._health),
                Route("/_sim/books", self._books),
                Route("/_sim/judge", self._judge),
                Route("/_sim/faults", self._faults),
                Route("/_sim/reset", self._reset, methods=["POST"]),
            ]
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise ValueError(f"the simulator speaks http, not {scope['type']}")
        path: str = scope["path"]
        if path.startswith("/_sim/") or path == HEALTH:
            await self._pages(scope, receive, send)
            return
        for prefix, dialect in self._dialects:
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                await self._serve(scope, receive, send, dialect, path[len(prefix) :])
                return
        await self._serve(scope, receive, send, None, path)

    async def _serve(self, scope: Any, receive: Any, send: Any, dialect: Dialect | None, path: str) -> None:
        provider, method = self.provider, scope["method"]
        route = "unknown" if dialect is None else dialect.route(method, path)
        entry = provider.new_entry("none" if dialect is None else dialect.name, route)
        line: Line = scope["state"][LINE]
        call = Call(entry, method, path, dict(scope["headers"]), b"", line, provider.clock.monotonic())
        call.query = scope["query_string"].decode("latin-1")
        try:
            reply = await self._reply(call, receive, dialect)
            if provider.scenario.gzip and b"gzip" in call.headers.get(b"accept-encoding", b""):
                reply = gzipped(reply)
            entry.status = reply.status
            entry.delivered = await deliver(reply, line, send, provider.clock)
        except asyncio.CancelledError:
            # The server ends and has cut the line; there is nobody left to tell.
            if not line.lost:
                raise
        finally:
            provider.finished(call)
            provider.books.add(entry)
            desk.deliver(provider, call)

    async def _reply(self, call: Call, receive: Any, dialect: Dialect | None) -> Reply:
        body = await _body(receive)
        if body is None:
            return Reply(_CLIENT_GONE, b"")
        call.body = body
        if dialect is None:
            return errors.openai(404, f"No such path: {call.path}", "invalid_request_error", code="unknown_url")
        authorization = call.headers.get(b"authorization")
        try:
            call.entry.key_id = dialect.key_of(None if authorization is None else authorization.decode("latin-1"))
        except AuthError as error:
            self.provider.invalid(call, "auth")
            return dialect.dress(call, dialect.unauthorized(error))
        if call.entry.route == "unknown":
            return dialect.dress(call, dialect.no_route(call))
        if call.entry.route in paths.ROUTES:
            return dialect.dress(call, await self._desk.serve(call, dialect))
        return dialect.dress(call, await dialect.serve(call))

    async def _health(self, _request: Request) -> Response:
        """That it serves, as llama.cpp's server and vLLM's say it; no key is asked for, and no book is kept of it."""
        return JSONResponse({"status": "ok"})

    async def _books(self, request: Request) -> Response:
        await self._desk.work.settle_all()
        lines = request.query_params.get("format") == "jsonl"
        kind = "application/x-ndjson" if lines else "application/json"
        return StreamingResponse(self._book_chunks(lines), media_type=kind)

    async def _book_chunks(self, lines: bool) -> AsyncIterator[bytes]:
        chunk: list[bytes] = [] if lines else [b"["]
        end = b"\n" if lines else b""
        for number, record in enumerate(self.provider.books.records(self.provider.clock.monotonic())):
            if number and not lines:
                chunk.append(b",\n")
            chunk.append(msgspec.json.encode(record) + end)
            if len(chunk) >= _RECORDS_A_CHUNK:
                yield b"".join(chunk)
                chunk.clear()
                await asyncio.sleep(0)  # a long book must not hold up the requests that are being served
        if not lines:
            chunk.append(b"]")
        yield b"".join(chunk)

    async def _judge(self, request: Request) -> Response:
        """`/_sim/judge?window=60&from=0&to=120`: what was sent, and what was used of the limits.

        `window` is the length of the sliding windows, in seconds. With `from` or `to` (seconds since the first chat or
        submit request after the start or the last reset; by default 0 and now) there is `use` besides: for each
        (key, model) what `Judge.use` says, and `billed_tokens` of the requests that came in that time.
        """
        values: dict[str, float] = {}
        for name, usual in (("window", "60"), ("from", "0"), ("to", "inf")):
            text = request.query_params.get(name, usual)
            try:
                values[name] = float(text)
            except ValueError:
                values[name] = math.nan
            if not (values[name] >= 0 if name == "from" else values[name] > 0):
                wanted = "at least 0" if name == "from" else "above 0"
                return JSONResponse({"error": f"{name}={text}: must be a number of seconds {wanted}"}, status_code=400)
        if values["to"] <= values["from"]:
            text = f"to={values['to']:g}: must be after from={values['from']:g}"
            return JSONResponse({"error": text}, status_code=400)
        verdict = self.provider.judge.verdict(values["window"])
        if {"from", "to"} & set(request.query_params):
            verdict |= used(self.provider, values["from"], values["to"])
        return JSONResponse(verdict)

    async def _faults(self, _request: Request) -> Response:
        return Response(msgspec.json.encode(self.provider.selector.log()), media_type="application/json")

    async def _reset(self, _request: Request) -> Response:
        self.provider.reset()
        for file in self.provider.files:
            file.records = ()
        return JSONResponse({"reset": True})


async def _body(receive: Any) -> bytes | None:
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    body: bytes = message["body"]
    if not message["more_body"]:
        return body
    parts = [body]
    while message["more_body"]:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message["body"])
    return b"".join(parts)


def create_app(scenario: Scenario, clock: Clock | None = None) -> Simulator:
    """The simulator as an ASGI app, to be served with `server.config_of` (it needs that protocol class).

    Args:
        scenario: how the provider behaves.
        clock: where time comes from; the real one by default.
    """
    return Simulator(scenario, clock or Clock())
