"""Brings the lines of a bill and the calls of a book together by the ids of calls, on disk, however many there are.

Owns which ids of a call a bill may name: ours, the provider's for the request, or that of the task. Ours counts first:
a provider that mixes answers up gives one call the id of another. A second record of an overdue task belongs to the id
of the first. It judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Self

import apsw
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.ledger.late import LATE
from batch.report.cost.bill import Entry
from batch.report.cost.book import BookFolder
from batch.report.cost.report import Query, chosen
from batch.report.cost.sums import units
from batch.report.cost.windows import whole
from batch.report.cost.zones import floored, name_of

_CALLS: Final = (
    *("row_number", "client_call_id", "request_id", "task_id", "state", "sent_at", "provider", "model_asked"),
    *("prompt_tokens", "completion_tokens", "total_tokens", "cost", "currency", "cost_bound"),
)
_MAKE: Final = """
PRAGMA journal_mode=OFF;
PRAGMA synchronous=OFF;
PRAGMA cache_size=-65536;
CREATE TABLE bill(
    id TEXT PRIMARY KEY,
    named INTEGER,
    line INTEGER,
    lines INTEGER,
    period TEXT,
    model TEXT,
    prompt INTEGER,
    completion INTEGER,
    total INTEGER,
    cost INTEGER,
    currency TEXT,
    calls INTEGER DEFAULT 0,
    known INTEGER DEFAULT 0,
    our_prompt INTEGER,
    our_completion INTEGER,
    our_total INTEGER,
    our_cost INTEGER,
    our_currency TEXT,
    bound INTEGER,
    bounded INTEGER DEFAULT 1
);
CREATE TABLE alone(id TEXT, period TEXT, model TEXT, prompt INTEGER, completion INTEGER, total INTEGER, cost INTEGER,
    currency TEXT);
"""
_PUT: Final = """
INSERT INTO bill(id, named, line, lines, period, model, prompt, completion, total, cost, currency)
VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT(id) DO UPDATE SET
    lines = lines + 1,
    prompt = coalesce(prompt + excluded.prompt, prompt, excluded.prompt),
    completion = coalesce(completion + excluded.completion, completion, excluded.completion),
    total = coalesce(total + excluded.total, total, excluded.total),
    cost = coalesce(cost + excluded.cost, cost, excluded.cost),
    currency = coalesce(currency, excluded.currency)
"""
_MET: Final = """
UPDATE bill
SET calls = calls + 1,
    known = known + ?2,
    our_prompt = coalesce(our_prompt + ?3, our_prompt, ?3),
    our_completion = coalesce(our_completion + ?4, our_completion, ?4),
    our_total = coalesce(our_total + ?5, our_total, ?5),
    our_cost = coalesce(our_cost + ?6, our_cost, ?6),
    our_currency = coalesce(our_currency, ?7),
    bound = coalesce(bound + ?8, bound, ?8),
    bounded = bounded AND (?2 OR ?8 IS NOT NULL)
WHERE id = ?1
"""
_FIND: Final = """
SELECT id
FROM bill
WHERE named AND id IN (?1, ?2, ?3)
ORDER BY CASE id WHEN ?1 THEN 1 WHEN ?2 THEN 2 ELSE 3 END
LIMIT 1
"""
_BILLED: Final = """
SELECT named, id, line, lines, period, model, prompt, completion, total, cost, currency, calls, known,
    our_prompt, our_completion, our_total, our_cost, our_currency, CASE WHEN bounded THEN bound END
FROM bill
ORDER BY line
"""


class Matched(msgspec.Struct, frozen=True, array_like=True):
    """One id of a bill, or one day and model of it, and what the calls that were met for it came to."""

    id: str | None
    line: int
    lines: int
    period: str | None
    model: str | None
    prompt: int | None
    completion: int | None
    total: int | None
    cost: int | None
    currency: str | None
    calls: int
    """How many records of the book have this id."""
    known: int
    """Of how many of them the cost is known, or could be."""
    our_prompt: int | None
    our_completion: int | None
    our_total: int | None
    our_cost: int | None
    our_currency: str | None
    bound: int | None
    """The most that the others can cost; None where nothing can be said of one."""


class Unbilled(msgspec.Struct, frozen=True, array_like=True):
    """One call of the book that the bill does not have."""

    id: str
    period: str | None
    model: str | None
    prompt: int | None
    completion: int | None
    total: int | None
    cost: int | None
    currency: str | None


class Matching:
    """A temporary database with a bill, which calls are held against; a context that ends with it."""

    def __init__(self) -> None:
        self._db = apsw.Connection("")  # a private file, removed when closed

    def __enter__(self) -> Self:
        self._db.execute(_MAKE).fetchall()
        self._db.execute("BEGIN")
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def put(self, entry: Entry, *, by_id: bool) -> None:
        """Add one line of the bill.

        Args:
            entry: the line.
            by_id: whether it stands for a call; else for its day and model.
        """
        key = entry.id if by_id else "\t".join((entry.period or "", (entry.model or "").lower(), entry.currency or ""))
        named = by_id and key is not None
        key = key if key is not None else f"line {entry.line}"
        told = (entry.prompt, entry.completion, entry.total, entry.cost, entry.currency)
        self._db.execute(_PUT, (key, named, entry.line, entry.period, entry.model, *told))

    def meet(self, folder: BookFolder, query: Query) -> None:
        """Hold the calls of one folder against the bill.

        Raises:
            StorageError: a file cannot be read.
        """
        for calls, _ in folder.stretches(_CALLS, ["row_number"]):
            wanted = chosen(calls, query)
            self._meet(calls if wanted is None else calls.filter(wanted).combine_chunks(), query)

    def _meet(self, calls: pa.Table, query: Query) -> None:
        if not len(calls):
            return
        zone = query.zones.of(query.provider)
        begins = floored(whole(calls.column("sent_at")).cast(pa.int64()), zone, "day")
        days = {begin: name_of(begin, zone, "day") for begin in pc.unique(begins).to_pylist()}
        columns = [begins, *(whole(calls.column(name)) for name in _CALLS[1:])]
        for begin, call_id, request_id, task_id, state, _, _, model, *numbers in zip(
            *(column.to_pylist() for column in columns), strict=True
        ):
            prompt, completion, total, cost, currency, bound = numbers
            ids = (call_id.removesuffix(LATE), request_id, task_id)
            found = self._db.execute(_FIND, ids).fetchone()
            booked = None if cost is None else units(cost)
            told: Any = (prompt, completion, total, booked, currency)
            if found is not None:
                most = None if bound is None else units(bound)
                known = state != "unknown" and not (state == "answered" and prompt is None)
                self._db.execute(_MET, (found[0], known, *told, most))
            elif booked or (state == "answered" and booked is None and total):
                self._db.execute(
                    "INSERT INTO alone VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (ids[0], days[begin], model, *told)
                )

    def billed(self) -> Iterator[Matched]:
        """What the bill has, in its order."""
        for named, id_, *rest in self._db.execute(_BILLED):
            yield Matched(id_ if named else None, *rest)

    def unbilled(self) -> Iterator[Unbilled]:
        """The calls of the book with a cost, or with tokens and no price, that the bill does not have."""
        for row in self._db.execute("SELECT * FROM alone ORDER BY rowid"):
            yield Unbilled(*row)
