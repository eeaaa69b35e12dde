"""Whole runs that ask each row several times: votes and majority, what a higher number buys, and how sure a label is."""

from __future__ import annotations

import json
import math
import signal
from collections import Counter, defaultdict
from typing import Any

import pyarrow.parquet as pq
import pytest

from batch.cli import main
from tests.system.runs.conftest import LANES, Make, Mill
from tests.system.runs.test_labels import FAULTY, NAMES, ask, labelled

WAVERS = "wavers = 0.35\n"


def votes_of(mill: Mill) -> list[tuple[int, list[tuple[str, int]], float | None, str | None, list[str]]]:
    """Of each row its number, votes, agreement, label and flags."""
    rows = mill.results("n, votes, agreement, label, flags")
    return [
        (n, [(vote["label"], vote["count"]) for vote in votes or ()], share, label, list(flags))
        for n, votes, share, label, flags in rows
    ]


def check_votes(mill: Mill, samples: int) -> None:
    """The columns of every row agree with each other, and with the samples in the book."""
    asked: defaultdict[str, set[int]] = defaultdict(set)
    for row_id, sample in mill.calls("row_id, sample", "state = 'answered'"):
        asked[row_id].add(sample)
    for row_id, votes, share, label, flags, answer in mill.results("row_id, votes, agreement, label, flags, answer"):
        counts = [vote["count"] for vote in votes]
        assert counts == sorted(counts, reverse=True)
        assert asked[row_id] == set(range(samples)), "each sample was asked, and no other"
        assert share == pytest.approx(counts[0] / samples)
        tied = len(counts) > 1 and counts[0] == counts[1]
        assert (label is None) == tied == ("tie" in flags)
        leading = [vote["label"] for vote in votes if vote["count"] == counts[0]]
        assert (json.loads(answer)["label"] if answer.startswith("{") else answer) in leading, "the answer says it"
        assert label in (None, *leading)


@pytest.mark.parametrize(("provider", "lane"), [*LANES, ("glm", "stream"), ("openai", "stream")])
def test_a_row_is_asked_so_many_times_and_gets_the_label_of_most(make: Make, provider: str, lane: str) -> None:
    """In every lane and dialect; each sample begins anew, and its turns are counted through."""
    mill = labelled(make(WAVERS, provider=provider, lane=lane), 12, samples=3)
    assert mill.run().exit_code == 0
    check_votes(mill, 3)
    assert mill.calls("sample, purpose, turn, count(*) c", "true GROUP BY ALL ORDER BY sample") == [
        (0, "first", 0, 12),
        (1, "sample", 1, 12),
        (2, "sample", 2, 12),
    ]
    assert mill.one("calls") == [3] * 12
    assert any(len(votes) > 1 for _, votes, *_ in votes_of(mill)), "nothing wavered"
    types = pq.read_schema(mill.out / "results" / mill.parts()[0])
    assert [str(types.field(name).type) for name in ("votes", "agreement")] == [
        "list<element: struct<label: string, count: int32>>",
        "double",
    ]
    mill.check_books()
    mill.check_sums()
