"""`batch.simulator.batches.contents`: what files hold, in memory or in a temporary file."""

from __future__ import annotations

from batch.simulator.batches.contents import IN_MEMORY, Contents


def test_what_was_kept_is_read_as_it_was_however_large_and_in_any_order() -> None:
    """Large ones lie behind each other in a file, and stay readable."""
    contents = Contents()
    texts = [b"", b"small", b"a" * (IN_MEMORY + 1), b"x" * IN_MEMORY, b"b" * (3 * IN_MEMORY), b"c" * (IN_MEMORY + 7)]
    kept = [contents.keep(text) for text in texts]
    assert [content.size for content in kept] == list(map(len, texts))
    assert [content.read() for content in reversed(kept)] == texts[::-1]
    assert kept[4].read() == texts[4]
    contents.close()
    assert [content.read() for content in kept[:2]] == texts[:2]
    assert kept[2].read() == b"", "nobody is served any more"
