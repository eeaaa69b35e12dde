"""The nodes of a cluster before the first row: who is asked, what, and what is told of one that cannot do the work."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from batch.core import version
from batch.core.errors import EXIT_REFUSED, RefusedToStart
from batch.core.version import VERSION
from batch.run.fleet.messages import Hello, KeyPlace, encode_keyless
from batch.run.ray.keys import lacking
from batch.run.ray.nodes import Found, Node, question, require, usable

PYTHON = "{}.{}".format(*sys.version_info)
GOOD = Found(PYTHON, VERSION)
HELLO = Hello(0, "glm", {}, "http://127.0.0.1:1/v4", 1.0, 1.0, 1.0, keep_raw=False, keys={"": KeyPlace("SOME_KEY")})
KEY = "abcdefabcdefabcd.SecretSecret1234"


def listed(number: int, **others: Any) -> dict[str, Any]:
    return {
        "NodeID": f"{number:056x}",
        "Alive": True,
        "Resources": {"CPU": 2.0},
        "NodeManagerHostname": f"host-{number}",
        "NodeManagerAddress": f"10.0.0.{number}",
    } | others


def refused(answers: dict[Node, Found | str]) -> str:
    with pytest.raises(RefusedToStart) as caught:
        require(answers, PYTHON, text="ray:10.0.0.1:6379")
    assert caught.value.exit_code == EXIT_REFUSED
    return str(caught.value)


def test_nodes_that_are_there_and_have_processors_can_have_workers() -> None:
    found = usable([listed(1), listed(2, Alive=False), listed(3, Resources={"memory": 1.0}), listed(4)])
    assert [node.name for node in found] == ["host-1 (10.0.0.1, 00000000)", "host-4 (10.0.0.4, 00000000)"]


def test_a_node_with_everything_is_no_reason_to_refuse() -> None:
    require({Node("1", "one"): GOOD}, PYTHON, text="ray")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Found(PYTHON, None), "promptmill is not installed there: pip install 'promptmill[ray]=="),
        (Found(PYTHON, "0.0.9"), "promptmill 0.0.9 is installed there"),
        (Found("3.9", VERSION), "its Ray runs Python 3.9"),
        (Found(PYTHON, VERSION, "SOME_KEY is not set"), "SOME_KEY is not set. Workers find the key on their own node"),
        ("it did not answer within 60 s", "it did not answer within 60 s"),
    ],
)
def test_a_node_that_cannot_do_the_work_is_named_with_what_to_do_there(found: Found | str, said: str) -> None:
    told = refused({Node("1", "one (10.0.0.1)"): GOOD, Node("2", "two (10.0.0.2)"): found})
    assert f"two (10.0.0.2): {said}" in told
    assert "one (10.0.0.1)" not in told
    assert "1 of 2 nodes cannot do the work, so nothing was sent" in told
    assert "--on ray:10.0.0.1:6379" in told


def test_of_many_nodes_only_the_first_are_named() -> None:
    told = refused({Node(str(n), f"node-{n}"): "it is ill" for n in range(30)})
    assert "30 of 30 nodes" in told
    assert "node-7: it is ill" in told
    assert "node-8" not in told
    assert "and 22 more" in told


def test_a_cluster_without_a_node_for_workers_is_refused() -> None:
    assert "no node that takes work" in refused({})


def test_what_a_node_is_asked_is_answered_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    assert question(HELLO)() == (PYTHON, VERSION, None)
    monkeypatch.delenv("SOME_KEY")
    python, installed, why = question(HELLO)()
    assert (python, installed) == (PYTHON, VERSION)
    assert why is not None
    assert "SOME_KEY is not set" in why
    ask = question(HELLO)
    monkeypatch.setattr(version, "VERSION", "9.9")
    assert ask() == (PYTHON, "9.9", None)
    monkeypatch.setitem(sys.modules, "batch.core", None)
    assert ask() == (PYTHON, None, None)


def test_why_a_machine_has_no_key_is_told_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", f"{KEY} two words")
    why = lacking(encode_keyless(HELLO))
    assert why is not None
    assert "holds characters that no API key has" in why
    assert KEY not in why
