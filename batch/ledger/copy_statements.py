"""SQL over the two tables of rows that ask the same: what was asked, and which rows wait for the answer to it.

Owns the tables and their statements, one clause a line; `copies` runs them. The tables are made when a ledger is
opened, so that an older ledger needs no new format; they stay empty in jobs without `prompt.dedupe`.

A row of `asked` is one request: `work` is the row that is asked, until that has ended; `outcome` is its answer, which
rows that come later get as well; `ready` is 1 while rows wait for an answer that is there. A row of `copies` waits: its
`pending.state` is 4.
"""

from __future__ import annotations

from typing import Final

from batch.ledger.statements import PENDING

TABLES: Final = """
CREATE TABLE IF NOT EXISTS asked(
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    work INTEGER,
    row_id TEXT NOT NULL,
    outcome BLOB,
    ready INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX IF NOT EXISTS asked_work ON asked(work) WHERE work IS NOT NULL;

CREATE INDEX IF NOT EXISTS asked_ready ON asked(id) WHERE ready = 1;

CREATE TABLE IF NOT EXISTS copies(
    asked INTEGER NOT NULL,
    work INTEGER NOT NULL,
    PRIMARY KEY(asked, work)
) STRICT, WITHOUT ROWID;
"""

# -- rows that are admitted -------------------------------------------------------------------------------------------

ADD_ASKED: Final = """
INSERT OR IGNORE INTO asked(key, work, row_id)
SELECT unhex(k.value->>1), p.work, p.row_id
FROM json_each(?) k
CROSS JOIN pending p ON p.work = k.value->>0
ORDER BY p.work
"""
ADD_COPIES: Final = """
INSERT INTO copies(asked, work)
SELECT a.id, p.work
FROM json_each(?) k
CROSS JOIN pending p ON p.work = k.value->>0
CROSS JOIN asked a ON a.key = unhex(k.value->>1)
WHERE a.work IS NOT p.work
    AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.work = p.work)
RETURNING work, asked
"""
"""A row that comes with the id of an overdue task is asked for itself: that answer may be there already."""
LET_WAIT: Final = """
UPDATE pending
SET state = 4
WHERE work = ?
"""
SET_READY: Final = """
UPDATE asked
SET ready = 1
WHERE id = ? AND outcome IS NOT NULL
"""
_NO_ANSWER: Final = """NOT EXISTS (
    SELECT 1
    FROM entries e
    WHERE e.row_id = p.row_id AND e.variant = p.variant AND e.status IS NOT NULL AND e.fingerprint = p.fingerprint
)"""
KNOW_OPEN: Final = f"""
INSERT OR IGNORE INTO asked(key, work, row_id)
SELECT p.fingerprint, p.work, p.row_id
FROM pending p
WHERE p.state IN (0, 1) AND {_NO_ANSWER}
ORDER BY p.work
"""
"""Rows that were admitted before the job shared answers, or when the ledger was lost."""

UNSENT_KEYS: Final = f"""
SELECT p.work, p.fingerprint
FROM pending p
WHERE p.state = 0 AND {_NO_ANSWER}
    AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.work = p.work)
    AND NOT EXISTS (SELECT 1 FROM steps s WHERE s.work = p.work)
ORDER BY p.work
"""
"""Those of them that nothing was sent for: they need not be asked if another one is."""

# -- rows that have ended ----------------------------------------------------------------------------------------------

ENDED: Final = """
SELECT a.work
FROM asked a
JOIN pending p ON p.work = a.work
WHERE p.state IN (1, 2)
"""
END_OF: Final = """
SELECT a.id, p.outcome
FROM asked a
JOIN pending p ON p.work = a.work
WHERE a.work = ? AND p.state IN (1, 2)
"""
SET_ANSWER: Final = """
UPDATE asked
SET work = NULL, outcome = ?2, ready = EXISTS (SELECT 1 FROM copies c WHERE c.asked = ?1)
WHERE id = ?1
"""
NEXT_COPY: Final = f"""
SELECT {PENDING}
FROM pending
WHERE work = (SELECT min(work) FROM copies WHERE asked = ?)
"""
ASK_NEXT: Final = """
UPDATE asked
SET work = ?2, row_id = ?3
WHERE id = ?1
"""
LET_BE_ASKED: Final = """
UPDATE pending
SET state = 0
WHERE work = ?
"""
DROP_COPY: Final = """
DELETE FROM copies
WHERE asked = ? AND work = ?
"""
DROP_ASKED: Final = """
DELETE FROM asked
WHERE id = ?
"""

# -- rows that get an answer ------------------------------------------------------------------------------------------

NEXT_READY: Final = """
SELECT id, row_id, outcome
FROM asked
WHERE ready = 1
LIMIT 1
"""
COPIES_OF: Final = """
SELECT p.work, p.variant, p.part
FROM copies c
JOIN pending p USING (work)
WHERE c.asked = ?
ORDER BY c.work
LIMIT ?
"""
NOT_READY: Final = """
UPDATE asked
SET ready = 0
WHERE id = ?
"""

# -- rows that are given up -------------------------------------------------------------------------------------------

DROP_WAITING: Final = """
DELETE FROM pending
WHERE state = 4
"""
DROP_COPIES: Final = """
DELETE FROM copies
"""
NONE_READY: Final = """
UPDATE asked
SET ready = 0
WHERE ready = 1
"""
DROP_GONE: Final = """
DELETE FROM asked
WHERE work IS NOT NULL AND work NOT IN (SELECT work FROM pending)
"""
DROP_ANSWERS: Final = """
DELETE FROM asked
WHERE work IS NULL
"""
ANY_OPEN: Final = """
SELECT 1
FROM asked
WHERE work IS NOT NULL
LIMIT 1
"""
DROP_ALL_ASKED: Final = """
DELETE FROM asked
"""
ASK_ALL: Final = """
UPDATE pending
SET state = 0
WHERE state = 4
"""

# -- read -------------------------------------------------------------------------------------------------------------

COPIES: Final = f"""
SELECT {PENDING}
FROM pending p
WHERE work > ? AND state = 4
ORDER BY work
LIMIT ?
"""
WAITING_BY_VARIANT: Final = """
SELECT variant, count(*)
FROM pending
WHERE state = 4
GROUP BY variant
"""
MADE: Final = """
SELECT 1
FROM sqlite_master
WHERE type = 'table' AND name = 'asked'
"""
ANSWERED: Final = """
SELECT key
FROM asked
WHERE outcome IS NOT NULL
"""
ANY_READY: Final = """
SELECT 1
FROM asked
WHERE ready = 1
LIMIT 1
"""
