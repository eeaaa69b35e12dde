"""The table of lines that were lost with a ledger, and how one leaves it; what it means is told in `orphans`."""

from __future__ import annotations

from typing import Final

TABLES: Final = """
CREATE TABLE IF NOT EXISTS orphans(
    id INTEGER PRIMARY KEY,
    wave INTEGER NOT NULL,
    line INTEGER NOT NULL,
    call_id TEXT NOT NULL,
    asks BLOB NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS orphans_asks ON orphans(asks);
"""
CLAIM: Final = """
DELETE FROM orphans
WHERE id = ?
"""
FORGET: Final = """
DELETE FROM orphans
WHERE wave = ?
"""
