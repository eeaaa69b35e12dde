"""The tables of `compare`, `labels` and `cost` as pages show them: computed over all rows each time they are asked for.

Owns what a page gets beyond the JSON of these commands: rows that differ, the filter behind each cell of a confusion
matrix, the labels of each run. The figures themselves are those of `report.compare`, `report.labels`, `report.cost`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from batch.core import exactjson
from batch.money.prices import Prices
from batch.report import compare_json, label_json
from batch.report.compare import Comparison
from batch.report.cost.public import public as cost_json
from batch.report.cost.report import CostReport, Query
from batch.report.cost.savings import Savings
from batch.report.figures.onerow import shortened
from batch.report.label_table import labels_of
from batch.report.labels import LabelReport

DIFFERING: Final = 20
"""Rows that differ that are shown."""


def comparison(out: Path) -> dict[str, Any]:
    """The variants of a table side by side, and the first rows on which they differ.

    Raises:
        OutputError: `out` is no output folder.
        RefusedToStart: there are no two variants.
        StorageError: a part or the ledger cannot be read.
    """
    compared = Comparison(out)
    examples: list[dict[str, Any]] = []
    for row in compared.rows():
        if row.differs and compared.inputs_wanted:
            examples.append(shortened(exactjson.builtins(row)))
            compared.inputs_wanted = len(examples) < DIFFERING
    sums: dict[str, Any] = exactjson.builtins(compare_json.public(compared))
    return {**sums, "labels": compared.labels, "gold": compared.gold, "examples": examples}


def label_figures(out: Path, label: str | None, gold: str | None) -> dict[str, Any]:
    """What labels are worth, which rows stand behind each cell of the confusion matrix, and the labels of each run.

    Args:
        out: the output folder.
        label: the column with the labels; None for the one there is.
        gold: the column with the truth; None for the one that the job names.

    Raises:
        OutputError: `out` is no output folder.
        RefusedToStart: there are no labels.
        StorageError: a part or the ledger cannot be read.
    """
    report = LabelReport(out, label=label, gold=gold)
    of_runs = LabelReport(out, label=label, gold=gold, by="run")
    table = report.table
    return {
        **label_json.public(report),
        "gold_missing": table.gold_missing,
        "columns": labels_of(table.schema),
        "cells": [
            {
                "truth": truth,
                "label": found,
                "rows": count,
                "filter": {"where": [f"{table.label}:{found}", f"{table.gold}:{truth}"]},
            }
            for (truth, found), count in sorted(report.total.pairs.counts.items())
        ],
        "runs": [
            {
                "run": group.value,
                "rows": group.rows,
                "labelled": group.labelled,
                "distribution": dict(group.ranked()),
                **label_json.estimate("accuracy", group.pairs.accuracy()),
            }
            for group in sorted(of_runs.groups, key=lambda group: group.value or "")
        ],
    }


def spending(out: Path, by: tuple[str, ...]) -> dict[str, Any]:
    """What calls have cost.

    Args:
        out: the output folder.
        by: what to group by, with names of `cost --by`.

    Raises:
        OutputError: `out` is no output folder.
        RefusedToStart: there is no such thing to group by.
        StorageError: a file or the ledger cannot be read.
    """
    return cost_json(CostReport([out], Query(by=by)), Savings(Prices.load()))
