"""`batch.labels.schema`: names and objects, their columns, and what of them is part of a row's fingerprint."""

from __future__ import annotations

import pyarrow as pa
import pytest

from batch.labels.nodes import NAMES, SchemaFaults
from batch.labels.schema import LabelSchema, label_columns

PROPERTIES = {"topic": {"enum": ["a", "b"]}, "score": {"type": "integer"}}
OBJECT = {"type": "object", "properties": PROPERTIES, "required": ["topic"]}


def test_names_make_one_column_and_are_asked_for_as_an_object() -> None:
    """The object holds nothing but the name."""
    labels = LabelSchema.of_names(["billing", "other"])
    assert [(column.name, column.type, column.property) for column in labels.columns] == [("label", NAMES, "")]
    assert labels.schema == {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": ["billing", "other"]}},
        "required": ["label"],
        "additionalProperties": False,
    }


def test_an_object_makes_a_column_for_each_property() -> None:
    """By their names, in their order, marked so that a rebuilt ledger knows them again."""
    labels = LabelSchema.of_schema(OBJECT)
    fields = [column.field() for column in labels.columns]
    assert [(field.name, field.type) for field in fields] == [("label_topic", NAMES), ("label_score", pa.int64())]
    others = [pa.field("row_id", pa.string()), pa.field("label_of_mine", pa.string())]
    assert label_columns(pa.schema([*others, *fields])).names == ["label_topic", "label_score"]


def test_a_schema_that_is_a_list_of_texts_makes_names() -> None:
    """An Enum or a Literal is a list of names."""
    assert LabelSchema.of_schema({"enum": ["a", "b"]}) == LabelSchema.of_names(["a", "b"])


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"type": "array", "items": {"type": "string"}}, "a label is an object with properties"),
        ({"enum": ["a", None]}, "a label is an object"),
        ({"type": "object", "properties": {"A": {"type": "string"}, "a": {"type": "string"}}}, "in its case only"),
    ],
)
def test_what_is_no_label_is_refused(schema: object, fault: str) -> None:
    """Told with the way out."""
    with pytest.raises(SchemaFaults, match=fault):
        LabelSchema.of_schema(schema)


def test_the_order_of_names_is_not_part_of_what_is_asked_and_everything_else_is() -> None:
    """A sorted list buys nothing anew; a name more, or another description, does."""
    part = LabelSchema.of_names(["b", "a"]).request_part()
    assert part == LabelSchema.of_names(["a", "b"]).request_part()
    assert part != LabelSchema.of_names(["a", "b", "c"]).request_part()
    told = {**OBJECT, "properties": {**PROPERTIES, "topic": {"enum": ["a", "b"], "description": "x"}}}
    assert LabelSchema.of_schema(OBJECT).request_part() != LabelSchema.of_schema(told).request_part()


@pytest.mark.parametrize("labels", [LabelSchema.of_names(["a", "b"]), LabelSchema.of_schema(OBJECT)])
def test_what_a_run_kept_makes_the_same_columns_again(labels: LabelSchema) -> None:
    """A task of a job that has changed is read as it was asked."""
    assert LabelSchema.of_request(labels.request_part()).columns == labels.columns
