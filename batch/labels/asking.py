"""How a service is asked for a label: the best form it has, and the words that say what is wanted.

Owns the instruction, the `response_format`, and what a model is told of an answer that could not be used. What a
service can do is a fact of `batch.providers`. Nothing of this is in a row's fingerprint: the same label asked for in
another form, or in better words, is the same question.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

import msgspec

from batch.core.records import Message, Request
from batch.labels.schema import LABEL, LabelSchema

Form = Literal["schema", "object", "none"]
"""What a service can be held to: a JSON schema, some JSON object, or nothing but words."""

OWN: Final = "response_format"
"""The parameter of a request that says the form; a job that sets it itself is left alone."""


LOGPROBS: Final = "logprobs"
"""The parameter that asks for the probabilities of tokens, wherever a service has them."""


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """How the rows of one job are asked for their labels."""

    labels: LabelSchema
    forms: Mapping[str, Form] = {}
    """By model; one that is not here is asked in words."""
    shown: bool = False
    """Whether a model sees the schema that the service holds it to, so that no words are needed."""
    named: bool = False
    """Whether the job's own prompt names every label already."""
    own: bool = False
    """Whether the job says the form of answers itself, in its parameters."""
    confidence: bool = False
    """Whether the service is to tell the probability of each token."""

    def form(self, model: str) -> Form:
        """The form in which a model is asked."""
        return self.forms.get(model, "none")

    def asked(self, request: Request, *, late: bool = False) -> Request:
        """The request, with what asks for a label.

        Args:
            request: the next turn of a conversation, at whose end the label is wanted.
            late: whether earlier turns asked for something else; then the instruction stands at the end.
        """
        form = self.form(request.model)
        parameters = request.parameters
        if form != "none" and not self.own:
            parameters = {**parameters, OWN: self._response_format(form)}
        if self.confidence:
            parameters = {**parameters, LOGPROBS: True}
        messages = request.messages
        if text := self.instruction(form):
            messages = _at_the_end(messages, text) if late else _at_the_start(messages, text)
        return msgspec.structs.replace(request, messages=messages, parameters=parameters)

    def carried(self, model: str) -> str:
        """What is added to the messages of every request, for an estimate of its tokens."""
        form = self.form(model)
        added = self.instruction(form)
        return added + msgspec.json.encode(self.labels.schema).decode() if form == "schema" else added

    def instruction(self, form: Form) -> str:
        """What the model is told, in a form; empty when the service tells it."""
        return "" if form == "schema" and self.shown else self._words(form, in_full=not self.named)

    def again(self, why: str, *, model: str) -> str:
        """What the model is told when its answer could not be used.

        Args:
            why: what is wrong with the answer, without a full stop.
            model: which one.
        """
        form = self.form(model)
        told_before = bool(self.instruction(form)) or self.named
        return f"That answer cannot be used: {why}. {self._words(form, in_full=not told_before, again=True)}"

    def _words(self, form: Form, *, in_full: bool, again: bool = False) -> str:
        start = "Answer again with" if again else "Answer with"
        if not self.labels.names:
            schema = msgspec.json.encode(self.labels.schema).decode()
            fits = "the JSON schema given above." if again and not in_full else f"this JSON schema:\n{schema}"
            return f"{start} one JSON object and nothing else. It must fit {fits}"
        listed = "\n".join(f"- {name}" for name in self.labels.names)
        if form != "none":
            wanted = f'{start} a JSON object and nothing else. Its only member, "{LABEL}", is exactly one of'
            return f"{wanted} these labels:\n{listed}" if in_full else f"{wanted} the labels given above."
        if in_full:
            return f"{start} exactly one of these labels and nothing else:\n{listed}"
        return f"{start} exactly one of the labels given above, and nothing else."

    def _response_format(self, form: Form) -> dict[str, Any]:
        if form == "object":
            return {"type": "json_object"}
        return {"type": "json_schema", "json_schema": {"name": LABEL, "strict": True, "schema": self.labels.schema}}


def own_form(parameters: Mapping[str, Any]) -> Form | None:
    """The form of answers that a job asks for by itself; None when it says nothing of it."""
    if OWN not in parameters:
        return None
    given = parameters[OWN]
    kind = given.get("type") if isinstance(given, Mapping) else None
    return "object" if kind in ("json_object", "json_schema") else "none"


def unnamed(names: Collection[str], texts: Collection[str]) -> list[str]:
    """The names that stand in none of these texts."""
    return [name for name in names if not any(name in text for text in texts)]


def _at_the_start(messages: list[Message], text: str) -> list[Message]:
    """The messages with a text at the end of the first system message, or with such a message of its own."""
    if messages and messages[0].get("role") in ("system", "developer"):
        return [_with(messages[0], text), *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _at_the_end(messages: list[Message], text: str) -> list[Message]:
    last = max((place for place, message in enumerate(messages) if message.get("role") == "user"), default=None)
    if last is None:
        return [*messages, {"role": "user", "content": text}]
    return [*messages[:last], _with(messages[last], text), *messages[last + 1 :]]


def _with(message: Message, text: str) -> Message:
    """A message that says something more."""
    content = message.get("content")
    if isinstance(content, list):
        return {**message, "content": [*content, {"type": "text", "text": text}]}
    said = str(content or "").rstrip()
    return {**message, "content": f"{said}\n\n{text}" if said else text}
