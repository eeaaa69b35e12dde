"""`batch.core.arrowmemory`: Arrow uses the system's allocator in our own programs, and whatever else the user says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ASK = """
import os
from batch.core import arrowmemory
arrowmemory.use_system()
import pyarrow as pa
pa.array([0])
print(pa.default_memory_pool().backend_name, os.environ.get(arrowmemory.VARIABLE))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("set_to", "told"), [(None, "system None"), ("mimalloc", "mimalloc mimalloc")])
def test_arrow_takes_memory_from_the_system_unless_the_user_says_otherwise(set_to: str | None, told: str) -> None:
    """And nobody else who is started later hears of it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ARROW_")}
    environ |= {} if set_to is None else {"ARROW_DEFAULT_MEMORY_POOL": set_to}
    said = subprocess.run([sys.executable, "-c", ASK], check=True, env=environ, capture_output=True, text=True)
    assert said.stdout.strip() == told
