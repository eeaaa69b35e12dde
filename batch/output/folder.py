"""The output folder: where each file lies, who may write there, and whether the folder is ours.

Owns the names of files and folders under `OUT` and the lock of the operating system. It does not know what stands in
the files: that belongs to `batch.ledger` (the truth), `tables` and `parts` (what people read). Readers use the paths
only; a run also takes the lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

from batch.core.clock import iso
from batch.core.errors import OutputError, StorageError


class OutputFolder:
    """The paths of one output folder, `OUT`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.results = root / "results"
        self.calls = root / "calls"
        self.runs = root / "runs"
        self.pending = root / ".pending"
        self.ledger = root / "ledger.db"
        self.status = root / "status.json"
        self.lock = root / ".lock"
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
        """Make the folders; the caller holds the lock.

        Raises:
            OutputError: there are results here, but no ledger that says whose they are.
            StorageError: the file system refuses.
        """
        if not self.ledger.exists() and self.results.is_dir() and any(self.results.glob("part-*.parquet")):
            raise OutputError(
                f"{self.root}: holds results but no ledger.db, so nobody can tell which rows they answer. "
                "Put the ledger back beside them, or choose another folder with -o."
            )
        try:
            for folder in (self.root, self.results, self.calls, self.runs, self.pending):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StorageError(f"{exc.filename}: cannot make the folder: {exc.strerror}.") from exc


class Busy(OutputError):
    """Another process is at work in the output folder.

    Attributes:
        process: its id, or None when it is not known.
        since_us: when it took the lock, or None. The holder writes the lock file once, so its age says so.
        holder: both as text.
    """

    def __init__(self, root: Path, process: int | None, since_us: int | None) -> None:
        self.process = process
        self.since_us = since_us
        facts = [f"process {process}"] if process is not None else []
        facts += [f"since {iso(since_us)}"] if since_us is not None else []
        self.holder = ", ".join(facts)
        holder = f" ({self.holder})" if facts else ""
        super().__init__(
            f"{root}: another run is at work here{holder}. Wait for it (--if-running wait does), or give -o another "
            "folder."
        )


class RunLock:
    """The lock that keeps a second process out of an output folder; the system frees it when this process dies."""

    def __init__(self, folder: OutputFolder) -> None:
        self._folder = folder
        self._file: IO[str] | None = None

    def take(self) -> Self:
        """Take the lock, or refuse at once.

        Raises:
            Busy: another process holds it.
            StorageError: the lock file cannot be made.
        """
        path = self._folder.lock
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+", encoding="utf-8")
        except OSError as exc:
            raise StorageError(f"{path}: cannot be written: {exc.strerror}. Choose another folder with -o.") from exc
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            process, since_us = self._holder()
            self.free()
            if exc.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StorageError(f"{path}: this file system cannot lock: {exc.strerror}.") from exc
            raise Busy(self._folder.root, process, since_us) from exc
        with suppress(OSError):  # only a courtesy to whoever is refused; a full disk is reported better by what follows
            self._file.truncate(0)
            os.write(self._file.fileno(), f"{os.getpid()}\n".encode())
        return self

    def free(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _holder(self) -> tuple[int | None, int | None]:
        assert self._file is not None
        self._file.seek(0)
        text = self._file.read(32).strip()
        if not text.isdigit():
            return None, None
        return int(text), os.fstat(self._file.fileno()).st_mtime_ns // 1_000

    def __enter__(self) -> Self:
        return self if self._file is not None else self.take()

    def __exit__(self, *_: object) -> None:
        self.free()
