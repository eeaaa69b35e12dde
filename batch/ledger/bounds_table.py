"""The table of what calls under way can come to, how one is kept and forgotten; what it means is told in `bounds`."""

from __future__ import annotations

from typing import Final

TABLES: Final = """
CREATE TABLE IF NOT EXISTS bounds(
    call INTEGER PRIMARY KEY,
    call_id TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    currency TEXT NOT NULL,
    known INTEGER NOT NULL
) STRICT;
"""
KEEP: Final = """
INSERT OR REPLACE INTO bounds(call, call_id, tokens, cost, currency, known)
VALUES (?, ?, ?, ?, ?, ?)
"""
FORGET: Final = """
DELETE FROM bounds
WHERE call = ?
"""
