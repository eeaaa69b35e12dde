"""The figures of a label report as values that JSON has, for programs.

Owns the names of the keys. A figure stands under its own name and its interval beside it (`accuracy`,
`accuracy_interval`); what cannot be measured is null. It computes nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from batch.labels.quality import Estimate
from batch.report.labels import Drift, LabelReport, LabelSums


def public(report: LabelReport) -> dict[str, Any]:
    """All that a report tells, as one object."""
    table = report.table
    return {
        "folder": table.folder.text,
        "label": table.label,
        "gold": table.gold,
        "by": report.by,
        "missing": [*map(msgspec.structs.asdict, report.missing)],
        **_sums(report.total, gold=table.gold is not None),
        "groups": [{"value": group.value, **_sums(group, gold=table.gold is not None)} for group in report.groups],
    }


def estimate(name: str, found: Estimate) -> dict[str, Any]:
    """A figure under its name, and its interval beside it."""
    return {name: found.value, f"{name}_interval": found.interval}


def _sums(sums: LabelSums, *, gold: bool) -> dict[str, Any]:
    drift = sums.drift()
    return {
        "rows": sums.rows,
        "failed": sums.failed,
        "labelled": sums.labelled,
        **estimate("coverage", sums.coverage()),
        "distribution": {label: {"rows": rows, "share": rows / sums.labelled} for label, rows in sums.ranked()},
        "agreement": sums.mean("agreement"),
        "unanimous": sums.unanimous,
        "ties": sums.ties,
        "confidence": sums.mean("confidence"),
        **_against(sums, gold=gold),
        "drift": None if drift is None else _drift(drift),
    }


def _against(sums: LabelSums, *, gold: bool) -> dict[str, Any]:
    """What is measured against the truth; all null where no column has it."""
    if not gold:
        return {
            "gold_rows": None,
            "measured": None,
            **estimate("accuracy", Estimate()),
            **estimate("kappa", Estimate()),
            "per_class": None,
            "confusion": None,
        }
    pairs = sums.pairs
    confusion: dict[str, dict[str, int]] = {}
    for (truth, label), count in sorted(pairs.counts.items()):
        confusion.setdefault(truth, {})[label] = count
    return {
        "gold_rows": sums.gold_rows,
        "measured": pairs.total,
        **estimate("accuracy", pairs.accuracy()),
        **estimate("kappa", pairs.kappa()),
        "per_class": {
            found.label: {
                **estimate("precision", found.precision),
                **estimate("recall", found.recall),
                **estimate("f1", found.f1),
                "support": found.support,
                "predicted": found.predicted,
            }
            for found in pairs.per_class()
        },
        "confusion": confusion,
    }


def _drift(drift: Drift) -> dict[str, Any]:
    return {
        "run": drift.run,
        "before_run": drift.before_run,
        "rows": drift.rows,
        "before_rows": drift.before_rows,
        "distance": drift.distance,
        "new": [found.label for found in drift.classes if not found.before_rows],
        "gone": [found.label for found in drift.classes if not found.rows],
        "classes": {
            found.label: {
                "rows": found.rows,
                "before_rows": found.before_rows,
                "share": found.share,
                "before_share": found.before_share,
                "difference": found.share - found.before_share,
                "difference_interval": found.interval,
                "significant": found.significant,
            }
            for found in drift.classes
        },
    }
