"""Where a call goes: an address with its dialect, its prices, and what is known of it.

Owns the one value that a call needs of its address, and how it is written down beside an id that must be asked for
there: the address, and behind a # its name where a job has several, for two of them may differ by their keys alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from batch.money.prices import Prices
from batch.providers.base import Dialect
from batch.submit.evidence import Evidence


class Target(msgspec.Struct, frozen=True, eq=False):
    """One address of a job."""

    dialect: Dialect
    base_url: str
    prices: Prices
    evidence: Evidence
    """Whom it was ever answered by."""
    name: str | None = None
    """Which of several it is; None where there is one."""
    likelier_url: str | None = None
    """The base URL that was probably meant, should nothing be served at this one."""

    @property
    def stored(self) -> str:
        """As it stands in the ledger."""
        return self.base_url if self.name is None else f"{self.base_url}#{self.name}"


def stored_parts(stored: str) -> tuple[str, str | None]:
    """Base URL and name of what `Target.stored` wrote."""
    base_url, _, name = stored.partition("#")
    return base_url, name or None


def target_at(stored: str | None, targets: Mapping[str | None, Target], usual: Target) -> Target:
    """The target that an id in the ledger belongs to.

    Of an address that the job has no more, it is the usual one with that address: an id is asked for where it was made.

    Args:
        stored: as it stands in the ledger, or as much of it as the book tells: the name alone; None where nothing does.
        targets: those of the job by name.
        usual: the first of them.
    """
    if stored is None:
        return usual
    base_url, name = stored_parts(stored)
    known = targets.get(name)
    if known is not None and base_url in (known.base_url, ""):
        return known
    like = next((one for one in targets.values() if one.base_url == base_url), usual)
    return msgspec.structs.replace(like, base_url=base_url or usual.base_url, name=name)
