"""`promptmill rebuild`: the ledger of an output folder made again from its results and calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from batch.cli import jobs
from batch.cli.text import count, pairs, say
from batch.core import places
from batch.core.errors import EXIT_OK, EXIT_ROWS_FAILED
from batch.core.plain import clean

if TYPE_CHECKING:
    from batch.output.rebuild import Rebuilt


def rebuild(out: jobs.Out, /) -> int:
    """Make the ledger of an output folder again, when it is lost, old, or does not go with the files beside it.

    Reads every answer and every call that was published, verifies them, and keeps what the old ledger still holds: ids
    of accepted tasks and batches above all. Sends nothing and deletes nothing; what is of no use any more is moved to
    OUT/.strays. Run the job again afterwards: it asks only for what is not in the table, and before it buys anything it
    looks at the provider for batches that were lost with the ledger.

    Args:
        out: the output folder of a run.
    """
    from batch.core.clock import Clock
    from batch.output.folder import RunLock
    from batch.output.rebuild import rebuild as make_again
    from batch.report.folders import rebuildable

    folder = rebuildable(out)
    with RunLock(folder):
        made = make_again(folder, Clock().now_us())
    say(_lines(out, made))
    return EXIT_ROWS_FAILED if made.lost else EXIT_OK


def _lines(out: Path, made: Rebuilt) -> Iterator[str]:
    kept = made.kept
    yield f"{clean(places.text(out))}: the ledger was made again; the next run asks only for what is not in the table."
    under_way = [
        count(kept.batches, "batch", "batches") if kept.batches else "",
        count(kept.accepted, "accepted task") if kept.accepted else "",
        count(kept.settled, "settled row") if kept.settled else "",
        count(kept.begun, "row in the middle", "rows in the middle") if kept.begun else "",
    ]
    yield from pairs(
        [
            ("table", f"{count(made.rows, 'row')} in {count(made.parts, 'part')}"),
            ("book", f"{count(made.calls, 'call')} in {count(made.call_parts, 'file')}, {count(made.runs, 'run')}"),
            ("kept", ", ".join(text for text in under_way if text)),
            # Of rows that were pruned only the book tells, and it cannot tell why they are not in the table.
            ("to ask", f"{count(kept.places, 'row')} without an answer, if the input has them" if kept.places else ""),
            ("answers", "\n".join(_answers(made))),
            ("batches", "the next run looks at the provider for others, before it buys anything" if made.seeks else ""),
            ("old ledger", "\n".join(made.old)),
        ]
    )
    if made.lost:
        yield "not as it was"
        yield from (f"  {clean(line)}" for line in made.lost)


def _answers(made: Rebuilt) -> Iterator[str]:
    """What becomes of rows whose calls the book has, and the table no answer of."""
    unmatched = made.unmatched
    if unmatched.again:
        yield (
            f"of {count(unmatched.again, 'row')} the book has the calls and the table no answer: the next run takes it "
            "from the provider and pays nothing, if that still has it and the input the row"
        )
    if unmatched.gone:
        yield (
            f"of {count(unmatched.gone, 'row')} the book has the calls and nobody an answer: it is paid for a second "
            "time, if the input has the row"
        )
