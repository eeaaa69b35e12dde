"""The output folder: where each file lies, and who may write there.

Owns the names of files and folders under `OUT` and the lock of the operating system. It does not know what stands in
the files: that belongs to `batch.ledger` (the truth), `tables` and `parts` (what people read). Readers use the paths
only; a run also takes the lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Self

from anyio import CancelScope, to_thread

from batch.core import openfiles
from batch.core.clock import Clock, iso
from batch.core.durable import sync_folder
from batch.core.errors import OutputError, StorageError
from batch.ledger.reader import LedgerReader
from batch.output import stores
from batch.output.lease import SILENT_S, HeldElsewhere
from batch.output.storeclient import StoreRefused

_HELD = (errno.EWOULDBLOCK, errno.EACCES)


class OutputFolder:
    """The paths of one output folder, `OUT`.

    Attributes:
        place: the path, as a job or a command line has it.
        store: where the files lie for their readers.
        root: the folder in which they are made; the same as `place`, unless that is in an object store.
        text: `place`, for people.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.store = stores.store_of(place)
        self.text = self.store.text
        self.root = root = self.store.folder
        self.results = root / "results"
        self.calls = root / "calls"
        self.runs = root / "runs"
        self.pending = root / "pending"
        self.bulk = root / "bulk"
        self.ledger = root / "ledger.db"
        self.status = root / "status.json"
        self.metrics = root / "metrics.prom"
        self.lock = root / ".lock"
        self.strays = root / ".strays"
        self.wire = root / "wire"

    def part(self, number: int) -> Path:
        """The file of one part of the result table."""
        return self.results / f"part-{number:05d}.parquet"

    def calls_part(self, run: str, number: int) -> Path:
        """One file of the table `calls`; the folder of its run is a hive partition."""
        return self.calls / f"run={run}" / f"part-{number:05d}.parquet"

    def run_file(self, run: str) -> Path:
        """The file with the summary of one run."""
        return self.runs / f"{run}.json"

    def spill(self, number: int) -> Path:
        """The file with the input columns of one admitted range."""
        return self.pending / f"range-{number:05d}.arrow"

    def prepare(self) -> None:
        """Make the folders, and take over what an older version kept under another name; the caller holds the lock.

        Raises:
            StorageError: the file system refuses.
        """
        old = self.root / ".pending"
        try:
            for folder in (self.root, self.results, self.calls, self.runs, self.pending):
                folder.mkdir(parents=True, exist_ok=True)
            if old.is_dir():
                for path in old.iterdir():
                    path.replace(self.pending / path.name)
                sync_folder(self.pending)
                old.rmdir()
        except OSError as exc:
            raise StorageError(f"{exc.filename}: cannot make the folder: {exc.strerror}.{_more(exc)}") from exc


def _more(exc: OSError) -> str:
    return f" {openfiles.advice()}." if openfiles.used_up(exc) else ""


class Busy(OutputError):
    """Another process is at work in the output folder.

    Attributes:
        process: its id, or None when it is not known.
        since_us: when it took the lock, or None. The holder writes the lock file once, so its age says so; when that
            file is gone, the ledger does.
        holder: all that is known as text.
    """

    def __init__(
        self, folder: OutputFolder, process: int | None, since_us: int | None, elsewhere: HeldElsewhere | None = None
    ) -> None:
        """Say who is at work.

        Args:
            folder: where.
            process: its id, or None.
            since_us: when it took the lock, or None.
            elsewhere: what the lock in the store says, where that is what keeps us out.
        """
        self.process = process
        self.since_us = since_us
        said = [f"process {process}"] if process is not None else []
        said += [f"since {iso(since_us)}"] if since_us is not None else []
        more = ""
        if elsewhere is not None:
            said.insert(0, f"host {elsewhere.holder.host}")
            said.append(f"heard of {elsewhere.silent_s:.0f} s ago")
            more = f" A run that died there is in nobody's way {SILENT_S:.0f} s after it was heard of last."
        self.holder = ", ".join(said)
        holder = f" ({self.holder})" if said else ""
        super().__init__(
            f"{folder.text}: another run is at work here{holder}. Wait for it (--if-running wait does), or give -o "
            f"another folder.{more}"
        )


