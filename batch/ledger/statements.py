"""Every SQL statement over the tables of the ledger, one clause a line.

Owns the text of the statements, so that they can be read beside each other and beside `schema`; `writer` and `reader`
run them. It does not know when, or in which transaction. Lists are bound as JSON arrays and read with `json_each`.
"""

from __future__ import annotations

from typing import Final

# -- written by the run, in the order of a row's life ---------------------------------------------------------------

INSERT_CALL: Final = """
INSERT INTO calls(call, work, turn, attempt, call_id, lane, sent_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
SET_PLACE: Final = """
UPDATE calls
SET base_url = ?2
WHERE call = ?1
"""
SET_TASK: Final = """
UPDATE calls
SET task = ?2, base_url = ?3
WHERE call = ?1
"""
SET_RECORD: Final = """
UPDATE calls
SET record = ?2
WHERE call = ?1
"""
SET_GIVEN_UP: Final = """
UPDATE calls
SET late = 2
WHERE call = ?1
"""
INSERT_STEP: Final = """
INSERT OR REPLACE INTO steps(work, turn, idx, value)
VALUES (?, ?, ?, ?)
"""
HOLD_TASK: Final = """
INSERT OR REPLACE INTO held(row_id, variant, fingerprint, task, base_url, call_id, attempt, sent_at)
SELECT p.row_id, p.variant, p.fingerprint, c.task, c.base_url, c.call_id, c.attempt, c.sent_at
FROM calls c
JOIN pending p USING (work)
WHERE c.call = ?1
"""
SET_OUTCOME: Final = """
UPDATE pending
SET state = 1, outcome = ?2
WHERE work = ?1
"""
SET_META: Final = """
INSERT OR REPLACE INTO meta(key, value)
VALUES (?, ?)
"""
SET_OVERTIME: Final = """
INSERT OR REPLACE INTO overtime(row_id, variant, fingerprint, times)
VALUES (?, ?, ?, ?)
"""
PUBLISHED_WORK: Final = """
SELECT work
FROM pending p
WHERE state = 2
    AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.work = p.work AND c.record IS NOT NULL AND c.published = 0)
    AND NOT EXISTS (SELECT 1 FROM asked a WHERE a.work = p.work)
LIMIT ?
"""
"""A call is in the book before its row is pruned; a ledger that was made again may have it the other way round. The
outcome of a row that is asked for others too is kept until it was looked at for them."""

DELETE_CALLS: Final = """
DELETE FROM calls
WHERE call BETWEEN ? AND ?
"""
MARK_CALL: Final = """
UPDATE calls
SET published = 1
WHERE call = ?
"""
DELETE_WORK: Final = """
DELETE FROM pending
WHERE work BETWEEN ? AND ?
    AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.work = pending.work)
    AND NOT EXISTS (SELECT 1 FROM asked a WHERE a.work = pending.work)
"""
MARK_WORK: Final = """
UPDATE pending
SET state = 2
WHERE work = ?
"""
ANY_STEP: Final = """
SELECT 1
FROM steps
LIMIT 1
"""
DELETE_STEPS: Final = """
DELETE FROM steps
WHERE work = ?1 AND NOT EXISTS (SELECT 1 FROM pending p WHERE p.work = ?1)
"""

OVERTIME: Final = """
SELECT row_id, variant, fingerprint, times
FROM overtime
WHERE times > 0
"""

# -- runs and numbers -----------------------------------------------------------------------------------------------

META: Final = """
SELECT value
FROM meta
WHERE key = ?
"""
RUNS: Final = """
SELECT run, state, started_at, ended_at, request, digest, source, position, complete, planned, totals
FROM runs
ORDER BY run
"""
SAMPLE: Final = """
SELECT sample
FROM runs
WHERE run = ?
"""
LAST_SENT: Final = """
SELECT max(sent_at)
FROM calls
"""
FAILED_ENTRIES: Final = """
SELECT status, count(*)
FROM entries
WHERE status > 0
GROUP BY status
"""
PUBLISHED_ROWS: Final = """
SELECT coalesce(sum(rows), 0)
FROM parts
"""

# -- planning ---------------------------------------------------------------------------------------------------------

ENTRIES: Final = """
SELECT row_id, variant, row_number, part, fingerprint, status
FROM entries
WHERE row_id IN (SELECT value FROM json_each(?))
"""
SEEN: Final = """
SELECT row_id, times, place
FROM seen
WHERE row_id IN (SELECT value FROM json_each(?))
"""
CARRIED: Final = """
SELECT row_id, variant
FROM pending
WHERE carried = 1 AND state < 2
"""

# -- feeding and resuming ---------------------------------------------------------------------------------------------

PENDING: Final = "work, range, idx, row_id, variant, row_number, part, fingerprint, variant_no"
UNTOUCHED: Final = """
    NOT EXISTS (SELECT 1 FROM calls c WHERE c.work = p.work)
    AND NOT EXISTS (SELECT 1 FROM steps s WHERE s.work = p.work)
"""
UNSENT: Final = f"""
SELECT {PENDING}
FROM pending p
WHERE work > ?1 AND state = 0 AND {UNTOUCHED}
    AND (?2 IS NULL OR variant IN (SELECT value FROM json_each(?2)))
