"""Opens the output folder at a path that a person typed.

Owns the refusal of paths that are none, with the folder that was probably meant.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from batch.core import places
from batch.core.errors import BatchError, OutputError
from batch.core.nearest import did_you_mean, nearest
from batch.job.job import Job
from batch.ledger.reader import LedgerReader
from batch.output import integrity, place, shards
from batch.output.folder import OutputFolder, holder

_MOST_NAMED: Final = 3
_ABOVE: Final = 2
"""Folders above a path in which an output folder is looked for: a file of it lies at most so deep."""


def opened(out: Path) -> OutputFolder:
    """The layout of an existing output folder.

    Raises:
        OutputError: there is none at this path, or its ledger is lost or damaged.
    """
    folder = OutputFolder(places.absolute(out))
    _require_folder(out, folder)
    shards.require_one(folder)
    if holder(folder) is None:
        integrity.require_trusted(folder)
    if not folder.ledger.is_file():
        if folder.store.elsewhere:
            raise OutputError(f"{folder.text}: {folder.store.absent}")
        raise OutputError(f"{place.shown(out)}: is no output folder, it holds no ledger.db.{_meant(out)}")
    with LedgerReader(folder.ledger) as reader:
        if reader.made:
            return folder
    raise OutputError(f"{out}: its run was ended before its ledger was made. Run the job again; nothing was sent yet.")


def rebuildable(out: Path) -> OutputFolder:
    """The layout of a folder that has something of which a ledger can be made; nothing is written into any other.

    Raises:
        OutputError: there is no such folder.
    """
    folder = OutputFolder(places.absolute(out))
    shards.require_one(folder)
    if folder.store.elsewhere:
        return folder  # what is there is found under the lock
    _require_folder(out, folder)
    if not _is_output(folder):
        raise OutputError(
            f"{place.shown(out)}: is no output folder: it has no ledger, no results, no calls and no runs.{_meant(out)}"
        )
    return folder


def _require_folder(out: Path, folder: OutputFolder) -> None:
    if (reason := place.unusable(folder.root)) is not None:
        raise OutputError(f"{place.shown(out)}: {reason}{_meant(out)}")
    if not folder.root.exists():
        raise OutputError(f"{place.shown(out)}: {folder.store.absent}{_meant(out)}")


def _meant(out: Path) -> str:
    """Which folder to give instead of a path that is no output folder, as far as that can be told.

    A job's path is easily taken for that of its output, and so are the folder above an output folder and one in it.
    """
    if places.is_store(out):
        return ""
    root = out.expanduser().absolute()
    with suppress(OSError, ValueError):
        job, has_run = _job_at(root)
        if has_run:
            return job
        if inside := _inside(out) or _inside(out / "out"):
            few = inside[:_MOST_NAMED]
            if len(inside) == len(few):
                return f" {did_you_mean(list(map(place.shown, few)))}"
            named = f"{', '.join(map(place.shown, few))} and {len(inside) - len(few):,} more"
            return f" It holds {len(inside):,} output folders, give one of them: {named}."
        if job:
            return job
        if above := [place.shown(parent) for parent in root.parents[:_ABOVE] if _is_output(OutputFolder(parent))]:
            return f" It lies in an output folder. {did_you_mean(above[:1])}"
        if not root.exists():
            beside = {folder.name: folder for folder in _inside(out.parent)}
            if near := [place.shown(beside[name]) for name in nearest(root.name, beside)]:
                return f" {did_you_mean(near)}"
    return " Give the output folder of a run."


def _job_at(root: Path) -> tuple[str, bool]:
    """Where the output of a job lies, and whether it lies there; empty when there is no job at the path."""
    if not (root.suffix == ".toml" and root.is_file()) and not (root / "job.toml").is_file():
        return "", False
    try:
        path = Job.load(root).output.path
    except BatchError:
        return " It is a job; give the folder named in its output.path.", False
    if _is_output(OutputFolder(path)):
        return f" It is a job; its output lies in {path}", True
    return f" It is a job that has not run yet; its output will lie in {path}", False


def _inside(out: Path) -> list[Path]:
    """The output folders right in a folder, named as the folder was."""
    root = out.expanduser()
    if not root.is_dir():
        return []
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and _is_output(OutputFolder(entry)))
    return [out / name for name in names]


def _is_output(folder: OutputFolder) -> bool:
    """Whether there is a ledger, or something that a ledger can be made of."""
    if folder.ledger.exists() or integrity.run_files(folder):
        return True
    return any(any(integrity.parquet_files(kept)) for kept in (folder.results, folder.calls))
