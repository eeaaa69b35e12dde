"""Reads the label out of an answer: out of fences, out of the words around it, in another spelling.

Owns what still counts as saying a label. An answer that says two different ones says none, and so does one that only
mentions a name in passing: asking again costs one call, a wrong label is found by nobody. What a label is stands in
`schema`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Final, Literal

import msgspec

from batch.core.canonical import loads
from batch.labels import values
from batch.labels.schema import LABEL, LabelSchema
from batch.labels.values import Unfit

Code = Literal["empty", "truncated", "no_json", "outside", "ambiguous", "schema"]
"""Why an answer holds no valid label."""

_THOUGHT: Final = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_FENCE: Final = re.compile(r"```[\w+-]*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_SAID: Final = re.compile(
    r"(?:\b(?:label|category|class|classification|answer|intent)\b|标签|类别|分类|答案|意图)"
    r"\W{0,4}(?:\b(?:is|as|would be|should be)\b|是|为)?[ \t:：=*_\"'`“「(（-]{0,8}",
    re.IGNORECASE,
)
_AROUND: Final = " \t\r\n\"'`“”‘’「」*#>.。,，;；:：!！()（）[]【】<"
_BULLET: Final = re.compile(r"\A(?:[-*•]|\d+[.)、])[ \t]+")
_LONGEST: Final = 200_000
_SCANNED: Final = 100_000
"""Characters looked at in search of braces that close: an answer of opening ones must not hold up everybody."""
_MOST_OPENINGS: Final = 50
_MOST_LINES: Final = 2_000
_MARGIN: Final = 80  # characters around a name that stands behind a word such as "label:"


class Found(msgspec.Struct, frozen=True):
    """The label that an answer says."""

    value: str | dict[str, Any]
    coerced: bool = False
    """Whether it stood among other words, in fences, or in another spelling."""
    place: tuple[int, int] | None = None
    """The beginning and the end, in the answer, of the JSON that says it; None where no JSON does."""


class Invalid(msgspec.Struct, frozen=True):
    """Why an answer says no valid label, for the model and for people."""

    code: Code
    text: str


def read(answer: str | None, schema: LabelSchema, *, cut: bool = False) -> Found | Invalid:
    """The label in an answer, or what is wrong with it.

    Args:
        answer: what the model said.
        schema: what a label is.
        cut: whether the answer ends where its tokens did: then a name at its end may be the beginning of another.
    """
    text = _THOUGHT.sub("", answer or "")[-_LONGEST:]
    thought = len(text) != len(answer or "")
    if not text.strip():
        return Invalid("truncated" if cut else "empty", "the answer is cut off" if cut else "the answer is empty")
    found = _name(text, schema.names) if schema.names else _object(text, schema)
    if cut and (isinstance(found, Invalid) or _may_go_on(text, found.value, schema.names)):
        return Invalid("truncated", "the answer is cut off before its label is complete")
    if isinstance(found, Invalid):
        return found
    before = len(answer or "") - len(text)
    place = None if found.place is None else (found.place[0] + before, found.place[1] + before)
    return Found(found.value, found.coerced or thought, place)


def _may_go_on(text: str, value: str | dict[str, Any], names: tuple[str, ...]) -> bool:
    """Whether a name that ends a text could be the beginning of a longer one."""
    if not isinstance(value, str) or "}" in text[-8:]:
        return False
    return any(name != value and values.folded(name).startswith(values.folded(value)) for name in names)


# -- names ------------------------------------------------------------------------------------------------------------


def _name(text: str, names: tuple[str, ...]) -> Found | Invalid:
    whole = text.strip()
    if (plain := values.name_of(whole, names)) is not None:
        return Found(*plain)
    told: list[str] = []
    said: dict[str, bool] = {}
    place: tuple[int, int] | None = None
    for value, alone, found_at in _documents(text):
        for name in _names_in(value):
            place = found_at
            if (one := values.name_of(name, names)) is None:
                told.append(name)
            else:
                said[one[0]] = said.get(one[0], True) and (one[1] or not alone)
    if not said and not told:
        if whole.startswith("{"):
            return Invalid("no_json", f"the answer is not JSON: {_why(text)}")
        told, said = _among_words(text, names)
    if len(said) == 1 and not told:
        ((name, coerced),) = said.items()
        return Found(name, coerced, place)
    if len(said) > 1:
        return Invalid("ambiguous", f"the answer says several labels: {values.listed(said)}")
    if said:
        return Invalid("ambiguous", f"the answer says {values.listed(said)} and more")
    if told:
        return Invalid("outside", values.none_of(told[0], names))
    if len(whole.split()) <= 8 and "{" not in whole:
        return Invalid("outside", values.none_of(whole, names))
    return Invalid("outside", "the answer does not say one label alone")


def _names_in(value: Any) -> Iterator[str]:
    """The texts of a JSON value that say a label: the text itself, or the property of that name."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        key = next((key for key in value if values.folded(key) == LABEL), None)
        inner = value.get(key) if key is not None else next(iter(value.values()), None) if len(value) == 1 else None
        if isinstance(inner, str):
            yield inner
        elif isinstance(inner, list) and len(inner) == 1 and isinstance(inner[0], str):
            yield inner[0]


