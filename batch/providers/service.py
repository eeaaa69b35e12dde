"""A service as data: its address, keys, error codes, what it is sent, and which parameters it takes.

Owns the shape of that data and no value of it: those stand in one thin file for each service, in `services/` (OpenAI's
own in `openai`), written from its documentation. A `Service` tells the two dialects how to write and read, and
`parameters` checks a job against it. Services change faster than releases: what is only
undocumented, or differs between documents, is data that leads to a warning; an error is what is known to be refused.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final, Literal

import msgspec

from batch.providers.refusal import Codes

Kind = Literal["number", "integer", "boolean", "text", "texts", "stops", "object", "list", "any"]
"""The JSON form of a parameter; `texts` is a list of texts, `stops` a text or such a list."""

Form = Literal["auto", "none", "required", "named", "bare", "name_object", "allowed_tools"]
"""How a tool_choice is written: a word, `{"type": "function", …}`, `"f"`, `{"name": "f"}`, a set of tools."""

Taken = Literal["yes", "unsure", "no"]
Json = Literal["schema", "object", "none"]
"""What a service can hold its model to: a JSON schema, some JSON object, or nothing."""


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One request parameter. A value that does not fit is an error, or a warning where `soft`."""

    kind: Kind
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    """The low end itself is not taken."""
    open_high: bool = False
    soft: bool = False
    """Of range, set and length: documents or models differ, or the service adds to them."""
    narrower: Field | None = None
    """What these models are documented to take of it; usually soft, and looked at when all else fits."""
    most: int | None = None
    """Characters of a text, items of a list, pairs of an object."""
    least: int = 0
    """Characters of a text."""
    values: tuple[str, ...] = ()
    pattern: str | None = None
    keys: dict[str, Field] = {}
    """Members of an object that are checked; others pass."""
    each: Field | None = None
    """What every value of an object, or item of a list, must be."""
    way: str | None = None
    """The way out, said with every fault."""
    note: str | None = None
    """Said as a warning whenever it is set."""
    refused: str | None = None
    """Why it must not be set at all, and the way out."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """How some models of a service differ from the others."""

    names: tuple[str, ...]
    """Names in lower case, or glob patterns."""
    output_max: int | None = None
    """The largest max_tokens."""
    json: Json | None = None
    """How they can be held to JSON, where that differs from the service."""
    logprobs: bool | None = None
    """Whether they tell the probabilities of tokens, where that differs from the service."""
    fields: dict[str, Field] = {}
    tool_choices: dict[Form, Taken] = {}
    images_max: int | None = None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One service, or one server that speaks like one."""

    name: str
    speaks: Literal["glm", "openai"]
    base_url: str | None
    """None: there is no usual address, the job must name one."""
    keys: tuple[str, ...] = ()
    """Environment variables that may hold the key, first one set wins."""
    base_variable: str | None = None
    header_variables: dict[str, str] = {}
    """Environment variables that are sent with each request, and the header of each."""
    built_in_key: str | None = None
    """Used when no variable is set; None refuses to start, `""` sends none."""
    language: str | None = None
    """Value of `Accept-Language`."""
    billing_zone: str = "UTC"
    """The time zone whose days and months its bill has."""
    codes: Codes = {}
    """Error codes and types → what went wrong and what it asks for."""
    call_id_header: str | None = None
    """Where our own id of a call travels; GLM has a place for it in the body."""
    batch_endpoint: str | None = None
    """The endpoint that lines of its batch files name; None where it takes no such files."""
    never_send: frozenset[str] = frozenset()
    """Members of a body that are left out, whatever the job says; `check` says so."""
    nulls: bool = False
    """Whether a null goes out as it is; else the parameter is left out."""
    counts: Literal["asked", "used"] = "asked"
    """What a token limit counts: max(max_tokens, prompt) when it is sent, or what was used in the end."""
    replays_reasoning: bool = False
    """Whether the reasoning of a turn is sent back with it; some refuse the next turn of a tool loop without."""
    finish_reasons: dict[str, str] = {}
    """Its own words, in small letters, for how an answer ended, and what they mean; see `prompts.finish_reasons`."""
    partial_header: str | None = None
    """Says `true` when the service gave up waiting for its model and answers with what it has: a truncated answer."""
    wants_question: bool = False
    """Refuses a conversation of system and assistant messages only, with BigModel's code 1214."""
    search_tools: bool = False
    """Has tools of its own (retrieval, web_search), of which one kind takes effect: function > retrieval > search."""
    forcing_needs_no_thinking: bool = False
    """Refuses a forced tool while the model thinks."""
    json_word: bool = False
    """Wants the word JSON in the messages before it answers in JSON mode."""
    json: Json = "none"
    """What its `response_format` can hold an answer to; see `json_of` for one model."""
    logprobs: bool = False
    """Whether it tells the probability of each token, in OpenAI's form; see `tells_chances` for one model."""
    schema_shown: bool = False
    """Whether the model is shown the schema that it is held to, so that the messages need not say it."""
    closed: bool = True
    """Whether all its parameters are known here; if not, only what looks like a typing mistake is pointed out."""
    fields: dict[str, Field] = {}
    tool_choices: dict[Form, Taken] = {}
    models: tuple[Model, ...] = ()
    """Every entry that fits a model counts, the later over the earlier."""

    def json_of(self, model: str) -> Json:
        """What answers of one model can be held to."""
        found = self.json
        for entry in self.models:
            if entry.json is not None and any(fnmatchcase(model.lower(), name) for name in entry.names):
                found = entry.json
        return found

    def tells_chances(self, model: str) -> bool:
        """Whether the probabilities of the tokens of one model can be had."""
        found = self.logprobs
        for entry in self.models:
            if entry.logprobs is not None and any(fnmatchcase(model.lower(), name) for name in entry.names):
                found = entry.logprobs
        return found


YES_OR_NO: Final = Field(kind="boolean")
TEXT: Final = Field(kind="text")
OBJECT: Final = Field(kind="object")
LIST: Final = Field(kind="list")
WHOLE: Final = Field(kind="integer")

_ONE_ANSWER: Final = Field(
    kind="integer",
    low=1,
    high=1,
    way="a row has one answer and every one of n is billed: for several, put the row into the input as often",
)
_BY_LANE: Final = Field(
    kind="any", refused="is set by promptmill for the lane: take it out, and choose with model.lane"
)

OUR_FIELDS: Final[dict[str, Field]] = {
    "n": _ONE_ANSWER,
    "stream": _BY_LANE,
    "stream_options": _BY_LANE,
    "model": Field(kind="any", refused="is set by promptmill itself: use model.name"),
    "messages": Field(kind="any", refused="is set by promptmill itself: use the section [prompt]"),
    "request_id": Field(kind="any", refused="is set by promptmill itself, new for every call: take it out"),
}
"""Parameters that promptmill sets itself, at every service."""
