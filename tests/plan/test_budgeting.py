"""`batch.plan.budgeting`: a budget that cannot be kept to is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.core.errors import JobError
from batch.job.job import Job
from batch.plan.preflight import CheckedJob, check_job

KEYS = {"ZAI_API_KEY": "0123456789abcdef0123456789abcdef.Zq7kPw3mVx9tRb2c", "HOME": "/nowhere"}
HEAD = 'name = "b"\n[input]\npath = "rows.jsonl"\n[prompt]\nuser = "{{ q }}"\n'


def checked(folder: Path, budget: str, model: str = 'name = "glm-4"\nparameters = { max_tokens = 8 }') -> CheckedJob:
    (folder / "rows.jsonl").write_text('{"q": "x", "most": 5}\n', encoding="utf-8")
    text = f'{HEAD}[model]\nprovider = "glm"\n{model}\n[budget]\n{budget}\n'
    (folder / "job.toml").write_text(text, encoding="utf-8")
    return check_job(Job.load(folder), KEYS)


@pytest.mark.parametrize(
    ("budget", "model", "told"),
    [
        ('max_cost = "5 CNY"', 'name = "glm-4"', "budget (max_cost): .* set max_tokens in model.parameters"),
        ("max_tokens = 5", 'name = "glm-4"', "budget (max_tokens)"),
        ("grants = [{ tokens = 5 }]", 'name = "glm-4"', "budget (grants)"),
        ('max_cost = "5 USD"', None, "budget.max_cost = 5 USD: glm/glm-4 is billed in CNY, .* give the amount in CNY"),
        ('per_day = "5 USD"', None, "budget.per_day = 5 USD: glm/glm-4 is billed in CNY"),
        (
            'max_cost = "5 CNY"',
            'name = "unheard-of"\nparameters = { max_tokens = 8 }',
            r"glm/unheard-of has no price, .* Add \[\[provider.glm.price\]\]",
        ),
        (
            'max_cost = "5 CNY"',
            'names = ["glm-4", "unheard-of"]\nparameters = { max_tokens = 8 }',
            "glm/unheard-of has no price",
        ),
        ('grants = [{ tokens = 5, key = "OTHER_KEY" }]', None, "all packs belong to OTHER_KEY, .* from ZAI_API_KEY"),
        ("grants = [{ tokens = 5, until = 2020-01-31 }]", None, "every pack has ended, the last one with 2020-01-31"),
    ],
)
def test_what_cannot_be_kept_to_is_refused_with_the_way_out(
    tmp_path: Path, budget: str, model: str | None, told: str
) -> None:
    """Exit 2, before the first request."""
    told = told.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(JobError, match=told):
        checked(tmp_path, budget, *([model] if model else []))


@pytest.mark.parametrize(
    ("budget", "model"),
    [
        ("max_rows = 5", 'name = "unheard-of"'),
        ("max_tokens = 5000", 'name = "unheard-of"\nparameters = { max_tokens = 8 }'),
        ('max_cost = "5 CNY"', 'name = "glm-4"\nparameters = { max_tokens = { column = "most" } }'),
    ],
)
def test_what_a_budget_does_not_count_need_not_be_known(tmp_path: Path, budget: str, model: str) -> None:
    """Rows need no end of their answers, tokens no price; and each row may say its own end."""
    assert checked(tmp_path, budget, model).budget is not None


def test_packs_of_other_keys_and_packs_that_have_ended_are_left_aside(tmp_path: Path) -> None:
    """Those that end first stand in front; equal ones are counted one by one."""
    packs = (
        "{ tokens = 1 }, { tokens = 2, until = 2090-01-01 }, { tokens = 2, until = 2090-01-01 }, "
        '{ tokens = 4, key = "OTHER_KEY" }, { tokens = 5, until = 2020-01-01 }, { tokens = 6, key = "ZAI_API_KEY" }'
    )
    budget = checked(tmp_path, f"grants = [{packs}]").budget
    assert budget is not None
    assert [pack.limit for pack in budget.packs] == [2, 2, 1, 6]
    assert len({pack.name for pack in budget.packs}) == 4
    assert [pack.name for pack in budget.packs] == sorted(pack.name for pack in budget.packs)


def test_what_has_no_bound_makes_a_budget_soft_and_it_says_so(tmp_path: Path) -> None:
    """A search of the provider's own puts into the prompt what nobody knows before."""
    searching = 'parameters = { max_tokens = 8, tools = [{ type = "web_search", web_search = { enable = true } }] }'
    job = checked(tmp_path, 'max_cost = "5 CNY"', f'name = "glm-4"\n{searching}')
    assert any("budget: it is soft, because tools of type web_search" in doubt for doubt in job.doubts)
    assert not any("budget" in doubt for doubt in checked(tmp_path, 'max_cost = "5 CNY"').doubts)
