"""`batch.labels.votes`: what a majority is, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.labelling import Vote
from batch.labels.votes import count_votes

LABELS = st.lists(st.none() | st.sampled_from(["billing", "shipping", "refund", ""]), max_size=9)


@pytest.mark.parametrize(
    ("labels", "votes", "agreement", "majority", "tie"),
    [
        (["a", "b", "a"], [("a", 2), ("b", 1)], 2 / 3, "a", False),
        (["b", "a", "c", "a", "b", "a"], [("a", 3), ("b", 2), ("c", 1)], 1 / 2, "a", False),
        (["b", "a"], [("b", 1), ("a", 1)], 1 / 2, None, True),
        (["c", "a", "b", "a", "b"], [("a", 2), ("b", 2), ("c", 1)], 2 / 5, None, True),
        ([None, "a", None], [("a", 1)], 1 / 3, "a", False),
        ([None, None], [], None, None, False),
        ([], [], None, None, False),
    ],
)
def test_the_most_frequent_label_wins_and_a_tie_has_no_winner(
    labels: list[str | None], votes: list[tuple[str, int]], agreement: float | None, majority: str | None, tie: bool
) -> None:
    """Answers that are not valid have no vote, and count as ones that disagree."""
    counted = count_votes(labels)
    assert list(counted.votes) == [Vote(*vote) for vote in votes]
    assert (counted.agreement, counted.majority, counted.tie) == (agreement, majority, tie)
    assert (counted.asked, counted.valid) == (len(labels), sum(label is not None for label in labels))


@given(LABELS)
def test_no_vote_is_lost_and_their_order_is_that_of_their_first_appearance(labels: list[str | None]) -> None:
    """Whatever was answered: counts add up, and equal counts stand as they came."""
    counted = count_votes(labels)
    assert sorted(label for vote in counted.votes for label in [vote.label] * vote.count) == sorted(
        label for label in labels if label is not None
    )
    places = [(-vote.count, labels.index(vote.label)) for vote in counted.votes]
    assert places == sorted(places)
    if counted.majority is not None:
        assert all(
            labels.count(counted.majority) > labels.count(other) for other in {*labels} - {counted.majority, None}
        )
