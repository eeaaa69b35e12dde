"""How long a service asks us to wait: Retry-After in its forms, Go durations, rate-limit headers, reset times.

Owns the parsing only; nothing here waits or caps. What cannot be understood is None, never zero. Sources: RFC 9110
10.2.3, OpenAI guide "Rate limits" (durations such as `6m0s`), BigModel "API error codes" (1308, 1310: a reset time
inside the message). Used by the dialects through `refusal`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

CHINA: Final = timezone(timedelta(hours=8))
"""BigModel writes its reset times in Chinese local time; z.ai shows the same form and is read the same way."""

_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_TERM: Final = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|us|µs|μs|ns|h|m|s)", re.ASCII)
_DURATION: Final = re.compile(rf"(?:{_TERM.pattern})+", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,12}(?:\.\d{1,12})?", re.ASCII)
_RESET: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)", re.ASCII)


class LimitHeaders(msgspec.Struct, frozen=True):
    """The `x-ratelimit-*` headers of one answer; None where the service said nothing that can be read."""

    limit_requests: int | None = None
    limit_tokens: int | None = None
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_requests_s: float | None = None
    reset_tokens_s: float | None = None


def go_duration(text: str) -> float | None:
    """Seconds in a Go duration such as `6m0s`, `17.409s` or `20ms`, or in a plain number of seconds."""
    text = text.strip()
    if len(text) > 64:
        return None
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _TERM.findall(text))


def limit_headers(headers: Mapping[str, str]) -> LimitHeaders | None:
    """What the `x-ratelimit-*` headers say, or None when there is none of them."""
    if not any(name.startswith("x-ratelimit-") for name in headers):
        return None
    return LimitHeaders(
        limit_requests=_count(headers.get("x-ratelimit-limit-requests")),
        limit_tokens=_count(headers.get("x-ratelimit-limit-tokens")),
        remaining_requests=_count(headers.get("x-ratelimit-remaining-requests")),
        remaining_tokens=_count(headers.get("x-ratelimit-remaining-tokens")),
        reset_requests_s=go_duration(headers.get("x-ratelimit-reset-requests", "")),
        reset_tokens_s=go_duration(headers.get("x-ratelimit-reset-tokens", "")),
    )


def retry_after(headers: Mapping[str, str], now_us: int) -> float | None:
    """Seconds from now that the service asks us to wait; positive, not capped, None when it asks for nothing.

    `retry-after-ms` counts before `retry-after`. A date counts from the answer's own `Date`, so that a clock that is
    wrong on either side does not matter; without that header from `now_us`, our UTC time in microseconds.
    """
    millis = headers.get("retry-after-ms", "").strip()
    if _NUMBER.fullmatch(millis) and float(millis) > 0:
        return float(millis) / 1000
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if _NUMBER.fullmatch(value):
        return float(value) or None
    moment = _http_date(value)
    return None if moment is None else _from(server_now(headers, now_us), moment)


def reset_time(message: str, headers: Mapping[str, str], *, now_us: int) -> float | None:
    """Seconds until the `YYYY-mm-dd HH:MM:SS` (UTC+8) in a message of BigModel's quota codes, or None."""
    found = _RESET.search(message)
    if not found:
        return None
    try:
        moment = datetime(*(int(part) for part in found.groups()), tzinfo=CHINA)  # type: ignore[arg-type, misc]
    except ValueError:
        return None
    return _from(server_now(headers, now_us), moment)


def server_now(headers: Mapping[str, str], now_us: int) -> datetime:
    """The service's idea of now: its `Date` header, else our own UTC time."""
    return _http_date(headers.get("date", "")) or datetime.fromtimestamp(now_us / 1e6, tz=UTC)


def _from(now: datetime, moment: datetime) -> float | None:
    seconds = (moment - now).total_seconds()
    return seconds if seconds > 0 else None


def _http_date(value: str) -> datetime | None:
    if not value or len(value) > 64:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _count(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdecimal() and len(value) <= 18 else None
