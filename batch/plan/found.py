"""What the range that is being planned has so far: its rows, what they ask, and what was met on the way.

Owns how much of it is kept in memory. Which rows it takes up is the planner's matter.
"""

from __future__ import annotations

from typing import Final

import msgspec

from batch.core.records import RowRequest
from batch.ledger.totals import Planned
from batch.plan.admission import Admitted
from batch.plan.numbers import Numbers
from batch.plan.row_ids import Seen
from batch.prompts.variants import Packed, Variant

KEPT_ROW_BYTES: Final = 16 << 10
"""A row whose messages are larger is rendered again: that costs little beside sending it, and keeping it would not."""


class Found(msgspec.Struct):
    """What a range has so far."""

    numbers: Numbers
    """The next free ones behind it."""
    planned: Planned
    rows: list[Admitted] = []
    seen: Seen = {}
    known: list[tuple[str, str, bytes]] = []
    """(row_id, variant, content) that the index is to learn."""
    requests: list[Packed | None] = []
    """For each row what it asks, as far as that is kept."""
    rooms: dict[str, int] = {}
    """By model, how many bytes of that may still be kept."""
    answers: int = 0
    """How many bytes the answers have that rows of it take over."""

    def add(self, row: Admitted, variant: Variant, request: RowRequest | None) -> None:
        """Take up a row in one variant; `request` is what it asks, None when it is not asked."""
        self.rows.append(row)
        packed = None
        if request is not None and self.rooms.get(variant.model, 0) > 0:
            packed = variant.packed(request) if request.bytes <= KEPT_ROW_BYTES else None
            # When one is not kept, none behind it is.
            self.rooms[variant.model] = 0 if packed is None else self.rooms[variant.model] - request.bytes
        self.requests.append(packed)
        if row.outcome is not None:
            texts = (row.outcome.answer, row.outcome.reasoning, row.outcome.messages)
            self.answers += sum(len(text) for text in texts if text is not None)
