"""How many tokens a model makes of a request: one weight for each class of characters, with how sure each weight is.

Owns the weights before anything is learned, what usage adds to them, and the range of an estimate. The tokens of a
request are taken to be a sum: so many for each word, digit, sign and so on (`measure` counts them). The weights begin
with what six tokenizers have in common, and each answer corrects them, by the usual linear regression with a prior:
what was learned is only sums of products, so those of two processes, or of a thousand answers, add up.

A range holds three doubts: the weights themselves, which answers make smaller; how far a single text is from any such
sum, which evens out over many rows; and that the next texts may be of another kind than those that taught it, which
does neither.

Pure arithmetic. It reads no file; `calibration` keeps what is learned.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import cache
from typing import Final

import msgspec

from batch.tokens.measure import CLASSES, NOTHING, TEXT, Measure

_PRIOR: Final[dict[str, tuple[float, float]]] = {
    "calls": (3.0, 3.0),
    "messages": (4.0, 1.5),
    "words": (1.0, 0.20),
    "letters": (0.03, 0.05),
    "numbers": (1.05, 0.30),
    "digits": (0.50, 0.35),
    "runs": (0.55, 0.25),
    "signs": (0.20, 0.30),
    "breaks": (0.50, 0.20),
    "chinese": (0.70, 0.33),
    "marks": (1.30, 0.40),
    "two": (0.60, 0.30),
    "more": (0.90, 0.45),
    "tools": (1.15, 0.45),
    "schemas": (0.80, 0.40),
    "pictures": (800.0, 500.0),
}
"""Tokens of one of each class, and the spread of that. Those of texts: what was fitted to six tokenizers (cl100k_base,
o200k_base, Qwen 1.5 and 3.6, DeepSeek V4, SmolLM2) over English, Chinese, code, JSON, tables, lists and tool schemas;
those of two bytes and more by hand. The others: the templates and picture sizes that services document."""
_START: Final = tuple(_PRIOR[name][0] for name in CLASSES)
_SPREAD: Final = tuple(_PRIOR[name][1] for name in CLASSES)
_SIZE: Final = len(CLASSES)
_TOGETHER: Final = 0.15
"""How much the doubts of the weights have in common: a tokenizer with few words has few of everything."""
_OFF: Final = 0.07
"""How far a text is from the best sum, as a part of it: what the same six tokenizers show."""
_OFF_ANSWERS: Final = 8
"""What that is worth against what answers show."""
_OTHERS: Final = 0.05
"""How far texts of another kind are from what was learned, on the whole, as a part of it."""
_LEAST: Final = 4.0
"""Tokens added to the size of a request where errors are weighed against it: a few tokens are no matter."""
WIDE: Final = 2.0
"""A range is so many standard deviations to each side: 19 of 20."""

Matrix = list[list[float]]


class Range(msgspec.Struct, frozen=True):
    """A number that is not known: what it likely is, and between what it lies in 19 of 20 cases."""

    likely: float
    least: float
    most: float

    def __add__(self, other: Range) -> Range:
        """Both together, as if both were wrong in the same way."""
        return Range(self.likely + other.likely, self.least + other.least, self.most + other.most)

    def scaled(self, factor: float) -> Range:
        """So many times the number."""
        return Range(self.likely * factor, self.least * factor, self.most * factor)

    @property
    def width(self) -> float:
        """How far the ends are from what is likely, as a part of it."""
        return max(self.most - self.likely, self.likely - self.least) / self.likely if self.likely else 0.0


def around(likely: float, deviation: float) -> Range:
    """The range of a number with a standard deviation; nothing counted is below zero."""
    return Range(likely, max(0.0, likely - WIDE * deviation), likely + WIDE * deviation)


class Learned(msgspec.Struct):
    """What answers taught about one model's tokens: sums of products, by which later answers add up with them."""

    answers: float = 0.0
    products: list[float] = msgspec.field(default_factory=lambda: [0.0] * (_SIZE * (_SIZE + 1) // 2))
    """Sums of each count times each, the lower half row by row; all of a request are divided by its size squared."""
    tokens: list[float] = msgspec.field(default_factory=lambda: [0.0] * _SIZE)
    """Sums of each count times the tokens."""
    squares: float = 0.0
    """The sum of the tokens squared."""

    @property
    def sound(self) -> bool:
        """Whether these are sums of this version's classes, and numbers all."""
        numbers = (self.answers, self.squares, *self.products, *self.tokens)
        return (
            len(self.products) == _SIZE * (_SIZE + 1) // 2
            and len(self.tokens) == _SIZE
            and all(map(math.isfinite, numbers))
            and self.answers >= 0
        )

    def learn(self, measure: Measure, tokens: int) -> None:
        """Learn from one answer.

        Args:
            measure: of the request.
            tokens: what the service says it had.
        """
        weight = 1.0 / (plain(measure) + _LEAST) ** 2
        place = 0
        for row, number in enumerate(measure):
            if number:
                scaled = number * weight
                for column in range(row + 1):
                    self.products[place + column] += scaled * measure[column]
                self.tokens[row] += scaled * tokens
            place += row + 1
        self.squares += weight * tokens * tokens
        self.answers += 1

    def add(self, other: Learned) -> None:
        """Add what other answers taught."""
        self.answers += other.answers
        self.squares += other.squares
        self.products = [mine + theirs for mine, theirs in zip(self.products, other.products, strict=True)]
        self.tokens = [mine + theirs for mine, theirs in zip(self.tokens, other.tokens, strict=True)]

    def fade(self, most: float) -> None:
        """Have it count for so many answers at most, so that what comes is learned when a tokenizer changes."""
        if self.answers > most:
            factor = most / self.answers
            self.answers, self.squares = most, self.squares * factor
            self.products = [value * factor for value in self.products]
            self.tokens = [value * factor for value in self.tokens]


def plain(measure: Measure) -> float:
    """The tokens of a request as they are likely before anything is learned."""
    return _dot(_START, measure)


def plain_text(text_measure: Sequence[float]) -> float:
    """The tokens of one text as they are likely before anything is learned."""
    return _dot(_START[TEXT], text_measure)


class TokenModel:
    """Estimates tokens for one model, from what is known of all and what was learned of it.

    Args:
        learned: what answers taught of this model; None for nothing.
        alike: whether they were answers to rows of the same job, so that its other rows are not of another kind.

    Attributes:
        answers: how many answers taught it.
    """

    def __init__(self, learned: Learned | None = None, *, alike: bool = False) -> None:
        taught = learned or Learned()
        self.answers = taught.answers
        self._others = 0.01 if alike else _OTHERS if self.answers else 0.0
        before = _before()
        products = _whole(taught.products)
        self._off = _OFF
        for _ in range(3 if self.answers else 1):
            share = 1.0 / self._off**2
            known = [
                [before[row][column] + share * products[row][column] for column in range(_SIZE)] for row in range(_SIZE)
            ]
            self._doubt = _inverse(known)
            pull = [_dot(row, _START) + share * tokens for row, tokens in zip(before, taught.tokens, strict=True)]
            self._weights = [_dot(row, pull) for row in self._doubt]
            missed = self._missed(taught, products)
            self._off = math.sqrt((_OFF_ANSWERS * _OFF**2 + missed) / (_OFF_ANSWERS + self.answers))

    def _missed(self, taught: Learned, products: Matrix) -> float:
        """The sum of the squared errors over the answers that taught it, each as a part of its size."""
        weights = self._weights
        both = sum(weight * _dot(row, weights) for weight, row in zip(weights, products, strict=True))
        crossed = _dot(weights, taught.tokens)
        return max(0.0, taught.squares - 2 * crossed + both)

    def likely(self, measure: Measure) -> float:
        """How many tokens a request, or several together, likely have."""
        return max(0.0, _dot(self._weights, measure))

    def of(self, measure: Measure, *, squares: float | None = None) -> Range:
        """How many tokens a request, or several together, have.

        Args:
            measure: its counts, or the sums of theirs.
            squares: of several requests, the sum of their likely tokens squared; None for one.
        """
        if measure == NOTHING:
            return Range(0.0, 0.0, 0.0)
        likely = self.likely(measure)
        weights = sum(number * _dot(row, measure) for number, row in zip(measure, self._doubt, strict=True))
        single = self._off**2 * ((likely + _LEAST) ** 2 if squares is None else squares)
        return around(likely, math.sqrt(max(0.0, weights) + single + (self._others * likely) ** 2))


@cache
def _before() -> Matrix:
    """How sure the weights are before anything is learned: the inverse of their covariance."""
    places = range(_SIZE)
    shared = [
        [_SPREAD[row] * _SPREAD[column] * (1.0 if row == column else _TOGETHER) for column in places] for row in places
    ]
    return _inverse(shared)


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(map(operator.mul, one, other))


def _whole(half: Sequence[float]) -> Matrix:
    """A symmetric matrix of which the lower half is given row by row."""
    matrix = [[0.0] * _SIZE for _ in range(_SIZE)]
    place = 0
    for row in range(_SIZE):
        for column in range(row + 1):
            matrix[row][column] = matrix[column][row] = half[place + column]
        place += row + 1
    return matrix


def _inverse(matrix: Matrix) -> Matrix:
    """The inverse of a symmetric positive matrix, by its Cholesky factor."""
    size = len(matrix)
    lower = [[0.0] * size for _ in range(size)]
    for row in range(size):
        for column in range(row + 1):
            rest = matrix[row][column] - sum(lower[row][k] * lower[column][k] for k in range(column))
            if row == column:
                # Rounding may leave a tiny negative number where two classes always come together.
                lower[row][row] = math.sqrt(max(rest, 1e-12 * abs(matrix[row][row]) + 1e-300))
            else:
                lower[row][column] = rest / lower[column][column]
    half = [[0.0] * size for _ in range(size)]  # of the factor
    for column in range(size):
        half[column][column] = 1.0 / lower[column][column]
        for row in range(column + 1, size):
            half[row][column] = -sum(lower[row][k] * half[k][column] for k in range(column, row)) / lower[row][row]
    return [
        [sum(half[k][row] * half[k][column] for k in range(max(row, column), size)) for column in range(size)]
        for row in range(size)
    ]
