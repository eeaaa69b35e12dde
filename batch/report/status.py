"""Finds out where an output folder stands: its last run, what is under way, and the failures in its table.

Reads the ledger, `status.json`, the run's file and the result parts, and writes nothing. While a run works, its live
counts come from `status.json`, which it rewrites every second; otherwise the ledger is the truth.
"""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from batch.core.clock import MICROSECONDS
from batch.core.records import COST_DIGITS
from batch.ledger.index import Gone, gone_of
from batch.ledger.reader import RunRow
from batch.ledger.saved import SavedReader
from batch.ledger.totals import Planned, Totals
from batch.ledger.waves import WavesReader
from batch.output.folder import OutputFolder, holder
from batch.report.batches import BatchRow, batches_of, rows_of
from batch.report.figures.failures import counted
from batch.report.folders import opened
from batch.report.missing import Missing
from batch.report.tablestate import Flagged, Standing, TableState
from batch.report.workingcopy import WorkingCopy, working_copy

FRESH_S: Final = 5.0
"""`status.json` is rewritten every second; older than this it is left over."""
OLDEST: Final = 5

State = Literal[
    "never",
    "running",
    "stopping",
    "killed",
    "finished",
    "interrupted",
    "waiting",
    "budget",
    "provider",
    "systematic",
    "storage",
    "input",
    "job_changed",
    "input_changed",
    "selection_changed",
]


class OldRow(msgspec.Struct, frozen=True):
    """A row that is open: its first call was sent, and it has no outcome."""

    row_id: str
    variant: str | None
    age_s: float
    """Seconds since its first call."""
    waits_for: str


class UsedLimit(msgspec.Struct, frozen=True):
    """One limit of a run at work, and how much of it is in use."""

    name: str
    """As in `[limits]`."""
    model: str | None
    """Whose limit it is; None for the job's own."""
    limit: float
    used: float
    """Calls in flight, or what left within the last minute."""


class Live(msgspec.Struct, frozen=True):
    """The live numbers of a run, which only its process knows."""

    expected: int | None
    rows_per_second: float
    in_flight: int
    waiting_tasks: int
    held_back: int
    left_s: float | None
    waits_for: str | None
    waiting_rows: int = 0
    projected_cost: dict[str, str] = {}
    oldest: tuple[OldRow, ...] = ()
    limits: tuple[UsedLimit, ...] = ()
    shared_with: int | None = None
    """How many other jobs keep to the same limits now; None where nothing is shared."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One output folder at one moment; `totals` and `planned` are those of the last run."""

    folder: Path
    state: State
    runs: int
    run: str | None = None
    job: dict[str, Any] = {}
    """From the run's file: name, provider, model, lane; empty when that is gone."""
    started_at_us: int | None = None
    ended_at_us: int | None = None
    exit_code: int | None = None
    """What the command of the last run ended with; None while it works, and when it was killed."""
    exit_reason: str | None = None
    """Why that run ended; None as for `exit_code`."""
    max_failed: str | None = None
    within_max_failed: bool | None = None
    locked: bool = False
    """Whether a process is at work in the folder now."""
    process: int | None = None
    """The id of the process that wrote `status.json` last."""
    updated_at: str | None = None
    """When it wrote it: every second while it works, so an old time and `locked` together mean that it hangs."""
    planned: Planned = msgspec.field(default_factory=Planned)
    totals: Totals = msgspec.field(default_factory=Totals)
    live: Live | None = None
    budget: dict[str, Any] = {}
    """By key of `[budget]`, limit and what is left of it, as the last process said it."""
    auto: str | None = None
    """What lane `auto` had decided, as the last process said it; None in another lane."""
    fault: str | None = None
    drawn: bool = False
    """Whether the rows of the last run were drawn from all that needed work."""
    unsettled: int = 0
    """Rows admitted and not settled: the next run continues with them."""
    begun: int = 0
    """Those of them for which something was sent already."""
    oldest: tuple[OldRow, ...] = ()
    """The rows that have been open for longest."""
    batches: tuple[BatchRow, ...] = ()
    """The batches that are not collected."""
    table_rows: int = 0
    permanent: int = 0
    retryable: int = 0
    gone: Gone = Gone()
    """Rows of the table that are not in the input any more, when it was last read to its end."""
    standing: tuple[Standing, ...] = ()
    flagged: tuple[Flagged, ...] = ()
    copy: WorkingCopy | None = None
    """Of an output in an object store."""
    missing: tuple[Missing, ...] = ()
    """Parts of the table that cannot be read: `standing` and `flagged` know nothing of their rows. Then files of calls
    that are lost or cut short."""


class _Reader(SavedReader, WavesReader):
    """Knows which rows wait for tasks, and which for batches."""


