"""The OpenAI dialect: chat completions. Owns its routes, checks, headers and bodies; no state of its own.

Sources: OpenAI API specification (chat completions), guides "Rate limits" and "Error codes", and answers recorded with
gpt-5-mini.

What a streamed answer says is made here; `openai_chunks.py` cuts it into chunks.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from batch.simulator.auth import AuthError, bearer, openai_key
from batch.simulator.batches import paths
from batch.simulator.batches.form import Form
from batch.simulator.books import prices
from batch.simulator.books.tokens import of_prompt, text_of
from batch.simulator.call import Call
from batch.simulator.chance import letters, mixed
from batch.simulator.dialects import checks, errors, logprobs, openai_files
from batch.simulator.dialects.openai_chunks import stream_of
from batch.simulator.dialects.stream import Stream
from batch.simulator.limits import Gauge, Refusal
from batch.simulator.models.completion import Ask, Completion, Streaming, Usage
from batch.simulator.provider import Provider
from batch.simulator.wire import Headers, Reply, json_reply

PREFIX = "/v1"
_MODEL = "/models/"

_ROUTES = {("POST", "/chat/completions"): "chat", ("GET", "/models"): "models"}
_ROLES = {"developer", "system", "user", "assistant", "tool", "function"}
_MAX_TOKENS = 10_000_000
_MAX_CHOICES = 128
_THINKS = re.compile(r"(?:gpt-[5-9]|o[1-9])(?![0-9])", re.IGNORECASE)  # what they think is counted, not shown
_WORDS = {
    "tool_choice": ("none", "auto", "required"),
    "service_tier": ("auto", "default", "flex", "scale", "priority", "fast"),
}
_RANGES = {"temperature": (0, 2), "top_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2)}


def routes() -> list[str]:
    """Every route with its method, as people write it."""
    about_files = paths.shown(PREFIX, retrieves_files=openai_files.OpenAIFiles.retrieves_files)
    return [*(f"{method} {PREFIX}{path}" for method, path in _ROUTES), f"GET {PREFIX}{_MODEL}NAME", *about_files]


class OpenAI:
    """The dialect, in front of one provider."""

    name = "openai"
    content_type = errors.OPENAI_JSON

    def __init__(self, provider: Provider) -> None:
        """Speak for this provider."""
        self._provider = provider
        self._scenario = provider.scenario
        self.files: Form = openai_files.OpenAIFiles()

    def route(self, method: str, path: str) -> str:
        """The route's name, or `unknown`."""
        if method == "GET" and path.startswith(_MODEL) and path != _MODEL:
            return "models"
        about_files = paths.route_of(method, path, retrieves_files=self.files.retrieves_files)
        return about_files or _ROUTES.get((method, path), "unknown")

    def key_of(self, authorization: str | None) -> str:
        """A name for the key that asks.

        Raises:
            AuthError: the credentials are missing or malformed.
        """
        return openai_key(bearer(authorization))

    def unauthorized(self, error: AuthError) -> Reply:
        """HTTP 401, `invalid_api_key`."""
        message = "You didn't provide an API key." if error.code == "1001" else errors.WRONG_KEY
        return errors.openai(401, message, "invalid_request_error", code="invalid_api_key")

    def no_route(self, call: Call) -> Reply:
        """HTTP 404, `unknown_url`."""
        message = f"Unknown request URL: {call.method} {PREFIX}{call.path}. Please check the URL for typos."
        return errors.openai(404, message, "invalid_request_error", code="unknown_url")

    def dress(self, call: Call, reply: Reply) -> Reply:
        """The reply with its request id, its processing time, and the six rate-limit headers where limits are set."""
        clock, entry = self._provider.clock, call.entry
        now = clock.monotonic()
        headers: Headers = (
            (b"x-request-id", b"req_" + (self._provider.hex_id(entry.number) * 2).encode()),
            (b"openai-processing-ms", str(int((now - call.arrived) * 1000)).encode()),
            (b"openai-version", b"2020-10-01"),
        )
        requests, tokens = self._provider.limits.gauges(entry.key_id, entry.model, now)
        headers += _gauge(b"requests", requests) + _gauge(b"tokens", tokens)
        return msgspec.structs.replace(reply, headers=headers + reply.headers)

    def refused(self, call: Call, refusal: Refusal) -> Reply:
        """HTTP 429 `rate_limit_exceeded`; `Retry-After` in whole seconds where waiting helps."""
        model, limit, used, asked = call.entry.model, refusal.limit, refusal.used, refusal.requested
        kind = "tokens" if refusal.kind == "tpm" else "requests"
        unit = {"tpm": "tokens per min (TPM)", "rpm": "requests per min (RPM)", "in_flight": "concurrent requests"}
        scope = f"for {model} in organization org-simulator on {unit[refusal.kind]}: Limit {limit}"
        if refusal.wait_s == math.inf:
            message = f"Request too large {scope}, Requested {asked}. The input or output tokens must be reduced."
            return errors.openai(429, message, kind, code="rate_limit_exceeded")
        # A place in flight may come free at any moment; a second is what the service says then.
        wait = 1.0 if refusal.wait_s is None else refusal.wait_s
        message = (
            f"Rate limit reached {scope}, Used {used}, Requested {asked}. Please try again in "
            f"{errors.duration(wait)}. Visit https://platform.openai.com/account/rate-limits to learn more."
        )
        headers = (
            (b"retry-after", str(max(1, math.ceil(wait))).encode()),
            (b"retry-after-ms", str(max(1, math.ceil(wait * 1000))).encode()),
        )
        return errors.openai(429, message, kind, code="rate_limit_exceeded", headers=headers)

    async def serve(self, call: Call) -> Reply:
        """Answer a request on a known route."""
        if call.entry.route == "models":
            return self._models(call.path)
        ask = self.read(call)
        if isinstance(ask, Reply):
            self._provider.invalid(call, "invalid")
            return ask
        self.name_reply(call)
        return await self._provider.chat(call, self, ask)

    def name_reply(self, call: Call) -> None:
        """An id of random letters."""
        call.reply_id = "chatcmpl-" + letters(mixed(self._scenario.seed, call.entry.number), 29)

    def _models(self, path: str) -> Reply:
        """All models, or the one that the path names."""
        one = path.removeprefix(_MODEL) if path.startswith(_MODEL) else None
        served = self._scenario.models
        if one is not None and served is not None and one not in served:
            return _no_such_model(one)
        names = self._provider.books.models("USD") if served is None else served
        names = names if one is None else [one]
        models = [{"id": name, "object": "model", "created": 1754425777, "owned_by": "system"} for name in names]
        told = models[0] if one is not None else {"object": "list", "data": models}
        return json_reply(200, told, (), self.content_type)

    def answer(self, call: Call, ask: Ask, completion: Completion, usage: Usage) -> dict[str, Any]:
        """The body of a chat answer; see `Dialect.answer`."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if completion.calls else completion.text,
            "refusal": None,
            "annotations": [],
        }
        if completion.reasoning:
            message["reasoning_content"] = completion.reasoning
        if completion.calls:
            message["tool_calls"] = [
                {
                    "id": "call_" + letters(mixed(completion.identity, position), 24),
                    "type": "function",
                    "function": {"name": called.name, "arguments": called.arguments},
                }
                for position, called in enumerate(completion.calls)
            ]
        told = None if completion.calls else logprobs.of_text(completion.text, ask.logprobs, completion.identity)
        choice = {"message": message, "logprobs": told, "finish_reason": completion.finish_reason}
        return {
            "id": call.reply_id,
            "object": "chat.completion",
            "created": int(self._provider.clock.wall()),
            "model": ask.model,
            "choices": [{"index": index, **choice} for index in range(ask.choices)],
            "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "total_tokens": usage.total_tokens,
                "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
                "completion_tokens_details": {
                    "reasoning_tokens": usage.reasoning_tokens,
                    "audio_tokens": 0,
                    "accepted_prediction_tokens": 0,
                    "rejected_prediction_tokens": 0,
                },
            },
            "system_fingerprint": None,
            **({"service_tier": call.entry.tier} if call.entry.tier else {}),
        }

    def stream(self, ask: Ask, body: dict[str, Any]) -> Stream:
        """An answer's body as the events of a stream."""
        wanted = ask.stream or Streaming()
        if wanted.obfuscated is None and self._scenario.obfuscation:
            wanted = msgspec.structs.replace(wanted, obfuscated=True)
        return stream_of(body, self._scenario.slices, wanted)

    def read(self, call: Call) -> Ask | Reply:
        """What a request or a line asks, or its refusal; see `Dialect.read`."""
        entry = call.entry
        given_id = call.headers.get(b"x-client-request-id")
        entry.client_call_id = None if given_id is None else given_id.decode("latin-1")
        body = checks.decoded(call.body)
        if body is None:
            return errors.openai_invalid("We could not parse the JSON body of your request.", code=None)
        model, messages = body.get("model"), body.get("messages")
        if not isinstance(model, str) or not model:
            return errors.openai_invalid("you must provide a model parameter", code=None)
        entry.model = model
        if self._scenario.models is not None and model not in self._scenario.models:
            return _no_such_model(model)
        if not messages:
            missing = "Missing required parameter: 'messages'."
            return errors.openai_invalid(missing, param="messages", code="missing_required_parameter")
        if body.get("stream") and entry.route == "line":
            return errors.openai_invalid("A line of a batch cannot be streamed.", param="stream")
        refusal = _bad_messages(messages) or _bad_parameter(body, messages) or _bad_logprobs(body)
        if refusal is not None:
            return refusal
        if isinstance(body.get("service_tier"), str):
            entry.tier = prices.tier_served(model, body["service_tier"])
        functions, forced = checks.offered(body.get("tools"), body.get("tool_choice"))
        limit = body.get("max_completion_tokens")
        return Ask(
            model=model,
            messages=messages,
            tools=functions,
            forced=forced,
            parallel=body.get("parallel_tool_calls") is not False,
            stop=checks.stop_words(body.get("stop")) or (),
            max_tokens=body.get("max_tokens") if limit is None else limit,
            response_format=body.get("response_format"),
            choices=body.get("n") or 1,
            prompt_tokens=of_prompt(messages, body.get("tools")),
            stream=_streaming(body),
            thinking=_thinking(body),
            logprobs=(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
        )


def _no_such_model(name: str) -> Reply:
    message = f"The model `{name}` does not exist or you do not have access to it."
    return errors.openai(404, message, "invalid_request_error", code="model_not_found")


def _streaming(body: dict[str, Any]) -> Streaming | None:
    if not body.get("stream"):
        return None
    options = body.get("stream_options") or {}
    return Streaming(options.get("include_usage") is True, True, options.get("include_obfuscation"))


def _thinking(body: dict[str, Any]) -> str:
    if body.get("enable_thinking") is True:
        return "shown"  # DashScope, which also shows it
    hidden = _THINKS.match(body["model"]) and body.get("reasoning_effort") not in ("none", "minimal")
    return "hidden" if hidden else ""


def _gauge(unit: bytes, gauge: Gauge | None) -> Headers:
    if gauge is None:
        return ()
    return (
        (b"x-ratelimit-limit-" + unit, str(gauge.limit).encode()),
        (b"x-ratelimit-remaining-" + unit, str(gauge.remaining).encode()),
        (b"x-ratelimit-reset-" + unit, errors.duration(gauge.reset_s).encode()),
    )


def _bad_messages(messages: Any) -> Reply | None:
    """The refusal of messages that are not in order, or None."""
    if not isinstance(messages, list):
        return errors.openai_invalid("Invalid type for 'messages': expected an array.", param="messages")
    open_calls: set[str] = set()
    for position, message in enumerate(messages):
        param = f"messages[{position}]"
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str) or role not in _ROLES:
            return errors.openai_invalid(f"Invalid value for '{param}.role'.", param=f"{param}.role")
        if role == "tool":
            if str(message.get("tool_call_id")) not in open_calls:
                text = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
                return errors.openai_invalid(f"Invalid parameter: {text}", param=f"{param}.role", code=None)
            open_calls.discard(str(message["tool_call_id"]))
            continue
        if open_calls:
            break
        calls = message.get("tool_calls") if role == "assistant" else None
        if isinstance(calls, list) and calls:
            open_calls = {str(call.get("id")) for call in calls if isinstance(call, dict)}
        elif not isinstance(message.get("content"), str | list):
            return errors.openai_invalid(f"Invalid type for '{param}.content'.", param=f"{param}.content")
    if open_calls:
        text = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: "
        )
        return errors.openai_invalid(text + ", ".join(sorted(open_calls)), param="messages", code=None)
    return None


