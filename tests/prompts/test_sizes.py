"""`batch.prompts.sizes`: the measure of a row's messages is close to the memory that they take."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from batch.prompts.sizes import ROW_BYTES, size_of
from tests.prompts.test_variants import only, questions


@pytest.mark.parametrize(
    "content",
    [
        "x" * 100_000,
        "狗" * 100_000,
        [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "data:" + "x" * 100_000}}],
        {"any": ["x" * 50_000, {"deep": "x" * 50_000}], "n": 3, "none": None},
    ],
    ids=["text", "Chinese", "a picture", "anything"],
)
def test_a_message_counts_what_it_takes(content: Any) -> None:
    """Wherever in it the text stands."""
    tracemalloc.start()
    copy = content.encode().decode() if isinstance(content, str) else repr(content)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert copy
    assert size_of([{"role": "user", "content": content}]) == pytest.approx(taken, rel=0.05)


def test_what_is_said_later_counts_and_so_does_a_row_that_says_nothing() -> None:
    """A thousand empty rows take memory, too."""
    assert size_of([]) == ROW_BYTES
    later = size_of([], [{"role": "user", "content": "x" * 500}])
    assert later > ROW_BYTES + 500
    assert size_of([{"role": "user", "content": "x" * 500, "name": "me"}]) > later


def test_models_that_are_asked_the_same_of_a_row_share_its_messages() -> None:
    """A megabyte asked of three models lies in memory once; another row has messages of its own."""
    one, two = questions(names=("glm-4", "glm-3-turbo"))
    row = {"text": "hi"}
    first, second = one.request(row), two.request(row)
    assert first.messages is second.messages
    assert first.bytes == second.bytes > ROW_BYTES
    assert one.request({"text": "ho"}).messages[0]["content"] == "ho"
    assert one.request(row).messages == first.messages


def test_prompts_of_one_job_read_a_file_once(tmp_path: Path) -> None:
    """Two variants over one guide share its text."""
    (tmp_path / "guide.md").write_text("guide", encoding="utf-8")
    asks = "{{ file('guide.md') }}"
    short, long = questions(
        tmp_path, prompt={"variants": {"a": {"user": asks}, "b": {"user": "{{ text }}", "system": asks}}}
    )
    row = {"text": "hi"}
    assert short.request(row).messages[0]["content"] is long.request(row).messages[0]["content"]


def test_a_request_of_texts_is_packed_and_unpacked_as_it_was() -> None:
    """Roles, texts, parameters and size; a text is not copied."""
    asked = only(questions(prompt={"system": "Be brief.", "user": "{{ text }}"}, parameters={"temperature": 0.5}))
    request = asked.request({"text": "hi"})
    packed = asked.packed(request)
    assert packed is not None
    assert asked.unpacked(packed) == request
    assert asked.unpacked(packed).messages[1]["content"] is request.messages[1]["content"]


@pytest.mark.parametrize(
    ("prompt", "model", "row"),
    [
        ({"turns": "text"}, {}, {"text": ["one", "two"]}),
        ({"user": "{{ text }}", "images": ["photo"]}, {}, {"text": "hi", "photo": "https://h/a.png"}),
        ({"messages": "text"}, {}, {"text": [{"role": "user", "content": "hi", "name": "me"}]}),
        ({"user": "{{ text }}"}, {"parameters": {"max_tokens": {"column": "most"}}}, {"text": "hi", "most": 5}),
    ],
    ids=["later turns", "a picture", "more than role and content", "parameters of its own"],
)
def test_a_request_that_is_more_than_texts_is_not_packed(
    prompt: dict[str, Any], model: dict[str, Any], row: dict[str, Any]
) -> None:
    """It is made again from the spill."""
    asked = only(questions(prompt=prompt, **model))
    assert asked.packed(asked.request(row)) is None
