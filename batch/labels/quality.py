"""How good labels are, measured against the truth: accuracy, precision, recall, F1, kappa, each with its uncertainty.

Owns the formulas. It knows pairs of texts, a truth and a label, and how often each pair came; nothing of rows, tables
or models. The figures are those of scikit-learn. What cannot be measured is None, never 0: the precision of a class
that was never given, the recall of one that the truth has not.

All intervals are two-sided ones of 95 %:

- A proportion (accuracy, precision, recall, coverage): the score interval of E. B. Wilson, "Probable inference, the law
  of succession, and statistical inference", J. Am. Stat. Assoc. 22 (1927). With p = k/n:
  (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n).
- F1: K. F. Y. Lam, V. Gopal, J. Qian, "Confidence intervals for the F1 score: a comparison of four methods"
  (arXiv:2309.14621, 2023), the indirect Wilson method. TP/(TP+FP+FN) = J is a proportion and F1 = 2J/(1+J) grows with
  it, so the ends of Wilson's interval of J are carried over.
- Cohen's kappa: the asymptotic variance of J. L. Fleiss, J. Cohen, B. S. Everitt, "Large sample standard errors of
  kappa and weighted kappa", Psychol. Bull. 72 (1969). With cells p_ij, margins p_i. and p_.j, p_o = Σ p_ii,
  p_e = Σ p_i. p_.i:
  {Σ_i p_ii [(1−p_e) − (p_.i + p_i.)(1−p_o)]² + (1−p_o)² Σ_{i≠j} p_ij (p_.i + p_j.)² − (p_o p_e − 2p_e + p_o)²}
  / (n (1−p_e)⁴). Where all pairs agree it is 0 and says nothing, so the interval is None there.
- The difference of two shares: method 10 of R. G. Newcombe, "Interval estimation for the difference between independent
  proportions", Stat. Med. 17 (1998), which joins the Wilson intervals of both.
"""

from __future__ import annotations

import math
from collections import Counter
from statistics import NormalDist
from typing import Final

import msgspec

LEVEL: Final = 0.95
Z: Final = NormalDist().inv_cdf((1 + LEVEL) / 2)

Interval = tuple[float, float]
"""The lower and the upper end."""


class Estimate(msgspec.Struct, frozen=True):
    """A figure and its interval; both None when there is nothing to measure it by."""

    value: float | None = None
    interval: Interval | None = None


class ClassQuality(msgspec.Struct, frozen=True):
    """How well one class was recognized."""

    label: str
    support: int
    """How many pairs have it as their truth."""
    predicted: int
    """How many pairs have it as their label."""
    precision: Estimate
    """The share of true ones among those that got this label; None when none got it."""
    recall: Estimate
    """The share of those that got this label among those whose truth it is; None when it is the truth of none."""
    f1: Estimate


