"""The table of attempts that outlasted somebody, by row; what follows from it is `batch.submit.overtime`'s matter."""

from __future__ import annotations

from typing import Final

TABLES: Final = """
CREATE TABLE IF NOT EXISTS overtime(
    row_id TEXT NOT NULL,
    variant TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY(row_id, variant)
) STRICT, WITHOUT ROWID;
"""
