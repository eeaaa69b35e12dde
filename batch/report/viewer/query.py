"""What the query of an address says: names that are known, values that make sense, and the rows that are asked for.

Owns the refusal of everything else, in words a person can act on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from starlette.requests import Request

from batch.core.errors import RefusedToStart
from batch.core.nearest import suggestion
from batch.report.figures.downloads import ENDINGS, KINDS
from batch.report.figures.figures import Figures
from batch.report.figures.filters import FILTERS, Filter, parse
from batch.report.figures.rows import SIZE, Page
from batch.report.review_files import FORMS

LONGEST: Final = 10_000
"""Characters of a query."""
REVIEW: Final = "review"


class NoSuchPage(Exception):
    """There is nothing under this address."""


class Query:
    """The query of one request.

    Args:
        request: has it.
        names: what it may say.
        filters: it may say which rows are asked for, too.

    Raises:
        RefusedToStart: it says something else, or a filter makes no sense.

    Attributes:
        filter: which rows are asked for.
    """

    def __init__(self, request: Request, names: Sequence[str], *, filters: bool = False) -> None:
        if len(request.url.query) > LONGEST:
            raise RefusedToStart(f"the query of the address is longer than {LONGEST:,} characters. Ask for less.")
        pairs = request.query_params.multi_items()
        known = [*names, *(FILTERS if filters else ())]
        for name, _ in pairs:
            if name not in known:
                hint = suggestion(name, known, f"There are: {', '.join(known) or 'none'}.")
                raise RefusedToStart(f"{name}: there is nothing of this name to be asked here. {hint}")
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            if name in names and value:
                self._values.setdefault(name, []).append(value)
        self.filter: Filter = parse((name, value) for name, value in pairs if name not in names)

    def one(self, name: str) -> str | None:
        """The value of a name; None when it is not there.

        Raises:
            RefusedToStart: it stands there twice.
        """
        values = self._values.get(name, [])
        if len(values) > 1:
            raise RefusedToStart(f"{name}: stands in the address {len(values)} times. Give it once.")
        return values[0] if values else None

    def all(self, name: str) -> tuple[str, ...]:
        """All values of a name."""
        return tuple(self._values.get(name, ()))

    def flag(self, name: str) -> bool:
        """Whether a name is there and does not say no."""
        return (self.one(name) or "0").lower() not in ("0", "false", "no")

    def number(self, name: str, usual: int) -> int:
        """A whole number.

        Raises:
            RefusedToStart: it is none.
        """
        text = self.one(name)
        if text is None:
            return usual
        if not text.isascii() or not text.isdigit() or len(text) > 12:
            raise RefusedToStart(f"{name}={text}: give a whole number.")
        return int(text)

    def page(self) -> Page:
        """Which page of rows is asked for.

        Raises:
            RefusedToStart: page or size are no numbers.
        """
        return Page(self.number("page", 1), self.number("size", SIZE), self.one("order") or "")


def chosen_form(figures: Figures, ending: str, query: Query) -> tuple[str, str, Callable[[], Iterator[bytes]]]:
    """The content type of a file to take along, its name, and what begins to make it.

    Args:
        figures: of the folder.
        ending: csv, jsonl or review.
        query: which rows, and the form of a file with rows to review.

    Raises:
        NoSuchPage: there is no file with this ending.
        RefusedToStart: there is no such form.
    """
    name = figures.folder.root.name or "results"
    if ending in KINDS:
        return KINDS[ending], f"{name}.{ending}", lambda: figures.download(ending, query.filter)
    if ending != REVIEW:
        raise NoSuchPage(f"rows.{ending}: there are rows.csv, rows.jsonl and rows.{REVIEW}.")
    asked = query.one("format") or "jsonl"
    form = next((known for known in FORMS if known == asked), None)
    if form is None:
        raise RefusedToStart(f"format={asked}: there are {', '.join(FORMS)}.")
    column = query.one("label_column")
    kind = KINDS.get(ENDINGS[form], "application/json")
    return kind, f"{name}-review.{ENDINGS[form]}", lambda: figures.review(form, query.filter, column)
