"""The folder that holds the outputs of all shards of a job, and the one file in it that says how many there are.

Owns that file. Whoever starts first writes it, on the condition that nobody did before, and it never changes: with
another number every row would belong to another shard, and be bought again. Each shard has an output of its own in a
folder beside it, which is like any other output; of what is in it nothing is known here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from batch.core import filelock
from batch.core.clock import Clock
from batch.core.durable import AtomicFile
from batch.core.errors import OutputError, StorageError
from batch.job.shard import OPTION, Shard
from batch.output.folder import OutputFolder

NAME: Final = "shards.json"
_NAMED: Final = 2
_LONGEST_ID: Final = 32  # characters of the number of a process
FOLDER: Final = re.compile(r"shard=[0-9]{1,4}")


class Division(msgspec.Struct, frozen=True):
    """What stands in the file."""

    shards: int


def known(folder: OutputFolder) -> int | None:
    """How many shards' outputs a folder holds, as far as this machine knows; None where it holds none."""
    try:
        return _read(folder)
    except OSError:
        return None


def claim(folder: OutputFolder, shard: Shard | None, clock: Clock | None = None) -> None:
    """Have the output of a run agree with those that lie beside it, or in it, before it buys anything.

    Args:
        folder: the output of the run; the caller holds its lock.
        shard: whose it is; None for a whole job.
        clock: by which another process is waited for that is about to write the file; the real one by default.

    Raises:
        OutputError: there are another number of shards, or the other process does not come to its end.
        StorageError: the disk or the store refused.
    """
    if shard is None:
        # On a disk, `place` has seen it.
        if folder.store.elsewhere and _fetched(folder):
            raise whole(folder, _read(folder))
        return
    above = OutputFolder(folder.place.parent)
    path = above.root / NAME
    try:
        above.store.prepare()
        if above.store.elsewhere or not path.exists():
            with _alone(above, clock or Clock()):  # two shards may start at once
                if not (_fetched(above) if above.store.elsewhere else path.exists()):
                    _write(above, shard.count)
        found = _read(above)
    except OSError as exc:
        raise StorageError(
            f"{path}: cannot be read or written: {exc.strerror}. Mend that, and give the same command again; nothing "
            "was sent."
        ) from exc
    require_same(above, shard, found)


@contextmanager
def _alone(folder: OutputFolder, clock: Clock) -> Iterator[None]:
    """Hold the lock of the folder that holds the outputs of all shards.

    Raises:
        OutputError: another process keeps it.
        OSError: the file cannot be written or locked.
    """
    with folder.lock.open("a+", encoding="utf-8") as file:
        if not filelock.taken(file.fileno(), clock=clock):
            file.seek(0)
            number = file.read(_LONGEST_ID).strip()
            who, end = (f"process {number}", f" {number}") if number.isdigit() else ("another process", " its number")
            raise OutputError(
                f"{folder.lock}: {who} has held this lock for {filelock.PATIENCE_S:.0f} s, and needs it for "
                f"milliseconds. It was stopped, perhaps with Ctrl-Z: let it go on (kill -CONT{end}) or end it "
                f"(kill -KILL{end}), and give the same command again; nothing was sent."
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def require_same(folder: OutputFolder, shard: Shard, count: int) -> None:
    """Refuse another number of shards than there are.

    Args:
        folder: holds the outputs of all shards.
        shard: that is to run.
        count: how many there are.
    """
    if count != shard.count:
        raise OutputError(
            f"{folder.text}: its rows are divided among {count:,} shards, and this is {OPTION} {shard.text}. With "
            f"another number rows would change places, and answers be bought again. Go on with {OPTION} 0/{count} to "
            f"{count - 1}/{count}, or give another folder, with -o or as output.path."
        )


def whole(folder: OutputFolder, count: int) -> OutputError:
    """The refusal to have a whole job write where shards do."""
    return OutputError(
        f"{folder.text}: holds the outputs of {count:,} shards, and a run of the whole job would buy their answers "
        f"again. Go on with {OPTION} 0/{count} to {count - 1}/{count}, or give another folder, with -o or as "
        "output.path."
    )


def require_one(folder: OutputFolder) -> None:
    """Refuse to read a folder that holds the outputs of shards as if it were one of them.

    Raises:
        OutputError: says what to give instead.
    """
    if (count := known(folder)) is not None:
        # A shell knows the names in a folder, and none in a store.
        few = f" {folder.text}/shard=1{' …' if count > _NAMED else ''}" if count > 1 else ""
        every = f"{folder.text}/shard=0{few}" if folder.store.elsewhere else f"{folder.text}/shard=*"
        raise OutputError(
            f"{folder.text}: holds the outputs of {count:,} shards. cost and view take all of them at once: promptmill "
            f"cost {every}. Every other command takes one: {folder.text}/shard=0"
        )


def _fetched(folder: OutputFolder) -> bool:
    """Bring the file from the store, if it is there."""
    path = folder.root / NAME
    if folder.store.tag(path) is None:
        return False
    folder.store.fetch(path)
    return True


def _write(folder: OutputFolder, count: int) -> None:
    """Write the file, unless another machine writes it first."""
    path = folder.root / NAME
    file = AtomicFile(path)
    try:
        file.open().write(msgspec.json.encode(Division(count)))
        file.commit()
    finally:
        file.abandon()
    try:
        folder.store.put(path, None)
    except StorageError:
        if not _fetched(folder):
            path.unlink()
            raise


def _read(folder: OutputFolder) -> int:
    try:
        return msgspec.json.decode((folder.root / NAME).read_bytes(), type=Division).shards
    except msgspec.MsgspecError as exc:
        raise OutputError(
            f"{folder.text}/{NAME}: does not say how many shards there are: {exc}. Write what it was, such as "
            '{"shards":4}, or give another folder, with -o or as output.path.'
        ) from exc
