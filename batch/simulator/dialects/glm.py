"""The GLM dialect: Zhipu / Z.ai, v4 HTTP API. Owns its routes, checks and bodies; no state of its own.

Sources: BigModel API reference (chat completion, async chat completion, query async result, error codes), the 2024
API guide for the sampling ranges of that year, answers recorded in MetaGLM's cookbook and SDK tests, and the requests
the zhipuai and zai SDKs really send (`response_format` and `thinking` go out as null).

What a streamed answer says is made here; `glm_chunks.py` cuts it into chunks.
"""

from __future__ import annotations

import re
import time
from typing import Any

from batch.simulator.auth import AuthError, bearer, glm_key
from batch.simulator.batches import paths
from batch.simulator.batches.form import Form
from batch.simulator.books.tokens import of_prompt
from batch.simulator.call import Call
from batch.simulator.chance import mixed
from batch.simulator.dialects import checks, errors, glm_files
from batch.simulator.dialects.glm_chunks import stream_of
from batch.simulator.dialects.stream import Stream
from batch.simulator.limits import Refusal
from batch.simulator.models.completion import Ask, Completion, Streaming, Usage
from batch.simulator.provider import Provider
from batch.simulator.tasks import processing_body
from batch.simulator.wire import Reply, json_reply

PREFIX = "/api/paas/v4"

_RESULT = "/async-result/"
_MODEL = "/models/"
_ROUTES = {
    ("POST", "/chat/completions"): "chat",
    ("POST", "/async/chat/completions"): "submit",
    ("GET", "/models"): "models",
}
_ROLES = {"system", "user", "assistant", "tool"}
_MAX_TOKENS = 131_072
_BEIJING_S = 8 * 3600
# GLM-4.5 and later think unless told not to; GLM-4.6 and later can stream the arguments of a tool call.
_THINKS = re.compile(r"glm-(?:4\.[5-9]|[5-9])", re.IGNORECASE)
_STREAMS_TOOLS = re.compile(r"glm-(?:4\.[6-9]|[5-9])", re.IGNORECASE)
# Least and most of temperature and top_p, and whether the ends themselves are allowed.
_RANGES = {
    "current": {"temperature": (0.0, 1.0, True), "top_p": (0.01, 1.0, True)},
    "2024": {"temperature": (0.0, 1.0, False), "top_p": (0.0, 1.0, False)},
}


def routes() -> list[str]:
    """Every route with its method, as people write it."""
    fixed = [f"{method} {PREFIX}{path}" for method, path in _ROUTES]
    about_files = paths.shown(PREFIX, retrieves_files=glm_files.GlmFiles.retrieves_files)
    return [*fixed, f"GET {PREFIX}{_RESULT}ID", f"GET {PREFIX}{_MODEL}NAME", *about_files]


