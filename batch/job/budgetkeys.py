"""What the keys of `[budget]` mean, for people; `keys` hands these on.

Owns these words, and nothing of how a budget is kept to.
"""

from __future__ import annotations

from typing import Final

from batch.job.labelkeys import Words

BUDGET_KEYS: Final[dict[str, Words]] = {
    "budget.max_cost": Words(
        "The most that one run may cost, crashes and all: what is booked, the most that unanswered calls can have "
        "cost, and the most that calls in flight can come to. A call is sent only if it fits. When none fits any more "
        "the run ends with exit 3, and the same command goes on with the next run and a new budget. It is not for "
        "single rows: retries, questions asked again and every turn count. As --max-cost.",
        'max_cost = "50 CNY"',
    ),
    "budget.max_tokens": Words(
        "The same in tokens of prompts and answers together, as the provider counts them.",
        'max_tokens = "5M"',
    ),
    "budget.max_rows": Words(
        "The most rows that one run may ask, crashes and all. Rows that are begun are brought to their end; then it "
        "ends with exit 3 if there are more.",
        "max_rows = 10_000",
    ),
    "budget.per_day": Words(
        "The most that all runs with this key may cost on one day together, over all jobs of a user who share the "
        "state folder (PROMPTMILL_STATE). A day of CNY begins at midnight in Asia/Shanghai, that of any other currency "
        "in UTC. A call counts on the day it was sent. What a killed run had set aside comes back when its folder is "
        "run again. Runs without this key are not counted.",
        'per_day = "20 CNY"',
    ),
    "budget.grants": Words(
        "Prepaid packs of tokens of an API key: nothing is sent beyond them. Each has a number of tokens, the last day "
        "on which it is good (until midnight in Asia/Shanghai), and the NAME of the variable its key stands in; "
        "without it that of the job, and packs of other keys are left aside. The pack that ends first is used first. "
        "What runs with this key took out of a pack is kept in the state folder. The column cost says what the price "
        "list asks, as if there were no pack.",
        'grants = [{ tokens = "5M", until = 2026-12-31 }]',
    ),
}
