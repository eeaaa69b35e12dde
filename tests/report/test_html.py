from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batch.core.durable import AtomicFile
from batch.core.errors import RefusedToStart, StorageError
from batch.report import html
from batch.report.digest import digest
from batch.report.html import write_report
from tests.support.labelled import labelled
from tests.support.shown import NASTY, shown

POINTS = 50_000


def embedded(path: Path) -> dict[str, Any]:
    """The figures that stand in a report."""
    found = re.search(
        r'<script type="application/json" id="figures">(.*?)</script>', path.read_text("utf-8"), re.DOTALL
    )
    assert found is not None
    told: dict[str, Any] = json.loads(found[1])
    return told


def test_a_report_lies_beside_its_folder_unless_told_otherwise(tmp_path: Path) -> None:
    out = shown(tmp_path / "out").root
    done = write_report(out)
    assert done.path == tmp_path / "out-report.html"
    assert done.size == done.path.stat().st_size
    assert done.rows == 0
    elsewhere = write_report(out, tmp_path / "a.HTML", with_text=True)
    assert elsewhere.rows > 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.HTML", "out", "out-report.html"]


def test_the_report_of_fifty_thousand_points_is_small_enough_for_a_mail(tmp_path: Path) -> None:
    """Whatever comes in, figures over time get coarser until the file fits, and no count is lost."""
    told = {**digest(shown(tmp_path / "out").root), "version": "0"}
    counts = {
        name: [n % 1_000 for n in range(POINTS)] for name in ("rows", "failed", "calls", "tokens_in", "tokens_out")
    }
    times = {"bin_s": 1, "t": [1_795_226_400 + n for n in range(POINTS)]}
    shares = {name: [n / 7 for n in range(POINTS)] for name in ("latency_p50", "latency_p95")}
    told["figures"]["overview"]["series"] = {**times, **counts, **shares, "cost": {"CNY": ["0.000123456789"] * POINTS}}
    content = html._fitting(told, limited=True)
    assert len(content) <= html.MOST_BYTES
    (tmp_path / "a.html").write_bytes(content)
    series = embedded(tmp_path / "a.html")["figures"]["overview"]["series"]
    assert 100 < len(series["t"]) <= 2_000
    assert sum(series["tokens_in"]) == sum(counts["tokens_in"])
    assert sum(map(Decimal, series["cost"]["CNY"])) == POINTS * Decimal("0.000123456789")


def test_long_ids_and_many_long_labels_do_not_make_it_large(tmp_path: Path) -> None:
    """What is a name in one folder is a page of text in another."""
    rows = [
        {
            "text": "t",
            "row_id": f"{n} " + "id" * 5_000,
            "label": f"{n % 90:02} " + "label" * 1_000,
            "gold": f"{n * 7 % 90:02} " + "label" * 1_000,
        }
        for n in range(900)
    ]
    out = labelled(tmp_path / "out", rows, gold="gold", names=[str(row["label"]) for row in rows]).root
    assert write_report(out).size <= html.MOST_BYTES


def test_nasty_text_stays_text_in_the_file(tmp_path: Path) -> None:
    """A script in an answer ends no element, and every text comes back as it was."""
    out = shown(tmp_path / "out").root
    path = write_report(out, with_text=True).path
    page = path.read_text("utf-8")
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page
    rows = embedded(path)["figures"]["rows"]
    texts = {row["views"][0]["inputs"]["text"] for row in rows}
    assert texts & set(NASTY)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.pdf", "ends in .html"),
        ("out/ledger.db", "ends in .html"),
        ("nowhere/a.html", "there is no folder"),
        ("out/results/a.html", "lies among the files of the table"),
        ("folder.html", "is no file"),
        ("x" * 251 + ".html", "Choose another"),
        ("/proc/a.html", "cannot be made"),
    ],
)
def test_a_file_that_cannot_be_a_report_is_refused_and_nothing_is_touched(
    tmp_path: Path, name: str, reason: str
) -> None:
    out = shown(tmp_path / "out").root
    (tmp_path / "folder.html").mkdir()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RefusedToStart, match=reason):
        write_report(out, tmp_path / name)
    assert all(path.stat().st_mtime_ns == changed for path, changed in before.items())
    assert not list(tmp_path.rglob("*.html.tmp"))
    assert [path for path in tmp_path.rglob("*.html") if path.is_file()] == []


def test_a_disk_that_is_full_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = shown(tmp_path / "out").root
    target = tmp_path / "a.html"
    target.write_text("the old one")

    def full(_: AtomicFile) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AtomicFile, "commit", full)
    with pytest.raises(StorageError, match="No space left on device. Make room"):
        write_report(out, target)
    assert target.read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "out"]


def test_the_report_says_the_most_important_thing_without_its_script_too(tmp_path: Path) -> None:
    """The preview of a mail runs none."""
    out = shown(tmp_path / "out").root
    page = write_report(out).path.read_text("utf-8")
    told = re.search(r"<noscript>(.*?)</noscript>", page, re.DOTALL)
    assert told is not None
    assert "tickets: finished" in told[1]
    assert "Cost of this run" in told[1]
