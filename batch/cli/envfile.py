"""Files of variables, such as `nightly.env`: lines of NAME=value that count as if they stood in the environment.

Owns the form of such a file and the errors for what is wrong in one. It does not know what the variables mean, and it
never shows a value: most of these files hold a key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from batch.core.errors import RefusedToStart
from batch.core.plain import clean

MOST_BYTES: Final = 1_000_000

_LINE: Final = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)", re.DOTALL)
_SINGLE: Final = re.compile(r"'([^']*)'")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_MEANS: Final = {"n": "\n", "r": "\r", "t": "\t", "\n": ""}
"""What stands behind a backslash in double quotes, where it is not itself."""


class Assignment(NamedTuple):
    """One variable of a file.

    Attributes:
        name: of the variable.
        value: its text, without quotes.
        line: where it begins, from 1.
    """

    name: str
    value: str
    line: int


def read(path: Path, *, option: str = "--env-file ") -> list[Assignment]:
    r"""The variables of a file in its order; a name that stands there twice has its last value.

    Lines are `NAME=value` or `export NAME=value`. A value in single quotes is taken as it is; in double quotes a
    backslash makes `\n`, `\t`, `\"` and `\\`, and the value may go over several lines; without quotes it ends
    before a blank and a `#`. Nothing is expanded: a `$` is a `$`.

    Args:
        path: the file.
        option: what stands before its path in errors.

    Raises:
        RefusedToStart: the file cannot be read, or a line of it is none of these; no text of the file is in the error.
    """
    shown, raw = f"{option}{clean(str(path), most=200)}", b""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except FileNotFoundError as exc:
        raise RefusedToStart(f"{shown}: there is no such file.") from exc
    except IsADirectoryError as exc:
        raise RefusedToStart(f"{shown}: is a folder. Give a file with lines of NAME=value.") from exc
    except OSError as exc:
        raise RefusedToStart(f"{shown}: cannot be read: {exc.strerror}. Check its permissions.") from exc
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        # Not `from exc`: its repr has the bytes of the file.
        raise RefusedToStart(f"{shown}, line {line}: is not UTF-8. Save the file as UTF-8.") from None
    if len(raw) > MOST_BYTES:
        raise RefusedToStart(f"{shown}: is larger than 1 MB, so it is no file of variables.")
    found = {each.name: each for each in _assignments(text.replace("\r\n", "\n"), shown)}
    return list(found.values())


def open_to_others(path: Path) -> bool:
    """Whether users of the machine other than the owner may read a file."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o077)
    except OSError:
        return False


def _assignments(text: str, shown: str) -> Iterator[Assignment]:
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        first = number + 1
        line = lines[number].strip(" \t")
        number += 1
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise _wrong(shown, first, "is no NAME=value; a name has letters, digits and _, a comment begins with #")
        name, value = found.groups()
        while value.startswith('"') and _DOUBLE.match(value) is None and number < len(lines):
            value += f"\n{lines[number]}"
            number += 1
        value = _value(value, shown, first)
        if "\0" in value:
            raise _wrong(shown, first, "holds a zero byte, which no variable can: write the line again")
        yield Assignment(name, value, first)


def _value(written: str, shown: str, line: int) -> str:
    """What a value says without its quotes, its comment and the blanks around it."""
    quote = written[:1]
    if quote not in ("'", '"'):
        return re.split(r"(?:^|[ \t])#", written, maxsplit=1)[0].strip(" \t")
    found = (_SINGLE if quote == "'" else _DOUBLE).match(written)
    if found is None:
        raise _wrong(shown, line, f"begins with {quote} and has no {quote} at its end: close the quotes")
    rest = written[found.end() :].strip(" \t")
    if rest and not rest.startswith("#"):
        raise _wrong(shown, line, "has text behind its quotes: put all of the value into them")
    text = found[1]
    return text if quote == "'" else _ESCAPE.sub(lambda escape: _MEANS.get(escape[1], escape[1]), text)


def _wrong(shown: str, line: int, why: str) -> RefusedToStart:
    return RefusedToStart(f"{shown}, line {line}: {why}.")
