"""`batch.input.origin`: columns of folders and of the file's name, in every format."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batch.core.errors import InputError
from batch.input.source import Source
from batch.job.job import InputSpec
from batch.plan.row_ids import identify
from tests.input.cases import check_places, check_spill, outcomes, read, write

DAYS = {
    "in/day=2026-11-28/part=007/a.{}": {"id": "1", "q": "x"},
    "in/day=2026-11-29/part=__HIVE_DEFAULT_PARTITION__/a.{}": {"id": "2", "q": "y"},
    "in/day=a%20b/c.{}": {"id": "3", "q": "z"},
}
FORMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "jsonl": lambda row: [row],
    "csv": lambda row: ",".join(row) + "\n" + ",".join(row.values()) + "\n",
    "parquet": lambda row: pa.Table.from_pylist([row]),
}
EXPECTED: list[dict[str, Any]] = [
    {"id": "1", "q": "x", "day": "2026-11-28", "part": "007", "source": "day=2026-11-28/part=007/a."},
    {
        "id": "2",
        "q": "y",
        "day": "2026-11-29",
        "part": None,
        "source": "day=2026-11-29/part=__HIVE_DEFAULT_PARTITION__/a.",
    },
    {"id": "3", "q": "z", "day": "a b", "part": None, "source": "day=a%20b/c."},
]


def opened(path: Path, kept: dict[str, str] | None = None, **spec: Any) -> Source:
    return Source.open(InputSpec(path=path, **spec), fixed_types=kept)


@pytest.mark.parametrize("form", FORMS)
def test_folders_and_names_of_files_make_columns(tmp_path: Path, form: str) -> None:
    """FIELD 39. Text, as it stands; the same columns on the second night."""
    write(tmp_path, {name.format(form): FORMS[form](row) for name, row in DAYS.items()})
    how: dict[str, Any] = {"hive_partitioning": True, "file_column": "source"}
    source = opened(tmp_path / "in", **how)
    assert [name for name in source.schema.names if name != "input_rest"] == ["id", "q", "day", "part", "source"]
    assert {source.types[name] for name in ("day", "part", "source")} == {"large_string"}
    batches = read(source)
    records = [record for batch in batches for record in batch.records]
    assert records == [{**row, "source": row["source"] + form} for row in EXPECTED]
    assert [cell for batch in batches for cell in batch.columns.column("day").to_pylist()] == [
        "2026-11-28",
        "2026-11-29",
        "a b",
    ]
    check_places(source, outcomes(batches))
    check_spill(tmp_path, source, batches)
    again = opened(tmp_path / "in", source.types, **how)
    assert again.schema == source.schema
    assert outcomes(read(again)) == outcomes(batches)
    plain = opened(tmp_path / "in")
    assert not {"day", "source"}.intersection(plain.schema.names), "nothing comes unasked"
    assert plain.folder_names() == {"day", "part"}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_what_a_file_says_itself_goes_before_its_folder(tmp_path: Path, form: str) -> None:
    """FIELD 39. And a column of numbers stays one."""
    rows: dict[str, dict[str, Any]] = {"in/day=9/a.{}": {"day": "8"}, "in/day=9/n=x/b.{}": {"n": 1}}
    write(tmp_path, {name.format(form): FORMS[form](row) for name, row in rows.items()})
    source = opened(tmp_path / "in", hive_partitioning=True)
    assert [record for batch in read(source) for record in batch.records] == [
        {"day": "8", "n": None},
        {"day": "9", "n": 1},
    ]


def test_a_row_that_cannot_be_read_has_its_file_in_the_table(tmp_path: Path) -> None:
    """FIELD 39. There it is wanted most."""
    write(tmp_path, {"a.jsonl": b'{"q": 1}\n{broken\n'})
    [batch] = read(opened(tmp_path / "a.jsonl", file_column="source"))
    assert batch.columns.column("source").to_pylist() == ["a.jsonl", "a.jsonl"]
    assert batch.records == [{"q": 1, "source": "a.jsonl"}, None]


def test_a_row_without_a_key_is_the_same_row_in_another_file(tmp_path: Path) -> None:
    """FIELD 39. Its file's name is where it stands, not what it is: a file that is renamed buys nothing again."""
    write(tmp_path, {"a.jsonl": [{"q": 1}], "b.jsonl": [{"q": 1}], "day=1/c.jsonl": [{"q": 1}]})

    class Nothing:
        def seen(self, _: Any) -> dict[str, tuple[int, str | None]]:
            return {}

    def ids(path: str, **how: Any) -> list[str]:
        source = opened(tmp_path / path, **how)
        return [row.row_id for batch in read(source) for row in identify(batch, source.spec, {}, Nothing())]

    [plain] = ids("a.jsonl")
    assert ids("a.jsonl", file_column="s") == ids("b.jsonl", file_column="s") == [plain]
    assert ids("day=1/c.jsonl", hive_partitioning=True) != [plain], "what a folder says is part of the row"


@pytest.mark.parametrize("form", FORMS)
def test_a_name_that_is_taken_is_refused(tmp_path: Path, form: str) -> None:
    """FIELD 39. Else one of the two columns would be lost."""
    write(tmp_path, {f"day=1/a.{form}": FORMS[form]({"id": "1", "source": "x"})})
    for name in ("source", "day"):
        with pytest.raises(InputError, match=f"has a column '{name}' already. Give input.file_column another name"):
            opened(tmp_path / "day=1" / f"a.{form}", file_column=name, hive_partitioning=True)
    if form != "parquet":
        with pytest.raises(InputError, match="column 'n' (holds no text|is large_string now, and int64)"):
            opened(tmp_path / "day=1", {"id": "large_string", "n": "int64"}, file_column="n")
    with pytest.raises(InputError, match="the name input_rest is taken .* Give input.file_column another name"):
        opened(tmp_path / "day=1", file_column="input_rest")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_what_a_file_says_and_its_column_cannot_hold_is_not_covered_by_the_folder(tmp_path: Path, form: str) -> None:
    """FIELD 39. The value is in `input_rest`, and the cell stays empty: two answers would be one too many."""
    rows: dict[str, dict[str, Any]] = {"in/day=9/a.{}": {"day": "8"}, "in/day=9/b.{}": {"day": 5}}
    write(tmp_path, {name.format(form): FORMS[form](row) for name, row in rows.items()})
    source = Source.open(InputSpec(path=tmp_path / "in", hive_partitioning=True), reads=())
    batches = read(source)
    assert [record for batch in batches for record in batch.records] == [{"day": "8"}, {"day": 5}]
    cells = [row for batch in batches for row in batch.columns.to_pylist()]
    assert cells == [{"day": "8", "input_rest": None}, {"day": None, "input_rest": '{"day":5}'}]
    check_spill(tmp_path, source, batches)
