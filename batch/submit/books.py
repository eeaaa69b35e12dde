"""Where the calls of a run are booked, as one value that every attempt is handed.

Owns what is counted of a call; what is written where, and in which order, is `attempt`'s.
"""

from __future__ import annotations

import msgspec

from batch.core.records import Call
from batch.ledger.totals import Totals
from batch.ledger.writer import Ledger
from batch.money.prices import Prices
from batch.submit.evidence import Evidence
from batch.submit.overtime import Overtime
from batch.submit.purse import Purse
from batch.submit.rows import OpenCall
from batch.tokens.learner import Learner


class Books(msgspec.Struct, frozen=True):
    """The ledger, the price lists, the sums of the run, and who learns from calls."""

    ledger: Ledger
    prices: Prices
    totals: Totals
    evidence: Evidence
    overtime: Overtime
    learner: Learner | None = None
    purse: Purse | None = None
    """What the run may spend; None for a job without a budget."""

    def count(self, call: OpenCall, record: Call) -> None:
        """Count a call in the sums of the run, and settle what it held; one that is in the book was counted there."""
        if not call.booked:
            self.totals.add_call(record)
        if self.purse is not None and call.held is not None:
            self.purse.booked(record, call.held)
