"""Each promise of promptmill, the tests that hold it, and the figure last seen.

`tests/test_promises.py` checks that every test named here exists. What is unfinished is said here, by promise.
"""

from __future__ import annotations

from typing import NamedTuple


class Promise(NamedTuple):
    """One promise: `tests` as `file::test`, `seen` the figure of the last campaign, `open` what is not kept yet."""

    number: int
    text: str
    tests: tuple[str, ...]
    seen: str
    open: str = ""


PROMISES = (
    Promise(
        1,
        "Nothing lost, nothing twice: one result row per input row, in input order, under kill -9 at any instant.",
        (
            "tests/kills/test_failpoints.py::test_a_run_killed_at_a_failpoint_continues_to_the_same_table",
            "tests/kills/test_failpoints.py::test_a_rewrite_killed_in_any_step_leaves_the_part_whole",
            "tests/kills/test_random_kills.py::test_a_run_killed_again_and_again_loses_nothing_and_pays_nothing_twice",
        ),
        "scripts/chaos, 40 kills per lane: 0 rows lost, 0 doubled; every failpoint but those of bulk and tool intent",
    ),
    Promise(
        2,
        "Nothing paid twice that can be known: saved task ids are collected, at most `concurrency` calls are at risk.",
        (
            "tests/kills/test_failpoints.py::test_a_run_killed_at_a_failpoint_continues_to_the_same_table",
            "tests/kills/test_random_kills.py::test_a_run_killed_again_and_again_loses_nothing_and_pays_nothing_twice",
        ),
        "scripts/chaos: 498 unknown calls over 40 kills at 16 slots (sync), 0 tasks bought twice",
        "Lanes stream and bulk, and tools with effects (tool intent), come with later steps.",
    ),
    Promise(
        3,
        "Switching lane, limits or price never re-buys an answer; changing what is asked does.",
        (),
        "",
    ),
    Promise(
        4,
        "The limit is a line over any window of its own length, and it is used.",
        (),
        "",
        "Requests a minute and calls in flight. Tokens a minute and finding unknown limits come with the next step.",
    ),
    Promise(
        5,
        "Every token is booked where it was spent; booked <= bill <= booked + the bound on unknown calls.",
        ("tests/kills/test_random_kills.py::test_a_run_killed_again_and_again_loses_nothing_and_pays_nothing_twice",),
        "gsm8k and banking77, sync on both dialects and task on GLM: equal to the simulator's books call by call",
    ),
    Promise(
        6,
        "Memory is flat in the number of rows; a straggler holds up nothing but its own part.",
        (),
        "200,000 rows: peak 213 MB, 3.7 MB more than 20,000 rows take",
    ),
    Promise(
        7,
        "A hostile row is one failed row; a fault of the run stops it cleanly with what to do next.",
        (),
        "",
        "Faults of the server beyond 18, 19, 28, 33, 34, 48, 56 and 58 come with the next step.",
    ),
    Promise(
        8,
        "Secrets never land in logs, ledger, results, reports or error texts.",
        (),
        "",
    ),
)
