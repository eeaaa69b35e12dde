"""`promptmill export`: writes the table as a file for a spreadsheet. `report.export` does it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from batch.cli import jobs
from batch.cli.text import count, say
from batch.core.errors import EXIT_OK
from batch.core.plain import clean

if TYPE_CHECKING:
    from batch.report.export import Exported


def export(
    out: jobs.Out,
    file: jobs.File,
    /,
    *,
    columns: Annotated[tuple[str, ...], Parameter(negative=(), allow_leading_hyphen=True)] = (),
    failed: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Write the table as CSV, XLSX or JSONL, by the ending of FILE; text stays text and never becomes a formula.

    In CSV, text that begins like a formula gets an apostrophe before it. In XLSX, times are in UTC, and a cell holds
    32,767 characters, a sheet 1,048,575 rows; it needs: pip install 'promptmill[xlsx]'

    Args:
        out: the output folder of a run; it may be at work.
        file: the file to write; one that is there is replaced once the new one is whole.
        columns: write these only, in this order, with commas between; may be repeated.
        failed: write only rows that failed.
    """
    from batch.report.export import export

    say(_lines(export(out, file, columns=columns, failed=failed)))
    return EXIT_OK


def _lines(done: Exported) -> Iterator[str]:
    yield f"{clean(str(done.path))}: {count(done.rows, 'row')}, {count(done.columns, 'column')}"
    if done.cut:
        yield (
            f"{count(done.cut, 'cell')} had more than 32,767 characters, which is all that a sheet takes, and "
            f"{'is' if done.cut == 1 else 'are'} cut; .csv and .jsonl have them whole."
        )
    if done.quoted:
        yield (
            f"{count(done.quoted, 'cell')} would be taken for a formula and "
            f"{'has' if done.quoted == 1 else 'have'} an apostrophe before the text; .jsonl has none."
        )
