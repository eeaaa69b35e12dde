"""The schema of a tool: what the model sees of a function's signature and docstring.

Owns the mapping from Python type hints to JSON Schema, the reading of docstrings, and the check that a signature can be
offered at all. It does not know how tools are found (`registry`), nor how a model's arguments are read (`arguments`).

The form is the `tools` entry of the OpenAI and BigModel API references: `{"type": "function", "function": {"name",
"description", "parameters"}}`. Schemas hold no `$ref`: several OpenAI-compatible servers refuse them.
"""

from __future__ import annotations

import inspect
import math
import typing
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
from docstring_parser import Docstring, ParseError, google, numpydoc, rest
from msgspec import inspect as types

if TYPE_CHECKING:
    from collections.abc import Callable

SUPPORTED: Final = (
    "int, float, str, bool, None, list[T], dict[str, T], Literal, Enum, unions of these, TypedDict, dataclass or "
    "msgspec.Struct"
)
_SCALARS: Final = (
    types.IntType,
    types.FloatType,
    types.StrType,
    types.BoolType,
    types.NoneType,
    types.LiteralType,
    types.EnumType,
    types.AnyType,
)
_PLAIN_KEYS: Final = frozenset({"default", "enum", "const", "required", "examples"})
_DROPPED_KEYS: Final = frozenset({"title", "discriminator"})
_GOOGLE: Final = google.GoogleParser(
    [
        *google.DEFAULT_SECTIONS,
        *(
            google.Section(title, "keyword", google.SectionType.MULTIPLE)
            for title in ("Keyword Args", "Keyword Arguments")
        ),
        *(
            google.Section(title, "note", google.SectionType.SINGULAR)
            for title in ("Note", "Notes", "See also", "See Also")
        ),
    ]
)


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a tool, against which an argument is checked."""

    name: str
    hint: Any
    required: bool
    has_floats: bool
    """Whether a float occurs in the hint: integers given for it must stay integers."""


class Signature(msgspec.Struct, frozen=True):
    """The parameters of one function in declared order, and the schema that describes them."""

    parameters: tuple[Parameter, ...]
    schema: dict[str, Any]


class HintFault(ValueError):
    """A type hint that has no JSON form; the message says which part, and what to write instead."""


def read_signature(function: Callable[..., Any], *, name: str, description: str | None) -> Signature | list[str]:
    """Describe one function as the model sees it.

    Args:
        function: a plain or async function.
        name: the name that the model sees.
        description: the text that the model sees; None takes it from the docstring.

    Returns:
        The signature, or all faults in it, one line for each: `parameter 'x': …`.
    """
    summary, texts = read_docstring(function.__doc__)
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # noqa: BLE001  evaluating a hint runs the author's code, which may raise anything
        return [f"type hints cannot be read ({type(error).__name__}: {error}); import or define what they name"]
    parameters: list[Parameter] = []
    properties: dict[str, Any] = {}
    faults: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        try:
            read, schema = _read_parameter(parameter, hints)
        except HintFault as fault:
            faults.append(f"parameter {parameter.name!r}: {fault}")
            continue
        if parameter.name in texts:
            schema.setdefault("description", texts[parameter.name])
        parameters.append(read)
        properties[parameter.name] = schema
    if faults:
        return faults
    text = description or summary or name.replace("_", " ")  # the BigModel API reference asks for one
    return Signature(tuple(parameters), _function_schema(name, text, properties, parameters))


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """The text for the model and the text of each parameter, from a docstring in the Google, NumPy or Sphinx form.

    A docstring in no known form, or one that is not quite in its form, is all text for the model. Wrapped lines are
    joined; the paragraphs of the first text are kept.
    """
    forms: list[Docstring] = []
    for parse in (rest.parse, _GOOGLE.parse, numpydoc.parse):
        with suppress(ParseError):
            forms.append(parse(text or ""))
    if not forms:
        return _paragraphs(inspect.cleandoc(text or "")), {}
    form = max(forms, key=lambda candidate: len(candidate.meta))  # the form that recognises most of it
    texts = {
        param.arg_name: _one_line(param.description)
        for param in form.params
        if param.args[0] != "attribute" and param.description
    }
    return _paragraphs(form.description or ""), texts


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _paragraphs(text: str) -> str:
    """Wrapped lines become one; an empty line stays a paragraph break."""
    lines = "\n".join(line.strip() for line in text.splitlines())
    return "\n\n".join(map(_one_line, lines.split("\n\n"))).strip()


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


def _read_parameter(parameter: inspect.Parameter, hints: dict[str, Any]) -> tuple[Parameter, dict[str, Any]]:
    if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
        raise HintFault("a model cannot fill *args or **kwargs; name each parameter, or take one list or dict")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise HintFault("tools are called by keyword; remove the `/` from the signature")
    if parameter.name not in hints:
        raise HintFault(f"has no type hint; write one, for example `{parameter.name}: str`")
    hint = hints[parameter.name]
    schema, has_floats = schema_of(hint)
    required = parameter.default is parameter.empty
    if not required:
        schema["default"] = _json_default(parameter.default, hint)
    return Parameter(parameter.name, hint, required, has_floats), schema


def schema_of(hint: Any) -> tuple[dict[str, Any], bool]:
    """The JSON schema of one type hint, without references, and whether a float occurs in the hint.

    Raises:
        HintFault: the hint has no JSON form that we support.
    """
    try:
        info = types.type_info(hint)
        (schema,), components = msgspec.json.schema_components([hint], ref_template="{name}")
    except (TypeError, ValueError, NameError, RecursionError) as error:
        raise HintFault(f"the hint {_show(hint)} has no JSON form ({error}); use {SUPPORTED}") from error
    has_floats = _check(info, hint, ())
    inlined = _inline(schema, components)
    assert isinstance(inlined, dict)
    return inlined, has_floats


def _check(info: types.Type, hint: Any, inside: tuple[type, ...]) -> bool:
    """Refuse a hint with an unsupported part, at any depth; return whether a float occurs in it.

    Args:
        info: the hint, or a part of it, as msgspec sees it.
        hint: the whole hint, for the error.
        inside: the classes around this part.
    """
    match info:
        case types.Metadata(type=inner):
            return _check(inner, hint, inside)
        case types.UnionType(types=members):
            return True in {_check(member, hint, inside) for member in members}  # a set: every member is checked
        case types.ListType(item_type=item):
            return _check(item, hint, inside)
        case types.DictType(key_type=key, value_type=value):
            if not isinstance(key, types.StrType):
                raise HintFault(f"the hint {_show(hint)} has keys that are not str, as in JSON; use dict[str, T]")
            return _check(value, hint, inside)
        case types.StructType() | types.TypedDictType() | types.DataclassType():
            if info.cls in inside:
                raise HintFault(f"the hint {_show(hint)} contains itself, which needs a $ref; use a fixed depth")
            return True in {_check(field.type, hint, (*inside, info.cls)) for field in info.fields}
        case _ if isinstance(info, _SCALARS):
            return isinstance(info, types.FloatType)
        case _:
            kind = type(info).__name__.removesuffix("Type").lower()
            raise HintFault(f"the hint {_show(hint)} is not supported (it has a {kind}); use {SUPPORTED}")


def _inline(node: Any, components: dict[str, Any]) -> Any:
    """A copy of a schema without `$ref`, and without the class names that msgspec adds as titles."""
    if isinstance(node, list):
        return [_inline(item, components) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _inline({**components[node["$ref"]], **rest}, components)
    result: dict[str, Any] = {}
    if "enum" in node and (kind := _enum_type(node["enum"])):
        result["type"] = kind
    for key, value in node.items():
        if key == "properties":
            result[key] = {name: _inline(part, components) for name, part in value.items()}
        elif key not in _DROPPED_KEYS:
            result[key] = value if key in _PLAIN_KEYS else _inline(value, components)
    return result


def _enum_type(values: list[Any]) -> str | None:
    if all(isinstance(value, str) for value in values):
        return "string"
    return "integer" if all(type(value) is int for value in values) else None


def _json_default(default: Any, hint: Any) -> Any:
    """The default of a parameter as JSON; it must be a valid argument itself, or the schema would be wrong."""
    try:
        plain = msgspec.to_builtins(default)
        msgspec.convert(plain, hint, strict=True)
        if isinstance(plain, float) and not math.isfinite(plain):
            raise HintFault(f"the default {default!r} has no JSON form; use None for 'not given'")
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, HintFault):
            raise
        way_out = f"`{_show(hint)} | None = None`" if default is None else "a default that fits"
        raise HintFault(f"the default {default!r} does not fit the hint {_show(hint)}; write {way_out}") from error
    return plain


def _show(hint: Any) -> str:
    return inspect.formatannotation(hint)
