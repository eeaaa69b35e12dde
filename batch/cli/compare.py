"""`promptmill compare`: prints where the variants of a table differ. `report.compare` finds it out."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter
from rich.cells import cell_len, chop_cells, set_cell_size

from batch.cli import jobs
from batch.cli.text import count, incomplete, money, say, say_json, table
from batch.core.errors import RefusedToStart
from batch.core.plain import clean, quoted

if TYPE_CHECKING:
    from batch.report.compare import Answer, Compared, Comparison
    from batch.report.variant_sums import Pair, VariantSums

SHOWN: Final = 20
COLUMN: Final = 32
"""Cells a variant needs beside another; narrower, they stand below one another."""
NAME: Final = 40
"""Cells of a variant's name, where variants stand below one another."""
LINES: Final = 12
"""Of one answer; `promptmill show` has all of it."""
VALUE: Final = 120
"""Characters of one input value."""
NO_NAME: Final = "(none)"


def compare(
    out: jobs.Out,
    /,
    *,
    variant: Annotated[tuple[str, ...], Parameter(negative=(), allow_leading_hyphen=True)] = (),
    column: Annotated[tuple[str, ...], Parameter(negative=(), allow_leading_hyphen=True)] = (),
    gold: Annotated[str | None, Parameter(negative=(), allow_leading_hyphen=True)] = None,
    label: Annotated[str | None, Parameter(negative=(), allow_leading_hyphen=True)] = None,
    limit: Annotated[int | None, Parameter(negative=())] = None,
    all_: Annotated[bool, Parameter(name="--all", negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Where the variants of a table differ: what each cost, how often two agree, and the rows on which they do not.

    Where a column has the truth of the labels (gold), each variant's accuracy, too.
    Answers are the same when their labels are; without labels when their text is, but for white space at its ends, and
    JSON objects and lists when their values are. A row that one variant answered and another failed on differs, too.

    Args:
        out: the output folder of a run; it may be at work.
        variant: compare these only; may be repeated.
        column: show these input columns only; may be repeated.
        gold: the input column with the truth of the labels; by default labels.gold of the job.
        label: the column with the labels, if there are several.
        limit: rows to show, 20 by default and with --json all of them; 0 for the sums alone.
        all_: show the rows on which all agree, too.
        json: one JSON object a line and row on stdout, for programs; with --limit 0 one object of the sums.
    """
    from batch.report.compare import Comparison

    if limit is not None and limit < 0:
        raise RefusedToStart(f"--limit {limit}: give a number of rows, 0 for the sums alone.")
    comparison = Comparison(out, variants=variant, columns=column, gold=gold, label=label)
    if json and limit != 0:
        _json_rows(comparison, limit, everything=all_)
    elif json:
        from batch.report.compare_json import public

        _whole(comparison, 0, everything=False)
        say_json(_encoded(public(comparison)))
    else:
        rows = _whole(comparison, SHOWN if limit is None else limit, everything=all_)
        say(_lines(comparison, rows, everything=all_))
    return incomplete(comparison.missing, "the rows and sums")


def _whole(comparison: Comparison, limit: int, *, everything: bool) -> list[Compared]:
    """Count all of the table, and return the first rows to show."""
    kept: list[Compared] = []
    comparison.inputs_wanted = limit > 0
    for row in comparison.rows():
        if comparison.inputs_wanted and (everything or row.differs):
            kept.append(row)
            comparison.inputs_wanted = len(kept) < limit
    return kept


# -- for programs -----------------------------------------------------------------------------------------------------


def _json_rows(comparison: Comparison, limit: int | None, *, everything: bool) -> None:
    shown = 0
    for row in comparison.rows():
        if everything or row.differs:
            say_json(_encoded(row))
            shown += 1
        if shown == limit:
            return


def _encoded(value: Any) -> str:
    from batch.core import exactjson

    return exactjson.encoded(value).decode()


# -- for people -------------------------------------------------------------------------------------------------------


def _lines(comparison: Comparison, rows: Sequence[Compared], *, everything: bool) -> Iterator[str]:
    lacking = comparison.rows_read - comparison.complete
    rest = f", {lacking:,} without a result in some of them" if lacking else ""
    yield f"{comparison.folder.text}: {len(comparison.variants)} variants of {count(comparison.rows_read, 'row')}{rest}"
    yield from table(
        [("variant", "ok", "failed", "tokens", "cost", "latency", ""), *map(_sums, comparison.variants)],
        right=frozenset({1, 2, 3, 4, 5}),
    )
    if comparison.gold is not None:
        yield f"labels that are right, by {clean(comparison.gold)}, of those that are valid; in brackets with 95 %"
        yield from table([_accuracy(sums) for sums in comparison.variants], right=frozenset({1}))
    for name in ("agreement", "confidence"):
        if any(getattr(sums, name) is not None for sums in comparison.variants):
            yield f"{name} of the labels, on average"
            shares = [(_name(sums.variant), getattr(sums, name)) for sums in comparison.variants]
            yield from table([(who, "" if share is None else f"{share:.3f}") for who, share in shares])
    yield f"the same {'label' if comparison.labels else 'answer'}, of the rows that both answered"
    yield from table([_pair(pair) for pair in comparison.pairs], right=frozenset({1}))
    yield from _listed(comparison, rows, everything=everything)


def _sums(sums: VariantSums) -> tuple[str, ...]:
    tokens = f"{sums.total_tokens:,}"
    if sums.unknown_tokens:
        tokens = f"{tokens} + {sums.unknown_tokens:,} unknown" if sums.total_tokens else "unknown"
    cost = money(sums.cost)
    if sums.unknown_cost:
        cost = f"{cost} + {sums.unknown_cost:,} unknown" if cost else "unknown"
    latency = "" if sums.latency_ms is None else f"{sums.latency_ms:,.0f} ms"
    left = "" if sums.asked else "not asked by the last run"
    return (_name(sums.variant), f"{sums.ok:,}", f"{sums.failed:,}", tokens, cost, latency, left)


def _accuracy(sums: VariantSums) -> tuple[str, ...]:
    accuracy = sums.accuracy
    if accuracy.interval is None:
        return (_name(sums.variant), "", "no row has both a valid label and a known truth")
    low, high = (100 * end for end in accuracy.interval)
    share = f"{_percent(sums.right, sums.measured)} %"
    return (_name(sums.variant), share, f"({low:.1f} to {high:.1f})  {sums.right:,} of {sums.measured:,}")


def _pair(pair: Pair) -> tuple[str, ...]:
    share = "" if pair.share is None else f"{_percent(pair.agree, pair.answered)} %"
    return (f"{_name(pair.first)} = {_name(pair.second)}", share, f"{pair.agree:,} of {pair.answered:,}")


def _percent(part: int, whole: int) -> str:
    """A share in percent with one decimal; 100 and 0 only when it is all or none."""
    share = part * 100 / whole
    return f"{min(99.9, max(0.1, share)) if 0 < part < whole else share:.1f}"


def _listed(comparison: Comparison, rows: Sequence[Compared], *, everything: bool) -> Iterator[str]:
    total = comparison.rows_read if everything else comparison.differing
    if not comparison.differing:
        yield "No row differs."
    if not rows:
        if comparison.differing:
            yield f"{count(comparison.differing, 'row differs', 'rows differ')}."
        return
    part = f", the first {len(rows):,}" if total > len(rows) else ""
    yield f"{count(total, 'row')}{part}" if everything else f"{count(total, 'row differs', 'rows differ')}{part}"
    width = _width()
    for row in rows:
        yield ""
        yield from _row(row, [sums.variant for sums in comparison.variants], width)
    yield ""
    if total > len(rows):
        yield f"{count(total - len(rows), 'more row', 'more rows')}: --limit N shows more, --json all of them."
    out = quoted(comparison.folder.text)
    yield f"promptmill show {out} {quoted(rows[0].row_id)} tells all of one row."


def _row(row: Compared, variants: Sequence[str | None], width: int) -> Iterator[str]:
    yield clean(row.row_id)
    inputs = [(name, value) for name, value in row.inputs.items() if value is not None and str(value) != row.row_id]
    if inputs:
        text = "  ".join(f"{clean(name)}: {_value(value)}" for name, value in inputs)
        yield from (f"  {line}" for line in _wrapped(text, max(40, width - 2))[:LINES])
    answers = {answer.variant: answer for answer in row.answers}
    each = (width - 2) // max(1, len(variants)) - 2
    if each >= COLUMN:
        yield from _beside(answers, variants, each)
    else:
        yield from _below(answers, variants, width)


def _beside(answers: dict[str | None, Answer], variants: Sequence[str | None], width: int) -> Iterator[str]:
    columns = [[_name(name), *_answer_lines(answers.get(name), width)] for name in variants]
    for line in zip_longest(*columns, fillvalue=""):
        yield "  " + "  ".join(set_cell_size(cell, width) for cell in line).rstrip()


def _below(answers: dict[str | None, Answer], variants: Sequence[str | None], width: int) -> Iterator[str]:
    names = {variant: _name(variant) for variant in variants}
    hang = min(NAME, max(cell_len(name) for name in names.values()))
    for variant, name in names.items():
        first, *rest = _answer_lines(answers.get(variant), max(40, width - hang - 4))
        yield f"  {set_cell_size(name, hang)}  {first}"
        yield from (f"{' ' * (hang + 4)}{line}" for line in rest)


def _answer_lines(answer: Answer | None, width: int) -> list[str]:
    """The answer in lines of at most `width` cells, and how it ended where that is not as usual."""
    if answer is None:
        return ["(no result yet)"]
    lines: list[str] = []
    if answer.answer is not None or answer.status == "ok":
        lines = _wrapped(clean((answer.answer or "").strip(), lines=True, most=LINES * width) or "(empty)", width)
        if len(lines) > LINES:
            lines[LINES - 1 :] = ["…"]
    if answer.status != "ok":
        code = f"{answer.error_kind}/{answer.error_code}" if answer.error_code else answer.error_kind
        lines += _wrapped(clean(f"failed: {code}: {answer.error_message or ''}", most=3 * width), width)
    ended = [answer.finish_reason] if answer.finish_reason not in (None, "stop", "tool_calls") else []
    if notes := [*ended, *answer.flags]:
        lines += _wrapped(clean(f"[{', '.join(map(str, notes))}]"), width)
    return lines


# -- text in cells ----------------------------------------------------------------------------------------------------


def _width() -> int:
    """The width of the terminal in cells; where there is none, that of a usual one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80


def _wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` cells; most Chinese signs take two, and a line may end after any of them."""
    lines: list[str] = []
    for line in text.expandtabs(4).split("\n"):
        if len(line) == cell_len(line):
            lines += textwrap.wrap(line, width, replace_whitespace=False) or [""]
        else:
            lines += chop_cells(line, width) or [line]
    return lines


def _name(variant: str | None) -> str:
    return NO_NAME if variant is None else clean(variant)


def _value(value: Any) -> str:
    from batch.report.sheet import text_of

    return clean(" ".join(text_of(value)[: 4 * VALUE].split()), most=VALUE)
