"""`batch.core.arrowstart`: pyarrow starts without numpy and pandas, and does all that a run needs of it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_numpy_and_pandas_are_not_loaded_with_pyarrow_and_are_there_for_whoever_wants_them() -> None:
    """They take 0.4 s and more, with each run of whoever has them installed."""
    program = (
        "import sys\n"
        "from batch.core import arrowstart\n"
        "arrowstart.load('pyarrow.compute')\n"
        "import pyarrow as pa\n"
        "table = pa.table({'a': pa.array([1, 2, None])})\n"
        "assert pa.scalar(0, pa.timestamp('us', 'UTC')).as_py().year == 1970\n"
        "import pyarrow.compute\n"
        "print([name for name in ('numpy', 'pandas') if name in sys.modules], pa.default_memory_pool().backend_name)\n"
        "print(any(type(one).__name__ == '_Hidden' for one in sys.meta_path))\n"
        "import pyarrow.compute as pc\n"
        "print(table.take(pa.array([1])).to_pylist(), pc.sum(table.column('a')).as_py())\n"
        "import pandas\n"
        "print(len(pandas.DataFrame({'a': table.column('a').to_pylist()})))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[] system", "False", "[{'a': 2}] 3", "3"]
