"""The table at the end of a run, the only thing that `promptmill run` writes to stdout."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from batch.cli.text import count, money, pairs, say, table
from batch.core.clock import describe
from batch.core.plain import clean, quoted
from batch.core.records import cost_decimal
from batch.money.prices import Prices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batch.job.job import Job
    from batch.ledger.totals import Totals
    from batch.run.command import Report

_MOST_ERRORS: Final = 12


def tell(report: Report, job: Job, *, settled_here: int) -> None:
    """Print what a run did.

    Args:
        report: of the run.
        job: that was run.
        settled_here: rows settled under this command, those of an earlier command of the same run not counted.
    """
    if report.state == "nothing_to_do":
        say(_nothing(report, job))
        return
    if report.run is None:
        say([f"{clean(job.name)}: {_not_run(report)}. Nothing was sent."])
        return
    say(_lines(report, job, settled_here))


def _not_run(report: Report) -> str:
    holder = f" ({clean(report.holder)})" if report.holder else ""
    if report.state == "skipped":
        return f"skipped, because another run is at work in the output folder{holder}"
    return f"interrupted while it waited for another run to end{holder}" if holder else "interrupted before it began"


def _nothing(report: Report, job: Job) -> Iterator[str]:
    out = quoted(str(report.folder.root))
    permanent, again = report.standing
    reason = "no row is worth another try" if not again else "what --only leaves out was not asked for"
    yield f"{clean(job.name)}: nothing to do. Job and input are those of the last finished run, and {reason}."
    yield from pairs(
        [
            ("table", f"{count(report.table_rows, 'row')} in {report.folder.results}"),
            (
                "failed",
                f"{count(permanent, 'row')} for good: asked again when what is asked changes, or with --retry all\n"
                f"promptmill status {out}"
                if permanent
                else "",
            ),
            ("left out", f"{count(again, 'row')} worth another try" if again else ""),
        ]
    )


def _lines(report: Report, job: Job, settled_here: int) -> Iterator[str]:
    totals = report.totals
    out = quoted(str(report.folder.root))
    models = job.model.names or (job.model.name,)
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
            ("cost", cost_text(totals, unpriced(job.model.provider, models))),
            ("time", _time(report, settled_here)),
            ("table", f"{count(report.table_rows, 'row')} in {report.folder.results}"),
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
    return f"{text}\n{left}: left alone" if left else text


def _allowed(report: Report) -> str:
    if report.max_failed is None:
        return ""
    totals = report.totals
    share = f" ({totals.rows_failed * 100 / totals.rows:.3g} %)" if totals.rows else ""
    kept = "kept" if report.within_max_failed else "exceeded"
    return f"--max-failed {report.max_failed.text}: {kept}, {totals.rows_failed:,} of {totals.rows:,} failed{share}"


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
    return f"{text}; {count(totals.tool_calls, 'tool call')}" if totals.tool_calls else text


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
    amounts = money({currency: cost_decimal(cost) for currency, cost in totals.cost.items()})
    dark = totals.unknown + totals.unknown_usage
    lacks = []
    if totals.unpriced:
        lacks.append(f"unknown for {count(totals.unpriced, 'call')} (no price for {clean(model)})")
    if dark:
        lacks.append(f"unknown for {count(dark, 'call')} (possibly billed)")
    if not amounts and not lacks:
        return "0" if totals.calls else ""
    return "; ".join([amounts, *lacks] if amounts else lacks)


def unpriced(provider: str, models: Sequence[str]) -> str:
    """The models that have no price today. All of them when each has one: then the bill names another model."""
    today = datetime.now(UTC).date()
    prices = Prices.load()
    without = [model for model in models if prices.find(provider, model, today) is None]
    return f"{provider}/{', '.join(without or models)}"


def _time(report: Report, settled_here: int) -> str:
    rate = f", {settled_here / report.elapsed_s:,.1f} rows/s" if report.elapsed_s > 0 and settled_here else ""
    earlier = report.totals.rows - settled_here
    before = f"; {count(earlier, 'row')} settled before this command" if earlier > 0 else ""
    return f"{describe(report.elapsed_s)}{rate}{before}"


def errors_table(errors: dict[str, int]) -> list[str]:
    """Failures by kind and code, the most frequent first."""
    ranked = sorted(errors.items(), key=lambda item: (-item[1], item[0]))
    lines = table([(f"{number:,}", clean(name)) for name, number in ranked[:_MOST_ERRORS]], right=frozenset({0}))
    rest = ranked[_MOST_ERRORS:]
    if rest:
        lines.append(f"  … and {sum(number for _, number in rest):,} of {len(rest)} other kinds")
    return lines


def _next(report: Report, out: str) -> Iterator[str]:
    totals = report.totals
    again = totals.rows_retryable
    if report.state == "interrupted":
        yield "Run the same command to continue."
    elif again:
        yield f"{count(again, 'row')} failed for a passing reason: run the same command to try them again."
    if totals.rows_failed - again:
        yield (
            f"{count(totals.rows_failed - again, 'row')} failed for good: asked again when what is asked "
            "changes, in the row, the prompt, the model or the tools, or with --retry all."
        )
    if totals.rows_failed:
        yield f"promptmill status {out} names some of them."
