"""`batch.labels.samples`: what the samples of a row come to, and what a further run goes on from."""

from __future__ import annotations

import pytest

from batch.core.labelling import Labelling, Vote
from batch.labels.samples import NO_SAMPLES, Sampling, label_of, short_of_samples, vote_of


def test_votes_are_counted_and_an_answer_without_a_label_makes_them_agree_less() -> None:
    """The order is that of their counts; equal ones stand as they came."""
    sampling = NO_SAMPLES
    for label, chance in (("b", 0.5), (None, None), ("a", None), ("a", 0.9), ("b", 0.7), ("b", None)):
        sampling = sampling.after(label, chance)
    assert (sampling.ended, [(vote.label, vote.count) for vote in sampling.votes]) == (6, [("b", 3), ("a", 2)])
    votes = sampling.counted()
    assert (votes.majority, votes.agreement, votes.tie) == ("b", 0.5, False)
    assert votes.confidence == pytest.approx(0.6), "of those that gave the label and whose probability is known"
    tied = sampling.after("a", None).counted()
    assert (tied.majority, tied.leading, tied.confidence) == (None, ("b", "a"), None)


@pytest.mark.parametrize(
    ("kept", "samples", "expected"),
    [
        (None, 3, NO_SAMPLES),
        (Labelling(votes=(Vote("a", 2),), samples=2), 3, Sampling(2, (Vote("a", 2),))),
        (Labelling(votes=(Vote("a", 2),), samples=2), 1, Sampling(2, (Vote("a", 2),))),
        (Labelling(invalid=True, samples=2), 3, Sampling(2)),
        (Labelling(invalid=True, samples=3), 3, NO_SAMPLES),
        (Labelling(2, None), 3, NO_SAMPLES),
    ],
)
def test_a_row_goes_on_from_its_votes_and_begins_anew_where_no_sample_was_valid(
    kept: Labelling | None, samples: int, expected: Sampling
) -> None:
    """A row of which all samples were invalid is asked again because somebody wants it: from the beginning."""
    assert Sampling.of(kept, samples=samples) == expected


def test_only_a_job_with_several_samples_has_rows_that_are_short_of_them() -> None:
    """What an older version asked has no samples, and is left alone by a job that asks once."""
    old, one, three = Labelling(), Labelling(samples=1), Labelling(samples=3)
    assert [short_of_samples(kept, 1) for kept in (old, one, three)] == [False, False, False]
    assert [short_of_samples(kept, 3) for kept in (old, one, three)] == [True, True, False]


def test_an_object_is_voted_for_without_its_nulls_and_in_one_order_of_keys() -> None:
    """So a label that comes back from a column is the same vote."""
    label = {"b": 1.0, "a": None, "c": {"y": "é", "x": None}}
    assert vote_of(label) == '{"b":1,"c":{"y":"é"}}'
    assert vote_of(label_of(vote_of(label), named=False)) == vote_of(label)
    assert label_of(vote_of("12"), named=True) == "12"
