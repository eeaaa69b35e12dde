"""`batch.tokens.measure`: what a text is made of is counted as a person would count it, and counts add up."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from batch.tokens import measure
from batch.tokens.measure import CLASSES, TEXT


def counted(text: str) -> dict[str, float]:
    """The counts that are not 0, by class."""
    return {name: number for name, number in zip(CLASSES[TEXT], measure.of_text(text), strict=True) if number}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("Hello, world", {"words": 2, "letters": 10, "runs": 1, "signs": 1}),
        ("3.50 and 17", {"words": 1, "letters": 3, "numbers": 3, "digits": 5, "runs": 1, "signs": 1}),
        ('{"a":1}', {"words": 1, "letters": 1, "numbers": 1, "digits": 1, "runs": 3, "signs": 5}),
        ("x1y", {"words": 2, "letters": 2, "numbers": 1, "digits": 1}),
        ("a\n    b", {"words": 2, "letters": 2, "breaks": 1.5}),
        ("你好", {"chinese": 2}),
        ("你好，世界！", {"chinese": 4, "marks": 2}),
        ("訂單 45", {"chinese": 2, "numbers": 1, "digits": 2}),
        ("ひらがな カナ 한국", {"chinese": 8}),
        ("Привет", {"two": 6}),
        ("für", {"words": 2, "letters": 2, "two": 1}),
        ("สวัสดี 👍", {"more": 7}),
        ("“so” … 5 €", {"words": 1, "letters": 2, "numbers": 1, "digits": 1, "marks": 4}),
    ],
)
def test_a_text_is_counted_by_class(text: str, expected: dict[str, float]) -> None:
    """Runs of letters, digits and signs, and what is in them; other scripts by their characters."""
    found = counted(text)
    found["breaks"] = found.get("breaks", 0)
    assert found.pop("breaks") == pytest.approx(expected.pop("breaks", 0), abs=0.6)
    assert found == expected


def test_half_a_surrogate_pair_is_counted_like_any_other_character() -> None:
    """Models and JSON files write such things; an estimate never stops at one."""
    assert sum(measure.of_text("a\ud83d b")) > sum(measure.of_text("a b"))


def test_a_long_text_is_counted_like_a_short_one() -> None:
    """Long ones are kept, because a system prompt comes with every row."""
    text = "Label the ticket: billing, 账单, 17.50 €\n" * 100
    assert measure.of_text(text) == measure.of_text(text)
    assert measure.of_text(text)[0] == pytest.approx(100 * measure.of_text(text[: len(text) // 100])[0])


def test_all_of_a_request_is_counted() -> None:
    """Messages, texts in parts, pictures, the calls of earlier turns, and what goes with every request."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "two words"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {"url": "u"}}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "4"},
    ]
    found = dict(zip(CLASSES, measure.of_request(messages, (120.0, 30.0)), strict=True))
    assert (found["calls"], found["messages"], found["pictures"]) == (1, 4, 1)
    assert (found["tools"], found["schemas"]) == (120, 30)
    assert found["words"] == 3 + 6  # id, c, function, name, f, arguments
    assert found["digits"] == 1


def test_calls_that_are_no_json_are_counted_all_the_same() -> None:
    """What a model sent may hold anything."""
    messages = [{"role": "assistant", "content": "", "tool_calls": [{"id": {1, 2}}]}]
    assert dict(zip(CLASSES, measure.of_request(messages), strict=True))["digits"] == 2


def test_counts_of_many_requests_are_one_sum() -> None:
    """So the size of ten million rows takes no memory."""
    one, two = (measure.of_request([{"role": "user", "content": text}]) for text in ("a b", "你好 3"))
    assert measure.total([one, two]) == tuple(map(sum, zip(one, two, strict=True)))
    assert measure.total([]) == measure.NOTHING


def test_long_texts_leave_nothing_in_memory() -> None:
    """Rows of a megabyte are counted one after the other; only what rows are likely to share is kept."""
    tracemalloc.start()
    try:
        for number in range(40):
            measure.of_text(f"{number} " + "word " * 200_000)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 4_000_000
