"""`batch.report.figures.rows`: pages are right whatever is asked, and only what they need is read."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.errors import RefusedToStart
from batch.output import parts
from batch.output.folder import OutputFolder
from batch.report.figures import parquet
from batch.report.figures.figures import Figures
from batch.report.figures.filters import Filter, parse
from batch.report.figures.rows import ORDERED, Page
from tests.support.labelled import labelled
from tests.support.outfolders import as_published, finished

NAMES = ["billing", "shipping", "other"]


def made(count: int, seed: int = 3) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        failed = rng.random() < 0.2
        rows.append(
            {
                "subject": rng.choice(["Where is it", "where IS my parcel", "包裹在哪里", "100% [sic]", ""]),
                "truth": rng.choice([*NAMES, None]),
                "amount": rng.choice([None, 0.0, 1.5, float(number)]),
                "label": None if failed else rng.choice(NAMES),
                "status": "failed" if failed else "ok",
                "answer": None if failed else rng.choice(["It is on its way", "Sorry", "WHERE indeed"]),
                "flags": [] if failed else rng.choice([[], ["truncated"], ["truncated", "tie"]]),
                "error_kind": "server" if failed else None,
                "error_code": rng.choice(["500", "502"]) if failed else None,
                "run": rng.choice(["20261120T020000123Z-a1b2", "20261121T020000123Z-a1b2"]),
            }
        )
    return rows


ROWS = made(300)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """300 rows in parts of 60 rows, in row groups of 25."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "GROUP_ROWS", 25)
        folder = labelled(tmp_path_factory.mktemp("rows") / "out", ROWS, gold="truth", names=NAMES, part_rows=60)
    return Figures(folder.root)


def numbers(figures: Figures, asked: Filter, size: int = 7, order: str = "") -> list[int]:
    """The row numbers of all pages, one page after another."""
    found: list[int] = []
    page = 1
    while True:
        told = figures.rows(asked, Page(page, size, order))
        assert (told["page"], told["size"]) == (page, size)
        found += [row["row_number"] for row in told["rows"]]
        if not told["more"]:
            return found
        assert len(told["rows"]) == size
        page += 1


def holds(row: dict[str, Any], asked: Filter) -> bool:
    """The same as the filter, said in Python."""
    texts = [row["subject"], row["truth"], row["answer"]]
    kind, _, code = asked.error.partition("/")
    return (
        asked.status in ("", row["status"])
        and asked.label in ("", row["label"])
        and asked.run in ("", row["run"])
        and (not asked.flag or asked.flag in row["flags"])
        and (not kind or row["error_kind"] == kind)
        and (not code or row["error_code"] == code)
        and (not asked.text or any(asked.text.lower() in (text or "").lower() for text in texts))
        and all((row["truth"] or "") == pair.partition(":")[2] for pair in asked.where)
        and all(row["amount"] is not None and row["amount"] >= float(pair.partition(":")[2]) for pair in asked.min)
        and all(row["amount"] is not None and row["amount"] <= float(pair.partition(":")[2]) for pair in asked.max)
    )


asked = st.builds(
    Filter,
    status=st.sampled_from(["", "", "ok", "failed", "odd"]),
    label=st.sampled_from(["", "", *NAMES, "none such"]),
    flag=st.sampled_from(["", "", "truncated", "tie", "empty"]),
    error=st.sampled_from(["", "", "server", "server/502", "timeout"]),
    run=st.sampled_from(["", "", "20261120T020000123Z-a1b2", "20261121T020000123Z-a1b2"]),
    text=st.sampled_from(["", "", "where", "包裹", "[sic]", "0%", "zebra"]),
    where=st.sampled_from([(), (), ("truth:billing",), ("truth:",)]),
    min=st.sampled_from([(), (), ("amount:1.5",), ("amount:150",)]),
    max=st.sampled_from([(), (), ("amount:100",), ("amount:-1",)]),
)


@settings(max_examples=40)
@given(asked=asked, size=st.sampled_from([1, 29, 60, 500]))
def test_the_pages_together_are_the_rows_that_hold_each_once_in_the_order_of_the_table(
    figures: Figures, asked: Filter, size: int
) -> None:
    """Whatever row groups were skipped by their footers, and whatever was remembered of earlier questions."""
    expected = [number for number, row in enumerate(ROWS) if holds(row, asked)]
    if size > 1 or len(expected) < 30:
        assert numbers(figures, asked, size) == expected
    assert figures.count(asked) == len(expected)
    assert figures.rows(asked, Page(1, size))["total"] == len(expected)


@settings(max_examples=25)
@given(asked=asked, order=st.sampled_from(["amount", "-amount"]))
def test_another_order_has_the_same_rows_but_those_without_a_value(figures: Figures, asked: Filter, order: str) -> None:
    """Rows of the same value stand as in the table."""
    found = [(row["amount"], n) for n, row in enumerate(ROWS) if holds(row, asked) and row["amount"] is not None]
    expected = sorted(found, key=lambda one: (-one[0] if order[0] == "-" else one[0], one[1]))
    assert numbers(figures, asked, 60, order) == [number for _, number in expected]


