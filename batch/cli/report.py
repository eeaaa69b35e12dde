"""`promptmill report`: writes one HTML file for people who were not there. `report.html` does it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from batch.cli import jobs
from batch.cli.text import count, incomplete, say
from batch.core.plain import clean

if TYPE_CHECKING:
    from batch.report.html import Written


def report(
    out: jobs.Out,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], negative=(), converter=jobs.typed_file)] = None,
    with_text: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Write a report as one HTML file: what ran, whether it worked, what it cost; plots and tables in it.

    The file needs no network: it opens from a mail, prints, and asks nobody for anything. It has no text of prompts and
    answers unless --with-text is given; ids of rows, labels, names and settings are in it always.

    Args:
        out: the output folder of a run; it may be at work.
        output: the file to write, by default OUT-report.html beside the folder; one that is there is replaced once the
            new one is whole.
        with_text: also the text of the rows that failed, took longest or cost most, and of those on which variants
            differ; each text is cut after 4,000 characters.
    """
    from batch.core import arrowmemory

    arrowmemory.use_system()
    from batch.report.html import write_report

    done = write_report(out, output, with_text=with_text)
    say(_lines(done, with_text=with_text))
    return incomplete(done.missing, "the figures")


def _lines(done: Written, *, with_text: bool) -> Iterator[str]:
    yield f"{clean(str(done.path))}: {count(-(-done.size // 1000))} kB, opens in any browser without a network"
    if with_text:
        told = count(done.rows, "row") if done.rows else "no row, for none is in the table yet, but of the prompts"
        yield f"It has the text of {told}: mind who may read it."
