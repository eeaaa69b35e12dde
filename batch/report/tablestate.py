"""What is counted over the whole table of an output folder: its failures by kind and code, and its flags.

Owns these values; `figures.failures` counts them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from batch.report.missing import Missing

EXAMPLES: Final = 3


class Standing(msgspec.Struct, frozen=True):
    """The failed rows of the table that share kind, code and whether they are worth another try."""

    kind: str
    code: str | None
    retryable: bool
    rows: int
    examples: tuple[str, ...]
    """The ids of the first few."""
    message: str | None
    """The error message of the first."""


class Flagged(msgspec.Struct, frozen=True):
    """The rows of the table that share a flag."""

    flag: str
    rows: int
    examples: tuple[str, ...]
    """The ids of the first few."""


class TableState(msgspec.Struct, frozen=True):
    """What is counted over the whole table, and so takes longest."""

    standing: tuple[Standing, ...] = ()
    flagged: tuple[Flagged, ...] = ()
    missing: tuple[Missing, ...] = ()
    """Parts that could not be read, and so are not counted; then files of the book that are lost or cut short."""
