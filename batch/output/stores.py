"""Where an output lies for its readers: in its folder on this machine, or in an object store.

Owns the difference between the two, so that nobody else asks for it. Files of an output are always made in a folder of
this machine. Where that is the output itself, they are published by taking their names, and there is nothing else to
do. Where the output is a place in an object store, the folder is a working copy in the state folder: a file is
published when the store has taken it, on the condition that nobody else wrote it meanwhile. It does not know what is in
a file, nor when it is published.
"""

from __future__ import annotations

import os
import uuid
from hashlib import blake2b
from pathlib import Path
from typing import Final, Protocol

from batch.core import places, statefolder
from batch.core.durable import AtomicFile
from batch.core.errors import OutputError, StorageError
from batch.core.logs import logger
from batch.core.places import Place
from batch.output.lease import Lease, NoLease, ObjectLease
from batch.output.objects import Listed, Objects, Tag
from batch.output.storeclient import Taken

COPIES: Final = "stores"
"""The folder of working copies, in the state folder."""
_OWNER: Final = ".owner"
_OURS_ALONE: Final = 0o700
_SENT_ALONG: Final = ("status.json", "metrics.prom")
"""Files that readers of the store find a little older than those of the working copy."""
PUBLISHED: Final = ("results/", "calls/", "runs/")


class Store(Protocol):
    """Where an output lies for its readers."""

    text: str
    """Its name, as people write it."""
    folder: Path
    """Where its files are made."""
    elsewhere: bool
    """Whether the folder is a copy only."""
    again_s: float
    """How long a command that waits for another leaves between two tries to get the lock."""
    absent: str
    """What is said when the folder is not there."""

    @property
    def awaited(self) -> str | None:
        """What a request that takes long is about; None when there is none."""
        ...

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            OSError: the system refuses.
        """
        ...

    def put(self, path: Path, old: str | None) -> str | None:
        """Publish a file that is there under its name; its tag, where the ledger is to keep one.

        Args:
            path: the file, below the folder.
            old: the tag of the file it takes the place of, None when it takes none.

        Raises:
            StorageError: it cannot be published, or somebody else has written there.
        """
        ...

    def send(self, path: Path) -> None:
        """Publish a file that no program decides by, whatever was there.

        Raises:
            StorageError: it cannot be published.
        """
        ...

    def remove(self, path: Path) -> None:
        """Have readers see a file no more that is gone from the folder.

        Raises:
            StorageError: it cannot be removed.
        """
        ...

    def listed(self) -> dict[str, Listed]:
        """What readers see of tables and runs, by name, where that may differ from what is in the folder.

        Raises:
            StorageError: it cannot be listed.
        """
        ...

    def look(self, path: Path) -> Listed | None:
        """What readers see under the name of a file, as `listed` has it; None where there is nothing.

        Raises:
            StorageError: it cannot be read.
        """
        ...

    def same(self, path: Path, listed: Listed) -> str | None:
        """The tag of what readers see under the name of a file, when that is this file; else None.

        Raises:
            StorageError: it cannot be read.
        """
        ...

    def tag(self, path: Path) -> str | None:
        """The tag of what readers see under the name of a file, whatever it is; None where there is nothing.

        Raises:
            StorageError: it cannot be read.
        """
        ...

    def fetch(self, path: Path) -> None:
        """Bring what readers see into the folder.

        Raises:
            StorageError: it cannot be read, or the disk refused.
        """
        ...

    def lease(self) -> Lease:
        """The lock that keeps other machines out."""
        ...


class OnDisk:
    """An output folder on this machine: what is in it is published.

    Args:
        folder: the output folder.
    """

    elsewhere = False
    again_s = 0.5
    absent = "there is no such folder."
    awaited: str | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.text = str(folder)

    def prepare(self) -> None:
        """See `Store`."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def put(self, path: Path, old: str | None) -> str | None:
        """See `Store`."""

    def send(self, path: Path) -> None:
        """See `Store`."""

    def remove(self, path: Path) -> None:
        """See `Store`."""

    def listed(self) -> dict[str, Listed]:
        """See `Store`."""
        return {}

    def look(self, path: Path) -> Listed | None:
        """See `Store`."""

    def same(self, path: Path, listed: Listed) -> str | None:
        """See `Store`."""

    def tag(self, path: Path) -> str | None:
        """See `Store`."""

    def fetch(self, path: Path) -> None:
        """See `Store`."""

    def lease(self) -> Lease:
        """See `Store`."""
        return NoLease()


