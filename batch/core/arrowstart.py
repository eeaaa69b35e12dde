"""The start of pyarrow in a process that has no use for pandas and numpy.

Owns one thing: pyarrow looks for numpy when it is loaded, and for pandas when its first array is made, or the first
moment with a zone told. Where they are installed they are loaded, which takes memory, and longer than all the rest of a
run's start. They are found again by whoever asks for them afterwards, but pyarrow itself has done without numpy then
and goes on so: no array of one becomes one of the other.
"""

from __future__ import annotations

import importlib
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


def load(*modules: str) -> None:
    """Load pyarrow and have it look for both in vain; nothing happens where it is loaded, or one of them.

    Args:
        modules: parts of it that are needed, too, and look for themselves.
    """
    if not sys.modules.keys().isdisjoint(("numpy", "pandas", "pyarrow")):
        return
    hidden = _Hidden()
    sys.meta_path.insert(0, hidden)
    try:
        arrowmemory.use_system()
        import pyarrow as pa  # noqa: PLC0415 - here it is loaded

        pa.array([None])
        pa.scalar(0, pa.timestamp("us", "UTC")).as_py()
        for name in modules:
            importlib.import_module(name)
    finally:
        sys.meta_path.remove(hidden)
