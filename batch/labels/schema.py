"""What a valid label is: one of a list of names, or an object that fits a JSON schema.

Owns `LabelSchema`: the columns that hold its labels, the schema that a service is asked with, and its part of a row's
fingerprint. It reads no file (`loading`) and no answer (`answers`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import pyarrow as pa

from batch.labels import nodes
from batch.labels.nodes import NAMES, Node, SchemaFaults

LABEL: Final = "label"
"""The column of a job with names, and the property that a name is asked for as."""
PROPERTY_KEY: Final = "promptmill.label"
"""Key in the metadata of a column of labels; its value is the property it holds, empty for a name."""


class LabelColumn(msgspec.Struct, frozen=True):
    """One column of the result table that holds labels, or one property of them."""

    name: str
    type: Any
    """Its Arrow type."""
    property: str = ""
    """The property of the object that it holds; empty when it holds the label itself."""

    def field(self) -> pa.Field:
        """The column as a field of the result table, marked as a label's."""
        return pa.field(self.name, self.type, metadata={PROPERTY_KEY: self.property})


class LabelSchema(msgspec.Struct, frozen=True, kw_only=True):
    """What a valid label is. A label is a text where there are names, else a dict."""

    names: tuple[str, ...] = ()
    """Empty when labels are objects."""
    root: Node
    """The object that is asked for, of names too: `{"label": NAME}`."""
    schema: dict[str, Any]
    """Its JSON schema in the strict form, without references."""
    columns: tuple[LabelColumn, ...]

    @classmethod
    def of_names(cls, names: Iterable[str]) -> LabelSchema:
        """The schema of labels that are one of these names."""
        given = tuple(names)
        name = Node(kind="string", choices=given)
        root = Node(kind="object", fields={LABEL: name}, required=frozenset({LABEL}), closed=True)
        return cls(names=given, root=root, schema=nodes.strict(root), columns=(LabelColumn(LABEL, NAMES),))

    @classmethod
    def of_schema(cls, schema: Any) -> LabelSchema:
        """The schema of labels that fit a JSON schema; one that is a list of texts alone makes names.

        Raises:
            SchemaFaults: it is no JSON schema, or has what no column can hold.
        """
        root = nodes.read(schema)
        if root.kind == "string" and root.choices and not root.nullable:
            return cls.of_names(root.choices)
        if root.kind != "object" or root.nullable:
            raise SchemaFaults(["#: a label is an object with properties, or one of a list of names (enum)"])
        seen: dict[str, str] = {}
        for name in root.fields:
            if (other := seen.setdefault(name.lower(), name)) != name:
                text = f"differs from {other} in its case only, and many programs tell no such columns apart"
                raise SchemaFaults([f"#/properties/{name}: {text}: rename one"])
        columns = tuple(
            LabelColumn(f"{LABEL}_{name}", nodes.arrow_type(node), name) for name, node in root.fields.items()
        )
        return cls(root=root, schema=nodes.strict(root), columns=columns)

    def request_part(self) -> dict[str, Any]:
        """What of it decides what is asked, as JSON types; the order of names does not."""
        return {"names": sorted(self.names)} if self.names else {"schema": msgspec.to_builtins(self.schema)}

    @classmethod
    def of_request(cls, part: Mapping[str, Any]) -> LabelSchema:
        """The schema whose `request_part` an earlier run kept."""
        return cls.of_names(part["names"]) if "names" in part else cls.of_schema(part["schema"])


def label_columns(results: pa.Schema) -> pa.Schema:
    """The columns of a result table that hold labels."""
    return pa.schema([field for field in results if PROPERTY_KEY.encode() in (field.metadata or {})])
