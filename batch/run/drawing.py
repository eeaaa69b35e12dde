"""A sample of the rows of a job, drawn once and kept.

Owns how row ids are drawn, and the transaction that makes them durable. Which rows may be drawn is the planner's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import apsw
import msgspec


def draw(ids: Iterator[str], *, count: int, seed: int) -> list[str]:
    """Draw row ids in one pass, with memory for as many as are drawn (a reservoir).

    Args:
        ids: all of them, in any order that is always the same.
        count: how many are drawn.
        seed: draws the same ones again.
    """
    chance = random.Random(seed)
    chosen: list[str] = []
    for number, row_id in enumerate(ids):
        if number < count:
            chosen.append(row_id)
        elif (place := chance.randrange(number + 1)) < count:
            chosen[place] = row_id
    return chosen


def keep_sample(run: str, sample: list[str]) -> Callable[[apsw.Connection], None]:
    """The transaction that makes a drawn sample durable."""

    def change(db: apsw.Connection) -> None:
        db.execute("UPDATE runs SET sample=? WHERE run=?", (msgspec.json.encode(sample).decode(), run))

    return change
