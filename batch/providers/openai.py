"""The OpenAI dialect: chat completions of OpenAI itself and of the services that follow it.

Owns the bodies, the meaning of error codes and types, and the parameters all of them share; what is different about one
service is its `Service` (one in each file of `services/`; OpenAI's own is here). Sources: OpenAI API
reference "Create chat completion", guides "Error codes" and "Rate limits"; Alibaba Cloud Model Studio and Moonshot
"Error codes". It has the lanes sync and stream, and no tasks; knows no other dialect.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from batch.core.clock import Clock
from batch.core.records import Failure, Outgoing, Processing, Reply
from batch.http import headers
from batch.providers import body, completion, loose_json, refusal
from batch.providers.base import NamedSigner
from batch.providers.folding import NO_HEADERS, Folding
from batch.providers.service import LIST, OBJECT, OUR_FIELDS, TEXT, WHOLE, YES_OR_NO, Field, Model, Service

if TYPE_CHECKING:
    from batch.core.records import Accepted, Incoming, Lane, Request
    from batch.providers.base import Headers, Signer

CODES: Final[refusal.Codes] = {
    # codes
    "invalid_api_key": ("auth", "stop"),
    "account_deactivated": ("auth", "stop"),
    "unsupported_country_region_territory": ("auth", "stop"),
    "insufficient_quota": ("balance", "stop"),
    "credit_balance_exhausted": ("balance", "stop"),
    "organization_spend_limit_exceeded": ("balance", "stop"),
    "project_spend_limit_exceeded": ("balance", "stop"),
    "organization_usage_limit_exceeded": ("balance", "stop"),
    "billing_hard_limit_reached": ("balance", "stop"),
    "billing_not_active": ("balance", "stop"),
    "model_not_found": ("model", "stop"),
    "context_length_exceeded": ("too_large", "fail"),
    "exceed_context_size_error": ("too_large", "fail"),  # llama.cpp's type, beside a code that repeats the status
    "string_above_max_length": ("too_large", "fail"),
    "content_policy_violation": ("content_filter", "fail"),
    "content_filter": ("content_filter", "fail"),
    "rate_limit_exceeded": ("rate_limit", "retry"),
    "slow_down": ("rate_limit", "retry"),
    "resource_unavailable": ("overloaded", "retry"),
    "server_is_overloaded": ("overloaded", "retry"),
    "server_error": ("server", "retry"),
    # codes of Model Studio, for any name its address is used under (`dashscope` has them with its own meanings)
    "Arrearage": ("balance", "stop"),
    "PrepaidBillOverdue": ("balance", "stop"),
    "PostpaidBillOverdue": ("balance", "stop"),
    "AllocationQuota.FreeTierOnly": ("balance", "stop"),
    "access_denied": ("auth", "stop"),
    "model_not_supported": ("model", "stop"),
    "data_inspection_failed": ("content_filter", "fail"),
    "limit_requests": ("rate_limit", "retry"),
    "limit_burst_rate": ("rate_limit", "retry"),
    "Throttling.RateQuota": ("rate_limit", "retry"),
    "Throttling.AllocationQuota": ("rate_limit", "retry"),
    "Throttling.Concurrency": ("rate_limit", "retry"),
    "ModelUnavailable": ("overloaded", "retry"),
    # types, asked when the code says nothing; `invalid_request_error` is left to the status
    "authentication_error": ("auth", "stop"),
    "permission_error": ("auth", "stop"),
    "requests": ("rate_limit", "retry"),
    "tokens": ("rate_limit", "retry"),
    "rate_limit_error": ("rate_limit", "retry"),
    "overloaded_error": ("overloaded", "retry"),
    "service_unavailable_error": ("overloaded", "retry"),
    # types of Moonshot, which has no codes
    "invalid_authentication_error": ("auth", "stop"),
    "exceeded_current_quota_error": ("balance", "stop"),
    "rate_limit_reached_error": ("rate_limit", "retry"),
    "engine_overloaded_error": ("overloaded", "retry"),
}
"""Error codes and, where a code is null, types: OpenAI's own, and those of services that speak its dialect."""

