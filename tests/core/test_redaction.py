"""`batch.core.redaction`: keys in every form a stranger echoes them, and nothing else."""

from __future__ import annotations

import base64
import json
import urllib.parse

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core import redaction
from batch.core.redaction import MASK, Masker, hide, hide_from, masked, masked_value, redact

SECRET = "Zq7kPw3mVx9tRb2c"
KEY = f"0123456789abcdef0123456789abcdef.{SECRET}"
ODD = 'se/cr+et=w"ith\\all:14'
"""What JSON and URLs escape."""


@pytest.fixture(autouse=True)
def _own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of the process are those of one test."""
    monkeypatch.setattr(redaction, "process", Masker())


def escaped(text: str, *, upper: bool = False) -> str:
    """As a server escapes that trusts no character."""
    return "".join(f"\\u{ord(char):04X}" if upper else f"\\u{ord(char):04x}" for char in text)


def forms(key: str) -> dict[str, str]:
    """The key as it is echoed."""
    raw = key.encode()
    return {
        "plain": key,
        "capitals": key.upper(),
        "small": key.lower(),
        "bearer": f"Bearer {key}",
        "percent": urllib.parse.quote(key, safe=""),
        "hex": raw.hex(),
        "base64": base64.b64encode(raw).decode(),
        "base64 behind a user": base64.b64encode(b"u:" + raw).decode(),
        "base64 behind a longer one": base64.b64encode(b"me:" + raw + b":x").decode(),
        "base64 for URLs": base64.urlsafe_b64encode(b"user" + raw).decode(),
        "escaped": escaped(key),
        "escaped in capitals": escaped(key, upper=True),
        "escaped twice": escaped(key).replace("\\", "\\\\"),
        "partly escaped": escaped(key[:5]) + key[5:-4] + escaped(key[-4:]),
        "as JSON": json.dumps(key)[1:-1],
        "as JSON in JSON": json.dumps(json.dumps(key)),
        "with slashes": key.replace("/", "\\/"),
        "with slashes twice": json.dumps(key.replace("/", "\\/")),
    }


@pytest.mark.parametrize("key", [KEY, ODD, "not-so-short"])
@pytest.mark.parametrize("form", forms(KEY))
def test_a_key_is_masked_whole_in_every_form(form: str, key: str) -> None:
    """FIELD 18. A stranger says it as it likes."""
    hide(key)
    said = forms(key)[form]
    got = masked(f"you sent {said} and {said}!")
    assert got.count(MASK) == 2
    left = got.replace(MASK, "|").replace("you sent", "").replace("and", "")
    assert not any(char.isalnum() for char in left.replace("Bearer", "")) or form.startswith("base64")
    for begin in range(len(said) - 12):
        assert form.startswith("base64") or said[begin : begin + 12] not in got


def test_the_parts_of_a_key_are_masked_alone_unless_they_are_words() -> None:
    """`id.secret` is told in pieces; `localhost:administrator` is made of words."""
    hide(KEY)
    hide("localhost:administrator")
    assert masked(f"key {KEY[:32]} with {SECRET}") == f"key {MASK} with {MASK}"
    assert masked("ask your administrator") == "ask your administrator"
    assert masked("at localhost:administrator!") == f"at {MASK}!"


@pytest.mark.parametrize("word", ["token", "stop", "content", "null", "test", "EMPTY", "a", "", "elevenchars"])
def test_a_key_shorter_than_twelve_characters_masks_nothing(word: str) -> None:
    """FIELD 19. It cannot be told from a word, and taking it out took answers with it."""
    hide(word)
    text = f'{{"finish_reason": "{word}", "completion_tokens": 3}} {word}'
    assert masked(text) is text
    assert redact(text) == text
    assert not redaction.can_mask(word)


def test_the_longer_of_two_keys_is_masked_whole() -> None:
    """One key may begin with another; what is left of the longer one would give it away."""
    for order in (("abcdefgh1234", "abcdefgh1234567890"), ("abcdefgh1234567890", "abcdefgh1234")):
        redaction.process = Masker()
        for secret in order:
            hide(secret)
        assert redact("x abcdefgh1234567890 y abcdefgh1234") == f"x {MASK} y {MASK}"


def test_a_token_is_known_by_how_it_begins_however_it_is_escaped() -> None:
    """JSON web tokens are made anew all the time."""
    hide_from("eyJhbGciOiJIUzI1NiJ9")
    token = "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2lnbmVk-_"
    for form, said in forms(token).items():
        got = masked(f"<{said}>")
        assert MASK in got
        assert said[8:-8] not in got
        assert form.startswith("base64") or got in (
            f"<{MASK}>",
            f'<"\\"{MASK}\\"">',
            f"<Bearer {MASK}>",
            f'<"{MASK}">',
        ), got
    assert masked(f"<{escaped(token[:9])}{token[9:]}>") == f"<{MASK}>"


@given(st.text(), st.text(), st.sampled_from(["plain", "upper", "escaped", "none"]))
def test_json_that_is_spared_holds_nothing_to_mask(before: str, after: str, form: str) -> None:
    """The quick look and the long one never disagree in the direction that shows a key."""
    masker = Masker()
    masker.hide(KEY)
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    text = before + {"plain": KEY, "upper": KEY.upper(), "escaped": escaped, "none": ""}[form] + after
    value = {"name": text.encode("utf-8", "replace").decode()}
    if masker.spares(msgspec.json.encode(value)):
        assert masker.masked(value["name"]) is value["name"]
    assert masker.spares(b'{"name":"an answer of a usual form, with \\"quotes\\" and a line\\n"}')


def test_values_are_masked_all_through_and_left_as_they_are_when_nothing_is_found() -> None:
    """Names of members too."""
    hide(KEY)
    same = {"a": [1, ("x", None)], "b": {"c": "d"}}
    assert masked_value(same, lambda value: value) is same
    found = masked_value({KEY: [KEY, (f"a {KEY}",)], "n": 1}, lambda value: value)
    assert found == {MASK: [MASK, (f"a {MASK}",)], "n": 1}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/v1", "https://host/v1"),
        ("https://host:8080/v1/", "https://host:8080/v1/"),
        ("https://host/v1?key=KEY", "https://host/v1"),
        ("https://host?key=KEY", "https://host"),
        ("https://host/v1#token=KEY", "https://host/v1"),
        ("https://me:KEY@host/v1", "https://host/v1"),
        ("https://KEY@host", "https://host"),
        ("https://me:a@KEY@host/v1?x=KEY", "https://host/v1"),
        ("http://me:K/EY@host/v1", "http://[masked]"),
        ("http://me:K#EY@host/v1", "http://[masked]"),
        ("http://me:K?EY@host/v1", "http://[masked]"),
        ("me:KEY@host/v1", "host/v1"),
        ("//me:KEY@host/v1", "[masked]"),
        ("/v1/?key=KEY", "/v1/"),
        ("https://host/v1?next=http://me:KEY@host", "[masked]"),
        ("https://host/v1?mail=a@b&key=KEY", "https://[masked]"),
        ("nowhere", "nowhere"),
        ("", ""),
    ],
)
def test_of_an_address_scheme_host_and_path_are_shown(url: str, shown: str) -> None:
    """FIELD 20. Keys stand in all the rest of it; what is not clear is not shown."""
    assert redaction.address(url) == shown


@given(st.text(), st.text(), st.text("abcdefgh0123456789-_./", min_size=12, max_size=40))
def test_a_hidden_value_never_comes_out(before: str, after: str, secret: str) -> None:
    """By value, wherever it stands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redaction, "process", Masker())
        hide(secret)
        assert secret not in redact(before + secret + after).replace(MASK, "\0")


@given(st.text())
def test_a_text_without_a_key_is_given_back_as_it_is(text: str) -> None:
    """Not a character of an answer is touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redaction, "process", Masker())
        hide(KEY)
        assert masked(text) is text


@pytest.mark.parametrize(
    "text",
    ["task-1234567890abcdef", "sk-short", "0123456789abcdef.x", "Bearer", "a bearer of news", "md5 " + "0a" * 16],
)
def test_what_only_resembles_a_key_is_left_alone(text: str) -> None:
    """Ids of tasks and hashes are what people search the log for."""
    assert redact(text) == text
