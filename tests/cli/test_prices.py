"""`promptmill prices`, and what check and the end of a run say of prices that are missing, old or unconfirmed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from batch.money import advice
from batch.money.prices import Prices
from tests.cli.conftest import Cli


@pytest.fixture(autouse=True)
def eighty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No terminal of whoever runs the tests."""
    monkeypatch.delenv("COLUMNS", raising=False)


def test_all_models_with_a_price_stand_under_their_provider_and_fit_a_terminal(cli: Cli) -> None:
    said = cli("prices")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    for title in ("glm, CNY", "zai, USD", "openai, USD", "deepseek, USD", "moonshot, CNY", "moonshot, USD"):
        assert title in lines
    assert max(map(len, lines)) <= 80
    assert re.search(r"\n  glm-4\.7 +2\.00 +0\.40 +8\.00  ~ bands\n", said.out)
    assert re.search(r"\n  gpt-5-mini +0\.25 +0\.025 +2\.00  \+1 tiers\n", said.out)
    assert "glm-5.3-flash" in said.out
    only = cli("prices", "--provider", "ZAI").out
    assert "zai, USD" in only
    assert "glm, CNY" not in only


def test_of_one_model_all_is_told_bands_tiers_hours_source_and_since_when(cli: Cli) -> None:
    said = cli("prices", "GLM-4.7").out
    assert "2.00 in, 0.40 cached, 8.00 out   in < 32,000, out < 200" in said
    assert "3.00 in, 0.60 cached, 14.00 out  in < 32,000, out >= 200" in said
    assert "provider   zai" in said
    assert "unconfirmed, from a scrape of bigmodel.cn/pricing" in said
    assert "since 2025-12-22 (UTC)" in said
    hours = cli("prices", "deepseek/deepseek-flash").out
    assert re.search(r"0\.15 in, 0\.003 cached, 0\.60 out  at all other hours\n", hours)
    assert re.search(r"0\.30 in.* mon-fri 09:00-12:00\n +mon-fri 14:00-18:00\n +in Asia/Shanghai\n", hours)
    tiers = cli("prices", "gpt-5-mini", "--provider", "openai").out
    assert re.search(r"0\.125 in, 0\.0125 cached, 1\.00 out +flex\n", tiers)
    for text in (said, hours, tiers):
        assert max(map(len, text.splitlines())) <= 80


def test_a_program_gets_every_line_with_exact_texts(cli: Cli) -> None:
    found = json.loads(cli("prices", "glm-4.7", "--provider", "glm", "--json").out)
    assert [(line["input"], line["cached_input"], line["output"], line["in_from"]) for line in found] == [
        ("2", "0.4", "8", None),
        ("3", "0.6", "14", None),
        ("4", "0.8", "16", 32_000),
    ]
    (line,) = json.loads(cli("prices", "deepseek-v3.2", "--json").out)
    assert (line["input"], line["currency"], line["unconfirmed"], line["hours"]) == ("0.2288", "USD", True, [])
    assert len(json.loads(cli("prices", "--json").out)) == len(Prices.load().lines())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["glm-4.77"], "glm-4.77: no price is known, its calls are booked as unknown. Did you mean glm-4.7"),
        (["gpt-5", "--provider", "glm"], "openai, simulator have it at prices of their own."),
        (["zai/gpt-5"], "zai/gpt-5: no price is known"),
        (["--provider", "opnai"], "nothing is known of its prices. Did you mean openai?"),
        (["--prices", "none.toml"], "price file none.toml: cannot be read"),
    ],
)
def test_what_nobody_knows_is_told_with_the_nearest_and_the_way_to_add_it(
    words: list[str], says: str, cli: Cli
) -> None:
    said = cli("prices", *words)
    assert (said.code, said.out) == (2, "")
    assert says in said.err


@pytest.mark.parametrize(("provider", "currency"), [("glm", "CNY"), ("openai", "USD"), ("mycorp", "USD")])
@pytest.mark.parametrize("tier", [None, "flex"])
def test_the_lines_that_are_shown_add_a_price_when_they_are_pasted(
    provider: str, currency: str, tier: str | None, tmp_path: Path, cli: Cli
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("\n".join(advice.snippet(Prices.load(), provider, 'Mill "9"', tier=tier)), encoding="utf-8")
    line = Prices.load(file).rates(provider, 'mill "9"', 0, prompt_tokens=1, completion_tokens=1, tier=tier)
    assert line is not None
    assert (line.currency, line.input) == (currency, 1_000_000)
    said = cli("prices", 'mill "9"', "--prices", str(file))
    assert (said.code, "1.00 in, 1.00 out" in said.out) == (0, True)


def test_the_lines_in_the_message_are_those_that_can_be_pasted(tmp_path: Path, cli: Cli) -> None:
    """As a person would: all that is indented, copied from the terminal into a file."""
    said = cli("prices", "glm/nobodys")
    file = tmp_path / "mine.toml"
    file.write_text("\n".join(line for line in said.err.splitlines() if line.startswith("  ")), encoding="utf-8")
    assert "1.00 in, 1.00 out CNY per million tokens" in cli("prices", "glm/nobodys", "--prices", str(file)).out
