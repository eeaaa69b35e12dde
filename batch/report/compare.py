"""Compares the variants of a table: what each cost, how often two of them agree, and on which rows they do not.

Owns what "the same answer" means: equal labels where the rows have labels; else equal text, but for white space at its
ends; equal values where both are JSON objects or lists, whatever the order of keys. Reads the published parts only, one
stretch of rows at a time, so it works during a run and over any number of rows; the ledger says which parts there are
and which variants the last run asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, groupby
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa

from batch.core import canonical
from batch.core.errors import RefusedToStart, StorageError
from batch.ledger.reader import LedgerReader
from batch.output.folder import OutputFolder
from batch.output.parts import PartReader
from batch.output.unreadable import unreadable
from batch.prompts.variants import old_models
from batch.report.folders import opened
from batch.report.label_table import gold_of, input_fields, label_column, labels_of, last_gold, ours, schema_of, texts
from batch.report.missing import Missing, Reading, opening
from batch.report.variant_sums import LABEL, MEANS, TOKENS, TRUTH, Pair, VariantSums

READ_ROWS: Final = 500
_ANSWER: Final = ("status", "answer", "finish_reason", "flags", "error_kind", "error_code", "error_message")
_COUNTED: Final = ("calls", *TOKENS, "cost", "currency", "latency_ms")
_KEY: Final = ("row_id", "row_number", "variant")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one row in one variant; the names are those of the table."""

    variant: str | None
    status: str
    answer: str | None
    finish_reason: str | None = None
    flags: tuple[str, ...] = ()
    error_kind: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One row in its variants, in their order; variants without a result of the row are left out."""

    row_id: str
    row_number: int
    inputs: dict[str, Any]
    """The chosen input columns."""
    differs: bool
    """Whether two of the answers are not the same, or one variant answered and another failed."""
    answers: tuple[Answer, ...]


class Comparison:
    """Goes once over the table. Its counts are of the rows that `rows` has given until now.

    Args:
        out: the output folder.
        variants: which to compare, in this order; all of the table by default.
        columns: input columns of the rows given; those with text, numbers, times or truth values by default.
        gold: the input column with the truth of the labels; by default the one that the job of the last run names.
        label: the column with the labels; the one there is by default.

    Raises:
        OutputError: `out` is no output folder.
        RefusedToStart: there are no two variants to compare, or a variant or column that was named does not exist.
        StorageError: no part, or not the ledger, can be read.

    Attributes:
        inputs_wanted: may be set to False once no more rows are looked at: they come without inputs, and faster.
        variants: each with its sums.
        pairs: each two of them.
        rows_read: rows of the input with a result in any of the variants.
        complete: rows that have a result in all of them.
        differing: rows that differ.
        labels: the columns whose values decide whether results are the same; none where the answers do.
        gold: the column that labels are held against, or None.
    """

    def __init__(
        self,
        out: Path,
        *,
        variants: Sequence[str] = (),
        columns: Sequence[str] = (),
        gold: str | None = None,
        label: str | None = None,
    ) -> None:
        self.folder = opened(out)
        with LedgerReader(self.folder.ledger) as reader, reader.snapshot():
            parts = [self.folder.part(number) for number in reader.parts()]
            last = next(reversed(reader.runs()), None)
        self._parts, lost = opening(self.folder, parts)
        self._reading = Reading(self.folder.root, lost)
        asked = list(_asked(self.folder, last.run, last.request)) if last is not None else []
        present = self._present(asked)
        self._refuse(present, variants)
        chosen: list[str | None] = [*variants] if variants else present
        self.variants = [VariantSums(variant=name, asked=name in asked) for name in chosen]
        self.pairs = [Pair(first, second) for first, second in combinations(chosen, 2)]
        self.inputs_wanted = True
        self.rows_read = self.complete = self.differing = 0
        self._sums = {sums.variant: sums for sums in self.variants}
        self._position = {name: position for position, name in enumerate(chosen)}
        schema = self._reading.newest(self._parts, schema_of)
        self._columns = self._inputs(schema, columns)
        self.labels = [name for name in [label] if name in labels_of(schema)] or labels_of(schema)
        self._means = [name for name in ours(schema) if name in MEANS]
        label, self.gold = self._measured_by(schema, last.run if last is not None else None, label, gold)
        self._measured = {} if label is None or self.gold is None else {LABEL: label, TRUTH: self.gold}

    def rows(self) -> Iterator[Compared]:
        """Every row with a result in at least one of the variants, in the order of the table.

        A part that cannot be read is left out; see `missing`.
        """
        found = self._reading.each(self._parts, self._results)
        for _, group in groupby(found, key=lambda row: row["row_id"]):
            results = sorted((r for r in group if r["variant"] in self._position), key=self._order)
            if results:
                yield self._compared(results)

    @property
    def missing(self) -> tuple[Missing, ...]:
        """The parts that could not be read until now: no sum knows their rows."""
        return self._reading.missing

    # -- inside -----------------------------------------------------------------------------------------------------

    def _order(self, row: dict[str, Any]) -> int:
        return self._position[row["variant"]]

    def _compared(self, results: list[dict[str, Any]]) -> Compared:
        meanings: dict[str | None, bytes] = {}
        for row in results:
            self._sums[row["variant"]].add(row)
            if row["status"] == "ok":
                meanings[row["variant"]] = self._meaning(row)
        for pair in self.pairs:
            if pair.first in meanings and pair.second in meanings:
                pair.answered += 1
                pair.agree += meanings[pair.first] == meanings[pair.second]
        differs = len(set(meanings.values())) > 1 or 0 < len(meanings) < len(results)
        self.rows_read += 1
        self.complete += len(results) == len(self.variants)
        self.differing += differs
        first = results[0]
        return Compared(
            row_id=first["row_id"],
            row_number=first["row_number"],
            inputs={name: first[name] for name in self._columns if name in first},
            differs=differs,
            answers=tuple(_answer(row) for row in results),
        )

    def _meaning(self, row: dict[str, Any]) -> bytes:
        """What decides whether a result is the same as another: its label if it has one, else its answer."""
        said = {name: row.get(name) for name in self.labels}
        if all(value is None for value in said.values()):
            return meaning(row["answer"])
        return b"label " + msgspec.json.encode(said, order="sorted", enc_hook=str)

    def _results(self, part: Path) -> Iterator[dict[str, Any]]:
        """The rows of one part, `READ_ROWS` in memory at a time."""
        needed = [*_KEY, *_ANSWER, *_COUNTED, *self.labels, *self._means]
        try:
            with PartReader(part) as file:
                names = [*self._columns, *needed] if self.inputs_wanted else needed
                names = [name for name in [*names, *self._measured.values()] if name in file.schema_arrow.names]
                for batch in file.iter_batches(batch_size=READ_ROWS, columns=list(dict.fromkeys(names))):
                    rows = batch.to_pylist(maps_as_pydicts="lossy")
                    for key, name in self._measured.items():
                        if name in names:
                            for row, text in zip(rows, texts(batch.column(name)).to_pylist(), strict=True):
                                row[key] = text
                    yield from rows
        except (OSError, pa.ArrowException) as exc:
            raise unreadable(part, exc) from exc

    def _present(self, asked: Sequence[str | None]) -> list[str | None]:
        """The variants of the table: those of the last run in its order, then those left from earlier ones."""
        present: dict[str | None, None] = {}
        for names in self._reading.each(self._parts, _variants_in):
            present.update(dict.fromkeys(names))
        if self.missing and not present:
            raise StorageError(self.missing[0].reason)
        return [name for name in asked if name in present] + [name for name in present if name not in asked]

    def _refuse(self, present: Sequence[str | None], chosen: Sequence[str]) -> None:
        root, have = self.folder.text, ", ".join(name for name in present if name is not None)
        for name in chosen:
            if name not in present:
                raise RefusedToStart(f"{root}: no row has a variant {name!r}. It has {have or 'none'}.")
        if not self._parts:
            raise RefusedToStart(f"{root}: has no results yet. Compare once a part is published.")
        if len(set(chosen)) == 1 or len(present) < 2:
            only = chosen[0] if chosen else have
            reason = f"there is nothing to compare {only!r} with" if only else "its rows have no variants"
            raise RefusedToStart(
                f"{root}: {reason}. Several models (model.names) or prompts (prompt.variants) give every row one "
                "result for each."
            )

    def _measured_by(
        self, schema: pa.Schema, run: str | None, label: str | None, gold: str | None
    ) -> tuple[str | None, str | None]:
        """The columns with the labels and with their truth; both None where there is nothing to measure.

        Raises:
            RefusedToStart: one that was named does not exist, or a truth was named and there are no labels.
        """
        root = self.folder.text
        truth, _ = gold_of(schema, gold, last_gold(self.folder, run), root)
        named = label is not None or gold is not None
        if truth is None or not (named or labels_of(schema)):
            return None, None
        try:
            return label_column(schema, label, root), truth
        except RefusedToStart:
            if named:
                raise
            return None, None  # several, and nobody asked for one

    def _inputs(self, schema: pa.Schema, chosen: Sequence[str]) -> list[str]:
        """The input columns of the rows given.

        Raises:
            RefusedToStart: a chosen one does not exist.
        """
        fields = input_fields(schema)
        names = [field.name for field in fields]
        for name in chosen:
            if name not in names:
                raise RefusedToStart(f"no input column {name!r} in {self.folder.text}. It has {', '.join(names)}.")
        return list(chosen) or [field.name for field in fields if _readable(field.type)]


def _variants_in(part: Path) -> Iterator[list[str | None]]:
    """The variants in one part, some rows at a time."""
    try:
        with PartReader(part) as file:
            for batch in file.iter_batches(batch_size=65_536, columns=["variant"]):
                yield batch.column(0).unique().to_pylist()
    except (OSError, pa.ArrowException) as exc:
        raise unreadable(part, exc) from exc


def meaning(answer: str | None) -> bytes:
    """What an answer says, as bytes: two answers are the same when their meanings are equal."""
    text = (answer or "").strip()
    if text[:1] in ("{", "["):
        try:
            value = canonical.plain(canonical.loads(text), keep_null=True)
            return b"json " + msgspec.json.encode(value, order="sorted")
        except (ValueError, TypeError, RecursionError):
            pass  # it only begins like JSON
    return b"text " + text.encode("utf-8", "surrogatepass")


def _asked(folder: OutputFolder, run: str, request: str) -> Iterator[str | None]:
    """The variants of a run in the order of its job, which its file has: the stored request has them sorted."""
    asked = [name or None for name in old_models(msgspec.json.decode(request))]
    try:
        in_order = msgspec.json.decode(folder.run_file(run).read_bytes())["job"]["variants"]
    except (OSError, ValueError, TypeError, KeyError):
        in_order = []
    yield from (name for name in in_order if name in asked)
    yield from (name for name in asked if name not in in_order)


def _answer(row: dict[str, Any]) -> Answer:
    return Answer(
        variant=row["variant"], flags=tuple(row["flags"] or ()), **{n: row[n] for n in _ANSWER if n != "flags"}
    )


def _readable(kind: pa.DataType) -> bool:
    """Whether a person can read values of this type in one line."""
    types = pa.types
    nested_or_bytes = (types.is_nested, types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return not any(is_one(kind) for is_one in nested_or_bytes)
