"""What of a job every request of it shares.

Owns these settings as one value, made once a run; it decides nothing.
"""

from __future__ import annotations

import msgspec

from batch.labels.asking import Asking


class Policy(msgspec.Struct, frozen=True):
    """What of the job every request of it shares."""

    provider: str
    tools: tuple[dict[str, object], ...]
    call_timeout_s: float
    first_chunk_timeout_s: float = 300.0
    idle_timeout_s: float = 60.0
    never_sent: frozenset[str] = frozenset()
    """Parameters that are left out of every request."""
    asking: Asking | None = None
    """How a row's last turn is asked for a label; None where none is wanted."""
