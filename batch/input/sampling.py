"""What the lines of a source show before it is read: the types of its columns, its keys, and why there are none.

Owns how much is looked at: the first 10,000 lines for types, the newest gigabyte for keys without a column. It gives no
rows (`jsonl` does) and does not know which columns an earlier run kept (`source`).
"""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from batch.core.canonical import bad_line_id, dumps
from batch.core.errors import InputError
from batch.input.batches import input_failure
from batch.input.files import File, shown
from batch.input.json_columns import Sketch
from batch.input.jsonl import Unwrap, parse, unread, unreadable
from batch.input.lines import Line, Lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batch.core.records import Failure
    from batch.input.files import Found

CONDEMNED: Final = 50
"""When this many first lines cannot be asked for one reason, the whole source is refused."""
SAMPLE_LINES: Final = 10_000
SAMPLE_BYTES: Final = 64 * 1024 * 1024
PATIENCE: Final = 256 * 1024 * 1024
"""Bytes of one line that is too long, after which the next file is looked at: a small file may unpack to terabytes."""
PASSED_BYTES: Final = 1 << 30
"""Bytes of lines that are too long, of all files together."""
SEARCHED_BYTES: Final = 1 << 30


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
        for line in islice(_lines(file, limit=limit, patience=PATIENCE), SAMPLE_LINES - count):
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


def require_some(files: Iterable[File], *, limit: int, unwrap: Unwrap) -> None:
    """Refuse a source whose first 50 lines cannot be asked for one and the same reason: then the job is wrong.

    Args:
        files: the files in their order.
        limit: the longest line in bytes.
        unwrap: as for `LineLayout`.

    Raises:
        InputError: the source is refused; the message is that of the first line.
    """
    first: Failure | None = None
    count = 0
    for file in files:
        for line in islice(_lines(file, limit=limit), CONDEMNED - count):
            refusal = _refusal(line, unwrap)
            if refusal is None or (first is not None and first.code != refusal[0]):
                return
            code, reason = refusal
            first = first or input_failure(f"{file.name} line {line.number}", code=code, reason=reason)
            count += 1
        if first is not None and count >= CONDEMNED:
            raise InputError(f"{first.message}. So it is with all of the first {count} lines.")


def _refusal(line: Line, unwrap: Unwrap) -> tuple[str, str] | None:
    """Code and reason when the row on a line cannot be asked; None when it can, or when the line is no object."""
    with suppress(ValueError):
        return unwrap(parse(line.raw or b""))[1]
    return None


def find_keys(
    files: Sequence[File], wanted: Iterable[str], *, limit: int, unwrap: Unwrap | None
) -> tuple[list[str], bool]:
    """Those of the wanted keys that some line has, newest lines first: what a source has since last night is there.

    A gigabyte is looked at, from the end of the last file backwards file by file; of a packed file its beginning.

    Args:
        files: the files in their order.
        wanted: the keys.
        limit: the longest line in bytes; longer ones, and lines that cannot be read, are ignored.
        unwrap: as for `LineLayout`.

    Returns:
        The keys, and whether they are all there are: False when lines were left that nobody looked at.

    Raises:
        InputError: a file cannot be read.
    """
    left = {name: (dumps(name).encode(), json.dumps(name).encode()) for name in wanted}
    found: list[str] = []
    budget = SEARCHED_BYTES
    for file in reversed(files):
        start = max(0, file.size - budget) if file.packing is None else 0
        torn = start > 0
        for line in _lines(file, limit=limit, patience=PATIENCE, byte=start):
            budget -= line.size
            for name in [] if torn else _having(line, left, unwrap):
                found.append(name)
                del left[name]
            torn = False
            if not left or budget <= 0:
                break
        if not left or budget <= 0:
            break
    return found, not left or budget > 0


def _having(line: Line, wanted: dict[str, tuple[bytes, bytes]], unwrap: Unwrap | None) -> list[str]:
    """The wanted keys that the row on a line has; it is parsed only where its bytes may hold one."""
    raw = line.raw
    if raw is None or not any(form in raw for forms in wanted.values() for form in forms):
        return []
    try:
        record = parse(raw)
    except ValueError:
        return []
    row = unwrap(record)[0] if unwrap is not None else record
    return [name for name in wanted if name in row]


def _lines(file: File, *, limit: int, patience: int | None = None, byte: int = 0) -> Iterator[Line]:
    named, packing = bad_line_id, file.packing
    with Lines(file.path, limit=limit, identify=named, packing=packing, byte=byte, patience=patience) as lines:
        yield from lines
