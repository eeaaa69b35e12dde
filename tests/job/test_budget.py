"""`[budget]` and `[limits] hours`: what they take, what is wrong, and that they make no answer stale."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from batch import BudgetSpec, GrantSpec
from batch.job.budgetspec import Amount
from tests.support.jobtext import SOUND, faults, load

WHOLE = """
[limits]
hours = "mon-fri 22:00-08:00 Asia/Shanghai; sat,sun 00:00-24:00 Asia/Shanghai"
[budget]
max_cost = "50.5 cny"
max_tokens = "5M"
max_rows = 10_000
per_day = "20CNY"
grants = [{ tokens = "2.5M", until = 2026-12-31, key = "ZAI_API_KEY" }, { tokens = 1_000 }]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_a_budget_says_amounts_as_people_write_them(folder: Path) -> None:
    """Money with its currency, tokens with k, M or G; a pack with its last day and the name of its key."""
    job = load(folder, SOUND + WHOLE)
    assert job.budget == BudgetSpec(
        max_cost=Amount(50_500_000_000_000, "CNY"),
        max_tokens=5_000_000,
        max_rows=10_000,
        per_day=Amount(20 * 10**12, "CNY"),
        grants=(GrantSpec(tokens=2_500_000, until=date(2026, 12, 31), key="ZAI_API_KEY"), GrantSpec(tokens=1_000)),
    )
    assert [str(window) for window in job.limits.hours] == [
        "mon-fri 22:00-08:00 Asia/Shanghai",
        "sat-sun 00:00-24:00 Asia/Shanghai",
    ]
    assert str(job.budget.max_cost) == "50.5 CNY"


def test_a_budget_and_hours_make_no_answer_stale_and_no_run_look_again(folder: Path) -> None:
    """They are in neither hash: what may be spent, and when, says nothing of what is asked."""
    plain, whole = load(folder, SOUND), load(folder, SOUND + WHOLE)
    assert whole.request_part() == plain.request_part()
    assert whole.digest() == plain.digest()


def test_a_flag_sets_the_budget_of_one_command(folder: Path) -> None:
    """--max-cost is budget.max_cost, and its faults name it."""
    job = load(folder, SOUND + WHOLE, max_cost="7 USD")
    assert job.budget is not None
    assert (str(job.budget.max_cost), job.budget.max_rows) == ("7 USD", 10_000)
    (fault,) = faults(folder, SOUND, max_cost="7")
    assert fault.startswith('budget.max_cost = "7" (--max-cost 7): expected an amount and the three letters')


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("max_cost", '"50"', 'expected an amount and the three letters of its currency, for example "50 CNY"'),
        ("max_cost", "50", 'expected an amount and its currency, for example "50 CNY"'),
        ("max_cost", '"fifty CNY"', "expected an amount and the three letters"),
        ("max_cost", '"-1 CNY"', "expected an amount and the three letters"),
        ("max_cost", '"1,5 CNY"', "expected an amount and the three letters"),
        ("max_cost", '"1.0000000000001 CNY"', "expected an amount and the three letters"),
        ("max_cost", '"0 CNY"', "is nothing: give more than 0"),
        ("max_cost", '"¥50"', "expected an amount and the three letters"),
        ("per_day", '"20 yuan"', "expected an amount and the three letters"),
        ("per_day", "true", "expected an amount and its currency"),
        ("max_tokens", '"5 apples"', 'expected a number of tokens, for example 5_000_000 or "5M"'),
        ("max_tokens", '"0.5"', "expected a whole number of tokens from 1"),
        ("max_tokens", "0", "expected a number of tokens"),
        ("max_tokens", "1.5", "expected a number of tokens"),
        ("max_tokens", '"9999999999999999G"', "expected a number of tokens"),
        ("max_rows", "0", "expected a whole number of rows, at least 1"),
        ("max_rows", '"all"', "expected a whole number of rows"),
        ("grants", '"5M"', "expected a list of packs"),
        ("grants", "[5_000_000]", "expected a list of packs"),
        ("grants", "[{ until = 2026-12-31 }]", "expected a list of packs"),
        ("grants", '[{ tokens = "many" }]', "expected a list of packs"),
        ("grants", '[{ tokens = 5, until = "soon" }]', "expected a list of packs"),
        ("grants", '[{ tokens = 5, key = "sk-Jh4wQz8nTd1yLs6vKe3m" }]', "never the key itself"),
        ("grants", "[{ tokens = 5, tokns = 5 }]", "expected a list of packs"),
        ("max_costs", '"5 CNY"', "unknown key. Did you mean max_cost?"),
    ],
)
def test_every_wrong_form_of_a_budget_is_told_with_the_right_one(folder: Path, key: str, value: str, told: str) -> None:
    """One fault, with key, value and way out; a key that somebody wrote down is not shown."""
    (fault,) = faults(folder, f"{SOUND}\n[budget]\n{key} = {value}\n")
    assert fault.startswith(f"budget.{key} = ")
    assert told in fault
    assert "Jh4wQz" not in fault


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ('"22-08"', "is no window of hours"),
        ('"22:00-08:00 Asia/Shanhai"', "'Asia/Shanhai' is no time zone. Did you mean Asia/Shanghai"),
        ('"22:00-25:00"', "has a time that no clock shows"),
        ('"22:00-22:00"', "begins and ends at the same minute"),
        ('"weekdays 22:00-08:00"', "is no day: write mon, tue"),
        ('"22:00-08:00; "', "is no window of hours"),
        ('""', "is no window of hours"),
        ("22", 'expected hours and a time zone, for example "22:00-08:00 Asia/Shanghai"'),
    ],
)
def test_every_wrong_form_of_hours_is_told_with_the_right_one(folder: Path, value: str, told: str) -> None:
    """What is wrong about it, not only that something is."""
    (fault,) = faults(folder, f"{SOUND}\n[limits]\nhours = {value}\n")
    assert fault.startswith("limits.hours = ")
    assert told in fault
