"""Published files on their way to where readers find them, and what the ledger is to remember of each.

Owns the tags of files in an object store, from the ledger and back into it: a file that takes the place of another
names the one it expects there. For an output on a disk there are none, and a file that has its name is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import apsw

from batch.core import failpoints
from batch.ledger.published import PublishedReader, record_tags
from batch.output.folder import OutputFolder
from batch.output.objects import Tag


class Uploads:
    """The files of one writer; the tags are recorded in the transaction that makes the files count.

    Args:
        folder: the output folder.
        tags: what the ledger says of files that were published before, by name.
    """

    def __init__(self, folder: OutputFolder, tags: Mapping[str, str]) -> None:
        self._folder = folder
        self._tags = dict(tags)
        self._news: dict[str, str | None] = {}

    @classmethod
    def of(cls, folder: OutputFolder, *paths: Path) -> Self:
        """With the tags that the ledger of this folder has of these files, by default of all."""
        with PublishedReader(folder.ledger) as reader:
            if not paths:
                return cls(folder, reader.tags())
            tags = {name: reader.tag(name) for path in paths if (name := path.relative_to(folder.root).as_posix())}
        return cls(folder, {name: tag for name, tag in tags.items() if tag is not None})

    @property
    def news(self) -> bool:
        """Whether there is something to record."""
        return bool(self._news)

    @property
    def known(self) -> dict[str, Tag]:
        """The tags of published files, by name."""
        return {name: Tag.parse(tag) for name, tag in self._tags.items()}

    def put(self, path: Path, point: str) -> None:
        """Publish a file that is there under its name.

        Args:
            path: the file.
            point: the failpoint to pass when it is published.

        Raises:
            StorageError: it cannot be published, or somebody else has written there.
        """
        name = path.relative_to(self._folder.root).as_posix()
        tag = self._folder.store.put(path, self._tags.get(name))
        if tag is not None:
            self._tags[name] = self._news[name] = tag
        failpoints.hit(point)

    def adopt(self, path: Path, tag: str) -> None:
        """Take note of a file that readers see already."""
        name = path.relative_to(self._folder.root).as_posix()
        self._tags[name] = self._news[name] = tag

    def remove(self, path: Path) -> None:
        """Have readers see a file no more.

        Raises:
            StorageError: it cannot be removed.
        """
        name = path.relative_to(self._folder.root).as_posix()
        self._folder.store.remove(path)
        if self._tags.pop(name, None) is not None:
            self._news[name] = None

    def record(self, db: apsw.Connection) -> None:
        """Have the ledger know the tags that are new; inside a transaction."""
        record_tags(db, self._news)

    def recorded(self) -> None:
        """Forget what was new, once that transaction is durable."""
        self._news.clear()
