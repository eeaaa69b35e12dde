"""The table at the end of a run, the only thing that `promptmill run` writes to stdout."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

from batch.cli import spending
from batch.cli.spending import bounds_text
from batch.cli.sums import (
    calls_text,
    cost_text,
    errors_table,
    failed_as,
    flags_text,
    gone_text,
    labels_text,
    left_text,
    refreshed_text,
    shared_text,
    taken_over_text,
    tokens_text,
    unasked_text,
    unlabelled_text,
)
from batch.cli.text import count, pairs, say, wrapped
from batch.core import places
from batch.core.clock import Clock, describe
from batch.core.errors import RefusedToStart
from batch.core.plain import clean, quoted
from batch.money import advice
from batch.money.prices import Prices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batch.job.job import Job
    from batch.ledger.totals import Totals
    from batch.run.command import Report


def tell(report: Report, job: Job, *, settled_here: int, prices: Path | None = None) -> None:
    """Print what a run did.

    Args:
        report: of the run.
        job: that was run.
        settled_here: rows settled under this command, those of an earlier command of the same run not counted.
        prices: the price file of the command.
    """
    if report.state == "nothing_to_do":
        say(_nothing(report, job))
        return
    if report.run is None:
        say([f"{clean(job.name)}: {_not_run(report)}. Nothing was sent."])
        return
    say(_lines(report, job, settled_here, _prices(job, prices)))


def _not_run(report: Report) -> str:
    holder = f" ({clean(report.holder)})" if report.holder else ""
    if report.state == "skipped":
        return f"skipped, because another run is at work in the output folder{holder}"
    return f"interrupted while it waited for another run to end{holder}" if holder else "interrupted before it began"


def _nothing(report: Report, job: Job) -> Iterator[str]:
    out = quoted(places.text(report.folder))
    permanent, again = report.standing
    reason = "no row is worth another try" if not again else "what --only leaves out was not asked for"
    yield f"{clean(job.name)}: nothing to do. Job and input are those of the last finished run, and {reason}."
    yield from pairs(
        [
            ("table", f"{count(report.table_rows, 'row')} in {places.text(report.folder / 'results')}"),
            (
                "failed",
                f"{count(permanent, 'row')} for good: asked again when what is asked changes, or with --retry all\n"
                f"promptmill status {out}"
                if permanent
                else "",
            ),
            ("left out", f"{count(again, 'row')} worth another try" if again else ""),
            ("gone", gone_text(report.gone, report.folder, str(job.folder))),
        ]
    )


def _lines(report: Report, job: Job, settled_here: int, prices: Prices) -> Iterator[str]:
    totals, planned = report.totals, report.planned
    out = quoted(places.text(report.folder))
    models = job.model.names or (job.model.name,)
    escalate = job.labels.escalate if job.labels is not None else None
    asked = (*models, *([escalate] if escalate else []))
    variants = len(models) * max(1, len(job.prompt.variants))
    yield f"{clean(job.name)}: {_STATES.get(report.state, report.state)}"
    yield from pairs(
        [
            ("models", f"{job.model.provider}/{clean(', '.join(models))}" if len(models) > 1 else ""),
            ("prompts", clean(", ".join(job.prompt.variants))),
            ("rows", _rows(report)),
            ("allowed", _allowed(report)),
            ("shared", shared_text(max(0, totals.rows_copied - planned.taken_over))),
            ("calls", calls_text(totals)),
            ("tokens", tokens_text(totals)),
            ("cost", cost_text(totals)),
            ("", _doubts(totals, prices, job, asked)),
            ("unknown", bounds_text(totals)),
            ("budget", spending.left_text(report.budget)),
            ("flags", flags_text(totals.flags)),
            ("labels", labels_text(totals)),
            ("auto", "\n".join(wrapped(clean(report.auto or ""), less=12))),
            ("batches", _batches(report)),
            ("time", _time(report, settled_here)),
            ("left", left_text(planned, finished=report.state == "finished", drawn=report.drawn)),
            ("table", f"{count(report.table_rows, 'row')} in {places.text(report.folder / 'results')}"),
            ("gone", gone_text(report.gone, report.folder, str(job.folder))),
            ("one row", f"promptmill show {out} ROW_ID" if report.table_rows else ""),
            ("variants", f"promptmill compare {out}" if report.table_rows and variants > 1 else ""),
        ]
    )
    if totals.rows_failed:
        yield "failed"
        yield from errors_table(totals.errors)
    yield from _next(report, out)


_STATES: Final = {
    "finished": "finished",
    "interrupted": "interrupted",
    "waiting": "waiting for batches",
    "budget": "stopped by its budget",
    "provider": "stopped, because the provider refused",
    "systematic": "stopped, because row after row failed the same way",
    "storage": "stopped, because a file could not be written or read",
    "input": "stopped, because the input could not be read on",
}


def _rows(report: Report) -> str:
    totals, planned = report.totals, report.planned
    reasons = [(planned.new, "new"), (planned.changed, "changed"), (planned.retried, "retried")]
    reasons.append((planned.short, "short of samples"))
    carried = totals.rows - planned.admitted - planned.taken_over
    if report.state == "finished" and carried > 0:
        reasons.append((carried, "begun by an earlier run"))
    kinds = ", ".join(f"{number:,} {word}" for number, word in reasons if number)
    text = f"{totals.rows_ok:,} ok, {totals.rows_failed:,} failed{f'  ({kinds})' if kinds else ''}"
    if 0 < planned.source_rows < planned.admitted:
        text += f", {count(planned.source_rows, 'row')} of the input in several variants"
    alone = [
        (planned.unchanged, "answered before"),
        (planned.standing, "failed for good before"),
        (planned.left_out, "left out by --only"),
    ]
    left = ", ".join(f"{number:,} {word}" for number, word in alone if number)
    none = "the input has no rows" if planned.complete and not planned.read else ""
    lines = [text, none, f"{left}: left alone" if left else "", refreshed_text(planned.refreshed)]
    lines.append(taken_over_text(planned.taken_over))
    return "\n".join(line for line in lines if line)


def _allowed(report: Report) -> str:
    if report.max_failed is None:
        return ""
    totals = report.totals
    share = f" ({totals.rows_failed * 100 / totals.rows:.3g} %)" if totals.rows else ""
    kept = "kept" if report.within_max_failed else "exceeded"
    return f"--max-failed {report.max_failed.text}: {kept}, {totals.rows_failed:,} of {totals.rows:,} failed{share}"


def _prices(job: Job, file: Path | None) -> Prices:
    """The prices that the run had, unless a file is gone meanwhile: the table of a run is told in any case."""
    try:
        return Prices.of_job(job, file)
    except RefusedToStart:
        return Prices.load()


def _doubts(totals: Totals, prices: Prices, job: Job, models: Sequence[str]) -> str:
    """What is to be said against the prices of a run, and how one is added that is missing."""
    now_us = Clock().now_us()
    provider, lanes = job.model.provider, job.model.lanes
    ways = product(models, lanes)
    lines = [line for model, lane in ways for line in prices.current(provider, model, now_us, lane=lane)]
    doubts = advice.doubts(lines, advice.day_of(now_us)) if totals.cost else []
    texts = [text for doubt in doubts for text in wrapped(doubt, less=12)]
    if totals.unpriced:
        missing = ((lane, advice.unpriced(prices, provider, models, now_us, lane=lane)) for lane in lanes)
        without = next(((lane, models[0]) for lane, models in missing if models), None)
        if without is not None:
            tier = advice.tier_key(without[0])
            texts += advice.how_to_add(prices, provider, without[1], tier=tier)
        texts += wrapped(_ELSEWHERE, less=12) if not without else []
    return "\n".join(texts)


_ELSEWHERE: Final = (
    "Those calls name a model or a tier that has no price: see model_served and service_tier in calls, and "
    "promptmill prices MODEL"
)


def _batches(report: Report) -> str:
    """What is left with the provider."""
    if report.state == "finished":
        return ""
    from batch.output.folder import OutputFolder
    from batch.report.batches import batches_of

    batches = batches_of(OutputFolder(report.folder).ledger)
    if not batches:
        return ""
    return f"{count(len(batches), 'batch', 'batches')} of {count(sum(b.lines for b in batches), 'request')}"


def _time(report: Report, settled_here: int) -> str:
    rate = f", {settled_here / report.elapsed_s:,.1f} rows/s" if report.elapsed_s > 0 and settled_here else ""
    earlier = report.totals.rows - settled_here
    before = f"; {count(earlier, 'row')} settled before this command" if earlier > 0 else ""
    return f"{describe(report.elapsed_s)}{rate}{before}"


def _next(report: Report, out: str) -> Iterator[str]:
    totals = report.totals
    again = totals.rows_retryable
    if report.state == "interrupted":
        yield "Run the same command to continue."
    elif report.state == "waiting":
        yield "Run the same command to collect the batches; those that are not done are left with the provider again."
    elif report.state == "budget":
        yield "Run the same command to go on with the next run."
    elif again:
        yield f"{count(again, 'row')} failed for a passing reason: run the same command to try them again."
    unasked, unlabelled = failed_as(totals.errors, "input"), failed_as(totals.errors, "label")
    if for_good := totals.rows_failed - again - unasked - unlabelled:
        yield (
            f"{count(for_good, 'row')} failed for good: asked again when what is asked "
            "changes, in the row, the prompt, the model or the tools, or with --retry all."
        )
    if unlabelled:
        yield unlabelled_text(unlabelled)
    if unasked:
        yield from unasked_text(unasked, totals.errors.get("input/empty", 0)).split("\n")
    if totals.rows_failed:
        yield f"promptmill status {out} names some of them."