def test_of_another_order_there_are_the_first_thousand(tmp_path: Path) -> None:
    """More would have to be kept in memory."""
    table = pa.table({"amount": list(range(1_500))})
    figures = Figures(finished(tmp_path / "out", table, part_rows=500).root)
    assert numbers(figures, Filter(), 500, "-amount") == list(range(1_499, 1_499 - ORDERED, -1))


def test_a_page_reads_no_part_that_it_does_not_need(figures: Figures, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the ledger says of parts, what was counted before, and the footers of row groups."""
    opened: list[str] = []
    read: list[int] = []
    whole, group = parquet.OpenPart.__init__, parquet.OpenPart.read

    def opening(self: parquet.OpenPart, path: Path) -> None:
        opened.append(path.name)
        whole(self, path)

    def reading(self: parquet.OpenPart, number: int, columns: Any) -> pa.Table:
        read.append(number)
        return group(self, number, columns)

    fresh = Figures(figures.folder.root)
    monkeypatch.setattr(parquet.OpenPart, "__init__", opening)
    monkeypatch.setattr(parquet.OpenPart, "read", reading)
    assert [row["row_number"] for row in fresh.rows(Filter(), Page(25, 10))["rows"]] == list(range(240, 250))
    assert opened == ["part-00004.parquet"]
    opened.clear()
    asked = parse([("min", "amount:280")])
    fresh.rows(asked)
    assert len(opened) == 5
    opened.clear()
    read.clear()
    fresh.rows(asked)
    assert opened == ["part-00004.parquet"]
    assert read
    read.clear()
    assert fresh.rows(parse([("status", "zzz")]))["rows"] == []
    assert read == []


def test_a_listed_row_is_cut_and_harmless(tmp_path: Path) -> None:
    """A page of fifty answers of 9 MB, and signs that turn the line or clear a screen, in a cell."""
    hostile = "<script>alert(1)</script>\u202eevil\x1b[2J" + "长" * 3_000_000
    folder = finished(tmp_path / "out", pa.table({"text": [hostile, "fine"], "raw": [b"\x00" * 100, None]}))
    [first, second] = Figures(folder.root).rows()["rows"]
    assert first["input"]["text"].startswith("<script>alert(1)</script> evil [2J长")
    assert len(first["input"]["text"]) == 201
    assert first["input"]["text"].endswith("长…")
    assert second["input"] == {"text": "fine"}


def test_a_listed_row_tells_money_tokens_and_times_as_json_has_them(figures: Figures) -> None:
    """Money as text, moments in seconds, what is not known as null."""
    told = figures.rows(Filter(), Page(1, 1))
    [row] = told["rows"]
    assert list(row)[:5] == ["row_number", "row_id", "variant", "status", "label"]
    assert row["labels"] == {"label": row["label"]} == {"label": ROWS[0]["label"]}
    assert isinstance(row["settled_at"], float)
    kinds = {column["name"]: (column["kind"], column["ours"]) for column in told["columns"]}
    assert kinds["amount"] == ("number", False)
    assert kinds["subject"] == ("text", False)
    assert kinds["settled_at"] == ("moment", True)
    assert kinds["retryable"] == ("truth", True)
    assert kinds["flags"] == ("other", True)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Page(0), "counted from 1"),
        (Page(1, 0), "1 to 500 rows"),
        (Page(1, 501), "1 to 500 rows"),
        (Page(order="amuont"), "Did you mean amount?"),
        (Page(order="subject"), "no column 'subject' with numbers"),
    ],
)
def test_a_page_that_cannot_be_is_refused_in_words(figures: Figures, page: Page, reason: str) -> None:
    """Ours: what was given, and what there is."""
    with pytest.raises(RefusedToStart, match=reason):
        figures.rows(Filter(), page)


def test_a_page_behind_the_last_one_is_empty(figures: Figures) -> None:
    """As when rows went away since the address was made."""
    told = figures.rows(Filter(), Page(1_000))
    assert (told["rows"], told["more"], told["total"]) == ([], False, 300)


def test_a_folder_without_results_says_when_to_look_again(tmp_path: Path) -> None:
    """A run has just begun."""
    folder = finished(tmp_path / "out", pa.table({"text": pa.array([], pa.string())}))
    with pytest.raises(RefusedToStart, match="no results yet"):
        Figures(folder.root).rows()


def test_what_was_counted_of_a_part_is_forgotten_when_the_part_is_replaced(tmp_path: Path) -> None:
    """A retried row keeps its place, and its part is another file."""
    rows: list[dict[str, Any]] = [{"text": f"t{n}", "label": "a", "status": "ok"} for n in range(20)]
    figures = Figures(labelled(tmp_path / "out", rows, part_rows=10).root)
    failed = parse([("status", "failed")])
    assert figures.count(failed) == 0
    rows[13] |= {"status": "failed", "label": None}
    replaced = labelled(tmp_path / "other", rows, part_rows=10)
    swap(replaced, figures.folder)
    assert numbers(figures, failed) == [13]
    assert figures.count(failed) == 1


def swap(new: OutputFolder, old: OutputFolder) -> None:
    """Put the parts of one folder in the place of another's, as a run does: by rename."""
    for part in new.results.iterdir():
        part.replace(old.results / part.name)
    as_published(old)
