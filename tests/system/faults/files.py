"""The faulty disk as the file layer sees it: the functions of `os` and `io` that change a file or a name.

Buffers stay Python's own: what fails is the write of the raw file below them, as with a real disk.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from tests.system.faults.disk import Disk, Kind
    from tests.system.faults.shadow import Shadow


class _Raw(io.FileIO):
    """The raw file below a buffered writer."""

    disk: Disk

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        error = self.disk.strikes("file.write", self.name, len(view))
        if error:
            if self.disk.short and len(view) > 1:
                # As the kernel does it: what fits is taken, the next write is refused.
                super().write(view[: len(view) // 2])
            raise OSError(error, os.strerror(error))
        return super().write(view) or 0


@contextmanager
def below(disk: Disk, shadow: Shadow | None) -> Iterator[None]:
    """Files and names under the folder of the disk go through it."""
    real_open, real_fsync, real_replace = io.open, os.fsync, os.replace

    def opened(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        if not disk.holds(file) or not set(mode) & set("wax+"):
            return real_open(file, mode, *more, **named)
        disk.check("file.open", file)
        with disk.lock:
            if mode != "wb":
                handle: Any = real_open(file, mode, *more, **named)
            else:
                raw = _Raw(os.fspath(file), "wb")
                raw.disk = disk
                handle = io.BufferedWriter(raw)
            if shadow is not None:
                shadow.made(os.fspath(file), emptied="w" in mode)
        return handle

    def fsync(handle: Any) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        path = str(Path(f"/proc/self/fd/{number}").readlink())
        if not disk.holds(path):
            return real_fsync(number)
        folder = stat.S_ISDIR(os.fstat(number).st_mode)
        disk.check("file.sync_folder" if folder else "file.sync", path)
        with disk.lock:
            # The sync itself is left out: the machine goes on, and what would survive is kept by the shadow.
            if shadow is not None:
                (shadow.folder_synced if folder else shadow.file_synced)(path)
        return None

    def replace(source: Any, target: Any, **named: Any) -> None:
        if not disk.holds(target):
            return real_replace(source, target, **named)
        disk.check("file.rename", target)
        with disk.lock:
            real_replace(source, target, **named)
            if shadow is not None:
                shadow.renamed(os.fspath(source), os.fspath(target))
        return None

    def changing(kind: Kind, real: Callable[..., None], then: Callable[[str], None]) -> Callable[..., None]:
        def call(path: Any, *more: Any, **named: Any) -> None:
            if not disk.holds(path):
                return real(path, *more, **named)
            disk.check(kind, path)
            with disk.lock:
                real(path, *more, **named)
                if shadow is not None:
                    then(os.fspath(path))
            return None

        return call

    def forget(path: str) -> None:
        assert shadow is not None
        shadow.removed(path, synced=False)

    def make(path: str) -> None:
        assert shadow is not None
        shadow.made_folder(path)

    remove = changing("file.remove", os.unlink, forget)
    with (
        mock.patch.object(io, "open", opened),
        mock.patch.multiple(
            os,
            fsync=fsync,
            replace=replace,
            rename=replace,
            unlink=remove,
            remove=remove,
            rmdir=changing("file.remove", os.rmdir, forget),
            mkdir=changing("file.folder", os.mkdir, make),
        ),
    ):
        yield
