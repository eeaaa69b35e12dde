"""The official clients as they are installed, each pointed at a simulator of the test.

Nothing of them is replaced: they open their own sockets, wait their own waits and make their own tokens. All they are
told is where the provider is, a key, and how often to try again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest
import zai
import zai.core._errors
import zhipuai
import zhipuai.core._errors

from tests.simulator.conftest import GLM, OPENAI, Sim, anyio_backend, sim, start

__all__ = ["anyio_backend", "sim", "start"]

KEY = "reader.0123456789abcdef0123456789abcdef"
OPENAI_KEY = "sk-reader-of-the-tests"
BRANDS = ("zai", "zhipuai")


@pytest.fixture(autouse=True)
def _no_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The simulator speaks no TLS, and each client would load the certificates of the world before its first word."""
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


class Glm:
    """One of the two GLM packages: its client's class, the classes of its errors, and clients of a simulator."""

    def __init__(self, name: str, open_clients: ExitStack) -> None:
        self.name = name
        self.client: Any = zai.ZhipuAiClient if name == "zai" else zhipuai.ZhipuAI
        self.errors: ModuleType = zai.core._errors if name == "zai" else zhipuai.core._errors
        self._open = open_clients

    def of(self, sim: Sim, **options: Any) -> Any:
        """A client that does not try again unless told to, closed after the test."""
        url = f"http://127.0.0.1:{sim.port}{GLM}"
        client = self.client(**{"api_key": KEY, "base_url": url, "max_retries": 0, **options})
        self._open.callback(client.close)
        return client


Client = Callable[..., openai.OpenAI]


@pytest.fixture(params=BRANDS)
def glm(request: pytest.FixtureRequest) -> Iterator[Glm]:
    """zai-sdk and zhipuai, one after the other."""
    with ExitStack() as open_clients:
        yield Glm(request.param, open_clients)


@pytest.fixture
def connect() -> Iterator[Client]:
    """Makes openai clients of a simulator that do not try again unless told to, closed after the test."""
    with ExitStack() as open_clients:

        def begin(sim: Sim, **options: Any) -> openai.OpenAI:
            url = f"http://127.0.0.1:{sim.port}{OPENAI}"
            return open_clients.enter_context(
                openai.OpenAI(**{"api_key": OPENAI_KEY, "base_url": url, "max_retries": 0, **options})
            )

        yield begin
