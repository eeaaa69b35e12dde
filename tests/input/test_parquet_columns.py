"""`batch.input.parquet_columns` and `fitting`: files that do not agree become one table that loses nothing."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.core.errors import InputError
from batch.input.json_columns import REST
from batch.input.source import Source
from batch.job.job import InputSpec
from batch.prompts.columns import messages_of
from tests.input.cases import Bad
from tests.support.rows import batches, records, spilled

USER = pa.struct({"role": pa.string(), "content": pa.string()})
NAMED = pa.struct({"content": pa.large_string(), "name": pa.string(), "role": pa.string()})
SAID = [{"role": "user", "content": "Hi"}]


def shards(folder: Path, *columns: Any, **how: Any) -> Source:
    """A source of files with one column `v` each, under a row number `n`."""
    folder.mkdir(exist_ok=True)
    for number, column in enumerate(columns):
        array = column if isinstance(column, pa.Array) else pa.array(column)
        pq.write_table(pa.table({"n": range(len(array)), "v": array}), folder / f"{number}.parquet")
    kept = {"n": "int64", **how.pop("kept")} if "kept" in how else None
    return Source.open(InputSpec(path=folder, key=how.pop("key", None)), fixed_types=kept, **how)


def values(opened: Source) -> list[Any]:
    """What rows have in `v`; an error's text in place of a row that cannot be asked."""
    return [
        record["v"] if record is not None else failure and failure.message
        for batch in batches(opened)
        for record, failure in zip(batch.records, batch.failures, strict=True)
    ]


def column(opened: Source, name: str = "v") -> list[Any]:
    """The cells of the column as the table gets them."""
    return [cell for batch in batches(opened) for cell in batch.columns.column(name).to_pylist()]


def check_spill(folder: Path, opened: Source) -> None:
    """A prompt reads the same from what was kept of a row as from its file."""
    with spilled(folder, opened) as spill:
        assert repr(spill.records(0, spill.rows)) == repr(records(opened))


# -- structs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [pa.list_, pa.large_list])
def test_messages_with_a_field_more_or_in_another_order_go_together(tmp_path: Path, listed: Any) -> None:
    """FIELD 36: what a file lacks is null, and no message that is asked changes by it."""
    named = [{"role": "user", "content": "Hi", "name": "Ann"}]
    first = pa.array([SAID, None, []], pa.list_(USER))
    second = pa.array([named, [*SAID, *named]], listed(NAMED))
    opened = shards(tmp_path / "in", first, second)
    assert [field.name for field in opened.schema.field("v").type.value_type] == ["role", "content", "name"]
    found = values(opened)
    assert [found[0][0]["name"], found[1], found[2]] == [None, None, []]
    assert [messages_of(value, "v") for value in found if value] == [SAID, named, [*SAID, *named]]
    check_spill(tmp_path, opened)
    other = shards(tmp_path / "back", second, first)
    assert [messages_of(value, "v") for value in values(other) if value] == [named, [*SAID, *named], SAID]


def test_messages_that_get_a_field_in_a_later_run_widen_the_table(tmp_path: Path) -> None:
    """FIELD 36: and one that loses a field has null there."""
    kept = shards(tmp_path / "a", pa.array([SAID], pa.list_(USER))).types
    opened = shards(
        tmp_path / "b", pa.array([[{"role": "user", "content": "x", "name": "y"}]], pa.list_(NAMED)), kept=kept
    )
    assert {field.name for field in opened.schema.field("v").type.value_type} == {"role", "content", "name"}
    again = shards(tmp_path / "c", pa.array([SAID], pa.list_(USER)), kept=opened.types)
    assert again.types == opened.types
    assert values(again) == [[{"role": "user", "content": "Hi", "name": None}]]
    check_spill(tmp_path, again)


def test_structs_whose_fields_do_not_go_together_are_refused_where_they_are_read(tmp_path: Path) -> None:
    """FIELD 36: as deep as they may be."""
    deep = pa.array([[{"a": {"b": 1}}]])
    with pytest.raises(
        InputError, match=r"column 'v' is .* in 0\.parquet and .* in 1\.parquet, and no type holds both"
    ):
        shards(tmp_path / "in", deep, pa.array([[{"a": {"b": "x"}}]]))


