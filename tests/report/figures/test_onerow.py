"""`batch.report.figures.onerow`: one row by its number, its neighbours, and values that no page can take whole."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from batch.core.errors import RefusedToStart
from batch.report.figures.figures import Figures
from batch.report.figures.filters import Filter, parse
from batch.report.figures.onerow import LONGEST
from tests.support.labelled import labelled
from tests.support.outfolders import finished
from tests.support.values import outcome

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20


def test_a_row_is_found_by_its_number_with_all_its_variants_and_calls(tmp_path: Path) -> None:
    """What `promptmill show --json` has of it."""
    rows = [{"text": f"t{n // 2}", "row_id": f"id-{n // 2}", "variant": "ab"[n % 2], "label": "x"} for n in range(200)]
    figures = Figures(labelled(tmp_path / "out", rows, part_rows=30).root)
    told = figures.row(61)
    assert (told["row_id"], told["row_number"], told["cut"]) == ("id-61", 61, 0)
    assert [view["variant"] for view in told["views"]] == ["a", "b"]
    assert told["views"][0]["inputs"] == {"text": "t61"}
    assert (told["previous"], told["next"]) == (60, 62)


def test_neighbours_are_those_that_are_asked_for(tmp_path: Path) -> None:
    """Over the borders of parts, and none before the first or behind the last."""
    rows = [{"text": "t", "label": "x" if n in (4, 30, 31, 77) else "y"} for n in range(80)]
    figures = Figures(labelled(tmp_path / "out", rows, part_rows=9).root)
    asked = parse([("label", "x")])
    found = {n: (told["previous"], told["next"]) for n in (0, 4, 30, 31, 50, 77, 79) if (told := figures.row(n, asked))}
    assert found == {
        0: (None, 4),
        4: (None, 30),
        30: (4, 31),
        31: (30, 77),
        50: (31, 77),
        77: (31, None),
        79: (77, None),
    }
    assert (figures.row(0)["previous"], figures.row(79, Filter())["next"]) == (None, None)


def test_a_number_that_no_row_has_is_said(tmp_path: Path) -> None:
    """Behind the last, and never a row that happens to be near."""
    figures = Figures(finished(tmp_path / "out", pa.table({"t": ["a", "b"]})).root)
    for number in (2, 10**12):
        with pytest.raises(RefusedToStart, match=f"no row of the table has the number {number}"):
            figures.row(number)


def test_a_long_text_is_cut_and_can_be_had_whole(tmp_path: Path) -> None:
    """A cell of 10 MB would stop the browser."""
    folder = finished(tmp_path / "out", pa.table({"text": ["a" * 1_000_000]}), [outcome("b" * 1_000_000)])
    figures = Figures(folder.root)
    told = figures.row(0)
    view = told["views"][0]
    assert told["cut"] == 2
    assert view["inputs"]["text"] == "a" * LONGEST + "… [cut: 900,000 more characters]"
    assert len(json.dumps(told)) < 300_000
    whole = figures.row(0, whole=True)
    assert (whole["cut"], whole["views"][0]["outcome"]["answer"]) == (0, "b" * 1_000_000)


def test_bytes_are_a_picture_that_browsers_show_or_their_number(tmp_path: Path) -> None:
    """An SVG runs scripts, so it is none."""
    pictures = {
        "png": PNG,
        "svg": b"<svg onload='alert(1)'/>",
        "webp": b"RIFF\0\0\0\0WEBPVP8 ",
        "large": PNG + bytes(5_000_000),
    }
    table = pa.table({name: pa.array([value], pa.binary()) for name, value in pictures.items()})
    inputs = Figures(finished(tmp_path / "out", table).root).row(0)["views"][0]["inputs"]
    assert inputs["png"].startswith("data:image/png;base64,iVBORw0KGgo")
    assert inputs["webp"].startswith("data:image/webp;base64,")
    assert inputs["svg"] == {"bytes": 24, "picture": None}
    assert inputs["large"] == {"bytes": 5_000_028, "picture": "image/png"}


def test_half_a_surrogate_pair_and_deep_nesting_stop_no_row(tmp_path: Path) -> None:
    """A model may say them in JSON, where they are lawful."""
    deep = "[" * 90 + '"\\ud800"' + "]" * 90
    messages = [{"role": "assistant", "content": "half \ud800 a pair"}]
    text = json.dumps(messages)[:-1] + f', {{"role":"tool","content":{deep}}}]'
    folder = finished(tmp_path / "out", pa.table({"t": ["a"]}), [outcome("a", messages=text)])
    [first, second] = Figures(folder.root).row(0)["views"][0]["messages"]
    assert first["content"] == "half \ufffd a pair"
    json.dumps(second).encode()


def test_a_row_can_be_asked_for_by_its_id(tmp_path: Path) -> None:
    """As those under way, which are in no table yet."""
    figures = Figures(finished(tmp_path / "out", pa.table({"t": ["a", "b"]})).root)
    assert figures.row_named("r1")["row_number"] == 1
    with pytest.raises(RefusedToStart, match="no row is called 'r7'"):
        figures.row_named("r7")
