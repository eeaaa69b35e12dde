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
    "labels.gold": Words(
        "A column of the input with the true label, to measure the answers against. The model is not shown it.",
        'gold = "category"',
    ),
}
