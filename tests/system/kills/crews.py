"""A stage whose runs have two worker processes: these are killed one after the other, and the run goes on."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tests.system.kills.stage import Moment, Stage


@dataclass
class Crews(Stage):
    """Its kills are those of workers, and of the command itself where that is said."""

    workers: int = 2

    def run_and_kill_workers(self, when: Iterator[Moment], kills: int, *, core: bool) -> int | None:
        """Run, and kill a worker at each of so many moments; the exit code, or None where the command was killed.

        Args:
            when: the moments, each counted from the one before.
            kills: of workers; fewer where the run is over before.
            core: kill the command itself at one moment more.
        """
        process = self.start()
        for number in range(kills + core):
            self._pass(process, next(when))
            if process.poll() is not None:
                break
            if number == kills:
                process.kill()
                self.kills += 1
            elif self._kill_one(process.pid, number):
                self.kills += 1
        self.said = "".join(process.communicate(timeout=300))
        return None if process.returncode == -signal.SIGKILL else process.returncode

    def _pass(self, process: subprocess.Popen[str], moment: Moment) -> None:
        """Wait until the provider has had so many more requests, and a little longer, or the run is over."""
        first, deadline = self.requests(), time.monotonic() + 120
        while process.poll() is None and self.requests() < first + moment.requests:
            assert time.monotonic() < deadline, "the requests never came"
            time.sleep(0.005)
        time.sleep(moment.later_s)

    def _kill_one(self, core: int, number: int) -> bool:
        """Kill one of the workers of a command; whether there was one."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(core).children()
            found = [one for one in children if any("fleet.worker_main" in word for word in one.cmdline())]
            if found:
                found[number % len(found)].kill()
                return True
        return False
