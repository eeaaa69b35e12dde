"""How many tokens `promptmill check` says the first request of a row is, as the estimate of a job counts them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from batch.cli.text import count
from batch.core.records import RowRequest
from batch.plan.sizes import Sizer
from batch.tokens.calibration import Calibration
from batch.tokens.model import TokenModel

if TYPE_CHECKING:
    from batch.plan.preflight import CheckedJob
    from batch.report.scan import Sample


class Sizes:
    """The sizes of rows of one job, by what earlier runs taught of its models.

    Args:
        checked: the job.
    """

    def __init__(self, checked: CheckedJob) -> None:
        self._checked = checked
        self._sizer = Sizer(checked)
        self._kept = Calibration.load(checked.state)
        self._models: dict[str, TokenModel] = {}

    def text(self, sample: Sample) -> str:
        """What is likely, the ends, and what they rest on; empty for a row that cannot be asked."""
        variant = self._checked.variants.named(sample.variants[0]) if sample.variants else None
        if variant is None or not sample.messages:
            return ""
        model = self._model(variant.model)
        found = model.of(self._sizer.row(RowRequest(sample.messages, variant.model)).first)
        answers = round(model.answers)
        basis = f"as {count(answers, 'answer')} of earlier runs taught" if answers else "by the model's tokenizer"
        ends = f"{math.floor(found.least):,} to {math.ceil(found.most):,}"
        return f"about {round(found.likely):,} prompt tokens ({ends}, {basis})"

    def _model(self, name: str) -> TokenModel:
        if name not in self._models:
            notes = self._kept.of(self._sizer.name(name))
            self._models[name] = TokenModel(None if notes is None else notes.learned)
        return self._models[name]
