"""Faults of batches. Owns what becomes of a batch that is struck; how it is carried out is in `batches/`.

Sources: OpenAI guide "Batch" (what is delivered of a batch that expires or is cancelled); BigModel guide "Batch";
reports of users on lines that were missing or came twice.
"""

from __future__ import annotations

from dataclasses import replace

from batch.simulator.faults.behaviour import BatchFate, Strike

FORMS = ("invalid", "expired", "cancelled", "missing", "repeated", "unknown", "errors_only", "broken")
GIVEN = (*FORMS, "late_file")
"""Those that a scenario may ask for: the last one comes only where it is asked for."""
_SHARE = 0.1


def odd_batch(strike: Strike, fate: BatchFate) -> BatchFate:
    """The batch fails its checks, ends part-way, or has files that come late, lack lines, or have odd ones."""
    form, share = strike.pick("form", FORMS), strike.option("share", _SHARE)
    if form == "invalid":
        return replace(fate, ends="failed", spoilt_share=share)
    if form in ("expired", "cancelled"):
        return replace(fate, ends=form, share=max(0.0, 1.0 - share))
    return replace(fate, spoilt=form, spoilt_share=share)
