"""Pydantic models as hints, where the author of a tool has pydantic; it is neither needed nor imported here.

Owns the reading of a model's schema and the making of a model, with the strictness of the other kinds: unknown keys are
refused unless the model takes them, and no number is rounded.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import msgspec

from batch.tools.kinds import MISSING, AnyKind, Check, Kind, Misfit, json_name

_DROPPED: Final = frozenset({"title", "discriminator", "$defs"})
_DEPTH: Final = 50


class SchemaFault(ValueError):
    """A model whose schema cannot be written out without references."""


def is_model(cls: Any) -> bool:
    """Whether a class is a pydantic model; then whoever defined it has imported pydantic."""
    pydantic = sys.modules.get("pydantic")
    base = getattr(pydantic, "BaseModel", None)
    return isinstance(cls, type) and base is not None and issubclass(cls, base) and hasattr(cls, "model_json_schema")


class ModelKind(Kind):
    """A pydantic model.

    Args:
        cls: the class.

    Raises:
        SchemaFault: pydantic has no JSON schema of it, or it contains itself.
    """

    name = "object"
    takes = (dict,)

    def __init__(self, cls: Any) -> None:
        self.cls = cls
        try:
            made = cls.model_json_schema()
        except Exception as error:  # runs the author's class, which may raise anything
            raise SchemaFault(f"pydantic has no JSON schema of it ({error})") from error
        self._schema = _written_out(made, made.get("$defs", {}), _DEPTH)
        self.has_description = "description" in self._schema

    def schema(self) -> dict[str, Any]:
        return dict(self._schema)

    def check(self, value: Any, at: str, check: Check) -> Any:
        plain = AnyKind().accepts(value)
        if isinstance(plain, Misfit) or not isinstance(plain, dict):
            check.fault(at, plain.text if isinstance(plain, Misfit) else f"Expected `object`, got `{json_name(value)}`")
            return None
        unknown: list[tuple[str, str]] = []
        _look_for_unknown(plain, self._schema, at, unknown)
        wrong = self._wrong(plain, at, strict=True)
        if wrong and not unknown and check.coerce and not self._wrong(plain, at, strict=False):
            check.coerced.append(at)
            return plain
        for place, text in [*unknown, *wrong]:
            check.fault(place, text)
        return plain

    def build(self, plain: Any) -> Any:
        text = msgspec.json.encode(plain)
        try:
            return self.cls.model_validate_json(text, strict=True)
        except ValueError:
            return self.cls.model_validate_json(text, strict=False)

    def _wrong(self, plain: Any, at: str, *, strict: bool) -> list[tuple[str, str]]:
        """What pydantic says is wrong, as place and text."""
        try:
            made = self.cls.model_validate_json(msgspec.json.encode(plain), strict=strict)
            refuse_rounding(plain, made.model_dump(mode="json", by_alias=True))
        except Exception as error:  # noqa: BLE001  a validator of the author's may raise anything
            if not hasattr(error, "errors"):
                return [(at, str(error))]
            return [(at + _path(fault["loc"]), fault["msg"]) for fault in error.errors()]
        return []


def refuse_rounding(given: Any, plain: Any) -> None:
    """Hold what a class made of numbers against what it was given.

    Raises:
        ValueError: an integer became another one as a float.
    """
    if type(given) is int and isinstance(plain, float):
        if given != plain:  # Python compares int and float exactly
            raise ValueError(f"the integer {given} does not fit a float exactly")
    elif isinstance(given, dict) and isinstance(plain, dict):
        for key, value in given.items():
            if key in plain:
                refuse_rounding(value, plain[key])
    elif isinstance(given, list) and isinstance(plain, list):
        for value, other in zip(given, plain, strict=False):
            refuse_rounding(value, other)


def _path(places: tuple[str | int, ...]) -> str:
    return "".join(f"[{place}]" if isinstance(place, int) else f".{place}" for place in places)


def _written_out(node: Any, parts: dict[str, Any], depth: int) -> Any:
    """A copy of a schema without `$ref` and titles, in which no object takes keys that nobody declared."""
    if depth == 0:
        raise SchemaFault("it contains itself, which needs a $ref; use a fixed depth")
    if isinstance(node, list):
        return [_written_out(item, parts, depth) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _written_out({**parts[node["$ref"].rpartition("/")[2]], **rest}, parts, depth - 1)
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            result[key] = {name: _written_out(part, parts, depth - 1) for name, part in value.items()}
        elif key in {"default", "enum", "const", "examples", "required"}:
            result[key] = value
        elif key not in _DROPPED:
            result["anyOf" if key == "oneOf" else key] = _written_out(value, parts, depth)
    if "properties" in result:
        result.setdefault("additionalProperties", False)
    if result.get("type") == "array":
        result.setdefault("items", {})
    return result


def _look_for_unknown(value: Any, schema: Any, at: str, unknown: list[tuple[str, str]]) -> None:
    """Collect the keys, at any depth, that no part of a schema declares."""
    if not isinstance(schema, dict):
        return
    if options := schema.get("anyOf"):
        found: list[list[tuple[str, str]]] = []
        for option in options:
            found.append([])
            _look_for_unknown(value, option, at, found[-1])
        fewest = min(map(len, found))
        unknown += next(keys for keys in found if len(keys) == fewest)
    if isinstance(value, list):
        for place, item in enumerate(value):
            _look_for_unknown(item, schema.get("items"), f"{at}[{place}]", unknown)
    elif isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        for key, item in value.items():
            part = known.get(key, MISSING)
            if part is not MISSING:
                _look_for_unknown(item, part, f"{at}.{key}", unknown)
            elif others is False:
                unknown.append((at, f"unknown key {key[:50]!r}, the keys are {', '.join(known)}"))
            else:
                _look_for_unknown(item, others, f"{at}.{key}", unknown)