ORDER BY work
LIMIT ?3
"""
UNSENT_BY_VARIANT: Final = f"""
SELECT variant, count(*)
FROM pending p
WHERE state = 0 AND {UNTOUCHED}
GROUP BY variant
"""
OPEN_ROWS: Final = f"""
SELECT {PENDING}
FROM pending p
WHERE state = 0 AND (
    EXISTS (SELECT 1 FROM calls c WHERE c.work = p.work)
    OR EXISTS (SELECT 1 FROM steps s WHERE s.work = p.work)
)
ORDER BY work
"""
CALLS_OF_ROW: Final = """
SELECT call, work, turn, attempt, call_id, lane, sent_at, task, base_url, late, record, published
FROM calls
WHERE work = ?
ORDER BY call
"""
STEPS_OF_ROW: Final = """
SELECT turn, idx, value
FROM steps
WHERE work = ?
ORDER BY turn, idx
"""
UNSETTLED_BY_PART: Final = """
SELECT part, count(*)
FROM pending
WHERE state IN (0, 4)
GROUP BY part
"""

# -- publishing -------------------------------------------------------------------------------------------------------

SETTLED_BY_PART: Final = """
SELECT part, count(*)
FROM pending
WHERE state IN (1, 3)
GROUP BY part
ORDER BY part
"""
OUTCOMES: Final = f"""
SELECT {PENDING}, outcome
FROM pending
WHERE part = ? AND state = 1 AND (row_number, variant_no) > (?, ?)
ORDER BY row_number, variant_no
LIMIT ?
"""
SETTLED_ROWS: Final = f"""
SELECT {PENDING}, length(outcome)
FROM pending
WHERE part = ? AND state = 1 AND (row_number, variant_no) > (?, ?)
ORDER BY row_number, variant_no
LIMIT ?
"""
OUTCOMES_OF: Final = """
SELECT work, outcome
FROM pending
WHERE work IN (SELECT value FROM json_each(?))
"""
ALL_OUTCOMES: Final = """
SELECT outcome
FROM pending
WHERE state = 1
"""
PARTS: Final = """
SELECT part
FROM parts
ORDER BY part
"""
PART: Final = """
SELECT 1
FROM parts
WHERE part = ?
"""
FINAL_CALLS: Final = """
SELECT c.call, p.row_id, p.row_number, p.variant, c.record
FROM calls c
JOIN pending p USING (work)
WHERE c.record IS NOT NULL AND c.published = 0
ORDER BY c.call
"""
FINAL_CALLS_AFTER: Final = """
SELECT c.call, c.work, p.row_id, p.row_number, p.variant, p.fingerprint
FROM calls c
JOIN pending p USING (work)
WHERE c.call > ? AND c.record IS NOT NULL AND c.published = 0
ORDER BY c.call
LIMIT ?
"""
RECORDS_OF: Final = """
SELECT call, record
FROM calls
WHERE call IN (SELECT value FROM json_each(?))
"""
KEPT_ROW: Final = f"""
SELECT {PENDING}
FROM pending p
WHERE row_id = ?
"""
COUNT_FINAL_CALLS: Final = """
SELECT count(*)
FROM calls
WHERE record IS NOT NULL AND published = 0
"""
CALL_PARTS: Final = """
SELECT run, number
FROM call_parts
ORDER BY run, number
"""
RANGES: Final = """
SELECT DISTINCT range
FROM pending
WHERE state != 2
"""
RANGE: Final = """
SELECT 1
FROM ranges
WHERE range = ?
"""

# -- files ------------------------------------------------------------------------------------------------------------

PART_ROWS: Final = """
SELECT part, rows
FROM parts
ORDER BY part
"""
PUBLISHED_PARTS: Final = """
SELECT part, rows, size, footer, next_size, next_footer
FROM parts
ORDER BY part
"""
PUBLISHED_CALLS: Final = """
SELECT run, number, rows, size, footer
FROM call_parts
ORDER BY run, number
"""
COUNT_UNPUBLISHED_CALLS: Final = """
SELECT count(*)
FROM calls
WHERE record IS NOT NULL AND published = 0
    AND call_id IN (SELECT value FROM json_each(?))
"""
COUNT_UNPUBLISHED_ROWS: Final = """
SELECT count(*)
FROM json_each(?1) k
JOIN pending p ON p.row_id = k.value->>0 AND p.variant = k.value->>1
WHERE p.state = 1 AND p.part = ?2
"""
SPILLS: Final = """
SELECT range, rows, size, digest
FROM ranges
"""
BEGUN_IN_RANGES: Final = f"""
SELECT {PENDING}
FROM pending p
WHERE range IN (SELECT value FROM json_each(?))
    AND (state = 1 OR (state = 0 AND NOT ({UNTOUCHED})))
ORDER BY work
"""


def highest(column: str, table: str) -> str:
    """The statement for the highest number in a column."""
    return f"SELECT max({column}) FROM {table}"


def delete_of_work(table: str) -> str:
    """The statement that deletes what a table has of these rows."""
    return f"""
    DELETE FROM {table}
    WHERE work IN (SELECT value FROM json_each(?))
    """
