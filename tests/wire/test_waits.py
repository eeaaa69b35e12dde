"""Retry-After, Go durations, rate-limit headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.wire.waits import LimitHeaders, go_duration, limit_headers, reset_time, retry_after

NOW_US = 1_795_000_000_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1s", 1.0),
        ("17.409s", 17.409),
        ("5h50m30ms", 21000.03),
        ("12", 12.0),
        ("0.5", 0.5),
        ("1us", 1e-6),
        ("", None),
        ("-1s", None),
        ("1x", None),
        ("s", None),
        ("1s garbage", None),
        ("9" * 80, None),
        ("nan", None),
        ("1e9", None),
        ("１２", None),
    ],
)
def test_go_durations_are_read_and_garbage_is_not(text: str, seconds: float | None) -> None:
    """Any subset of units, decimals, plain seconds."""
    assert go_duration(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after": "2", "retry-after-ms": "1320"}, 1.32),
        ({"retry-after": "2", "retry-after-ms": "soon"}, 2.0),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1" * 400}, None),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 1998 10:00:30 GMT", "date": "Sat, 21 Nov 1998 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:00 GMT", "date": "Sat, 21 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "Wed, 18 Nov 2026 11:07:10 GMT"}, 30.0),
        ({"retry-after": "Wed, 18 Nov 2026 11:07:10 GMT", "date": "garbage"}, 30.0),
        ({"retry-after": "Wed, 99 Nov 2026 99:07:10 GMT"}, None),
    ],
)
def test_retry_after_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    """A date counts from the server's own Date; zero, past and garbage mean nothing was asked."""
    assert retry_after(headers, NOW_US) == seconds


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text(max_size=40)), st.text())
def test_no_header_or_message_makes_the_parsers_raise(headers: dict[str, str], text: str) -> None:
    """What comes out is positive or None."""
    for found in (retry_after(headers, NOW_US), reset_time(text, headers, now_us=NOW_US)):
        assert found is None or found > 0
    go_duration(text)
    limit_headers({"x-ratelimit-limit-tokens": text, "x-ratelimit-reset-tokens": text})


def test_rate_limit_headers_are_read_together() -> None:
    """All six, and None where one is missing or odd."""
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "-3",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert limit_headers(headers) == LimitHeaders(60, 150000, 59, None, 1.0, 360.0)
    assert limit_headers({"date": "x"}) is None
