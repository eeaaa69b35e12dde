"""`batch.job.options`: what the flags of one command may be where a program fills them in."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from batch.core.errors import RefusedToStart
from batch.job import options
from batch.job.options import ORDINARY, MaxFailed, RayPlace, RunOptions


def test_a_program_may_say_what_the_command_line_says() -> None:
    """FIELD 46. Numbers and words, not structs that are not public."""
    assert RunOptions(max_failed=20).max_failed == MaxFailed("20", rows=20)
    assert RunOptions(max_failed="0.5%").max_failed == MaxFailed("0.5%", share=Fraction(1, 200))
    assert RunOptions(kinds=["new", "failed"]).kinds == frozenset({"new", "failed"})
    assert RunOptions(kinds="new").kinds == frozenset({"new"})
    assert RunOptions().kinds == ORDINARY


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"kinds": ["nw"]}, "new, changed, failed, short, permanent"),
        ({"kinds": []}, "one or more"),
        ({"limit": 0}, "at least 1 row"),
        ({"sample_seed": 3}, "needs a limit"),
        ({"max_failed": "lots"}, "0.5%"),
        ({"max_failed": -1}, "give a number of rows"),
        ({"if_running": "skp"}, "fail, wait, skip"),
        ({"limit": "3"}, "^limit = '3': give a whole number, without quotes, or leave it out$"),
        ({"limit": True}, "^limit = True: give a whole number"),
        ({"limit": 2.0}, "^limit = 2.0: give a whole number"),
        ({"limit": -1}, "^limit = -1: give at least 1 row"),
        ({"limit": 5, "sample_seed": "7"}, "^sample_seed = '7': give a whole number, without quotes"),
        ({"kinds": None}, "^kinds = None: give one or more of new, "),
        ({"kinds": 3}, "^kinds = 3: give one or more"),
        ({"kinds": [["new"]]}, "^kinds = .*: give one or more"),
        ({"max_failed": True}, "^max_failed = True: give a number of rows"),
        ({"max_failed": 0.5}, "^max_failed = 0.5: give a number of rows, such as 20, or a share"),
        ({"max_failed": "101%"}, "^max_failed = 101%: give"),
        ({"if_running": None}, "^if_running = None: give one of"),
        ({"if_running": ["fail"]}, "^if_running = .*: give one of"),
        ({"wire_log": "no"}, "^wire_log = 'no': give True or False"),
        ({"wire_log": None}, "^wire_log = None: give True or False"),
        ({"workers": 0}, "^workers = 0: give a number of processes from 1 to 64, or auto"),
        ({"workers": 65}, "^workers = 65: give a number of processes from 1 to 64"),
        ({"workers": 2.0}, r"^workers = 2\.0: give a number"),
        ({"workers": True}, "^workers = True: give a number"),
        ({"workers": None}, "^workers = None: give a number"),
        ({"workers": "many"}, "^workers = many: give a number"),
        ({"workers": "-1"}, "^workers = -1: give a number"),
        ({"workers": "²"}, "^workers = ²: give a number"),
        ({"on": "rey"}, "^on = rey: give ray for a Ray that this run starts"),
        ({"on": "ray:10.0.0.5"}, "^on = ray:10.0.0.5: give ray .* ray:HOST:PORT for a running cluster"),
        ({"on": "ray://h:65536"}, "^on = ray://h:65536: give ray .* ray://HOST:PORT for a Ray Client server"),
        ({"on": "ray:h:0"}, "^on = ray:h:0: give ray"),
        ({"on": ""}, "^on = : give ray"),
        ({"on": 6379}, "^on = 6379: give ray"),
    ],
)
def test_a_wrong_option_is_refused_with_what_it_takes(given: dict[str, Any], told: str) -> None:
    """FIELD 46. At once, not in the middle of a run, and in the words of whoever wrote it: a program has no flags."""
    with pytest.raises(RefusedToStart, match=told) as caught:
        RunOptions(**given)
    assert "--" not in str(caught.value)


def test_workers_are_one_unless_said_otherwise_and_auto_leaves_a_processor_to_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert RunOptions().workers == 1
    assert (RunOptions(workers=3).workers, RunOptions(workers=" 4 ").workers) == (3, 4)
    for count, workers in ((1, 1), (2, 1), (8, 7), (1_000, 64)):
        monkeypatch.setattr(options, "processors", lambda count=count: count)
        assert RunOptions(workers="auto").workers == workers


def test_workers_are_on_this_machine_unless_a_ray_is_named() -> None:
    assert RunOptions().on is None
    assert RunOptions(on=" ray ").on == RayPlace("ray")
    place = RunOptions(on="ray:10.0.0.5:6379").on
    assert (place.address, place.client) == ("10.0.0.5:6379", False)
    assert RunOptions(on=place).on is place
    client = RunOptions(on="ray://head:10001").on
    assert (client.address, client.client) == ("ray://head:10001", True)


class Seven:
    """A whole number of another library's, as numpy and pandas have them."""

    def __index__(self) -> int:
        return 7


def test_a_whole_number_may_come_from_another_library() -> None:
    """FIELD 46. `len(frame) // frame.step` is no `int` of Python's."""
    seven: Any = Seven()
    given = RunOptions(limit=seven, sample_seed=seven)
    assert (given.limit, given.sample_seed) == (7, 7)
    assert type(given.limit) is int
