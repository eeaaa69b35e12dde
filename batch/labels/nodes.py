"""A JSON schema as a tree: what values it takes, which column holds them, and the strict form that services want.

Owns the part of JSON Schema that labels may use: the types string, integer, number, boolean, array and object with
named properties, each with or without null; `enum`, `const`, bounds, lengths and `pattern`. A column has one type, so
what gives a value several types is refused. References inside the schema are replaced by what they stand for. It reads
no answer (`answers`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, cast

import msgspec
import pyarrow as pa

Kind = Literal["string", "integer", "number", "boolean", "array", "object"]

_KINDS: Final = ("string", "integer", "number", "boolean", "array", "object")
_SAYS_NOTHING: Final = frozenset(
    {
        *("title", "default", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$id", "$comment", "$defs"),
        *("definitions", "discriminator"),
    }
)
_KNOWN: Final[dict[str, frozenset[str]]] = {
    "": frozenset({"type", "enum", "const", "description", "nullable"}),
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "boolean": frozenset(),
    "array": frozenset({"items", "minItems", "maxItems", "uniqueItems"}),
    "object": frozenset({"properties", "required", "additionalProperties"}),
}
_BOUNDS: Final = {
    "minimum": "low",
    "maximum": "high",
    "exclusiveMinimum": "above",
    "exclusiveMaximum": "below",
    "minLength": "least",
    "maxLength": "most",
    "minItems": "least",
    "maxItems": "most",
}
_DEEPEST: Final = 20


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One schema of the tree: what a value must be."""

    kind: Kind
    nullable: bool = False
    choices: tuple[Any, ...] = ()
    """The only values it takes, null not among them; empty for any."""
    fields: dict[str, Node] = {}
    required: frozenset[str] = frozenset()
    closed: bool = False
    """Whether an object must have no other properties."""
    item: Node | None = None
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    least: int | None = None
    """Characters of a text, items of a list."""
    most: int | None = None
    pattern: str | None = None
    unique: bool = False
    format: str | None = None
    description: str | None = None


