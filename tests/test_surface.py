"""`import batch`: what there is, in which order, and what it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import batch
from batch.core import errors
from batch.job.endpointspec import ModelLimitSpec
from batch.job.job import SECTIONS, TABLES

ROOT = Path(__file__).resolve().parents[1]


def test_the_surface_is_a_sorted_list_of_things_that_exist() -> None:
    """A name in it that cannot be imported would be a promise broken at import."""
    assert list(batch.__all__) == sorted(batch.__all__)
    for name in batch.__all__:
        assert getattr(batch, name) is not None
        assert name in dir(batch)


def test_every_error_a_caller_can_meet_is_in_it() -> None:
    """`WireError` never leaves the package: an exchange that failed is a value by then."""
    tree = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert tree - set(batch.__all__) == {"WireError"}


def test_all_that_a_job_is_made_of_is_in_it() -> None:
    """FIELD 46. A job built in code needs its sections and nothing from inside the package; the report is public, too."""
    kinds: list[type] = [*SECTIONS.values(), *TABLES.values(), ModelLimitSpec]
    sections = {kind.__name__ for kind in kinds}
    assert sections <= set(batch.__all__)
    assert {"Job", "RunOptions", "Report", "run", "run_sync"} <= set(batch.__all__)
    assert inspect.signature(batch.run_sync).parameters.keys() == inspect.signature(batch.run).parameters.keys()
    readme = (ROOT / "README.md").read_text(encoding="utf-8").split("## From Python")[1].split("\n## ")[0]
    assert {name for name in sections if f"`{name}`" not in readme} == set()


@pytest.mark.slow
def test_importing_it_loads_neither_arrow_nor_anything_else_that_takes_time() -> None:
    """A tools file says `from batch import tool`, a scheduler catches `BatchError`; neither pays for a run."""
    code = "import sys, batch; print(sorted(name.split('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    for heavy in ("pyarrow", "httpx", "msgspec", "jinja2", "rich", "cyclopts", "anyio", "asyncio", "apsw"):
        assert f"'{heavy}'" not in done.stdout


def test_a_name_that_is_not_there_is_an_attribute_error_that_lists_what_is() -> None:
    """As of any module, with more help."""
    with pytest.raises(AttributeError, match="it has BatchError"):
        batch.runn  # noqa: B018 - looking is what is tested


@pytest.mark.slow
@pytest.mark.parametrize("first", ["batch.run.command", "batch.run", "batch.cli.app", "batch.run.progress"])
def test_run_is_the_function_whatever_was_imported_before(first: str) -> None:
    """The wing `batch/run/` has the same name, and importing any of it put the module in the function's place."""
    code = f"import {first}; from batch import run; import batch; assert run is batch.run; print(run.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "batch.run.command\n"
