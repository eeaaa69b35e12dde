"""Arguments of a tool call: the JSON text of a model becomes keyword arguments, or an error that the model can repair.

Owns strictness: "2" is no integer, unknown and missing names are refused, integers of any size stay exact, and an
integer given for a `float` parameter stays an `int` (as a float, 53195444847186410 would become …408). It runs
nothing.

Models are known to send text that is cut, fenced, single-quoted, or no object at all (OpenAI API reference: "the
model does not always generate valid JSON"); all of that ends as `ArgumentFault`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from batch.core.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch.tools.schema import Parameter

_JSON_NAMES: Final[dict[type, str]] = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}
_decode: Final = msgspec.json.Decoder().decode


class ArgumentFault(BatchError):
    """The arguments do not fit the function; the message is for the model, which has to repair them."""


def read_arguments(parameters: Sequence[Parameter], text: str) -> dict[str, Any]:
    """Check a model's arguments against a tool's parameters.

    Args:
        parameters: the tool's parameters.
        text: the `arguments` text as the model sent it; empty means no arguments.

    Returns:
        The keyword arguments. Parameters that were left out and have a default are not among them.

    Raises:
        ArgumentFault: the text is not one JSON object with exactly the right names and types; it names all faults.
    """
    given = _parse_object(text)
    by_name = {parameter.name: parameter for parameter in parameters}
    faults = [f"unknown parameter {name!r}" for name in given if name not in by_name]
    faults += [f"missing parameter {p.name!r}" for p in parameters if p.required and p.name not in given]
    if faults:
        faults.append(f"the parameters are: {', '.join(by_name)}" if by_name else "there are no parameters")
    arguments: dict[str, Any] = {}
    for name, value in given.items():
        if parameter := by_name.get(name):
            try:
                arguments[name] = _convert(parameter, value)
            except (ValueError, OverflowError, RecursionError) as error:
                faults.append(f"parameter {name!r}: {error}")
    if faults:
        raise ArgumentFault("; ".join(faults))
    return arguments


def _parse_object(text: str) -> dict[str, Any]:
    if not text or text.isspace():
        return {}
    try:
        given = _decode(text)
    except (ValueError, RecursionError) as error:  # UnicodeEncodeError of a lone surrogate is a ValueError too
        hint = "; send the bare object, without a code fence" if text.lstrip().startswith("`") else ""
        raise ArgumentFault(f"not a JSON object: {error}{hint}") from error
    if not isinstance(given, dict):
        raise ArgumentFault(f"expected a JSON object with the parameters by name, got {_JSON_NAMES[type(given)]}")
    return given


def _convert(parameter: Parameter, value: Any) -> Any:
    if parameter.hint is float and type(value) is int:
        return value  # before msgspec could refuse one that is too large for a float
    converted = msgspec.convert(value, parameter.hint, strict=True)
    return _keep_integers(value, converted) if parameter.has_floats else converted


def _keep_integers(given: Any, converted: Any) -> Any:
    """The converted value, with every integer that became a float put back as it was given."""
    if type(given) is int and isinstance(converted, float):
        return given
    if isinstance(given, list) and isinstance(converted, list):
        return [_keep_integers(a, b) for a, b in zip(given, converted, strict=True)]
    if isinstance(given, dict) and isinstance(converted, dict):
        return {key: _keep_integers(given[key], value) if key in given else value for key, value in converted.items()}
    if isinstance(given, dict | list):
        # A class of the author's own asks for a float itself, so that stays one; but nothing may be rounded silently.
        _refuse_rounding(given, msgspec.to_builtins(converted))
    return converted


def _refuse_rounding(given: Any, plain: Any) -> None:
    if type(given) is int and isinstance(plain, float):
        if given != plain:  # Python compares int and float exactly
            raise ValueError(f"the integer {given} does not fit a float exactly")
    elif isinstance(given, dict) and isinstance(plain, dict):
        for key, value in given.items():
            if key in plain:
                _refuse_rounding(value, plain[key])
    elif isinstance(given, list) and isinstance(plain, list):
        for value, other in zip(given, plain, strict=False):
            _refuse_rounding(value, other)
