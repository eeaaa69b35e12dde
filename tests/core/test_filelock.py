"""`batch.core.filelock`: a lock is waited for, and not for ever."""

from __future__ import annotations

import fcntl
from pathlib import Path

from batch.core import filelock
from batch.core.clock import HandClock


class Giving(HandClock):
    """A clock under which the lock is given back after so many waits."""

    def __init__(self, file: int, waits: int) -> None:
        super().__init__()
        self._file, self._waits = file, waits

    def pause(self, seconds: float) -> None:
        """Wait, and give back when it is time."""
        super().pause(seconds)
        self._waits -= 1
        if not self._waits:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def test_a_lock_is_waited_for_as_long_as_there_is_patience(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as other, path.open("w") as own:
        fcntl.flock(other, fcntl.LOCK_EX)
        clock = HandClock(start=0)
        assert not filelock.taken(own.fileno(), clock=clock, patience_s=5)
        assert 5 <= clock.monotonic() < 5.1
        clock = Giving(other.fileno(), waits=4)
        assert filelock.taken(own.fileno(), clock=clock, patience_s=5)
        assert filelock.taken(own.fileno(), clock=clock, patience_s=0), "it has it already"
