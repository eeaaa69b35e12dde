"""Whose output folder this is: the folder of one job is refused to another, and that of one shard to any other.

Owns how jobs are told apart. It reads the last run's file and the ledger, and writes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from batch.core.errors import OutputError
from batch.job.job import Job
from batch.job.shard import OPTION, shard_of
from batch.ledger.reader import LedgerReader
from batch.output.folder import OutputFolder
from batch.output.integrity import run_files


def require_own(folder: OutputFolder, job: Job, reader: LedgerReader) -> None:
    """Refuse the folder of another job: two of them would take turns in closing each other's runs and changing rows.

    Jobs are told apart by their names. One that was renamed and asks what it asked, or that was moved or copied with
    this folder inside of its own, is the same.
    """
    last = next(reversed(reader.runs()), None)
    found = _owner(folder, last.run) if last is not None else None
    if last is None or found is None or found[0] == job.name:
        return
    name, home = found
    moved = folder.root.is_relative_to(job.folder) and home != str(job.folder)
    asked, before = msgspec.to_builtins(job.request_part(), enc_hook=str), msgspec.json.decode(last.request)
    if moved or all(before.get(key) == value for key, value in asked.items()):
        return
    raise OutputError(
        f"{folder.text}: this folder belongs to job {name!r} ({home}), and this is job {job.name!r}. Give -o another "
        f"folder, or set output.path. If it is that job under a new name, change the name alone, run it, then the rest."
    )


def require_same_rows(folder: OutputFolder, job: Job) -> None:
    """Refuse a folder whose rows are those of another shard, or of the whole job: they would be bought twice.

    Raises:
        OutputError: with the way out.
    """
    last = next(reversed(run_files(folder)), None)
    told = None if last is None else _told(last)
    if told is None:
        return
    shard = shard_of(job)
    before, now = told.get("shard"), None if shard is None else shard.text
    if before == now:
        return
    was = "without --shard" if before is None else f"with {OPTION} {before}"
    asked = "this command has none" if now is None else f"this is {OPTION} {now}"
    raise OutputError(
        f"{folder.text}: the runs here were {was}, and {asked}: other rows would be asked, and answers be bought "
        f"again. Go on {was}, or give another folder, with -o or as output.path."
    )


def _owner(folder: OutputFolder, run: str) -> tuple[str, str] | None:
    """Name and folder of the job whose run this was; None when its file does not say."""
    told = _told(folder.run_file(run))
    return None if told is None or not {"name", "folder"} <= told.keys() else (str(told["name"]), str(told["folder"]))


def _told(file: Path) -> dict[str, Any] | None:
    """What the file of a run says of its job; None when it says nothing."""
    try:
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, Any]).get("job")
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
