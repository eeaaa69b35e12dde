"""What a run leaves for people and monitors: `runs/*.json`, the heartbeat in `status.json`, and the exit code.

Owns the fields of these two files beyond those of `progress`, and the one rule that makes an exit code of how a run
ended, so that the code in the files is the code of the process.
"""

from __future__ import annotations

import os
import platform
from typing import Any, Final

import apsw
import msgspec
import pyarrow as pa

from batch.core.clock import iso
from batch.core.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_ROWS_FAILED, EXIT_WAITING, BatchError
from batch.core.version import VERSION
from batch.job.job import Job
from batch.job.options import MaxFailed
from batch.job.shard import shard_of
from batch.ledger.reader import LedgerReader, RunRow
from batch.ledger.totals import Totals
from batch.output import files
from batch.output.folder import OutputFolder
from batch.plan import continuation
from batch.prompts.variants import old_models
from batch.run.progress import Progress

RUN_FILE: Final[dict[str, str]] = {
    "run": "The name of the run: when it began, and four digits that tell it from another of the same moment.",
    "state": "How the run stands: promptmill explain states tells what each word means.",
    "started_at": "When it began.",
    "ended_at": "When it ended; null while it works, and when it was killed.",
    "seconds": "How long it took, pauses between two commands included; null as for ended_at.",
    "exit_code": "What the command ended with; null while it works, when it was killed, and when the command went on "
    "with another run.",
    "exit_reason": "The state that the command ended the run with; null while it works, and when it was killed.",
    "fault": "The error that ended the run; null when it ended by itself or was interrupted.",
    "max_failed": "What --max-failed allowed; null without it.",
    "within_max_failed": "Whether as few rows failed as that; null without it.",
    "job": "What the job was: name, folder, shard, provider, models, prompts, lane, time for a batch, tags, labels "
    "(names and the column with the truth), and request: what decides answers.",
    "source": "The input as it was: its files, their sizes and times.",
    "complete": "Whether the input was read to its end.",
    "planned": "What the run found in the input, in rows: promptmill explain planned.",
    "totals": "Counts and sums of its rows and calls: promptmill explain totals.",
    "table": "rows of the whole table; permanent and retryable: how many of them failed for good, or for a passing "
    "reason.",
    "versions": "Of promptmill and of what it stands on.",
}
"""What each key of a run's file means, for people."""

HEARTBEAT: Final[dict[str, str]] = {
    "process": "The id of the process that wrote the file.",
    "updated_at": "When it wrote it, about every second: an old time means that the process hangs or is gone.",
    "exit_code": "What the command ended with; null while it works.",
}
"""What the keys of `status.json` mean that `--progress json` has not, for people."""


class RunEnd(msgspec.Struct, frozen=True):
    """How a run ended."""

    state: str
    """The reason it closed with."""
    totals: Totals
    max_failed: MaxFailed | None = None
    fault: BatchError | None = None

    @property
    def within_max_failed(self) -> bool | None:
        """Whether as few rows failed as were allowed; None when nothing was said about it."""
        if self.max_failed is None:
            return None
        return self.max_failed.kept(failed=self.totals.rows_failed, settled=self.totals.rows)

    @property
    def exit_code(self) -> int:
        """What a command ends with whose last run ended so."""
        if self.fault is not None:
            return self.fault.exit_code
        if self.state == "interrupted":
            return EXIT_INTERRUPTED
        if self.state == "waiting":
            return EXIT_WAITING
        return EXIT_ROWS_FAILED if self.totals.rows_failed and not self.within_max_failed else EXIT_OK

    @property
    def final_code(self) -> int | None:
        """The same, but None for a run that was only closed: its command goes on with the next."""
        return None if self.state in continuation.CLOSINGS else self.exit_code


