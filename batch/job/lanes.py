"""The lanes of a job: how its requests travel, one way or two. Owns how `model.lane` is written and what it may say.

`auto` stands for bulk and sync: the run itself decides when a row goes by which, so that all are done by `[bulk] by`.

Two lanes stand for a way that is cheap and slow, and one for what is left over by it: a batch that expired, failed or
took too long. So the first of two is always `bulk`, and the second never.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args

from msgspec import Meta, Struct

from batch.core.records import LANES, Lane
from batch.job.fieldtypes import Misread

AUTO: Final = "auto"
TEXTS: Final[dict[str, str]] = {
    **{str(lane): text for lane, text in LANES.items()},
    AUTO: "Batch files at half the price, and lane sync for what they would not bring by the time that bulk.by names; "
    "each call has the lane that it was sent by.",
}
"""What `model.lane` may name, for people."""
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


def fault_of_by(lane: Any, bulk: Mapping[str, Any]) -> tuple[tuple[str, str], str] | None:
    """What is wrong between the lane and the time by which all is to be done: the key, and what to say of it.

    Args:
        lane: as the job has it; None where it is missing or wrong by itself.
        bulk: the fields of `[bulk]` that were given.
    """
    if lane == AUTO and "by" not in bulk:
        text = (
            'needs the time by which all rows are to be done: [bulk] by = "08:00 Asia/Shanghai", or on the command '
            """line --set 'bulk.by=08:00 Asia/Shanghai'. Without such a time there is ["bulk", "sync"]"""
        )
        return ("model", "lane"), text
    batches = lane == "bulk" or (isinstance(lane, tuple) and "bulk" in lane)
    if batches and bulk.get("by") is not None:
        text = (
            'is kept by lane "auto" alone, and this job has another that makes batches: give lane = "auto", or leave '
            "by out; deadline says how long each batch may take"
        )
        return ("bulk", "by"), text
    return None


class Laned(Struct, frozen=True, kw_only=True):
    """What has a key `lane`, and is asked for the one or the two that it names."""

    if TYPE_CHECKING:
        lane: LaneChoice = "sync"

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes in the order in which a request tries them."""
        if self.lane == "auto":
            return ("bulk", "sync")
        return self.lane if isinstance(self.lane, tuple) else (self.lane,)

    @property
    def decides(self) -> bool:
        """Whether the run decides by time which of its lanes a row takes."""
        return self.lane == AUTO

    @property
    def first_lane(self) -> Lane:
        """The lane in which every row begins."""
        return self.lanes[0]

    @property
    def lane_text(self) -> str:
        """The lanes as `--lane` takes them: `bulk,sync`, or `auto`."""
        return AUTO if self.decides else ",".join(self.lanes)


LaneChoice = Annotated[
    Lane | Literal["auto"] | tuple[Lane, Lane],
    Meta(
        description='"sync", "stream", "task" or "bulk", or "auto", or bulk and what takes over: ["bulk", "sync"]',
        extra={"read": read_lanes},
    ),
]
