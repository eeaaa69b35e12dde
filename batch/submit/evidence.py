"""Whom this folder was ever answered by: addresses, and models under one key, in this run or an earlier one.

Tells a refusal of one row (a firewall, moderation) from a wrong key, model or address: where others were answered, the
refusal is the row's. Owns what is remembered of that and in which form it is kept: hashes, never an address or a key.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import msgspec

KEY: Final = "answered"
"""Key of the ledger's `meta` that holds the hashes as a JSON list."""
ROWS_TO_STOP: Final = 3
"""So many rows that were refused, and nobody who was ever answered, mean that the key or the model is refused."""


class Evidence:
    """What is known of one address and one key.

    Args:
        base_url: the address.
        key_digest: a hash of the key.
        kept: the hashes that earlier runs kept, as `KEY` has them; None for a new folder.
        keep: makes the hashes durable, in the words of `kept`.
    """

    def __init__(
        self, base_url: str, key_digest: bytes, *, kept: str | bytes | None, keep: Callable[[str], None]
    ) -> None:
        self._base_url = base_url
        self._key_digest = key_digest
        self._kept: set[str] = set(msgspec.json.decode(kept, type=list[str])) if kept else set()
        self._keep = keep
        self.answered: set[str] = set()
        """Models of this process, so that the hot path makes no hash."""
        self._refused: dict[str, set[int]] = {}

    def beside(self, base_url: str, key_digest: bytes) -> Evidence:
        """What is known of another address or key of the same folder."""
        other = Evidence(base_url, key_digest, kept=None, keep=self._keep)
        other._kept = self._kept  # one list in the ledger, so one set
        return other

    def record_answer(self, model: str) -> None:
        """A reply or an accepted task came for this model."""
        if model in self.answered:
            return
        self.answered.add(model)
        new = {self._digest(self._base_url), self._digest(self._base_url, self._key_digest.hex(), model)}
        if not new <= self._kept:
            self._kept |= new
            self._keep(msgspec.json.encode(sorted(self._kept)).decode())

    def record_refusal(self, model: str, work_id: int) -> int:
        """A row was refused in a way that may be about the key or the model; how many rows that were so far."""
        rows = self._refused.setdefault(model, set())
        if len(rows) < ROWS_TO_STOP:
            rows.add(work_id)
        return len(rows)

    @property
    def address_answered(self) -> bool:
        """Whether anything was ever answered at the address."""
        return bool(self.answered) or self._digest(self._base_url) in self._kept

    def model_answered(self, model: str) -> bool:
        """Whether this model was ever answered under this key."""
        return model in self.answered or self._digest(self._base_url, self._key_digest.hex(), model) in self._kept

    @staticmethod
    def _digest(*parts: str) -> str:
        return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
