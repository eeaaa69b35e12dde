"""The batches of an output folder that are on their way, as `status` tells of them. Owns what is told of each."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from batch.core.clock import MICROSECONDS, iso
from batch.ledger.waves import BUILT, CREATED, UPLOADED, WaveRow, WavesReader

BEFORE: Final = {BUILT: "to be uploaded", UPLOADED: "to be created"}


class BatchRow(msgspec.Struct, frozen=True):
    """One file of requests that is not collected."""

    wave: int
    batch_id: str | None
    """None as long as the provider was not asked for it."""
    model: str
    state: str
    """What the provider said of it last, or what is to be done with it."""
    lines: int
    done: int | None
    """How many of them the provider had done then."""
    age_s: float
    """Seconds since its file was made."""
    expires_at: str | None
    """When the provider gives it up at the latest."""

    @property
    def text(self) -> str:
        """Where its rows wait, for people."""
        if self.batch_id is None:
            return f"a batch file, {self.state}"
        return f"batch {self.batch_id}, {self.state.replace('_', ' ')}"


def batches_of(ledger: Path) -> tuple[BatchRow, ...]:
    """The batches that a ledger knows, in the order in which they were made.

    Raises:
        StorageError: it cannot be read.
    """
    with WavesReader(ledger) as reader:
        waves = reader.waves()
    return rows_of(waves)


def rows_of(waves: Iterable[WaveRow]) -> tuple[BatchRow, ...]:
    """What is told of these waves."""
    now_us = time.time_ns() // 1000
    rows = []
    for wave in waves:
        told = wave.told if wave.state == CREATED else None
        counted = told is not None and told.completed is not None
        rows.append(
            BatchRow(
                wave=wave.wave,
                batch_id=wave.batch_id,
                model=wave.model,
                state=BEFORE.get(wave.state) or (told.status if told is not None else "created"),
                lines=wave.lines,
                done=(told.completed or 0) + (told.failed or 0) if told is not None and counted else None,
                age_s=round(max(0, now_us - wave.made_at_us) / MICROSECONDS, 1),
                expires_at=None if told is None or told.expires_s is None else iso(int(told.expires_s * MICROSECONDS)),
            )
        )
    return tuple(rows)
