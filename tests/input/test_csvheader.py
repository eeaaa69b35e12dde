"""`batch.input.csvheader`: first lines that are no header, and what is said of them."""

import re
from pathlib import Path

import pytest

from batch.core.errors import InputError
from tests.support.rows import records, source


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,q\r1,hello\r2,again\r", "end in CR alone.*tr "),
        ("sep=;\nid;q\n1;hello\n", "line for Excel.*input.delimiter"),
        ("SEP=,\r\nid,q\r\n1,hello\r\n", "line for Excel"),
    ],
)
def test_a_first_line_that_is_no_header_is_told_as_what_it_is(content: str, words: str, tmp_path: Path) -> None:
    """FIELD 38. It was "no column is called 'id'", which is there for everybody to see."""
    path = tmp_path / "rows.csv"
    path.write_bytes(content.encode())
    with pytest.raises(InputError, match=f"rows.csv line 1: .*{words}"):
        source(path, key="id")


ON_TOP = "If it is data, put a line with the names of the columns on top."


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "17,3.5\n18,4.1\n",
            f"It has: 17, 3.5. Line 1 of rows.csv is taken for the header, and reads as data (17). {ON_TOP}",
        ),
        ("Anna,2026-11-29\n", f"and reads as data (2026-11-29). {ON_TOP}"),
        ("Anna,anna@example.org\n", f"and reads as data (anna@example.org). {ON_TOP}"),
        ("a,http://example.org/1\n", f"and reads as data (http://example.org/1). {ON_TOP}"),
        ('"a","3,50","b"\n', f"and reads as data (3,50). {ON_TOP}"),
        (
            "Report of November,\nid,q\n",
            "Cell 2 of line 1 of rows.csv is empty, so its column is called column_2. If the",
        ),
        ("\n,q\n1,a\n", "Cell 1 of line 2 of rows.csv is empty, so its column is called column_1."),
        (
            "id\tq, please\n",
            "Line 1 of rows.csv can be cut at '\\t', too. If '\\t' stands between its cells, set input.delimiter = \"\\t\".",
        ),
        ("id;q;price, net\n", "cut at ';', too. If ';' stands between its cells, set input.delimiter = \";\"."),
        (' "id" , "q"\n', "Line 1 of rows.csv has blanks before its quotes, so the quotes are part of the names. Take"),
    ],
)
def test_where_the_key_is_missing_what_speaks_against_the_header_is_told(
    content: str, words: str, tmp_path: Path
) -> None:
    """FIELD 38. "no column is called 'id'. It has: 17, 3.5", and nothing of a header that is missing."""
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=f"no column is called 'id'.*{re.escape(words)}"):
        source(path, key="id")


@pytest.mark.parametrize(
    "content", ["country,2020,2021\n", "name,what is it?\n", "q1,Frage 2,3rd\n", '\ufeff"a","b, c"\n']
)
def test_names_that_may_be_names_are_not_doubted(content: str, tmp_path: Path) -> None:
    """FIELD 38. A table with a column for each year has a header."""
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=r"no column is called 'id' \(input.key\)\. It has: [^.]*\.$"):
        source(path, key="id")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("5,5\n18,4\n", "line 1: is taken for the header, and reads as data: 5, 5. Put a line with the names of the"),
        ("x,,x\n", "line 1: has 'x' more than once. Rename the columns; or, if it is data, put a line with the names"),
        (
            "column_2,\n",
            "has 'column_2' more than once (column_2 is what an empty cell of the header is called). Rename",
        ),
        ('"id";"q"\n"1";"a"\n', "is written twice. If ';' stands between its cells, set input.delimiter"),
    ],
)
def test_a_line_that_cannot_be_the_header_says_what_else_it_may_be(content: str, words: str, tmp_path: Path) -> None:
    """FIELD 38. "Rename the columns" is no way out for whoever has no header."""
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=re.escape(words)):
        source(path)


def test_a_doubted_header_is_one_that_works_all_the_same(tmp_path: Path) -> None:
    """FIELD 38. pandas numbers the columns of a frame without names, and a table may be read by its place."""
    path = tmp_path / "rows.csv"
    path.write_text(",0,1\n0,x,y\n")
    assert records(source(path, key="column_1")) == [{"column_1": "0", "0": "x", "1": "y"}]