def status_of(out: Path, table: TableState | None = None) -> Status:
    """Where the output folder `out` stands.

    Args:
        out: the output folder; its run may be at work.
        table: what was counted over the table a moment ago; counted now by default.

    Raises:
        OutputError: it is no output folder.
        StorageError: its ledger or a part cannot be read.
    """
    folder = opened(out)
    with _Reader(folder.ledger) as reader, reader.snapshot():
        runs = reader.runs()
        permanent, retryable = reader.standing_failures()
        common: dict[str, Any] = {
            "folder": folder.place,
            "runs": len(runs),
            "table_rows": reader.table_rows(),
            "unsettled": sum(reader.unsettled_by_part().values()),
            "begun": reader.count_begun(),
            "permanent": permanent,
            "retryable": retryable,
            "gone": gone_of(reader),
            "oldest": _oldest(reader),
            "copy": working_copy(folder, reader),
        }
        parts, book = reader.parts(), [folder.calls_part(*at) for at in reader.call_parts()]
        last = runs[-1] if runs else None
        signs = _signs(folder, last)
        if last is not None and last.state == "running" and not signs.moving:
            # Only now: while a process tells its totals itself, those of thousands of calls need not be read.
            signs = signs._replace(beyond=reader.unpublished())
        common["drawn"] = last is not None and reader.sample(last.run) is not None
    common["batches"] = batches_of(folder.ledger)
    table = table or counted(folder, parts, book)
    common |= {"standing": table.standing, "flagged": table.flagged, "missing": table.missing}
    if last is None:
        return Status(state="never", **common)
    return _with_run(folder, last, signs, common)


class _Signs(NamedTuple):
    """Signs of life of the last run."""

    written: dict[str, Any]
    locked: bool
    moving: bool
    """Whether `status.json` is of this run, says that it works, and was written just now."""
    beyond: Totals
    """What the run did after it published last, where its process does not tell it."""


def _signs(folder: OutputFolder, last: RunRow | None) -> _Signs:
    written = _json(folder.status)
    locked = holder(folder) is not None
    moving = last is not None and locked and _moves(written, folder, last.run)
    return _Signs(written, locked, moving, Totals())


def _with_run(folder: OutputFolder, last: RunRow, signs: _Signs, common: dict[str, Any]) -> Status:
    state, totals, planned, live = last.state, last.totals, last.planned, None
    run_file, written, locked = _json(folder.run_file(last.run)), signs.written, signs.locked
    if state == "running":
        if signs.moving:
            state, totals, live = written["state"], _totals(written["totals"]), _live(written)
            common["oldest"] = live.oldest
        else:
            # After a storage fault the ledger could not be told how the run ended; its file may say it.
            state = "running" if locked else run_file.get("exit_reason") or "killed"
            totals.add(signs.beyond)
        planned = msgspec.structs.replace(planned, unread=not planned.complete)
    if live is None:
        planned = msgspec.structs.replace(planned, left=max(planned.left or 0, common["unsettled"]))
    ended = {} if locked and last.state == "running" else run_file
    return Status(
        state=state,  # type: ignore[arg-type]  # the ledger's states are this set
        run=last.run,
        job={name: value for name, value in run_file.get("job", {}).items() if name != "request"},
        started_at_us=last.started_at_us,
        ended_at_us=last.ended_at_us,
        planned=planned,
        totals=totals,
        live=live,
        budget=written.get("budget", {}) if written.get("run") == last.run else {},
        auto=written.get("auto") if written.get("run") == last.run else None,
        fault=ended.get("fault"),
        exit_code=ended.get("exit_code"),
        exit_reason=ended.get("exit_reason"),
        max_failed=ended.get("max_failed"),
        within_max_failed=ended.get("within_max_failed"),
        locked=locked,
        process=written.get("process"),
        updated_at=written.get("updated_at"),
        **common,
    )


def _oldest(reader: _Reader) -> tuple[OldRow, ...]:
    """The oldest open rows of a folder in which no process is at work."""
    now_us = time.time_ns() // 1000
    return tuple(
        OldRow(
            row_id,
            variant or None,
            round(max(0, now_us - sent_us) / MICROSECONDS, 1),
            _waits_for(reader, task, call),
        )
        for row_id, variant, sent_us, task, call in reader.oldest(OLDEST)
    )


def _waits_for(reader: _Reader, task: str | None, call: int | None) -> str:
    wave = None if call is None else reader.wave_of(call)
    if wave is not None:
        return rows_of([wave])[0].text
    return "the next run" if task is None else f"the next run, which polls task {task} first"


def _moves(written: dict[str, Any], folder: OutputFolder, run: str) -> bool:
    """Whether `status.json` is of this run, says that it works, and was written just now."""
    return (
        written.get("run") == run and written.get("state") in ("running", "stopping") and _age(folder.status) < FRESH_S
    )


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def _json(path: Path) -> dict[str, Any]:
    """A JSON file that a run writes for people and monitors; empty when it is missing or torn."""
    try:
        document = msgspec.json.decode(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _live(written: dict[str, Any]) -> Live:
    return msgspec.convert({**written, "expected": written["rows"]["expected"]}, Live)


def _totals(public: dict[str, Any]) -> Totals:
    """Totals from their published form."""
    units = {name: _units(public.get(name, {})) for name in ("cost", "cost_bound")}
    models = {
        model: {lane: {**sums, "cost": _units(sums["cost"])} for lane, sums in lanes.items()}
        for model, lanes in public.get("models", {}).items()
    }
    return msgspec.convert({**public, **units, "models": models}, Totals)


def _units(costs: dict[str, str]) -> dict[str, int]:
    """Costs in the unit of `Totals.units`, from decimal text by currency."""
    return {currency: int(Decimal(value).scaleb(COST_DIGITS)) for currency, value in costs.items()}
