"""`batch.labels.quality`: figures as scikit-learn has them, intervals as the papers print them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.labels.quality import Pairs, difference, f1, proportion, wilson, z_for_all

CLASSES = st.sampled_from(["billing", "shipping", "refund", "other", "快递"])
PAIRS = st.lists(st.tuples(CLASSES, CLASSES), min_size=1, max_size=60)


def counted(pairs: list[tuple[str, str]]) -> Pairs:
    made = Pairs()
    for truth, label in pairs:
        made.add(truth, label)
    return made


def table(rows: list[list[int]]) -> Pairs:
    """Rows are truths, columns are labels."""
    made = Pairs()
    for truth, row in enumerate(rows):
        for label, count in enumerate(row):
            made.add(str(truth), str(label), count)
    return made


@given(PAIRS)
def test_figures_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    """Classes without support or without predictions included: undefined there is None here."""
    from sklearn import metrics  # as slow to load as all the rest

    ours, truth, label = counted(pairs), [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    assert ours.accuracy().value == pytest.approx(metrics.accuracy_score(truth, label))
    names = ours.classes()
    theirs = metrics.precision_recall_fscore_support(truth, label, labels=names, zero_division=math.nan)
    for position, found in enumerate(ours.per_class()):
        for estimate, values in zip((found.precision, found.recall, found.f1), theirs[:3], strict=True):
            expected = float(values[position])
            assert (estimate.value is None) == math.isnan(expected)
            assert estimate.value is None or estimate.value == pytest.approx(expected)
        assert found.support == theirs[3][position]
    kappa = ours.kappa()
    if len(names) == 1:
        assert kappa.value is None, "chance alone explains it"
        return
    matrix = metrics.confusion_matrix(truth, label, labels=names)
    assert [[ours.counts[row, column] for column in names] for row in names] == matrix.tolist()
    assert kappa.value == pytest.approx(metrics.cohen_kappa_score(truth, label))


@given(PAIRS)
def test_every_interval_holds_its_figure_and_stays_within_what_can_be(pairs: list[tuple[str, str]]) -> None:
    """From 0 to 1, kappa from -1."""
    ours = counted(pairs)
    estimates = [ours.accuracy(), *(e for c in ours.per_class() for e in (c.precision, c.recall, c.f1))]
    for estimate in estimates:
        assert (estimate.value is None) == (estimate.interval is None)
        if estimate.value is not None and estimate.interval is not None:
            low, high = estimate.interval
            assert 0 <= low <= estimate.value + 1e-12
            assert estimate.value - 1e-12 <= high <= 1
    kappa = ours.kappa()
    if kappa.value is not None and kappa.interval is not None:
        assert -1 <= kappa.interval[0] <= kappa.value <= kappa.interval[1] <= 1


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_of_a_proportion_is_the_published_one(part: int, whole: int, low: float, high: float) -> None:
    """Newcombe, Stat. Med. 17 (1998) 857-872, table I, method 3."""
    assert wilson(part, whole) == pytest.approx((low, high), abs=5e-5)


def test_the_interval_of_a_difference_is_the_published_one() -> None:
    """Newcombe, Stat. Med. 17 (1998) 873-890, table II, method 10: 56/70 less 48/80."""
    low, high = difference((56, 70), (48, 80))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference((48, 80), (56, 70)) == pytest.approx((-high, -low))


def test_the_interval_of_kappa_is_the_one_that_sas_and_statsmodels_print() -> None:
    """Of their example with 19 pairs."""
    kappa = table([[0, 4, 1], [0, 8, 0], [0, 1, 5]]).kappa()
    assert kappa.value == pytest.approx(0.4842, abs=5e-5)
    assert kappa.interval == pytest.approx((0.2137, 0.7547), abs=5e-5)


@given(st.lists(st.lists(st.integers(1, 40), min_size=3, max_size=3), min_size=3, max_size=3))
def test_the_variance_of_kappa_is_the_one_that_its_slopes_give(rows: list[list[int]]) -> None:
    """The delta method, with slopes found by small steps instead of by formula."""
    n, cells = sum(map(sum, rows)), [(i, j) for i in range(3) for j in range(3)]
    shares = {(i, j): rows[i][j] / n for i, j in cells}

    def kappa_of(p: dict[tuple[int, int], float]) -> float:
        agreed = sum(p[i, i] for i in range(3))
        chance = sum(sum(p[i, k] for k in range(3)) * sum(p[k, i] for k in range(3)) for i in range(3))
        return (agreed - chance) / (1 - chance)

    step = 1e-6
    slopes = {
        cell: (kappa_of({**shares, cell: shares[cell] + step}) - kappa_of({**shares, cell: shares[cell] - step}))
        / (2 * step)
        for cell in cells
    }
    mean = sum(shares[cell] * slopes[cell] for cell in cells)
    variance = (sum(shares[cell] * slopes[cell] ** 2 for cell in cells) - mean**2) / n
    found = table(rows).kappa()
    assert found.value is not None
    assert found.interval is not None
    assert found.interval[0] == pytest.approx(max(-1, found.value - 1.959964 * math.sqrt(variance)), abs=1e-5)


def test_the_interval_of_f1_is_that_of_the_share_it_grows_with() -> None:
    """8 right, 2 wrongly given, 2 missed: J is 8 of 12."""
    low, high = wilson(8, 12)
    found = f1(8, 10, 10)
    assert found.value == pytest.approx(0.8)
    assert found.interval == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))


def test_what_cannot_be_measured_is_none_and_not_nought() -> None:
    """No pairs, a class that was never given, one that is never the truth, all of one class, all right."""
    empty = Pairs()
    assert (empty.accuracy().value, empty.kappa().value, empty.per_class()) == (None, None, [])
    assert proportion(0, 0).interval is None
    asked, given_ = counted([("a", "b"), ("a", "b")]).per_class()
    assert (asked.precision.value, asked.recall.value, asked.f1.value) == (None, 0.0, 0.0)
    assert (given_.precision.value, given_.recall.value, given_.f1.value) == (0.0, None, 0.0)
    assert counted([("a", "a")]).kappa().value is None
    right = counted([("a", "a"), ("b", "b")]).kappa()
    assert (right.value, right.interval) == (1.0, None)


def test_several_intervals_together_reach_further_than_one() -> None:
    """1.96 for one, as far as ten need for ten."""
    assert z_for_all(1) == pytest.approx(1.959964)
    assert z_for_all(0) == z_for_all(1)
    assert z_for_all(10) == pytest.approx(2.807034)