class InStore:
    """An output in an object store, made in a working copy.

    Args:
        place: where it lies.
        folder: the working copy.
        objects: those of the place; only a test gives others.
    """

    elsewhere = True
    again_s = 5.0

    def __init__(self, place: Place, folder: Path, objects: Objects | None = None) -> None:
        self.text = place.text
        self.folder = folder
        self.absent = (
            "has no working copy on this machine, and its ledger lies in that copy. Run the job on the machine that it "
            f"ran on; or, if that is lost, have a copy and a ledger made from what is in the store: promptmill rebuild "
            f"{place.text}"
        )
        self._objects = objects or Objects(place)
        self._sent: dict[str, int] = {}

    @property
    def awaited(self) -> str | None:
        """See `Store`."""
        return self._objects.awaited

    def prepare(self) -> None:
        """See `Store`."""
        self.folder.parent.mkdir(mode=_OURS_ALONE, parents=True, exist_ok=True)  # answers lie in it
        self.folder.mkdir(exist_ok=True)

    def put(self, path: Path, old: str | None) -> str | None:
        """See `Store`."""
        name = self._name(path)
        try:
            tag = self._objects.create(name, path) if old is None else self._objects.replace(name, path, Tag.parse(old))
        except Taken:
            # A write that was made again because its answer was lost finds itself there.
            found = self._objects.look(name)
            ours = None if found is None else self.same(path, found[0])
            if ours is None:
                raise StorageError(
                    f"{self.text}/{name}: was written by somebody else, so the store took nothing from this run. Is "
                    "another machine at work on this output? What was answered is in the ledger of this machine. When "
                    f"the other one has ended, run: promptmill rebuild {self.text}"
                ) from None
            return ours
        return tag.text

    def send(self, path: Path) -> None:
        """See `Store`."""
        self._objects.overwrite(self._name(path), path)

    def remove(self, path: Path) -> None:
        """See `Store`."""
        self._objects.delete(self._name(path))

    def listed(self) -> dict[str, Listed]:
        """See `Store`."""
        found: dict[str, Listed] = {}
        for prefix in PUBLISHED:
            found |= {
                name: each
                for name, each in self._objects.list(prefix).items()
                if name.endswith((".parquet", ".json")) and not any(part[0] == "." for part in name.split("/") if part)
            }
        return found

    def look(self, path: Path) -> Listed | None:
        """See `Store`."""
        return None if (found := self._objects.look(self._name(path))) is None else found[0]

    def same(self, path: Path, listed: Listed) -> str | None:
        """See `Store`."""
        name = self._name(path)
        try:
            if not self._objects.holds(name, listed, path):
                return None
        except OSError:
            return None
        found = self._objects.look(name)
        return found[1].text if found is not None and found[1].e_tag == listed.e_tag else None

    def tag(self, path: Path) -> str | None:
        """See `Store`."""
        return None if (found := self._objects.look(self._name(path))) is None else found[1].text

    def fetch(self, path: Path) -> None:
        """See `Store`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = AtomicFile(path)
        try:
            target = file.open()
            for piece in self._objects.pieces(self._name(path)):
                target.write(piece)
            file.commit()
        except OSError as exc:
            raise StorageError(
                f"{path}: cannot be written: {exc.strerror or exc}. The working copy of {self.text} lies there: make "
                f"room, or name another state folder in {statefolder.VARIABLE}."
            ) from exc
        finally:
            file.abandon()

    def lease(self) -> Lease:
        """See `Store`."""
        return ObjectLease(self._objects, self._owner, beat=self._send_along)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _owner(self) -> str:
        """The name of this working copy, made once."""
        path = self.folder / _OWNER
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            file = AtomicFile(path)
            file.open().write(uuid.uuid4().hex.encode())
            file.commit()
            return path.read_text(encoding="ascii")

    def _send_along(self) -> None:
        """Send what changes all the time, if it changed; that it cannot be sent is told and stops nothing."""
        for name in _SENT_ALONG:
            path = self.folder / name
            try:
                changed = path.stat().st_mtime_ns
                if self._sent.get(name) != changed:
                    self.send(path)
                    self._sent[name] = changed
            except FileNotFoundError:
                continue
            except (StorageError, OSError) as exc:
                logger().warning("store_behind", file=name, why=str(exc))
                return


def store_of(path: Path) -> Store:
    """Where the output at a path lies.

    Args:
        path: absolute, or a place in an object store.

    Raises:
        OutputError: it names a bucket, and nothing in it.
    """
    place = places.place_of(path)
    if place is not None and not place.key:
        raise OutputError(f"{place.text}: is a whole bucket. Give the output a place in it: {place.text}/NAME")
    return OnDisk(path) if place is None else InStore(place, working_copy(place))


def working_copy(place: Place) -> Path:
    """The folder in which an output in an object store is made, with its ledger.

    Named by the place, and by a hash of it, because two places may have names that are one as a folder.
    """
    name = "".join(each if each.isalnum() or each in "-_." else "-" for each in f"{place.bucket}-{place.key}")
    digest = blake2b(place.text.encode(), digest_size=8).hexdigest()
    return statefolder.folder(os.environ) / COPIES / f"{name[-80:].strip('-.')}-{digest}"
