"""Budgets that a test opens are closed behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from batch.limits.poolfile import PoolFile


@pytest.fixture(autouse=True)
def _pools_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    opened: list[PoolFile] = []
    before = PoolFile.__init__

    def tracked(self: PoolFile, *args: Any, **more: Any) -> None:
        before(self, *args, **more)
        opened.append(self)

    monkeypatch.setattr(PoolFile, "__init__", tracked)
    yield
    for file in opened:
        file.close()
