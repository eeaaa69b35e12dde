"""What the suite leaves out for its time, and `scripts/test --long` runs as well."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")
LONG = os.environ.get("PROMPTMILL_LONG") == "1"


def longer(values: Iterable[T]) -> list[T]:
    """More cases of one kind; none of them in the suite."""
    return list(values) if LONG else []
