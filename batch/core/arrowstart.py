"""The start of pyarrow in a process that has no use for pandas.

Owns one thing: pyarrow looks for pandas when its first array is made, and where that is installed it is loaded, which
takes longer than all the rest of a run's start. It is found again by whoever asks for it afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType


class _Hidden:
    """A finder of modules that finds no pandas."""

    @staticmethod
    def find_spec(
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG004 - as it is called
        target: ModuleType | None = None,  # noqa: ARG004 - as it is called
    ) -> None:
        """Refuse pandas, and leave everything else to the other finders."""
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not wanted here", name=name)


def without_pandas() -> None:
    """Load pyarrow and have it look for pandas in vain; it looks again when a table is to become a frame."""
    if "pandas" in sys.modules:
        return
    hidden = _Hidden()
    sys.meta_path.insert(0, hidden)
    try:
        import pyarrow as pa  # noqa: PLC0415 - here it is loaded

        pa.array([None])
    finally:
        sys.meta_path.remove(hidden)
