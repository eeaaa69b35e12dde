"""`batch.report.figures.filters` and `conditions`: what a filter may say, and what it means for any type of column."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batch.core.errors import RefusedToStart
from batch.report.figures.conditions import Contains, Equal, HasFlag, IsWithin, OneOf, as_number
from batch.report.figures.figures import Figures
from batch.report.figures.filters import FILTERS, Filter, parse
from tests.support.books import BookRow, book
from tests.support.labelled import labelled


def test_every_filter_is_explained_and_can_be_asked_for() -> None:
    """Ours: no name without a meaning, none that is refused."""
    assert set(FILTERS) == set(Filter.__struct_fields__)
    for name in FILTERS:
        assert parse([(name, "x:1")])
    assert not parse([(name, "") for name in FILTERS])


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([("sttus", "ok")], "there is no filter 'sttus'. Did you mean status?"),
        ([("status", "ok"), ("status", "failed")], "asked for twice"),
        ([("where", "nothing")], "give a column and a value"),
        ([("where", "subjekt:x")], "Did you mean subject?"),
        ([("where", "flags:x")], "nothing to compare"),
        ([("min", "subject:1")], "no numbers"),
        ([("max", "amount:much")], "is no number. Give one as amount:0.5"),
        ([("min", "amount:nan")], "is no number"),
        ([("tag", "team")], "as NAME:VALUE"),
        ([("tag", "team:x")], "no run has a tag 'team'"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_with_what_there_is(
    tmp_path: Path, pairs: list[tuple[str, str]], reason: str
) -> None:
    """Never an empty page that looks like an answer."""
    figures = Figures(labelled(tmp_path / "out", [{"subject": "a", "amount": 1.0, "label": "x"}]).root)
    with pytest.raises(RefusedToStart) as caught:
        figures.rows(parse(pairs))
    assert reason in str(caught.value)


def test_a_label_is_asked_for_in_whichever_column_has_labels(tmp_path: Path) -> None:
    """Properties of a schema are columns of their own, truth values among them."""
    rows = [
        {"text": "a", "label_kind": "x", "label_urgent": True},
        {"text": "b", "label_kind": "true", "label_urgent": False},
    ]
    figures = Figures(labelled(tmp_path / "out", rows).root)
    assert [row["row_number"] for row in figures.rows(parse([("label", "x")]))["rows"]] == [0]
    assert [row["row_number"] for row in figures.rows(parse([("label", "true")]))["rows"]] == [0, 1]
    assert figures.rows(Filter())["rows"][0]["labels"] == {"label_kind": "x", "label_urgent": "true"}


def test_a_table_without_labels_says_so(tmp_path: Path) -> None:
    """The filter is for others."""
    figures = Figures(book(tmp_path / "out", [], [BookRow(0)]).root)
    with pytest.raises(RefusedToStart, match="has no labels"):
        figures.rows(parse([("label", "x")]))


def test_a_tag_means_the_runs_whose_job_had_it(tmp_path: Path) -> None:
    """Tags belong to jobs; a row has those of the run that settled it."""
    folder = book(tmp_path / "out", [], [BookRow(0), BookRow(1, run="20261002T020000000Z-a1b2")], tags={"team": "a:b"})
    folder.runs.mkdir(exist_ok=True)
    folder.run_file("20261001T020000000Z-a1b2").write_text('{"job":{"tags":{"team":"a:b"}}}')
    figures = Figures(folder.root)
    assert [row["row_number"] for row in figures.rows(parse([("tag", "team:a:b")]))["rows"]] == [0]
    assert figures.rows(parse([("tag", "team:other")]))["rows"] == []


def test_a_column_whose_name_has_a_colon_can_be_asked_for(tmp_path: Path) -> None:
    """The longest name that fits is meant."""
    figures = Figures(
        labelled(tmp_path / "out", [{"a": "b:1", "a:b": "1", "label": "x"}, {"a": "1", "a:b": "2", "label": "x"}]).root
    )
    assert [row["row_number"] for row in figures.rows(parse([("where", "a:b:1")]))["rows"]] == [0]


@pytest.mark.parametrize(
    ("kind", "values", "text", "least", "most"),
    [
        (pa.int64(), [1, None, 3], "2", [False, False, True], [True, False, False]),
        (pa.int64(), [2**62, None, 3], "2.5", [True, False, True], [False, False, False]),
        (pa.float64(), [1.5, None, float("nan")], "1.5", [True, False, False], [True, False, False]),
        (pa.decimal128(38, 12), [Decimal("0.1"), None, Decimal(3)], "0.1", [True, False, True], [True, False, False]),
        (pa.timestamp("us", "UTC"), [1_000_000, None, 3_000_000], "2.5", [False, False, True], [True, False, False]),
        (pa.timestamp("s"), [1, None, 3], "1", [True, False, True], [True, False, False]),
    ],
)
def test_numbers_are_compared_whatever_their_type(
    kind: Any, values: list[Any], text: str, least: list[bool], most: list[bool]
) -> None:
    """The ends belong to it; null and NaN never do."""
    table = pa.table({"n": pa.array(values, kind)})
    number = as_number(text, kind)
    assert IsWithin("n", kind, least=number).mask(table).to_pylist() == least
    assert IsWithin("n", kind, most=number).mask(table).to_pylist() == most


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1e999", "0x10"])
def test_what_is_no_number_is_none(text: str) -> None:
    """Not even infinity, which would let everything through."""
    with pytest.raises(ValueError, match="is no number"):
        as_number(text, pa.float64())


def test_ends_tell_which_row_groups_need_no_reading() -> None:
    """And where a footer says nothing, the row group is read."""
    assert Equal("a", "m").may({"a": ("b", "x")})
    assert not Equal("a", "z").may({"a": ("b", "x")})
    assert not Equal("a", "m").may({"a": (None, None)})
    assert Equal("a", "").may({"a": (None, None)})
    assert Equal("a", "m").may({})
    assert Equal("a", "3").may({"a": (1, 2)})
    assert OneOf("a", ["z", "c"]).may({"a": ("b", "x")})
    assert not OneOf("a", []).may({"a": ("b", "x")})
    assert not HasFlag("tie").may({"flags.list.element": (None, None)})
    assert not HasFlag("tie").may({"flags.list.element": ("truncated", "truncated")})
    assert HasFlag("tie").may({"flags.list.element": ("empty", "truncated")})
    assert HasFlag("tie").may({})
    assert not Contains("a", "x").may({"a": (None, None)})
    assert Contains("a", "x").may({"a": ("b", "c")})
    assert not IsWithin("a", pa.int64(), least=5).may({"a": (1, 4)})
    assert not IsWithin("a", pa.int64(), most=0).may({"a": (1, 4)})
    assert IsWithin("a", pa.int64(), least=5).may({"a": ("odd", "ends")})
    assert not IsWithin("a", pa.int64(), least=5).may({"a": (None, None)})
