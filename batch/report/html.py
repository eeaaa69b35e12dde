"""Writes a report: one HTML file that needs no network, for people who were not there when the run was.

Owns the file: its name, how it comes about whole or not at all, and how large it may be. What it tells is the matter of
`digest`, what it looks like that of `bundle` and its assets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from batch.core import exactjson
from batch.core.durable import AtomicFile
from batch.core.errors import RefusedToStart, StorageError
from batch.core.version import VERSION
from batch.ledger.reader import LedgerReader
from batch.report import bundle
from batch.report.digest import coarser, digest
from batch.report.export import target_of
from batch.report.folders import opened
from batch.report.missing import Missing

ENDINGS: Final = (".html", ".htm")
MOST_BYTES: Final = 300_000
"""Of a report without text: what every mail takes. Figures over time get coarser until it fits."""
FEWEST_POINTS: Final = 100


class Written(msgspec.Struct, frozen=True):
    """A report that was written."""

    path: Path
    size: int
    """Bytes of it."""
    rows: int
    """Rows that it has with their text."""
    missing: tuple[Missing, ...] = ()
    """Files of the output that cannot be read: its figures are without them."""


def write_report(out: Path, target: Path | None = None, *, with_text: bool = False) -> Written:
    """Write a report of an output folder.

    Args:
        out: the output folder; its run may be at work.
        target: the file, with the ending .html; by default OUT-report.html beside the folder.
        with_text: also what the rows that stand out asked and were answered.

    Raises:
        OutputError: `out` is no output folder.
        RefusedToStart: the file cannot be made there.
        StorageError: a part cannot be read, or the disk refused a write.
    """
    folder = opened(out)
    if target is None:
        name = f"{folder.place.name}-report.html"
        target = Path(name) if folder.store.elsewhere else folder.root.with_name(name)
    with LedgerReader(folder.ledger) as reader:
        sources = {run.source for run in reader.runs()}
    if target.suffix.lower() not in ENDINGS:
        raise RefusedToStart(f"{target}: a report is an HTML file. Give a name that ends in .html.")
    path = target_of(folder, target, sources)
    told = digest(out, with_text=with_text)
    told["version"] = VERSION
    content = _fitting(told, limited=not with_text)
    _write(path, content)
    missing = tuple(Missing(**file) for file in told["figures"]["overview"]["missing"])
    return Written(path, len(content), len(told["figures"]["rows"]), missing)


def _fitting(told: dict[str, Any], *, limited: bool) -> bytes:
    """The report, with figures over time as fine as its size allows."""
    overview = told["figures"]["overview"]
    content = _page(told)
    while limited and len(content) > MOST_BYTES and len(overview["series"].get("t") or ()) > FEWEST_POINTS:
        overview["series"] = coarser(overview["series"])
        content = _page(told)
    return content


def _page(told: dict[str, Any]) -> bytes:
    status = told["figures"]["overview"]["status"]
    name = str(status["job"].get("name") or Path(status["folder"]).name)
    figures = exactjson.encoded(told).decode()
    return bundle.report(f"{name}: report of a run", figures, _summary(name, status)).html


def _summary(name: str, status: dict[str, Any]) -> str:
    """What is said where the file is looked at without its script, as in the preview of a mail."""
    totals = status["totals"]
    cost = " + ".join(f"{amount} {currency}" for currency, amount in totals["cost"].items()) or "nothing known"
    return (
        f"{name}: {status['state']}\n"
        f"{totals['rows_ok']:,} rows answered, {totals['rows_failed']:,} failed. Cost of this run: {cost}.\n"
        "Save this file and open it in a browser to see the rest: plots and tables need its script, and no network."
    )


def _write(path: Path, content: bytes) -> None:
    file = AtomicFile(path)
    try:
        stream = file.open()
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise RefusedToStart(f"{path}: cannot be made: {reason}. Choose another place with -o FILE.html.") from exc
    try:
        stream.write(content)
        file.commit()
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise StorageError(f"{path}: cannot be written: {reason}. Make room, then run the same command again.") from exc
    finally:
        file.abandon()
