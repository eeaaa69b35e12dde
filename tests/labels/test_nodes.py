"""`batch.labels.nodes`: which JSON schemas a label may have, their columns, and their strict form."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from batch.labels import nodes
from batch.labels.nodes import NAMES, SchemaFaults


def text(**more: Any) -> dict[str, Any]:
    return {"type": "string", **more}


def object_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        (text(), pa.string()),
        (text(enum=["a", "b"]), NAMES),
        ({"enum": ["a", None]}, NAMES),
        ({"const": "a"}, NAMES),
        ({"type": "integer"}, pa.int64()),
        ({"enum": [1, 2, 3]}, pa.int64()),
        ({"type": ["number", "null"]}, pa.float64()),
        ({"type": "boolean"}, pa.bool_()),
        ({"type": "array", "items": text(enum=["a"])}, pa.list_(pa.string())),
        (object_of(a=text(), b={"type": "array", "items": object_of(c={"type": "integer"})}),
         pa.struct([("a", pa.string()), ("b", pa.list_(pa.struct([("c", pa.int64())])))])),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, pa.int64()),
        ({"oneOf": [text()]}, pa.string()),
        ({"allOf": [{"$ref": "#/$defs/kind"}], "description": "what", "$defs": {"kind": {"enum": ["a"]}}}, NAMES),
    ],
)  # fmt: skip
def test_each_schema_has_one_arrow_type(schema: Any, kind: pa.DataType) -> None:
    """Texts from a list are a dictionary where they are a whole column."""
    assert nodes.arrow_type(nodes.read(schema)) == kind


def test_references_and_nullable_forms_are_written_out() -> None:
    """What is sent has no `$ref`, whatever wrote the schema."""
    schema = {
        **object_of(a={"$ref": "#/$defs/A"}, b={"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}),
        "$defs": {"A": {**object_of(x={"type": "integer", "title": "X", "default": 3}), "title": "A"}},
    }
    inner = {
        "type": "object",
        "properties": {"x": {"type": "integer"}},
        "required": ["x"],
        "additionalProperties": False,
    }
    assert nodes.strict(nodes.read(schema)) == {
        "type": "object",
        "properties": {"a": inner, "b": {**inner, "type": ["object", "null"]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }


def test_the_strict_form_requires_everything_and_says_lengths_in_words() -> None:
    """What may be missing may be null instead; strict services refuse the keywords for lengths."""
    schema = {
        "type": "object",
        "properties": {
            "note": text(maxLength=60, minLength=1, description="why"),
            "kind": text(enum=["a", "b"]),
            "score": {"type": "integer", "minimum": 1, "exclusiveMaximum": 9},
            "tags": {"type": "array", "items": text(pattern="^a"), "maxItems": 3, "uniqueItems": True},
            "day": text(format="date"),
        },
        "required": ["score"],
    }
    assert nodes.strict(nodes.read(schema))["properties"] == {
        "note": {"type": ["string", "null"], "description": "why; at least 1 and at most 60 characters"},
        "kind": {"type": ["string", "null"], "enum": ["a", "b", None]},
        "score": {"type": "integer", "minimum": 1, "exclusiveMaximum": 9},
        "tags": {
            "type": ["array", "null"],
            "description": "no item twice",
            "items": {"type": "string", "pattern": "^a"},
            "maxItems": 3,
        },
        "day": {"type": ["string", "null"], "description": "format: date"},
    }


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ([], "#: is no JSON schema"),
        ({}, "#: has no type, or several, and makes no column"),
        ({"type": ["string", "integer"]}, "makes no column: use one of string"),
        ({"enum": ["a", 1]}, "makes no column"),
        ({"type": "integer", "enum": ["a"]}, "enum has values that are no integer"),
        ({"enum": []}, "enum must be a list with at least one value"),
        (object_of(a={"type": "array"}), "#/properties/a: items is missing"),
        (object_of(a={"type": "object"}), "#/properties/a: an object needs properties"),
        (object_of(a={"type": "object", "additionalProperties": text()}), "an object needs properties"),
        (object_of(a=text(minimum=3)), "#/properties/a: minimum is not supported for type string"),
        (object_of(a={"type": "array", "prefixItems": [text()], "items": text()}), "prefixItems is not supported"),
        (object_of(a={"anyOf": [text(), {"type": "integer"}]}), "anyOf gives a value several forms"),
        (object_of(a={"$ref": "other.json"}), "$ref 'other.json' leads nowhere"),
        ({"$ref": "#"}, "refers to itself"),
        (object_of(a={"$ref": "#"}), "refers to itself"),
        (object_of(a=text(pattern="(")), "pattern is no regular expression"),
        ({**object_of(a=text()), "required": ["b"]}, "required must be a list of names that stand under properties"),
    ],
)
def test_what_no_column_can_hold_is_refused_with_its_place_and_the_way_out(schema: Any, fault: str) -> None:
    """Before the first request, not row by row."""
    with pytest.raises(SchemaFaults) as caught:
        nodes.read(schema)
    assert any(fault in told for told in caught.value.faults), caught.value.faults


def test_all_faults_of_a_schema_come_together() -> None:
    """One run of `check` tells them all."""
    with pytest.raises(SchemaFaults) as caught:
        nodes.read(object_of(a={"type": "array"}, b={"type": "odd"}, c=text(multipleOf=2)))
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [f"#/properties/{name}" for name in "abc"]
