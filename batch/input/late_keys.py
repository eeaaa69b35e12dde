"""Keys of lines that no column has: a job may read one that came after the columns were fixed.

Owns the place where they are looked for: the newest gigabyte, from its end. It does not know the columns (`source`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from batch.core.canonical import dumps
from batch.input.jsonl import PATIENCE, Unwrap, lines_of, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batch.input.files import File
    from batch.input.lines import Line

SEARCHED_BYTES: Final = 1 << 30


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
        for line in lines_of(file, limit=limit, patience=PATIENCE, byte=start):
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
