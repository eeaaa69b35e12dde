"""`promptmill status`: where an output folder stands."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from batch.cli.text import clean, count, pairs, say
from batch.core.errors import EXIT_OK

if TYPE_CHECKING:
    from batch.report.status import Standing, Status

_MOST_KINDS: Final = 12


def status(
    out: Annotated[Path, Parameter(negative=())], /, *, json: Annotated[bool, Parameter(negative=())] = False
) -> int:
    """Where an output folder stands: its last run, what it waits for, and the failures that stand in the table.

    Args:
        out: the output folder of a run.
        json: one JSON object on stdout, for programs.
    """
    from batch.report.status import status_of

    found = status_of(out)
    if json:
        import msgspec

        say([msgspec.json.format(msgspec.json.encode(_public(found)), indent=2).decode()])
    else:
        say(_lines(found))
    return EXIT_OK


def _lines(found: Status) -> Iterator[str]:
    from batch.cli.summary import calls_text, cost_text, tokens_text, unpriced

    name = clean(str(found.job.get("name", ""))) or found.folder.name
    yield f"{name}: {_SENTENCES[found.state]}"
    totals = found.totals
    models = found.job.get("models") or [found.job.get("model", "?")]
    model = f"{found.job.get('provider', '?')}/{', '.join(map(str, models))}"
    yield from pairs(
        [
            ("run", f"{found.run} ({count(found.runs, 'run')} in all)" if found.run else ""),
            ("started", _times(found)),
            ("exit code", _ended(found)),
            (
                "models" if len(models) > 1 else "model",
                clean(f"{model}, lane {found.job.get('lane', '?')}") if found.job else "",
            ),
            ("prompts", clean(", ".join(map(str, found.job.get("prompts") or ())))),
            ("rows", _rows(found) if found.run else ""),
            ("calls", calls_text(totals) if totals.calls else ""),
            ("tokens", tokens_text(totals) if totals.calls else ""),
            ("cost", cost_text(totals, unpriced(str(found.job.get("provider", "?")), models)) if totals.calls else ""),
            ("now", _now(found)),
            ("stopped by", clean(found.fault or "", lines=True)),
            ("table", f"{count(found.table_rows, 'row')} in {found.folder / 'results'}"),
            ("left", f"{count(found.unsettled, 'row')} begun and not settled" if found.unsettled else ""),
            (
                "failed",
                f"{found.permanent:,} for good, {found.retryable:,} worth another try" if found.standing else "",
            ),
        ]
    )
    yield from _standing(found)


_SENTENCES: Final = {
    "never": "no run has begun here",
    "running": "running",
    "stopping": "stopping: calls in flight may finish",
    "killed": "not running: it was killed; run the same command to continue",
    "finished": "finished",
    "interrupted": "interrupted; run the same command to continue",
    "provider": "stopped, because the provider refused; run the same command to continue",
    "systematic": "stopped, because row after row failed the same way; correct the job and run it again",
    "storage": "stopped, because the disk refused a write; run the same command to continue",
    "input": "stopped, because the input could not be read on; run the same command to continue",
    "job_changed": "closed, because the job changed; run the same command to go on with the new one",
    "selection_changed": "closed, because other rows were asked for; run the same command to go on",
    "input_changed": "closed, because the input changed; run the same command to go on with the new one",
}


def _times(found: Status) -> str:
    from batch.core.clock import MICROSECONDS, describe, iso

    if found.started_at_us is None:
        return ""
    end = found.ended_at_us
    if end is not None:
        return (
            f"{iso(found.started_at_us)}, ended {iso(end)} after {describe((end - found.started_at_us) / MICROSECONDS)}"
        )
    ago = max(0.0, time.time() - found.started_at_us / MICROSECONDS)
    return f"{iso(found.started_at_us)}, {describe(ago)} ago"


def _ended(found: Status) -> str:
    if found.exit_code is None:
        return ""
    allowed = {True: "kept", False: "exceeded"}.get(found.within_max_failed)  # type: ignore[arg-type]
    return f"{found.exit_code}{f' (--max-failed {clean(str(found.max_failed))}: {allowed})' if allowed else ''}"


def _rows(found: Status) -> str:
    totals, live = found.totals, found.live
    of = f" of {live.expected:,}" if live is not None and live.expected is not None else ""
    return f"{totals.rows:,}{of}: {totals.rows_ok:,} ok, {totals.rows_failed:,} failed"


def _now(found: Status) -> str:
    from batch.core.clock import describe

    live = found.live
    if live is None:
        return f"no sign of life since {found.updated_at or 'it began'}" if found.state == "running" else ""
    said = [f"{live.rows_per_second:.1f} rows/s", f"{live.in_flight:,} in flight"]
    if live.waiting_tasks:
        said.append(f"{live.waiting_tasks:,} tasks waiting")
    if live.left_s is not None:
        said.append(f"left {describe(live.left_s)}")
    if live.waits_for:
        said.append(f"waits for {clean(live.waits_for)}")
    return ", ".join(said)


def _standing(found: Status) -> Iterator[str]:
    for entry in found.standing[:_MOST_KINDS]:
        again = "worth another try" if entry.retryable else "for good"
        some = ", ".join(clean(row, most=80) for row in entry.examples)
        yield f"  {count(entry.rows, 'row')}  {_name(entry)}, {again}: {some}"
        if entry.message:
            yield f"    {clean(entry.message, most=300)}"
    rest = found.standing[_MOST_KINDS:]
    if rest:
        yield f"  {count(sum(entry.rows for entry in rest), 'row')} of {len(rest)} other kinds"
    if found.standing:
        example = shlex.quote(found.standing[0].examples[0])
        yield f"promptmill show {shlex.quote(str(found.folder))} {example} tells all of one row."
    if found.retryable and found.state == "finished":
        yield f"Run the same command again to try {count(found.retryable, 'row')} again."
    if found.permanent and found.state == "finished":
        yield f"--retry all asks the {count(found.permanent, 'row')} that failed for good, too."


def _name(entry: Standing) -> str:
    return clean(f"{entry.kind}/{entry.code}" if entry.code else entry.kind)


def _public(found: Status) -> dict[str, Any]:
    """The status for programs: times as text, costs as exact decimal strings."""
    import msgspec

    from batch.core.clock import iso

    shown: dict[str, Any] = msgspec.structs.asdict(found)
    for name in ("started_at", "ended_at"):
        us = shown.pop(f"{name}_us")
        shown[name] = None if us is None else iso(us)
    shown["folder"] = str(found.folder)
    shown["totals"] = found.totals.public()
    return shown
