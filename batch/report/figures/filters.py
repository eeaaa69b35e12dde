"""Which rows of a table are asked for: by status, flag, label, error, tag, variant, text or number.

Owns the names of the filters, what each means over the columns of a table, and what is said of one that makes no sense.
It reads no file: it is given row groups, and the ends of their columns to tell which of them need no reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.core.errors import RefusedToStart
from batch.core.nearest import suggestion
from batch.report.figures.conditions import (
    AnyOf,
    Condition,
    Contains,
    Equal,
    HasFlag,
    IsWithin,
    OneOf,
    as_number,
    countable,
    is_number,
)
from batch.report.figures.parquet import Ends
from batch.report.label_table import input_fields, labels_of

FILTERS: Final[dict[str, str]] = {
    "status": "ok or failed.",
    "flag": "Rows that have this flag: promptmill explain flags lists them.",
    "label": "Rows with this label, in whichever column of labels.",
    "error": "Rows that failed with this kind, or KIND/CODE: promptmill explain errors lists the kinds.",
    "tag": "Rows settled by runs whose job had this tag: NAME:VALUE.",
    "variant": "Results of this variant.",
    "run": "Rows that this run settled.",
    "text": "Rows in whose input, answer, reasoning, error or row_id this text stands, in upper or lower case.",
    "where": "Rows with this value in a column: COLUMN:VALUE; without a value those in which it is empty.",
    "min": "Rows with at least this number in a column: COLUMN:NUMBER; moments are seconds since 1970.",
    "max": "Rows with at most this number in a column: COLUMN:NUMBER.",
}
"""What each filter means, for people; tag, where, min and max may stand several times, and all must hold."""
_SEVERAL: Final = ("tag", "where", "min", "max")
_TEXTS: Final = ("row_id", "answer", "reasoning", "error_message")


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for; all of it must hold, and nothing at all means every row."""

    status: str = ""
    flag: str = ""
    label: str = ""
    error: str = ""
    variant: str = ""
    run: str = ""
    text: str = ""
    tag: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    min: tuple[str, ...] = ()
    max: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self != Filter()


def parse(pairs: Iterable[tuple[str, str]]) -> Filter:
    """The filter that the query of an address names; an empty value asks for nothing.

    Raises:
        RefusedToStart: there is no such filter, or one stands twice that can stand once.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in FILTERS:
            hint = suggestion(name, FILTERS, f"There are: {', '.join(FILTERS)}.")
            raise RefusedToStart(f"there is no filter {name!r}. {hint}")
        if not value:
            continue
        if name in _SEVERAL:
            found[name] = (*found.get(name, ()), value)
        elif name in found:
            raise RefusedToStart(f"{name}: is asked for twice, as {found[name]!r} and {value!r}. Give one of them.")
        else:
            found[name] = value
    return Filter(**found)


class Conditions:
    """A filter over the columns of one table.

    Args:
        asked: the filter.
        schema: of the table: that of its newest part, which has all columns.
        tags: by run, the tags of its job.

    Raises:
        RefusedToStart: a column or a number in it does not exist, or a tag that no run has.

    Attributes:
        columns: what has to be read, with types.
    """

    def __init__(self, asked: Filter, schema: pa.Schema, tags: Mapping[str, Mapping[str, str]]) -> None:
        self._all = list(_conditions(asked, schema, tags))
        names = dict.fromkeys(name for condition in self._all for name in condition.columns)
        self.columns: dict[str, Any] = {name: schema.field(name).type for name in names}

    def mask(self, table: pa.Table) -> Any:
        """For each of N rows whether it is asked for; None for all of them."""
        found: Any = None
        for condition in self._all:
            mask = condition.mask(table)
            found = mask if found is None else pc.and_(found, mask)
        return found

    def may(self, told: Ends) -> bool:
        """Whether a row group with these ends can have a row that is asked for."""
        return all(condition.may(told) for condition in self._all)


def text_columns(schema: pa.Schema) -> list[str]:
    """The columns that a text is looked for in."""
    inputs = [field.name for field in input_fields(schema) if _is_text(field.type)]
    return [*inputs, *(name for name in _TEXTS if name in schema.names)]


def _conditions(asked: Filter, schema: pa.Schema, tags: Mapping[str, Mapping[str, str]]) -> Iterable[Condition]:
    """The cheap ones first: a row group that none of its rows can be in is not read for the others."""
    for name in ("status", "variant", "run"):
        if value := getattr(asked, name):
            yield Equal(name, value)
    if asked.error:
        kind, slash, code = asked.error.partition("/")
        yield Equal("error_kind", kind)
        if slash:
            yield Equal("error_code", code)
    if asked.flag:
        yield HasFlag(asked.flag)
    for pair in asked.tag:
        yield OneOf("run", _runs(pair, tags))
    if asked.label:
        names = [name for name in labels_of(schema) if countable(schema.field(name).type)]
        if not names:
            raise RefusedToStart(f"label={asked.label}: the table has no labels.")
        yield AnyOf([Equal(name, asked.label) for name in names])
    for pair in asked.where:
        name, value = _column(pair, "where", schema)
        if not countable(schema.field(name).type):
            raise RefusedToStart(
                f"where={pair}: the values of {name} are {schema.field(name).type}: nothing to compare."
            )
        yield Equal(name, value)
    for bound in ("min", "max"):
        for pair in getattr(asked, bound):
            yield _within(pair, bound, schema)
    if asked.text:
        yield AnyOf([Contains(name, asked.text) for name in text_columns(schema)])


def _runs(pair: str, tags: Mapping[str, Mapping[str, str]]) -> list[str]:
    name, colon, value = pair.partition(":")
    known = sorted({tag for of_run in tags.values() for tag in of_run})
    if not colon:
        raise RefusedToStart(f"tag={pair}: give a name and a value, as NAME:VALUE.")
    if name not in known:
        there = f"There are: {', '.join(known)}." if known else "No job of its runs has tags."
        raise RefusedToStart(f"tag={pair}: no run has a tag {name!r}. {suggestion(name, known, there)}")
    return [run for run, of_run in tags.items() if of_run.get(name) == value]


def _within(pair: str, bound: str, schema: pa.Schema) -> Condition:
    name, text = _column(pair, bound, schema)
    kind = schema.field(name).type
    if not is_number(kind):
        raise RefusedToStart(f"{bound}={pair}: the values of {name} are {kind}, no numbers.")
    try:
        number = as_number(text, kind)
    except ValueError:
        raise RefusedToStart(f"{bound}={pair}: {text!r} is no number. Give one as {name}:0.5") from None
    return IsWithin(name, kind, least=number) if bound == "min" else IsWithin(name, kind, most=number)


def _column(pair: str, what: str, schema: pa.Schema) -> tuple[str, str]:
    """The column and the value of `COLUMN:VALUE`; a name may have colons of its own."""
    fitting = [name for name in schema.names if pair.startswith(f"{name}:")]
    if fitting:
        name = max(fitting, key=len)
        return name, pair[len(name) + 1 :]
    name, colon, _ = pair.partition(":")
    if not colon:
        raise RefusedToStart(f"{what}={pair}: give a column and a value, as COLUMN:VALUE.")
    hint = suggestion(name, schema.names, f"It has: {', '.join(schema.names)}.")
    raise RefusedToStart(f"{what}={pair}: the table has no column {name!r}. {hint}")


def _is_text(kind: Any) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
