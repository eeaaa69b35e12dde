"""What a comparison of variants comes to, as one object that JSON has, for programs and pages.

Owns the names of its keys. It compares nothing: `compare` does.
"""

from __future__ import annotations

from typing import Any

import msgspec

from batch.report.compare import Comparison


def public(comparison: Comparison) -> dict[str, Any]:
    """The sums over the rows that were read until now, under the names that `promptmill compare --json` has."""
    pairs = [{**msgspec.structs.asdict(pair), "share": pair.share} for pair in comparison.pairs]
    rows = {"read": comparison.rows_read, "complete": comparison.complete, "differing": comparison.differing}
    variants = [
        {
            **msgspec.structs.asdict(sums),
            "accuracy": sums.accuracy.value,
            "accuracy_interval": sums.accuracy.interval,
        }
        for sums in comparison.variants
    ]
    missing = [*map(msgspec.structs.asdict, comparison.missing)]
    return {
        "folder": comparison.folder.text,
        "rows": rows,
        "variants": variants,
        "pairs": pairs,
        "missing": missing,
    }
