"""`batch.prompts.emptiness`: which cells are blank, and which requests ask nothing."""

from __future__ import annotations

from typing import Any

import pytest

from batch.prompts.emptiness import asks_nothing, is_blank

PICTURE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " \t\r\n",
        "\u00a0\u3000\u2028",  # a no-break space, the wide one of Chinese texts, a line separator
        "\ufeff",  # what is left of a file that began with a byte order mark
        "\u200b\u2060\u00ad",  # zero-width space, word joiner, soft hyphen
        "\x00\x1f",
        "\u3164 \u2800",
        b"",
        [],
        {},
        [None, " "],
        {"bytes": None, "path": ""},
    ],
)
def test_what_has_no_visible_character_is_blank(value: Any) -> None:
    assert is_blank(value)


@pytest.mark.parametrize(
    "value", ["0", ".", " x ", "\u200bä", 0, 0.0, False, b" ", [""] * 3 + ["x"], {"a": 0}, [[]], "👍"]
)
def test_what_says_anything_is_not_blank(value: Any) -> None:
    assert not is_blank(value)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("messages", "follow_ups", "nothing"),
    [
        ([SYSTEM, user("")], [], True),
        ([user("Hi"), {"role": "assistant", "content": "Hello"}, user(" ")], [], True),
        ([user([{"type": "text", "text": "\n"}])], [], True),
        ([user([])], [], True),
        ([user(""), {"role": "assistant", "content": "Hello"}, user("Hi")], [], False),
        ([user([{"type": "text", "text": ""}, PICTURE])], [], False),
        ([user("\u200b")], [user("What is left?")], False),
        ([user("\u200b")], [user("\u200b")], True),
        ([SYSTEM], [], False),
        ([user("Hi"), {"role": "assistant", "content": ""}], [], False),
    ],
)
def test_the_last_user_message_decides_and_a_picture_or_another_turn_says_something(
    messages: list[dict[str, Any]], follow_ups: list[dict[str, Any]], nothing: bool
) -> None:
    assert asks_nothing(messages, follow_ups) is nothing
