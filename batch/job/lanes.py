"""The lanes of a job: how its requests travel, one way or two. Owns how `model.lane` is written and what it may say.

Two lanes stand for a way that is cheap and slow, and one for what is left over by it: a batch that expired, failed or
took too long. So the first of two is always `bulk`, and the second never.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, get_args

from msgspec import Meta, Struct

from batch.core.records import Lane
from batch.job.fieldtypes import Misread

_WAY: Final = 'two lanes are "bulk" and one of "sync", "stream" and "task", for example ["bulk", "{}"]'


def read_lanes(text: str) -> str | tuple[str, ...]:
    """One lane, or the two of `bulk,sync`.

    Raises:
        Misread: there are two, and they are not bulk and another.
    """
    if "," not in text:
        return text
    names = tuple(part.strip() for part in text.split(","))
    if len(names) != 2 or set(names) - set(get_args(Lane)):
        raise Misread(f"is no pair of lanes: {_WAY.format('sync')}")
    return names


def fault_of(lane: LaneChoice | None) -> str | None:
    """What is wrong with two lanes; None where nothing is."""
    if not isinstance(lane, tuple) or (lane[0] == "bulk" and lane[1] != "bulk"):
        return None
    behind = lane[0] if lane[1] == "bulk" and lane[0] != "bulk" else "sync"
    return f"cannot go from one to the other: {_WAY.format(behind)}"


class Laned(Struct, frozen=True, kw_only=True):
    """What has a key `lane`, and is asked for the one or the two that it names."""

    if TYPE_CHECKING:
        lane: LaneChoice = "sync"

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes in the order in which a request tries them."""
        return self.lane if isinstance(self.lane, tuple) else (self.lane,)

    @property
    def first_lane(self) -> Lane:
        """The lane in which every row begins."""
        return self.lanes[0]

    @property
    def lane_text(self) -> str:
        """The lanes as `--lane` takes them: `bulk,sync`."""
        return ",".join(self.lanes)


LaneChoice = Annotated[
    Lane | tuple[Lane, Lane],
    Meta(
        description='"sync", "stream", "task" or "bulk", or bulk and what takes over from it: ["bulk", "sync"]',
        extra={"read": read_lanes},
    ),
]
