"""The tables of the ledger that need no new version of it: one made before them gets them when it is opened.

Owns the list of them. A version that does not know one of them leaves it alone.
"""

from __future__ import annotations

from typing import Final

from batch.ledger import bounds_table, copy_statements, effect_statements, orphan_table, overtime_table, paid_table

ALL: Final = (
    overtime_table.TABLES,
    effect_statements.TABLES,
    copy_statements.TABLES,
    orphan_table.TABLES,
    paid_table.TABLES,
    bounds_table.TABLES,
)
