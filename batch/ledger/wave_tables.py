"""The tables of batch files; what they mean is told in `waves`."""

from __future__ import annotations

from typing import Final

TABLES: Final = """
CREATE TABLE waves(
    wave INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    model TEXT NOT NULL,
    base_url TEXT NOT NULL,
    state INTEGER NOT NULL,
    lines INTEGER NOT NULL,
    size INTEGER NOT NULL,
    digest TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    file TEXT,
    batch TEXT,
    told BLOB
) STRICT;

CREATE TABLE lines(
    call INTEGER PRIMARY KEY,
    wave INTEGER NOT NULL,
    line INTEGER NOT NULL
) STRICT;

CREATE INDEX lines_wave ON lines(wave);
"""

INSERT_LINE: Final = """
INSERT OR REPLACE INTO lines(call, wave, line)
VALUES (?, ?, ?)
"""
DELETE_LINE: Final = """
DELETE FROM lines
WHERE call = ?
"""
