"""OpenAI batch files: the row in a line `{"custom_id", "method", "url", "body": {"model", "messages", …}}`.

Owns what such a line may hold (OpenAI API reference, Batch, "the request input object") and the comparison with the
job. It reads no file. The members of `body` become columns beside `custom_id`, so that templates, the output and
`input.types` name them like any other; `method` and `url` are checked and left out.

A run asks one model with one set of parameters, those of the job. A line that wants others is not silently asked with
those of the job: it fails, and the message says what to set. Parameters that only the job has are added to each
request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from batch.core.canonical import canonical, dumps

KEY: Final = "custom_id"
MESSAGES: Final = "messages"
TYPES: Final = {KEY: "string", "model": "string", MESSAGES: "json"}
"""The columns that every batch file has, and their types."""

_ROUTE: Final = "/chat/completions"
_NOT_ASKED: Final = ("model", MESSAGES, "stream", "stream_options")
"""Members of a body that are no parameters; whether an answer is streamed is decided by the lane."""
_DEFAULTS: Final = {"n": 1}
"""Parameters that change nothing with these values."""

Refusal = tuple[str, str]
"""Code and reason of a row that cannot be asked."""


class BatchFile:
    """Reads the lines of batch files for one job.

    Args:
        model: the model that the job asks.
        parameters: the parameters of the job.
    """

    def __init__(self, model: str, parameters: Mapping[str, Any]) -> None:
        self._model = model
        self._parameters = parameters

    def unwrap(self, record: dict[str, Any]) -> tuple[dict[str, Any], Refusal | None]:
        """The row in the object of one line, and code and reason when it cannot be asked."""
        body = record.get("body")
        row = {key: value for key, value in record.items() if key not in ("method", "url", "body")}
        if type(body) is not dict:
            return row, (
                "unreadable",
                'no line of a batch file: it has no "body" object; rows by themselves are input.format = "rows"',
            )
        row.update(body)
        if KEY in record:
            row[KEY] = record[KEY]
        return row, self._route(record) or self._asked(body)

    @staticmethod
    def _route(record: dict[str, Any]) -> Refusal | None:
        method, url = record.get("method"), record.get("url")
        if method not in (None, "POST"):
            return "other_endpoint", f"method {_text(method)} is no chat request; POST is wanted"
        if url is not None and not (isinstance(url, str) and url.rstrip("/").endswith(_ROUTE)):
            return "other_endpoint", f"url {_text(url)} is no chat request; only /v1{_ROUTE} can be asked"
        return None

    def _asked(self, body: dict[str, Any]) -> Refusal | None:
        model = body.get("model")
        if model is not None and model != self._model:
            return "other_model", (
                f"body.model is {_text(model)}, the job asks {_text(self._model)}: set model.name, or change the "
                f"lines: jq -c '.body.model = {_text(self._model)}'"
            )
        others = [
            f"{name} = {_text(value)}"
            for name, value in body.items()
            if value is not None and name not in _NOT_ASKED and not self._agrees(name, value)
        ]
        if not others:
            return None
        return "other_parameters", (
            f"the body asks with {', '.join(others)}, the job does not: set it in model.parameters, or take it out of "
            "the lines"
        )

    def _agrees(self, name: str, value: Any) -> bool:
        given = self._parameters.get(name, _DEFAULTS.get(name))
        same = type(value) is type(given) and value == given
        return same or (given is not None and canonical([value]) == canonical([given]))


def _text(value: Any) -> str:
    text = dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