def test_a_field_that_must_not_be_null_becomes_one_that_may(tmp_path: Path) -> None:
    """FIELD 36: what one writer promises does not bind the other."""
    strict = pa.struct([pa.field("role", pa.string(), nullable=False)])
    opened = shards(tmp_path / "in", pa.array([{"role": "user"}], strict), pa.array([{"name": "x"}]))
    assert values(opened) == [{"role": "user", "name": None}, {"role": None, "name": "x"}]
    check_spill(tmp_path, opened)


# -- numbers --------------------------------------------------------------------------------------------------------


def test_whole_numbers_beside_floating_ones_stay_whole_where_they_came_first(tmp_path: Path) -> None:
    """FIELD 36: pandas writes 1 as 1.0 once a value is missing; no prompt shows that."""
    opened = shards(tmp_path / "in", [1, 2], [3.0, None, 0.5])
    assert opened.types == {"n": "int64", "v": "number"}
    assert repr(values(opened)) == "[1, 2, 3, None, 0.5]"
    assert column(opened) == [1.0, 2.0, 3.0, None, 0.5]
    assert REST not in opened.schema.names
    check_spill(tmp_path, opened)
    assert repr(values(shards(tmp_path / "back", [0.5, 3.0], [1]))) == "[0.5, 3.0, 1.0]"


def test_a_whole_number_that_no_double_holds_is_not_rounded(tmp_path: Path) -> None:
    """FIELD 36: ids of 19 digits."""
    opened = shards(tmp_path / "in", [1, 53195444847186410], [0.5])
    assert repr(values(opened)) == "[1, 53195444847186410, 0.5]"
    assert column(opened) == [1.0, None, 0.5]
    assert column(opened, REST) == [None, '{"v":53195444847186410}', None]
    check_spill(tmp_path, opened)


def test_numbers_of_another_kind_in_a_later_run_change_no_earlier_row(tmp_path: Path) -> None:
    """FIELD 36: the type that the table has stays; what does not fit stands in `input_rest`, and in the prompt."""
    opened = shards(tmp_path / "a", [1], [2.0, 2.5, float("nan"), 1e300, None], kept={"v": "int64"})
    assert opened.types["v"] == "int64"
    assert repr(values(opened)) == "[1, 2, 2.5, 'NaN', 1e+300, None]"
    assert column(opened) == [1, 2, None, None, None, None]
    check_spill(tmp_path, opened)
    opened = shards(tmp_path / "b", [1, 2**60], kept={"v": "double"})
    assert repr(values(opened)) == f"[1.0, {2**60}]"
    check_spill(tmp_path, opened)
    opened = shards(tmp_path / "c", [1], kept={"v": "number"})
    assert (repr(values(opened)), REST in opened.schema.names) == ("[1]", False)


