"""The table of answers that were paid for and are in no row; what it means is told in `paid`."""

from __future__ import annotations

from typing import Final

TABLES: Final = """
CREATE TABLE IF NOT EXISTS paid(
    call_id TEXT PRIMARY KEY,
    row_id TEXT NOT NULL,
    variant TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    turn INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    sent_at INTEGER NOT NULL,
    task TEXT,
    place TEXT,
    batch TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS paid_rows ON paid(row_id, variant) WHERE task IS NOT NULL;

CREATE INDEX IF NOT EXISTS paid_batches ON paid(batch) WHERE batch IS NOT NULL;
"""
