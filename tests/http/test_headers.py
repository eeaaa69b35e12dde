"""Retry-After, Go durations, rate-limit headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.records import LimitHeaders
from batch.http.headers import go_duration, limit_headers, retry_after
from batch.providers.glm import reset_time

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
        ({"retry-after": "2, 2"}, 2.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after-ms": "1320.5"}, 1.3205),
        ({"retry-after-ms": "0", "retry-after": "3"}, 3.0),
        ({"retry-after": "١"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "inf"}, None),
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


RESETS = {
    "1s": 1.0,
    "6m0s": 360.0,
    "17.409s": 17.409,
    "12": 12.0,
    "0.5": 0.5,
    "0": 0.0,
    "2026-11-21T10:00:30Z": 30.0,
    "2026-11-21T18:00:30.25+08:00": 30.25,
    "2026-11-21 10:00:30Z": 30.0,
    "2026-11-21T09:00:00Z": 0.0,
    "1795255230": 30.0,
    "1795255230.5": 30.5,
    "1795255230000": 30.0,
    "1795255230000000": 30.0,
    "179525523000": 0.0,
    "-1": None,
    "soon": None,
    "": None,
    "2026-13-45T99:99:99Z": None,
    "999999999999h": 999999999999 * 3600.0,
}


@pytest.mark.parametrize("text", RESETS)
def test_resets_are_lengths_of_time_or_moments_by_the_servers_clock(text: str) -> None:
    """Go's form, plain seconds, seconds since 1970, RFC 3339; what is past is over, what is odd is nothing."""
    headers = {"date": "Sat, 21 Nov 2026 10:00:00 GMT", "x-ratelimit-reset-requests": text}
    found = limit_headers(headers)
    assert found is not None
    assert found.reset_requests_s == (None if RESETS[text] is None else pytest.approx(RESETS[text], abs=1e-3))


def test_a_moment_without_a_date_beside_it_counts_from_our_clock_or_not_at_all() -> None:
    """The parser reads no clock of its own."""
    headers = {"x-ratelimit-reset-tokens": "2026-11-18T11:07:10Z"}
    assert limit_headers(headers) == LimitHeaders()
    assert limit_headers(headers, NOW_US) == LimitHeaders(reset_tokens_s=30.0)


def test_of_two_budgets_the_tighter_one_counts_with_its_own_reset() -> None:
    """The project's, the organisation's, or the minute's."""
    headers = {
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "149000",
        "x-ratelimit-reset-tokens": "6m0s",
        "x-ratelimit-limit-project-tokens": "60000",
        "x-ratelimit-remaining-project-tokens": "57000",
        "x-ratelimit-reset-project-tokens": "3s",
        "x-ratelimit-limit-requests-minute": "30",
        "x-ratelimit-limit-requests-day": "10",
        "x-ratelimit-remaining-requests-day": "0",
    }
    assert limit_headers(headers) == LimitHeaders(30, 60000, None, 57000, None, 3.0)


def test_odd_counts_are_nothing_and_no_limit_is_no_limit() -> None:
    """Zero as a limit, in an answer, is a way to say that there is none."""
    for text, limit, left in (
        ("0", None, 0),
        ("-1", None, None),
        ("59.0", 59, 59),
        ("many", None, None),
        ("5, 5", 5, 5),
    ):
        found = limit_headers({"x-ratelimit-limit-requests": text, "x-ratelimit-remaining-requests": text})
        assert found is not None
        assert (found.limit_requests, found.remaining_requests) == (limit, left)
    assert limit_headers({"x-rate": "1", "not-x-ratelimit-limit-requests": "1"}) is None


@given(
    st.dictionaries(
        st.from_regex(r"x-ratelimit-(limit|remaining|reset)-(requests|tokens)", fullmatch=True), st.text(max_size=30)
    )
)
def test_no_rate_header_makes_the_parser_raise(headers: dict[str, str]) -> None:
    """What comes out is not negative."""
    found = limit_headers({**headers, "date": headers.get("x-ratelimit-reset-tokens", "")}, NOW_US)
    for value in () if found is None else (found.limit_tokens, found.remaining_requests, found.reset_tokens_s):
        assert value is None or value >= 0
