"""The objects below one place of an object store: read, listed, removed, and written under a condition.

Owns the requests, and how often one that failed is made again. A write says what it expects to find: nothing, or the
very object it knows by its tag; so two writers can never overwrite each other unseen. It does not know what the objects
are (`stores`), nor how the store is reached (`storeclient`).
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import re
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from batch.core.clock import Clock
from batch.core.errors import StorageError
from batch.core.logs import logger
from batch.core.places import Place
from batch.output import storeclient
from batch.output.storeclient import StoreRefused, Taken

WAITS_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""How long is waited before a request that failed is made again, each time."""
LATE_S: Final = 3.0
"""A request that takes longer, or failed and is made again, is one that is waited for, as a person would say."""
_PIECE: Final = 1 << 20
_LARGEST: Final = 5 * (1 << 30)
"""Bytes that one request may carry, the same in all three stores; only one request can have a condition."""
_MD5: Final = re.compile(r'"?([0-9a-f]{32})"?')
_T = TypeVar("_T")


class Tag(msgspec.Struct, frozen=True, array_like=True):
    """What tells an object from any other that had or gets its name."""

    e_tag: str
    version: str | None = None
    """Google Cloud Storage wants it in a condition."""

    @property
    def text(self) -> str:
        """As the ledger keeps it."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str) -> Tag:
        """Out of the ledger."""
        return msgspec.json.decode(text, type=cls)


class Listed(NamedTuple):
    """An object as a list of them has it."""

    e_tag: str
    size: int


class Objects:
    """The objects below one place.

    Args:
        place: bucket, and what all keys begin with.
        clock: waits between two tries.
    """

    def __init__(self, place: Place, clock: Clock | None = None) -> None:
        self.place = place
        self._clock = clock or Clock()
        self._client: Any = None
        self._gave_up = False
        self._under_way: dict[int, tuple[str, float]] = {}
        """By thread, the object that it asks for, and since when; any thread may look."""

    def create(self, name: str, data: bytes | Path) -> Tag:
        """Write an object that is not there yet.

        Args:
            name: below the place.
            data: its content, or a file of it.

        Raises:
            Taken: there is one.
            StorageError: the store cannot be reached, or refuses.
        """
        return self._put(name, data, "create")

    def replace(self, name: str, data: bytes | Path, old: Tag) -> Tag:
        """Write an object in place of the one with this tag.

        Args:
            name: below the place.
            data: its content, or a file of it.
            old: what must be there now.

        Raises:
            Taken: another one is there, or none.
            StorageError: the store cannot be reached, or refuses.
        """
        condition = {"e_tag": old.e_tag} | ({} if old.version is None else {"version": old.version})
        return self._put(name, data, condition)

    def overwrite(self, name: str, data: bytes | Path) -> Tag:
        """Write an object, whatever is there.

        Raises:
            StorageError: the store cannot be reached, or refuses.
        """
        return self._put(name, data, "overwrite")

    def read(self, name: str) -> tuple[bytes, Tag] | None:
        """A small object and its tag; None where there is none.

        Raises:
            StorageError: the store cannot be reached, or refuses.
        """
        obstore = storeclient.loaded(self.place)

        def get() -> tuple[bytes, Tag]:
            found = obstore.get(self._store(), self._key(name))
            return bytes(found.bytes()), Tag(found.meta["e_tag"] or "", found.meta["version"])

        return self._tried("read", name, get, absent=None)

    def look(self, name: str) -> tuple[Listed, Tag] | None:
        """An object as a list has it, and its whole tag; None where there is none.

        Raises:
            StorageError: the store cannot be reached, or refuses.
        """
        obstore = storeclient.loaded(self.place)

        def head() -> tuple[Listed, Tag]:
            found = obstore.head(self._store(), self._key(name))
            tag = Tag(found["e_tag"] or "", found["version"])
            return Listed(tag.e_tag, found["size"]), tag

        return self._tried("read", name, head, absent=None)

    def pieces(self, name: str) -> Generator[bytes]:
        """The content of an object, some at a time.

        Raises:
            StorageError: there is no such object, or the store cannot be reached.
        """
        obstore = storeclient.loaded(self.place)
        found = self._tried("read", name, lambda: obstore.get(self._store(), self._key(name)), absent=None)
        if found is None:
            raise StorageError(
                f"{self.place.text}/{name}: was removed from the store while it was about to be read. Is another "
                "machine at work on this output? Run the same command again when nobody else is."
            )
        with storeclient.told(self.place, "read", name):
            for piece in found.stream(min_chunk_size=_PIECE):
                yield bytes(piece)

    def holds(self, name: str, listed: Listed, path: Path) -> bool:
        """Whether an object is this file, byte for byte.

        Args:
            name: of the object.
            listed: its size and tag.
            path: the file.

        Raises:
            StorageError: the store cannot be reached.
            OSError: the file cannot be read.
        """
        if path.stat().st_size != listed.size:
            return False
        if (known := _MD5.fullmatch(listed.e_tag)) is not None and _md5(path) == known[1]:
            return True  # of an object that came in one piece and is not encrypted with a key of its own
        with path.open("rb") as file, closing(self.pieces(name)) as pieces:
            return all(file.read(len(piece)) == piece for piece in pieces)

    def list(self, prefix: str) -> dict[str, Listed]:
        """The objects whose names begin with this, in the order of their names.

        Raises:
            StorageError: the store cannot be reached, or refuses.
        """
        obstore = storeclient.loaded(self.place)
        cut = len(self._key(""))

        def found() -> dict[str, Listed]:
            return {
                each["path"][cut:]: Listed(_quoted(each["e_tag"] or ""), each["size"])
                for some in obstore.list(self._store(), prefix=self._key(prefix))
                for each in some
            }

        return dict(sorted(self._tried("listed", prefix, found).items()))

    def delete(self, name: str) -> None:
        """Remove an object; harmless when there is none.

        Raises:
            StorageError: the store cannot be reached, or refuses.
        """
        obstore = storeclient.loaded(self.place)
        self._tried("removed", name, lambda: obstore.delete(self._store(), self._key(name)), absent=None)

    @property
    def awaited(self) -> str | None:
        """The object of a request that takes long or is made again; None when there is no such request."""
        now = self._clock.monotonic()
        return next((name for name, since in list(self._under_way.values()) if now - since >= LATE_S), None)

    def close(self) -> None:
        """Close the connections; the next request opens one."""
        self._client = None

    # -- inside -------------------------------------------------------------------------------------------------------

    def _key(self, name: str) -> str:
        return f"{self.place.key}/{name}" if self.place.key else name

    def _store(self) -> Any:
        if self._client is None:
            self._client = storeclient.connected(self.place, os.environ)
        return self._client

    def _put(self, name: str, data: bytes | Path, mode: Any) -> Tag:
        obstore = storeclient.loaded(self.place)

        conflicts = obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError

        def put() -> Tag:
            try:
                with _content(data) as content:
                    # In one request: only so a write has a condition, and is there whole or not at all.
                    done = obstore.put(self._store(), self._key(name), content, mode=mode, use_multipart=False)
            except conflicts as exc:
                if storeclient.passing(exc, conditional=mode != "overwrite"):
                    raise ConnectionError(str(exc)) from exc
                raise
            return Tag(done["e_tag"] or "", done["version"])

        if isinstance(data, Path) and data.stat().st_size > _LARGEST:
            raise StorageError(f"{data}: is larger than 5 GiB, which is all that a request takes: lower rows_per_part.")
        done = self._tried(storeclient.WRITTEN, name, put, **({"absent": None} if isinstance(mode, dict) else {}))
        if done is None:
            raise Taken  # what was to be replaced is gone
        return done

    def _tried(self, verb: str, name: str, action: Callable[[], _T], **absent: Any) -> _T:
        """What an action gives; a store that does not answer is asked again a few times.

        After it gave up once, one try is all that is left: what follows only tells how the run ended. A "not found"
        is what the caller says it is; to a request that needs no object there it means that no store is there.
        """
        with self._noted(name):
            return self._tried_until(verb, name, action, **absent)

    @contextmanager
    def _noted(self, name: str) -> Iterator[None]:
        """Have a request of this thread known as under way."""
        thread = threading.get_ident()
        self._under_way[thread] = f"{self.place.text}/{name}", self._clock.monotonic()
        try:
            yield
        finally:
            del self._under_way[thread]

    def _tried_until(self, verb: str, name: str, action: Callable[[], _T], **absent: Any) -> _T:
        for wait_s in (*(() if self._gave_up else WAITS_S), None):
            try:
                with storeclient.told(self.place, verb, name):
                    found = action()
                    self._gave_up = False
                    return found
            except FileNotFoundError:
                if "absent" in absent:
                    return absent["absent"]  # type: ignore[no-any-return]  # what the caller said it is
                raise storeclient.nowhere(self.place, os.environ) from None
            except (Taken, StoreRefused):
                raise
            except StorageError as exc:
                if wait_s is None:
                    self._gave_up = True
                    raise
                why = storeclient.reason(exc.__cause__ or exc)
                self._under_way[threading.get_ident()] = f"{self.place.text}/{name}", -math.inf
                logger().warning("store_retried", object=f"{self.place.text}/{name}", why=why, again_s=wait_s)
                self._clock.pause(wait_s)
        raise AssertionError


@contextmanager
def _content(data: bytes | Path) -> Iterator[Any]:
    """Content for the client; a file is mapped, not read, so that its pages need not stay in memory."""
    if isinstance(data, bytes):
        yield data
        return
    with data.open("rb") as file:
        if not data.stat().st_size:
            yield b""
            return
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            yield mapped
        finally:
            with suppress(BufferError):  # the client still looks at it: it goes with the client
                mapped.close()


def _quoted(e_tag: str) -> str:
    """A tag as the header of an object has it: lists of Azure leave the quotes out."""
    return e_tag if not e_tag or e_tag.endswith('"') else f'"{e_tag}"'


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
