"""Streams of the simulator read by httpx-sse, a reader of the standard that is neither ours nor a provider's."""

from __future__ import annotations

import json
from typing import Any

import httpx_sse
import pytest

from tests.simulator.conftest import Sim, Start
from tests.simulator.sse import DIALECTS, body_of, path_of, sent_whole, together
from tests.simulator.struck import fault

EACH = pytest.mark.parametrize("dialect", DIALECTS)


def read(sim: Sim, dialect: str) -> list[httpx_sse.ServerSentEvent]:
    """All events of one stream."""
    headers = {"Authorization": "Bearer sk-a.b"}
    body: dict[str, Any] = body_of(dialect)
    with httpx_sse.connect_sse(sim.http, "POST", path_of(dialect), json=body, headers=headers) as source:
        return list(source.iter_sse())


@EACH
def test_the_frames_are_events_of_the_standard(sim: Sim, dialect: str) -> None:
    """Data alone: no name, no id, no wait; the last says `[DONE]`, and the others add up to the answer."""
    *events, done = read(sim, dialect)
    assert done.data == "[DONE]"
    assert {(event.event, event.id, event.retry) for event in events} == {("message", "", None)}
    assert together([json.loads(event.data) for event in events]) == sent_whole(sim, dialect)


@EACH
@pytest.mark.parametrize("form", ["comments", "crlf", "no_space", "split"])
def test_the_noise_of_the_simulator_is_noise_the_standard_allows(start: Start, dialect: str, form: str) -> None:
    """The same events come through it."""
    quiet, noisy = start(), start(fault(40, rate=1.0, form=form))
    said = together([json.loads(event.data) for event in read(noisy, dialect)[:-1]])
    assert said == sent_whole(quiet, dialect)
