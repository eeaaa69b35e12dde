"""`batch.input.csvrows` over several nights; what single files hold is in `csvfiles`."""

from pathlib import Path

import pytest

from batch.core.errors import InputError
from batch.input.csvrows import cells
from tests.support.rows import records, source


def test_columns_keep_their_types_and_new_ones_come_behind(tmp_path: Path) -> None:
    """FIELD 39. A folder that had JSONL may have CSV now: cells are read as the types that were kept."""
    path = tmp_path / "rows.csv"
    path.write_text("new,n,text\nx,007,8\ny,x,\n")
    opened = source(path, kept={"text": "large_string", "n": "int64", "gone": "double"})
    assert opened.types == {"text": "large_string", "n": "int64", "new": "large_string"}
    assert records(opened) == [{"text": "8", "n": 7, "new": "x"}, {"text": None, "n": "x", "new": "y"}]


def test_a_key_that_only_an_earlier_file_had_is_missing(tmp_path: Path) -> None:
    """FIELD 39. Else a wrong delimiter would fail every row of the second night."""
    path = tmp_path / "rows.csv"
    path.write_text("id;q\n1;x\n")
    with pytest.raises(InputError, match="no column is called 'id'"):
        source(path, kept={"id": "large_string"}, key="id", delimiter="|")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [""]),
        (",", ["", ""]),
        ('""', [""]),
        ('"",""', ["", ""]),
        ('"a,b",c', ["a,b", "c"]),
        ('"""",x', ['"', "x"]),
        ('x"y,z', ['x"y', "z"]),
        ('"x",', ["x", ""]),
        ('"x\ny"', ["x\ny"]),
    ],
)
def test_cells_are_those_of_rfc_4180(text: str, found: list[str]) -> None:
    """FIELD 39. Quotes count only at the beginning of a cell."""
    assert cells(text, ",") == found


@pytest.mark.parametrize("text", ['"', '"x', '"x""', '"x"y', 'a,"b"c', '"x" ,y'])
def test_a_quote_out_of_place_is_a_value_error(text: str) -> None:
    """FIELD 39. Guessing would be a question that nobody asked."""
    with pytest.raises(ValueError, match="quote"):
        cells(text, ",")
