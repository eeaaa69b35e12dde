"""Whose output folder this is: the folder of one job is refused to another.

Owns how jobs are told apart. It reads the last run's file and the ledger, and writes nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from batch.core.errors import OutputError
from batch.job.job import Job
from batch.ledger.reader import LedgerReader
from batch.output.folder import OutputFolder


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


def _owner(folder: OutputFolder, run: str) -> tuple[str, str] | None:
    """Name and folder of the job whose run this was; None when its file does not say."""
    try:
        told = msgspec.json.decode(folder.run_file(run).read_bytes(), type=dict[str, Any])["job"]
        return str(told["name"]), str(told["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