def _bad_logprobs(body: dict[str, Any]) -> Reply | None:
    refusal = logprobs.refused(body)
    return None if refusal is None else errors.openai_invalid(refusal[0], param=refusal[1])


def _wrong_words(body: dict[str, Any]) -> list[str]:
    """The parameters whose word is none of theirs."""
    return [name for name, words in _WORDS.items() if isinstance(body.get(name), str) and body[name] not in words]


def _bad_parameter(body: dict[str, Any], messages: list[dict[str, Any]]) -> Reply | None:
    """The refusal of a parameter out of range, or None."""
    stream, options = body.get("stream"), body.get("stream_options")
    if not isinstance(stream, bool | None):
        return errors.openai_invalid("Invalid type for 'stream': expected a boolean.", param="stream")
    if options is not None and not isinstance(options, dict):
        return errors.openai_invalid("Invalid type for 'stream_options': expected an object.", param="stream_options")
    if options is not None and not stream:
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        return errors.openai_invalid(text, param="stream_options", code=None)
    for name, (least, most) in _RANGES.items():
        value = body.get(name)
        if value is not None and (not checks.is_number(value) or not least <= value <= most):
            return errors.openai_invalid(f"Invalid '{name}': expected {least} to {most}.", param=name)
    for name, most in (("max_tokens", _MAX_TOKENS), ("max_completion_tokens", _MAX_TOKENS), ("n", _MAX_CHOICES)):
        value = body.get(name)
        if value is not None and (not checks.is_whole(value) or not 1 <= value <= most):
            return errors.openai_invalid(f"Invalid '{name}': expected a whole number from 1 to {most}.", param=name)
    if checks.stop_words(body.get("stop")) is None:
        return errors.openai_invalid("Invalid 'stop': expected a text or up to 4 texts.", param="stop")
    bad = checks.bad_tool(body.get("tools"))
    if bad is not None:
        return errors.openai_invalid(f"Invalid '{bad}'.", param=bad)
    if wrong := _wrong_words(body):
        return errors.openai_invalid(f"Invalid value: '{body[wrong[0]]}'.", param=wrong[0])
    form = body.get("response_format")
    if form is not None and not isinstance(form, dict):
        return errors.openai_invalid("Invalid type for 'response_format': expected an object.", param="response_format")
    if form and form.get("type") == "json_object":
        text = " ".join(text_of(message.get("content")) for message in messages)
        if "json" not in text.lower():
            needed = (
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            )
            return errors.openai_invalid(needed, param="messages", code=None)
    return None