class Pairs:
    """Counts pairs of truth and label; the figures are those of all pairs until now.

    Attributes:
        counts: how often each (truth, label) came.
        total: how many pairs came.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.total = 0

    def add(self, truth: str, label: str, times: int = 1) -> None:
        """Count one pair, or the same pair several times."""
        self.counts[truth, label] += times
        self.total += times

    @property
    def right(self) -> int:
        """How many labels are the truth."""
        return sum(count for (truth, label), count in self.counts.items() if truth == label)

    def accuracy(self) -> Estimate:
        """The share of labels that are the truth."""
        return proportion(self.right, self.total)

    def classes(self) -> list[str]:
        """Every class that is a truth or a label, sorted."""
        return sorted({name for pair in self.counts for name in pair})

    def per_class(self) -> list[ClassQuality]:
        """Every class with its figures, sorted by name."""
        support, predicted, right = self._margins()
        return [
            ClassQuality(
                label=name,
                support=support[name],
                predicted=predicted[name],
                precision=proportion(right[name], predicted[name]),
                recall=proportion(right[name], support[name]),
                f1=f1(right[name], predicted[name], support[name]),
            )
            for name in self.classes()
        ]

    def kappa(self) -> Estimate:
        """Cohen's kappa: how far labels and truth agree beyond chance, 0 for not at all and 1 for always.

        None when there are no pairs, and when chance alone makes all agree because there is only one class.
        """
        n = self.total
        if not n:
            return Estimate()
        truths, labels, right = self._margins()
        # In integers while it can be: n² p_e and n p_o are exact, so that perfect and hopeless cases are told apart.
        by_chance = sum(truths[name] * labels[name] for name in truths)
        agreed = sum(right.values())
        if by_chance == n * n:
            return Estimate()
        kappa = (agreed * n - by_chance) / (n * n - by_chance)
        if agreed == n:
            return Estimate(kappa)
        half = Z * math.sqrt(max(0.0, self._kappa_variance(truths, labels, agreed / n, by_chance / (n * n))))
        return Estimate(kappa, (max(-1.0, kappa - half), min(1.0, kappa + half)))

    def _kappa_variance(self, truths: Counter[str], labels: Counter[str], agreed: float, by_chance: float) -> float:
        n = self.total
        same = other = 0.0
        for (truth, label), count in self.counts.items():
            # p_.i + p_j. of cell (i, j): how often its truth was given, and how often its label is the truth.
            margins = (labels[truth] + truths[label]) / n
            if truth == label:
                same += count / n * ((1 - by_chance) - margins * (1 - agreed)) ** 2
            else:
                other += count / n * margins**2
        rest = (agreed * by_chance - 2 * by_chance + agreed) ** 2
        return (same + (1 - agreed) ** 2 * other - rest) / (n * (1 - by_chance) ** 4)

    def _margins(self) -> tuple[Counter[str], Counter[str], Counter[str]]:
        """By class: how often it is the truth, how often it was given, how often it was given rightly."""
        truths: Counter[str] = Counter()
        labels: Counter[str] = Counter()
        right: Counter[str] = Counter()
        for (truth, label), count in self.counts.items():
            truths[truth] += count
            labels[label] += count
            if truth == label:
                right[truth] += count
        return truths, labels, right


def proportion(part: int, whole: int) -> Estimate:
    """A share with Wilson's interval; None of nothing."""
    return Estimate(part / whole, wilson(part, whole)) if whole else Estimate()


def wilson(part: int, whole: int, z: float = Z) -> Interval:
    """The score interval of a proportion.

    Args:
        part: how many of them, from 0 to `whole`.
        whole: how many there are, at least 1.
        z: how many standard deviations it reaches, by default those of 95 %.
    """
    share = part / whole
    middle = share + z * z / (2 * whole)
    half = z * math.sqrt(share * (1 - share) / whole + z * z / (4 * whole * whole))
    scale = 1 + z * z / whole
    low, high = (middle - half) / scale, (middle + half) / scale
    # Exactly 0 and 1 where they are; rounding would leave 1e-17 beside them.
    return (low if part else 0.0), (high if part < whole else 1.0)


def f1(right: int, predicted: int, support: int) -> Estimate:
    """F1 of one class, 2TP / (2TP + FP + FN), with the indirect Wilson interval.

    Args:
        right: TP, how many got the label rightly.
        predicted: TP + FP, how many got it.
        support: TP + FN, how many have it as their truth.
    """
    union = predicted + support - right
    if not union:
        return Estimate()
    low, high = wilson(right, union)
    return Estimate(2 * right / (predicted + support), (2 * low / (1 + low), 2 * high / (1 + high)))


def difference(now: tuple[int, int], before: tuple[int, int], z: float = Z) -> Interval:
    """The interval of the difference of two shares, now less before; method 10 of Newcombe.

    Args:
        now: how many of how many, at least 1.
        before: the same of the other.
        z: how many standard deviations it reaches, by default those of 95 %.
    """
    p, q = now[0] / now[1], before[0] / before[1]
    (p_low, p_high), (q_low, q_high) = wilson(*now, z), wilson(*before, z)
    return p - q - math.hypot(p - p_low, q_high - q), p - q + math.hypot(p_high - p, q - q_low)


def z_for_all(count: int) -> float:
    """How many standard deviations each of `count` intervals must reach to hold all together with 95 % (Bonferroni)."""
    return NormalDist().inv_cdf(1 - (1 - LEVEL) / (2 * max(1, count)))
