"""`batch.plan.addressing`: where the requests of a job go, and which faults are those of its addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.core.errors import RefusedToStart
from batch.plan import addressing
from tests.support.jobtext import SOUND, load

KEYS = {"ZHIPUAI_API_KEY": "0123456789abcdef.first-secret-1", "OTHER": "0123456789abcdef.other-secret-2"}
TWO = """
endpoints = [
    { base_url = "http://127.0.0.1:1/api/paas/v4", name = "one" },
    { base_url = "http://127.0.0.1:2/api/paas/v4", name = "two", api_key_env = "OTHER" },
]
"""


def test_a_job_with_one_address_has_no_names_of_others(tmp_path: Path) -> None:
    faults: list[str] = []
    first, named = addressing.endpoints_of(load(tmp_path, SOUND + 'base_url = "http://127.0.0.1:1/v4"\n'), KEYS, faults)
    assert (faults, named) == ([], {})
    assert first is not None
    assert first.base_url == "http://127.0.0.1:1/v4"


def test_of_several_addresses_the_first_leads_and_each_has_its_key(tmp_path: Path) -> None:
    faults: list[str] = []
    first, named = addressing.endpoints_of(load(tmp_path, SOUND + TWO), KEYS, faults)
    assert faults == []
    assert list(named) == ["one", "two"]
    assert first is named["one"]
    assert len({one.key_digest for one in named.values()}) == 2


def test_an_address_without_its_key_is_a_fault_and_nothing_is_guessed(tmp_path: Path) -> None:
    faults: list[str] = []
    found = addressing.endpoints_of(load(tmp_path, SOUND + TWO), {"ZHIPUAI_API_KEY": KEYS["ZHIPUAI_API_KEY"]}, faults)
    assert found == (None, {})
    assert len(faults) == 1
    assert "OTHER is not set" in faults[0]


def test_a_missing_key_is_a_fault_among_others_or_the_end(tmp_path: Path) -> None:
    faults: list[str] = []
    assert addressing.endpoints_of(load(tmp_path, SOUND), {}, faults) == (None, {})
    assert len(faults) == 1
    with pytest.raises(RefusedToStart) as told:
        addressing.endpoint_of(load(tmp_path, SOUND), {})
    assert str(told.value) == faults[0]