def write_status(folder: OutputFolder, snapshot: Progress, *, now_us: int, end: RunEnd | None = None) -> None:
    """Rewrite `status.json`: how far the run is, which process is at work, and when it said so last.

    Args:
        folder: where it lies.
        snapshot: how far the run is.
        now_us: wall time in microseconds, UTC.
        end: how the run ended; None while it is at work.

    Raises:
        StorageError: the disk refused.
    """
    beat = {"process": os.getpid(), "updated_at": iso(now_us), "exit_code": end.final_code if end is not None else None}
    files.write_status(folder.status, {**snapshot.public(), **beat})


def write_run(folder: OutputFolder, run: str, reader: LedgerReader, *, job: Job, end: RunEnd | None = None) -> None:
    """Rewrite the file of one run.

    Args:
        folder: where it lies.
        run: its name.
        reader: the ledger.
        job: as it is now.
        end: how the run ended; None while it is at work.

    Raises:
        StorageError: the disk refused.
    """
    row = next(found for found in reader.runs() if found.run == run)
    files.write_json(folder.run_file(run), _run(row, reader, job, end))
    folder.store.send(folder.run_file(run))


def repair_last(folder: OutputFolder, reader: LedgerReader, *, job: Job) -> None:
    """Tell how the last run ended, where its process closed it and was killed before it could.

    Its exit code stays null: the command never had one.

    Args:
        folder: where the file lies.
        reader: the ledger, which knows how the run was closed.
        job: as it is now.

    Raises:
        StorageError: the disk refused.
    """
    last = next(reversed(reader.runs()), None)
    if last is None or last.state == "running":
        return
    try:
        told = msgspec.json.decode(folder.run_file(last.run).read_bytes(), type=dict[str, Any])
    except (OSError, ValueError):
        return
    if told.get("state") == "running" and told.get("exit_reason") is None:
        # The job may be another by now; what it was stands in the file.
        begun = {name: told[name] for name in ("job", "versions") if name in told}
        files.write_json(folder.run_file(last.run), {**_run(last, reader, job, None), **begun})
        folder.store.send(folder.run_file(last.run))


def _run(row: RunRow, reader: LedgerReader, job: Job, end: RunEnd | None) -> dict[str, Any]:
    ended_us, limit = row.ended_at_us, end.max_failed if end is not None else None
    permanent, retryable = reader.standing_failures()
    return {
        "run": row.run,
        "state": row.state,
        "started_at": iso(row.started_at_us),
        "ended_at": iso(ended_us) if ended_us is not None else None,
        "seconds": (ended_us - row.started_at_us) / 1e6 if ended_us is not None else None,
        "exit_code": end.final_code if end is not None else None,
        "exit_reason": end.state if end is not None else None,
        "fault": str(end.fault) if end is not None and end.fault is not None else None,
        "max_failed": limit.text if limit is not None else None,
        "within_max_failed": end.within_max_failed if end is not None else None,
        "job": {
            "name": job.name,
            "folder": str(job.folder),
            "shard": None if (shard := shard_of(job)) is None else shard.text,
            "provider": job.model.provider,
            "model": job.model.name,
            "models": list(job.model.names or (job.model.name,)),
            "prompts": list(job.prompt.variants),
            "variants": [name or None for name in old_models(job.request_part())],
            "lane": job.model.lane_text,
            "batch_deadline_s": job.bulk.deadline,
            "tags": job.tags,
            "labels": None if job.labels is None else {"gold": job.labels.gold, "names": list(job.labels.names)},
            "request": msgspec.json.decode(row.request),
        },
        "source": msgspec.json.decode(row.source),
        "complete": row.complete,
        "planned": msgspec.structs.asdict(row.planned),
        # After a storage fault the ledger lacks what could not be published any more.
        "totals": (row.totals if end is None else end.totals).public(),
        "table": {"rows": reader.table_rows(), "permanent": permanent, "retryable": retryable},
        "versions": {
            "promptmill": VERSION,
            "python": platform.python_version(),
            "pyarrow": pa.__version__,
            "sqlite": apsw.sqlite_lib_version(),
        },
    }
