"""Arguments of a tool call: the JSON text of a model becomes keyword arguments, or an error that the model can repair.

Owns strictness: "2" is no integer unless the job coerces, unknown and missing names are refused at any depth, integers
of any size stay exact, and one given for a `float` parameter too (`ExactFloat`). It runs no tool.

Models are known to send text that is cut, fenced, single-quoted, or no object at all (OpenAI API reference: "the
model does not always generate valid JSON"); all of that ends as `ArgumentFault`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from batch.core.errors import BatchError
from batch.tools.kinds import MOST_FAULTS, Check, parse
from batch.tools.schema import Parameter

_JSON_NAMES: Final[dict[type, str]] = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
WHOLE: Final = "the arguments"
"""The place in `CheckedArguments.coerced` of the text itself: an object in a code fence, or written as a text."""


class ArgumentFault(BatchError):
    """The arguments do not fit the function; the message is for the model, which has to repair them."""


class CheckedArguments(msgspec.Struct, frozen=True):
    """What a model sent, found to fit a tool."""

    values: dict[str, Any]
    """Plain JSON by parameter, with exact integers: it can be sent to another process. Left-out ones are absent."""
    coerced: tuple[str, ...] = ()
    """Where a value of the wrong type was taken for what it can only mean, as `items[0].count`; empty: nowhere."""


def check_arguments(parameters: Sequence[Parameter], text: str, *, coerce: bool = False) -> CheckedArguments:
    """Check a model's arguments against a tool's parameters; this makes no object of the author's classes.

    Args:
        parameters: the tool's parameters.
        text: the `arguments` text as the model sent it; empty means no arguments.
        coerce: accept values of a wrong type that can only mean one thing: "2" for an integer, "true" for a bool.

    Returns:
        The arguments as plain JSON, and where they were coerced.

    Raises:
        ArgumentFault: the text is not one JSON object with exactly the right names and types; it names all faults.
    """
    check = Check(coerce=coerce)
    given = _parse_object(text, check)
    by_name = {parameter.name: parameter for parameter in parameters}
    unknown = [name for name in given if name not in by_name]
    faults = [f"unknown parameter {name!r}" for name in unknown[:MOST_FAULTS]]
    check.untold += max(0, len(unknown) - MOST_FAULTS)
    faults += [f"missing parameter {p.name!r}" for p in parameters if p.required and p.name not in given]
    if faults:
        faults.append(f"the parameters are: {', '.join(by_name)}" if by_name else "there are no parameters")
    values: dict[str, Any] = {}
    for name, value in given.items():
        if parameter := by_name.get(name):
            try:
                values[name] = parameter.kind.check(value, name, check)
            except RecursionError:
                check.fault(name, "it is nested too deep")
    faults += check.faults
    if faults:
        more = [f"and {check.untold} more"] if check.untold else []
        raise ArgumentFault("; ".join(faults + more))
    return CheckedArguments(values, tuple(check.coerced))


def build_arguments(parameters: Sequence[Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Make what a tool takes of its checked arguments. This may run classes of the author: belongs where the tool runs.

    Raises:
        ArgumentFault: a class refused its values.
    """
    arguments: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.name in values:
            try:
                arguments[parameter.name] = parameter.kind.build(values[parameter.name])
            except Exception as error:  # a class of the author's may raise anything
                raise ArgumentFault(f"parameter {parameter.name!r}: {type(error).__name__}: {error}") from error
    return arguments


def read_arguments(parameters: Sequence[Parameter], text: str, *, coerce: bool = False) -> dict[str, Any]:
    """Check a model's arguments and make the keyword arguments of them, as `check_arguments` and `build_arguments` do.

    Args:
        parameters: the tool's parameters.
        text: the `arguments` text as the model sent it; empty means no arguments.
        coerce: accept values of a wrong type that can only mean one thing.

    Returns:
        The keyword arguments. Parameters that were left out and have a default are not among them.

    Raises:
        ArgumentFault: they do not fit; it names all faults.
    """
    return build_arguments(parameters, check_arguments(parameters, text, coerce=coerce).values)


def _parse_object(text: str, check: Check) -> dict[str, Any]:
    if not text or text.isspace():
        return {}
    if check.coerce and (fenced := _fenced(text)) is not None:
        check.coerced.append(WHOLE)
        text = fenced
    given = _parse(text)
    if check.coerce and isinstance(given, str) and given.lstrip().startswith("{"):
        check.coerced.append(WHOLE)
        given = _parse(given)
    if not isinstance(given, dict):
        name = _JSON_NAMES.get(type(given), "a number")
        raise ArgumentFault(f"expected a JSON object with the parameters by name, got {name}")
    return given


def _fenced(text: str) -> str | None:
    """What stands in a code fence; None of a text that is not wholly in one."""
    text = text.strip()
    first, _, inner = text.partition("\n")
    fenced = first.startswith("```") and first[3:].strip().isalnum() == bool(first[3:].strip())
    return inner.removesuffix("```") if fenced and inner.endswith("```") else None


def _parse(text: str) -> Any:
    try:
        return parse(text)
    except (ValueError, RecursionError) as error:  # UnicodeEncodeError of a lone surrogate is a ValueError too
        hint = "; send the bare object, without a code fence" if text.lstrip().startswith("`") else ""
        raise ArgumentFault(f"not a JSON object: {error}{hint}") from error
