"""The table at the end of a run, the only thing that `promptmill run` writes to stdout."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from batch.cli.text import count, money, pairs, say, table, wrapped
from batch.core.clock import Clock, describe
from batch.core.errors import RefusedToStart
from batch.core.flags import FLAGS
from batch.core.plain import clean, quoted
from batch.money import advice
from batch.money.prices import Prices

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from batch.job.job import Job
    from batch.ledger.index import Gone
    from batch.ledger.totals import Planned, Totals
    from batch.run.command import Report

_MOST_ERRORS: Final = 12


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
    out = quoted(str(report.folder))
    permanent, again = report.standing
    reason = "no row is worth another try" if not again else "what --only leaves out was not asked for"
    yield f"{clean(job.name)}: nothing to do. Job and input are those of the last finished run, and {reason}."
    yield from pairs(
        [
            ("table", f"{count(report.table_rows, 'row')} in {report.results}"),
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
    out = quoted(str(report.folder))
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
            ("calls", calls_text(totals)),
            ("tokens", tokens_text(totals)),
            ("cost", cost_text(totals, unpriced(prices, job.model.provider, asked))),
            ("", _doubts(totals, prices, job, asked)),
            ("flags", flags_text(totals.flags)),
            ("labels", labels_text(totals)),
            ("time", _time(report, settled_here)),
            ("left", left_text(planned, finished=report.state == "finished", drawn=report.drawn)),
            ("table", f"{count(report.table_rows, 'row')} in {report.results}"),
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
    "provider": "stopped, because the provider refused",
    "systematic": "stopped, because row after row failed the same way",
    "storage": "stopped, because a file could not be written",
    "input": "stopped, because the input could not be read on",
}


def _rows(report: Report) -> str:
    totals, planned = report.totals, report.planned
    reasons = [(planned.new, "new"), (planned.changed, "changed"), (planned.retried, "retried")]
    carried = totals.rows - planned.admitted
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
    return "\n".join(line for line in lines if line)


def refreshed_text(rows: int) -> str:
    """How many rows were written anew without being asked; empty for none."""
    return (
        f"{rows:,} refreshed: columns that are not asked changed, and the table follows; nothing was sent"
        if rows
        else ""
    )


def left_text(planned: Planned, *, finished: bool, drawn: bool = False, begun: int = 0) -> str:
    """What is known to remain of a run that has ended, one line for each thing that is known.

    Args:
        planned: of the run.
        finished: whether it did all that it was asked to do.
        drawn: whether its rows were drawn from all that needed work.
        begun: how many of the rows that remain are in the middle of something.
    """
    lines = []
    if planned.left:
        some = f", {begun:,} of them begun" if 0 < begun < planned.left else ""
        lines.append(f"{count(planned.left, 'row')} known to remain{some}")
    if planned.unread and finished:
        rest = "the others were not asked" if drawn else "the rest was not looked at"
        lines.append(f"stopped at --limit {planned.source_rows:,}: {rest}")
    elif planned.unread:
        seen = f" beyond its row {planned.read:,}" if planned.read else ""
        lines.append(f"the input was not looked at{seen}")
    return "\n".join(lines)


def flags_text(flags: Mapping[str, int], examples: Mapping[str, str] = MappingProxyType({})) -> str:
    """How many rows have each flag, one of them, and what can be done about it, one line for each flag.

    Args:
        flags: rows by flag.
        examples: the id of a row by flag.
    """
    lines = []
    for name, flag in FLAGS.items():
        if rows := flags.get(name, 0):
            one = f" (such as {clean(examples[name], most=80)})" if name in examples else ""
            lines.append(f"{rows:,} {name}{one}: {flag.advice}")
    return "\n".join(lines)


def labels_text(totals: Totals) -> str:
    """How many calls it took beyond the first to get valid labels, and how many rows have none; empty for neither."""
    failed = sum(rows for name, rows in totals.errors.items() if name.partition("/")[0] == "label")
    asked = totals.purposes
    parts = [
        f"{count(asked['reask'], 'call')} asked again" if asked.get("reask") else "",
        f"{count(asked['escalate'], 'call')} asked another model" if asked.get("escalate") else "",
        f"{count(failed, 'row')} without a valid label" if failed else "",
    ]
    return ", ".join(part for part in parts if part)


def _allowed(report: Report) -> str:
    if report.max_failed is None:
        return ""
    totals = report.totals
    share = f" ({totals.rows_failed * 100 / totals.rows:.3g} %)" if totals.rows else ""
    kept = "kept" if report.within_max_failed else "exceeded"
    return f"--max-failed {report.max_failed.text}: {kept}, {totals.rows_failed:,} of {totals.rows:,} failed{share}"


def gone_text(gone: Gone, out: Path, job: str) -> str:
    """How many rows of the table are asked for no longer, and the way out; empty when there are none.

    Args:
        gone: what the last pass over the whole input did not meet.
        out: the output folder.
        job: the job's folder.
    """
    kinds = [
        f"{count(gone.rows, 'row')} of the table not in the input any more" if gone.rows else "",
        f"{count(gone.variants, 'row')} of variants not asked any more" if gone.variants else "",
    ]
    if not gone.total:
        return ""
    return (
        f"{', '.join(kind for kind in kinds if kind)}: they stay\n"
        f"promptmill prune {quoted(str(out))} {quoted(job)} takes them out"
    )


def calls_text(totals: Totals) -> str:
    """`1,340: 1,322 answered, 15 refused, 1 unknown (possibly billed)`."""
    states = [
        (totals.answered, "answered"),
        (totals.refused, "refused"),
        (totals.failed, "failed"),
        (totals.unknown, "unknown (sent, never answered: possibly billed)"),
    ]
    listed = ", ".join(f"{number:,} {word}" for number, word in states if number)
    text = f"{totals.calls:,}{f': {listed}' if listed else ''}"
    if not totals.tool_calls:
        return text
    errors = f", {totals.tool_errors:,} of them with an error" if totals.tool_errors else ""
    return f"{text}; {count(totals.tool_calls, 'tool call')}{errors}"


def tokens_text(totals: Totals) -> str:
    """The sums of the tokens that are known, and how many calls they leave out."""
    dark = totals.unknown + totals.unknown_usage
    if dark and totals.total_tokens == 0:
        return f"unknown: the provider did not say for {count(dark, 'call')}"
    within = [(totals.cached_tokens, "cached")], [(totals.reasoning_tokens, "reasoning")]
    cached, reasoning = (", ".join(f" ({number:,} {word})" for number, word in part if number) for part in within)
    text = (
        f"{totals.total_tokens:,}: {totals.prompt_tokens:,} prompt{cached}, "
        f"{totals.completion_tokens:,} completion{reasoning}"
    )
    return f"{text}; unknown for {count(dark, 'call')}" if dark else text


def cost_text(totals: Totals, model: str) -> str:
    """Exact money by currency, and how many calls it leaves out; never 0 for what is not known."""
    amounts = money(totals.cost)
    dark = totals.unknown + totals.unknown_usage
    lacks = []
    if totals.unpriced:
        lacks.append(f"unknown for {count(totals.unpriced, 'call')} (no price for {clean(model)})")
    if dark:
        lacks.append(f"unknown for {count(dark, 'call')} (possibly billed)")
    if not amounts and not lacks:
        return "0" if totals.calls else ""
    return "; ".join([amounts, *lacks] if amounts else lacks)


def _prices(job: Job, file: Path | None) -> Prices:
    """The prices that the run had, unless a file is gone meanwhile: the table of a run is told in any case."""
    try:
        return Prices.of_job(job, file)
    except RefusedToStart:
        return Prices.load()


def _doubts(totals: Totals, prices: Prices, job: Job, models: Sequence[str]) -> str:
    """What is to be said against the prices of a run, and how one is added that is missing."""
    now_us = Clock().now_us()
    provider = job.model.provider
    lines = [line for model in models for line in prices.current(provider, model, now_us)]
    doubts = advice.doubts(lines, advice.day_of(now_us)) if totals.cost else []
    texts = [text for doubt in doubts for text in wrapped(doubt, less=12)]
    if totals.unpriced:
        without = advice.unpriced(prices, provider, models, now_us)
        texts += [text for model in without[:1] for text in advice.how_to_add(prices, provider, model)]
        texts += wrapped(_ELSEWHERE, less=12) if not without else []
    return "\n".join(texts)


_ELSEWHERE: Final = (
    "Those calls name a model or a tier that has no price: see model_served and service_tier in calls, and "
    "promptmill prices MODEL"
)


def unpriced(prices: Prices, provider: str, models: Sequence[str]) -> str:
    """The models that have no price today. All of them when each has one: then the bill names another model."""
    without = advice.unpriced(prices, provider, models, Clock().now_us())
    return f"{provider}/{', '.join(without or models)}"


def _time(report: Report, settled_here: int) -> str:
    rate = f", {settled_here / report.elapsed_s:,.1f} rows/s" if report.elapsed_s > 0 and settled_here else ""
    earlier = report.totals.rows - settled_here
    before = f"; {count(earlier, 'row')} settled before this command" if earlier > 0 else ""
    return f"{describe(report.elapsed_s)}{rate}{before}"


def unasked_text(rows: int) -> str:
    """What becomes of rows that could not be asked for what stands in the input."""
    return f"{count(rows, 'row')} cannot be asked as the input stands: mend it there, and the next run puts that right."


def errors_table(errors: dict[str, int]) -> list[str]:
    """Failures by kind and code, the most frequent first."""
    ranked = sorted(errors.items(), key=lambda item: (-item[1], item[0]))
    lines = table([(f"{number:,}", clean(name)) for name, number in ranked[:_MOST_ERRORS]], right=frozenset({0}))
    rest = ranked[_MOST_ERRORS:]
    if rest:
        lines.append(f"  … and {sum(number for _, number in rest):,} of {count(len(rest), 'other kind')}")
    return lines


def _next(report: Report, out: str) -> Iterator[str]:
    totals = report.totals
    again = totals.rows_retryable
    if report.state == "interrupted":
        yield "Run the same command to continue."
    elif again:
        yield f"{count(again, 'row')} failed for a passing reason: run the same command to try them again."
    unasked = sum(rows for name, rows in totals.errors.items() if name.partition("/")[0] == "input")
    if totals.rows_failed - again - unasked:
        yield (
            f"{count(totals.rows_failed - again - unasked, 'row')} failed for good: asked again when what is asked "
            "changes, in the row, the prompt, the model or the tools, or with --retry all."
        )
    if unasked:
        yield unasked_text(unasked)
    if totals.rows_failed:
        yield f"promptmill status {out} names some of them."
