"""The SQL statements over the index of the table: what a pass meets and does not meet, what follows, and what leaves.

Owns their text, one clause a line, as `statements` owns that of the others; `index` and `published` run them. It does
not know when, or in which transaction.
"""

from __future__ import annotations

from typing import Final

from batch.ledger.levels import ENTRIES, SEEN, everywhere, has
from batch.ledger.statements import PENDING

BEGAN_EMPTY: Final = "began_empty"
"""Key of the ledger's `meta`: the run whose pass over the source began when the index knew no row."""

# -- read -------------------------------------------------------------------------------------------------------------

CONTENTS: Final = """
SELECT row_id, variant, row_number, part, fingerprint, status, content, label
FROM entries
WHERE row_id IN (SELECT value FROM json_each(?))
"""
INDEXED: Final = f"""
SELECT value
FROM json_each(?)
WHERE {has(ENTRIES, "row_id = value")}
"""
UNMET: Final = f"""
SELECT range, row_id
FROM pending p
WHERE NOT ({has(SEEN, "row_id = p.row_id")})
ORDER BY work
"""
OLDEST_RANGE: Final = """
SELECT range
FROM pending
ORDER BY work
LIMIT 1
"""
LABELLINGS: Final = """
SELECT p.work, e.label
FROM pending p
JOIN entries e USING (row_id, variant)
WHERE p.work IN (SELECT value FROM json_each(?))
    AND e.fingerprint = p.fingerprint AND e.status IS NOT NULL AND e.label IS NOT NULL
"""
LABELLED: Final = """
SELECT variant, label
FROM entries
WHERE status IS NOT NULL AND label IS NOT NULL
"""
_FIRST: Final = f"EXISTS (SELECT 1 FROM meta WHERE key = '{BEGAN_EMPTY}')"
_MET: Final = f"({_FIRST} OR {has(SEEN, 'row_id = e.row_id')})"
"""A pass that began with no row has met all that are there now, and does not say so of each."""
COUNT_GONE: Final = f"""
SELECT
    count(*) FILTER (WHERE NOT met),
    count(*) FILTER (WHERE met AND variant NOT IN (SELECT value FROM json_each(?)))
FROM (
    SELECT variant, {_MET} AS met
    FROM entries e
    WHERE status IS NOT NULL
    LIMIT -1
)
"""
"""The limit is none: by it, SQLite finds out once a row, and not once a column, whether it was met."""
FAILED_AND_GONE: Final = f"""
SELECT part, row_id, variant
FROM entries e
WHERE status = 1 AND NOT {_MET}
ORDER BY part
"""
SETTLED: Final = """
SELECT row_id, variant, fingerprint
FROM pending
WHERE state = 1
"""
REFRESHED: Final = f"""
SELECT {PENDING}
FROM pending
WHERE part = ? AND state = 3 AND row_number BETWEEN ? AND ?
ORDER BY row_number, variant_no, work
"""
LAST_REFRESHED: Final = """
SELECT max(work)
FROM pending
WHERE part = ? AND state = 3
"""
LEAVING_PARTS: Final = """
SELECT DISTINCT part
FROM leaving
"""

# -- written: columns that follow the input, rows that leave the table ------------------------------------------------

FORGET_BEGAN_EMPTY: Final = """
DELETE FROM meta
WHERE key = ?
"""
NOTE_BEGAN_EMPTY: Final = """
INSERT INTO meta(key, value)
SELECT ?1, ?2
WHERE NOT EXISTS (SELECT 1 FROM entries) AND NOT EXISTS (SELECT 1 FROM pending)
"""
MEET: Final = f"""
INSERT OR REPLACE INTO {SEEN.newest}(row_id, times, place)
VALUES (?, ?, ?)
"""
KEEP_PLACES: Final = f"""
INSERT OR IGNORE INTO {ENTRIES.largest}(row_id, variant, row_number, part)
SELECT row_id, variant, row_number, part
FROM pending
"""
"""Where a newer level has the row, this place is never looked at."""

_SETTLED: Final = f"""
INSERT OR REPLACE INTO {ENTRIES.newest}(row_id, variant, row_number, part, fingerprint, status, content, label)
SELECT row_id, variant, row_number, part, fingerprint, ?2, content, ?3
"""
SET_OUTCOMES: Final = f"""
{_SETTLED.strip()}
FROM json_each(?1) k
CROSS JOIN pending p ON p.work = k.value
"""
"""Of some rows at once: SQLite keeps the pages that a statement overwrites in memory until its end."""
SET_OUTCOME: Final = f"""
{_SETTLED.strip()}
FROM pending
WHERE work = ?1
"""
SET_VOTES: Final = everywhere("""
UPDATE {table}
SET label = ?1
WHERE row_id = ?2 AND variant = ?3 AND status = 0
""")
SET_PLANNED_GONE: Final = """
UPDATE runs
SET planned = json_set(planned, '$.gone', ?1, '$.gone_variants', ?2)
WHERE run = ?3
"""
SET_CONTENTS: Final = everywhere("""
UPDATE {table}
SET content = p.content
FROM (
    SELECT row_id, variant, content, max(work)
    FROM pending
    WHERE part = ? AND state = 3 AND work <= ?
    GROUP BY row_id, variant
) p
WHERE {table}.row_id = p.row_id AND {table}.variant = p.variant
""")
MARK_REFRESHED: Final = """
UPDATE pending
SET state = 2
WHERE part = ? AND state = 3 AND work <= ?
"""
DOUBT_UNKNOWN: Final = everywhere("""
UPDATE {table}
SET content = x''
WHERE content IS NULL AND status IS NOT NULL
""")
DOUBT_CONTENTS: Final = everywhere("""
UPDATE {table}
SET content = x''
WHERE (row_id, variant) IN (
    SELECT row_id, variant
    FROM pending
    WHERE state = 3 AND range IN (SELECT value FROM json_each(?))
)
""")
DROP_REFRESHED: Final = """
DELETE FROM pending
WHERE state = 3 AND range IN (SELECT value FROM json_each(?))
"""
FILL_CONTENT: Final = everywhere("""
UPDATE {table}
SET content = ?3
WHERE row_id = ?1 AND variant = ?2
""")
ANNOUNCE: Final = """
UPDATE parts
SET next_size = ?, next_footer = ?
WHERE part = ?
"""
REPLACE_PART: Final = """
UPDATE parts
SET rows = coalesce(?2, rows), size = ?3, footer = ?4, next_size = NULL, next_footer = NULL
WHERE part = ?1
"""
ADD_LEAVING: Final = """
INSERT INTO leaving(part, row_id, variant)
VALUES (?, ?, ?)
"""
FORGET_LEAVING: Final = """
DELETE FROM leaving
WHERE part = ?1 OR ?1 IS NULL
"""
NOTHING_COMPLETE: Final = """
UPDATE runs
SET complete = 0
WHERE complete = 1
"""
COUNT_DOWN: Final = """
UPDATE parts
SET rows = rows - (SELECT count(*) FROM leaving l WHERE l.part = parts.part)
WHERE part = ?
"""
DELETE_LEFT: Final = everywhere("""
DELETE FROM {table}
WHERE (row_id, variant) IN (SELECT row_id, variant FROM leaving WHERE part = ?)
""")
FORGET_PART: Final = """
DELETE FROM parts
WHERE part = ?
"""
