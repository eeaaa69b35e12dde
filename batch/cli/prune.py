"""`promptmill prune`: takes rows out of the table that are not in the input any more; says how many, and asks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from batch.cli import jobs
from batch.cli.text import count, pairs, say
from batch.core import places
from batch.core.errors import EXIT_OK, RefusedToStart
from batch.core.plain import clean

if TYPE_CHECKING:
    from batch.run.prune import Found, Pruned


def prune(
    out: jobs.Out,
    job: jobs.JobPath,
    /,
    *,
    yes: Annotated[bool, Parameter(negative=())] = False,
    max_gone: Annotated[int | None, Parameter(negative=())] = None,
) -> int:
    """Take rows out of the table that are not in the input any more, or whose variant the job does not ask any more.

    Reads the whole input first, asks nobody for anything, and says how many rows would go before it removes them. What
    was paid for them stays in OUT/calls. A removed row that comes back is new: it is asked and paid for again.

    Args:
        out: the output folder of a run.
        job: job folder, or its job.toml; its input decides.
        yes: do not ask whether to remove them; needed where there is no terminal to answer at.
        max_gone: remove nothing when more than this many rows would go; needed when that is more than half of them.
    """
    from batch.core import failpoints
    from batch.report import folders
    from batch.run import prune as pruning

    if max_gone is not None and max_gone < 0:
        raise RefusedToStart(f"--max-gone {max_gone}: give a number of rows, 0 or more")
    failpoints.arm(os.environ.get(failpoints.VARIABLE))
    loaded = jobs.load(job, output=folders.opened(out).place)
    agree = partial(_agree, yes=yes, max_gone=max_gone)
    done = pruning.prune(loaded, agree=agree)
    say(_lines(out, done))
    return EXIT_OK


def _agree(found: Found, *, yes: bool, max_gone: int | None) -> bool:
    """Whether so many rows may go.

    Raises:
        RefusedToStart: they are more than was allowed, or nobody can be asked.
    """
    going = found.gone.total
    what = f"{count(going, 'row')} of {found.table_rows:,} would be removed ({_kinds(found)})"
    if max_gone is not None and going > max_gone:
        raise RefusedToStart(f"{what}, more than --max-gone {max_gone:,} allows; nothing was removed.")
    if max_gone is None and going * 2 > found.table_rows:
        raise RefusedToStart(
            f"{what}, more than half of the table; nothing was removed. Is it the job whose answers these are, and is "
            f"its input whole? If so, say how many may go: --max-gone {going}"
        )
    if yes:
        return True
    if not sys.stdin.isatty():
        raise RefusedToStart(f"{what}; nothing was removed. There is no terminal to ask at: give --yes to remove them.")
    print(f"{what}, such as {', '.join(clean(name, most=80) for name in found.examples)}.", file=sys.stderr)
    print("Remove them from the table? Their calls stay in the book. [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _kinds(found: Found) -> str:
    gone = found.gone
    kinds = [
        f"{gone.rows:,} not in the input any more" if gone.rows else "",
        f"{gone.variants:,} of variants not asked any more" if gone.variants else "",
    ]
    return ", ".join(kind for kind in kinds if kind)


def _lines(out: Path, done: Pruned) -> Iterator[str]:
    found = done.found
    if done.removed:
        yield f"{clean(places.text(out))}: {count(done.removed, 'row')} removed from the table"
    elif found.gone.total:
        yield f"{clean(places.text(out))}: nothing was removed"
    else:
        yield f"{clean(places.text(out))}: nothing to remove, every row of the table is in the input"
    yield from pairs(
        [
            ("input", f"{count(found.input_rows, 'row')} read"),
            ("gone", _kinds(found)),
            ("table", count(done.table_rows, "row")),
        ]
    )
