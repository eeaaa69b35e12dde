"""Opens the output folder at a path that a person typed.

Owns the refusal of paths that are none, with the folder that was probably meant, and what is said of a part of the
table that cannot be read.
"""

from __future__ import annotations

from pathlib import Path

from batch.core.errors import BatchError, OutputError, StorageError
from batch.job.job import Job
from batch.ledger.reader import LedgerReader
from batch.output import integrity, place
from batch.output.folder import OutputFolder, holder


def opened(out: Path) -> OutputFolder:
    """The layout of an existing output folder.

    Raises:
        OutputError: there is none at this path, or its ledger is lost or damaged.
    """
    root = out.expanduser().absolute()
    folder = OutputFolder(root)
    if root.name != "job.toml" and (reason := place.unusable(root)) is not None:
        raise OutputError(f"{place.shown(root)}: {reason} Give the output folder of a run.")
    if holder(folder) is None:
        integrity.require_trusted(folder)
    if folder.ledger.is_file():
        with LedgerReader(folder.ledger) as reader:
            if reader.made:
                return folder
        raise OutputError(
            f"{out}: its run was ended before its ledger was made. Run the job again; nothing was sent yet."
        )
    if not root.exists():
        raise OutputError(f"{out}: there is no such folder. Give the output folder of a run.{_meant(root)}")
    raise OutputError(f"{out}: is no output folder, it holds no ledger.db.{_meant(root)}")


def unreadable(part: Path, exc: Exception) -> StorageError:
    """What a command that reads the table says of a part of it that is gone or cannot be read."""
    reason = " ".join(str(exc).split()).rstrip(".")  # Arrow writes several lines
    return StorageError(
        f"{part}: cannot be read: {reason}. The ledger says that this part exists: restore it from a backup. If there "
        f"is none, the next run asks its rows again after: promptmill rebuild {part.parent.parent}"
    )


def _meant(root: Path) -> str:
    """A hint when the path is a job's: its output folder is easily taken for the job folder."""
    if root.name != "job.toml" and not (root / "job.toml").is_file():
        return ""
    try:
        path = Job.load(root).output.path
    except BatchError:
        return " It is a job; give the folder named in its output.path."
    if OutputFolder(path).ledger.is_file():
        return f" It is a job; its output lies in {path}"
    return f" It is a job that has not run yet; its output will lie in {path}"
