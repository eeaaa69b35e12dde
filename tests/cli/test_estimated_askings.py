"""`promptmill estimate` of jobs that ask a row several times, or several rows once, or only at some hours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import NO_WAIT, Cli, Shell
from tests.cli.test_estimates import books, mill, state, told
from tests.simulator.conftest import Start

__all__ = ["mill", "state"]

NAMES = ["billing", "delivery", "other"]
LABELS = f"names = {NAMES!r}"
DISTINCT = 7
SHARED = ("--set", "prompt.dedupe=true")
WORDS = ("My billing is wrong", "The delivery is late and nobody tells me why", "Nothing fits")


def tickets(count: int) -> list[dict[str, Any]]:
    """Tickets about bills and deliveries, of different lengths."""
    return [
        {"id": f"r-{n}", "text": f"{WORDS[n % 3]}, ticket {n}. {'Please answer! ' * (n % 5)}"} for n in range(count)
    ]


def spent(entries: list[dict[str, Any]]) -> dict[str, int]:
    """The sums of some entries of the books, under the names of an estimate."""
    return {
        "calls": len(entries),
        "input_tokens": sum(entry["prompt_tokens"] for entry in entries),
        "output_tokens": sum(entry["completion_tokens"] for entry in entries),
    }


def test_more_samples_are_estimated_as_the_missing_askings_from_what_the_others_took(mill: Shell, cli: Cli) -> None:
    """Three, then five: two more askings a row, and five of a new row; `check` says how often a row is asked."""
    mill.sections["labels"] = [LABELS, "samples = 3"]
    mill.write(tickets(20))
    assert "each row asked 3 times" in cli("check", mill.folder).out
    before = told(cli, mill.folder)
    assert (before["rows"]["to_ask"], before["rows"]["askings"]) == (20, 60)
    assert before["calls"]["least"] <= 60 <= before["calls"]["most"]
    assert mill("run", mill.folder).code == 0
    first = books(mill)
    assert len(first) == 60
    again = told(cli, mill.folder)
    assert (again["rows"]["to_ask"], again["rows"]["askings"], again["calls"]["likely"]) == (0, 0, 0)

    mill.sections["labels"] = [LABELS, "samples = 5"]
    mill.write(tickets(20))
    more = told(cli, mill.folder)
    assert (more["rows"]["short"], more["rows"]["to_ask"], more["rows"]["askings"]) == (20, 20, 40)
    assert (more["basis"], more["models"][0]["answers"], more["models"][0]["askings"]) == ("answers", 20, 40)
    assert more["calls"]["likely"] == 40
    for name, three in spent(first).items():
        assert more[name]["likely"] == pytest.approx(three * 2 / 3, abs=1), name
    said = cli("estimate", mill.folder).out
    assert re.search(r"to ask +20 \(20 short of samples\)\n +asked 40 times in all, for labels.samples = 5\n", said)

    mill.write(tickets(22))
    with_new = told(cli, mill.folder)
    assert (with_new["rows"]["to_ask"], with_new["rows"]["askings"]) == (22, 50)
    assert mill("run", mill.folder).code == 0
    for name, number in spent([entry for entry in books(mill) if entry not in first]).items():
        assert with_new[name]["least"] <= number <= with_new[name]["most"], name
        assert with_new[name]["likely"] == pytest.approx(number, rel=0.1)


def test_samples_that_are_asked_again_and_by_another_model_count_for_each_asking(
    tmp_path: Path, start: Start, cli: Cli
) -> None:
    """Each third row has answers without a label: of each sample one re-ask, and then the other model."""
    scenario = '[[fault]]\nbehaviour = 74\nmodel = "glm-4"\nrows = ["Nothing fits"]\n' + NO_WAIT
    mill = Shell(tmp_path / "job", start(scenario))
    mill.sections["labels"] = [LABELS, "samples = 2", "reasks = 1", 'escalate = "glm-4-plus"']
    mill.write(tickets(24))
    assert mill("run", mill.folder).code == 0
    first = books(mill)
    assert len(first) == 2 * (24 + 8 + 8)
    mill.sections["labels"][1] = "samples = 3"
    mill.write(tickets(24))
    found = told(cli, mill.folder)
    begun, in_the_end = found["models"]
    assert (begun["askings"], begun["calls"]["likely"], in_the_end["calls"]["likely"]) == (24, 32, 8)
    assert mill("run", mill.folder).code == 0
    rest = books(mill)[len(first) :]
    for one in (begun, in_the_end):
        for name, number in spent([entry for entry in rest if entry["model"] == one["model"]]).items():
            assert one[name]["least"] <= number <= one[name]["most"], (one["model"], name)
            assert one[name]["likely"] == pytest.approx(number, rel=0.1)


def test_what_another_job_with_samples_taught_is_told_of_one_asking(mill: Shell, cli: Cli) -> None:
    """Ten rows asked three times teach how many calls an asking takes, and not how many a row takes."""
    mill.sections["labels"] = [LABELS, "samples = 3"]
    mill.write(tickets(10))
    assert mill("run", mill.folder).code == 0
    found = told(cli, mill.folder, "-o", mill.folder / "second", "--set", "labels.samples=2")
    assert (found["basis"], found["rows"]["askings"], found["calls"]["likely"]) == ("learned", 20, 20)


def questions(rows: int) -> list[dict[str, Any]]:
    """Rows that ask for so few different things, over and over."""
    return [{"id": f"r-{n:03d}", "text": f"Tell me about the number {n % DISTINCT}."} for n in range(rows)]


@pytest.fixture
def sharing(mill: Shell) -> Shell:
    """A job that sends one call at a time."""
    mill.sections["limits"] = ["concurrency = 1"]
    return mill


def test_rows_that_ask_the_same_are_counted_once_and_told(sharing: Shell, cli: Cli) -> None:
    """40 rows ask 7 things; what says nothing is not sent, and what was answered is asked again for rows to come."""
    blank = [{"id": f"b-{n}", "text": " "} for n in range(3)]
    sharing.write([*questions(40), *blank])
    found = told(cli, sharing.folder, *SHARED)
    expected = {"new": 43, "to_ask": 7, "askings": 7, "shared": 33, "cannot_be_asked": 3}
    assert found["rows"].items() >= expected.items()
    assert found["calls"] == {"likely": 7, "least": 7, "most": 7}
    alone = told(cli, sharing.folder)
    assert (alone["rows"]["to_ask"], alone["rows"]["shared"], alone["calls"]["likely"]) == (40, 0, 40)
    assert found["input_tokens"]["likely"] == pytest.approx(alone["input_tokens"]["likely"] * 7 / 40, rel=0.05)
    said = cli("estimate", sharing.folder, *SHARED).out
    assert re.search(r"to ask +7 \(43 new\)\n +33 rows with the answer of another that asks the same", said), said
    assert "3 rows cannot be asked and will fail" in said
    assert sharing("run", sharing.folder, *SHARED).code == 1
    assert len(books(sharing)) == 7
    sharing.write([*questions(45), *blank])
    again = told(cli, sharing.folder, *SHARED)
    assert again["rows"].items() >= {"to_ask": 5, "shared": 0, "unchanged": 40, "failed_for_good": 3}.items()


def test_answers_that_a_killed_run_keeps_for_rows_to_come_are_not_estimated_again(sharing: Shell, cli: Cli) -> None:
    """What is estimated after the kill is what the next command buys; the killed one may buy three of seven."""
    sharing.write(questions(40))
    sharing.more["PROMPTMILL_FAILPOINT"] = "copies.ended:1"
    assert sharing("run", sharing.folder, *SHARED, "--set", "budget.max_rows=3").code < 0
    del sharing.more["PROMPTMILL_FAILPOINT"]
    found = told(cli, sharing.folder, *SHARED)
    bought = len(books(sharing))
    assert 0 < found["calls"]["likely"] < DISTINCT
    assert sharing("run", sharing.folder, *SHARED).code == 0
    assert len(books(sharing)) - bought == found["calls"]["likely"]
