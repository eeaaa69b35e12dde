"""The start of pyarrow in a process that has no use for pandas and numpy.

Owns one thing: pyarrow looks for numpy when it is loaded, and for pandas when its first array is made. Where they are
installed they are loaded, which takes longer than all the rest of a run's start, and memory. They are found again by
whoever asks for them afterwards, but pyarrow itself has done without numpy then and goes on so: no array of one becomes
one of the other.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

from batch.core import arrowmemory


class _Hidden:
    """A finder of modules that finds neither."""

    @staticmethod
    def find_spec(
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG004 - as it is called
        target: ModuleType | None = None,  # noqa: ARG004 - as it is called
    ) -> None:
        """Refuse the two, and leave everything else to the other finders."""
        if name in ("numpy", "pandas"):
            raise ModuleNotFoundError(f"{name} is not wanted here", name=name)


def load() -> None:
    """Load pyarrow and have it look for both in vain; nothing happens where it is loaded, or one of them."""
    if not sys.modules.keys().isdisjoint(("numpy", "pandas", "pyarrow")):
        return
    hidden = _Hidden()
    sys.meta_path.insert(0, hidden)
    try:
        arrowmemory.use_system()
        import pyarrow as pa  # noqa: PLC0415 - here it is loaded

        pa.array([None])
    finally:
        sys.meta_path.remove(hidden)
