"""`batch.report.label_table`: which column has the labels, which the truth, and what is said when none has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batch.core.errors import RefusedToStart
from batch.report.label_table import LabelTable, has_flag, texts
from tests.support.labelled import labelled
from tests.support.outfolders import finished


def table(tmp_path: Path, *rows: dict[str, Any], **more: Any) -> Path:
    return labelled(tmp_path / "out", rows, **more).root


def test_values_of_every_kind_that_can_be_counted_are_texts() -> None:
    """Names in a dictionary, truth values, whole numbers, days; null stays null."""
    assert texts(pa.array(["b", None, "a", "b"]).dictionary_encode()).to_pylist() == ["b", None, "a", "b"]
    assert texts(pa.array([True, None, False])).to_pylist() == ["true", None, "false"]
    assert texts(pa.array([3, None], pa.int8())).to_pylist() == ["3", None]
    assert texts(pa.array(["a"], pa.large_string())).type == pa.string()
    assert texts(pa.nulls(2)).to_pylist() == [None, None]


def test_a_flag_is_found_wherever_it_stands_in_the_list() -> None:
    """Slices of a column, too."""
    flags = pa.array([["tie"], None, [], ["coerced", "tie"], ["coerced"]], pa.list_(pa.string()))
    assert has_flag(flags, "tie").to_pylist() == [True, False, False, True, False]
    assert has_flag(flags[3:], "tie").to_pylist() == [True, False]
    assert has_flag(pa.nulls(2), "tie").to_pylist() == [False, False]


def test_the_only_column_with_names_is_taken(tmp_path: Path) -> None:
    """`label`, or the only `label_…` that is no number."""
    assert LabelTable(table(tmp_path, {"text": "a", "label": "x"})).label == "label"
    out = table(tmp_path, {"text": "a", "label_urgent": True, "label_score": 3})
    assert LabelTable(out).label == "label_urgent"
    assert LabelTable(out, label="score").label == "label_score"


def test_of_several_columns_one_must_be_chosen(tmp_path: Path) -> None:
    """With or without `label_`; the refusal names them."""
    out = table(tmp_path, {"text": "a", "label_kind": "x", "label_urgent": True, "label_why": ["a"]})
    with pytest.raises(RefusedToStart, match=r"several columns: label_kind, label_urgent. .* --label label_kind"):
        LabelTable(out)
    assert LabelTable(out, label="urgent").label == LabelTable(out, label="label_urgent").label == "label_urgent"
    with pytest.raises(RefusedToStart, match="--label label_why: its values are list"):
        LabelTable(out, label="why")
    photo = finished(tmp_path / "photo", pa.table({"photo": [b"a"]})).root
    with pytest.raises(RefusedToStart, match="--label photo: its values are binary, which cannot be counted"):
        LabelTable(photo, label="photo")
    with pytest.raises(RefusedToStart, match="no such column. Did you mean label_kind"):
        LabelTable(out, label="label_knd")


def test_an_input_column_that_is_called_label_is_no_label(tmp_path: Path) -> None:
    """A table without labels says how to get some, or which column to name instead."""
    out = finished(tmp_path / "out", pa.table({"label": ["x", "y"]})).root
    with pytest.raises(
        RefusedToStart, match=r"has no labels: .* no section \[labels\].* for instance answer, by --label"
    ):
        LabelTable(out)
    assert LabelTable(out, label="answer").label == "answer"


def test_the_truth_is_the_one_that_is_named_or_that_the_job_names(tmp_path: Path) -> None:
    """By the name that it has in the input, also where the table has another."""
    rows = [{"category": "x", "status_told": "a", "label": "x"}]
    out = table(tmp_path, *rows, gold="category")
    assert (LabelTable(out).gold, LabelTable(out, gold="status_told").gold) == ("category", "status_told")
    out = labelled(tmp_path / "other", [{"provider": "x", "label": "x"}]).root
    found = LabelTable(out, gold="provider")
    assert (found.gold, found.gold_missing) == ("input_provider", None)
    assert LabelTable(out).gold is None


def test_a_truth_that_the_table_lacks_is_refused_when_asked_and_told_when_the_job_names_it(tmp_path: Path) -> None:
    """Both say how a column of the input comes into the table."""
    out = table(tmp_path, {"text": "a", "label": "x"}, gold="category")
    found = LabelTable(out)
    assert found.gold is None
    assert found.gold_missing is not None
    assert "output.columns" in found.gold_missing
    with pytest.raises(RefusedToStart, match=r"--gold truth: the table has no such column.*output\.columns"):
        LabelTable(out, gold="truth")


def test_the_file_of_a_run_may_be_lost_or_of_an_older_version(tmp_path: Path) -> None:
    """Then the job names no truth, and that is all."""
    folder = labelled(tmp_path / "out", [{"text": "a", "label": "x"}], gold="text")
    (path,) = folder.runs.glob("*.json")
    for content in (b"{}", b"[]", b"not JSON", b'{"job": {"labels": []}}'):
        path.write_bytes(content)
        assert LabelTable(folder.root).gold is None
    path.unlink()
    assert LabelTable(folder.root).gold is None
