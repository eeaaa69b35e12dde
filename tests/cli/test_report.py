"""`report`: what it says and how it ends; `tests/report/test_html.py` has what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.shown import shown


def test_report_says_where_the_file_is_and_how_large(tmp_path: Path, cli: Cli) -> None:
    out = shown(tmp_path / "out").root
    said = cli("report", out)
    size = -(-(tmp_path / "out-report.html").stat().st_size // 1000)
    told = f"{tmp_path / 'out-report.html'}: {size} kB, opens in any browser without a network\n"
    assert (said.code, said.out, said.err) == (0, told, "")


def test_report_with_text_warns_who_may_read_it(tmp_path: Path, cli: Cli) -> None:
    out = shown(tmp_path / "out").root
    said = cli("report", out, "--with-text", "-o", tmp_path / "a.html")
    assert said.out.splitlines()[0].startswith(f"{tmp_path / 'a.html'}: ")
    assert said.out.splitlines()[1:] == ["It has the text of 16 rows: mind who may read it."]


def test_a_report_without_some_calls_says_so_on_the_page_and_at_the_end(tmp_path: Path, cli: Cli) -> None:
    """The way out is told whole, however long the path is."""
    out = shown(tmp_path / ("o" * 100)).root
    lost = next((out / "calls").rglob("part-*.parquet"))
    lost.unlink()
    said = cli("report", out, "-o", tmp_path / "a.html")
    assert said.code == 5
    assert f"incomplete: the figures are of what can be read. {lost}: cannot be read" in said.err
    way_out = f"promptmill rebuild {out}"
    assert way_out in said.err
    assert way_out in (tmp_path / "a.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("nowhere",), "nowhere: there is no such folder"),
        (("{home}",), "is no output folder"),
        (("{home}/out", "-o", "a.pdf"), "a.pdf: a report is an HTML file. Give a name that ends in .html."),
        (("{home}/out", "-o", "{home}/no/a.html"), "there is no folder"),
        ((), "report needs OUT"),
        (("{home}/out", "--text"), "Did you mean --with-text?"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_way_out(
    tmp_path: Path, cli: Cli, words: tuple[str, ...], reason: str
) -> None:
    shown(tmp_path / "out")
    said = cli("report", *(word.format(home=tmp_path) for word in words))
    assert (said.code, said.out) == (2, "")
    assert reason in said.err
