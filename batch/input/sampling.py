"""The types that the first lines of a source show, and why they show none.

Owns how much is looked at: the first 10,000 lines. It gives no rows (`jsonl` does), does not know which columns an
earlier run kept (`source`), and finds no key beyond those lines (`late_keys`).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from batch.input.files import shown
from batch.input.json_columns import Sketch
from batch.input.jsonl import PATIENCE, Unwrap, lines_of, parse, unread, unreadable

if TYPE_CHECKING:
    from batch.core.records import Failure
    from batch.input.files import Found
    from batch.input.lines import Line

SAMPLE_LINES: Final = 10_000
SAMPLE_BYTES: Final = 64 * 1024 * 1024
PASSED_BYTES: Final = 1 << 30
"""Bytes of lines that are too long, of all files together."""


class Sample(msgspec.Struct, frozen=True):
    """What the first lines of a source show."""

    types: dict[str, str]
    """The type of each key, in the order in which the keys first appeared."""
    blank: str | None
    """Why no key was seen, for people, with the way out; None when one was."""


def sample(found: Found, *, limit: int, unwrap: Unwrap | None) -> Sample:
    """The types that the first lines of the source show, from as many files as needed.

    Lines that are too long or cannot be read show nothing and count for little: one of 100 MB may come first.

    Args:
        found: the files in their order.
        limit: the longest line in bytes.
        unwrap: as for `LineLayout`.

    Raises:
        InputError: a file cannot be read.
    """
    sketch = Sketch()
    size = passed = count = 0
    first: Failure | None = None
    for file in found.files:
        for line in islice(lines_of(file, limit=limit, patience=PATIENCE), SAMPLE_LINES - count):
            failure = _look(sketch, line, f"{file.name} line {line.number}", limit=limit, unwrap=unwrap)
            first = first or failure
            count += 1
            size += line.size if line.raw is not None else 0
            passed += line.size if line.raw is None else 0
            if size >= SAMPLE_BYTES or passed >= PASSED_BYTES:
                break
        if count >= SAMPLE_LINES or size >= SAMPLE_BYTES or passed >= PASSED_BYTES:
            break
    types = sketch.types()
    return Sample(types, None if types else _blank(found, count, first))


def _look(sketch: Sketch, line: Line, place: str, *, limit: int, unwrap: Unwrap | None) -> Failure | None:
    """Note the values on one line; its failure when it is no row."""
    if line.raw is None:
        return unread(line, place, limit)
    try:
        record = parse(line.raw)
    except ValueError as exc:
        return unreadable(line, place, exc)
    sketch.add(unwrap(record)[0] if unwrap is not None else record)
    return None


def _blank(found: Found, count: int, first: Failure | None) -> str:
    """What is said of a source of which no column is known."""
    if first is None:
        what = "has no keys in its rows" if count else "is empty" if found.single else "holds empty files only"
        return f"{shown(found.path)}: {what}: it has no columns. Write rows into it, then run the same command again."
    whole = f"So it is with all of the first {count:,} lines" if count > 1 else "It has no line before that"
    advice = "Take it out, or raise input.max_row_bytes (at most 1GB)" if first.code == "too_long" else "Correct it"
    return f"{first.message}. {whole}, so no column is known. {advice}, then run the same command again."
