"""What a service says in its headers about waiting and about rate limits.

Owns the parsing of Retry-After in its forms, of Go durations and of `x-ratelimit-*`; nothing here waits or sets a
bound. What cannot be understood is None, never zero. Sources: RFC 9110 10.2.3, OpenAI guide "Rate limits" (durations
such as `6m0s`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from batch.core.records import LimitHeaders

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_TERM: Final = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|us|µs|μs|ns|h|m|s)", re.ASCII)
_DURATION: Final = re.compile(rf"(?:{_TERM.pattern})+", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,16}(?:\.\d{1,12})?", re.ASCII)
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def go_duration(text: str) -> float | None:
    """The seconds that a Go duration (`6m0s`, `17.409s`, `20ms`) or a plain number stands for; None for other text."""
    text = text.strip()
    if len(text) > 64:
        return None
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _TERM.findall(text))


ASKING: Final = frozenset({"retry-after", "retry-after-ms"})
"""The headers in which a service asks us to wait; `readable` tells whether a value of one does."""

ECHOES: Final = ("x-client-request-id", "x-request-id")
"""The headers in which services echo our id of a call."""

UNIX_TIME_MIN: Final = 1e9
"""From here on, a reset "in seconds" is a moment, counted from 1970, and not a length of time."""
UNIX_MILLIS_MIN: Final = 1e11
UNIX_MICROS_MIN: Final = 1e14
"""From here on, such a moment is in milliseconds."""

_REQUESTS: Final = ("requests", "requests-minute")
_TOKENS: Final = ("tokens", "project-tokens", "tokens-minute")
_LIMITS: Final = frozenset(
    f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in (*_REQUESTS, *_TOKENS)
)


def limit_headers(headers: Mapping[str, str], now_us: int | None = None) -> LimitHeaders | None:
    """Read the `x-ratelimit-*` headers of an answer.

    Of several budgets of one kind (of the organisation and of the project, or of the minute where a service tells of
    several windows) the tightest counts. A reset is a length of time (a Go duration or plain seconds) or a moment
    (since 1970, or RFC 3339). The time until a moment counts from the answer's own `Date`; one that has passed is 0.0.

    Args:
        headers: by name in lower case.
        now_us: our UTC time in microseconds, for an answer without `Date`; None reads no moment in such an answer.

    Returns:
        What the headers say, or None when there is none of them.
    """
    if _LIMITS.isdisjoint(headers):
        return None
    requests = _tightest(headers, _REQUESTS, now_us)
    tokens = _tightest(headers, _TOKENS, now_us)
    return LimitHeaders(requests[0], tokens[0], requests[1], tokens[1], requests[2], tokens[2])


def looked_at(headers: Mapping[str, str]) -> dict[str, str]:
    """What of the headers of an answer counts once its body was read: the id it names, and its limits.

    Args:
        headers: by name in lower case.
    """
    kept = {name: value for name, value in headers.items() if name in ECHOES or name.startswith("x-ratelimit-")}
    if kept and "date" in headers:
        kept["date"] = headers["date"]
    return kept


Budget = tuple[int | None, int | None, float | None]


def _tightest(headers: Mapping[str, str], suffixes: tuple[str, ...], now_us: int | None) -> Budget:
    """The smallest limit, the smallest remainder, and the reset that belongs to it."""
    limits: list[int] = []
    left: list[tuple[int, float | None]] = []
    resets: list[float] = []
    for suffix in suffixes:
        limit = _count(headers.get(f"x-ratelimit-limit-{suffix}"))
        if limit:  # an answer that says "limit 0" means that there is no limit
            limits.append(limit)
        reset = _reset(headers.get(f"x-ratelimit-reset-{suffix}", ""), headers, now_us)
        remaining = _count(headers.get(f"x-ratelimit-remaining-{suffix}"))
        if remaining is not None:
            left.append((remaining, reset))
        if reset is not None:
            resets.append(reset)
    if left:
        remaining, reset = min(left, key=lambda budget: budget[0])
        return min(limits, default=None), remaining, reset
    return min(limits, default=None), None, max(resets, default=None)


def _reset(value: str, headers: Mapping[str, str], now_us: int | None) -> float | None:
    value = value.strip()
    if not value:
        return None
    moment: datetime | None
    if _RFC3339.fullmatch(value):
        moment = _rfc3339(value)
        if moment is None:
            return None
    else:
        seconds = go_duration(value)
        if seconds is None or seconds < UNIX_TIME_MIN or not _NUMBER.fullmatch(value):
            return seconds
        moment = _since_1970(seconds)
        if moment is None:
            return None
    now = server_now(headers, now_us) if now_us is not None else _http_date(headers.get("date", ""))
    return None if now is None else max(0.0, (moment - now).total_seconds())


def readable(value: str) -> bool:
    """Whether this value of one of the `ASKING` headers asks us to wait, in whatever form."""
    value = value.partition(",")[0].strip() if value[:1].isdigit() else value.strip()
    if _NUMBER.fullmatch(value):
        return float(value) > 0
    return (_rfc3339(value) or _http_date(value)) is not None or bool(go_duration(value))


def retry_after(headers: Mapping[str, str], now_us: int) -> float | None:
    """How many seconds from now the service asks us to wait: more than 0 and without upper bound, or None.

    `retry-after-ms` goes before `retry-after`. The time until a date counts from the answer's own `Date`, so that a
    wrong clock on either side does not matter.

    Args:
        headers: by name in lower case.
        now_us: our UTC time in microseconds, for an answer without `Date`.
    """
    if "retry-after" not in headers and "retry-after-ms" not in headers:
        return None
    millis = _first(headers.get("retry-after-ms", ""))
    if millis:
        return _wait(millis, 0.001, headers, now_us)
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    seconds = _first(value)
    if seconds is not None:
        return _wait(seconds, 1.0, headers, now_us)
    moment = _rfc3339(value) or _http_date(value)
    if moment is None:
        return go_duration(value) or None
    return seconds_until(moment, server_now(headers, now_us))


def _wait(number: float, unit_s: float, headers: Mapping[str, str], now_us: int) -> float | None:
    """Seconds in a number, whether it is a length of time or, by its size, a moment since 1970."""
    if number < UNIX_TIME_MIN:
        return number * unit_s or None
    moment = _since_1970(number)
    return None if moment is None else seconds_until(moment, server_now(headers, now_us))


def _since_1970(number: float) -> datetime | None:
    """The moment of a number of seconds or, by its size, milliseconds or microseconds since 1970."""
    seconds = number / (1e6 if number >= UNIX_MICROS_MIN else 1e3 if number >= UNIX_MILLIS_MIN else 1.0)
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _rfc3339(value: str) -> datetime | None:
    if not _RFC3339.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError:
        return None


def _first(value: str) -> float | None:
    """A number, or the first number of a list that a proxy has made of repeated headers."""
    value = value.partition(",")[0].strip()
    return float(value) if _NUMBER.fullmatch(value) else None


def server_now(headers: Mapping[str, str], now_us: int) -> datetime:
    """The time of the service: its `Date` header, or our own UTC time in microseconds where it has none."""
    return _http_date(headers.get("date", "")) or datetime.fromtimestamp(now_us / 1e6, tz=UTC)


def seconds_until(moment: datetime, now: datetime) -> float | None:
    """Seconds from `now` to `moment`; None when the moment has passed."""
    seconds = (moment - now).total_seconds()
    return seconds if seconds > 0 else None


def _http_date(value: str) -> datetime | None:
    if not value or len(value) > 64:
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - slow to load, for what few answers are asked

    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _count(value: str | None) -> int | None:
    if value is None:
        return None
    number = _first(value)
    return None if number is None else int(number)
