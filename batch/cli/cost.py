"""`promptmill cost`: prints what calls have cost. `report.cost` finds it out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from batch.cli.text import incomplete, say, say_json
from batch.core.errors import EXIT_OK, EXIT_ROWS_FAILED, RefusedToStart

if TYPE_CHECKING:
    from batch.report.cost.report import Query
    from batch.report.cost.repricing import Repricing

Word = Parameter(negative=(), allow_leading_hyphen=True)
Place = Parameter(negative=())


def cost(
    *outs: Annotated[Path, Place],
    by: Annotated[tuple[str, ...], Word] = (),
    since: Annotated[str | None, Word] = None,
    until: Annotated[str | None, Word] = None,
    tz: Annotated[str | None, Word] = None,
    where: Annotated[tuple[str, ...], Word] = (),
    provider: Annotated[str | None, Word] = None,
    prices: Annotated[Path | None, Place] = None,
    as_model: Annotated[str | None, Word] = None,
    rates: Annotated[Path | None, Place] = None,
    reconcile: Annotated[Path | None, Place] = None,
    json: Annotated[bool, Place] = False,
    csv: Annotated[bool, Place] = False,
) -> int:
    """What calls have cost, exactly, in groups: by day, by model, by team, by whether their row failed.

    The book of every call is read, failed, repeated and discarded ones too, and what the ledger of a run at work has
    not published yet. What another model would have cost: promptmill cost OUT --as-model NAME. Whether a bill is right:
    promptmill cost OUT --reconcile BILL.csv, which ends with 1 when it is not.

    Args:
        outs: output folders of runs; the runs may be at work.
        by: what to group by, several with commas: model, served, provider, lane, hour, day, week, month, job, run,
            folder, tag:NAME, variant, purpose, status, label, or a column of the input (column:NAME if it is called
            like one of these). Status, label and columns are those that the row has now.
        since: only calls sent from this day (2026-10-01), month (2026-10), year or moment on.
        until: only calls sent until then; the day, month or year still belongs to it, a moment does not.
        tz: the zone of days and hours, such as UTC; by default that of each provider's bill.
        where: only calls with this value, as NAME=VALUE with a name of --by: tag:team=support, status=failed.
        provider: only calls of this provider.
        prices: reckon the stored tokens anew, with a file of prices that win over the price book, and show both.
        as_model: reckon as if this model had been asked, with the same tokens; PROVIDER/MODEL if several lists have it.
        rates: a file of dated [[rate]] tables (from, to, rate, date, source), by which the total is converted.
        reconcile: a bill as CSV, compared by request id, or else by day and model; every difference is listed.
        json: one JSON object on stdout, for programs.
        csv: one line for each group, for a spreadsheet.
    """
    from batch.report.cost import zones
    from batch.report.cost.report import Query

    if json and csv:
        raise RefusedToStart("--json and --csv are two forms of the same. Give one of them.")
    query = Query(
        by=by,
        since=None if since is None else zones.since(since),
        until=None if until is None else zones.until(until),
        zones=zones.Zones(tz),
        provider=provider,
        where=where,
    )
    if reconcile is not None:
        given = {"--by": by, "--where": where, "--prices": prices, "--as-model": as_model, "--rates": rates}
        for flag, value in given.items():
            if value:
                raise RefusedToStart(f"--reconcile compares what was booked with a bill: leave out {flag}.")
        return _reconcile(outs, query, reconcile, json=json, csv=csv)
    return _report(outs, query, prices, as_model, rates, json=json, csv=csv)


def _report(
    outs: Sequence[Path],
    query: Query,
    prices: Path | None,
    as_model: str | None,
    rates: Path | None,
    *,
    json: bool,
    csv: bool,
) -> int:
    from batch.money.prices import Prices
    from batch.report.cost.exchange import Exchange
    from batch.report.cost.report import CostReport
    from batch.report.cost.savings import Savings

    exchange = None if rates is None else Exchange(rates)
    known = Prices.load(*([] if prices is None else [prices]))
    report = CostReport(outs, query, _repricing(known, prices, as_model))
    savings = Savings(known)
    if json:
        import msgspec

        from batch.report.cost.public import public

        say_json(msgspec.json.encode(public(report, savings, exchange)).decode())
    elif csv:
        from batch.report.cost.public import csv_lines

        say(csv_lines(report, savings))
    else:
        from batch.cli.cost_text import lines

        say(lines(report, savings, exchange, as_model=as_model))
    return incomplete([file for folder in report.folders for file in folder.missing], "the figures")


def _repricing(known: object, prices: Path | None, as_model: str | None) -> Repricing | None:
    from batch.money.prices import Prices
    from batch.report.cost.repricing import Repricing

    assert isinstance(known, Prices)
    return Repricing(known, as_model) if prices is not None or as_model is not None else None


def _reconcile(outs: Sequence[Path], query: Query, bill: Path, *, json: bool, csv: bool) -> int:
    from batch.report.cost.reconcile import Reconciliation

    found = Reconciliation(outs, query, bill)
    if json:
        import msgspec

        from batch.report.cost.reconcile_public import public

        say_json(msgspec.json.encode(public(found)).decode())
    elif csv:
        from batch.report.cost.reconcile_public import csv_lines

        say(csv_lines(found))
    else:
        from batch.cli.reconcile_text import lines

        say(lines(found))
    return EXIT_OK if found.agrees else EXIT_ROWS_FAILED
