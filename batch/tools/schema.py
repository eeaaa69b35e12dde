"""The schema of a tool: what the model sees of a function's signature and docstring.

Owns the reading of a signature and the check that it can be offered at all. It does not know what a hint means
(`hints`), how tools are found (`registry`), nor how a model's arguments are read (`arguments`).

The form is the `tools` entry of the OpenAI and BigModel API references: `{"type": "function", "function": {"name",
"description", "parameters"}}`. Schemas hold no `$ref`: several OpenAI-compatible servers refuse them.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from batch.tools.docstrings import read_docstring
from batch.tools.hints import HintFault, kind_of, show
from batch.tools.kinds import AnyKind, Check, Kind, as_json
from batch.tools.shapes import Described


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a tool, against which an argument is checked."""

    name: str
    kind: Kind
    required: bool
    hinted: bool = True
    """Whether it has a type hint; without one the model may send any JSON."""


class Signature(msgspec.Struct, frozen=True):
    """The parameters of one function in declared order, and the schema that describes them."""

    parameters: tuple[Parameter, ...]
    schema: dict[str, Any]


def read_signature(function: Callable[..., Any], *, name: str, description: str | None) -> Signature | list[str]:
    """Describe one function as the model sees it.

    Args:
        function: a plain or async function.
        name: the name that the model sees.
        description: the text that the model sees; None takes it from the docstring.

    Returns:
        The signature, or all faults in it, one line for each: `parameter 'x': …`.
    """
    texts = read_docstring(function.__doc__)
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # noqa: BLE001  evaluating a hint runs the author's code, which may raise anything
        return [f"type hints cannot be read ({type(error).__name__}: {error}); import or define what they name"]
    parameters: list[Parameter] = []
    properties: dict[str, Any] = {}
    faults: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        try:
            read, schema = _read_parameter(parameter, hints, texts.parameters.get(parameter.name))
        except HintFault as fault:
            faults.append(f"parameter {parameter.name!r}: {fault}")
            continue
        parameters.append(read)
        properties[parameter.name] = schema
    if faults:
        return faults
    text = description or texts.summary or name.replace("_", " ")  # the BigModel API reference asks for one
    return Signature(tuple(parameters), _function_schema(name, text, properties, parameters))


def _function_schema(
    name: str, description: str, properties: dict[str, Any], parameters: list[Parameter]
) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": properties,
                "required": [parameter.name for parameter in parameters if parameter.required],
                "additionalProperties": False,
            },
        },
    }


def _read_parameter(
    parameter: inspect.Parameter, hints: dict[str, Any], text: str | None
) -> tuple[Parameter, dict[str, Any]]:
    if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
        raise HintFault("a model cannot fill *args or **kwargs; name each parameter, or take one list or dict")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise HintFault("tools are called by keyword; remove the `/` from the signature")
    hinted = parameter.name in hints
    kind = kind_of(hints[parameter.name]) if hinted else AnyKind()
    schema = kind.schema()
    if text is not None and not (isinstance(kind, Described) and kind.has_description):
        schema["description"] = text  # what is said of this parameter, not of every value of its type
    required = parameter.default is parameter.empty
    if not required and hinted:
        schema["default"] = _json_default(parameter.default, kind, hints[parameter.name])
    elif not required:
        with suppress(HintFault):  # a mark of the function's own for "not given", which is nobody else's matter
            schema["default"] = _json_default(parameter.default, kind, Any)
    return Parameter(parameter.name, kind, required, hinted), schema


def _json_default(default: Any, kind: Kind, hint: Any) -> Any:
    """The default of a parameter as JSON; it must be a valid argument itself, or the schema would be wrong."""
    try:
        plain = as_json(default)
    except (TypeError, ValueError, RecursionError, NotImplementedError) as error:
        raise HintFault(f"the default {default!r} has no JSON form; use None for 'not given'") from error
    check = Check(coerce=False)
    kind.check(plain, "default", check)
    if not check.faults:
        return plain
    if isinstance(plain, float) and plain - plain != 0:
        raise HintFault(f"the default {default!r} has no JSON form; use None for 'not given'")
    way_out = f"`{show(hint)} | None = None`" if default is None else "a default that fits"
    raise HintFault(f"the default {default!r} does not fit the hint {show(hint)}; write {way_out}")
