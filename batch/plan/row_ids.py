"""Give every row its id: from the key column or from its content, with repeats told apart and unreadable rows named.

A repeat within one pass over the source gets -2, -3 … behind its id: without a key it is simply the same record
again, with a key it is a mistake in the input and the later row fails, naming both places. Behind the number of such a
row stand a few digits of a hash, so that it is never called what another row has as its key. What was met is handed
back row by row, so that a plan which stops inside a batch has seen just the rows it looked at. Pure, but for asking
the ledger what earlier ranges of the pass have met.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from batch.core.canonical import canonical, form_id, record_id, repeated_key_id
from batch.core.records import Failure
from batch.input.batches import SourceBatch, input_failure
from batch.job.job import InputSpec

Seen = dict[str, tuple[int, str | None]]
"""By id: how often it was met in this pass, and where first; None without a key column, where nobody is told."""


class SeenBefore(Protocol):
    """What earlier ranges of the pass have met; the ledger knows it."""

    def seen(self, row_ids: Sequence[str]) -> Mapping[str, tuple[int, str | None]]:
        """How often each of these ids was met, and where first."""
        ...


class Identified(msgspec.Struct, frozen=True):
    """One row: its id, why it cannot be asked if it cannot, and what is seen once it was looked at."""

    row_id: str
    fault: Failure | None
    here: tuple[int, str | None]
    """What is seen of its id: it was met once, here."""
    form: bytes | None = None
    """The canonical form of the whole record, where the id is the hash of it; None otherwise."""
    repeats: Seen | None = None
    """Of a repeat, what is seen then of the id that it would have as the first; None of every other row."""

    def note(self, seen: Seen) -> None:
        """Write down what is seen once the row was looked at."""
        seen[self.row_id] = self.here
        if self.repeats is not None:
            seen.update(self.repeats)


def identify(
    batch: SourceBatch, spec: InputSpec, seen: Mapping[str, tuple[int, str | None]], reader: SeenBefore
) -> list[Identified]:
    """The identity of every row of a batch.

    Args:
        batch: as the source gave it.
        spec: with or without a key column.
        seen: what this range met before.
        reader: knows what earlier ranges of the pass met.
    """
    bases = [_base(batch, index, spec) for index in range(len(batch.lines))]
    known = reader.seen([base for base, _, _ in bases])
    here: Seen = {}
    found = []
    for index, (base, wrong, form) in enumerate(bases):
        before = here.get(base) or seen.get(base) or known.get(base)
        place = batch.place(index) if spec.key is not None else None
        once = 1, place
        if before is None:
            here[base] = once
            found.append(Identified(base, wrong, once, form))
            continue
        times = before[0] + 1
        row_id = f"{base}-{times}" if spec.key is None else repeated_key_id(base, times)
        while spec.key is not None and (row_id in here or row_id in seen or reader.seen([row_id])):
            # Keys are free text: somebody may have taken even this one from a table of results.
            times += 1
            row_id = repeated_key_id(base, times)
        repeats = {base: (times, before[1] or place)}
        if spec.key is not None and place is not None:
            # What the reader found wrong with the row comes first.
            wrong = wrong or _twice(spec.key, base, place, before[1])  # noqa: PLW2901 - goes on with the better one
        found.append(Identified(row_id, wrong, once, form, repeats))
        found[-1].note(here)
    return found


def _base(batch: SourceBatch, index: int, spec: InputSpec) -> tuple[str, Failure | None, bytes | None]:
    record, raw = batch.records[index], batch.raw_ids[index]
    if record is None or raw is not None:
        return raw or f"bad-{batch.lines[index]}", batch.failures[index], None
    wrong = batch.failures[index]
    if spec.key is None:
        if spec.file_column is not None:
            return record_id(record, but=spec.file_column), wrong, None
        form = canonical(record)
        return form_id(form), wrong, form
    key = batch.key(index, spec.key)
    if key is None:
        reason = f"{spec.key} is empty, so this row has no identity; fill it in"
        wrong = wrong or input_failure(batch.place(index), code="no_key", reason=reason)
        return f"no-key-{record_id(record, but=spec.file_column)}", wrong, None
    return key, wrong, None


def _twice(key: str, value: str, place: str, first: str | None) -> Failure:
    reason = (
        f"{key} {value!r} stands already at {first}; make the keys unique, or leave input.key out to tell rows by "
        "their content"
    )
    return input_failure(place, code="duplicate_key", reason=reason)
