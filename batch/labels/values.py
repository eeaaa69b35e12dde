"""Whether a value is a valid label, and what is wrong with it in words that a model can act on.

Owns the check of a decoded value against the tree of a schema, and how far a text may differ from the name that it
means. It finds no value in a text: `answers` does.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import uuid
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec

from batch.core.nearest import nearest
from batch.labels.nodes import Node

_INT64: Final = 1 << 63
_SHOWN: Final = 60
_COMPARED: Final = 200  # characters of a text whose nearest names are worth looking for
MOST_NAMED: Final = 12
_GAPS: Final = re.compile(r"[\s_\-]+")
_MOMENTS: Final[dict[str | None, Any]] = {"date": dt.date, "date-time": dt.datetime, "time": dt.time, "uuid": uuid.UUID}


class Unfit(Exception):
    """A value does not fit; the text says where and why, for the model."""


def folded(text: str) -> str:
    """A text without what does not count between names: case, and which blanks, dashes or underscores it has."""
    return _GAPS.sub(" ", text).strip().casefold()


@lru_cache(maxsize=64)
def _by_folded(names: tuple[str, ...]) -> dict[str, str]:
    """Names by their folded form; those that share one are left out, because nobody could tell which is meant."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(folded(name), []).append(name)
    return {key: same[0] for key, same in found.items() if len(same) == 1}


@lru_cache(maxsize=64)
def _set(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(names)


def name_of(text: str, names: tuple[str, ...]) -> tuple[str, bool] | None:
    """The name that a text is, and whether it is spelled otherwise; None when it is none of them."""
    if text in _set(names):
        return text, False
    found = _by_folded(names).get(folded(text))
    return None if found is None else (found, True)


def none_of(text: str, names: tuple[str, ...]) -> str:
    """What to say of a text that is none of the names: the nearest ones, or all of them when they are few."""
    shown = shorter(text)
    if len(names) <= MOST_NAMED:
        return f"{shown} is none of the labels: {', '.join(names)}"
    near = nearest(text, names, most=3, cutoff=0.5) if len(text) <= _COMPARED else []
    return f"{shown} is none of the labels{f'; the nearest are {listed(near)}' if near else ''}"


def listed(names: Iterable[str]) -> str:
    """Names in quotes, separated by commas."""
    return ", ".join(f'"{name}"' for name in names)


def shorter(value: Any) -> str:
    """A value as JSON, cut to what an error can show."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def fit(node: Node, value: Any, where: str = "") -> tuple[Any, bool]:
    """The value as it goes into the table, and whether it had to be read kindly.

    Args:
        node: what it must be.
        value: decoded from JSON.
        where: its place in the label, for the error; empty for the whole.

    Raises:
        Unfit: it does not fit.
    """
    if value is None:
        if node.nullable:
            return None, False
        raise Unfit(f"{_at(where)} must not be null")
    match node.kind:
        case "object":
            return _object(node, value, where)
        case "array":
            return _array(node, value, where)
        case "string":
            return _string(node, value, where)
        case "boolean":
            if not isinstance(value, bool):
                raise Unfit(f"{_at(where)} must be true or false, not {shorter(value)}")
            return value, False
        case _:
            return _number(node, value, where), False


def _at(where: str) -> str:
    return f'"{where}"' if where else "the label"


def _object(node: Node, value: Any, where: str) -> tuple[dict[str, Any], bool]:
    if not isinstance(value, dict):
        raise Unfit(f"{_at(where)} must be a JSON object with {listed(node.fields)}, not {shorter(value)}")
    found: dict[str, Any] = {}
    coerced = False
    by_folded = _by_folded(tuple(node.fields))
    given: dict[str, Any] = {}
    for key, inner in value.items():
        name = key if key in node.fields else by_folded.get(folded(key))
        if name is None:
            if node.closed:
                raise Unfit(f'{_at(where)} has "{key}", which is not asked for: leave it out')
            coerced = True
        elif name not in given or name == key:
            coerced = coerced or name != key
            given[name] = inner
    for name, inner in node.fields.items():
        path = f"{where}.{name}" if where else name
        optional = name not in node.required
        if name not in given and not optional:
            raise Unfit(f'"{path}" is missing')
        if given.get(name) is None and optional:
            found[name] = None
            continue
        found[name], kindly = fit(inner, given[name], path)
        coerced = coerced or kindly
    return found, coerced


def _array(node: Node, value: Any, where: str) -> tuple[list[Any], bool]:
    assert node.item is not None
    if not isinstance(value, list):
        raise Unfit(f"{_at(where)} must be a list, not {shorter(value)}")
    _count(node, len(value), where, "items")
    fitted = [fit(node.item, item, f"{where}[{index}]") for index, item in enumerate(value)]
    items = [item for item, _ in fitted]
    if node.unique and any(item in items[:index] for index, item in enumerate(items)):
        raise Unfit(f"{_at(where)} has an item twice")
    return items, any(kindly for _, kindly in fitted)


def _string(node: Node, value: Any, where: str) -> tuple[str, bool]:
    if not isinstance(value, str):
        raise Unfit(f"{_at(where)} must be a text, not {shorter(value)}")
    if node.choices:
        found = name_of(value, node.choices)
        if found is None:
            raise Unfit(f"{_at(where)}: {none_of(value, node.choices)}")
        return found
    _count(node, len(value), where, "characters")
    if node.pattern is not None and re.search(node.pattern, value) is None:
        raise Unfit(f"{_at(where)} must match {node.pattern}, not {shorter(value)}")
    if node.format in _MOMENTS and not _is_moment(node.format, value):
        raise Unfit(f"{_at(where)} must be a {node.format} in the ISO form, not {shorter(value)}")
    return value, False


def _is_moment(form: str | None, value: str) -> bool:
    try:
        msgspec.convert(value, _MOMENTS[form])
    except msgspec.ValidationError:
        return False
    return True


def _count(node: Node, count: int, where: str, what: str) -> None:
    if node.least is not None and count < node.least:
        raise Unfit(f"{_at(where)} must have at least {node.least} {what}, and has {count}")
    if node.most is not None and count > node.most:
        raise Unfit(f"{_at(where)} must have at most {node.most} {what}, and has {count}")


def _number(node: Node, value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unfit(f"{_at(where)} must be a number, not {shorter(value)}")
    number: float = value
    if node.kind == "integer":
        if isinstance(value, float):
            if not value.is_integer():
                raise Unfit(f"{_at(where)} must be a whole number, not {shorter(value)}")
            number = int(value)
        if not -_INT64 <= number < _INT64:
            raise Unfit(f"{_at(where)} is too large for a number of 64 bits: {shorter(value)}")
    else:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise Unfit(f"{_at(where)} is too large: {shorter(value)}")
    if node.choices and number not in node.choices:
        raise Unfit(f"{_at(where)} must be one of {', '.join(map(str, node.choices))}, not {shorter(value)}")
    bounds = (
        (node.low, node.low is None or number >= node.low, "at least"),
        (node.high, node.high is None or number <= node.high, "at most"),
        (node.above, node.above is None or number > node.above, "more than"),
        (node.below, node.below is None or number < node.below, "less than"),
    )
    for limit, fits, words in bounds:
        if not fits:
            raise Unfit(f"{_at(where)} must be {words} {limit:g}, not {shorter(value)}")
    return number
