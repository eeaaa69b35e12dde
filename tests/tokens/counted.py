"""Texts with their tokens as real tokenizers count them, and requests made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batch.tokens import measure
from batch.tokens.measure import Measure

FILE = Path(__file__).with_name("tokenizers.json")
TEMPLATE = 7
"""Tokens of a chat template around one message, in all tests here."""
_DATA: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
TOKENIZERS = list(_DATA["tokenizers"])
OF_SERVICES = [name for name in TOKENIZERS if name != "smollm2"]
"""Those of models that are sold; a small model that was made for English has few tokens for anything else."""


class Counted:
    """The texts, as requests of one message each.

    Args:
        tokenizer: one of `TOKENIZERS`.
    """

    def __init__(self, tokenizer: str) -> None:
        place = TOKENIZERS.index(tokenizer)
        self.kinds = [kind for kind, _, _ in _DATA["texts"]]
        self.tokens = [counts[place] + TEMPLATE for _, counts, _ in _DATA["texts"]]
        self.measures = [measure.of_request([{"role": "user", "content": text}]) for _, _, text in _DATA["texts"]]

    def pairs(self, start: int = 0, step: int = 1, *, but: Sequence[str] = ()) -> list[tuple[Measure, int]]:
        """Measure and tokens of some of them, without those of some kinds."""
        chosen = zip(self.kinds, self.measures, self.tokens, strict=True)
        return [(size, tokens) for kind, size, tokens in list(chosen)[start::step] if kind not in but]


def quantile(numbers: Sequence[float], part: float) -> float:
    """The number that so large a part of them does not exceed."""
    return sorted(numbers)[min(len(numbers) - 1, int(part * len(numbers)))]