class SchemaFaults(ValueError):
    """What is wrong with a schema, one text for each fault, each with its place in the schema."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def read(schema: Any) -> Node:
    """Read a JSON schema.

    Raises:
        SchemaFaults: it is none, or uses what a label cannot have; names every fault with its place.
    """
    faults: list[str] = []
    node = _Reader(schema, faults).node(schema, "#", 0)
    if faults or node is None:
        raise SchemaFaults(faults)
    return node


class _Reader:
    def __init__(self, root: Any, faults: list[str]) -> None:
        self._root = root
        self._faults = faults

    def node(self, schema: Any, place: str, depth: int) -> Node | None:
        """One schema; None when something in it is wrong, which is told."""
        if depth > _DEEPEST:
            self._fault(place, f"is nested more than {_DEEPEST} levels deep, or refers to itself: make it flat")
            return None
        resolved = self._resolved(schema, place)
        if resolved is None:
            return None
        kind, nullable, choices = self._type(resolved, place)
        if kind is None:
            return None
        for key in sorted(resolved.keys() - _SAYS_NOTHING - _KNOWN[""] - _KNOWN[kind]):
            self._fault(place, f"{key} is not supported for type {kind}: take it out, and say it in description")
        description = resolved.get("description")
        values: dict[str, Any] = {
            "kind": kind,
            "nullable": nullable,
            "choices": choices,
            "description": description if isinstance(description, str) else None,
            "format": resolved.get("format"),
            "unique": resolved.get("uniqueItems") is True,
            **self._limits(resolved, kind, place),
        }
        if kind == "array":
            if "items" not in resolved:
                self._fault(place, 'items is missing: say what the list holds, as in { "type": "string" }')
                return None
            values["item"] = self.node(resolved["items"], f"{place}/items", depth + 1)
            if values["item"] is None:
                return None
        if kind == "object":
            values |= self._object(resolved, place, depth)
        return Node(**values)

    def _limits(self, schema: Mapping[str, Any], kind: Kind, place: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, name in _BOUNDS.items():
            if key in schema and key in _KNOWN[kind]:
                value = schema[key]
                if isinstance(value, bool) or not isinstance(value, int | float):
                    self._fault(place, f"{key} must be a number")
                else:
                    found[name] = value
        if "pattern" in schema and kind == "string":
            try:
                found["pattern"] = re.compile(schema["pattern"]).pattern
            except (re.error, TypeError) as exc:
                self._fault(place, f"pattern is no regular expression: {exc}")
        return found

    def _object(self, schema: Mapping[str, Any], place: str, depth: int) -> dict[str, Any]:
        properties, extra = schema.get("properties"), schema.get("additionalProperties")
        if not isinstance(properties, Mapping) or not properties:
            self._fault(place, "an object needs properties: each becomes a column, or a field of one")
            return {}
        if isinstance(extra, Mapping):
            self._fault(place, "additionalProperties cannot have a schema: name every property under properties")
        required = schema.get("required") or []
        if not isinstance(required, list) or not set(map(str, required)) <= set(properties):
            self._fault(place, "required must be a list of names that stand under properties")
            required = []
        fields = {
            str(name): self.node(inner, f"{place}/properties/{name}", depth + 1) for name, inner in properties.items()
        }
        return {
            "fields": {name: node for name, node in fields.items() if node is not None},
            "required": frozenset(required),
            "closed": extra is False,
        }

    def _resolved(self, schema: Any, place: str) -> dict[str, Any] | None:
        """The schema without references, and without choices that only say that a value may be null."""
        nullable = False
        for _ in range(_DEEPEST):
            if not isinstance(schema, Mapping):
                self._fault(place, "is no JSON schema: an object with a type is wanted")
                return None
            if isinstance(reference := schema.get("$ref"), str):
                target = self._target(reference)
                if target is None:
                    self._fault(place, f"$ref {reference!r} leads nowhere in this schema: write it out")
                    return None
                schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
                continue
            key = next((key for key in ("anyOf", "oneOf", "allOf") if key in schema), None)
            if key is None:
                return {**schema, "nullable": True} if nullable else dict(schema)
            choices = schema[key] if isinstance(schema[key], list) else []
            others = [one for one in choices if one != {"type": "null"}]
            if len(others) != 1 or not isinstance(others[0], Mapping):
                self._fault(place, f"{key} gives a value several forms, and a column has one: choose one")
                return None
            nullable = nullable or len(others) < len(choices)
            schema = {**others[0], **{name: value for name, value in schema.items() if name != key}}
        self._fault(place, "refers to itself: write it out")
        return None

    def _target(self, reference: str) -> Mapping[str, Any] | None:
        if not reference.startswith("#"):
            return None
        target: Any = self._root
        for part in reference[1:].strip("/").split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            target = target.get(name) if isinstance(target, Mapping) and part else target
        return target if isinstance(target, Mapping) else None

    def _type(self, schema: Mapping[str, Any], place: str) -> tuple[Kind | None, bool, tuple[Any, ...]]:
        """The one type of a schema, whether null is one of its values, and the choices that it leaves."""
        given = schema.get("type")
        kinds = given if isinstance(given, list) else [given] if given is not None else []
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        nullable = "null" in kinds or schema.get("nullable") is True
        if values is not None:
            if not isinstance(values, list) or not values:
                self._fault(place, "enum must be a list with at least one value")
                return None, False, ()
            nullable = nullable or None in values
            values = [value for value in values if value is not None]
            kinds = kinds or list(dict.fromkeys(map(_kind_of, values)))
        found = [kind for kind in kinds if kind != "null"]
        if not found and "properties" in schema:
            found = ["object"]
        if len(found) != 1 or found[0] not in _KINDS:
            said = f"type {given!r}" if given is not None else "has no type, or several, and"
            self._fault(
                place, f"{said} makes no column: use one of {', '.join(_KINDS)}, with null beside it if need be"
            )
            return None, False, ()
        kind = cast("Kind", found[0])
        if values is not None and any(_kind_of(value) not in (kind, "integer") for value in values):
            self._fault(place, f"enum has values that are no {kind}: all must be of one type")
            return None, False, ()
        return kind, nullable, tuple(values or ())

    def _fault(self, place: str, text: str) -> None:
        self._faults.append(f"{place}: {text}")


def _kind_of(value: Any) -> str:
    names: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return names.get(type(value), "nothing that can be chosen")


def arrow_type(node: Node, *, top: bool = True) -> Any:
    """The Arrow type of a column that holds such values; texts of a fixed set are a dictionary at the top.

    Args:
        node: what the values are.
        top: whether it is a whole column; inside lists and structs texts stay plain.
    """
    if node.kind == "array":
        assert node.item is not None
        return pa.list_(arrow_type(node.item, top=False))
    if node.kind == "object":
        return pa.struct([(name, arrow_type(inner, top=False)) for name, inner in node.fields.items()])
    if node.kind == "string" and node.choices and top:
        return NAMES
    return {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}[node.kind]


NAMES: Final = pa.dictionary(pa.int32(), pa.string())
"""The type of a column of names."""


def strict(node: Node, *, optional: bool = False) -> dict[str, Any]:
    """The JSON schema in the strict form: every property required, none beside them, no references.

    A property that may be missing may be null instead. Lengths stand in the description, because strict services refuse
    their keywords.

    Args:
        node: the root of the tree, or a part of it.
        optional: whether it may be missing.
    """
    nullable = node.nullable or optional
    schema: dict[str, Any] = {"type": [node.kind, "null"] if nullable else node.kind}
    if text := _told(node):
        schema["description"] = text
    if node.choices:
        schema["enum"] = [*node.choices, *([None] if nullable else [])]
    for key, name in (
        ("minimum", "low"),
        ("maximum", "high"),
        ("exclusiveMinimum", "above"),
        ("exclusiveMaximum", "below"),
    ):
        if (value := getattr(node, name)) is not None:
            schema[key] = value
    if node.kind == "string" and node.pattern is not None:
        schema["pattern"] = node.pattern
    if node.kind == "array":
        assert node.item is not None
        schema["items"] = strict(node.item)
        schema |= {
            key: value for key, value in (("minItems", node.least), ("maxItems", node.most)) if value is not None
        }
    if node.kind == "object":
        schema["properties"] = {
            name: strict(inner, optional=name not in node.required) for name, inner in node.fields.items()
        }
        schema["required"] = list(node.fields)
        schema["additionalProperties"] = False
    return schema


def _told(node: Node) -> str:
    """The description, with what strict services take no keyword for."""
    lengths = []
    if node.kind == "string" and (node.least is not None or node.most is not None):
        least = f"at least {node.least}" if node.least is not None else ""
        most = f"at most {node.most}" if node.most is not None else ""
        lengths.append(f"{' and '.join(part for part in (least, most) if part)} characters")
    if node.unique:
        lengths.append("no item twice")
    if node.format is not None:
        lengths.append(f"format: {node.format}")
    return "; ".join(part for part in (node.description or "", *lengths) if part)
