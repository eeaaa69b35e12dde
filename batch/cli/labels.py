"""`promptmill labels`: prints what the labels of a table are worth. `report.labels` finds it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

from batch.cli import jobs
from batch.cli.figures import cut, decimals, filled, grid, in_percent, in_short
from batch.cli.text import count, incomplete, pairs, say, say_json
from batch.core.errors import EXIT_OK, RefusedToStart
from batch.core.plain import clean

if TYPE_CHECKING:
    from batch.report.labels import Drift, LabelReport, LabelSums
    from batch.report.review import Reviewed

SHOWN: Final = 20
"""Classes, confusions and groups of one list on a terminal; --json has all of them."""
DRIFTED: Final = 10
CLASS: Final = 22
"""Cells of a name beside three figures with their intervals."""

Form = Literal["jsonl", "csv", "label-studio", "argilla"]
Word = Parameter(negative=(), allow_leading_hyphen=True)


def labels(
    out: jobs.Out,
    /,
    *,
    label: Annotated[str | None, Word] = None,
    gold: Annotated[str | None, Word] = None,
    by: Annotated[str | None, Word] = None,
    review: Annotated[Path | None, Parameter(negative=())] = None,
    format_: Annotated[Form | None, Parameter(name="--format", negative=())] = None,
    max_: Annotated[int | None, Parameter(name="--max", negative=())] = None,
    below: Annotated[float | None, Parameter(negative=())] = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """What the labels of a table are worth: how often each was given, how sure they are, how many are right.

    With a column that has the truth (gold): accuracy, Cohen's kappa, precision, recall and F1 of each class, and which
    are taken for which, each with an interval that holds the true figure with 95 %. With --review: a file with the
    rows that a person should look at, most doubtful first.

    Args:
        out: the output folder of a run; it may be at work.
        label: the column with the labels, if there are several; "answer" for a job without [labels].
        gold: the input column with the truth; by default labels.gold of the job.
        by: figures for each value of this column, too: "variant", or a column of the input.
        review: write the rows to look at into this file: failed for want of a label or for good, tied, of little
            agreement or confidence, or of variants that differ.
        format_: the form of that file, for the tool that reads it; by default by its ending, .jsonl or .csv.
        max_: write only so many of them, the most doubtful.
        below: an agreement or confidence below this is little, 0.8 by default.
        json: one JSON object on stdout, for programs.
    """
    if review is None:
        given = {"--format": format_, "--max": max_, "--below": below}
        for flag, value in given.items():
            if value is not None:
                raise RefusedToStart(f"{flag} says how a review file is written. Name it with --review FILE.")
        return _report(out, label, gold, by, json=json)
    if by is not None or json:
        raise RefusedToStart(f"--review writes a file and shows no figures: leave out {'--by' if by else '--json'}.")
    _review(out, review, label=label, form=format_, most=max_, below=below)
    return EXIT_OK


def _report(out: Path, label: str | None, gold: str | None, by: str | None, *, json: bool) -> int:
    from batch.report.labels import LabelReport

    report = LabelReport(out, label=label, gold=gold, by=by)
    if json:
        import msgspec

        from batch.report.label_json import public

        say_json(msgspec.json.encode(public(report)).decode())
    else:
        say(_lines(report))
    return incomplete(report.missing, "the figures")


# -- figures ----------------------------------------------------------------------------------------------------------


def _lines(report: LabelReport) -> Iterator[str]:
    table, total = report.table, report.total
    yield f"{table.folder.text}: the labels in column {clean(table.label)}"
    yield from _whole(report)
    yield from _distribution(total)
    yield from _accuracy(report)
    drift = total.drift()
    if drift is not None:
        yield from _drift(drift)
    if report.groups:
        yield from _groups(report)
    yield ""
    yield "In brackets: where the true figure lies, with 95 %."


def _whole(report: LabelReport) -> Iterator[str]:
    """How many rows there are, and how sure their labels are."""
    total = report.total
    agreed, ties = total.known["agreement"], f", {count(total.ties, 'tie')}" if total.ties else ""
    yield from pairs(
        [
            ("results" if report.by == "variant" else "rows", f"{total.rows:,}"),
            ("valid", f"{total.labelled:,} have a valid label: {in_percent(total.coverage())}"),
            (
                "agreement",
                f"{total.mean('agreement'):.3f} on average, {total.unanimous:,} of {agreed:,} unanimous{ties}"
                if agreed
                else "",
            ),
            ("confidence", f"{total.mean('confidence'):.3f} on average" if total.known["confidence"] else ""),
        ]
    )


def _distribution(sums: LabelSums) -> Iterator[str]:
    if not sums.labels:
        yield "  No row has a valid label."
        return
    yield ""
    shown = sums.ranked()[:SHOWN]
    yield from grid(
        [
            ("label", "rows", "share"),
            *((name, f"{rows:,}", f"{100 * rows / sums.labelled:.1f} %") for name, rows in shown),
        ]
    )
    yield from _more(len(sums.labels), "label", "labels")


def _accuracy(report: LabelReport) -> Iterator[str]:
    gold, measured = report.table.gold, report.total.pairs
    yield ""
    if gold is None and report.table.gold_missing is not None:
        yield from filled(["How many labels are right is not known.", *report.table.gold_missing.split()])
        return
    if gold is None:
        yield "How many labels are right is not known, because no column is named that has the truth."
        yield "If one has it: --gold COLUMN, or for good, in section [labels] of the job:"
        yield '  gold = "COLUMN"'
        return
    name = clean(gold)
    if not measured.total:
        yield f"Nothing to measure by: no row has both a valid label and a value in {name}."
        return
    yield f"held against {name}: {count(measured.total, 'row has', 'rows have')} a valid label and a known truth"
    yield from pairs([("accuracy", in_percent(measured.accuracy())), ("kappa", decimals(measured.kappa()))])
    for truth, label in report.lookalikes()[:3]:
        yield f"  {name} has {truth!r}, the labels have {label!r}: they count as different."
    yield ""
    classes = sorted(measured.per_class(), key=lambda found: (found.f1.value or 0.0, -found.support - found.predicted))
    rows = [("class, worst first", "truth", "given", "precision", "recall", "F1")]
    rows += [
        (
            cut(c.label, CLASS),
            f"{c.support:,}",
            f"{c.predicted:,}",
            in_short(c.precision),
            in_short(c.recall),
            in_short(c.f1),
        )
        for c in classes[:SHOWN]
    ]
    yield from grid(rows)
    yield from _more(len(classes), "class", "classes")
    yield from _confusion(report.total)


def _confusion(sums: LabelSums) -> Iterator[str]:
    wrong = [(number, truth, label) for (truth, label), number in sums.pairs.counts.items() if truth != label]
    if not wrong:
        return
    wrong.sort(key=lambda cell: (-cell[0], cell[1], cell[2]))
    yield ""
    yield from grid(
        [("taken for", "rows", "of", "truth"), *_confused(sums, wrong[: SHOWN // 2])], left=frozenset({0, 3})
    )
    if len(wrong) > SHOWN // 2:
        yield f"  … {count(len(wrong) - SHOWN // 2, 'more pair')}: --json has all of them"


def _confused(sums: LabelSums, wrong: Sequence[tuple[int, str, str]]) -> Iterator[tuple[str, ...]]:
    support = {found.label: found.support for found in sums.pairs.per_class()}
    for number, truth, label in wrong:
        yield label, f"{number:,}", f"{support[truth]:,}", truth


def _drift(drift: Drift) -> Iterator[str]:
    moved = [found for found in drift.classes if found.significant]
    yield ""
    yield f"the last run beside the one before: {drift.rows:,} and {drift.before_rows:,} rows with a label"
    new = [found.label for found in drift.classes if not found.before_rows]
    gone = [found.label for found in drift.classes if not found.rows]
    for word, names in (("new:", new), ("not given any more:", gone)):
        if names:
            more = len(names) - DRIFTED
            listed = [f"{cut(name)}," for name in names[:DRIFTED]]
            listed[-1] = listed[-1][:-1]
            yield from filled([word, *listed, *([f"and {more:,} more"] if more > 0 else [])])
    if not moved:
        yield "  No share differs by more than chance explains."
        return
    yield f"  {count(len(moved), 'share differs', 'shares differ')} by more than chance explains:"
    rows = [("label", "before", "now", "difference")]
    for found in moved[:DRIFTED]:
        low, high = (100 * end for end in found.interval)
        difference = 100 * (found.share - found.before_share)
        rows.append(
            (
                found.label,
                f"{100 * found.before_share:.1f} %",
                f"{100 * found.share:.1f} %",
                f"{difference:+.1f} ({low:+.1f} to {high:+.1f})",
            )
        )
    yield from grid(rows)
    if len(moved) > DRIFTED:
        yield f"  … {count(len(moved) - DRIFTED, 'more label')}: --json has all of them"


def _groups(report: LabelReport) -> Iterator[str]:
    yield ""
    gold = report.table.gold is not None
    rows = [(report.by or "", "rows", "labelled", *(("accuracy", "kappa") if gold else ("most frequent", "")))]
    for group in report.groups[:SHOWN]:
        top = group.ranked()[:1]
        if gold:
            kappa = group.pairs.kappa().value
            told = (in_percent(group.pairs.accuracy()), "–" if kappa is None else f"{kappa:.3f}")
        else:
            told = (cut(top[0][0]) if top else "–", f"{100 * top[0][1] / group.labelled:.1f} %" if top else "")
        rows.append((_value(group.value), f"{group.rows:,}", f"{group.labelled:,}", *told))
    yield from grid(rows)
    yield from _more(len(report.groups), "group", "groups")


# -- the review file --------------------------------------------------------------------------------------------------


def _review(
    out: Path, file: Path, *, label: str | None, form: Form | None, most: int | None, below: float | None
) -> None:
    from batch.report.doubt import BELOW
    from batch.report.review import review

    if most is not None and most < 1:
        raise RefusedToStart(f"--max {most}: give a number of rows, at least 1.")
    limit = BELOW if below is None else below
    if not 0 <= limit <= 1:
        raise RefusedToStart(f"--below {limit}: agreement and confidence go from 0 to 1. Give a number between.")
    say(_reviewed(review(out, file, label=label, form=form, most=most, below=limit), limit))


def _reviewed(done: Reviewed, below: float) -> Iterator[str]:
    words = {
        "failed": "without a valid label",
        "tie": "tied",
        "variants": "of variants that differ",
        "agreement": f"of an agreement below {below:g}",
        "confidence": f"of a confidence below {below:g}",
    }
    found = count(done.doubtful, "row") if done.rows == done.doubtful else f"{done.rows:,} of {done.doubtful:,} rows"
    yield f"{clean(str(done.path))}: {found} to look at, the most doubtful first"
    yield from grid(
        [(words[reason], f"{number:,}") for reason, number in done.reasons.items() if number], left=frozenset({0})
    )
    yield from done.advice


def _more(total: int, noun: str, plural: str) -> Iterator[str]:
    if total > SHOWN:
        yield f"  … {count(total - SHOWN, f'more {noun}', f'more {plural}')}: --json has all of them"


def _value(value: str | None) -> str:
    return "(null)" if value is None else value