def _among_words(text: str, names: tuple[str, ...]) -> tuple[list[str], dict[str, bool]]:
    """Names that stand alone on a line, or behind a word such as "label:"; and what stands there and is no name."""
    said: dict[str, bool] = {}
    told: list[str] = []
    longest = max(map(len, names)) + _MARGIN
    for line in islice(text.splitlines(), _MOST_LINES):
        bare = _BULLET.sub("", line.strip()).strip(_AROUND)
        if (one := values.name_of(bare, names)) is not None:
            said[one[0]] = True
            continue
        for match in islice(_SAID.finditer(line), _MOST_OPENINGS):
            rest = line[match.end() :][:longest].strip(_AROUND)
            if rest and (one := values.name_of(rest, names)) is not None:
                said[one[0]] = True
            elif rest and len(rest.split()) <= 4 and not said:
                told.append(rest)
    return ([] if said else told), said


# -- objects ----------------------------------------------------------------------------------------------------------


def _object(text: str, schema: LabelSchema) -> Found | Invalid:
    fitting: list[Found] = []
    first: Unfit | None = None
    for value, alone, place in _documents(text):
        inner, wrapped = _unwrapped(value, schema)
        try:
            found, coerced = values.fit(schema.root, inner)
        except Unfit as exc:
            first = first or exc
            continue
        one = Found(found, coerced or wrapped or not alone, place)
        if all(other.value != one.value for other in fitting):
            fitting.append(one)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        return Invalid("ambiguous", "the answer has several JSON objects that differ: give one")
    if first is not None:
        return Invalid("schema", str(first))
    return Invalid("no_json", f"the answer is not JSON: {_why(text)}")


def _unwrapped(value: Any, schema: LabelSchema) -> tuple[Any, bool]:
    """The object inside `{"label": {…}}`, which some models add, and whether it stood in one."""
    if isinstance(value, dict) and list(value) == [LABEL] and LABEL not in schema.root.fields:
        return value[LABEL], True
    return value, False


def _why(text: str) -> str:
    try:
        loads(_stripped(text))
    except ValueError as exc:
        return str(exc)[:120]
    return "it says no label"


def _stripped(text: str) -> str:
    fence = _FENCE.search(text)
    return (fence[1] if fence else text).strip()


def _documents(text: str) -> Iterator[tuple[Any, bool, tuple[int, int]]]:
    """JSON values in a text: the text itself, what is in fences, what braces hold.

    Each comes with whether it is the whole of the text, and with its beginning and end there.
    """
    whole = text.strip()
    if whole[:1] in ("{", '"', "["):
        with suppress(ValueError):
            yield loads(whole), True, (0, len(text))
            return
    for fence in islice(_FENCE.finditer(text), _MOST_OPENINGS):
        try:
            yield loads(fence[1].strip()), False, fence.span(1)
        except ValueError:
            continue
        return
    position, left = 0, _SCANNED
    for _ in range(_MOST_OPENINGS):
        start = text.find("{", position)
        if start < 0 or left <= 0:
            return
        end = _end_of(text, start, min(len(text), start + left))
        left -= (end or len(text)) - start
        position = start + 1
        if end is not None:
            try:
                yield loads(text[start:end]), False, (start, end)
                position = end
            except ValueError:
                continue


def _end_of(text: str, start: int, last: int) -> int | None:
    """Where the braces that open at `start` are closed; None when they are not before `last`."""
    depth, quoted, escaped = 0, False, False
    for position in range(start, last):
        sign = text[position]
        if quoted:
            quoted = escaped or sign != '"'
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            quoted = True
        elif sign == "{":
            depth += 1
        elif sign == "}":
            depth -= 1
            if depth == 0:
                return position + 1
    return None
