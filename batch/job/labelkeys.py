"""What the keys of `[labels]` mean, for people; `keys` has those of all other sections, and hands these on.

Owns these words, and the form in which keys are explained.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Words(NamedTuple):
    """What is said of a key: what it means, and how it is written in its section."""

    text: str
    example: str


LABEL_KEYS: Final[dict[str, Words]] = {
    "labels.names": Words(
        "The labels an answer may be; anything else is asked again. The table gets a column label.",
        'names = ["billing", "shipping"]',
    ),
    "labels.schema": Words(
        "Instead of names: what a label with several properties is, as a JSON schema in a file, or as a msgspec "
        "struct, dataclass or TypedDict in a Python file. Each property gets a column label_PROPERTY.",
        'schema = "label.schema.json"',
    ),
    "labels.reasks": Words(
        "How often a model is asked again in the same conversation, told what was wrong, when its answer holds no "
        "valid label. Raising it asks the rows again that failed as label.",
        "reasks = 1",
    ),
    "labels.escalate": Words(
        "Another model of the provider, asked once when the answers stay invalid. It has limits and a price of its "
        "own. Setting it asks the rows again that failed as label.",
        'escalate = "glm-4-plus"',
    ),
    "labels.samples": Words(
        "How often each row is asked, one time after the other and each time from the beginning; its label is the one "
        "that most answers give. The table gets the columns votes and agreement. Raising it buys only the samples that "
        "rows are short of, lowering it buys nothing. Not together with tools that have effects.",
        "samples = 3",
    ),
    "labels.confidence": Words(
        "Whether the service is asked how probable its words are, where it tells. The table gets the column "
        "confidence. It holds for what is asked from then on; setting it asks no row again.",
        "confidence = true",
    ),
    "labels.gold": Words(
        "A column of the input with the true label, to measure the answers against. The model is not shown it.",
        'gold = "category"',
    ),
}