@pytest.mark.parametrize("floating", [pa.float16(), pa.float32(), pa.float64()])
@pytest.mark.parametrize("whole", [pa.int8(), pa.uint8(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()])
def test_every_integer_goes_with_every_floating_number_in_both_directions(
    tmp_path: Path, whole: pa.DataType, floating: pa.DataType
) -> None:
    """FIELD 36: to the last value that each holds."""
    bits = whole.bit_width - pa.types.is_signed_integer(whole)
    ends = [0, (1 << bits) - 1, -(1 << bits) if pa.types.is_signed_integer(whole) else 1]
    numbers, floats = pa.array(ends, whole), pa.array([1.0, 0.5, -1.0], floating)
    opened = shards(tmp_path / "a", numbers, floats)
    assert repr(values(opened)) == repr([*ends, 1, 0.5, -1])
    check_spill(tmp_path, opened)
    opened = shards(tmp_path / "b", numbers, floats, kept={"v": str(whole)})
    assert repr(values(opened)[:3]) == repr(ends)
    assert values(opened)[3:] == [1, 0.5, -1]
    check_spill(tmp_path, opened)
    opened = shards(tmp_path / "c", floats, numbers, kept={"v": str(floating)})
    assert values(opened) == [1.0, 0.5, -1.0, *ends]
    check_spill(tmp_path, opened)


# -- clashes --------------------------------------------------------------------------------------------------------

CLASHES: list[tuple[Any, Any, Any]] = [
    (["x"], [5], 5),
    ([5], ["x"], "x"),
    ([True], [1], 1),
    ([["x"]], [{"a": 1}], {"a": 1}),
    ([{"a": 1}], [{"a": "x", "b": None}], {"a": "x", "b": None}),
    (["x"], pa.array([Decimal("1.50")]), "1.50"),
    (["x"], pa.array([b"\xff"]), "/w=="),
    (pa.array([1], pa.int64()), pa.array([2**63], pa.uint64()), 2**63),
    (pa.array([0], pa.timestamp("us")), pa.array([0], pa.timestamp("us", "UTC")), "1970-01-01T00:00:00+00:00"),
    (pa.array(["x"]).dictionary_encode(), [5], 5),
]


@pytest.mark.parametrize(("first", "second", "back"), CLASHES)
def test_a_clash_in_a_column_that_nobody_reads_refuses_nothing_and_loses_nothing(
    tmp_path: Path, first: Any, second: Any, back: Any
) -> None:
    """FIELD 36: the column keeps its first type, the other values stand in `input_rest`, and `check` says so."""
    opened = shards(tmp_path / "in", first, second, reads={"n"})
    assert values(opened)[1] == back
    assert column(opened)[1] is None
    assert "in 0.parquet and " in opened.clashes["v"]
    check_spill(tmp_path, opened)
    with pytest.raises(InputError, match="no type holds both without loss"):
        shards(tmp_path / "in", first, second, reads={"v"})
    with pytest.raises(InputError, match="no type holds both without loss|not UTF-8"):
        shards(tmp_path / "in", first, second, reads=set(), key="v")


def test_a_clash_with_the_table_of_earlier_runs_is_the_same(tmp_path: Path) -> None:
    """FIELD 36: a column that nobody reads stops no night."""
    opened = shards(tmp_path / "in", [5, None], reads={"n"}, kept={"v": "string"})
    assert opened.clashes == {"v": "int64 now, and string in the results so far"}
    assert (opened.types["v"], values(opened), column(opened, REST)) == ("string", [5, None], ['{"v":5}', None])
    check_spill(tmp_path, opened)
    with pytest.raises(InputError, match="column 'v' is int64 now, and string in the results so far"):
        shards(tmp_path / "in", [5], reads={"v"}, kept={"v": "string"})
    opened = shards(tmp_path / "in", ["x", None], reads={"n"}, kept={"v": "json"})
    assert (values(opened), column(opened)) == (["x", None], ['"x"', None])


# -- bytes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "kind", "back"),
    [
        (["hé".encode(), None, b""], pa.binary(), ["hé", None, ""]),
        (["hé".encode()], pa.large_binary(), ["hé"]),
        (["中文".encode()], pa.binary_view(), ["中文"]),
        ([b"abcd"], pa.binary(4), ["abcd"]),
        ([[b"a", b"b"]], pa.list_(pa.binary()), [["a", "b"]]),
        ([[{"role": b"user", "content": b"x"}]], pa.list_(pa.struct({"role": pa.binary(), "content": pa.binary()})), [[{"role": "user", "content": "x"}]]),
        ([[(b"k", b"v")]], pa.map_(pa.binary(), pa.binary()), [{"k": "v"}]),
    ],
)  # fmt: skip
def test_bytes_that_are_read_as_text_are_text(tmp_path: Path, cells: Any, kind: pa.DataType, back: Any) -> None:
    """FIELD 36: Spark and Impala write text so; a picture stays bytes."""
    made = pa.array(cells, kind)
    opened = shards(tmp_path / "in", made, texts={"v"})
    assert values(opened) == back
    check_spill(tmp_path, opened)
    assert values(shards(tmp_path / "in", made)) != back


