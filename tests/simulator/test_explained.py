"""`batch.simulator.explained`: every key and every fault that a scenario can have, as the code that reads it has them."""

from __future__ import annotations

import tomllib

import pytest

from batch.simulator import explained
from batch.simulator.faults.register import BEHAVIOURS
from batch.simulator.scenario import Scenario, parse
from batch.simulator.toml_table import Table

WHOLE = """
[limits.models.NAME]
rpm = 1
[[limits.change]]
after_s = 1
rpm = 1
[[fault]]
behaviour = 33
"""
TABLES = {"latency", "stream", "limits", "limits.models", "limits.models.NAME", "limits.change", "fault"}


def test_every_key_that_is_read_is_explained_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD 50. Who adds a key to `scenario.parse` adds a line to `batch.simulator.explained.KEYS`."""
    asked: list[str] = []
    take = Table.take

    def noted(table: Table, key: str, default: object) -> object:
        asked.append(table.at(key).replace("[1]", ""))
        return take(table, key, default)

    monkeypatch.setattr(Table, "take", noted)
    parse(tomllib.loads(WHOLE))
    assert set(asked) - TABLES == set(explained.KEYS)


def test_every_fault_is_explained_and_its_example_is_a_scenario() -> None:
    """FIELD 50. Title, places and options are the register's, the words those of the functions that carry it out."""
    told = {fault.name: fault for fault in explained.faults()}
    assert list(told) == list(map(str, BEHAVIOURS))
    for number, behaviour in BEHAVIOURS.items():
        fault = told[str(number)]
        facts = dict(fault.facts)
        assert fault.title == behaviour.title
        assert fault.text.endswith(".")
        assert set(behaviour.options) <= set(facts)
        assert facts["strikes"].split(", ") == list(behaviour.routes)
        (made,) = parse(tomllib.loads(facts["example"])).faults
        assert made.behaviour == number


def test_the_defaults_told_are_those_of_a_scenario_that_says_nothing() -> None:
    """FIELD 50. A default told has the place of a value in a file, and leaves the scenario as it is."""
    told = {key.name: dict(key.facts)["default"] for key in explained.scenario_keys() if key.facts}
    assert {"seed", "latency.chat_ms", "limits.burst_s", "gzip"} <= set(told)
    text = "".join(f"{name} = {value if value != 'current' else repr(value)}\n" for name, value in told.items())
    assert parse(tomllib.loads(text)) == Scenario()
