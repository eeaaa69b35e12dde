"""The lock of an output that lies in an object store: an object that its holder writes anew again and again.

Owns who holds it, how it is renewed every 20 seconds by compare-and-swap, and when it may be taken from a holder that
is silent: after 120 seconds, or at once from an earlier process with the same working copy, which the lock of the
operating system shows to be dead. Two machines need not agree about the time: before a silent lock is taken it is
watched for longer than a renewal takes, and one whose time is still to come for the whole 120 seconds. It guards
nothing by itself, the conditions of each write do (`objects`).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from batch.core.clock import MICROSECONDS, Clock
from batch.core.errors import StorageError
from batch.core.logs import logger
from batch.output.objects import Objects, Tag
from batch.output.storeclient import StoreRefused, Taken

NAME: Final = ".lock"
RENEWED_S: Final = 20.0
SILENT_S: Final = 120.0
WATCHED_S: Final = RENEWED_S + 5.0
_GIVEN_UP_S: Final = 100.0
"""A holder that could not renew it for so long gives up, some time before another may take it."""
_AGAIN_S: Final = 5.0
_OURS_UNHEARD: Final = 5
"""Earlier writes of ours that may be found one after the other, each of which came in after its time."""


class Held(msgspec.Struct, frozen=True):
    """What stands in the object."""

    owner: str
    """The working copy that the holder writes from."""
    process: int
    host: str
    since_us: int
    renewed_us: int
    written: int
    """How often the holder has written it: no two contents are the same, so each has a tag of its own."""
    free: bool = False


class HeldElsewhere(Exception):
    """Somebody else holds the lock.

    Attributes:
        holder: who.
        silent_s: since when nothing was heard of it, by its own time and ours.
    """

    def __init__(self, holder: Held, silent_s: float) -> None:
        super().__init__(holder.host)
        self.holder = holder
        self.silent_s = silent_s


class Lease(Protocol):
    """A lock beside the lock of the operating system."""

    @property
    def lost(self) -> StorageError | None:
        """Why it is not ours any more, or may not be; None while it is."""
        ...

    def take(self) -> None:
        """Take it, or say who holds it."""
        ...

    def free(self) -> None:
        """Give it back; harmless when it is not held."""
        ...


class NoLease:
    """Of an output folder on this machine, where the lock of the operating system is all."""

    @property
    def lost(self) -> StorageError | None:
        """See `Lease`."""

    def take(self) -> None:
        """See `Lease`."""

    def free(self) -> None:
        """See `Lease`."""


class ObjectLease:
    """The lock of one place in an object store.

    Args:
        objects: those of the place.
        owner: names the working copy; whoever has it holds the lock of the operating system.
        beat: is called after each renewal, and before it is given back.
        clock: the times that are written down, and the wait while a silent lock is watched.
    """

    def __init__(
        self,
        objects: Objects,
        owner: Callable[[], str],
        *,
        beat: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        self._lost: StorageError | None = None
        self._objects = objects
        self._name_of_owner = owner
        self._owner = ""
        self._beat = beat
        self._clock = clock or Clock()
        self._tag: Tag | None = None
        self._since_us = 0
        self._written = 0
        self._made_at = self._heard = 0.0
        """When the latest content was made, and the one that the store took last: others count from there."""
        self._tried_since: float | None = None
        """Since when it is tried to renew it, in monotonic seconds; None when the latest renewal went well."""
        self._failed: StorageError | None = None
        """Why the latest renewal failed."""
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def lost(self) -> StorageError | None:
        """See `Lease`; a store that keeps a renewal waiting for long is found out here, by whoever asks.

        A process that was stopped for long, or a machine that slept, tries first: nobody may have come meanwhile.
        """
        tried_since = self._tried_since
        if self._lost is None and tried_since is not None:
            now = self._clock.monotonic()
            silent_s = now - self._heard
            if silent_s > _GIVEN_UP_S and now - tried_since > _AGAIN_S:
                self._lost = self._failed or StorageError(
                    f"{self._objects.place.text}: the lock could not be renewed for {silent_s:.0f} s, so another run "
                    "may soon take over this output. It ends here. Look to the network and the store, then run the "
                    "same command again: what was published is whole, and no answer is bought twice."
                )
        return self._lost

    def take(self) -> None:
        """Take the lock, and have it renewed from now on.

        Raises:
            HeldElsewhere: another machine, or another working copy, holds it.
            StorageError: the store cannot be reached, refuses, or does not keep conditions.
        """
        self.acquire()
        self._stopped.clear()
        self._thread = threading.Thread(target=self._renewing, name="store lock", daemon=True)
        self._thread.start()

    def acquire(self) -> None:
        """Take the lock once, without renewing it; see `take`."""
        self._owner, self._since_us = self._name_of_owner(), self._clock.now_us()
        try:
            self._tag = self._objects.create(NAME, self._content())
        except Taken:
            self._tag = self._taken_over()
        self._heard = self._made_at
        self._require_conditions()

    def renew(self) -> None:
        """Write it anew, as a sign of life.

        Raises:
            StorageError: it is not ours any more, or the store cannot be reached.
        """
        if self._tried_since is None:
            self._tried_since = self._clock.monotonic()
        self._write(self._content())
        self._heard, self._tried_since, self._failed = self._made_at, None, None

    def free(self) -> None:
        """Say that nobody holds it, if it is ours; whoever comes next need not wait."""
        if self._thread is not None:
            self._stopped.set()
            self._thread.join()
            self._thread = None
        if self._tag is None:
            return
        with suppress(StorageError, Taken):  # it is taken over in time
            if self._lost is None:
                self._beat()
            self._write(self._content(free=True))
        self._tag = None

    # -- inside -------------------------------------------------------------------------------------------------------

    def _write(self, content: bytes) -> None:
        """Write the lock anew, over what we wrote before.

        A write whose answer was lost is ours all the same: this one, made again, or one before it that had failed.
        """
        for _ in range(_OURS_UNHEARD):
            assert self._tag is not None
            try:
                self._tag = self._objects.replace(NAME, content, self._tag)
            except Taken:
                found = self._objects.read(NAME)
                if found is None or not self._is_ours(found[0]):
                    self._tag = None
                    self._lost = StorageError(self._lost_to(found[0] if found else b""))
                    raise self._lost from None
                self._tag = found[1]
                if found[0] == content:
                    return
            else:
                return
        raise StorageError(f"{self._objects.place.text}/{NAME}: earlier writes of this run come in all the time.")

    def _is_ours(self, content: bytes) -> bool:
        """Whether this very process wrote it, since it took the lock."""
        held = _held(content)
        ours = self._owner, os.getpid(), socket.gethostname(), self._since_us
        return held is not None and (held.owner, held.process, held.host, held.since_us) == ours

    def _taken_over(self) -> Tag:
        found = self._objects.read(NAME)
        if found is None:
            return self._swapped(None)
        held = _held(found[0])
        if held is not None and not held.free and held.owner != self._owner:
            silent_s = (self._clock.now_us() - held.renewed_us) / MICROSECONDS
            if -SILENT_S < silent_s < SILENT_S:
                raise HeldElsewhere(held, max(0.0, silent_s))
            # Renewed at a time that has not come: the clocks tell nothing, and a dead holder would hold it until then.
            watched_s = WATCHED_S if silent_s > 0 else SILENT_S
            logger().warning("store_lock_watched", host=held.host, process=held.process, seconds=watched_s)
            self._clock.pause(watched_s)
            again = self._objects.read(NAME)
            if again is None or again[1].e_tag != found[1].e_tag:
                raise HeldElsewhere(held if again is None else _held(again[0]) or held, 0.0)
        return self._swapped(found[1])

    def _swapped(self, old: Tag | None) -> Tag:
        content = self._content()
        try:
            return self._objects.create(NAME, content) if old is None else self._objects.replace(NAME, content, old)
        except Taken:
            found = self._objects.read(NAME)
            if found is not None and found[0] == content:
                return found[1]
            held = _held(found[0]) if found is not None else None
            raise HeldElsewhere(held or _NOBODY, 0.0) from None

    def _require_conditions(self) -> None:
        """Refuse a store that takes a second object of one name: it could not keep a second writer out either."""
        try:
            self._objects.create(NAME, self._content())
        except Taken:
            return
        raise StoreRefused(
            f"{self._objects.place.text}: this store does not keep conditions (If-None-Match): it wrote over an object "
            "that was to be made only if it were not there. Two runs could overwrite each other; give a place in a "
            "store that does."
        )

    def _renewing(self) -> None:
        wait_s = RENEWED_S
        while not self._stopped.wait(wait_s):
            try:
                self.renew()
                wait_s = RENEWED_S
                self._beat()
            except StorageError as exc:
                self._failed = exc
                if self.lost is not None:
                    return
                wait_s = _AGAIN_S

    def _content(self, *, free: bool = False) -> bytes:
        now_us = self._clock.now_us()
        self._written += 1
        self._made_at = self._clock.monotonic()
        return msgspec.json.encode(
            Held(self._owner, os.getpid(), socket.gethostname(), self._since_us, now_us, self._written, free)
        )

    def _lost_to(self, content: bytes) -> str:
        held = _held(content)
        who = "another" if held is None or held.owner == self._owner else f"process {held.process} on {held.host}"
        return (
            f"{self._objects.place.text}: {who} has taken over this output, for nothing was heard of this run for "
            f"{SILENT_S:.0f} s. It ends here and writes nothing there any more. What was answered is in the ledger of "
            "this machine; run the same command again when the other run has ended."
        )


def _held(content: bytes) -> Held | None:
    try:
        return msgspec.json.decode(content, type=Held)
    except msgspec.MsgspecError:
        return None


_NOBODY: Final = Held("", 0, "another machine", 0, 0, 0)
