"""`batch.core.arrowstart`: pyarrow starts without pandas, and nobody who wants it misses it later."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_pandas_is_not_loaded_by_the_first_array_and_is_there_for_whoever_wants_it() -> None:
    """It takes 0.3 s and more, with each run of whoever has it installed."""
    program = (
        "import sys\n"
        "from batch.core import arrowstart\n"
        "arrowstart.without_pandas()\n"
        "import pyarrow as pa\n"
        "table = pa.table({'a': pa.array([1, 2, None])})\n"
        "print('pandas' in sys.modules, any(type(one).__name__ == '_Hidden' for one in sys.meta_path))\n"
        "import pandas\n"
        "print(table.to_pandas().shape, pa.Table.from_pandas(pandas.DataFrame({'a': [1]})).num_rows)\n"
        "print(pa.array(pandas.Series([1.0, float('nan')])).null_count)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False False", "(3, 1) 1", "1"]
