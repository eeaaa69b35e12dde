"""How large the requests of a job are: what each sends besides its messages, and the counts of a row's requests.

Owns which texts of a job go into the estimate of a request's tokens: messages, the words that ask for a label, the
schemas of tools and of answers. What the counts are worth in tokens is `batch.tokens`' matter.
"""

from __future__ import annotations

from typing import Any

import msgspec

from batch.core.records import Request, RowRequest
from batch.plan.preflight import CheckedJob
from batch.tokens import measure
from batch.tokens.calibration import Shape, name_of
from batch.tokens.measure import Measure
from batch.tokens.model import plain_text


class RowSize(msgspec.Struct, frozen=True):
    """What the requests of one row are made of, as far as that is known before an answer."""

    first: Measure
    """Of its first call."""
    later: Measure = measure.NOTHING
    """Of the calls that follow whatever the answers are: for what the user says next. Answers are not in it."""
    calls: int = 1
    replays: int = 0
    """How many answers are sent again in later calls: each call has all those before it."""


class Sizer:
    """Measures the requests of one job.

    Args:
        checked: the job.
    """

    def __init__(self, checked: CheckedJob) -> None:
        self._checked = checked
        self._carried: dict[str, tuple[float, float]] = {}

    @property
    def shape(self) -> Shape:
        """What its answers are."""
        return "tools" if len(self._checked.tools) else "text" if self._checked.asking is None else "labels"

    def name(self, model: str) -> str:
        """The name under which what is learned of a model is kept."""
        endpoint = self._checked.endpoint
        return name_of(self._checked.job.model.provider, model, endpoint.base_url, endpoint.service.base_url)

    def carried(self, model: str) -> tuple[float, float]:
        """What goes with every request to a model besides its messages: of tool schemas, and of the answer's schema."""
        if model not in self._carried:
            parameters, asking = self._checked.job.model.parameters, self._checked.asking
            own = parameters.get("tools")
            tools = [*(own if isinstance(own, list) else ()), *self._checked.tools.schemas()]
            schema: Any = parameters.get("response_format")
            if asking is not None and schema is None and asking.form(model) == "schema":
                schema = asking.labels.schema
            held = schema if not isinstance(schema, dict) else schema.get("json_schema", schema)
            short = isinstance(held, dict) and set(held) <= {"type"}  # `json_object`: nothing that a model is shown
            self._carried[model] = (_plain(tools) if tools else 0.0, 0.0 if held is None or short else _plain(held))
        return self._carried[model]

    def of(self, request: Request) -> Measure:
        """What a request as it is sent is made of."""
        return measure.of_request(request.messages, self.carried(request.model))

    def row(self, request: RowRequest) -> RowSize:
        """What the requests of a row are made of."""
        asking, carried = self._checked.asking, self.carried(request.model)
        if not request.follow_ups:
            messages = request.messages
            if asking is not None:
                messages = asking.asked(Request(model=request.model, messages=messages)).messages
            return RowSize(measure.of_request(messages, carried))
        first = measure.of_request(request.messages, carried)
        calls = [first]
        for message in request.follow_ups:
            more = measure.of_request([message])
            calls.append(measure.total([calls[-1], (0.0, *more[1:])]))
        turns = len(request.follow_ups)
        return RowSize(first, measure.total(calls[1:]), 1 + turns, turns * (turns + 1) // 2)


def _plain(value: Any) -> float:
    return plain_text(measure.of_text(msgspec.json.encode(value).decode()))
