"""Has Arrow take its memory from the system's own allocator.

The allocator that Arrow brings along keeps what is freed, for each thread that ever used it: 50 MB and more while parts
are rewritten, for no gain that could be measured. Arrow reads its choice once, when it is loaded.
"""

from __future__ import annotations

import os
import sys
from typing import Final

VARIABLE: Final = "ARROW_DEFAULT_MEMORY_POOL"


def use_system() -> None:
    """Load Arrow so; for programs of our own, before anything has loaded it. Whoever set the variable is obeyed."""
    if "pyarrow" in sys.modules or VARIABLE in os.environ:
        return
    os.environ[VARIABLE] = "system"
    try:
        import pyarrow as pa  # noqa: F401, PLC0415 - loading it is what is wanted
    finally:
        del os.environ[VARIABLE]  # tools have an Arrow of their own
