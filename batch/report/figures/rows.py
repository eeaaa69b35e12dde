"""Pages of rows: those that a filter lets through, in the order of the table or the first of another order.

Owns what is read for a page: in the order of the table, row groups one after another until the page is full, without
those whose footer shows that they have none. How many rows of a part a filter lets through is remembered, so that the
pages behind are found without reading what lies before them. Memory holds one row group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.core.errors import RefusedToStart
from batch.core.nearest import suggestion
from batch.report.figures.cells import listed, listed_columns, menu
from batch.report.figures.conditions import is_number
from batch.report.figures.filters import Conditions, Filter
from batch.report.figures.memory import FileMemory
from batch.report.figures.parquet import OpenPart
from batch.report.figures.tableview import Changed, PartEntry, TableView

SIZE: Final = 50
LARGEST: Final = 500
ORDERED: Final = 1_000
"""Rows of an order that is not the table's: its first."""
NUMBER: Final = "row_number"
ORDERS: Final = {"slowest": "-latency_ms", "dearest": "-cost", "tokens": "-total_tokens", "newest": "-settled_at"}
"""Other orders that have a name."""


class Page(msgspec.Struct, frozen=True):
    """Which page is asked for."""

    page: int = 1
    size: int = SIZE
    order: str = ""
    """A name of `ORDERS`; or a column with numbers, by which the least come first; with `-` before it the greatest."""


class _Place(NamedTuple):
    """Where a row stands: in which of the table's parts, and there in which row group at which place."""

    part: int
    group: int
    place: int


