"""Answers that stand in the table under the name of a variant that the job does not have any more.

A job with one model has a variant without a name; with `model.names` or `prompt.variants` each has one, and so the same
question changes its name when a second model or prompt comes, or goes. What was bought is not bought again: the row
under its new name gets the answer that stands under the old one, as rows that ask the same share one, and costs
nothing. The old row stays as it is, until it is pruned.

Owns which answers these are, and brings them. Whether a row takes part is the planner's matter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeAlias

import msgspec

from batch.core.records import Outcome
from batch.job.labelspec import LabelSpec
from batch.job.options import Kind
from batch.ledger.copies import copied
from batch.ledger.reader import Entry
from batch.output import answers
from batch.output.folder import OutputFolder
from batch.plan.kinds import kind_of
from batch.plan.question import Question

Taken: TypeAlias = "tuple[Question, Outcome]"
"""What a row asks, and the outcome that it takes over."""


class Former:
    """What stands answered, of some rows, under names that the job has not.

    Args:
        entries: all that the index has of these rows.
        names: of the job's variants.
        labels: what the job asks of its labels, which may be more than an answer got.
    """

    def __init__(self, entries: Iterable[Entry], names: Collection[str], labels: LabelSpec | None) -> None:
        self._labels = labels
        self._rows: dict[str, list[Entry]] = {}
        for entry in entries:
            if entry.status == 0 and entry.variant not in names:
                self._rows.setdefault(entry.row_id, []).append(entry)
        self._brought: dict[int, dict[answers.Place, Outcome]] = {}

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self._rows)

    def entry(self, row_id: str, kind: Kind | None, asked: Question) -> Entry | None:
        """The answer that a row can take over; None where it has to be asked, or needs nothing.

        Args:
            row_id: which row.
            kind: why it needs work. One that is short of samples has an answer under its own name.
            asked: what it asks.
        """
        if kind is None or kind == "short":
            return None
        for entry in self._rows.get(row_id, ()):
            question = asked.beside(entry.fingerprint, entry.status)
            if kind_of(entry, question.fingerprint, self._labels) is None:
                return entry
        return None

    def take(self, entry: Entry, asked: Question, folder: OutputFolder, now_us: int) -> Taken | None:
        """The outcome of a row that takes over an answer: all that was said, and nothing that was spent.

        Args:
            entry: of the answer.
            asked: what the row asks.
            folder: with the table.
            now_us: wall time in microseconds, UTC.

        Returns:
            None when the answer is not where the index says, so that the row has to be asked.

        Raises:
            UnreadableFile: its part is gone or damaged.
        """
        if entry.part not in self._brought:  # all of these rows at once: a part is read once for them
            places = [(one.row_number, one.variant) for rows in self._rows.values() for one in rows]
            self._brought[entry.part] = answers.read(folder.part(entry.part), places)
        outcome = self._brought[entry.part].get((entry.row_number, entry.variant))
        if outcome is None:
            return None
        kept = msgspec.structs.replace(outcome, labelling=entry.labelling)
        own = copied(kept, kept.deduplicated_from or entry.row_id, now_us)
        return asked.beside(entry.fingerprint, entry.status), own
