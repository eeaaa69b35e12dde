"""The files that clients have uploaded, and those that batches have brought forth, by id and by key.

Owns the store and how a list of it is cut into pages; a file's form on the wire is the dialects'.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from batch.simulator.batches.contents import Content, Contents


class StoredFile(msgspec.Struct, eq=False):
    """One file.

    Attributes:
        id: by which it is asked for.
        key_id: who may ask for it.
        name: as the client called it.
        purpose: `batch`, or `batch_output` of one that a batch has brought forth.
        content: what it holds.
        created: unix seconds.
        records: for a file of answers, the records in the books that tell of its lines.
    """

    id: str
    key_id: str
    name: str
    purpose: str
    content: Content
    created: float
    records: tuple[int, ...] = ()


class Files:
    """All files that have not been deleted."""

    def __init__(self) -> None:
        """Start with none."""
        self.contents = Contents()
        self._files: dict[str, StoredFile] = {}

    def add(self, file: StoredFile) -> None:
        """Keep a file."""
        self._files[file.id] = file

    def find(self, file_id: str, key_id: str) -> StoredFile | None:
        """The file with this id if it belongs to this key."""
        file = self._files.get(file_id)
        return file if file is not None and file.key_id == key_id else None

    def __iter__(self) -> Iterator[StoredFile]:
        """Every file."""
        return iter(self._files.values())

    def delete(self, file: StoredFile) -> None:
        """Forget a file; a batch that reads it has read it."""
        self._files.pop(file.id, None)

    def of(self, key_id: str, purpose: str | None = None) -> list[StoredFile]:
        """The files of a key, the oldest first; only those of one purpose where it is given."""
        mine = (file for file in self._files.values() if file.key_id == key_id)
        return [file for file in mine if purpose is None or file.purpose == purpose]


def page(ids: list[str], after: str | None, limit: int) -> tuple[slice, bool] | None:
    """Which part of a list is one page, and whether more follow; None when `after` is not on the list.

    Args:
        ids: of all that is on the list, in its order.
        after: the id behind which the page begins; None begins at the beginning.
        limit: how many the page has at most.
    """
    if after is not None and after not in ids:
        return None
    begin = 0 if after is None else ids.index(after) + 1
    return slice(begin, begin + limit), begin + limit < len(ids)
