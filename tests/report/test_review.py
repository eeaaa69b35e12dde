"""`batch.report.review`: the doubtful rows of a table, the most doubtful first, whatever its size."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import apsw
import pytest

from batch.core.errors import RefusedToStart, StorageError
from batch.report import review as module
from batch.report.review import review
from tests.support.labelled import labelled

FAILED: dict[str, Any] = {
    "label": None,
    "status": "failed",
    "error_kind": "label",
    "error_message": "not one of the names",
    "answer": "I cannot say.",
    "retryable": False,
}
GOOD: dict[str, Any] = {
    "text": "t",
    "label": "a",
    "agreement": 1.0,
    "confidence": 0.99,
    "status": "ok",
    "error_kind": None,
    "error_message": None,
    "answer": "a",
    "retryable": None,
    "flags": (),
}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_each_reason_brings_a_row_into_the_file_and_the_least_certain_first(tmp_path: Path) -> None:
    """Rows that are sure, or that the next run asks again, or whose input cannot be read, are left out."""
    made: list[dict[str, Any]] = [
        GOOD,
        {**GOOD, "agreement": 2 / 3},
        {**GOOD, "confidence": 0.3},
        {**GOOD, **FAILED},
        {**GOOD, "label": None, "agreement": 0.5, "flags": ("tie",)},
        {**GOOD, **FAILED, "error_kind": "server", "retryable": True},
        {**GOOD, **FAILED, "error_kind": "input"},
        {**GOOD, **FAILED, "error_kind": "content_filter"},
    ]
    done = review(labelled(tmp_path / "out", made, part_rows=3).root, tmp_path / "look.jsonl")
    found = lines(done.path)
    assert [(row["row_id"], row["reasons"]) for row in found] == [
        ("r3", ["failed"]),
        ("r4", ["tie", "agreement"]),
        ("r7", ["failed"]),
        ("r2", ["confidence"]),
        ("r1", ["agreement"]),
    ]
    assert [row["certainty"] for row in found] == [0, 0, 0, 0.3, 2 / 3]
    assert (done.rows, done.doubtful, done.advice) == (5, 5, [])
    assert done.reasons == {"failed": 2, "tie": 1, "variants": 0, "agreement": 2, "confidence": 1}
    assert found[0]["results"][0]["answer"] == "I cannot say.", "the answer that was kept"
    assert found[4] == {
        "row_id": "r1",
        "row_number": 1,
        "reasons": ["agreement"],
        "certainty": 2 / 3,
        "label": "a",
        "results": [
            {
                "variant": None,
                "model": "glm-4",
                "label": "a",
                "agreement": 2 / 3,
                "confidence": 0.99,
                "answer": "a",
                "error": None,
            }
        ],
        "input": {"text": "t"},
    }


def test_variants_that_differ_are_one_row_with_a_result_for_each(tmp_path: Path) -> None:
    """The label of most of them stands as the label of the row; where they agree the row is left out."""
    said = [("a", "a", "a"), ("a", "b", "a"), ("a", "b", "c"), ("a", None, "a")]
    made = [
        {**GOOD, "label": label, "row_id": f"r{n}", "variant": variant, "text": f"t{n}"}
        for n, given in enumerate(said)
        for variant, label in zip(("x", "y", "z"), given, strict=True)
    ]
    done = review(labelled(tmp_path / "out", made, part_rows=6).root, tmp_path / "look.jsonl")
    assert [(r["row_id"], r["label"], [x["label"] for x in r["results"]]) for r in lines(done.path)] == [
        ("r2", None, ["a", "b", "c"]),
        ("r1", "a", ["a", "b", "a"]),
    ]
    assert done.reasons["variants"] == 2


@pytest.mark.parametrize("variants", [1, 2])
def test_the_most_doubtful_rows_are_the_first_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variants: int
) -> None:
    """However many are wanted, over parts and batches and after rows were dropped from the temporary file."""
    monkeypatch.setattr(module, "JUDGED_ROWS", 7)
    monkeypatch.setattr(module, "READ_ROWS", 5)
    monkeypatch.setattr(module, "SPARE", 3)
    rng = random.Random(5)
    made = [
        {**GOOD, "confidence": rng.choice([0.1, 0.2, rng.random()]), "row_id": f"r{n}", "variant": variant}
        for n in range(90)
        for variant in [None, "b"][:variants]
    ]
    if variants == 2:
        made = [{**row, "variant": row["variant"] or "a"} for row in made]
    out = labelled(tmp_path / "out", made, part_rows=20).root
    every = lines(review(out, tmp_path / "all.jsonl").path)
    assert [(r["certainty"], r["row_number"]) for r in every] == sorted(
        (r["certainty"], r["row_number"]) for r in every
    )
    least: dict[str, float] = {}
    for row in made:
        least[row["row_id"]] = min(row["confidence"], least.get(row["row_id"], 1.0))
    assert len(every) == sum(share < 0.8 for share in least.values())
    for most in (1, 4, 30, 1_000):
        done = review(out, tmp_path / "some.jsonl", most=most)
        assert lines(done.path) == every[:most]
        assert (done.rows, done.doubtful) == (min(most, len(every)), len(every))


def test_what_is_little_can_be_said(tmp_path: Path) -> None:
    """0 leaves only rows without a label."""
    out = labelled(tmp_path / "out", [{**GOOD, "agreement": 0.9}, {**GOOD, "agreement": 0.1}, {**GOOD, **FAILED}]).root
    assert review(out, tmp_path / "a.jsonl", below=0.95).rows == 3
    assert [row["row_id"] for row in lines(review(out, tmp_path / "a.jsonl", below=0.0).path)] == ["r2"]


def test_a_table_without_doubt_makes_an_empty_file(tmp_path: Path) -> None:
    """In each form one that can be read."""
    out = labelled(tmp_path / "out", [GOOD, GOOD]).root
    assert review(out, tmp_path / "a.jsonl").path.read_bytes() == b""
    assert json.loads(review(out, tmp_path / "a.json", form="label-studio").path.read_bytes()) == []
    assert json.loads(review(out, tmp_path / "a.json", form="argilla").path.read_bytes()) == []
    assert review(out, tmp_path / "a.csv").path.read_text("utf-8-sig").startswith('"row_id","row_number"')


def test_a_file_that_cannot_be_made_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """Its form must be known; a file among the parts, or the input itself, is never replaced."""
    folder = labelled(tmp_path / "out", [GOOD])
    with pytest.raises(RefusedToStart, match=r"--format jsonl, csv, label-studio, argilla, or let the name end in"):
        review(folder.root, tmp_path / "look.json")
    with pytest.raises(RefusedToStart, match="lies among the files of the table"):
        review(folder.root, folder.results / "look.jsonl")
    with pytest.raises(RefusedToStart, match="there is no folder"):
        review(folder.root, tmp_path / "nowhere" / "look.jsonl")


def test_a_disk_that_refuses_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the file, and that of the temporary one."""
    out = labelled(tmp_path / "out", [{**GOOD, **FAILED}]).root
    target = tmp_path / "look.jsonl"
    target.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("batch.core.durable.os.fsync", full)
        with pytest.raises(StorageError, match="look.jsonl: cannot be written: No space left"):
            review(out, target)

    def no_room(*_: object) -> None:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(module._Sorted, "add", no_room)
    with pytest.raises(StorageError, match="wait in a temporary file, and its disk refused"):
        review(out, target)
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["look.jsonl", "out"]


def test_texts_of_many_values_are_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal says what to choose instead."""
    monkeypatch.setattr(module, "MOST_CLASSES", 3)
    out = labelled(tmp_path / "out", [{**GOOD, "label": f"l{n}"} for n in range(5)]).root
    with pytest.raises(RefusedToStart, match="more than 3 different values, which are no labels"):
        review(out, tmp_path / "a.jsonl")
