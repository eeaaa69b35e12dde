"""Templates that only put columns into text: read and rendered without Jinja, some thirty times as fast.

Owns which templates are of this kind (text, `{{ column }}`, `{{ column.key.key }}`, `{{ row["any column"] }}`, nothing
else) and how they are rendered: to the character as Jinja would. Whatever is not certain is left to Jinja, which then
says what is wrong: a template of another kind, and a row that lacks a column or a key or holds what cannot be written.
"""

from __future__ import annotations

import keyword
import re
import unicodedata
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ROW: Final = "row"
"""What a template calls the whole row."""
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_SURE_SIZE: Final = MAX_MESSAGE_BYTES // 4
"""So many characters are never too large, whichever they are."""

_INSERT: Final = re.compile(
    r"""\{\{\s*(?:(?P<path>[^\W\d]\w*(?:\.[^\W\d]\w*)*)|row\[(?:"(?P<one>[^"\\\n]*)"|'(?P<two>[^'\\\n]*)')\])\s*\}\}"""
)
_NEWLINE: Final = re.compile(r"\r\n|\r|\n")
_WORDS: Final = frozenset(
    {
        *keyword.kwlist,
        *("true", "false", "none"),
        *("self", "super", "caller", "varargs", "kwargs", "loop"),
        *("range", "namespace", "file"),
    }
)
"""Names that mean something to Jinja, or are functions of ours: a template that reads such a column is left to it."""


class Inserts:
    """One template that only puts columns into text.

    Args:
        texts: what stands before, between and behind the inserts; one more than there are inserts.
        paths: of each insert, the column and the keys below it.
        bare: the columns that are written as they are.

    Attributes:
        reads: the columns it reads.
        plain: its text outside of the inserts.
        bare: the columns among them that it writes as they are.
    """

    __slots__ = ("_columns", "_deep", "_form", "_plain_size", "bare", "plain", "reads")

    def __init__(self, texts: list[str], paths: list[tuple[str, ...]], bare: frozenset[str]) -> None:
        self._columns = [path[0] for path in paths]
        self._deep = [(position, path[1:]) for position, path in enumerate(paths) if len(path) > 1]
        self._form = "%s".join(text.replace("%", "%%") for text in texts)
        self.reads = frozenset(self._columns)
        self.plain = "".join(texts)
        self.bare = bare
        self._plain_size = len(self.plain)

    def render(self, record: Mapping[str, Any]) -> str | None:
        """The text for one row; None where Jinja is to say what is wrong with it."""
        try:
            values = list(map(record.__getitem__, self._columns))
            for position, keys in self._deep:
                value = values[position]
                for key in keys:
                    if not isinstance(value, dict) or key not in value:
                        return None
                    value = value[key]
                values[position] = value
            written = [value if type(value) is str else "" if value is None else str(value) for value in values]
        except Exception:  # noqa: BLE001 - whatever it is, Jinja meets it too and tells it with its line
            return None
        size = self._plain_size + sum(map(len, written))
        if size > MAX_MESSAGE_BYTES:  # before so much is put together
            return None
        text = self._form % tuple(written)
        return None if len(text) > _SURE_SIZE and too_large(text) else text


def too_large(text: str) -> bool:
    """Whether a text is larger than a message may be, counted in bytes."""
    return len(text) > _SURE_SIZE and len(text.encode("utf-8", "surrogatepass")) > MAX_MESSAGE_BYTES


def read(source: str, *, own_row: bool) -> Inserts | None:
    """The template, if it only puts columns into text; None for every other one, a wrong one included.

    Args:
        source: the text of the template.
        own_row: the input has a column of its own called `row`.
    """
    source = _NEWLINE.sub("\n", source)  # as Jinja reads it
    texts: list[str] = []
    paths: list[tuple[str, ...]] = []
    bare: set[str] = set()
    begin = 0
    for insert in _INSERT.finditer(source):
        named = insert["one"] if insert["path"] is None else None
        named = insert["two"] if insert["path"] is None and named is None else named
        path = tuple(insert["path"].split(".")) if named is None else (ROW, named)
        by_row = path[0] == ROW and not own_row
        if by_row:
            path = path[1:]
        if not path or (named is not None and not by_row) or not all(map(_is_name, path[:1] if not by_row else ())):
            return None
        if named is None and not all(map(_is_plain, path)):
            return None
        if len(path) == 1 and (named is not None or not by_row):
            bare.add(path[0])
        texts.append(source[begin : insert.start()])
        paths.append(path)
        begin = insert.end()
    texts.append(source[begin:])
    # A brace before an insert would belong to it.
    if any(mark in text for text in texts for mark in ("{{", "{%", "{#")) or any(t.endswith("{") for t in texts[:-1]):
        return None
    return Inserts(texts, paths, frozenset(bare))


def _is_name(name: str) -> bool:
    """Whether a column's name means nothing but the column."""
    return name not in _WORDS


def _is_plain(name: str) -> bool:
    """Whether Jinja takes a name as it is written: one that it refuses, or takes for another, is left to it."""
    return name.isascii() or (name.isidentifier() and unicodedata.normalize("NFKC", name) == name)
