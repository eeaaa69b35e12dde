"""`batch.simulator.explained`: every key and every fault that a scenario can have, as the code that reads it has them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from batch.simulator import explained
from batch.simulator.dialects import glm, openai
from batch.simulator.faults.register import BEHAVIOURS
from batch.simulator.health import ABSENT, HABITS
from batch.simulator.scenario import Scenario, parse
from batch.simulator.toml_table import Table
from tests.simulator.conftest import Sim

ROOT = Path(__file__).resolve().parents[2]

WHOLE = """
[limits.models.NAME]
rpm = 1
[[limits.change]]
after_s = 1
rpm = 1
[[fault]]
behaviour = 33
"""
TABLES = {"latency", "stream", "limits", "limits.models", "limits.models.NAME", "limits.change", "batches", "fault"}


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


LIST: dict[int, dict[str, Any]] = {
    int(number): line
    for number, line in tomllib.loads((ROOT / "tests" / "behaviours.toml").read_text(encoding="utf-8")).items()
}


def test_every_behaviour_of_the_list_is_told_once_under_its_title() -> None:
    """FIELD 50. 1 to 74: in health, a fault, or not shown; who adds one adds it to the code and to the list."""
    told = {int(one.name): one for one in (*explained.habits(), *explained.faults())}
    assert sorted(told) == list(LIST)
    assert len(told) == len([*explained.habits(), *explained.faults()])
    assert {number: one.title for number, one in told.items()} == {n: line["title"] for n, line in LIST.items()}
    assert all(one.text.endswith(".") for one in told.values())
    assert set(ABSENT) == {number for number, line in LIST.items() if {"later", "where"} & line.keys()}
    assert set(HABITS) | set(BEHAVIOURS) | set(ABSENT) == set(LIST)


def test_every_key_of_a_scenario_shapes_a_habit_or_a_fault() -> None:
    """FIELD 50. Both ways: a habit names no key that is not read, and no key is left without one."""
    named = {key for habit in (*HABITS.values(), *ABSENT.values()) for key in habit.keys}
    assert named == {key for key in explained.KEYS if not key.startswith("fault.")}


def test_the_routes_told_are_those_that_are_served(sim: Sim) -> None:
    """FIELD 50. Each answers otherwise than a path that is not there, and no other route is known to the dialects."""
    told = dict(next(one for one in explained.habits() if one.name == "1").facts)["routes"].splitlines()
    known = [(glm.PREFIX, route) for route in glm._ROUTES] + [(openai.PREFIX, route) for route in openai._ROUTES]
    assert {f"{method} {prefix}{path}" for prefix, (method, path) in known} < set(told)
    for route in [*told, "POST /v1/nothing", f"GET {glm.PREFIX}/nothing"]:
        method, path = route.split()
        key = "sk-reader" if path.startswith(openai.PREFIX) else sim.key
        said = sim.http.request(method, path, content=b"{}", headers={"Authorization": f"Bearer {key}"}).text
        assert ("NOT_FOUND" in said or "unknown_url" in said) is (route not in told), route
