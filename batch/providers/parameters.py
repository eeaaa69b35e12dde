"""Checks the parameters of a job against what its service takes, before anything is sent.

Owns the checks and their texts; ranges, sets and models are data of the service (`service.Field`). What is known to be
refused, or can never be right, is an error and stops a run before its first request. What is only undocumented, differs
between documents, or has no effect is a warning and goes out as it stands: services learn new words faster than
this table. Messages have rules of their own in `message_rules`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import msgspec

from batch.core.nearest import suggestion
from batch.core.records import Lane
from batch.job.faults import KeyPath, dotted, shown_value
from batch.providers.service import Field, Form, Model, Service, Taken

Level = Literal["error", "warning"]

PATH: Final[KeyPath] = ("model", "parameters")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CEILINGS: Final = ("max_tokens", "max_completion_tokens")
_TOOL_TYPES: Final = ("function", "retrieval", "web_search")
"""In the order in which they win, where a service has all of them."""
_NOTHING: Final = object()


class Finding(msgspec.Struct, frozen=True):
    """One thing about a job that is wrong, or that its author should know."""

    level: Level
    path: KeyPath
    text: str
    value: Any = _NOTHING

    def line(self) -> str:
        """The finding in one line for people: dotted path, value, what is wrong and the way out."""
        shown = "" if self.value is _NOTHING else f" = {shown_value(self.path, self.value)}"
        return f"{dotted(self.path)}{shown}: {self.text}"


def check(
    service: Service, model: str, parameters: Mapping[str, Any], *, tools: Collection[str] = (), lane: Lane = "sync"
) -> list[Finding]:
    """Check the parameters of a job.

    Args:
        service: who is asked.
        model: its model, as the job names it.
        parameters: of the job.
        tools: names of the functions the job runs itself.
        lane: how the requests travel.

    Returns:
        What is wrong or should be known, in the order of the parameters.
    """
    entries = [entry for entry in service.models if any(fnmatchcase(model.lower(), name) for name in entry.names)]
    fields = dict(service.fields)
    for entry in entries:
        fields |= entry.fields
    findings: list[Finding] = []
    for name, value in parameters.items():
        path = (*PATH, name)
        of_value = _value(fields[name], value, path, model) if name in fields else []
        if not of_value and name in service.never_send:
            reason = "which does not document it: take it out" if service.closed else "as the table says"
            of_value.append(Finding("warning", path, f"is never sent to {service.name}, {reason}", value))
        elif name not in fields:
            of_value += _unknown(service, fields, name, value)
        findings += of_value
    findings += _ceiling(entries, parameters, model)
    findings += _tools(service, parameters, tools)
    findings += _tool_choice(service, entries, parameters, tools, model)
    return findings + list(_together(service, parameters, lane))


def _unknown(service: Service, fields: Mapping[str, Field], name: str, value: Any) -> list[Finding]:
    hint = suggestion(name, fields, cutoff=0.7 if service.closed else 0.8)
    if not hint and not service.closed:
        return []
    way = f". {hint}" if hint else ""
    return [Finding("warning", (*PATH, name), f"is not known at {service.name} and is sent as it is{way}", value)]


def _value(field: Field, value: Any, path: KeyPath, model: str) -> list[Finding]:
    if field.refused is not None:
        return [Finding("error", path, field.refused, value)]
    way = f"; {field.way}" if field.way else ""
    if not _has_form(field, value):
        return [Finding("error", path, f"expected {_wanted(field)}{way}", value)]
    findings = []
    if not _fits(field, value):
        soft = field.soft
        text = f"{model} is documented to take {_wanted(field)}" if soft else f"expected {_wanted(field)}"
        findings.append(Finding("warning" if soft else "error", path, f"{text}{way}", value))
    elif field.narrower is not None:
        findings += _value(field.narrower, value, path, model)
    if field.note is not None:
        findings.append(Finding("warning", path, field.note, value))
    if isinstance(value, dict):
        for key, item in value.items():
            inner = field.keys.get(key, field.each)
            if inner is not None:
                findings += _value(inner, item, (*path, str(key)), model)
    elif isinstance(value, list) and field.each is not None:
        for index, item in enumerate(value):
            findings += _value(field.each, item, (*path, str(index)), model)
    return findings


def _has_form(field: Field, value: Any) -> bool:
    """Whether a value has the JSON form at all; true and false are no numbers."""
    match field.kind:
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "text":
            return isinstance(value, str)
        case "texts":
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case "stops":
            return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))
        case "object":
            return isinstance(value, dict)
        case "list":
            return isinstance(value, list)
        case "any":
            return True


def _fits(field: Field, value: Any) -> bool:
    if field.kind in ("number", "integer"):
        low, high = field.low, field.high
        above = low is None or (value > low if field.open_low else value >= low)
        return above and (high is None or (value < high if field.open_high else value <= high))
    if isinstance(value, str):
        if field.values and value not in field.values:
            return False
        if field.pattern is not None and not re.fullmatch(field.pattern, value):
            return False
        return field.kind == "stops" or (field.least <= len(value) and (field.most is None or len(value) <= field.most))
    if isinstance(value, (list, dict)) and field.most is not None:
        return len(value) <= field.most
    return True


def _wanted(field: Field) -> str:
    match field.kind:
        case "number" | "integer":
            if field.low is not None and field.low == field.high:
                return f"{field.low:g}"
            return ("a whole number" if field.kind == "integer" else "a number") + _range(field)
        case "boolean":
            return "true or false"
        case "text":
            if field.values:
                return " or ".join(f'"{value}"' for value in field.values)
            form = f" of the form {field.pattern}" if field.pattern else ""
            if field.most is not None:
                return f"a text{form}, {f'{field.least} to' if field.least else 'at most'} {field.most} characters"
            return f"a text{form}"
        case "stops":
            return "a text or a list of texts" + (f", at most {field.most}" if field.most else "")
        case "texts" | "list":
            what = (
                "a list of texts" if field.kind == "texts" or (field.each and field.each.kind == "text") else "a list"
            )
            return what + (f", at most {field.most}" if field.most else "")
        case "object":
            return "a table" + (f" with at most {field.most} entries" if field.most else "")
        case "any":
            return "something else"


def _range(field: Field) -> str:
    low, high = field.low, field.high
    if low is None or high is None:
        return f" {'above' if field.open_low else 'from'} {low:g} up" if low is not None else ""
    return f" {'above' if field.open_low else 'from'} {low:g} {'to below' if field.open_high else 'to'} {high:.15g}"


def _ceiling(entries: list[Model], parameters: Mapping[str, Any], model: str) -> list[Finding]:
    most = next((entry.output_max for entry in reversed(entries) if entry.output_max is not None), None)
    return [
        Finding("warning", (*PATH, name), f"{model} is documented to write at most {most:,} tokens", parameters[name])
        for name in _CEILINGS
        if most is not None and isinstance(value := parameters.get(name), int) and value > most
    ]


def _tools(service: Service, parameters: Mapping[str, Any], ours: Collection[str]) -> list[Finding]:
    """Findings about the job's own `tools` parameter: tools the service runs itself, and functions nobody runs."""
    given = parameters.get("tools")
    if not isinstance(given, list):
        return []
    path = (*PATH, "tools")
    findings: list[Finding] = []
    kinds = set()
    for index, tool in enumerate(given):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not isinstance(tool, dict) or not isinstance(kind, str):
            findings.append(Finding("error", (*path, str(index)), 'expected a table with a type, such as "function"'))
            continue
        kinds.add(kind)
        if kind == "function":
            findings += _function(tool, (*path, str(index), "function", "name"), ours)
    if "function" in kinds:
        text = "nothing runs these functions, calls of them stay in the column messages; what is to run is tools.module"
        findings.append(Finding("warning", path, text))
    if service.search_tools:
        wins = [kind for kind in _TOOL_TYPES if kind in kinds or (kind == "function" and ours)]
        if len(wins) > 1:
            text = f"only one kind of tool takes effect: {wins[0]} wins, {' and '.join(wins[1:])} will do nothing"
            findings.append(Finding("warning", path, text))
    return findings


