"""All figures of one output folder, each as one object that JSON has.

Owns which figures there are and what stands in each: the shapes that pages are built on. Reads the ledger, the files of
runs and the published tables, and writes nothing; what was found in a file that is still there is not looked for again,
so asking once more during a run is cheap. What each figure means is the matter of whoever computes it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from batch.core.clock import MICROSECONDS
from batch.core.errors import OutputError
from batch.ledger.reader import LedgerReader, RunRow
from batch.output.folder import holder
from batch.report import status_json
from batch.report.figures.downloads import exported, to_review
from batch.report.figures.failures import Failures, failures
from batch.report.figures.filters import Filter
from batch.report.figures.memory import FileMemory
from batch.report.figures.onerow import neighbours, one_row, row_id_of
from batch.report.figures.outstanding import outstanding
from batch.report.figures.rows import Page, Rows
from batch.report.figures.tableview import TableView, require_there, steadily, whole_view
from batch.report.figures.timeline import Timeline
from batch.report.figures.wholetables import comparison, label_figures, spending
from batch.report.folders import opened
from batch.report.missing import Missing, by_name, leaving_out, opening
from batch.report.review_files import Form
from batch.report.status import status_of
from batch.report.tablestate import TableState

MOST_KEPT: Final = 8
"""Runs whose figures over time are remembered."""
EVERY: Final = Filter()
FIRST: Final = Page()
ALL_RUNS: Final = "all"
"""Stands for all runs of a folder where one can be named."""
Version = tuple[Any, ...]


class Figures:
    """The figures of one output folder; may be asked by several threads at once.

    Args:
        out: the output folder; its run may be at work.
        name: what it is called, as a person typed it; its path by default.

    Raises:
        OutputError: it is no output folder.
        StorageError: its ledger cannot be read.

    Attributes:
        name: what it is called.
        folder: its layout.
        memory: what was found in its files.
    """

    def __init__(self, out: Path, name: str | None = None) -> None:
        self.folder = opened(out)
        self.name = str(out) if name is None else name
        self.memory = FileMemory()
        self._failures: tuple[Version, list[Path], Failures, tuple[Missing, ...]] | None = None
        self._published: dict[str | None, tuple[Version, dict[str, Any], tuple[Missing, ...]]] = {}

    # -- how it stands ----------------------------------------------------------------------------------------------

    def version(self) -> Version:
        """Changes whenever a file of the published tables is added, replaced or taken away."""
        folders = [self.folder.results, self.folder.calls]
        with suppress(OSError):
            folders += sorted(self.folder.calls.iterdir())
        return tuple(found for folder in folders if (found := _changed_ns(folder)) is not None)

    def at_work(self) -> bool:
        """Whether a process works in the folder now."""
        return holder(self.folder) is not None

    def status(self) -> dict[str, Any]:
        """What `promptmill status --json` gives.

        Raises:
            BatchError: it cannot be read.
        """
        require_there(self.folder)
        version = self.version()
        if self._failures is None or self._failures[0] != version:
            with LedgerReader(self.folder.ledger) as reader:
                parts = [self.folder.part(number) for number in reader.parts()]
            there, _ = opening(self.folder, parts)
            found, broken = leaving_out(self.folder.root, there, lambda left: failures(left, self.memory))
            self._failures = (version, parts, found, broken)
        _, parts, found, broken = self._failures
        state = msgspec.structs.replace(found.state(), missing=by_name(*opening(self.folder, parts)[1], *broken))
        return status_json.public(status_of(self.folder.place, state))

    def state(self) -> tuple[str, str]:
        """The name of the job and the state of its last run, without a look at the tables.

        Raises:
            BatchError: it cannot be read.
        """
        found = status_of(self.folder.place, TableState())
        return str(found.job.get("name") or self.folder.place.name), found.state

    def overview(self, run: str | None = None) -> dict[str, Any]:
        """How the folder stands, what happened when, and what stands out.

        Args:
            run: whose rows and calls the figures over time are of; `all` for every run, by default the last one.

        Raises:
            OutputError: there is no such run.
            StorageError: a part or the ledger cannot be read.
        """
        status = self.status()
        version = self.version()
        with LedgerReader(self.folder.ledger) as reader, reader.snapshot():
            runs, parts, call_parts = reader.runs(), reader.parts(), reader.call_parts()
        chosen = self._chosen(runs, run)
        kept = self._published.get(chosen)
        calls, lost = opening(
            self.folder, [self.folder.calls_part(*at) for at in call_parts if chosen in (at[0], None)]
        )
        tables, lost_parts = opening(self.folder, [self.folder.part(number) for number in parts])
        version = (*version, len(calls), len(tables))  # what is lost, and what is back
        if kept is None or kept[0] != version:
            kept = (version, *self._of_tables(calls, tables, chosen))
            self._published = {**dict(list(self._published.items())[-MOST_KEPT:]), chosen: kept}
        told = self._run_file(chosen if chosen is not None else runs[-1].run if runs else None)
        job = dict(told.get("job") or {})
        return {
            "at": time.time(),
            "name": self.name,
            "run": ALL_RUNS if chosen is None else chosen,
            "runs": [*(self._run(found) for found in runs[:-1]), *(self._last(found, status) for found in runs[-1:])],
            "status": status,
            "missing": [*map(msgspec.structs.asdict, by_name(*lost_parts, *lost, *kept[2]))],
            **kept[1],
            "limits": (status["live"] or {}).get("limits", []),
            "oldest": status["oldest"],
            "settings": job,
            "source": told.get("source") or {},
            "versions": told.get("versions") or {},
        }

    def _of_tables(
        self, calls: list[Path], parts: list[Path], run: str | None
    ) -> tuple[dict[str, Any], tuple[Missing, ...]]:
        """What is counted over published files, and so changes with them alone; and those that broke off."""

        def counted(left: Collection[Path]) -> dict[str, Any]:
            kept = set(left)
            of_calls, of_parts = [path for path in calls if path in kept], [path for path in parts if path in kept]
            timeline = Timeline(of_calls, of_parts, run, self.memory)
            return {
                "series": timeline.series(),
                "latency": timeline.latency(),
                "call_errors": timeline.errors(),
                "errors": failures(of_parts, self.memory).public(),
                **outstanding(of_parts, self.memory).public(),
            }

        return leaving_out(self.folder.root, [*calls, *parts], counted)

    # -- rows ---------------------------------------------------------------------------------------------------------

    def rows(self, asked: Filter = EVERY, page: Page = FIRST) -> dict[str, Any]:
        """One page of rows.

        Args:
            asked: which rows.
            page: which page of them, and in which order.

        Raises:
            RefusedToStart: there is no result yet, or filter or page make no sense.
            StorageError: a part or the ledger cannot be read.
        """

        def look(view: TableView) -> dict[str, Any]:
            found = Rows(view, asked, self.memory).page(page)
            return {**found, "missing": [msgspec.structs.asdict(lost) for lost in view.missing]}

        return steadily(self.folder, look)

    def count(self, asked: Filter = EVERY) -> int:
        """How many rows there are of those that are asked for.

        Raises:
            RefusedToStart: there is no result yet, or the filter makes no sense.
            StorageError: a part or the ledger cannot be read.
        """
        return steadily(self.folder, lambda view: Rows(view, asked, self.memory).count())

    def row(self, number: int, asked: Filter = EVERY, *, whole: bool = False) -> dict[str, Any]:
        """What `promptmill show --json` gives of a row, and the numbers of its neighbours among those asked for.

        Args:
            number: of the row.
            asked: among which rows its neighbours are looked for.
            whole: give each text whole, not cut.

        Raises:
            RefusedToStart: the table has no such row, or the filter makes no sense.
            StorageError: a part or the ledger cannot be read.
        """

        def look(view: TableView) -> dict[str, Any]:
            found = one_row(view.folder, row_id_of(view, number, self.memory), whole=whole)
            return {**found, **neighbours(Rows(view, asked, self.memory), number, self.memory)}

        return steadily(self.folder, look)

    def row_named(self, row_id: str, *, whole: bool = False) -> dict[str, Any]:
        """The same of the row with this id, which may be under way and in no table yet; without neighbours.

        Args:
            row_id: of the row.
            whole: give each text whole, not cut.

        Raises:
            RefusedToStart: there is no such row.
            StorageError: a part or the ledger cannot be read.
        """
        return one_row(self.folder, row_id, whole=whole)

    def download(self, ending: str, asked: Filter = EVERY) -> Iterator[bytes]:
        """The rows that are asked for as a file, some at a time.

        Args:
            ending: of the file: csv or jsonl.
            asked: which rows.

        Raises:
            RefusedToStart: there is no result yet, or the filter makes no sense.
            StorageError: a part or the ledger cannot be read.
        """
        return exported(Rows(whole_view(self.folder), asked, self.memory), ending)

    def review(self, form: Form, asked: Filter = EVERY, label: str | None = None) -> Iterator[bytes]:
        """The rows that are asked for as a file for people who label, some at a time.

        Args:
            form: of the file.
            asked: which rows.
            label: the column with the labels; the one there is by default.

        Raises:
            RefusedToStart: there is no result yet, or no label, or the filter makes no sense.
            StorageError: a part or the ledger cannot be read.
        """
        return to_review(Rows(whole_view(self.folder), asked, self.memory), form, label)

    # -- tables over all rows -----------------------------------------------------------------------------------------

    def compare(self) -> dict[str, Any]:
        """What `promptmill compare --json --limit 0` gives, and the first rows that differ.

        Raises:
            RefusedToStart: there are no two variants.
            StorageError: a part or the ledger cannot be read.
        """
        return comparison(self.folder.place)

    def labels(self, label: str | None = None, gold: str | None = None) -> dict[str, Any]:
        """What `promptmill labels --json` gives, the rows behind each cell, and the labels of each run.

        Args:
            label: the column with the labels; the one there is by default.
            gold: the column with the truth; the one that the job names by default.

        Raises:
            RefusedToStart: there are no labels.
            StorageError: a part or the ledger cannot be read.
        """
        return label_figures(self.folder.place, label, gold)

    def money(self, by: tuple[str, ...] = ()) -> dict[str, Any]:
        """What `promptmill cost --json` gives.

        Args:
            by: what to group by, with names of `cost --by`.

        Raises:
            RefusedToStart: there is no such thing to group by.
            StorageError: a file or the ledger cannot be read.
        """
        return spending(self.folder.place, by)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _chosen(self, runs: list[RunRow], run: str | None) -> str | None:
        """The run that is meant; None for all."""
        if run == ALL_RUNS or not runs:
            return None
        if run is None:
            return runs[-1].run
        if run not in (found.run for found in runs):
            raise OutputError(f"{self.folder.text}: has no run {run!r}. The last one is {runs[-1].run}.")
        return run

    def _run(self, row: RunRow) -> dict[str, Any]:
        end_us = row.ended_at_us
        told = self._run_file(row.run)
        return {
            "run": row.run,
            "state": row.state,
            "started_at": row.started_at_us / MICROSECONDS,
            "ended_at": None if end_us is None else end_us / MICROSECONDS,
            "exit_code": told.get("exit_code"),
            "rows": row.totals.rows,
            "failed": row.totals.rows_failed,
            "calls": row.totals.calls,
            "cost": {currency: f"{cost:f}" for currency, cost in row.totals.cost.items()},
            "tags": dict(dict(told.get("job") or {}).get("tags") or {}),
        }

    def _last(self, row: RunRow, status: dict[str, Any]) -> dict[str, Any]:
        """The last run, as its status tells it: the ledger knows what is published, and not that a run was killed."""
        found = self._run(row)
        if status["run"] != row.run:  # it began just now
            return found
        totals = status["totals"]
        rows = {"rows": totals["rows_ok"] + totals["rows_failed"], "failed": totals["rows_failed"]}
        return {**found, **rows, "state": status["state"], "calls": totals["calls"], "cost": totals["cost"]}

    def _run_file(self, run: str | None) -> dict[str, Any]:
        """What a run left for people; empty when that is lost."""
        if run is None:
            return {}
        try:
            return msgspec.json.decode(self.folder.run_file(run).read_bytes(), type=dict[str, Any])
        except (OSError, ValueError):
            return {}


def _changed_ns(folder: Path) -> int | None:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None
