"""What a budget counts for calls of which it cannot be told what they came to: what each of them held, for good.

Such are calls that were not answered and whose requests have no bound, and answers that no price list has a price for,
or only one in another currency. What they held stands in their records and in the sums of the run, so it counts after
a crash, too. Owns which calls these are. Pure.
"""

from __future__ import annotations

import msgspec

from batch.core.records import Call
from batch.ledger.totals import Totals
from batch.submit.slices import TOKENS, day_pot


def told(record: Call, currency: str) -> tuple[int | None, int | None]:
    """Cost and tokens of a call as a budget counts them; None where nothing can be said, or no price counts.

    Args:
        record: the call in its final state.
        currency: of the budget; empty where it counts no money.
    """
    cost = record.cost if record.cost is not None else record.cost_bound
    tokens = record.token_bound if record.usage is None else record.usage.total_tokens
    return (None if cost and record.currency != currency else cost), tokens


def with_held(record: Call, currency: str, *, cost: int, tokens: int) -> Call:
    """The record of a call, with what stays of what it held.

    Args:
        record: the call in its final state.
        currency: of the budget; empty where it counts no money.
        cost: what it held, in 10⁻¹² of the unit of that.
        tokens: what it held in tokens.
    """
    known_cost, known_tokens = told(record, currency)
    held = {}
    if known_cost is None and cost and currency:
        held[day_pot(currency, record.sent_at_us)] = cost
    if known_tokens is None and tokens:
        held[TOKENS] = tokens
    return msgspec.structs.replace(record, held=held) if held else record


def lost(totals: Totals, currency: str) -> tuple[int, int]:
    """What such calls of a run held, in money and in tokens.

    Args:
        totals: the sums of the run.
        currency: of the budget; what was held in another one, under an earlier budget, does not count in it.
    """
    days = day_pot(currency, 0).rpartition(" ")[0] + " " if currency else None
    cost = sum(amount for name, amount in totals.held.items() if days is not None and name.startswith(days))
    return cost, totals.held.get(TOKENS, 0)
