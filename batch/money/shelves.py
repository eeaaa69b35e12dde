"""Shelves of prices: the lines of one file or job, found by provider and name.

Owns the finding of lines by name, and that the book which comes with promptmill is read only as far as it is asked: to
parse it whole takes longer than a small run, and nearly every run asks for one or two models. It does not know which of
the lines it finds a call is billed by.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

from batch.money import pricefile
from batch.money.rates import Rates

BOOK: Final = Path(__file__).with_name("prices.toml")
_PRICE: Final = "\n[[price]]\n"
_LIST: Final = re.compile(r"^list = (\".*\")$", re.MULTILINE)
_PROVIDERS: Final = re.compile(r"^providers = (\[.*\])$", re.MULTILINE)
_HOSTS: Final = re.compile(r"^hosts = (\[.*\])$", re.MULTILINE)
_MODELS: Final = re.compile(r"^models = (\[[^\]]*\])$", re.MULTILINE)


class Shelf(Protocol):
    """Lines of one origin."""

    def named(self, provider: str, model: str) -> Sequence[Rates]:
        """The lines for a model of a provider, by name or by pattern, as they are written; both in lower case."""

    def hosts(self, provider: str) -> Collection[str]:
        """The hosts at which a provider, in lower case, has a list of its own."""

    def by_id(self, price_id: str) -> Rates | None:
        """The line with this id."""

    def lines(self) -> Sequence[Rates]:
        """All of them, as they are written."""


class Lines:
    """A shelf of lines that are all there."""

    def __init__(self, lines: Sequence[Rates]) -> None:
        self._lines = lines
        self._ids = {line.id: line for line in lines}

    def named(self, provider: str, model: str) -> Sequence[Rates]:
        """As `Shelf` says."""
        return [line for line in self._lines if provider in line.providers and matches(line.models, model)]

    def hosts(self, provider: str) -> Collection[str]:
        """As `Shelf` says."""
        return {host for line in self._lines if provider in line.providers for host in line.hosts}

    def by_id(self, price_id: str) -> Rates | None:
        """As `Shelf` says."""
        return self._ids.get(price_id)

    def lines(self) -> Sequence[Rates]:
        """As `Shelf` says."""
        return self._lines


class _Entry:
    """One `[[price]]` of the book, which is parsed when it is asked for."""

    def __init__(self, number: int, line: int, text: str, lists: Mapping[str, Mapping[str, Any]]) -> None:
        own = {key: found[1] for key, form in _HEADS.items() if (found := form.search(text))}
        read = tomllib.loads("".join(f"{key} = {value}\n" for key, value in own.items()))
        self.models: tuple[str, ...] = tuple(read["models"])
        read = {**lists.get(read.get("list", ""), {}), **read}
        self.providers: tuple[str, ...] = tuple(read["providers"])
        self.hosts: tuple[str, ...] = tuple(read.get("hosts", ()))
        self._number, self._line, self._text, self._lists = number, line, text, lists
        self._lines: Sequence[Rates] | None = None

    @property
    def lines(self) -> Sequence[Rates]:
        """What it comes to."""
        if self._lines is None:
            price = tomllib.loads(self._text, parse_float=Decimal)
            place = pricefile.Place(pricefile.BOOK_ORIGIN, self._line, self._number)
            self._lines = pricefile.lines_of(price, self._lists, place)
        return self._lines


_HEADS: Final = {"list": _LIST, "providers": _PROVIDERS, "hosts": _HOSTS, "models": _MODELS}


class Book:
    """The price book that comes with promptmill; a test holds that it is read as a whole file is.

    Args:
        text: of the file. Its prices begin with `[[price]]` on a line of its own.
    """

    def __init__(self, text: str) -> None:
        # A list may stand between two prices: its text then ends that of the price before it.
        tables = re.findall(r"^\[list\.[^\n]*\n(?:[^\[\n][^\n]*\n)*", text, re.MULTILINE)
        lists = tomllib.loads("\n".join(tables), parse_float=Decimal).get("list", {})
        self._entries = []
        line = 1
        for number, part in enumerate(text.split(_PRICE)):
            if number:
                line += 1
                self._entries.append(_Entry(number, line, part.partition("\n[list.")[0], lists))
            line += part.count("\n") + 1

    @classmethod
    @lru_cache(maxsize=1)
    def shipped(cls) -> Book:
        """The book that comes with promptmill, read once."""
        return cls(BOOK.read_text(encoding="utf-8"))

    def named(self, provider: str, model: str) -> Sequence[Rates]:
        """As `Shelf` says."""
        return [
            line
            for entry in self._entries
            if provider in entry.providers and matches(entry.models, model)
            for line in entry.lines
        ]

    def hosts(self, provider: str) -> Collection[str]:
        """As `Shelf` says."""
        return {host for entry in self._entries if provider in entry.providers for host in entry.hosts}

    def by_id(self, price_id: str) -> Rates | None:
        """As `Shelf` says."""
        entries = (entry for entry in self._entries if price_id.startswith(f"{entry.providers[0]}/{entry.models[0]}"))
        return next((line for entry in entries for line in entry.lines if line.id == price_id), None)

    def lines(self) -> Sequence[Rates]:
        """As `Shelf` says."""
        return [line for entry in self._entries for line in entry.lines]


def matches(names: Iterable[str], model: str) -> bool:
    """Whether a model, in lower case, is one of these names or fits one of these patterns."""
    return any(name == model or (_is_pattern(name) and _pattern(name).fullmatch(model)) for name in names)


def _is_pattern(name: str) -> bool:
    return any(character in name for character in "*?#[")


@lru_cache(maxsize=1024)
def _pattern(name: str) -> re.Pattern[str]:
    """What a name of a price file stands for; `[0-9]` as in the names of files is read too."""
    parts = re.split(r"(\[[^\]]+\]|[*?#])", name)
    wild = {"*": ".*", "?": ".", "#": "[0-9]"}
    return re.compile("".join(wild.get(part) or (part if part.startswith("[") else re.escape(part)) for part in parts))
