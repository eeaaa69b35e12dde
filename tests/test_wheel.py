"""The wheel: it holds the package and nothing else, and what a user installs from it works."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "batch"
pytestmark = pytest.mark.slow


def done(command: Sequence[str | Path], folder: Path, **environ: str) -> str:
    """What a command says that ends well; it sees no key, no setting and no path of ours."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PROMPTMILL"))}
    found = subprocess.run(
        command, cwd=folder, env={**clean, **environ}, capture_output=True, text=True, timeout=120, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a user's pip would, with what is installed here instead of a download."""
    folder = tmp_path_factory.mktemp("wheel")
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "--no-index",
        "--no-deps",
    ]
    done([*pip, "--no-build-isolation", "--wheel-dir", folder, ROOT], folder)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Ours: prices, the sample job, the pages and the mark of types are in; tests, jobs, scripts and caches are out."""
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    ours = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    ours = {name for name in ours if "__pycache__" not in name}
    assert {
        "batch/py.typed",
        "batch/money/prices.toml",
        "batch/cli/samples/tools/job.toml",
        "batch/cli/samples/tools/tools.txt",
        "batch/cli/samples/nightly/in/2026-11-28.jsonl",
        "batch/cli/samples/nightly/nightly.env",
        "batch/cli/samples/nightly/crontab",
        "batch/report/assets/app.js",
        "batch/report/assets/page.css",
        "batch/report/assets/vendor/uPlot.iife.min.js",
        "batch/report/assets/vendor/uPlot.LICENSE",
    } <= ours
    assert {name for name in names if name.startswith("batch/")} == ours
    about = {name.partition("/")[2] for name in names - ours}
    assert about == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def test_init_simulate_and_run_work_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Ours: installed into an empty environment; the locked packages are lent to it, this checkout is not."""
    home = tmp_path / "venv"
    done([sys.executable, "-m", "venv", "--without-pip", home], tmp_path)
    python, command = home / "bin" / "python", home / "bin" / "promptmill"
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        python,
        "install",
        "--no-index",
    ]
    done([*pip, "--no-deps", wheel], tmp_path)
    [site] = home.glob("lib/python*/site-packages")
    # A line of a .pth file is one folder on the path; .pth files in that folder, our editable install, are not followed.
    (site / "lent.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n", "utf-8")
    assert Path(done([python, "-c", "import batch; print(batch.__file__)"], tmp_path).strip()).is_relative_to(site)

    done([command, "init", "sample"], tmp_path)
    with simulator(command, tmp_path) as url:
        run: list[str | Path] = [
            command,
            "run",
            "sample",
            "--progress",
            "none",
            "--set",
            f"model.base_url={url}/api/paas/v4",
        ]
        said = done(run, tmp_path)
    assert "sample: finished" in said
    with duckdb.connect() as connection:
        table = connection.sql(
            f"SELECT count(*), count(answer), sum(cost) > 0 FROM '{tmp_path}/sample/out/sample/results/*.parquet'"
        )
        rows = len((tmp_path / "sample" / "rows.jsonl").read_text("utf-8").splitlines())
        assert table.fetchall() == [(rows, rows, True)]


@contextmanager
def simulator(command: Path, folder: Path) -> Iterator[str]:
    """`promptmill simulate`; gives its root URL."""
    with subprocess.Popen(
        [command, "simulate", "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
