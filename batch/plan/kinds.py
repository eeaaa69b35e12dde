"""Why a row needs work, held against what the index has of it.

Owns the order of the reasons, and which samples of a row are there already. Which rows a command asks is the planner's
matter.
"""

from __future__ import annotations

from typing import Literal

from batch.job.labelspec import LabelSpec
from batch.job.options import Kind
from batch.labels.samples import NO_SAMPLES, Sampling, short_of_samples
from batch.labels.tries import more_allowed
from batch.ledger.reader import Entry

Needs = Literal["asked", "taken", "refreshed", "learned", "nothing"]
"""What a row needs: an answer; the one that stands under the name of a former variant; its columns written as they are
now; the index to learn what they are; nothing."""


def kind_of(entry: Entry | None, fingerprint: bytes, labels: LabelSpec | None = None) -> Kind | None:
    """Why a row needs work; None when its question is answered.

    Args:
        entry: what the index has of it.
        fingerprint: of what it asks now.
        labels: what the job asks of its labels, which may be more than the row got.
    """
    kind = _by_outcome(entry, fingerprint)
    if kind not in (None, "permanent") or labels is None or entry is None or entry.labelling is None:
        return kind
    if short_of_samples(entry.labelling, labels.samples) and (kind is None or entry.labelling.invalid):
        return "short"
    more = more_allowed(entry.labelling, reasks=labels.reasks, escalate=labels.escalate)
    return "failed" if more else kind


def samples_had(entry: Entry | None, fingerprint: bytes, labels: LabelSpec | None) -> Sampling:
    """The samples of a row that were asked for before, which are not asked for again; see `kind_of`."""
    if labels is None or labels.samples == 1 or entry is None or entry.fingerprint != fingerprint:
        return NO_SAMPLES
    return Sampling.of(entry.labelling, samples=labels.samples)


def _by_outcome(entry: Entry | None, fingerprint: bytes) -> Kind | None:
    if entry is None or entry.status is None:
        return "new"
    if entry.fingerprint != fingerprint:
        return "changed"
    return {1: "permanent", 2: "failed"}.get(entry.status)  # type: ignore[return-value]  # of the Literal, to mypy str
