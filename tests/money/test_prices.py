"""Prices: which line of the lists a call is billed by: name, moment, lengths, tier, hour; files that win over the book."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from batch.core.errors import RefusedToStart
from batch.core.records import Usage, cost_decimal
from batch.money.prices import Prices
from batch.money.rates import Rates

TABLE = Prices.load()


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    """A moment of UTC in microseconds."""
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()) * 1_000_000


NOW = at(2026, 11, 21, 12)


def find(
    table: Prices,
    provider: str,
    model: str,
    at_us: int = NOW,
    *,
    tokens: tuple[int, int] = (10, 10),
    tier: str | None = None,
    lane: str = "sync",
) -> Rates | None:
    return table.rates(
        provider, model, at_us, prompt_tokens=tokens[0], completion_tokens=tokens[1], tier=tier, lane=lane
    )


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "prices.toml"


def written(path: Path, text: str) -> Prices:
    path.write_text(text, encoding="utf-8")
    return Prices.load(path)


@pytest.mark.parametrize(
    ("provider", "model", "price_id", "currency", "million_in", "million_out"),
    [
        ("glm", "glm-4", "glm/glm-4@2024-01-16", "CNY", "100", "100"),
        ("simulator", "GLM-4", "glm/glm-4@2024-01-16", "CNY", "100", "100"),
        ("glm", "glm-3-turbo", "glm/glm-3-turbo@2024-06-01", "CNY", "1", "1"),
        ("glm", "glm-4-plus", "glm/glm-4-plus@2025-12-29", "CNY", "5", "5"),
        ("glm", "glm-4-air-250414", "glm/glm-4-air@2025-12-29", "CNY", "0.5", "0.5"),
        ("glm", "glm-4-airx", "glm/glm-4-airx@2025-12-29", "CNY", "10", "10"),
        ("glm", "glm-4-flashx-250414", "glm/glm-4-flashx@2025-12-29", "CNY", "0.1", "0.1"),
        ("glm", "glm-4-flash-250414", "glm/glm-4-flash@2025-12-29", "CNY", "0", "0"),
        ("glm", "glm-4v-plus-0111", "glm/glm-4v-plus@2025-12-29", "CNY", "4", "4"),
        ("zai", "glm-4.7", "zai/glm-4.7@2025-12-22", "USD", "0.60", "2.20"),
        ("openai", "gpt-5-mini", "openai/gpt-5-mini@2025-08-07", "USD", "0.25", "2.00"),
        ("openai", "gpt-5-mini-2025-08-07", "openai/gpt-5-mini@2025-08-07", "USD", "0.25", "2.00"),
    ],
)
def test_the_published_prices_are_found_by_name_in_any_case(
    provider: str, model: str, price_id: str, currency: str, million_in: str, million_out: str
) -> None:
    """A million tokens cost exactly what the price page says; the ids are those that calls were stored with."""
    price = find(TABLE, provider, model)
    assert price is not None
    assert (price.id, price.currency) == (price_id, currency)
    assert TABLE.by_id(price_id) is price
    assert cost_decimal(price.cost(Usage(10**6, 0, 10**6))) == Decimal(million_in)
    assert cost_decimal(price.cost(Usage(0, 10**6, 10**6))) == Decimal(million_out)


@pytest.mark.parametrize(
    ("provider", "model", "at_us"),
    [
        ("glm", "glm-99", NOW),
        ("zai", "glm-4", NOW),
        ("vllm", "glm-4", NOW),
        ("glm", "glm-4-airy", NOW),
        ("glm", "glm-4-plus", at(2024, 1, 1)),
        ("glm", "glm-[0-9]", NOW),
    ],
)
def test_what_the_table_does_not_know_has_no_price(provider: str, model: str, at_us: int) -> None:
    """Unknown is None, not zero; a mainland price is not an international one."""
    assert find(TABLE, provider, model, at_us) is None
    assert TABLE.charge(provider, model, at_us, Usage(1, 1, 2)) is None
    assert TABLE.bound(provider, model, at_us, prompt_tokens=1, completion_tokens=1) is None
    assert TABLE.currency(provider, model, at_us) is None


def test_the_moment_decides_which_price_counts() -> None:
    """GLM-3-Turbo cost five times as much before June 2024."""
    before, after = (find(TABLE, "glm", "glm-3-turbo", at(2024, *day)) for day in ((5, 31), (6, 1)))
    assert before is not None
    assert after is not None
    assert before.input == 5 * after.input


PRICE = """[[price]]
providers = ["p"]
models = ["m"]
currency = "USD"
valid_from = 2026-01-01
source = "s"
checked_on = 2026-01-01
"""


def test_a_whole_call_has_the_price_of_the_band_its_lengths_fall_into(book: Path) -> None:
    """Both ends of each band; the bands are of input and of output, and of both at once."""
    table = written(
        book,
        PRICE
        + """rates = [
  { in_below = 32000, out_below = 200, input = 2, output = 8 },
  { in_below = 32000, out_from = 200, input = 3, output = 14 },
  { in_from = 32000, input = 4, output = 16 },
]""",
    )
    for tokens, inputs in {
        (0, 0): 2,
        (31_999, 199): 2,
        (31_999, 200): 3,
        (0, 10**6): 3,
        (32_000, 0): 4,
        (32_000, 200): 4,
        (10**6, 10**6): 4,
    }.items():
        line = find(table, "p", "m", tokens=tokens)
        assert line is not None
        assert line.input == inputs * 10**6, tokens
    charge = table.charge("p", "m", NOW, Usage(40_000, 1_000, 41_000))
    assert charge is not None
    assert cost_decimal(charge.cost) == Decimal("0.176")


def test_the_bound_is_the_dearest_of_every_band_a_shorter_call_can_fall_into(book: Path) -> None:
    """A long call may be the cheaper one: the most is looked for, not the last band."""
    table = written(
        book,
        PRICE
        + """rates = [
  { in_below = 1000, input = 9, output = 1, cache_write = 10 },
  { in_from = 1000, input = 1, output = 1 },
]""",
    )

    def bound(prompt: int) -> int:
        charge = table.bound("p", "m", NOW, prompt_tokens=prompt, completion_tokens=0)
        assert charge is not None
        return charge.cost // 10**6

    assert (bound(10), bound(999), bound(1000), bound(20_000)) == (100, 9990, 9990, 20_000)


def test_a_tier_has_its_own_price_and_one_that_is_not_published_has_none(book: Path) -> None:
    table = written(
        book,
        PRICE + 'rates = [\n  { input = 4, output = 4 },\n  { tier = "flex", input = 2, output = 2 },\n]',
    )
    found = [find(table, "p", "m", tier=tier, lane=lane) for tier, lane in ((None, "sync"), ("flex", "sync"))]
    assert [line and line.input for line in found] == [4_000_000, 2_000_000]
    for tier, lane in (("priority", "sync"), (None, "bulk"), ("scale", "sync")):
        assert find(table, "p", "m", tier=tier, lane=lane) is None, (tier, lane)
    flex = table.bound("p", "m", NOW, prompt_tokens=1, completion_tokens=1, tier="flex")
    assert flex is not None
    assert (flex.cost, flex.currency) == (8_000_000, "USD")


def test_what_is_free_is_free_by_batch_files_too(book: Path) -> None:
    """No batch costs more than the same calls by themselves; other tiers may, and a price that is not 0 says nothing."""
    table = written(book, PRICE + "input = 0\noutput = 0\n")
    for tier, lane, expected in ((None, "bulk", 0), ("batch", "sync", 0), ("priority", "sync", None)):
        line = find(table, "p", "m", tier=tier, lane=lane)
        assert (line and line.input) == expected, (tier, lane)
    paid = written(book, PRICE + "input = 0\noutput = 1\n")
    assert find(paid, "p", "m", lane="bulk") is None


def test_hours_count_when_a_call_is_sent_then_and_the_line_without_hours_at_all_others(book: Path) -> None:
    """02:00 UTC on a Monday is ten o'clock in Shanghai, at 12:00 UTC work is over; on Sunday there is none."""
    table = written(
        book,
        PRICE
        + "rates = [\n  { input = 1, output = 1 },\n"
        + '  { hours = ["mon-fri 09:00-12:00 Asia/Shanghai"], input = 2, output = 2 },\n]',
    )
    found = [
        find(table, "p", "m", at_us)
        for at_us in (
            at(2026, 11, 23, 2),
            at(2026, 11, 23, 12),
            at(2026, 11, 22, 2),
            at(2026, 11, 23, 0, 59),
            at(2026, 11, 23, 1),
            at(2026, 11, 23, 3, 59),
            at(2026, 11, 23, 4),
        )
    ]
    assert [line and line.input // 10**6 for line in found] == [2, 1, 1, 1, 2, 2, 1]
    bounds = [
        table.bound("p", "m", at_us, prompt_tokens=1, completion_tokens=0)
        for at_us in (at(2026, 11, 22, 22, 59), at(2026, 11, 23, 0, 59), at(2026, 11, 23, 3, 59), at(2026, 11, 23, 4))
    ]
    assert [bound and bound.cost // 10**6 for bound in bounds] == [1, 2, 2, 1]


def test_an_exact_name_wins_over_a_pattern_and_the_later_entry_over_the_earlier(book: Path) -> None:
    """Whatever their order in the file."""
    first = PRICE + "input = 1\noutput = 1\n"
    later = first.replace("valid_from = 2026-01-01", "valid_from = 2026-06-01").replace("= 1\n", "= 3\n")
    pattern = first.replace('"m"', '"m*"').replace("valid_from = 2026-01-01", "valid_from = 2026-07-01")
    table = written(book, pattern.replace("= 1\n", "= 9\n") + later + first)
    found = [find(table, "p", model, at_us) for model, at_us in (("m", NOW), ("m2", NOW), ("m", at(2026, 5, 31)))]
    assert [price and price.input for price in found] == [3_000_000, 9_000_000, 1_000_000]
    assert find(table, "p", "m", at(2026, 1, 1) - 1) is None


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("m-####", ["m-0111"], ["m-01111", "m-011", "m-abcd", "xm-0111"]),
        ("m*", ["m", "m-9", "m/x"], ["n"]),
        ("m.?", ["m.1", "m.x"], ["m1x", "m."]),
        ("m-[0-9]", ["m-3"], ["m-x"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str], book: Path) -> None:
    table = written(book, PRICE.replace('"m"', f'"{pattern}"') + "input = 1\noutput = 1\n")
    assert [name for name in (*yes, *no) if find(table, "p", name)] == yes


def test_a_users_file_wins_over_the_book_and_names_itself_in_the_id(book: Path) -> None:
    """An id of the book never means a figure of somebody's file, and changed figures have another id."""
    text = PRICE.replace('"p"', '"glm"').replace('"m"', '"glm-4"') + "input = 1\noutput = 1\n"
    mine = find(written(book, text), "glm", "glm-4")
    other = find(written(book, text.replace("input = 1", "input = 2")), "glm", "glm-4")
    assert mine is not None
    assert other is not None
    assert mine.input == 1_000_000
    assert mine.id.startswith("prices.toml:glm/glm-4@2026-01-01#")
    assert mine.id != other.id
    assert mine.origin == "prices.toml, line 1"
    table = Prices.load(book)
    assert find(table, "glm", "glm-4", at(2025, 6, 1)) == TABLE.by_id("glm/glm-4@2024-01-16")
    assert find(table, "glm", "glm-4-plus") == find(TABLE, "glm", "glm-4-plus")
    assert table.by_id(mine.id) is None
    assert table.by_id(other.id) == other


def test_the_nearest_wins_the_flag_then_the_lines_of_the_job_then_its_file_then_the_book(tmp_path: Path) -> None:
    def file(name: str, cost: int, *models: str) -> Path:
        path = tmp_path / name
        prices = [PRICE.replace('"m"', f'"{model}"') + f"input = {cost}\noutput = 1\n" for model in models]
        path.write_text("\n".join(prices), encoding="utf-8")
        return path

    flag, behind = file("flag.toml", 1, "a"), file("behind.toml", 3, "a", "b", "c")
    tables = {"p": [{"models": [model], "currency": "USD", "input": 2.5, "output": "1"} for model in ("a", "b")]}
    table = Prices.load(flag, lines=tables, behind=[behind])
    found = [find(table, "p", model) for model in ("a", "b", "c")]
    assert [line and line.input for line in found] == [1_000_000, 2_500_000, 3_000_000]
    assert [line and line.origin for line in found] == ["flag.toml, line 1", "the job", "behind.toml, line 21"]


def test_a_file_that_cannot_be_read_refuses_to_start(tmp_path: Path) -> None:
    with pytest.raises(RefusedToStart, match="missing"):
        Prices.load(tmp_path / "missing.toml")


def test_lines_are_listed_by_provider_and_by_name() -> None:
    assert {line.provider for line in TABLE.lines("zai")} == {"zai"}
    assert [line.id for line in TABLE.lines("glm", "GLM-3-Turbo")] == [
        "glm/glm-3-turbo@2024-01-16",
        "glm/glm-3-turbo@2024-06-01",
    ]
    assert len(TABLE.lines()) > len(TABLE.lines("openai")) > 0


def test_a_provider_with_a_list_for_each_of_its_addresses_is_billed_by_that_of_the_address() -> None:
    """Moonshot bills in yuan at one address and in dollars at the other; a gateway's address tells neither."""
    found = {
        host: [find(Prices.load(host=host), "moonshot", model) for model in ("moonshot-v1-8k", "kimi-k3")]
        for host in ("api.moonshot.cn", "api.moonshot.ai", "127.0.0.1", None)
    }
    assert {host: [line and line.currency for line in lines] for host, lines in found.items()} == {
        "api.moonshot.cn": ["CNY", None],
        "api.moonshot.ai": ["USD", "USD"],
        "127.0.0.1": ["CNY", "USD"],
        None: ["CNY", "USD"],
    }
