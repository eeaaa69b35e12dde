"""What the numbers that are kept of a run mean, for people: those of its totals, and those of its planning.

Owns these words; the numbers are those of `totals`.
"""

from __future__ import annotations

from typing import Final

TOTALS: Final[dict[str, str]] = {
    "rows_ok": "Rows with an answer.",
    "rows_failed": "Rows without one: error_kind and error_message of their row say why.",
    "rows_retryable": "How many of the failed rows the next run asks again by itself.",
    "rows_copied": "How many of the rows share the answer of another row that asks the same (prompt.dedupe), or "
    "take over what stands under the name of a former variant.",
    "calls": "Calls that have ended, in whatever way.",
    "answered": "Calls that brought a reply.",
    "refused": "Calls that the provider refused.",
    "failed": "Calls that never left, or whose task failed.",
    "unknown": "Calls that were sent and never answered: possibly billed.",
    "tool_calls": "How many times a tool was run.",
    "tool_errors": "How many of these calls ended with an error, which the model was told.",
    "polls": "How many times a provider was asked for the result of a task.",
    "prompt_tokens": "Tokens of what was asked.",
    "completion_tokens": "Tokens of what was answered, reasoning included.",
    "total_tokens": "The two together. Calls whose tokens are not known are not in any of these sums.",
    "cached_tokens": "Part of prompt_tokens: what the provider kept from earlier prompts. null when it never said so.",
    "reasoning_tokens": "Part of completion_tokens: what the model thought. null when the provider never said so.",
    "unknown_usage": "Answered calls whose reply said nothing of tokens.",
    "unpriced": "Calls with known tokens and no price in the table: their cost is missing in the sum.",
    "cost": "Exact amounts, by currency.",
    "errors": "Failed rows by kind and code of the error.",
    "flags": "Rows by flag.",
    "purposes": "Calls that no row asks for at first: reask after an answer without a valid label, escalate to another "
    "model, sample for one more vote.",
    "cost_bound": "The most that calls whose tokens are not known can have cost, by currency: unknown ones, and "
    "answered ones without usage. The provider's bill is at least cost, and at most cost and cost_bound together.",
    "unbounded": "Of how many such calls nothing can be said: the request set no max_tokens, held a picture or let the "
    "model search, or there is no price.",
    "token_bound": "The most tokens that these calls can have taken, where that can be said.",
    "rows_asked": "How many of the settled rows were asked at all: the others could not be.",
    "without_price": "How many of the unpriced calls there are, by provider/model, as the answers name them.",
    "models": "By the model that was asked and the lane: calls by state, tokens and cost, as above for all together.",
}
"""What each number of `Totals.public` means, for people."""

PLANNED: Final[dict[str, str]] = {
    "read": "Rows of the input that the run has looked at.",
    "new": "Rows that are asked because they have no answer yet.",
    "changed": "Rows that are asked because what is asked is not what was answered.",
    "retried": "Rows that are asked again because they failed for a passing reason, or with --retry all.",
    "unchanged": "Rows that were answered before and are left alone.",
    "standing": "Rows that failed for good in an earlier run and are left alone until what is asked changes.",
    "source_rows": "Rows of the input that are asked; each has one result for each variant.",
    "refreshed": "Rows that are not asked and of which other columns changed: the table follows, nothing is sent.",
    "gone": "Rows of the table that are not in the input any more, or of variants that are not asked any more: they "
    "stay until promptmill prune. null until the input was read to its end.",
    "gone_variants": "How many of these are of variants that are not asked any more.",
    "left_out": "Rows that need work and that --only left out.",
    "empty": "What the run does with rows that say nothing, prompt.empty: fail or send.",
    "kinds": "The reasons for which this run asks rows: those of --only, and permanent with --retry all.",
    "given_up": "Whether the run has to read the input from its beginning before it can be continued.",
    "complete": "Whether the input was read to its end.",
    "left": "Rows known to remain when the run ended; null before that.",
    "unread": "Whether the run ended before it had looked at the whole input; null before that.",
    "short": "Rows short of samples, which are asked for the missing ones.",
    "taken_over": "Rows that are not asked, because the same question stands answered under the name of a variant that "
    "the job does not have any more: that answer is taken over, and nothing is sent.",
}
"""What each number of `Planned` means, for people."""
