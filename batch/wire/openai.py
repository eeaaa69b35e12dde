"""The OpenAI dialect: chat completions of OpenAI itself and of servers that follow it (vLLM and others).

Owns the bodies and the meaning of error codes and types. Sources: OpenAI API reference "Create chat completion",
guides "Error codes" and "Rate limits"; Alibaba Cloud Model Studio and Moonshot "Error codes". Only the sync lane; knows
no other dialect. Used through `providers`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal

from batch.clock import Clock
from batch.records import Failure, Outgoing, Processing, Reply
from batch.wire import completion, loose, refusal, waits

if TYPE_CHECKING:
    from batch.records import Accepted, Incoming, Lane, Request
    from batch.wire.base import Signer

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
    "string_above_max_length": ("too_large", "fail"),
    "content_policy_violation": ("content_filter", "fail"),
    "content_filter": ("content_filter", "fail"),
    "rate_limit_exceeded": ("rate_limit", "retry"),
    "slow_down": ("rate_limit", "retry"),
    "resource_unavailable": ("overloaded", "retry"),
    "server_is_overloaded": ("overloaded", "retry"),
    "server_error": ("server", "retry"),
    # codes of Model Studio, whose `insufficient_quota` means tokens a minute (see `_refused`)
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

# The numbers are documented parts of the message, and the only sign that no waiting will help.
_ASKED: Final = re.compile(r"Limit ([\d,]{1,20})\b.{0,80}?Requested ([\d,]{1,20})\b", re.DOTALL)


_AGAIN: Final = re.compile(r"try again in ([0-9][0-9a-zµμ.]{0,30})")


class OpenAI:
    """Chat over one key; `name` is the provider as the records show it.

    Args:
        name: `openai`, `vllm`.
        credentials: the key, perhaps empty.
        clock: tells the time for Retry-After dates in answers that carry no `Date` header.
    """

    lanes: frozenset[Lane] = frozenset({"sync"})
    counts: Literal["asked", "used"] = "asked"

    def __init__(self, name: str, credentials: Signer, *, clock: Clock | None = None) -> None:
        self.name = name
        self._credentials = credentials
        self._clock = clock or Clock()
        self._post = (("Accept", "application/json"), *credentials.headers(), ("Content-Type", "application/json"))

    def chat(self, request: Request, call_id: str) -> Outgoing:
        """POST /chat/completions; our id of the call travels as `X-Client-Request-Id`."""
        body: dict[str, Any] = {**request.parameters, "model": request.model, "messages": request.messages}
        if request.tools:
            body["tools"] = request.tools
        headers = (*self._post, ("X-Client-Request-Id", call_id))
        return Outgoing("/chat/completions", headers, loose.encode(body))

    def read_chat(self, incoming: Incoming) -> Reply | Failure:
        """A completion, or why there is none; an `error` inside HTTP 200 counts before `choices`."""
        if incoming.status == 200:
            reply = completion.read(incoming, replay_reasoning=False)
            if reply is not None:
                return reply
        document = loose.document(incoming.body)
        if document is None:
            return refusal.no_json(incoming)
        return self._refused(document, incoming) or completion.read_loosely(
            document, status=incoming.status, replay_reasoning=False
        )

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

    def _refused(self, document: loose.Fields, incoming: Incoming) -> Failure | None:
        said = refusal.find(document)
        if said is None:
            if incoming.status < 300:
                return None
            if incoming.status < 400:
                return refusal.redirected(incoming)
            said = refusal.Said()
        kind, verdict = refusal.by_code(said, incoming.status, codes=CODES)
        if said.code == "insufficient_quota" and "request_id" in document:
            kind, verdict = "rate_limit", "retry"  # Model Studio's envelope, and its word for tokens a minute
        if kind == "rate_limit" and _never_fits(said.message):
            kind, verdict = "too_large", "fail"
        code = said.code or said.type
        wait = waits.retry_after(incoming.headers, self._clock.now_us())
        if wait is None and kind == "rate_limit":
            wait = _told(said.message)
        return Failure(
            kind=kind,
            verdict=verdict,
            message=loose.excerpt(self._credentials.hide(said.message)) or f"HTTP {incoming.status} without a message",
            code=loose.excerpt(code)[:64] if code else None,
            http_status=incoming.status,
            retry_after_s=wait,
            request_id=loose.text(document.get("request_id")) or refusal.request_id(incoming.headers),
        )


def _told(message: str) -> float | None:
    """Seconds in the `Please try again in 6m0s.` of a rate limit, for answers without Retry-After."""
    found = _AGAIN.search(message)
    return (waits.go_duration(found[1].rstrip(".")) or None) if found else None


def _never_fits(message: str) -> bool:
    """Whether the message says that one request alone is larger than the whole limit."""
    found = _ASKED.search(message)
    if not found:
        return False
    limit, asked = (int(part.replace(",", "") or 0) for part in found.groups())
    return 0 < limit < asked
