"""`batch.core.plain`: nothing that a terminal obeys is left, and all else is."""

from __future__ import annotations

import json
import subprocess
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.plain import clean, escaped_json, quoted

ORDERS = "\x1b]52;c;aGk=\x07 \x9b31m \u202e \u2066 \x7f \u2028 \r \x00"
"""Write the clipboard, colour by C1, turn the direction, begin the line anew."""


def harmless(text: str) -> bool:
    """No controls but newline and tab, no marks of direction, no half surrogates: by Unicode's own data."""
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return not any(
        (unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} and char not in "\n\t")
        or unicodedata.bidirectional(char) in turning
        or char in "\u200e\u200f\u061c"
        for char in text
    )


@given(st.text())
def test_what_is_cleaned_is_harmless_and_what_was_harmless_is_the_same(text: str) -> None:
    """FIELD 20. Every character is judged by Unicode's own data, not by our list."""
    for lines in (False, True):
        assert harmless(clean(text, lines=lines))
    if harmless(text):
        assert clean(text, lines=True) == text
    assert len(clean(text)) == len(text)


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.dictionaries(st.text(), inner)))
def test_json_keeps_its_value_in_harmless_characters(value: object) -> None:
    """FIELD 20. `--json` is for programs, and is looked at on terminals."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=1)
        text.encode()
    except UnicodeEncodeError:
        return
    assert harmless(escaped_json(text))
    assert json.loads(escaped_json(text)) == value


@pytest.mark.parametrize(
    "text", ["plain", "two words", "it's", ORDERS.replace("\x00", ""), "a\\b'\x1b1", "表\u202e", "\udcff"]
)
@pytest.mark.slow
def test_a_quoted_word_can_be_copied_into_a_shell(text: str) -> None:
    """FIELD 20. What the command names is the row, not what is left of its name."""
    word = quoted(text)
    assert harmless(word)
    said = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
    assert said == text.encode("utf-8", "surrogateescape")
