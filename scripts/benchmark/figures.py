"""What one figure is: a name, a value with its unit, and how far it has to reach."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.machine import Machine


@dataclass(frozen=True)
class Goal:
    """How far a value has to reach, and what is aimed at.

    Attributes:
        reach: the least that is good enough, or the most where less is better.
        aim: what is aimed at; None where only `reach` is asked for.
        is_least: whether more is better.
    """

    reach: float
    aim: float | None = None
    is_least: bool = True

    def verdict(self, value: float) -> str:
        """`aim`, `reach` or `MISSED`."""
        for name, limit in (("aim", self.aim), ("reach", self.reach)):
            if limit is not None and (value >= limit if self.is_least else value <= limit):
                return name
        return "MISSED"

    def __str__(self) -> str:
        """As the table shows it: the limit to reach and the one to aim at."""
        sign = "≥" if self.is_least else "≤"
        return f"{sign} {self.reach:g}" + (f" ({self.aim:g})" if self.aim is not None else "")


@dataclass(frozen=True)
class Value:
    """One line of the table.

    Attributes:
        what: in a few words.
        value: the median where it was measured several times.
        unit: of the value; `x` for a ratio.
        goal: None for what is only told.
        beside: what it is a ratio to, or what else stands behind it.
        all: the single measurements.
    """

    what: str
    value: float
    unit: str
    goal: Goal | None = None
    beside: str = ""
    all: tuple[float, ...] = ()

    @property
    def verdict(self) -> str:
        """Whether the goal is met; empty for what has none."""
        return self.goal.verdict(self.value) if self.goal else ""


@dataclass(frozen=True)
class Figure:
    """Something that can be measured by its name.

    Attributes:
        name: as it is chosen on the command line.
        what: in a few words, for `--list`.
        measure: does it.
        is_long: whether it takes more than a minute; it is measured once, and only where it is asked for.
    """

    name: str
    what: str
    measure: Callable[[Machine], list[Value]]
    is_long: bool = False


def median(what: str, values: Sequence[float], unit: str, goal: Goal | None = None, beside: str = "") -> Value:
    """A value that was measured several times.

    Args:
        what: in a few words.
        values: the measurements.
        unit: of each of them.
        goal: how far their median has to reach.
        beside: what they are ratios to.
    """
    return Value(what, statistics.median(values), unit, goal, beside, tuple(values))