class Rows:
    """The rows of a table at one moment.

    Args:
        view: the table.
        asked: which of its rows.
        memory: remembers how many rows each part has for a filter.

    Raises:
        RefusedToStart: the filter makes no sense for this table.
    """

    def __init__(self, view: TableView, asked: Filter, memory: FileMemory) -> None:
        self.view = view
        self.asked = asked
        self.conditions = Conditions(asked, view.schema, view.tags)
        self._memory = memory

    def page(self, wanted: Page) -> dict[str, Any]:
        """One page.

        Raises:
            RefusedToStart: there can be no such page.
            StorageError: a part cannot be read, or was replaced meanwhile.
        """
        _require(wanted)
        columns = listed_columns(self.view.schema)
        skip, size = (wanted.page - 1) * wanted.size, wanted.size
        if wanted.order in ("", NUMBER):
            found, more = self._in_order(skip, size, columns)
            ordered_by = NUMBER
        else:
            places = self._ordered(ORDERS.get(wanted.order, wanted.order))
            found, more = self._at(places[skip : skip + size], columns), len(places) > skip + size
            ordered_by = wanted.order
        rows = [row for table in found for row in listed(table, self.view.schema)]
        return {
            "rows": rows,
            "page": wanted.page,
            "size": size,
            "more": more,
            "total": self._known_total(),
            "columns": menu(self.view.schema),
            "ordered_by": ordered_by,
        }

    def count(self) -> int:
        """How many rows there are.

        Raises:
            StorageError: a part cannot be read.
        """
        return sum(self._count(part) for part in self.view.parts)

    def matching(self, columns: Mapping[str, Any]) -> Iterator[pa.Table]:
        """All rows, in these columns, in the order of the table.

        Args:
            columns: by name, their types.

        Raises:
            StorageError: a part cannot be read.
        """
        for entry in self.view.parts:
            if self._counted(entry) == 0:
                continue
            with OpenPart(entry.path) as part:
                for group in range(part.groups):
                    places = self._places(part, group)
                    if len(places):
                        yield part.read(group, columns).take(places)

    def numbers(self, entries: Sequence[PartEntry], *, backwards: bool = False) -> Iterator[int]:
        """The row numbers of the rows in some parts, once for each variant.

        Args:
            entries: parts of the table, in its order.
            backwards: begin with the last row.

        Raises:
            StorageError: a part cannot be read.
        """
        for entry in reversed(entries) if backwards else entries:
            if self._counted(entry) == 0:
                continue
            with OpenPart(entry.path) as part:
                groups = range(part.groups)
                for group in reversed(groups) if backwards else groups:
                    places = self._places(part, group)
                    if len(places):
                        found = part.read(group, {NUMBER: pa.int64()}).column(NUMBER).take(places).to_pylist()
                        yield from reversed(found) if backwards else found

    # -- in the order of the table ------------------------------------------------------------------------------------

    def _in_order(self, skip: int, size: int, columns: Mapping[str, Any]) -> tuple[list[pa.Table], bool]:
        """The rows behind the first `skip`, and whether there are more than `size` of them."""
        found: list[pa.Table] = []
        left = size
        for entry in self.view.parts:
            known = self._counted(entry)
            if known is not None and known <= skip:
                skip -= known
                continue
            if not left:
                if self._count(entry):
                    return found, True
                continue
            with OpenPart(entry.path) as part:
                count = 0
                for group in range(part.groups):
                    places = self._places(part, group)
                    count += len(places)
                    taken = places[skip : skip + left]
                    if len(taken):
                        found.append(part.read(group, columns).take(taken))
                    left -= len(taken)
                    if len(places) > skip + len(taken):
                        return found, True
                    skip = max(0, skip - len(places))
                self._memory.keep(entry.path, self.asked, part.identity, count)
        return found, False

    def _places(self, part: OpenPart, group: int) -> Any:
        """The places of the rows of one row group that are asked for."""
        rows = part.rows(group)
        if not self.asked:
            return pa.array(range(rows), pa.int64())
        if not self.conditions.may(part.ends(group)):
            return pa.array([], pa.int64())
        mask = self.conditions.mask(part.read(group, self.conditions.columns))
        if isinstance(mask, pa.ChunkedArray):
            mask = mask.combine_chunks()
        return pc.indices_nonzero(mask)

    def _count(self, entry: PartEntry) -> int:
        known = self._counted(entry)
        if known is not None:
            return known
        with OpenPart(entry.path) as part:
            count = sum(len(self._places(part, group)) for group in range(part.groups))
            self._memory.keep(entry.path, self.asked, part.identity, count)
        return count

    def _counted(self, entry: PartEntry) -> int | None:
        """How many rows of a part are asked for, if that is known without reading it."""
        if not self.asked:
            return entry.rows
        known = self._memory.known_now(entry.path, self.asked)
        return None if known is None else known[0]

    def _known_total(self) -> int | None:
        total = 0
        for entry in self.view.parts:
            known = self._counted(entry)
            if known is None:
                return None
            total += known
        return total

    # -- in another order -----------------------------------------------------------------------------------------

    def _ordered(self, order: str) -> list[tuple[_Place, Any]]:
        """The places of the first rows by a column, each with the identity of its part.

        Rows without a value are left out; of the same value those that stand first come first.
        """
        name = order.removeprefix("-")
        schema = self.view.schema
        if name not in schema.names or not is_number(schema.field(name).type):
            numbers = [field.name for field in schema if is_number(field.type)]
            hint = suggestion(name, numbers, f"There are: {', '.join(numbers)}.")
            raise RefusedToStart(f"order={order}: there is no column {name!r} with numbers. {hint}")
        columns = {**self.conditions.columns, name: schema.field(name).type}
        best = pa.table({"value": pa.array([], columns[name]), **{place: pa.array([], pa.int64()) for place in _PLACE}})
        identities: list[Any] = []
        for number, entry in enumerate(self.view.parts):
            with OpenPart(entry.path) as part:
                identities.append(part.identity)
                for group in range(part.groups):
                    if not (self.conditions.may(part.ends(group)) and _can_beat(part.ends(group), name, best, order)):
                        continue
                    best = _best(best, self._candidates(part, number, group, name, columns), order)
        return [
            (_Place(part, group, place), identities[part])
            for part, group, place in zip(*(best.column(place).to_pylist() for place in _PLACE), strict=True)
        ]

    def _candidates(self, part: OpenPart, number: int, group: int, name: str, columns: Mapping[str, Any]) -> pa.Table:
        table = part.read(group, columns)
        known = pc.is_valid(table.column(name))
        mask = self.conditions.mask(table)
        places = pc.indices_nonzero(known if mask is None else pc.and_(known, mask)).cast(pa.int64())
        return pa.table(
            {
                "value": table.column(name).take(places),
                "part": pa.repeat(pa.scalar(number, pa.int64()), len(places)),
                "group": pa.repeat(pa.scalar(group, pa.int64()), len(places)),
                "place": places,
            }
        )

    def _at(self, places: list[tuple[_Place, Any]], columns: Mapping[str, Any]) -> list[pa.Table]:
        """The rows at these places, in their order."""
        found: dict[_Place, pa.Table] = {}
        for number in sorted({place.part for place, _ in places}):
            with OpenPart(self.view.parts[number].path) as part:
                mine = [place for place, identity in places if place.part == number]
                if any(identity != part.identity for place, identity in places if place.part == number):
                    raise Changed(part.path)
                for group in sorted({place.group for place in mine}):
                    table = part.read(group, columns)
                    for place in mine:
                        if place.group == group:
                            found[place] = table.slice(place.place, 1)
        return [found[place] for place, _ in places]


_PLACE: Final = ("part", "group", "place")


def _best(best: pa.Table, more: pa.Table, order: str) -> pa.Table:
    """The first rows of both by an order."""
    both = pa.concat_tables([best, more])
    way = "descending" if order.startswith("-") else "ascending"
    keys = [("value", way), *((place, "ascending") for place in _PLACE)]
    return both.take(pc.sort_indices(both, sort_keys=keys)[:ORDERED]).combine_chunks()


def _can_beat(told: Mapping[str, tuple[Any, Any]], name: str, best: pa.Table, order: str) -> bool:
    """Whether a row group with these ends can have one of the first rows."""
    if name not in told or best.num_rows < ORDERED:
        return told.get(name, (0, 0))[0] is not None
    least, greatest = told[name]
    if least is None:
        return False
    last = best.column("value")[-1].as_py()
    try:
        return bool(greatest > last if order.startswith("-") else least < last)
    except TypeError:
        return True


def _require(wanted: Page) -> None:
    if wanted.page < 1:
        raise RefusedToStart(f"page={wanted.page}: pages are counted from 1.")
    if not 1 <= wanted.size <= LARGEST:
        raise RefusedToStart(f"size={wanted.size}: a page has 1 to {LARGEST} rows.")
