"""Keeps Arrow from importing pandas where nobody wants it.

Wherever pandas is installed, pyarrow imports it unasked with the first Python list that it makes a column of: half a
second of work and 40 MB that a run has no use for. Arrow asks once in the life of a process whether there is a pandas,
and is told here that there is none; an `import pandas` of anybody else works as ever.
"""

from __future__ import annotations

import sys


class _Absent:
    """Says of pandas that there is none."""

    def find_spec(self, name: str, *_: object) -> None:
        """Where a module is; None leaves that to others."""
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=name)


def tell_arrow() -> None:
    """Have Arrow do without pandas in this process; for programs of our own, as `to_pandas` fails from then on."""
    if "pandas" in sys.modules:
        return  # whoever imported it may well hand it to Arrow
    import pyarrow as pa  # noqa: PLC0415 - takes long, and not every command needs it

    absent = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(absent)
