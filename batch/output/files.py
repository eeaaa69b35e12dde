"""The small files of an output folder, its folders, and what a killed run left behind in it.

Owns the JSON files beside the tables (the summary of a run, `status.json`), the making and syncing of folders, the
removal of half-written files, and what a person is told when the disk refuses. It does not know what stands in a file
nor where it lies (`folder`); Parquet parts are written by `parts`. Nothing here is safe for two writers of one file:
the run holds the lock of the output folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from batch.core import durable, openfiles
from batch.core.canonical import without_surrogates
from batch.core.durable import AtomicFile
from batch.core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HIDDEN_IN_OUT: Final = (
    ".status.json.tmp",
    ".metrics.prom.tmp",
    ".ledger.db.tmp",
    ".ledger.db.rebuilt",
    ".ledger.db.salvaged",
)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file anew, durably; for the summary of a run.

    Args:
        path: its folder must exist.
        value: whatever msgspec encodes; half a surrogate pair in a text becomes U+FFFD.

    Raises:
        StorageError: the disk refused; the old file, if any, is intact.
    """
    _replace(path, _json(value), sync=True)


def write_status(path: Path, value: Any) -> None:
    """Write a JSON file anew so that readers never see half of it, but without a sync: this happens every second.

    Raises:
        StorageError: the disk refused; the old file, if any, is intact.
    """
    _replace(path, _json(value), sync=False)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        StorageError: the disk refused. A file system that cannot sync folders at all is taken as it is.
    """
    with translated(path):
        durable.sync_folder(path)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each name durable before something is put inside.

    Raises:
        StorageError: the disk refused.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with translated(folder):
        folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def remove_hidden(out: Path) -> list[str]:
    """Remove what a killed run left half written; at start, under the lock.

    Gone are hidden files in `results/`, `calls/`, `runs/` and `pending/`, and a half-written `status.json` or ledger.
    What bears its name was whole when it got it and stays; so do folders of the user.

    Args:
        out: the output folder.

    Returns:
        Names of the removed files relative to `out`, sorted.

    Raises:
        StorageError: a file cannot be removed.
    """
    hidden = [
        path
        for folder in (out / "results", out / "runs", out / "pending")
        if folder.is_dir()
        for path in folder.iterdir()
        if path.name.startswith(".") and (path.is_symlink() or path.is_file())
    ]
    hidden += [path for path in sorted(out.glob(".*")) if path.name.startswith(_HIDDEN_IN_OUT) and path.is_file()]
    for root, _, names in os.walk(out / "calls"):
        hidden += [Path(root, name) for name in names if name.startswith(".")]
    for path in hidden:
        with translated(path):
            path.unlink(missing_ok=True)
    _remove_empty(out / "calls")
    return sorted(path.relative_to(out).as_posix() for path in hidden)


def set_aside(paths: Sequence[Path], out: Path, *, copy: bool = False) -> list[str]:
    """Move files, or copies of them, into `.strays`, where nobody takes them for published and nobody deletes them.

    Args:
        paths: files under `out`.
        out: the output folder.
        copy: leave the files where they are, too.

    Returns:
        Their names there, relative to `out`; a number is added where a name is taken.

    Raises:
        StorageError: a file cannot be moved.
    """
    moved = []
    for path in paths:
        inside = path.relative_to(out)
        target = out / ".strays" / inside
        make_folder(target.parent)
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{inside.stem}-{number}{inside.suffix}")
        with translated(path):
            if copy:
                durable.copy(path, target)
            else:
                path.rename(target)
        sync_folder(target.parent)
        sync_folder(path.parent)
        moved.append(target.relative_to(out).as_posix())
    _remove_empty(out / "calls")
    return moved


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what the system says about a write of `path` into a `StorageError` with the way out."""
    try:
        yield
    except OSError as exc:
        advice = "Free some space" if exc.errno in _FULL_DISK else "Check the disk and the permissions of the folder"
        advice = openfiles.advice() if openfiles.used_up(exc) else advice
        raise StorageError(
            f"{path}: cannot be written: {exc.strerror or exc}. {advice}, then run the same command again: "
            "what was published is whole, and no answer is bought twice."
        ) from exc


def _replace(path: Path, data: bytes, *, sync: bool) -> None:
    file = AtomicFile(path)
    try:
        with translated(path):
            file.open().write(data)
            file.seal(sync=sync)
            file.rename()
    except BaseException:
        file.abandon()
        raise
    if sync:
        sync_folder(path.parent)


def _json(value: Any) -> bytes:
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:
        data = msgspec.json.encode(without_surrogates(msgspec.to_builtins(value, str_keys=True)))
    return msgspec.json.format(data, indent=2) + b"\n"


def _remove_empty(root: Path) -> None:
    for folder, _, _ in os.walk(root, topdown=False):
        if Path(folder) != root:
            with contextlib.suppress(OSError):  # not empty, which is the usual case
                Path(folder).rmdir()
