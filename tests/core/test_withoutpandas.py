"""`batch.core.withoutpandas`: Arrow does without pandas, and everybody else has it."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASK = """
import sys
from batch.core import withoutpandas
import pyarrow as pa
withoutpandas.tell_arrow()
pa.array(["a", None]), pa.table({"n": [1, 2]}).to_pylist()
assert "pandas" not in sys.modules, "imported all the same"
import pandas
assert pandas.DataFrame({"n": [1]}).shape == (1, 1)
"""
KEPT = """
import pandas
from batch.core import withoutpandas
import pyarrow as pa
withoutpandas.tell_arrow()
assert pa.table({"n": [1]}).to_pandas().shape == (1, 1)
"""


@pytest.mark.slow
def test_arrow_imports_no_pandas_and_an_import_of_pandas_works() -> None:
    """It took half a second and 40 MB of every run on a machine where pandas is installed."""
    subprocess.run([sys.executable, "-c", ASK], check=True)


@pytest.mark.slow
def test_who_has_imported_pandas_before_keeps_what_arrow_does_with_it() -> None:
    """Then there is nothing to save."""
    subprocess.run([sys.executable, "-c", KEPT], check=True)
