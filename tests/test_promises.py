"""The map from promises to tests is true."""

from __future__ import annotations

import pytest

from tests.promises import PROMISES, Promise
from tests.system.kills.stage import ROOT


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: f"promise-{promise.number}")
def test_every_promise_is_held_by_tests_that_exist(promise: Promise) -> None:
    """Ours: a promise without a test is a wish."""
    assert promise.tests
    for named in promise.tests:
        file, _, test = named.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), named
