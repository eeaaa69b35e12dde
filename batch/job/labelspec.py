"""The section `[labels]` of a job: what a valid label is.

Owns the shape of that section; what its keys mean is in `labelkeys`.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Name = Annotated[str, Meta(min_length=1, description="text that is not empty")]


class LabelSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a valid label is, and what is done about an answer that holds none."""

    names: Annotated[tuple[Name, ...], Meta(description='a list of labels: ["billing", "shipping"]')] = ()
    schema: Annotated[
        Name | None,
        Meta(description='a JSON schema file or a type of a Python file: "label.schema.json", "tools.py:Label"'),
    ] = None
    reasks: Annotated[int, Meta(ge=0, le=20, description="a whole number from 0 to 20")] = 2
    escalate: Annotated[Name | None, Meta(description='a model, for example "glm-4-plus"')] = None
    samples: Annotated[int, Meta(ge=1, le=100, description="a whole number from 1 to 100")] = 1
    confidence: Annotated[bool, Meta(description="true or false")] = False
    gold: Annotated[Name | None, Meta(description="the name of a column with the true label")] = None
