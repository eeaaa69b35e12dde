"""`promptmill status`: prints where an output folder stands. What it prints is found out by `report.status`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from batch.cli import jobs
from batch.cli.spending import bounds_text, left_text
from batch.cli.text import count, pairs, say, say_json, wrapped
from batch.core import places
from batch.core.errors import EXIT_OK, EXIT_STORAGE, RefusedToStart
from batch.core.plain import clean, escaped_json, quoted

if TYPE_CHECKING:
    from batch.report.status import Status
    from batch.report.tablestate import Standing

_MOST_KINDS: Final = 12
_MOST_BATCHES: Final = 10
_EVERY_S: Final = 2.0
_LONGEST_S: Final = 86_400


def status(
    out: jobs.Out,
    /,
    *,
    json: Annotated[bool, Parameter(negative=())] = False,
    watch: Annotated[bool, Parameter(negative=())] = False,
    every: Annotated[float | None, Parameter(negative=())] = None,
) -> int:
    """Where an output folder stands: its last run, what it waits for, and the failures that stand in the table.

    Args:
        out: the output folder of a run.
        json: one JSON object on stdout, for programs; with --watch one in a line for each change.
        watch: look again and again until nobody is at work in the folder, then end with the exit code of the run; a
            terminal is painted over, anything else gets a line for each change. Ctrl-C ends it (4), and not the run.
        every: with --watch: seconds between two looks; 2 by default.
    """
    from batch.report.status import status_of

    if every is not None and not watch:
        raise RefusedToStart("--every says how often --watch looks, so it needs --watch")
    if every is not None and not 0.1 <= every <= _LONGEST_S:
        raise RefusedToStart(f"--every {every:g}: give seconds between 0.1 and {_LONGEST_S:,}")
    if watch:
        from batch.cli import watching

        told = watching.paints() and not json
        one = _json_line if json else watching.line
        painter = watching.Screen(_lines) if told else watching.Changes(one)
        return watching.watch(partial(status_of, out), painter, _EVERY_S if every is None else every)
    current = status_of(out)
    if json:
        import msgspec

        from batch.report.status_json import public

        say_json(msgspec.json.format(msgspec.json.encode(public(current)), indent=2).decode())
    else:
        say(_lines(current))
    return EXIT_STORAGE if current.missing else EXIT_OK


def _json_line(current: Status) -> str:
    import msgspec

    from batch.report import status_json

    return escaped_json(msgspec.json.encode(status_json.public(current)).decode())


def _lines(current: Status) -> Iterator[str]:
    from batch.cli.sums import (
        calls_text,
        cost_text,
        gone_text,
        labels_text,
        refreshed_text,
        shared_text,
        taken_over_text,
        tokens_text,
    )

    name = clean(str(current.job.get("name", ""))) or current.folder.name
    yield f"{name}: {_SENTENCES[current.state]}"
    totals = current.totals
    models = current.job.get("models") or [current.job.get("model", "?")]
    model = f"{current.job.get('provider', '?')}/{', '.join(map(str, models))}"
    yield from pairs(
        [
            ("run", f"{current.run} ({count(current.runs, 'run')} in all)" if current.run else ""),
            ("started", _times(current)),
            ("exit code", _ended(current)),
            (
                "models" if len(models) > 1 else "model",
                clean(f"{model}, lane {current.job.get('lane', '?')}") if current.job else "",
            ),
            ("prompts", clean(", ".join(map(str, current.job.get("prompts") or ())))),
            ("rows", _rows(current) if current.run else ""),
            ("", refreshed_text(current.planned.refreshed)),
            ("", taken_over_text(current.planned.taken_over)),
            ("shared", shared_text(max(0, totals.rows_copied - current.planned.taken_over))),
            ("calls", calls_text(totals) if totals.calls else ""),
            ("tokens", tokens_text(totals) if totals.calls else ""),
            ("cost", cost_text(totals) if totals.calls else ""),
            ("unknown", bounds_text(totals)),
            ("budget", left_text(current.budget)),
            ("now", _now(current)),
            ("auto", "\n".join(wrapped(clean(current.auto or ""), less=12))),
            *_batches(current),
            *_oldest(current),
            ("stopped by", clean(current.fault or "", lines=True)),
            ("table", f"{count(current.table_rows, 'row')} in {places.text(current.folder / 'results')}"),
            ("left", _left(current)),
            ("gone", gone_text(current.gone, current.folder, str(current.job.get("folder", "JOB")))),
            (
                "failed",
                f"{current.permanent:,} for good, {current.retryable:,} worth another try" if current.standing else "",
            ),
            ("flags", _flags(current)),
            ("labels", labels_text(totals)),
            ("samples", _samples(current)),
            ("copy", _copy(current)),
            ("missing", _missing(current)),
        ]
    )
    yield from _standing(current)


_SENTENCES: Final = {
    "never": "no run has begun here",
    "running": "running",
    "stopping": "stopping: calls in flight may finish",
    "killed": "not running: it was killed; run the same command to continue",
    "finished": "finished",
    "waiting": "waiting for batches at the provider; run the same command to collect them",
    "interrupted": "interrupted; run the same command to continue",
    "budget": "stopped by its budget; run the same command to go on with the next run",
    "provider": "stopped, because the provider refused; run the same command to continue",
    "systematic": "stopped, because row after row failed the same way; correct the job and run it again",
    "storage": "stopped, because a file could not be written or read; run the same command to continue",
    "input": "stopped, because the input could not be read on; run the same command to continue",
    "job_changed": "closed, because the job changed; run the same command to go on with the new one",
    "selection_changed": "closed, because other rows were asked for; run the same command to go on",
    "input_changed": "closed, because the input changed; run the same command to go on with the new one",
}


def _times(current: Status) -> str:
    from batch.core.clock import MICROSECONDS, describe, iso

    if current.started_at_us is None:
        return ""
    end = current.ended_at_us
    if end is not None:
        took = describe((end - current.started_at_us) / MICROSECONDS)
        return f"{iso(current.started_at_us)}, ended {iso(end)} after {took}"
    ago = max(0.0, time.time() - current.started_at_us / MICROSECONDS)
    return f"{iso(current.started_at_us)}, {describe(ago)} ago"


def _ended(current: Status) -> str:
    if current.exit_code is None:
        return ""
    within = current.within_max_failed
    allowed = "" if within is None else "kept" if within else "exceeded"
    return f"{current.exit_code}{f' (--max-failed {clean(str(current.max_failed))}: {allowed})' if allowed else ''}"


def _rows(current: Status) -> str:
    totals, live = current.totals, current.live
    of = f" of {live.expected:,}" if live is not None and live.expected is not None else ""
    return f"{totals.rows:,}{of}: {totals.rows_ok:,} ok, {totals.rows_failed:,} failed"


def _flags(current: Status) -> str:
    """Of the table; while a run works, of the rows that it has settled."""
    from batch.cli.sums import flags_text

    if current.live is not None:
        return flags_text(current.totals.flags)
    counts = {entry.flag: entry.rows for entry in current.flagged}
    return flags_text(counts, {entry.flag: entry.examples[0] for entry in current.flagged})


def _missing(current: Status) -> str:
    from batch.report.missing import warning

    parts = [lost for lost in current.missing if not lost.of_book]
    calls = [lost for lost in current.missing if lost.of_book]
    told = warning(parts, "the failures and flags told here"), warning(calls, "the figures of cost, show and report")
    return "\n".join(clean(line) for line in told if line)


def _copy(current: Status) -> str:
    """Of an output in an object store, where its files and ledger lie here, and whether they can go."""
    if (copy := current.copy) is None:
        return ""
    path, size = quoted(copy.path), f"{copy.bytes / 1_000_000:,.1f} MB"
    if current.locked:
        return f"{size} in {path}"
    if copy.only_here:
        return f"{size} in {path}\nkeep it, it alone has {', '.join(copy.only_here)}"
    back = f"promptmill rebuild {quoted(places.text(current.folder))}"
    return f"{size} in {path}\nthe store has all of it: rm -r {path} makes room, and {back} brings it back"


def _samples(current: Status) -> str:
    short = current.planned.short
    return f"{count(short, 'row')} short of samples when this run began: asked for the missing ones" if short else ""


def _left(current: Status) -> str:
    from batch.cli.sums import left_text

    if current.live is not None or current.run is None:
        return f"{count(current.begun, 'row')} begun and not settled" if current.begun else ""
    finished = current.state == "finished"
    return left_text(current.planned, finished=finished, drawn=current.drawn, begun=current.begun)


def _now(current: Status) -> str:
    from batch.core.clock import describe

    live = current.live
    if live is None:
        return f"no sign of life since {current.updated_at or 'it began'}" if current.state == "running" else ""
    parts = [f"{live.rows_per_second:.1f} rows/s", f"{live.in_flight:,} in flight"]
    if live.waiting_tasks:
        parts.append(f"{count(live.waiting_tasks, 'task')} waiting")
    if live.waiting_rows:
        parts.append(f"{count(live.waiting_rows, 'row')} to be tried again")
    if live.left_s is not None:
        parts.append(f"left {describe(live.left_s)}")
    if live.shared_with and "shared with" not in (live.waits_for or ""):
        parts.append(f"limits shared with {count(live.shared_with, 'other job')}")
    if live.waits_for:
        parts.append(f"waits for {clean(live.waits_for)}")
    return ", ".join(parts)


def _oldest(current: Status) -> Iterator[tuple[str, str]]:
    """The rows that have been open for longest, one a line."""
    from batch.core.clock import describe

    for place, row in enumerate(current.oldest):
        variant = f" ({clean(row.variant)})" if row.variant is not None else ""
        waits = clean(row.waits_for, most=200)
        told = f"{clean(row.row_id, most=80)}{variant}, open for {describe(row.age_s)}: waits for {waits}"
        yield "oldest" if place == 0 else "", told


def _batches(current: Status) -> Iterator[tuple[str, str]]:
    """The batches that are on their way, one a line."""
    from batch.core.clock import describe

    deadline = current.job.get("batch_deadline_s")
    for place, batch in enumerate(current.batches[:_MOST_BATCHES]):
        done = "" if batch.done is None else f", {batch.done:,} done"
        until = "" if batch.expires_at is None else f", until {batch.expires_at} at the latest"
        over = "over its time of" if deadline is not None and batch.age_s >= deadline else "cancelled at"
        limit = "" if deadline is None else f", {over} {describe(deadline)}"
        name = clean(batch.batch_id or f"file {batch.wave}", most=80)
        told = f"{name}: {clean(batch.state)}, {count(batch.lines, 'request')}{done}"
        yield "batches" if place == 0 else "", f"{told}, {describe(batch.age_s)} old{limit}{until}"
    if rest := current.batches[_MOST_BATCHES:]:
        yield "", f"and {count(len(rest), 'other')} of {count(sum(batch.lines for batch in rest), 'request')}"


def _standing(current: Status) -> Iterator[str]:
    from batch.cli.sums import unasked_text, unlabelled_text

    for entry in current.standing[:_MOST_KINDS]:
        again = "worth another try" if entry.retryable else "for good"
        some = ", ".join(clean(row, most=80) for row in entry.examples)
        yield f"  {count(entry.rows, 'row')}  {_name(entry)}, {again}: {some}"
        if entry.message:
            yield f"    {clean(entry.message, most=300)}"
    rest = current.standing[_MOST_KINDS:]
    if rest:
        yield f"  {count(sum(entry.rows for entry in rest), 'row')} of {count(len(rest), 'other kind')}"
    if current.standing:
        example = quoted(current.standing[0].examples[0])
        yield f"promptmill show {quoted(places.text(current.folder))} {example} tells all of one row."
    if current.retryable and current.state == "finished":
        yield f"Run the same command again to try {count(current.retryable, 'row')} again."
    unasked = sum(entry.rows for entry in current.standing if entry.kind == "input")
    if unasked and current.state == "finished":
        empty = sum(entry.rows for entry in current.standing if (entry.kind, entry.code) == ("input", "empty"))
        yield from unasked_text(unasked, empty).split("\n")
    unlabelled = sum(entry.rows for entry in current.standing if entry.kind == "label")
    if unlabelled and current.state == "finished":
        yield unlabelled_text(unlabelled)
    if current.permanent > unasked + unlabelled and current.state == "finished" and not current.missing:
        others = current.permanent - unasked - unlabelled
        yield f"--retry all asks the {count(others, 'row')} that failed for good, too."


def _name(entry: Standing) -> str:
    return clean(f"{entry.kind}/{entry.code}" if entry.code else entry.kind)
