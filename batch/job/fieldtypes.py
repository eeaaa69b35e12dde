"""What the type of a field says: its description for people, how its text is read, and whether it holds named tables.

Owns the reading of annotated types of structs, nothing of any job file.
"""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Union, get_args, get_origin

import msgspec
import msgspec.structs

from batch.core import places
from batch.core.hours import Window
from batch.core.moments import Moment


class Misread(ValueError):
    """A text that is not what a field takes; the message says what is wrong and what to write."""


_DURATION: Final = re.compile(
    r"^\s*(?:(\d{1,4})\s*d)?\s*(?:(\d{1,5})\s*h)?\s*(?:(\d{1,6})\s*min)?\s*(?:(\d{1,8})\s*s)?\s*$"
)
_SIZE: Final = re.compile(r"^\s*(\d{1,12})\s*([kKmMgG]?)(i?)[bB]?\s*$")


@cache
def fields_of(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The fields of a struct; to read their types takes a millisecond, and a job is looked at several times."""
    return msgspec.structs.fields(kind)


def table_kind(kind: Any) -> type[msgspec.Struct] | None:
    """The struct of a field that holds tables by name, `dict[str, Struct]`; None for any other field."""
    plain = get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
    inner = get_args(plain)[1:] if get_origin(plain) is dict else ()
    return inner[0] if inner and isinstance(inner[0], type) and issubclass(inner[0], msgspec.Struct) else None


def meta(kind: Any, attribute: str, default: Any) -> Any:
    """An attribute of the `Meta` of an annotated type, or of one in `type | None`; the default when none says it."""
    said = getattr(kind, "__metadata__", ())
    if get_origin(kind) in (Union, UnionType):
        said = [item for one in get_args(kind) for item in getattr(one, "__metadata__", ())]
    # The last one wins: an alias such as `Seconds` says less than the field that uses it.
    values = (getattr(item, attribute, None) for item in reversed(said))
    return next((value for value in values if value is not None), default)


def wanted(kind: Any) -> str:
    """What a field takes, in the words of its description."""
    return str(meta(kind, "description", None) or next(iter(get_args(kind)), kind))


def size(text: str) -> int:
    """The number of bytes that a text such as `16MB`, `16MiB` or `64k` stands for.

    Raises:
        ValueError: the text is no size.
    """
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no size")
    step = 1024 if match[3] else 1000
    scale: int = step ** " kmg".index((match[2] or " ").lower())
    return int(match[1]) * scale


def duration(text: str) -> float:
    """The seconds that a text such as `6h`, `1h 30min` or `2d` stands for.

    Raises:
        ValueError: the text is no duration.
    """
    match = _DURATION.match(text)
    if match is None or not any(match.groups()):
        raise ValueError(f"{text!r} is no duration")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def place(text: str) -> str:
    """The text of a path, or of the name of a place in an object store.

    Raises:
        Misread: the name of a place is misspelt.
    """
    if (why := places.wrong(text)) is not None:
        raise Misread(why)
    return text


PLACE: Final = {"read": place}
"""What is said beside the type of a field that holds a path or a place."""


def windows(text: str) -> tuple[Window, ...]:
    """The windows of hours in a text, which stand with `;` between them.

    Raises:
        Misread: one of them is no window, or its zone is not known; the message says what to write.
    """
    try:
        return tuple(Window.parse(part) for part in text.split(";"))
    except ValueError as exc:
        raise Misread(str(exc)) from None


def moment(text: str) -> Moment:
    """The moment that a text such as `08:00 Asia/Shanghai` stands for.

    Raises:
        Misread: it is none, or its zone is missing or not known; the message says what to write.
    """
    try:
        return Moment.parse(text)
    except ValueError as exc:
        raise Misread(str(exc)) from None


def command(text: str) -> tuple[str, ...]:
    """The words of a command line, split as a shell splits them; nothing is expanded.

    Raises:
        Misread: a quote is not closed, or there is no word.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError:
        raise Misread("has a quote that is not closed") from None
    if not words:
        raise Misread('is empty: give a command, for example "pass show zai"')
    return words


if TYPE_CHECKING:
    KeyFile = Any  # a text will do where a job is built in code
else:
    KeyFile = Annotated[
        Path | None,
        msgspec.Meta(description='the path of a file that holds the key alone, for example "secrets/zai.key"'),
    ]
KeyCommand = Annotated[
    tuple[Annotated[str, msgspec.Meta(min_length=1)], ...],
    msgspec.Meta(
        description='a command that prints the key: "pass show zai", or a list ["sh", "-c", "…"]',
        extra={"read": command},
    ),
]


def from_text(kind: type, value: Any) -> Any:
    """A path from its text; for `msgspec.convert`."""
    if kind is Path and isinstance(value, (str, Path)) and str(value).strip() and "\0" not in str(value):
        return Path(value)
    raise ValueError(f"not a {kind.__name__}")
