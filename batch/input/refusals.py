"""A source that is refused whole, because its first lines cannot be asked for one and the same reason.

Owns how many lines it takes. Why a line cannot be asked is said by who unwraps it (`openai_batch`).
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

from batch.core.errors import InputError
from batch.input.batches import input_failure
from batch.input.jsonl import Unwrap, lines_of, parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batch.core.records import Failure
    from batch.input.files import File
    from batch.input.lines import Line

CONDEMNED: Final = 50
"""When this many first lines cannot be asked for one reason, the whole source is refused."""


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
        for line in islice(lines_of(file, limit=limit), CONDEMNED - count):
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
