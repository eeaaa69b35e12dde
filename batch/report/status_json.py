"""Where an output folder stands, as one object that JSON has, for programs and pages.

Owns its form: times as text, costs as exact decimal text. It finds nothing out: `status` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from batch.core import places
from batch.core.clock import iso
from batch.report.status import Status


def public(current: Status) -> dict[str, Any]:
    """The status under the names that `promptmill status --json` has."""
    shown: dict[str, Any] = msgspec.to_builtins(current, enc_hook=_text)
    for name in ("started_at", "ended_at"):
        us = shown.pop(f"{name}_us")
        shown[name] = None if us is None else iso(us)
    shown["totals"] = current.totals.public()
    return shown


def _text(value: Any) -> str:
    return places.text(value) if isinstance(value, Path) else str(value)
