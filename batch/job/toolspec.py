"""The section `[tools]`: the functions that the model may call, and how far they may go.

Owns what the section may hold. What each key means is in `keys`; what rules hold between them, in `checks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from batch.job.fieldtypes import size

if TYPE_CHECKING:
    AnyPath = Any  # a text will do where a job is built in code; what is read from a job is a `Path`
else:
    AnyPath = Path

_FIRST: Final = ("module", "max_turns")
"""The keys that there always were."""


class ToolSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The functions that the model may call."""

    module: Annotated[
        AnyPath | None, Meta(description='a Python file with @tool functions, for example "tools.py"')
    ] = None
    max_turns: Annotated[int, Meta(ge=1, le=1_000, description="a whole number from 1 to 1000")] = 8
    coerce: Annotated[bool, Meta(description="true or false")] = False
    allow: Annotated[
        tuple[Annotated[str, Meta(min_length=1, description="text that is not empty")], ...] | None,
        Meta(description='a list of names of tools: ["add"]'),
    ] = None
    calls_per_row: Annotated[int, Meta(ge=1, le=100_000, description="a whole number from 1 to 100000")] = 50
    policy: Annotated[Literal["fail", "ask_model", "rerun"], Meta(description='"fail", "ask_model" or "rerun"')] = (
        "fail"
    )
    shipped: Annotated[
        tuple[Literal["read_file", "write_file", "memory_info"], ...],
        Meta(description='a list of "read_file", "write_file", "memory_info"'),
    ] = ()
    folder: Annotated[AnyPath, Meta(description='a folder, for example "files"')] = Path("files")
    timeout_s: Annotated[float, Meta(gt=0, le=31_536_000, description="seconds, more than 0, for example 10")] = 60.0
    memory: Annotated[
        int,
        Meta(
            ge=50_000_000,
            le=1 << 50,
            description='bytes, or a size such as "1GB" (at least "50MB")',
            extra={"read": size},
        ),
    ] = 2_000_000_000
    environment: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")], ...],
        Meta(description='a list of NAMES of environment variables, for example ["DATABASE_URL"]'),
    ] = ()


def usual_keys(tools: ToolSpec, *, folder: Path) -> list[str]:
    """The keys that there were not always and that say what is usual: a job without them is what it was.

    Args:
        tools: with paths that are absolute.
        folder: what the usual `folder` is as such a path.
    """
    usual = msgspec.structs.replace(ToolSpec(), folder=folder)
    later = [name for name in ToolSpec.__struct_fields__ if name not in _FIRST]
    same = [name for name in later if getattr(tools, name) == getattr(usual, name)]
    return same if tools.shipped or "folder" in same else [*same, "folder"]  # without those tools nobody works in it
