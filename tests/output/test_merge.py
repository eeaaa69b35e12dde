"""`batch.output.merge`: replacing and inserting equals what a dictionary would do, however the rows are cut into tables."""

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.output.merge import merged

SCHEMA = pa.schema([("row_id", pa.string()), ("row_number", pa.int64()), ("variant", pa.string()), ("v", pa.string())])
Row = tuple[str, int, str | None, str]
VARIANTS = ("b", "a", None, "gone")


def table(rows: list[Row], schema: pa.Schema = SCHEMA) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [[], [], [], []]
    return pa.table([pa.array(list(c), f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def cut(rows: list[Row], sizes: list[int]) -> list[pa.Table]:
    """Tables of the given sizes, over and over; empty ones among them."""
    tables, start, turn = [], 0, 0
    while start < len(rows):
        size = sizes[turn % len(sizes)]
        tables.append(table(rows[start : start + size]))
        start, turn = start + size, turn + 1
        if turn > 3 * len(rows) + 10:
            break
    return [*tables, table(rows[start:])]


keys = st.sets(st.tuples(st.integers(0, 12), st.sampled_from(VARIANTS)))
sizes = st.lists(st.integers(0, 4), min_size=1, max_size=4)


@given(keys, keys, sizes, sizes, st.permutations(VARIANTS[:3]))
def test_a_merge_equals_a_dictionary(
    old_keys: set[tuple[int, str | None]],
    new_keys: set[tuple[int, str | None]],
    old_sizes: list[int],
    new_sizes: list[int],
    asked: list[str | None],
) -> None:
    """Ours: exactly one row per key, by row number, then by the job's order, the rest behind as it stood."""

    def rank(variant: str | None) -> int:
        return asked.index(variant) if variant in asked else len(asked)

    def rows(found: set[tuple[int, str | None]], value: str) -> list[Row]:
        # Within a row number any order will do: an old part may have been written under another order of variants.
        return [(f"r{n}", n, v, value) for n, v in sorted(found, key=lambda k: (k[0], str(k[1])))]

    old, new = rows(old_keys, "old"), rows(new_keys, "new")
    model = {(row_id, variant): (row_id, n, variant, v) for row_id, n, variant, v in [*old, *new]}
    expected = sorted(model.values(), key=lambda r: (r[1], rank(r[2])))

    tables = list(merged(cut(old, old_sizes), cut(new, new_sizes), variants=asked))

    found = [tuple(r.values()) for t in tables for r in t.to_pylist()]
    assert expected == found


def test_a_variant_no_longer_asked_for_stays_where_it_stood() -> None:
    """Rows and variants no longer asked for stay as they are."""
    old: list[Row] = [("r0", 0, "x", "1"), ("r0", 0, "y", "2"), ("r0", 0, "a", "3")]
    (found,) = merged([table(old)], [table([("r0", 0, "x", "new")])], variants=["a"])
    assert found.column("variant").to_pylist() == ["a", "x", "y"]
    assert found.column("v").to_pylist() == ["3", "new", "2"]


def test_one_table_of_each_side_is_held_at_a_time() -> None:
    """Memory is flat: a part of any size is never read ahead of what is passed on."""
    pulled = {"old": 0, "new": 0}

    def side(name: str, start: int) -> Iterator[pa.Table]:
        for n in range(50):
            pulled[name] += 1
            yield table([(f"{name}{n}-{k}", n * 10 + k + start, None, name) for k in range(0, 10, 2)])

    rows = 0
    for part in merged(side("old", 0), side("new", 1), variants=[None]):
        assert pulled["old"] * 5 + pulled["new"] * 5 - rows <= 20
        rows += part.num_rows
    assert rows == 500


def test_types_that_cannot_be_taken_by_index_are_merged_all_the_same() -> None:
    """Input columns keep their type, view types too."""
    schema = SCHEMA.set(3, pa.field("v", pa.string_view()))
    old = table([("r0", 0, None, "old"), ("r2", 2, None, "old")], schema)
    new = table([("r0", 0, None, "new"), ("r1", 1, None, "new")], schema)
    tables = list(merged([old], [new], variants=[None]))
    assert [v for t in tables for v in t.column("v").to_pylist()] == ["new", "new", "old"]


def test_rows_out_of_order_are_refused() -> None:
    """A wrong order would put two rows of one key into the table."""
    wrong = [table([("r1", 1, None, "")]), table([("r0", 0, None, "")])]
    with pytest.raises(ValueError, match="ascending row_number"):
        list(merged([], wrong, variants=[None]))
