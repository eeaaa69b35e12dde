"""Limits per minute, requests and tokens: those a job asks for, or tighter ones that the provider tells.

Owns which limits are in force for a job or for one of its models, and reads the rate-limit headers of answers for them.
How a limit is kept is the business of `requests` and `tokens`; calls in flight, pauses and outages are not known here.
Pure arithmetic over times handed in: `limiter` waits.
"""

from __future__ import annotations

from typing import Final

from batch.core.records import LimitHeaders
from batch.limits.requests import RequestRate
from batch.limits.tokens import Grant, TokenBudget

PER_MINUTE_S: Final = 120.0
"""A window of the provider's longer than this is no limit per minute, and sets no pace."""
SOON_S: Final = 1e-6  # a wait shorter than that is none: sums of floats fall short of their time


class RateLimits:
    """Requests and tokens per minute of a whole job, or of one model.

    Args:
        requests_per_minute: the limit that was asked for; None leaves it to the provider's headers.
        tokens_per_minute: likewise.

    Attributes:
        requests: the pace of requests.
        tokens: the budget of tokens; None without a limit.
        in_force: whether there is any limit.
    """

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self.requests = RequestRate(requests_per_minute)
        self.tokens = TokenBudget(tokens_per_minute) if tokens_per_minute is not None else None
        self._asked_rpm = requests_per_minute
        self._asked_tpm = tokens_per_minute
        self.in_force = requests_per_minute is not None or tokens_per_minute is not None

    def sent_before(self, seconds: float, now: float) -> None:
        """Continue the windows of another process, whose last request left `seconds` before `now`."""
        self.requests.sent_before(seconds, now)
        if self.tokens is not None:
            self.tokens.sent_before(seconds, now)

    def exceeded_by(self, tokens: float) -> float | None:
        """The token limit that was asked for, when so many tokens at once are more than the whole of it; else None.

        A limit that only headers told is no reason to give a row up: they may be of another tier tomorrow, and a row
        larger than that is sent alone.
        """
        return self._asked_tpm if self._asked_tpm is not None and tokens > self._asked_tpm else None

    def binding(self, amount: float | None, now: float) -> str | None:
        """The name of the limit that a request of `amount` tokens waits for longest; None when it may go."""
        requests_s, tokens_s = self.requests.wait(now), self.token_wait(amount, now)
        if max(requests_s, tokens_s) <= SOON_S:
            return None
        return "tokens_per_minute" if tokens_s > requests_s else "requests_per_minute"

    # -- granting: reserved before a call leaves, corrected when its usage is known ------------------------------------

    def wait(self, amount: float | None, now: float) -> float:
        """The seconds until one request of `amount` tokens may be granted; 0 when it may at once."""
        wait_s = max(self.requests.wait(now), self.token_wait(amount, now))
        return wait_s if wait_s > SOON_S else 0.0

    def token_wait(self, amount: float | None, now: float) -> float:
        """The seconds until `amount` tokens may be granted; 0 without a token limit, None counts no tokens."""
        if self.tokens is None or amount is None:
            return 0.0
        return self.tokens.wait(amount, now)

    def take(self, amount: float | None, now: float) -> Grant | None:
        """Grant one request, and reserve its tokens."""
        self.requests.take(now)
        return self.take_tokens(amount, now)

    def take_tokens(self, amount: float | None, now: float) -> Grant | None:
        """Reserve tokens; None without a token limit."""
        return None if self.tokens is None or amount is None else self.tokens.take(amount, now)

    def settle(self, grant: Grant | None, amount: float, now: float) -> bool:
        """Correct a reservation to `amount` tokens; whether there is more room than before."""
        return grant is not None and self.tokens is not None and self.tokens.settle(grant, amount, now)

    # -- headers ----------------------------------------------------------------------------------------------------

    def observe(self, headers: LimitHeaders, now: float) -> dict[str, float]:
        """Adopt the limits that an answer's headers tell, where they are tighter; those that changed are returned."""
        requests, tokens = headers.limit_requests, headers.limit_tokens
        adopted: dict[str, float] = {}
        if requests and _is_per_minute(requests, headers.remaining_requests, headers.reset_requests_s):
            limit = min(float(requests), self._asked_rpm or float(requests))
            if limit != self.requests.per_minute:
                self.requests.set_limit(limit, now)
                adopted["requests_per_minute"] = limit
        if tokens and _is_per_minute(tokens, headers.remaining_tokens, headers.reset_tokens_s):
            limit = min(float(tokens), self._asked_tpm or float(tokens))
            if self._adopt_tokens(limit, tokens if headers.remaining_tokens is None else headers.remaining_tokens, now):
                adopted["tokens_per_minute"] = limit
        self.in_force = self.in_force or bool(adopted)
        return adopted

    def _adopt_tokens(self, limit: float, remaining: int, now: float) -> bool:
        if self.tokens is None:
            self.tokens = TokenBudget(limit)
            # What left before this first header came is in no window of ours, but in theirs.
            self.tokens.used_before(limit - min(remaining, limit), now)
        elif limit != self.tokens.per_minute:
            self.tokens.set_limit(limit)
        else:
            return False
        return True


def pause_of(headers: LimitHeaders) -> float:
    """How many seconds to wait because the headers say that a budget is used up; 0 when none is."""
    requests_s = tokens_s = 0.0
    if headers.remaining_requests == 0 and headers.reset_requests_s and headers.limit_requests:
        requests_s = headers.reset_requests_s
        if _is_per_minute(headers.limit_requests, 0, requests_s):
            # Refilled all the time, it has room for the next request long before it is full again.
            requests_s = min(requests_s, 120 / headers.limit_requests)
    if headers.remaining_tokens == 0 and headers.reset_tokens_s:
        tokens_s = headers.reset_tokens_s
        if tokens_s <= PER_MINUTE_S:
            tokens_s = min(tokens_s, 1.0)
    return max(requests_s, tokens_s)


def _is_per_minute(limit: int, remaining: int | None, reset_s: float | None) -> bool:
    """Whether a limit is one per minute, judged by how fast it refills: what is used up, and when it is full again."""
    if remaining is None or reset_s is None or remaining >= limit or reset_s <= 1.0:
        return True  # nothing is used up, or it is back at once: nothing speaks against it
    return reset_s * limit / (limit - remaining) <= PER_MINUTE_S
