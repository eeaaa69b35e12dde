"""SQL over the two tables that outlive a row's records: what tools with effects have done, and results that rows share.

Owns the tables and their statements, one clause a line; `effects`, `group` and `index` run them. The tables
are made when a ledger is opened, so that an older ledger needs no new format.

An effect is known by the row, what it asked, and the place of the call: its turn, and its index in the turn. `call` is
`canonical.call_key`. `result` is NULL from before the function begins until its result is there. `in_doubt` is 1 when
it was found so by a later process, which told the model or ran it again.
"""

from __future__ import annotations

from typing import Final

TABLES: Final = """
CREATE TABLE IF NOT EXISTS effects(
    row_id TEXT NOT NULL,
    variant TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    turn INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    call TEXT NOT NULL,
    result BLOB,
    in_doubt INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(row_id, variant, fingerprint, turn, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS shared(
    key TEXT PRIMARY KEY,
    content BLOB NOT NULL
) STRICT, WITHOUT ROWID;
"""

_PLACE: Final = "row_id = ?1 AND variant = ?2 AND fingerprint = ?3 AND turn = ?4 AND idx = ?5"

# -- written by the run, in the order of a call's life ----------------------------------------------------------------

INTEND: Final = """
INSERT INTO effects(row_id, variant, fingerprint, turn, idx, call)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE
SET call = excluded.call, result = NULL, in_doubt = 1
"""
ACTED: Final = f"""
UPDATE effects
SET result = ?6
WHERE {_PLACE}
"""
DOUBT: Final = f"""
UPDATE effects
SET in_doubt = 1
WHERE {_PLACE}
"""
SHARE: Final = """
INSERT OR REPLACE INTO shared(key, content)
VALUES (?, ?)
"""

# -- read -------------------------------------------------------------------------------------------------------------

EFFECTS_OF_ROW: Final = """
SELECT turn, idx, call, result, in_doubt
FROM effects
WHERE row_id = ? AND variant = ? AND fingerprint = ?
"""
SHARED: Final = """
SELECT content
FROM shared
WHERE key = ?
"""
SHARED_BYTES: Final = """
SELECT coalesce(sum(length(content)), 0)
FROM shared
"""

# -- forgotten --------------------------------------------------------------------------------------------------------

ANY_EFFECT: Final = """
SELECT 1
FROM effects
LIMIT 1
"""
ASKED: Final = """
SELECT row_id, variant, fingerprint
FROM pending
WHERE work IN (SELECT value FROM json_each(?))
"""
FORGET_OTHER_QUESTIONS: Final = """
DELETE FROM effects
WHERE row_id = ? AND variant = ? AND fingerprint != ?
"""
"""Of a row that is published: what it did for another question, which would be asked, and so acted on, anew."""
FORGET_LEFT: Final = """
DELETE FROM effects
WHERE (row_id, variant) IN (SELECT row_id, variant FROM leaving WHERE part = ?)
"""
