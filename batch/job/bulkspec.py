"""The section `[bulk]` of a job: how requests are gathered into batch files. Owns the shape of that section."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from batch.core.moments import Moment
from batch.job.fieldtypes import duration, moment


class BulkSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How requests are gathered into batch files, in lane `bulk`."""

    wave_wait_s: Annotated[float, Meta(gt=0, le=86_400, description="seconds, more than 0, for example 60")] = 60.0
    """For how long a file that is not full waits for more requests."""
    deadline: Annotated[
        Annotated[float, Meta(gt=0, le=31_536_000)] | None,
        Meta(description='a duration such as "6h", "90min" or "1h 30min", or seconds', extra={"read": duration}),
    ] = None
    """How old a batch may become before what it has not done leaves it; None for as long as the provider takes."""
    by: Annotated[
        Moment | None,
        Meta(
            description='a time and its zone, for example "08:00 Asia/Shanghai", or "2026-12-01 08:00 Asia/Shanghai"',
            extra={"read": moment},
        ),
    ] = None
    """In lane `auto`: when all rows are to be done."""
    lines: Annotated[int, Meta(ge=1, le=50_000, description="a whole number of lines from 1 to 50000")] = 50_000
    """The most requests of a file."""
