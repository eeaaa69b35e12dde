"""Amounts that programs read are digits in every command and on every page: `0E-12` is no number to a spreadsheet."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from batch.core.records import Sums
from tests.cli.conftest import Cli
from tests.support.labelled import labelled
from tests.support.viewing import viewing

EXPONENT = re.compile(r"\dE[+-]\d")
"""As a decimal writes it; a float has a small e."""
SMALL, TINY = 0, 50_000
"""In 10⁻¹² CNY: `0E-12` and `5.0000E-8` as Python writes them."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two variants over two rows: one is free, one costs a twenty-millionth, and the input has such numbers, too."""
    amounts = [Decimal("0E-12"), Decimal("1.5E-8")]
    rows = [
        {
            "amount": amounts[n].quantize(Decimal("1E-12")),
            "nested": {"of": [amounts[n].quantize(Decimal("1E-12"))]},
            "row_id": f"r{n}",
            "variant": variant,
            "answer": f"{variant} {n}",
            "label": variant[0],
            "sums": Sums(
                calls=1, turns=1, prompt_tokens=1, completion_tokens=0, total_tokens=1, cost=cost, currency="CNY"
            ),
        }
        for n in range(2)
        for variant, cost in (("free", SMALL), ("tiny", TINY))
    ]
    return labelled(tmp_path / "out", rows).root


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "OUT", "--json", "--limit", "0"),
        ("compare", "OUT", "--json", "--all", "--column", "amount"),
        ("compare", "OUT", "--all"),
        ("show", "OUT", "r1", "--json"),
        ("show", "OUT", "r1"),
        ("status", "OUT", "--json"),
        ("cost", "OUT", "--json"),
        ("cost", "OUT", "--csv"),
        ("labels", "OUT", "--json"),
    ],
)
def test_no_command_says_an_amount_with_an_exponent(words: tuple[str, ...], out: Path, cli: Cli) -> None:
    said = cli(*(str(out) if word == "OUT" else word for word in words))
    assert (said.code, said.err) == (0, "")
    assert not EXPONENT.search(said.out)


def test_compare_says_a_cost_with_all_its_digits(out: Path, cli: Cli) -> None:
    """Ours: what cost nothing was `0E-12`."""
    said = json.loads(cli("compare", out, "--json", "--limit", "0").out)
    assert [sums["cost"] for sums in said["variants"]] == [{"CNY": "0.000000000000"}, {"CNY": "0.000000100000"}]


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_no_export_writes_an_amount_with_an_exponent(ending: str, out: Path, tmp_path: Path, cli: Cli) -> None:
    """Those of nested columns too."""
    path = tmp_path / f"answers{ending}"
    assert cli("export", out, path, "--columns", "amount,nested,cost,row_id").code == 0
    text = path.read_text("utf-8-sig")
    assert "0.000000050000" in text
    assert text.count("0.000000015000") == 4
    assert not EXPONENT.search(text)


def test_a_list_of_rows_to_look_at_has_no_exponent(out: Path, tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "look.jsonl"
    assert cli("labels", out, "--review", path, "--max", "9").code == 0
    assert "0.000000015000" in path.read_text()
    assert not EXPONENT.search(path.read_text())


def test_no_page_and_no_report_says_an_amount_with_an_exponent(out: Path, tmp_path: Path, cli: Cli) -> None:
    with viewing(out) as view:
        for page in ("overview", "rows", "row?id=r1", "compare", "money", "labels", "rows.jsonl"):
            found = view.get(f"api/0/{page}")
            assert found.status == 200, page
            assert not EXPONENT.search(found.body.decode()), page
    assert cli("report", out, "-o", tmp_path / "r.html", "--with-text").code == 0
    told = re.search(r'id="figures">(.*?)</script>', (tmp_path / "r.html").read_text(), re.DOTALL)
    assert told is not None
    assert not EXPONENT.search(told[1])
