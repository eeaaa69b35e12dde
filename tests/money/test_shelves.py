"""Shelves: the book is read as far as it is asked, and says what a reader of the whole file finds."""

from __future__ import annotations

import pytest

from batch.money import pricefile
from batch.money.rates import Rates
from batch.money.shelves import BOOK, Book

WHOLE = pricefile.read_file(BOOK, origin=pricefile.BOOK_ORIGIN)


def test_the_book_read_price_by_price_is_the_book_read_as_a_whole() -> None:
    """Which also holds each line against the others: no holes, no overlaps."""
    assert Book.shipped().lines() == WHOLE


def test_each_line_of_the_book_has_an_id_of_its_own_a_source_and_the_day_it_was_read() -> None:
    assert len({line.id for line in WHOLE}) == len(WHOLE) > 200
    assert [line.id for line in WHOLE if not line.source or line.checked_on is None] == []


@pytest.mark.parametrize("line", WHOLE[:: len(WHOLE) // 40], ids=lambda line: line.id)
def test_a_line_is_found_by_its_id_and_by_its_names(line: Rates) -> None:
    book = Book(BOOK.read_text(encoding="utf-8"))
    assert book.by_id(line.id) == line
    for name in line.models:
        assert line in book.named(line.provider, name.replace("#", "7").replace("*", "x"))
