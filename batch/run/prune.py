"""Takes rows out of the table that are not in the input any more, part after part, after one pass over all of it.

Owns when that is allowed: the input was read to its end and every row of it could be read, no run is in the middle of
something, and whoever asks has agreed to the number. How a part loses rows is `output.removal`'s matter. It sends
nothing; the calls of the rows stay in the book. Killed in between, some parts have lost their rows and the others not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from batch.core import places
from batch.core.errors import OutputError, RefusedToStart
from batch.job.job import Job
from batch.ledger import index
from batch.ledger.direct import DirectLedger
from batch.ledger.index import Gone
from batch.ledger.reader import LedgerReader
from batch.output import integrity, removal
from batch.output.folder import OutputFolder, RunLock
from batch.output.removal import Execute
from batch.plan import continuation, preflight
from batch.plan.gone import Pass
from batch.prompts.variants import old_models
from batch.run.inspection import tidy_files


class Found(msgspec.Struct, frozen=True):
    """What a pass over the input says of the table."""

    gone: Gone
    input_rows: int
    table_rows: int
    examples: list[str]
    """The ids of the first few rows that are gone."""


class Pruned(msgspec.Struct, frozen=True):
    """What was done."""

    found: Found
    removed: int
    table_rows: int
    """How many rows the table has now."""


def prune(job: Job, *, agree: Callable[[Found], bool]) -> Pruned:
    """Take rows out of the table of a job: those that are not in its input, or of a variant that it does not ask.

    Args:
        job: with the output folder whose table is meant.
        agree: is told what would go, when something would, and says whether it may; what it raises ends the command.

    Raises:
        OutputError: there is no output folder, or its files and its ledger do not belong together.
        RefusedToStart: somebody is at work in the folder, its last run is to be continued first, or the input cannot be
            read whole. Nothing was removed.
        StorageError: the disk refused. What was removed before stays so.
    """
    folder = OutputFolder(job.output.path)
    if not folder.ledger.is_file():
        raise OutputError(
            f"{folder.text}: is no output folder, it holds no ledger.db. Give the output folder of a run."
        )
    with RunLock(folder):
        integrity.require_trusted(folder)
        source = preflight.open_source(job)
        with DirectLedger(folder.ledger) as ledger:
            _require_settled(folder)
            tidied = tidy_files(folder)
            if tidied.compared.news:
                ledger.execute(tidied.compared.transaction())
            ledger.execute(tidied.uploads.record)
            with Pass(folder.ledger, job.input) as met:
                met.read(source)
                _require_readable(met, job)
                return _prune(folder, job, met, ledger.execute, agree=agree)


def _prune(folder: OutputFolder, job: Job, met: Pass, execute: Execute, *, agree: Callable[[Found], bool]) -> Pruned:
    gone = met.find(list(old_models(job.request_part())))
    rows = _table_rows(folder)
    found = Found(gone, met.rows, rows, met.examples())
    if gone.total:
        if not agree(found):
            return Pruned(found, 0, rows)
        execute(index.look_again)
        for part, keys in met.by_part():
            removal.remove(folder, part, keys, execute)
    execute(partial(index.keep_gone, gone=Gone(), run=None))
    left = _table_rows(folder)
    return Pruned(found, rows - left, left)


def _require_settled(folder: OutputFolder) -> None:
    with LedgerReader(folder.ledger) as reader:
        last = next(reversed(reader.runs()), None)
        if (last is not None and last.state in continuation.OPEN) or reader.carried():
            raise RefusedToStart(
                f"{folder.text}: the last run did not end, and rows of it are under way. Run the job again first, then "
                "prune; nothing was removed."
            )


def _require_readable(met: Pass, job: Job) -> None:
    if met.unreadable:
        lines = "\n".join(f"  {text}" for text in met.unreadable_first)
        rows = "1 row" if met.unreadable == 1 else f"{met.unreadable:,} rows"
        raise RefusedToStart(
            f"{places.text(job.input.path)}: {rows} of the input cannot be read, so it cannot be told which rows of "
            f"the table are gone. Mend the input or take them out of it; nothing was removed:\n{lines}"
        )


def _table_rows(folder: OutputFolder) -> int:
    with LedgerReader(folder.ledger) as reader:
        return reader.table_rows()
