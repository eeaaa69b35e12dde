"""Contents: keys are masked wherever a text is cut, in the worker or here."""

from __future__ import annotations

import pytest

from batch.core import redaction
from batch.tools.content import MAX_CONTENT, MAX_ERROR, SLACK, RawResult, finished, of_error, of_value

SECRET = "Zq7kPw3mVx9tRb2c"


@pytest.fixture(autouse=True)
def _hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "process", redaction.Masker())
    redaction.hide(SECRET)


@pytest.mark.parametrize("cut", [MAX_CONTENT, MAX_CONTENT + SLACK])
@pytest.mark.parametrize("part", range(1, len(SECRET)))
def test_a_key_across_a_place_where_a_result_is_cut_is_not_half_shown(cut: int, part: int) -> None:
    """What another process cut off is not there to be known as a key."""
    text = "x" * (cut - part) + SECRET + "y" * 2 * SLACK
    raw = of_value(text, name="tool")
    assert len(raw.text) == MAX_CONTENT + SLACK
    content = finished(raw).content
    assert SECRET[:4] not in content.replace("[masked]", "")
    assert len(content.encode()) <= MAX_CONTENT
    assert content.endswith(f"\n[cut: too long, {len(text)} bytes]")


def test_a_text_full_of_keys_shrinks_and_shows_none_of_them() -> None:
    """Masked, it would fit, and its end is half a key."""
    for length in range(MAX_CONTENT + SLACK - 20, MAX_CONTENT + SLACK + 40):
        text = (SECRET * (length // len(SECRET) + 1))[:length] + SECRET * 9
        content = finished(of_value(text, name="tool")).content
        assert SECRET[:4] not in content.replace("[masked]", "")
        content = finished(of_error(ValueError(text))).content
        assert SECRET[:4] not in content.replace("[masked]", "")


def test_an_error_of_any_length_is_cut_with_a_mark() -> None:
    """And what another process cut off counts as missing."""
    for length in (MAX_ERROR + 1, MAX_ERROR + SLACK, 1_000_000):
        raw = of_error(ValueError("é" * length))
        assert len(raw.text.encode()) <= 4 * MAX_ERROR + SLACK
        content = finished(raw).content
        assert content == '{"error":"ValueError: ' + "é" * (MAX_ERROR - 12) + '…"}'


def test_a_result_that_just_fits_is_whole() -> None:
    """Not cut because of the room that is kept for keys."""
    for length in (MAX_CONTENT - 1, MAX_CONTENT):
        assert finished(of_value("x" * length, name="tool")).content == "x" * length
    assert finished(RawResult("", 0)).content == ""
