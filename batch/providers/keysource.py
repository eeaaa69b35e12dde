"""Keys that stand in a file or are printed by a command, such as that of a password manager.

Owns how such a key is fetched, the time that a command has, and errors that show neither what it printed nor what it
complained of. It does not know which job wants the key, nor how one is sent.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from batch.core.clock import Clock
from batch.core.errors import RefusedToStart
from batch.core.plain import clean
from batch.core.redaction import Secret

COMMAND_S: Final = 30.0
"""How long a command has: enough for a person to unlock a password manager, and no night of cron is lost."""
FRESH_S: Final = 60.0
"""For so long what a command printed is not asked for again: one `promptmill` looks at its job several times."""
MOST_BYTES: Final = 65_536
_LOOK_S: Final = 0.1

_printed: dict[KeySource, tuple[float, Secret]] = {}


class KeySource(msgspec.Struct, frozen=True):
    """A file or a command that has a key: exactly one of the two."""

    where: str
    """What errors call it, such as `model.key_file`."""
    file: Path | None = None
    command: tuple[str, ...] = ()
    folder: Path = Path()
    """Where the command runs."""

    @property
    def name(self) -> str:
        """In a few words, without the arguments of a command, which may say more than everybody should read."""
        return f"{self.where} {clean(str(self.file or self.command[0]), most=120)}"

    @property
    def identity(self) -> str:
        """By which a folder knows the source again; a command may print another key each time."""
        return "" if self.file is not None else "\0".join((str(self.folder), *self.command))

    def fetch(self, environ: Mapping[str, str], *, again: bool = False) -> Secret:
        """The key.

        Args:
            environ: what a command finds in its environment.
            again: ask even when a command printed one a moment ago.

        Raises:
            RefusedToStart: there is none to be had; says why and what to do, and nothing of what was read.
        """
        if self.file is not None:
            return self._one_line(self._read(self.file), "holds")
        known = _printed.get(self)
        if known is not None and not again and Clock().monotonic() - known[0] < FRESH_S:
            return known[1]
        key = self._one_line(self._run(environ), "printed")
        _printed[self] = (Clock().monotonic(), key)
        return key

    def warning(self) -> str | None:
        """What to say of a file that other users of the machine can read."""
        with suppress(OSError):
            if self.file is not None and os.name == "posix" and self.file.stat().st_mode & 0o077:
                shown = clean(str(self.file), most=200)
                return f"{self.name} can be read by other users of this machine: chmod 600 {shown}"
        return None

    def _one_line(self, raw: bytes, verb: str) -> Secret:
        lines = [line for line in raw.decode("utf-8-sig", errors="replace").splitlines() if line.strip()]
        if not lines:
            what = "is empty: put the key into it" if self.file else "printed nothing: run it yourself to see why"
            raise RefusedToStart(f"{self.name} {what}")
        if len(lines) > 1:
            advice = (
                "put the key alone into it"
                if self.file
                else 'take the line with the key, as in ["sh", "-c", "… | head -n 1"]'
            )
            raise RefusedToStart(f"{self.name} {verb} {len(lines)} lines, and a key is one: {advice}")
        return Secret(lines[0].strip())

    def _read(self, file: Path) -> bytes:
        try:
            with file.open("rb") as handle:
                raw = handle.read(MOST_BYTES + 1)
        except FileNotFoundError:
            raise RefusedToStart(f"{self.name}: there is no such file") from None
        except IsADirectoryError:
            raise RefusedToStart(f"{self.name} is a folder: name the file in it that holds the key alone") from None
        except OSError as exc:
            raise RefusedToStart(f"{self.name} cannot be read: {exc.strerror}. Check its permissions") from None
        if len(raw) > MOST_BYTES:
            raise RefusedToStart(f"{self.name} is larger than any key: name the file that holds the key alone")
        return raw

    def _run(self, environ: Mapping[str, str]) -> bytes:
        program = clean(self.command[0], most=120)
        # At a terminal it may ask there, and Ctrl-C reaches it; else it can be ended with all that it started.
        alone = not os.isatty(0)
        try:
            process = subprocess.Popen(  # noqa: S603 - the job names it, and a job's tools run anyway
                self.command,
                cwd=self.folder,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # it may say the key, and a terminal may be a file
                process_group=0 if alone else None,
            )
        except FileNotFoundError:
            raise RefusedToStart(
                f"{self.where}: there is no program {program!r}: install it, or give its path"
            ) from None
        except OSError as exc:
            raise RefusedToStart(f"{self.where}: {program!r} cannot be started: {exc.strerror}") from None
        try:
            raw = _output(process)
        except TimeoutError:
            raise RefusedToStart(
                f"{self.name} took longer than {COMMAND_S:g} s and was ended: run it yourself, and unlock what it wants"
            ) from None
        finally:
            _end(process, group=alone)
        if len(raw) > MOST_BYTES:
            raise RefusedToStart(f"{self.name} prints more than any key: give a command that prints the key alone")
        if code := process.returncode:
            name = next((one.name for one in signal.Signals if one == -code), f"signal {-code}")
            how = f"with exit code {code}" if code > 0 else f"by {name}"
            raise RefusedToStart(
                f"{self.name} ended {how}. What it said is not shown, because it may hold the key: run it yourself in "
                f"{clean(str(self.folder), most=200)}"
            )
        return raw


def _output(process: subprocess.Popen[bytes]) -> bytes:
    """What a command prints until it ends, or somewhat more than the most that is taken.

    Raises:
        TimeoutError: it did not end in time.
    """
    assert process.stdout is not None
    ends, raw = Clock().monotonic() + COMMAND_S, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(raw) <= MOST_BYTES:
            left = ends - Clock().monotonic()
            if left <= 0:
                raise TimeoutError
            # What it left behind in the background may hold the pipe open for ever: so its end is looked for, too.
            ended = process.poll() is not None
            if selector.select(0 if ended else min(left, _LOOK_S)):
                chunk = os.read(process.stdout.fileno(), MOST_BYTES)
                raw += chunk
                if chunk:
                    continue
                with suppress(subprocess.TimeoutExpired):
                    process.wait(left)
                    return raw
                raise TimeoutError
            if ended:
                return raw
    return raw


def _end(process: subprocess.Popen[bytes], *, group: bool) -> None:
    """End a command that is still at work, and with its `group` all that it started."""
    if process.poll() is None:
        with suppress(OSError):
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