class RunLock:
    """The lock that keeps a second process out of an output folder; the system frees it when this process dies.

    It is on two things: the file that everybody sees, and the folder itself, because a file can be deleted while it is
    locked and then locks nobody out. Where the folder is the working copy of a store, the store has one more (`lease`).
    """

    def __init__(self, folder: OutputFolder) -> None:
        self.folder = folder
        self._lease = folder.store.lease()
        self._file: IO[str] | None = None
        self._root: int | None = None

    def take(self) -> Self:
        """Take the lock, or refuse at once.

        Raises:
            Busy: another process holds it.
            StorageError: the lock file cannot be made.
        """
        path = self.folder.lock
        try:
            self.folder.store.prepare()
            self._root = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            self._file = path.open("a+", encoding="utf-8")
        except OSError as exc:
            self.free()
            advice = _more(exc) or " Make it writable and give the same command again, or run into another folder (-o)."
            raise StorageError(f"{path}: cannot be written: {exc.strerror}.{advice}") from exc
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _lock_folder(self._root)
        except OSError as exc:
            process, since_us = _named_in(self._file) or _named_in_ledger(self.folder) or (None, None)
            self.free()
            if exc.errno not in _HELD:
                raise StorageError(f"{path}: this file system cannot lock: {exc.strerror}.") from exc
            raise Busy(self.folder, process, since_us) from exc
        with suppress(OSError):  # only a courtesy to whoever is refused; a full disk is reported better by what follows
            self._file.truncate(0)
            os.write(self._file.fileno(), f"{os.getpid()}\n".encode())
        self._take_lease()
        return self

    def _take_lease(self) -> None:
        try:
            self._lease.take()
        except HeldElsewhere as exc:
            self.free()
            raise Busy(self.folder, exc.holder.process, exc.holder.since_us, exc) from exc
        except StoreRefused as exc:
            self.free()
            raise OutputError(str(exc)) from exc
        except BaseException:
            self.free()
            raise

    @property
    def lost(self) -> StorageError | None:
        """Why it is not this process's any more, although it did not give it back; None as long as it is."""
        return self._lease.lost

    async def wait(self, clock: Clock) -> None:
        """Take the lock as soon as it is free.

        Raises:
            StorageError: the lock file cannot be made.
        """
        while True:
            await clock.sleep(self.folder.store.again_s)
            with suppress(Busy):
                await to_thread.run_sync(self.take)
                return

    @asynccontextmanager
    async def given_back(self) -> AsyncIterator[None]:
        """Give the lock back behind what is done inside; in a thread, for a store may take its time."""
        try:
            yield
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(self.free)

    @property
    def held(self) -> bool:
        """Whether it is this process's now."""
        return self._file is not None

    def free(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        self._lease.free()
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._root is not None:
            os.close(self._root)
            self._root = None

    def __enter__(self) -> Self:
        return self if self._file is not None else self.take()

    def __exit__(self, *_: object) -> None:
        self.free()


def holder(folder: OutputFolder) -> int | None:
    """The process that works in this folder; None when there is none.

    The lock itself is only tried when the process that is named in its file, or in the ledger, is alive: trying takes
    it for a moment, and a run that starts in that moment would be refused.
    """
    try:
        with folder.lock.open(encoding="utf-8") as file:
            named = _named_in(file) or _named_in_ledger(folder)
    except OSError:
        named = _named_in_ledger(folder)
    if named is None or not _alive(named[0]):
        return None
    try:
        root = os.open(folder.root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        _lock_folder(root, fcntl.LOCK_SH)
    except BlockingIOError:
        return named[0]
    except OSError:
        return None
    finally:
        os.close(root)
    return None


def _lock_folder(root: int, how: int = fcntl.LOCK_EX) -> None:
    """Lock a folder that is open; file systems that lock files only are taken as they are.

    Raises:
        BlockingIOError: another process holds it.
    """
    try:
        fcntl.flock(root, how | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in _HELD:
            raise BlockingIOError(exc.errno, exc.strerror) from exc


def _named_in(file: IO[str]) -> tuple[int, int] | None:
    """Who wrote its number into the lock file, and when."""
    file.seek(0)
    text = file.read(32).strip()
    return (int(text), os.fstat(file.fileno()).st_mtime_ns // 1_000) if text.isdigit() else None


def _named_in_ledger(folder: OutputFolder) -> tuple[int, int] | None:
    """Who has the ledger open, and since when."""
    with suppress(StorageError):
        if folder.ledger.is_file():
            with LedgerReader(folder.ledger) as reader:
                return reader.writer
    return None


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