def test_bytes_beside_text_are_text(tmp_path: Path) -> None:
    """FIELD 36: in one input, and in a later run."""
    made = pa.array([b"b"]), pa.array(["t"])
    for first, second in (made, made[::-1]):
        opened = shards(tmp_path / "in", first, second, texts={"v"})
        assert sorted(values(opened)) == ["b", "t"]
        check_spill(tmp_path, opened)
        kept = {"v": str(first.type)}
        opened = shards(tmp_path / "in", first, second, texts={"v"}, kept=kept)
        assert (sorted(values(opened)), opened.types["v"]) == (["b", "t"], kept["v"])
        check_spill(tmp_path, opened)


def test_a_key_of_bytes_is_known_by_its_text(tmp_path: Path) -> None:
    """FIELD 36: the row is `k1`, not `b'k1'`."""
    assert values(shards(tmp_path / "in", pa.array([b"k1"]), key="v")) == ["k1"]


def test_bytes_that_are_no_text_are_refused_at_once_and_a_single_cell_is_one_failed_row(tmp_path: Path) -> None:
    """FIELD 36: with the place and the way out; never in Python's spelling in a prompt."""
    with pytest.raises(
        InputError, match=r"column 'v': not UTF-8: byte 0xff at byte 1, so in 3 of the first 4 rows\. .*write it anew"
    ):
        shards(tmp_path / "in", pa.array([b"a\xff", None, b"b\xff", b"c\xff"]), texts={"v"})
    many = [b"fine"] * 40
    opened = shards(tmp_path / "some", pa.array([*many, b"caf\xe9"]), texts={"v"})
    assert values(opened) == [*["fine"] * 40, "0.parquet row 40: column 'v': not UTF-8: byte 0xe9 at byte 3"]
    [batch] = batches(opened)
    assert (batch.failures[40] or Bad("")).code == "unreadable"
    assert batch.columns.slice(40).to_pylist() == [{"n": None, "v": None}]


def test_an_input_column_of_that_name_leaves_no_room_for_what_does_not_fit(tmp_path: Path) -> None:
    """FIELD 36: said, and not mixed up."""
    (tmp_path / "in").mkdir()
    for number, cell in enumerate((1, "x")):
        pq.write_table(pa.table({REST: ["{}"], "v": [cell]}), tmp_path / "in" / f"{number}.parquet")
    with pytest.raises(InputError, match=r"and the input has a column of that name\. Rename it"):
        Source.open(InputSpec(path=tmp_path / "in"), reads=())


def test_a_file_that_is_not_whole_has_no_say_and_is_one_failed_row(tmp_path: Path) -> None:
    """FIELD 38 beside 36: the others are united, their text is looked at, and their late rows are what they were."""
    made = pa.array([1, 53195444847186410]), pa.array([0.5])
    shards(tmp_path / "in", *made)
    (tmp_path / "in" / "0a.parquet").write_bytes((tmp_path / "in" / "0.parquet").read_bytes()[:-9])
    opened = Source.open(InputSpec(path=tmp_path / "in", file_column="source"))
    assert (opened.rows, opened.types) == (4, {"n": "int64", "v": "number", "source": "large_string"})
    found = values(opened)
    assert (found[0], found[1], found[3]) == (1, 53195444847186410, 0.5)
    assert found[2].startswith("0a.parquet row 0: is not a whole Parquet file")
    assert column(opened, REST) == [None, '{"v":53195444847186410}', None, None]
    assert column(opened, "source") == ["0.parquet", "0.parquet", "0a.parquet", "1.parquet"]
    shards(tmp_path / "text", pa.array([b"x"]))
    (tmp_path / "text" / "1.parquet").write_bytes(b"")
    opened = Source.open(InputSpec(path=tmp_path / "text"), texts={"v"})
    assert values(opened)[0] == "x"
    assert values(opened)[1].startswith("1.parquet row 0: is not a whole Parquet file: it is empty")
    (tmp_path / "text" / "0.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"0\.parquet: is not a whole Parquet file"):
        Source.open(InputSpec(path=tmp_path / "text"), reads=())
