"""Price files: what stands in them, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.core.errors import JobError, RefusedToStart
from batch.money import pricefile

PRICE = """[[price]]
providers = ["p"]
models = ["m"]
currency = "USD"
input = 1
output = 1
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not toml [", "not TOML"),
        ("[[prices]]\n", "prices: unknown key.*Did you mean price?"),
        ("[price]\ninput = 1\n", r"write \[\[price\]\] with two brackets"),
        (PRICE.replace("input = 1", "input = 0.1234567"), "price 1 .m.: input = 0.1234567: .*at most 6 decimals"),
        (PRICE + "per_request = 0.0000000000001\n", "at most 12 decimals"),
        (PRICE.replace("input = 1", "input = -1"), "is no price"),
        (PRICE.replace("input = 1", "input = nan"), "is no price"),
        (PRICE.replace("input = 1", "input = true"), "is no decimal number"),
        (PRICE.replace("input = 1", 'input = "cheap"'), 'input = "cheap": is no decimal number'),
        (PRICE.replace("input = 1", "input = 1e40"), "more than any token costs"),
        (PRICE.replace("output = 1\n", ""), "line 1, price 1 .m.: output is missing: add it"),
        (PRICE + "suprise = 1\n", "suprise: unknown key here"),
        (PRICE + "cache_input = 1\n", "Did you mean cached_input?"),
        (PRICE.replace('"m"', '"M"'), "lower case"),
        (PRICE.replace('["m"]', "[]"), "models = .*expected a list of texts"),
        (PRICE + "valid_from = 2026-01-01\nvalid_to = 2025-01-01\n", "before valid_from"),
        (PRICE + 'valid_from = "2026-01-01"\n', "without quotes"),
        (PRICE + "valid_from = 2026-01-01T00:00:30Z\n", "a whole minute"),
        (PRICE + "checked_on = 2026-01-01T00:00:00Z\n", "expected a day without quotes"),
        (PRICE + 'zone = "Asia/Shangai"\n', "is no time zone. Did you mean Asia/Shanghai?"),
        (PRICE + 'zone = "Mars"\n', "is no time zone"),
        (PRICE + 'zone = "Asia"\n', "is no time zone"),
        (PRICE + 'zone = "../../etc/passwd"\n', "is no time zone"),
        (PRICE + 'tier = "turbo"\n', "is no tier: there are standard, batch, flex, priority"),
        (PRICE + 'hours = ["9-12"]\n', "is no window of hours"),
        (PRICE + 'hours = "09:00-12:00"\n', "expected a list of windows"),
        (PRICE + 'hours = ["09:00-12:00"]\n', "no price outside its hours: add one without `hours`"),
        (PRICE + "in_from = -1\n", "whole number of tokens"),
        (PRICE + "in_below = 0\n", "no call has fewer than 0 tokens"),
        (PRICE + "in_from = 10\nin_below = 10\n", "in_from = 10 is not below in_below = 10"),
        (PRICE + "in_from = 10\n", "no price for calls of 0 to 9 prompt"),
        (PRICE + 'list = "mine"\n[list.mein]\n', r"there is no \[list.mine\]. Did you mean mein?"),
        ("[list.mine]\nmodels = ['m']\n" + PRICE, "list.mine: models: unknown key here"),
        (PRICE + "rates = [{ currency = 'CNY' }]\n", r"rates 1: currency: .*belongs in the \[\[price\]\]"),
        (PRICE + "rates = [{ tear = 'flex' }]\n", "Did you mean tier?"),
        (PRICE + "rates = []\n", "rates: expected a list of tables"),
        (PRICE + PRICE, "2 prices for calls of 0 or more prompt and 0 or more completion tokens"),
        (PRICE + PRICE.replace("USD", "CNY"), "two prices from one day on"),
        (
            PRICE + "rates = [{ in_below = 32000 }, { in_from = 32768 }]\n",
            "no price for calls of 32,000 to 32,767 prompt and 0 or more completion tokens: let a band .in_from",
        ),
        (
            PRICE + "rates = [{ in_below = 32001 }, { in_from = 32000 }]\n",
            "2 prices for calls of 32,000 to 32,000 prompt and 0 or more",
        ),
        (
            PRICE + "rates = [{ in_below = 9, out_below = 200 }, { in_from = 9 }]\n",
            "no price for calls of 0 to 8 prompt and 200 or more completion tokens",
        ),
        (
            PRICE + 'rates = [{}, { hours = ["09:00-12:00"] }, { hours = ["mon 19:59-21:00 Asia/Shanghai"] }]\n',
            "mon 19:59-21:00 Asia/Shanghai overlap: end one where the other begins",
        ),
    ],
)
def test_a_wrong_file_refuses_to_load_and_says_where_what_and_the_way_out(text: str, says: str, tmp_path: Path) -> None:
    """Better no run than a wrong bill."""
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RefusedToStart, match=f"(?s)price file .*mine.toml: .*{says}"):
        pricefile.read_file(path)


def test_all_that_is_wrong_is_said_at_once_with_the_line_of_each_price(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(PRICE.replace("input = 1", "input = -1") + "\n" + PRICE.replace("USD", ""), encoding="utf-8")
    with pytest.raises(JobError) as refused:
        pricefile.read_file(path)
    assert refused.value.faults == [
        "line 1, price 1 (m): input = -1: is no price: write the price in the currency's unit, for example 0.25",
        'line 8, price 2 (m): currency = "": expected a text in quotes, for example "USD"',
    ]


def test_what_a_rate_does_not_say_stands_in_its_price_and_then_in_its_list(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        """
[list.corp]
providers = ["p", "q"]
currency = "EUR"
zone = "Europe/Berlin"
source = "contract"
checked_on = 2026-01-02
cached_input = 0.5

[[price]]
list = "corp"
models = ["m"]
valid_from = 2026-07-01
valid_to = 2026-07-31
input = 2
rates = [
  { output = 4 },
  { tier = "flex", input = "1.5", output = 3, source = "a letter" },
]
""",
        encoding="utf-8",
    )
    standard, flex = pricefile.read_file(path)
    assert (standard.input, standard.output, standard.cached_input) == (2_000_000, 4_000_000, 500_000)
    assert (flex.input, flex.output, flex.cached_input) == (1_500_000, 3_000_000, 500_000)
    assert (standard.source, flex.source, flex.list, flex.currency) == ("contract", "a letter", "corp", "EUR")
    # July in Berlin begins and ends at 22:00 UTC.
    assert (flex.from_us, flex.to_us) == (1_782_856_800_000_000, 1_785_535_200_000_000)
    assert (flex.providers, flex.origin) == (("p", "q"), "mine.toml, line 10")


def test_the_tables_of_a_job_are_prices_of_their_provider_and_name_their_line(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text('[provider.mycorp]\nbase_url = "http://x"\n\n[[provider.mycorp.price]]\nmodels = ["m"]\n')
    price = {"models": ["m"], "currency": "EUR", "input": 0.1, "output": "0.2"}
    (line,) = pricefile.read_tables([price], "mycorp", job=str(job))
    assert (line.providers, line.input, line.output) == (("mycorp",), 100_000, 200_000)
    assert (line.origin, line.list) == ("job.toml, line 4", "mycorp")
    with pytest.raises(JobError, match=r"provider.mycorp.price, line 4, price 1 .m.: providers: leave it out"):
        pricefile.read_tables([{**price, "providers": ["q"]}], "mycorp", job=str(job))
