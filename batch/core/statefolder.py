"""The state folder: small files that all jobs of one user share, such as what was spent today.

Owns where the folder is, that nobody else can read it, and how several processes read and change one of its files
without losing each other's changes. It does not know what is in the files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from batch.core import filelock
from batch.core.durable import AtomicFile
from batch.core.errors import StorageError

if TYPE_CHECKING:
    from batch.core.clock import Clock

VARIABLE: Final = "PROMPTMILL_STATE"
_OURS_ALONE: Final = 0o600
_OUR_FOLDER: Final = 0o700


def folder(environ: Mapping[str, str]) -> Path:
    """The state folder: `$PROMPTMILL_STATE`, else `promptmill` in `$XDG_STATE_HOME`, else in `~/.local/state`.

    It may not exist yet.

    Args:
        environ: the environment of this process.
    """
    if own := environ.get(VARIABLE):
        return Path(own).expanduser().absolute()
    shared = environ.get("XDG_STATE_HOME", "")
    # The XDG specification has a relative path ignored.
    base = Path(shared) if shared.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return base / "promptmill"


def named(environ: Mapping[str, str]) -> Path | None:
    """The state folder, where the environment says where it is; None where nothing in it does, not even a home."""
    return folder(environ) if any(environ.get(name) for name in (VARIABLE, "XDG_STATE_HOME", "HOME")) else None


class StateFile:
    """One file of the state folder, changed under a lock.

    Args:
        path: where it is; the folder is made when the first process takes the lock.
        patience_s: how long another process may have the lock; it needs it for milliseconds.
        clock: by which that is waited.
    """

    def __init__(self, path: Path, *, patience_s: float = filelock.PATIENCE_S, clock: Clock | None = None) -> None:
        self.path = path
        if clock is None:
            from batch.core.clock import Clock  # noqa: PLC0415 - it loads anyio, and `run --help` asks for the folder

            clock = Clock()
        self._clock = clock
        self._patience_s = patience_s

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the file's lock: whoever else wants it waits until this process gives it back, or ends.

        Raises:
            StorageError: the folder or the lock cannot be made, the file system knows no locks, or another process has
                had it for so long that it must have been stopped with it in its hands.
        """
        try:
            self.path.parent.mkdir(mode=_OUR_FOLDER, parents=True, exist_ok=True)
            handle = os.open(
                self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OURS_ALONE
            )
        except OSError as exc:
            raise self._refused(exc) from exc
        try:
            self._lock(handle)
            yield
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> None:
        try:
            if filelock.taken(handle, clock=self._clock, patience_s=self._patience_s):
                return
        except OSError as exc:  # a Lustre that was mounted without them, an NFS whose server has none
            raise StorageError(
                f"{self.path}: this file system cannot lock: {exc.strerror}. What your jobs share stands in this "
                f"folder: name one on a disk of this machine in {VARIABLE}."
            ) from exc
        raise StorageError(
            f"{self.path}: another process has held its lock for {self._patience_s:.0f} s. It was stopped, "
            "perhaps with Ctrl-Z: let it go on or end it, then run the same command again."
        )

    def read(self) -> bytes | None:
        """What is in the file; None when there is none. Without the lock it is the last whole state.

        Raises:
            StorageError: it is there and cannot be read.
        """
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._refused(exc) from exc

    def write(self, data: bytes) -> None:
        """Replace the file whole; call it while holding the lock.

        Raises:
            StorageError: the disk refused; the old file is still there.
        """
        file = AtomicFile(self.path)
        try:
            handle = file.open()
            os.fchmod(handle.fileno(), _OURS_ALONE)
            handle.write(data)
            file.commit()
        except OSError as exc:
            file.abandon()
            raise self._refused(exc) from exc

    def _refused(self, exc: OSError) -> StorageError:
        reason = exc.strerror or str(exc)
        return StorageError(
            f"{self.path}: {reason}. What your jobs share stands in this folder: make room or give yourself the "
            f"rights, or name another one in {VARIABLE}."
        )
