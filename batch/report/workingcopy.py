"""The working copy of an output in an object store, as `status` tells of it: where it lies, and when it can go.

Owns what is told of it. It is made of what the store has (`rebuild` brings that), but for what stands in the ledger
alone: as long as there is such a thing, the copy is to be kept. It removes nothing.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from batch.ledger.saved import OnlyHere, SavedReader
from batch.output.folder import OutputFolder


class WorkingCopy(msgspec.Struct, frozen=True):
    """A working copy."""

    path: str
    bytes: int
    """All its files together."""
    only_here: tuple[str, ...]
    """What would be lost with it, for people; empty when it can be removed."""


def working_copy(folder: OutputFolder, reader: SavedReader) -> WorkingCopy | None:
    """What is told of the working copy of an output; None of an output on a disk.

    Args:
        folder: the output.
        reader: its ledger.

    Raises:
        StorageError: the ledger cannot be read.
    """
    if not folder.store.elsewhere:
        return None
    return WorkingCopy(str(folder.root), _size(folder.root), tuple(_told(reader.only_here())))


def _told(here: OnlyHere) -> list[str]:
    counts = [
        (here.rows, "row that is not in the table yet", "rows that are not in the table yet"),
        (here.batches, "batch at the provider", "batches at the provider"),
        (here.tasks, "id of a task that was overdue", "ids of tasks that were overdue"),
        (here.effects, "call of a tool with effects", "calls of tools with effects"),
    ]
    return [f"{number:,} {one if number == 1 else many}" for number, one, many in counts if number]


def _size(root: Path) -> int:
    total = 0
    for path in root.rglob("*"):
        try:
            total += path.lstat().st_size if not path.is_dir() else 0
        except OSError:
            continue  # a run at work replaced it
    return total
