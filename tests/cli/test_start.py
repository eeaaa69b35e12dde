"""What a run loads before its first request: everything it needs, and nothing that only others need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT
from tests.support.scripted import reply, scripted

NOT_NEEDED = (
    *("httpx", "jinja2", "rich", "structlog", "pygments", "docstring_parser", "pandas"),
    *("urllib.request", "http.client", "openpyxl", "starlette", "uvicorn", "pyarrow.dataset"),
)


@pytest.mark.slow
def test_an_ordinary_run_loads_only_what_it_uses(tmp_path: Path) -> None:
    """Each of these takes as long as the interpreter itself, or many times as long."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"id": n, "text": "x"}) + "\n" for n in range(3)))
    program = (
        "import gc, sys\n"
        "from batch.__main__ import main\n"
        "code = main()\n"
        "import pyarrow as pa\n"
        "print(code, gc.isenabled(), gc.get_freeze_count() > 10_000, pa.default_memory_pool().backend_name,\n"
        f"    *(n for n in {NOT_NEEDED!r} if n in sys.modules))\n"
    )
    with scripted(lambda _: reply()) as server:
        (tmp_path / "job.toml").write_text(
            '[input]\npath = "rows.jsonl"\n[prompt]\nuser = "{{ text }}"\n[model]\nprovider = "openai"\nname = "m"\n'
            f'base_url = "{server.url}/v1"\n'
        )
        done = subprocess.run(
            [sys.executable, "-c", program, "run", str(tmp_path), "-o", str(tmp_path / "out"), "--progress", "none"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
            env={"OPENAI_API_KEY": "sk-0123456789abcdef", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )
    assert done.stdout.splitlines()[-1].split() == ["0", "True", "True", "system"], done.stdout + done.stderr
