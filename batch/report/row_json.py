"""One row in its variants, as one object that JSON has, for programs and pages.

Owns its form: a row in one variant is that view; one in several has a list of them. It looks nothing up: `row` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batch.report.row import RowView


def public(views: Sequence[RowView]) -> RowView | dict[str, Any]:
    """What `promptmill show --json` prints of a row; not empty."""
    first = views[0]
    if len(views) == 1:
        return first
    return {"row_id": first.row_id, "row_number": first.row_number, "variants": list(views)}
