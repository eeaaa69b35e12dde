"""Which calls were paid for nothing: they brought no part of the answer that stands in the table.

Owns the four ways in which that happens, and how a call is known for one of them from what the book and the table say.
It looks at some calls at a time, with all calls of a row together, and knows no money.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from batch.prompts.finish_reasons import meaning
from batch.report.cost.windows import whole

WASTE: Final[dict[str, str]] = {
    "failed": "Answers to rows that have failed: what was paid for them brought no answer.",
    "retried": "Answers that could not be used, so that the same turn was asked for once more.",
    "reasked": "Answers without a valid label, after which the row was asked again, or another model was.",
    "duplicate": "Answers that another one replaced, because a later run asked the row anew: it had failed, or what is "
    "asked had changed. Late answers to tasks that were given up are among them.",
}
"""The ways in which a call is paid for nothing, for people; a call has one at most, the last of them that fits."""
NAMES: Final = ("", *WASTE)
"""By code, from 0: none of them, then the ways in their order."""
CALLS: Final = (
    *("row_number", "variant", "sent_at", "state"),
    *("turn", "attempt", "sample", "purpose", "finish_reason"),
)
"""The columns of calls that are needed to tell."""
RESULTS: Final = ("row_number", "variant", "status", "first_sent_at")
"""The same of results."""

_FAILED, _RETRIED, _REASKED, _DUPLICATE = range(1, len(NAMES))
_AGAIN: Final = ("reask", "escalate")


class _Step(NamedTuple):
    key: int
    sample: int
    turn: int
    attempt: int
    again: bool
    place: int


def rows_of(calls: pa.Table, results: pa.Table) -> Any:
    """Where the row of each call stands.

    Args:
        calls: N calls, in one piece.
        results: rows of the table, in one piece: all that these calls may belong to.

    Returns:
        N places in `results`; null where the row is not in the table.
    """
    names = pa.concat_arrays([whole(table.column("variant")).dictionary for table in (calls, results)]).unique()
    return pc.index_in(_keys(calls, names), value_set=_keys(results, names))


def ways(calls: pa.Table, results: pa.Table, places: Any) -> Any:
    """For each call in which way it was paid for nothing.

    Args:
        calls: N calls with the columns `CALLS`, in one piece; all calls of a row are among them.
        results: rows with the columns `RESULTS`, in one piece.
        places: as `rows_of` gave them.

    Returns:
        N codes, int8, by which `NAMES` has them.
    """
    answered = _equal(calls.column("state"), "answered")
    sent = whole(calls.column("sent_at")).cast(pa.int64())
    first = whole(results.column("first_sent_at")).cast(pa.int64()).take(places)
    found = places.is_valid()
    # A row's calls are those since it was admitted last; its first one says when that was.
    earlier = pc.and_(found, pc.fill_null(pc.less(sent, first), fill_value=True))
    failed = pc.fill_null(_equal(results.column("status"), "failed").take(places), fill_value=False)
    codes = pc.if_else(pc.and_(answered, failed), _code(_FAILED), _code(0))
    codes = pc.if_else(pc.and_(answered, earlier), _code(_DUPLICATE), codes)
    standing = pc.invert(pc.or_(earlier, failed))
    more = list(_more(calls, standing, answered))
    if not more:
        return codes
    changed = array("b", codes.to_pylist())
    for place, code in more:
        changed[place] = code
    return pa.Array.from_buffers(pa.int8(), len(changed), [None, pa.py_buffer(changed.tobytes())])


def _more(calls: pa.Table, standing: Any, answered: Any) -> Iterator[tuple[int, int]]:
    """The calls of rows that were tried more than once, without which these rows would have come to the same."""
    again = pc.is_in(whole(calls.column("purpose")).dictionary, value_set=pa.array(_AGAIN, pa.string())).take(
        whole(calls.column("purpose")).indices
    )
    again = pc.fill_null(again, fill_value=False)
    attempt = pc.fill_null(whole(calls.column("attempt")), fill_value=0)
    tried = pc.and_(standing, pc.or_(again, pc.greater(attempt, 0)))
    if not pc.any(tried).as_py():
        return
    key = pc.add(
        pc.multiply(whole(calls.column("row_number")), len(whole(calls.column("variant")).dictionary) + 1),
        pc.fill_null(whole(calls.column("variant")).indices.cast(pa.int64()), fill_value=-1),
    )
    inside = pc.and_(standing, pc.is_in(key, value_set=key.filter(tried).unique()))
    chosen = pc.indices_nonzero(inside)
    reasons = whole(calls.column("finish_reason"))
    columns = [
        key,
        pc.fill_null(whole(calls.column("sample")), fill_value=0),
        pc.fill_null(whole(calls.column("turn")), fill_value=0),
        attempt,
        again,
    ]
    values = (column.take(chosen).to_pylist() for column in columns)
    steps = list(map(_Step._make, zip(*values, chosen.to_pylist(), strict=True)))
    asks_tools = pa.array([meaning(word or "") == "tool_calls" for word in reasons.dictionary.to_pylist()], pa.bool_())
    with_tools = pc.fill_null(asks_tools.take(reasons.indices), fill_value=False)
    wasted = {place for place, yes in zip(chosen.to_pylist(), answered.take(chosen).to_pylist(), strict=True) if yes}
    tools = {place for place, yes in zip(chosen.to_pylist(), with_tools.take(chosen).to_pylist(), strict=True) if yes}
    steps.sort()
    for _, asked in groupby(steps, itemgetter(0, 1)):
        for place, code in _of_row(list(asked), tools):
            if place in wasted:
                yield place, code


def _of_row(steps: list[_Step], tools: set[int]) -> Iterator[tuple[int, int]]:
    """The calls of one asking of a row, in order of turns and attempts, that were of no use."""
    last_attempt = {step.turn: step.attempt for step in steps}
    again = [step.turn for step in steps if step.again]
    first_again, last_turn = (min(again), max(last_attempt)) if again else (None, 0)
    for step in steps:
        if step.attempt < last_attempt[step.turn]:
            yield step.place, _RETRIED
        elif first_again is not None and first_again - 1 <= step.turn < last_turn and step.place not in tools:
            # It ended no turn with tools, so what followed it is that the row was asked again.
            yield step.place, _REASKED


def _keys(table: pa.Table, names: Any) -> Any:
    """One number for each row and variant."""
    variant = whole(table.column("variant"))
    known = pc.index_in(variant.dictionary, value_set=names).cast(pa.int64())
    code = pc.fill_null(known.take(variant.indices), fill_value=len(names))
    return pc.add(pc.multiply(whole(table.column("row_number")), len(names) + 1), code)


def _equal(column: Any, word: str) -> Any:
    """Whether each text of a column is this word."""
    texts = whole(column)
    return pc.fill_null(pc.equal(texts.dictionary, word).take(texts.indices), fill_value=False)


def _code(code: int) -> Any:
    return pa.scalar(code, pa.int8())