FIELDS: Final[dict[str, Field]] = {
    **OUR_FIELDS,
    "temperature": Field(kind="number", low=0, high=2),
    "top_p": Field(kind="number", low=0, high=1),
    "max_tokens": Field(kind="integer", low=1),
    "max_completion_tokens": Field(kind="integer", low=1),
    "stop": Field(kind="stops", most=4),
    "seed": WHOLE,
    "logprobs": Field(kind="boolean", note="are asked for and not kept: labels.confidence tells those of a label"),
    "top_logprobs": Field(kind="integer", low=0, high=20),
    "presence_penalty": Field(kind="number", low=-2, high=2),
    "frequency_penalty": Field(kind="number", low=-2, high=2),
    "logit_bias": Field(kind="object", each=Field(kind="number", low=-100, high=100)),
    "response_format": Field(
        kind="object",
        keys={
            "type": Field(kind="text", values=("text", "json_object", "json_schema"), soft=True),
            "json_schema": Field(
                kind="object",
                keys={
                    "name": Field(kind="text", most=64, pattern="[A-Za-z0-9_-]+"),
                    "schema": OBJECT,
                    "strict": YES_OR_NO,
                },
            ),
        },
    ),
    "tools": Field(kind="list", most=128),
    "tool_choice": Field(kind="any"),
    "parallel_tool_calls": YES_OR_NO,
    "reasoning_effort": Field(
        kind="text", values=("none", "minimal", "low", "medium", "high", "xhigh", "max"), soft=True
    ),
    "user": TEXT,
    "functions": Field(kind="any", refused="is the old form: put functions into tools.module, or into tools"),
    "function_call": Field(kind="any", refused="is the old form: use tool_choice"),
}
"""What the services that speak this dialect have in common; each overrides what it has otherwise."""

_ONE: Final = Field(kind="number", low=1, high=1, soft=True, way="models that reason often take no other")
_REASONING: Final = {
    "max_tokens": Field(kind="any", refused="is refused by models that reason: use max_completion_tokens"),
    "temperature": Field(kind="number", low=0, high=2, narrower=_ONE),
    "top_p": Field(kind="number", low=0, high=1, narrower=_ONE),
    "stop": Field(kind="stops", most=4, note="is not taken by the newest models that reason"),
}

OPENAI: Final = Service(
    name="openai",
    speaks="openai",
    base_url="https://api.openai.com/v1",
    keys=("OPENAI_API_KEY",),
    base_variable="OPENAI_BASE_URL",
    header_variables={"OPENAI_ORG_ID": "OpenAI-Organization", "OPENAI_PROJECT_ID": "OpenAI-Project"},
    codes=CODES,
    call_id_header="X-Client-Request-Id",
    batch_endpoint="/v1/chat/completions",
    nulls=True,
    counts="asked",
    json_word=True,
    json="schema",
    logprobs=True,
    schema_shown=True,
    fields={
        **FIELDS,
        "verbosity": Field(kind="text", values=("low", "medium", "high"), soft=True),
        "prediction": OBJECT,
        "modalities": LIST,
        "audio": OBJECT,
        "web_search_options": OBJECT,
        "service_tier": Field(
            kind="text",
            values=("auto", "default", "flex", "scale", "priority", "fast"),
            soft=True,
            note="changes the price: a call costs what the list has for the tier that its answer names",
        ),
        "store": YES_OR_NO,
        "metadata": Field(kind="object", most=16, each=Field(kind="text", most=512)),
        "safety_identifier": TEXT,
        "prompt_cache_key": TEXT,
        "prompt_cache_retention": TEXT,
        "prompt_cache_options": OBJECT,
    },
    tool_choices={
        **dict.fromkeys(("auto", "none", "required", "named", "allowed_tools"), "yes"),
        **dict.fromkeys(("bare", "name_object"), "no"),
    },
    models=(
        Model(names=("o[1-9]", "o[1-9]-*", "gpt-5", "gpt-5[-.]*"), logprobs=False, fields=_REASONING),
        Model(names=("gpt-5*-chat*",), logprobs=True, fields={name: FIELDS[name] for name in _REASONING}),
        # Structured outputs came with gpt-4o-2024-08-06, JSON mode with the models of November 2023.
        Model(names=("gpt-4-turbo*", "gpt-4-*-preview", "gpt-3.5-turbo*", "gpt-4o-2024-05-13"), json="object"),
        Model(
            names=("gpt-4", "gpt-4-0314", "gpt-4-0613", "gpt-4-32k*", "gpt-3.5-turbo-0[36]*", "o1-mini*"), json="none"
        ),
        Model(names=("o1-preview*",), json="none"),
    ),
)

