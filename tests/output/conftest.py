"""What tests of an output in an object store begin with: a way to the store that may fail, a clock, an empty place."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from batch.core.clock import HandClock
from batch.core.places import Place
from batch.output.objects import Objects
from tests.support.halfway import Halfway, halfway
from tests.support.seaweed import BUCKET, Seaweed


@pytest.fixture
def way(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Halfway]:
    """Between this process and the store; the variables of the environment lead over it."""
    with halfway(seaweed.url) as made:
        for name, value in {**seaweed.environ, "AWS_ENDPOINT_URL": made.url}.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def clock() -> HandClock:
    """By which is waited for a store that does not answer."""
    return HandClock()


@pytest.fixture
def objects(way: Halfway, clock: HandClock) -> Iterator[Objects]:
    """A place of its own in the store, with nothing in it."""
    made = Objects(Place("s3", BUCKET, f"objects-{uuid.uuid4().hex}"), clock)
    yield made
    made.close()