def _function(tool: dict[str, Any], path: KeyPath, ours: Collection[str]) -> list[Finding]:
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        value = _NOTHING if name is None else name
        return [Finding("error", path, "expected a name of 1 to 64 letters, digits, - and _", value)]
    if name in ours:
        return [Finding("error", path, "is in tools.module, too: one of them must go", name)]
    return []


def _form(choice: Any) -> tuple[Form | None, str | None]:
    """How a tool_choice is written, and the function it names."""
    if choice in ("auto", "none", "required"):
        return choice, None
    if isinstance(choice, str):
        return "bare", choice
    if isinstance(choice, dict):
        function = choice.get("function")
        if choice.get("type") == "function" and isinstance(function, dict) and isinstance(function.get("name"), str):
            return "named", function["name"]
        if choice.get("type") == "allowed_tools":
            return "allowed_tools", None
        if isinstance(choice.get("name"), str):
            return "name_object", choice["name"]
    return None, None


_FORMS: Final[dict[Form, str]] = {
    "auto": '"auto"',
    "none": '"none"',
    "required": '"required"',
    "named": '{ type = "function", function = { name = "…" } }',
    "bare": "a bare name",
    "name_object": '{ name = "…" }',
    "allowed_tools": '{ type = "allowed_tools", … }',
}


