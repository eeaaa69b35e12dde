"""What the commands say of the counts and sums of a run, and of the rows it left.

Owns these texts, so that `run`, `status` and `check` say the same of the same. Where they stand is for the commands.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from batch.cli.text import count, money, table
from batch.core import places
from batch.core.flags import FLAGS
from batch.core.plain import clean, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batch.ledger.index import Gone
    from batch.ledger.totals import Planned, Totals

_MOST_ERRORS: Final = 12
_MOST_MODELS: Final = 3


def refreshed_text(rows: int) -> str:
    """How many rows were written anew without being asked; empty for none."""
    return (
        f"{rows:,} refreshed: columns that are not asked changed, and the table follows; nothing was sent"
        if rows
        else ""
    )


def taken_over_text(rows: int) -> str:
    """How many rows get an answer that is there already under another name; empty for none."""
    return f"{rows:,} answered before under the name of a former variant: taken over, nothing is sent" if rows else ""


def shared_text(rows: int) -> str:
    """How many rows were not asked because another row asks the same; empty for none."""
    return f"{count(rows, 'row')} with the answer of another that asks the same (prompt.dedupe)" if rows else ""


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
    failed = failed_as(totals.errors, "label")
    asked = totals.purposes
    parts = [
        f"{count(asked['reask'], 'call')} asked again" if asked.get("reask") else "",
        f"{count(asked['escalate'], 'call')} asked another model" if asked.get("escalate") else "",
        f"{count(asked['sample'], 'further sample')}" if asked.get("sample") else "",
        f"{count(failed, 'row')} without a valid label" if failed else "",
    ]
    return ", ".join(part for part in parts if part)


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
        f"promptmill prune {quoted(places.text(out))} {quoted(job)} takes them out"
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


def cost_text(totals: Totals) -> str:
    """Exact money by currency, and how many calls it leaves out; never 0 for what is not known."""
    amounts = money(totals.cost)
    dark = totals.unknown + totals.unknown_usage
    lacks = []
    if totals.unpriced:
        lacks.append(f"unknown for {count(totals.unpriced, 'call')} (no price{_named(totals.without_price)})")
    if dark:
        lacks.append(f"unknown for {count(dark, 'call')} (possibly billed)")
    if not amounts and not lacks:
        return "0" if totals.calls else ""
    return "; ".join([amounts, *lacks] if amounts else lacks)


def _named(calls: Mapping[str, int]) -> str:
    """The models that most calls are of, for the end of a sentence; empty where none is known."""
    names = sorted(calls, key=lambda name: -calls[name])
    shown = ", ".join(clean(name, most=80) for name in names[:_MOST_MODELS])
    more = f" and {count(len(names) - _MOST_MODELS, 'other model')}" if len(names) > _MOST_MODELS else ""
    return f" for {shown}{more}" if names else ""


def unasked_text(rows: int, empty: int = 0) -> str:
    """What becomes of rows that could not be asked for what stands in the input.

    Args:
        rows: how many.
        empty: how many of them say nothing.
    """
    text = f"{count(rows, 'row')} cannot be asked as the input stands: mend it there, and the next run puts that right."
    send = 'prompt.empty = "send" asks all the same'
    return f"{text}\n{empty:,} of them with nothing to ask: {send}." if empty else text


def unlabelled_text(rows: int) -> str:
    """What becomes of rows that have no valid label."""
    return (
        f"{count(rows, 'row')} without a valid label: asked again when labels.reasks is raised, labels.escalate is set "
        "or the labels change, or with --retry all."
    )


def failed_as(errors: Mapping[str, int], kind: str) -> int:
    """How many rows failed with this kind of error, of failures by kind and code."""
    return sum(rows for name, rows in errors.items() if name.partition("/")[0] == kind)


def errors_table(errors: dict[str, int]) -> list[str]:
    """Failures by kind and code, the most frequent first."""
    ranked = sorted(errors.items(), key=lambda item: (-item[1], item[0]))
    lines = table([(f"{number:,}", clean(name)) for name, number in ranked[:_MOST_ERRORS]], right=frozenset({0}))
    rest = ranked[_MOST_ERRORS:]
    if rest:
        lines.append(f"  … and {sum(number for _, number in rest):,} of {count(len(rest), 'other kind')}")
    return lines