class Glm:
    """The dialect, in front of one provider."""

    name = "glm"
    content_type = b"application/json; charset=UTF-8"

    def __init__(self, provider: Provider) -> None:
        """Speak for this provider."""
        self._provider = provider
        self._scenario = provider.scenario
        self.files: Form = glm_files.GlmFiles()

    def route(self, method: str, path: str) -> str:
        """The route's name, or `unknown`."""
        if method == "GET" and path.startswith(_RESULT) and len(path) > len(_RESULT):
            return "poll"
        if method == "GET" and path.startswith(_MODEL) and path != _MODEL:
            return "models"
        about_files = paths.route_of(method, path, retrieves_files=self.files.retrieves_files)
        return about_files or _ROUTES.get((method, path), "unknown")

    def key_of(self, authorization: str | None) -> str:
        """The id of the key that asks.

        Raises:
            AuthError: 1001 to 1004, the GLM code.
        """
        now_ms = self._provider.clock.wall() * 1000
        return glm_key(bearer(authorization), self._scenario.keys, now_ms, strict=self._scenario.strict_jwt)

    def unauthorized(self, error: AuthError) -> Reply:
        """HTTP 401 with the code that says what is wrong."""
        return errors.glm(error.code)

    def no_route(self, _call: Call) -> Reply:
        """HTTP 200 with `404 NOT_FOUND` inside."""
        return errors.glm_no_route()

    def dress(self, _call: Call, reply: Reply) -> Reply:
        """The reply as it is: GLM sends no rate-limit headers."""
        return reply

    def refused(self, _call: Call, refusal: Refusal) -> Reply:
        """HTTP 429, at once and without `Retry-After`: 1302 for concurrency, 1303 for frequency."""
        return errors.glm("1302" if refusal.kind == "in_flight" else "1303")

    async def serve(self, call: Call) -> Reply:
        """Answer a request on a known route."""
        if call.entry.route == "poll":
            return await self._poll(call)
        if call.entry.route == "models":
            return self._models(call.path)
        ask = self.read(call)
        if isinstance(ask, Reply):
            self._provider.invalid(call, "invalid")
            return ask
        entry = call.entry
        if (
            self._scenario.refuse_duplicates
            and entry.client_call_id is not None
            and self._provider.in_work.has(entry.key_id, entry.client_call_id)
        ):
            self._provider.invalid(call, "duplicate")
            return errors.glm("1231", request_id=entry.client_call_id)
        return await (self._chat(call, ask) if entry.route == "chat" else self._submit(call, ask))

    def name_reply(self, call: Call) -> None:
        """An id that begins with the time in Beijing; a line's is a number."""
        if call.entry.route == "line":
            call.reply_id = str(mixed(self._scenario.seed, call.entry.number) >> 1)
            return
        stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(call.entry.at + _BEIJING_S))
        call.reply_id = stamp + self._provider.hex_id(call.entry.number)

    async def _chat(self, call: Call, ask: Ask) -> Reply:
        self.name_reply(call)
        call.request_id = call.request_id or call.reply_id
        return await self._provider.chat(call, self, ask)

    async def _submit(self, call: Call, ask: Ask) -> Reply:
        call.reply_id, number = self._provider.tasks.new_ids()
        call.request_id = call.request_id or number
        receipt = {
            "request_id": call.request_id,
            "id": call.reply_id,
            "model": ask.model,
            "task_status": "PROCESSING",
        }
        return await self._provider.submit(call, self, ask, receipt)

    async def _poll(self, call: Call) -> Reply:
        self._provider.judge.polled(call.arrived)
        call.entry.client_call_id = _header_id(call)
        task = self._provider.tasks.find(call.path.removeprefix(_RESULT), call.entry.key_id)
        if task is None:
            return errors.glm("1214", field="id")
        return await self._provider.poll(call, self, task, processing_body(task))

    def _models(self, path: str) -> Reply:
        """All models, or the one that the path names."""
        one = path.removeprefix(_MODEL) if path.startswith(_MODEL) else None
        if one is not None and not self._serves(one):
            return errors.glm("1211")
        served = self._scenario.models
        names = self._provider.books.models("CNY") if served is None else served
        names = names if one is None else [one]
        models = [{"id": name, "object": "model", "created": 1705933810, "owned_by": "z-ai"} for name in names]
        return json_reply(200, {"object": "list", "data": models} if one is None else models[0])

    def _serves(self, model: str) -> bool:
        allowed = self._scenario.models
        return allowed is None or model.lower() in {name.lower() for name in allowed}

    def answer(self, call: Call, ask: Ask, completion: Completion, usage: Usage) -> dict[str, Any]:
        """The body of an answer, sync or as a task's result; see `Dialect.answer`."""
        message: dict[str, Any] = {"content": completion.text, "role": "assistant"}
        if ask.thinking:
            message["reasoning_content"] = completion.reasoning
        if completion.calls:
            # Older models send null beside tool calls, newer ones a line end; clients must take both.
            message["content"] = "\n" if completion.identity & 1 else None
            message["tool_calls"] = [
                {
                    "id": f"call_{_call_number(completion.identity) + position}",
                    "index": position,
                    "type": "function",
                    "function": {"name": called.name, "arguments": called.arguments},
                }
                for position, called in enumerate(completion.calls)
            ]
        tokens: dict[str, Any] = {
            "completion_tokens": usage.completion_tokens,
            "prompt_tokens": usage.prompt_tokens,
            "total_tokens": usage.total_tokens,
        }
        if self._scenario.cached_prefix:
            tokens["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
        if ask.thinking:
            tokens["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
        return {
            "choices": [{"finish_reason": completion.finish_reason, "index": 0, "message": message}],
            "created": int(self._provider.clock.wall()),
            "id": call.reply_id,
            "model": ask.model,
            "request_id": call.request_id,
            "usage": tokens,
        }

    def stream(self, ask: Ask, body: dict[str, Any]) -> Stream:
        """An answer's body as the events of a stream."""
        fragments = ask.stream is not None and ask.stream.fragments
        return stream_of(body, self._scenario.slices, older=self._scenario.mode == "2024", fragments=fragments)

    def read(self, call: Call) -> Ask | Reply:
        """What a request or a line asks, or its refusal; see `Dialect.read`."""
        entry = call.entry
        entry.client_call_id = _header_id(call)
        body = checks.decoded(call.body)
        if body is None:
            return errors.glm("1210", detail="(the body is not a JSON object)")
        request_id, model = body.get("request_id"), body.get("model")
        if isinstance(request_id, str) and request_id:
            entry.client_call_id = call.request_id = request_id
        elif request_id is not None and request_id != "":
            return errors.glm("1214", field="request_id")
        if not isinstance(model, str) or not model:
            return errors.glm("1213", field="model")
        entry.model = model
        if not self._serves(model):
            return errors.glm("1211")
        messages = body.get("messages")
        if messages is None:
            return errors.glm("1213", field="messages")
        if not _good_messages(messages):
            return errors.glm("1214", field="messages")
        complaint = self._bad_parameter(body, entry.route)
        if complaint is not None:
            return errors.glm("1210", detail=f"({complaint})")
        functions, forced = checks.offered(body.get("tools"), body.get("tool_choice"))
        response_format = body.get("response_format")
        return Ask(
            model=model,
            messages=messages,
            tools=functions,
            forced=forced,
            parallel=body.get("parallel_tool_calls") is not False,
            stop=checks.stop_words(body.get("stop")) or (),
            max_tokens=body.get("max_tokens"),
            response_format=response_format if isinstance(response_format, dict) else None,
            choices=1,
            prompt_tokens=of_prompt(messages, body.get("tools")),
            stream=_streaming(body),
            thinking="shown" if _THINKS.match(model) and not _told_not_to_think(body.get("thinking")) else "",
        )

    def _bad_parameter(self, body: dict[str, Any], route: str) -> str | None:
        """What is wrong with the parameters, or None."""
        for name in ("stream", "tool_stream"):
            if not isinstance(body.get(name), bool | None):
                return f"{name}: must be true or false"
        if body.get("stream") and route != "chat":
            return f"stream: a {'task' if route == 'submit' else 'line'} has no stream"
        thinking = body.get("thinking")
        if thinking is not None and (
            not isinstance(thinking, dict) or thinking.get("type") not in (None, "enabled", "disabled")
        ):
            return 'thinking: must be {"type": "enabled"} or {"type": "disabled"}'
        for name, (least, most, closed) in _RANGES[self._scenario.mode].items():
            value = body.get(name)
            if value is None:
                continue
            if not checks.is_number(value) or not least <= value <= most or (not closed and value in (least, most)):
                ends = f"[{least:g}, {most:g}]" if closed else f"({least:g}, {most:g})"
                return f"{name}: must be in {ends}"
        limit = body.get("max_tokens")
        if limit is not None and (not checks.is_whole(limit) or not 1 <= limit <= _MAX_TOKENS):
            return f"max_tokens: must be a whole number from 1 to {_MAX_TOKENS}"
        if checks.stop_words(body.get("stop")) is None:
            return f"stop: must be a list of at most {checks.MAX_STOP} texts"
        return checks.bad_tool(body.get("tools"))


def _header_id(call: Call) -> str | None:
    value = call.headers.get(b"x-client-request-id")
    return None if value is None else value.decode("latin-1")


def _streaming(body: dict[str, Any]) -> Streaming | None:
    if not body.get("stream"):
        return None
    return Streaming(fragments=bool(body.get("tool_stream")) and _STREAMS_TOOLS.match(body["model"]) is not None)


def _told_not_to_think(thinking: dict[str, Any] | None) -> bool:
    return thinking is not None and thinking.get("type") == "disabled"


def _good_messages(messages: Any) -> bool:
    if not isinstance(messages, list):
        return False
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str) or role not in _ROLES:
            return False
        content = message.get("content")
        if role == "assistant" and message.get("tool_calls"):
            continue
        if not isinstance(content, str | list):
            return False
    return any(message["role"] in ("user", "tool") for message in messages)


def _call_number(identity: int) -> int:
    number = 10**18 + mixed(identity, 3) % (8 * 10**18)
    return -number if identity & 2 else number