def _tool_choice(
    service: Service, entries: list[Model], parameters: Mapping[str, Any], ours: Collection[str], model: str
) -> list[Finding]:
    if "tool_choice" not in parameters:
        return []
    path, choice = (*PATH, "tool_choice"), parameters["tool_choice"]
    form, name = _form(choice)
    forms: dict[Form, Taken] = dict(service.tool_choices)
    for entry in entries:
        forms |= entry.tool_choices
    if service.forcing_needs_no_thinking and form in ("required", "named") and _thinks(parameters):
        return [Finding("error", path, f"{service.name} forces no tool while the model thinks: set thinking", choice)]
    if form is None:
        return [Finding("error", path, f"expected {' or '.join(_FORMS[each] for each in forms)}", choice)]
    good = " or ".join(_FORMS[each] for each, taken in forms.items() if taken == "yes")
    if forms.get(form) == "no":
        return [Finding("error", path, f"{_FORMS[form]} is refused by {service.name} for {model}: use {good}", choice)]
    findings = []
    if form not in forms:
        text = f"{_FORMS[form]} is not documented for {service.name}, which may ignore it; documented: {good}"
        findings.append(Finding("warning", path, text, choice))
    offered = {*ours, *_names(parameters.get("tools"))}
    if name is not None and name not in offered:
        all_of_them = f"There are: {', '.join(sorted(offered))}" if offered else "There is none"
        way = suggestion(name, sorted(offered), all_of_them)
        findings.append(Finding("error", path, f"no tool of the job is called {name}. {way}", choice))
    elif form != "none" and not ours and not parameters.get("tools"):
        findings.append(Finding("warning", path, "says how to use tools, and the job has none: take it out", choice))
    return findings


def _names(tools: Any) -> Iterator[str]:
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            yield function["name"]


def _thinks(parameters: Mapping[str, Any]) -> bool:
    thinking = parameters.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") == "enabled"


def _together(service: Service, parameters: Mapping[str, Any], lane: Lane) -> Iterator[Finding]:
    """Findings about parameters that are right by themselves, but do not go with another one or with the lane."""
    if parameters.get("do_sample") is False:
        for name in ("temperature", "top_p"):
            if name in parameters:
                yield Finding("warning", (*PATH, name), "is ignored with do_sample = false", parameters[name])
    if "top_logprobs" in parameters and parameters.get("logprobs") is not True and "logprobs" in service.fields:
        yield Finding("warning", (*PATH, "top_logprobs"), "needs logprobs = true", parameters["top_logprobs"])
    if lane != "stream":
        if parameters.get("enable_thinking") is True and service.closed:
            text = "some models think only while they stream, and refuse this on other lanes"
            yield Finding("warning", (*PATH, "enable_thinking"), text, True)
        if parameters.get("tool_stream") is True:
            yield Finding("warning", (*PATH, "tool_stream"), f"has no effect on the lane {lane}", True)
