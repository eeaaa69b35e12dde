"""The limits per minute of one run, requests and tokens: those the job asks for, or tighter ones the provider tells.

Owns which limits are in force, and reads the rate-limit headers of answers for them. How a limit is kept is the
business of `requests` and `tokens`; calls in flight, pauses and outages are not known here. Pure arithmetic over times
handed in: `limiter` waits.
"""

from __future__ import annotations

from typing import Final

from batch.core.logs import logger
from batch.core.records import LimitHeaders, Usage
from batch.limits.requests import RequestRate
from batch.limits.tokens import Grant, TokenBudget, TokenEstimator, TokenWeight

PER_MINUTE_S: Final = 120.0
"""A window of the provider's longer than this is no limit per minute, and sets no pace."""


class RateLimits:
    """Requests and tokens per minute of one run against one provider and key.

    Args:
        requests_per_minute: the job's limit; None leaves it to the provider's headers.
        tokens_per_minute: likewise.
        estimator: what a request counts for; without it no token limit is kept.
    """

    def __init__(
        self, requests_per_minute: float | None, tokens_per_minute: float | None, estimator: TokenEstimator | None
    ) -> None:
        self.estimator = estimator
        self.requests = RequestRate(requests_per_minute)
        self._asked_rpm = requests_per_minute
        self._asked_tpm = tokens_per_minute
        self._tokens = TokenBudget(tokens_per_minute) if tokens_per_minute is not None else None

    @property
    def counts_tokens(self) -> bool:
        """Whether a token limit is in force."""
        return self._tokens is not None

    def sent_before(self, seconds: float, now: float) -> None:
        """Continue the windows of another process, whose last request left `seconds` before `now`."""
        self.requests.sent_before(seconds)
        if self._tokens is not None:
            self._tokens.sent_before(seconds, now)

    def exceeds_limit(self, weight: TokenWeight | None) -> float | None:
        """The token limit, when this request alone is surely larger than the whole of it; None otherwise."""
        if weight is None or self._tokens is None or self.estimator is None:
            return None
        limit = self._tokens.per_minute
        return limit if self.estimator.surely(weight) > limit else None

    # -- tokens: reserved before a call leaves, corrected when its usage is known --------------------------------------

    def token_wait(self, weight: TokenWeight | None, now: float) -> float:
        """The seconds until the tokens of `weight` may leave; 0 without a token limit."""
        if self._tokens is None or self.estimator is None or weight is None:
            return 0.0
        return self._tokens.wait(self.estimator.amount(weight), now)

    def take_tokens(self, weight: TokenWeight | None, now: float) -> Grant | None:
        """Reserve the tokens of `weight`; None without a token limit."""
        if self._tokens is None or self.estimator is None or weight is None:
            return None
        return self._tokens.take(self.estimator.amount(weight), now)

    def give_back(self, grant: Grant | None, now: float) -> None:
        """Undo a reservation whose call has not left."""
        if grant is not None and self._tokens is not None:
            self._tokens.settle(grant, 0.0, now)

    def settle(self, grant: Grant | None, weight: TokenWeight | None, usage: Usage | None, now: float) -> bool:
        """Correct a reservation by what its call was billed for, and learn from it.

        Args:
            grant: the reservation.
            weight: what it was estimated from.
            usage: what the provider counted; None, or no tokens at all, leaves the reservation as it is.
            now: monotonic seconds.

        Returns:
            Whether there is more room than before.
        """
        if grant is None or weight is None or self._tokens is None or self.estimator is None:
            return False
        if usage is None or not usage.total_tokens:
            return False  # a refused call stays booked as it was reserved: services count it too
        return self._tokens.settle(grant, self.estimator.used(weight, usage), now)

    # -- headers ----------------------------------------------------------------------------------------------------

    def observe(self, headers: LimitHeaders, now: float) -> None:
        """Adopt the limits that an answer's headers tell, where they are tighter than the job's."""
        requests, tokens = headers.limit_requests, headers.limit_tokens
        if requests and _is_per_minute(requests, headers.remaining_requests, headers.reset_requests_s):
            self._adopt_requests(float(requests))
        if tokens and _is_per_minute(tokens, headers.remaining_tokens, headers.reset_tokens_s):
            self._adopt_tokens(float(tokens), headers.remaining_tokens, now)

    def _adopt_requests(self, limit: float) -> None:
        limit = min(limit, self._asked_rpm or limit)
        if limit != self.requests.per_minute:
            logger().info("limit_adopted", requests_per_minute=limit)
            self.requests.set_limit(limit)

    def _adopt_tokens(self, told: float, remaining: int | None, now: float) -> None:
        limit = min(told, self._asked_tpm or told)
        if self._tokens is None:
            self._tokens = TokenBudget(limit)
            # What left before this first header came is in no window of ours, but in theirs.
            self._tokens.used_before(limit - min(told if remaining is None else remaining, limit), now)
        elif limit != self._tokens.per_minute:
            self._tokens.set_limit(limit)
        else:
            return
        logger().info("limit_adopted", tokens_per_minute=limit)


def pause_of(headers: LimitHeaders) -> float:
    """How many seconds to wait because the headers say that a budget is used up; 0 when none is."""
    requests_s = tokens_s = 0.0
    if headers.remaining_requests == 0 and headers.reset_requests_s and headers.limit_requests:
        requests_s = headers.reset_requests_s
        if _is_per_minute(headers.limit_requests, 0, requests_s):
            # Refilled all the time, it has room for the next request long before it is full again.
            requests_s = min(requests_s, 120 / headers.limit_requests)
    if headers.remaining_tokens == 0 and headers.reset_tokens_s:
        tokens_s = min(headers.reset_tokens_s, 1.0)
    return max(requests_s, tokens_s)


def _is_per_minute(limit: int, remaining: int | None, reset_s: float | None) -> bool:
    """Whether a limit is one per minute, judged by how fast it refills: what is used up, and when it is full again."""
    if remaining is None or reset_s is None or remaining >= limit or reset_s <= 1.0:
        return True  # nothing is used up, or it is back at once: nothing speaks against it
    return reset_s * limit / (limit - remaining) <= PER_MINUTE_S
