"""The flags of a row: what is worth knowing of an answer that is no failure.

Owns their words, what each means, and what can be done about it, so that the table, the sums and every text say the
same. It does not know when a row gets one.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Flag = Literal[
    "truncated",
    "empty",
    "effect_in_doubt",
    "tool_failed",
    "tie",
    "coerced",
    "finish_unknown",
    "served_other",
    "usage_unknown",
    "usage_estimated",
]
"""Something to know about an answer that is kept all the same."""

TRUNCATED: Final = "truncated"
EMPTY: Final = "empty"
EFFECT_IN_DOUBT: Final = "effect_in_doubt"
TOOL_FAILED: Final = "tool_failed"
TIE: Final = "tie"
COERCED: Final = "coerced"
FINISH_UNKNOWN: Final = "finish_unknown"
SERVED_OTHER: Final = "served_other"
USAGE_UNKNOWN: Final = "usage_unknown"
USAGE_ESTIMATED: Final = "usage_estimated"


class Meaning(NamedTuple):
    """What a flag means, and the way out."""

    meaning: str
    advice: str


FLAGS: Final[dict[Flag, Meaning]] = {
    TRUNCATED: Meaning("the answer ends where its tokens did", "raise max_tokens, which asks the rows anew"),
    EMPTY: Meaning("the answer has no text", "look at one; a model that reasons may have had no tokens left to answer"),
    EFFECT_IN_DOUBT: Meaning(
        "the process ended while a tool with effects was at work: what it did may have been done once or twice, or not "
        "at all",
        "look at one, and at what its tool does; tools.policy says what becomes of such rows",
    ),
    TOOL_FAILED: Meaning(
        "a tool gave the model an error instead of a result",
        "look at one; promptmill tools JOB NAME JSON runs a tool by hand",
    ),
    TIE: Meaning(
        "the samples of the row gave two labels, or more, equally often, so it has no label",
        "look at them: promptmill labels OUT --review FILE lists them; a higher labels.samples buys one more vote",
    ),
    COERCED: Meaning(
        "the model wrote what was wanted in a wrong form, or a label among other words; it was taken for what it means",
        "look at one; a clearer description makes it rarer, and tools.coerce = false has the model repair arguments",
    ),
    FINISH_UNKNOWN: Meaning(
        "the answer ended in a word that nobody knows, or in none",
        "look at one; finish_reasons in the [provider] table teaches the words of a service",
    ),
    SERVED_OTHER: Meaning(
        "another model answered than was asked", 'model.served = "same" fails such rows, if that is not wanted'
    ),
    USAGE_UNKNOWN: Meaning(
        "the provider did not say how many tokens it took", "its tokens and cost are null; the provider's bill has them"
    ),
    USAGE_ESTIMATED: Meaning(
        "the provider's counts of tokens do not add up", "its cost is an estimate; the provider's bill counts"
    ),
}
"""Every flag, those first that ask for something to be done."""
