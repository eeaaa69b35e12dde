"""Rates: one line of a price list, and what a call costs by it.

Owns what such a line says and the arithmetic, in integers of 10⁻¹² of the currency unit. It does not know where lines
come from, nor which of them a call is billed by. Nothing is converted: a cost is in the currency of the list.
"""

from __future__ import annotations

from datetime import date
from typing import Final, Literal

import msgspec

from batch.core.hours import Window
from batch.core.records import Usage

Tier = Literal["standard", "batch", "flex", "priority"]
TIERS: Final[dict[Tier, str]] = {
    "standard": "The usual price.",
    "batch": "For requests of batch files.",
    "flex": "Slower and cheaper, where a request asks for it.",
    "priority": "Quicker and dearer, where a request asks for it.",
}
"""The tiers a price list may have, for people."""
_WORDS: Final[dict[str | None, Tier]] = {
    **dict.fromkeys((None, "", "standard", "default", "auto", "on_demand"), "standard"),
    "batch": "batch",
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",
}


def tier_of(word: str | None, lane: str = "sync") -> Tier | None:
    """The tier that a `service_tier` stands for; None for a word that no price list here has.

    Args:
        word: as a request or an answer says it, in any case; None where it says none.
        lane: how the call travels: what goes by batch files and has no other word is billed as `batch`.
    """
    tier = _WORDS.get(word.lower() if word else word)
    return "batch" if tier == "standard" and lane == "bulk" else tier


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """What a token costs by one line of a price list, in 10⁻¹² of the currency unit.

    A whole call is billed by the line whose lengths and hours it falls into, not by parts of several.
    """

    id: str
    """Stored with every call of this price: it never changes, and no other line has it."""
    providers: tuple[str, ...]
    list: str
    """Which of the lists of a provider or a seller it is from, for people."""
    models: tuple[str, ...]
    """Names in lower case, or patterns: `*` any text, `?` one character, `#` one digit."""
    hosts: tuple[str, ...] = ()
    """It is only for calls to these hosts; empty for any."""
    currency: str
    input: int
    output: int
    cached_input: int
    """For a prompt token that came from the provider's cache: the price of any other where the list has none."""
    cache_write: int
    """For a prompt token that was written to the provider's cache: the price of any other where the list has none."""
    per_request: int = 0
    in_from: int | None = None
    """The fewest prompt tokens of a call it is for; None from 0 on."""
    in_below: int | None = None
    """One more than the most; None without an end."""
    out_from: int | None = None
    out_below: int | None = None
    tier: Tier = "standard"
    hours: tuple[Window, ...] = ()
    """It is for calls sent in one of these; empty for any hour that no other line of the list names."""
    valid_from: date | None = None
    """As the list says it: a day in `zone`, or a moment (a `datetime`); None for always."""
    valid_to: date | None = None
    """As the list says it: the last day, or the first moment it no longer counts; None until further notice."""
    zone: str = "UTC"
    from_us: int | None = None
    """`valid_from` in microseconds of UTC: the first it counts at."""
    to_us: int | None = None
    """`valid_to` in microseconds of UTC: the first it no longer counts at."""
    source: str = ""
    checked_on: date | None = None
    unconfirmed: bool = False
    """It was read from third parties, not from who sends the bill."""
    origin: str = ""
    """Where the line stands: `the price book`, or a file and its line."""

    @property
    def provider(self) -> str:
        """The first of its providers: the one in the id."""
        return self.providers[0]

    @property
    def free(self) -> bool:
        """Whether nothing costs anything."""
        return not (self.input or self.output or self.cached_input or self.cache_write or self.per_request)

    def cost(self, usage: Usage) -> int:
        """The exact cost of a call by this line, in 10⁻¹² of the currency unit.

        Cached and written tokens are parts of the prompt tokens, reasoning tokens are a part of the completion tokens.
        A count above what there is is cut to it.
        """
        if not (usage.cached_tokens or usage.cache_write_tokens):  # asked once a call
            return usage.prompt_tokens * self.input + usage.completion_tokens * self.output + self.per_request
        cached = min(max(usage.cached_tokens or 0, 0), usage.prompt_tokens)
        written = min(max(usage.cache_write_tokens or 0, 0), usage.prompt_tokens - cached)
        return (
            (usage.prompt_tokens - cached - written) * self.input
            + cached * self.cached_input
            + written * self.cache_write
            + usage.completion_tokens * self.output
            + self.per_request
        )

    def holds(self, prompt_tokens: int, completion_tokens: int) -> bool:
        """Whether a call of these lengths falls into the bands of this line."""
        return (
            (self.in_from is None or prompt_tokens >= self.in_from)
            and (self.in_below is None or prompt_tokens < self.in_below)
            and (self.out_from is None or completion_tokens >= self.out_from)
            and (self.out_below is None or completion_tokens < self.out_below)
        )

    def most(self, prompt_tokens: int, completion_tokens: int) -> int | None:
        """The most that a call of up to these lengths can cost by this line; None when no such call falls into it."""
        if (self.in_from or 0) > prompt_tokens or (self.out_from or 0) > completion_tokens:
            return None
        prompt = prompt_tokens if self.in_below is None else min(prompt_tokens, self.in_below - 1)
        completion = completion_tokens if self.out_below is None else min(completion_tokens, self.out_below - 1)
        # Nothing cached; where writing to the cache costs more, all of it may be written.
        dearest = max(self.input, self.cache_write, self.cached_input)
        return prompt * dearest + completion * self.output + self.per_request

    def valid_at(self, at_us: int) -> bool:
        """Whether it counts at a moment, in microseconds of UTC, as far as its days say."""
        return (self.from_us is None or self.from_us <= at_us) and (self.to_us is None or at_us < self.to_us)