# The numbers are documented parts of the message, and the only sign that no waiting will help.
_ASKED: Final = re.compile(r"Limit ([\d,]{1,20})\b.{0,80}?Requested ([\d,]{1,20})\b", re.DOTALL)
_AGAIN: Final = re.compile(r"try again in ([0-9][0-9a-zµμ.]{0,30})")


class OpenAI:
    """The dialect for one service and one key: chat and streams.

    Args:
        service: how it differs from the others; its name is the provider as the records show it.
        credentials: the key, perhaps empty.
        clock: tells the time for Retry-After dates in answers that carry no `Date` header.
        more: headers that each request has as well, such as who pays for it.
    """

    def __init__(
        self, service: Service, credentials: Signer, *, clock: Clock | None = None, more: Headers = ()
    ) -> None:
        self.name = service.name
        self.counts: Literal["asked", "used"] = service.counts
        self.service = service
        own: set[Lane] = {"sync", "stream"}
        self.lanes: frozenset[Lane] = frozenset(own | ({"bulk"} if service.batch_endpoint else set()))
        self._credentials = credentials
        self._clock = clock or Clock()
        self._more = more
        self._signed: Headers | None = None
        self._post: Headers = ()

    def name_key(self, address: str) -> None:
        """Have the key tell from now on which of several addresses it is for."""
        self._credentials = NamedSigner(self._credentials, address)

    def signed(self) -> Headers:
        """The headers of a request without a body."""
        return (("Accept", "application/json"), *self._credentials.headers(), *self._more)

    def chat(self, request: Request, call_id: str) -> Outgoing:
        """POST /chat/completions; our id of the call travels in a header, usually `X-Client-Request-Id`."""
        return self._outgoing(body.write(self.service, request), call_id)

    def stream(self, request: Request, call_id: str) -> Outgoing:
        """POST /chat/completions, answered in pieces, the usage in one of its own at the end."""
        members = body.write(self.service, request)
        members["stream"] = True
        if "stream_options" not in self.service.never_send:
            members["stream_options"] = {"include_usage": True}
        return self._outgoing(members, call_id)

    def folding(self) -> Folding:
        """A new `Folding`, which puts the pieces of an answer to `stream` together."""
        return Folding(partial(self.refused, incoming=NO_HEADERS), replay_reasoning=self.service.replays_reasoning)

    def _outgoing(self, members: dict[str, Any], call_id: str) -> Outgoing:
        signed = self._credentials.headers()
        if signed is not self._signed:  # at first, and when the key is another
            self._signed = signed
            json = ("Content-Type", "application/json")
            self._post = (("Accept", "application/json"), *signed, *self._more, json)
        header = self.service.call_id_header
        headers = (*self._post, (header, call_id)) if header else self._post
        return Outgoing("/chat/completions", headers, loose_json.encode(members), "chat")

    def read_chat(self, incoming: Incoming) -> Reply | Failure:
        """The reply to `chat`, or why there is none; an `error` inside HTTP 200 counts before `choices`."""
        header = self.service.partial_header
        cut = header is not None and incoming.headers.get(header, "").strip().lower() == "true"
        replay = self.service.replays_reasoning
        if incoming.status == 200:
            reply = completion.read(incoming, replay_reasoning=replay)
            if reply is not None:
                return _cut(reply) if cut else reply
        document = loose_json.parse_object(incoming.body)
        if document is None:
            return refusal.not_json(incoming)
        result = self.refused(document, incoming) or completion.read_loosely(
            document, status=incoming.status, replay_reasoning=replay, unfinished="length" if cut else None
        )
        return _cut(result) if cut and isinstance(result, Reply) else result

    def submit(self, request: Request, call_id: str) -> Outgoing:
        """Not offered: OpenAI has no task lane."""
        raise NotImplementedError(f"provider {self.name} has no task lane: use lane sync")

    def read_submit(self, incoming: Incoming) -> Accepted | Failure:
        """Not offered: OpenAI has no task lane."""
        raise NotImplementedError(f"provider {self.name} has no task lane: use lane sync")

    def poll(self, task_id: str) -> Outgoing:
        """Not offered: OpenAI has no task lane."""
        raise NotImplementedError(f"provider {self.name} has no task lane: use lane sync")

    def read_poll(self, incoming: Incoming) -> Reply | Failure | Processing:
        """Not offered: OpenAI has no task lane."""
        raise NotImplementedError(f"provider {self.name} has no task lane: use lane sync")

    def refused(self, document: loose_json.Fields, incoming: Incoming) -> Failure | None:
        """The failure that a JSON answer tells of; None when it tells of none."""
        if 300 <= incoming.status < 400:
            return refusal.redirected(incoming)
        envelope = refusal.parse_error(document)
        if envelope is None and incoming.status < 300:
            return None
        error = envelope or refusal.said_loosely(document)
        kind, verdict = refusal.classify(error, incoming.status, codes=self.service.codes)
        if error.code == "insufficient_quota" and "request_id" in document:
            # Model Studio's envelope, and its word for tokens a minute, at another name's base_url.
            kind, verdict = "rate_limit", "retry"
        if (kind, verdict) == ("auth", "stop") and incoming.status == 401 and self._credentials.renew(expired=False):
            verdict = self._credentials.again
        if kind == "rate_limit" and _never_fits(error.message):
            kind, verdict = "too_large", "fail"
        code = error.code or error.type
        wait = headers.retry_after(incoming.headers, self._clock.now_us())
        if wait is None and kind == "rate_limit":
            wait = _wait_in_text(error.message)
        failure = Failure(
            kind=kind,
            verdict=verdict,
            message=loose_json.excerpt(error.message) or f"HTTP {incoming.status} without a message",
            code=loose_json.excerpt(code)[:64] if code else None,
            http_status=incoming.status,
            retry_after_s=wait,
            request_id=loose_json.as_text(document.get("request_id")) or refusal.request_id(incoming.headers),
        )
        return refusal.misplaced(failure, has_envelope=envelope is not None)


def _cut(reply: Reply) -> Reply:
    """A reply that the service says is only a part of one: kept and flagged as truncated."""
    return msgspec.structs.replace(reply, finish_reason="length") if reply.finish_reason == "stop" else reply


def _wait_in_text(message: str) -> float | None:
    """The seconds in `Please try again in 6m0s.` of a rate limit, for answers without Retry-After."""
    match = _AGAIN.search(message)
    return (headers.go_duration(match[1].rstrip(".")) or None) if match else None


def _never_fits(message: str) -> bool:
    """Whether the message says that one request alone is larger than the whole limit."""
    match = _ASKED.search(message)
    if not match:
        return False
    limit, asked = (int(part.replace(",", "") or 0) for part in match.groups())
    return 0 < limit < asked
