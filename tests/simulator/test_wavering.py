"""`batch.simulator.models.wavering`: a model that is not sure gives another label now and then, and each time the same way."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from batch.simulator.scenario import parse
from batch.simulator.toml_table import ScenarioError

if TYPE_CHECKING:
    from tests.simulator.conftest import Start

ASKED = "Answer with exactly one of these labels:\n- billing\n- delivery\n- other\n\nMy billing is wrong"


def test_the_share_that_wavers_gives_another_label_and_the_same_requests_get_the_same(start: Start) -> None:
    """Asked forty times, about a third says something else; a second provider says just the same."""
    said = []
    for _ in range(2):
        sim = start("wavers = 0.35\n")
        said.append([sim.glm(ASKED).json()["choices"][0]["message"]["content"] for _ in range(40)])
    assert said[0] == said[1]
    found = Counter(said[0])
    assert set(found) == {"billing", "delivery", "other"}
    assert 20 < found["billing"] < 32
    assert {start().glm(ASKED).json()["choices"][0]["message"]["content"] for _ in range(2)} == {"billing"}


def test_a_share_is_from_0_to_1() -> None:
    """As any number of a scenario."""
    with pytest.raises(ScenarioError, match="wavers = 1.5: must be between 0 and 1"):
        parse({"wavers": 1.5})
