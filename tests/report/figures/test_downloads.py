"""`batch.report.figures.downloads`: filtered rows as files, the same as the commands write."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batch.core.errors import RefusedToStart
from batch.report.export import export
from batch.report.figures.figures import Figures
from batch.report.figures.filters import Filter, parse
from batch.report.review import review
from tests.support.labelled import labelled
from tests.support.outfolders import finished


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "text": f"=t{n}, 包裹",
            "note": None if n % 3 else "n",
            "label": None if n % 7 == 0 else "xy"[n % 2],
            "status": "failed" if n % 7 == 0 else "ok",
            "error_kind": "label" if n % 7 == 0 else None,
            "retryable": False if n % 7 == 0 else None,
            "agreement": 1.0,
        }
        for n in range(count)
    ]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_all_rows_are_the_file_that_export_writes(tmp_path: Path, ending: Any) -> None:
    """One form of each format, however it is asked for."""
    folder = labelled(tmp_path / "out", rows(50), part_rows=20)
    export(folder.root, tmp_path / f"all.{ending}")
    assert b"".join(Figures(folder.root).download(ending)) == (tmp_path / f"all.{ending}").read_bytes()


def test_filtered_rows_come_in_the_order_of_the_table_piece_by_piece(tmp_path: Path) -> None:
    """Never all in memory."""
    folder = labelled(tmp_path / "out", rows(1_000), part_rows=300)
    asked = parse([("status", "failed")])
    pieces = list(Figures(folder.root).download("csv", asked))
    assert len(pieces) > 3
    told = list(csv.DictReader(io.StringIO(b"".join(pieces).decode("utf-8-sig"))))
    assert [row["row_id"] for row in told] == [f"r{n}" for n in range(0, 1_000, 7)]
    assert told[1]["text"] == "'=t7, 包裹"


def test_nothing_is_a_file_without_rows(tmp_path: Path) -> None:
    """With its names all the same."""
    figures = Figures(labelled(tmp_path / "out", rows(5)).root)
    asked = parse([("text", "nowhere")])
    assert b"".join(figures.download("jsonl", asked)) == b""
    assert len(b"".join(figures.download("csv", asked)).splitlines()) == 1
    assert json.loads(b"".join(figures.review("label-studio", asked))) == []


def test_the_rows_to_review_are_told_as_the_command_tells_them(tmp_path: Path) -> None:
    """Here any row may be taken along; what makes it doubtful stands beside it."""
    folder = labelled(tmp_path / "out", rows(40), names=["x", "y"], part_rows=15)
    review(folder.root, tmp_path / "r.jsonl")
    command = {row["row_id"]: row for row in map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())}
    figures = Figures(folder.root)
    lines = b"".join(figures.review("jsonl", parse([("error", "label")]))).splitlines()
    found = {row["row_id"]: row for row in map(json.loads, lines)}
    assert found == command
    [sure] = map(
        json.loads,
        b"".join(figures.review("jsonl", parse([("min", "row_number:1"), ("max", "row_number:1")]))).splitlines(),
    )
    assert (sure["row_id"], sure["reasons"], sure["certainty"], sure["label"]) == ("r1", [], 1.0, "y")
    tasks = json.loads(b"".join(figures.review("label-studio", Filter())))
    assert len(tasks) == 40


def test_variants_of_a_row_are_one_row_to_review(tmp_path: Path) -> None:
    """And differ, which makes it doubtful."""
    made = [{"text": "t", "row_id": f"r{n // 2}", "variant": "ab"[n % 2], "label": "xy"[n % 2]} for n in range(6)]
    lines = b"".join(Figures(labelled(tmp_path / "out", made).root).review("jsonl")).splitlines()
    told = [json.loads(line) for line in lines]
    assert [row["reasons"] for row in told] == [["variants"]] * 3
    assert [[one["variant"] for one in row["results"]] for row in told] == [["a", "b"]] * 3


def test_a_table_without_labels_has_nothing_to_review(tmp_path: Path) -> None:
    """Said before the first byte."""
    with pytest.raises(RefusedToStart, match="has no labels"):
        Figures(finished(tmp_path / "out", pa.table({"t": ["a"]})).root).review("jsonl")
