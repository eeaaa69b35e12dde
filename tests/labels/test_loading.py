"""`batch.labels.loading`: names, a schema in a file, a type in a Python file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batch.core.errors import JobError
from batch.job.labelspec import LabelSpec
from batch.labels.loading import load
from batch.labels.schema import LabelSchema

PYTHON = """
import dataclasses, enum
from typing import Annotated, Literal, TypedDict
import msgspec

class Topic(enum.Enum):
    BILLING = "billing"
    OTHER = "other"

class Money(msgspec.Struct):
    amount: float
    currency: Literal["CNY", "EUR"]

class Struct(msgspec.Struct):
    topic: Topic
    money: Money | None
    score: Annotated[int, msgspec.Meta(ge=1, le=5)] = 3

@dataclasses.dataclass
class Data:
    topic: Topic
    money: Money | None
    score: Annotated[int, msgspec.Meta(ge=1, le=5)] = 3

class _Rest(TypedDict, total=False):
    score: Annotated[int, msgspec.Meta(ge=1, le=5)]

class Typed(_Rest):
    topic: Topic
    money: Money | None

class Loose(msgspec.Struct):
    anything: dict[str, int]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tools.py").write_text(PYTHON, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("kind", ["Struct", "Data", "Typed"])
def test_structs_dataclasses_and_typed_dicts_say_the_same(folder: Path, kind: str) -> None:
    """Nested ones are structs, what has a default may be missing, no reference is left."""
    labels = load(LabelSpec(schema=f"tools.py:{kind}"), folder)
    types = {column.name: str(column.type) for column in labels.columns}
    assert types == {
        "label_topic": "dictionary<values=string, indices=int32, ordered=0>",
        "label_money": "struct<amount: double, currency: string>",
        "label_score": "int64",
    }
    assert labels.root.required == {"topic", "money"}
    assert labels.schema["properties"]["score"] == {"type": ["integer", "null"], "minimum": 1, "maximum": 5}
    assert "$ref" not in json.dumps(labels.schema)


def test_an_enum_makes_names_and_a_file_is_read(folder: Path) -> None:
    """Both forms of the same list, and the list itself."""
    names = LabelSchema.of_names(["billing", "other"])
    (folder / "label.schema.json").write_text('{"enum": ["billing", "other"]}', encoding="utf-8")
    assert load(LabelSpec(schema="tools.py:Topic"), folder) == names
    assert load(LabelSpec(schema="label.schema.json"), folder) == names
    assert load(LabelSpec(names=("billing", "other")), folder) == names


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("none.json", "cannot be read: No such file or directory"),
        ("tools.py", 'is a Python file: say which type of it, as in "tools.py:Label"'),
        ("tools.py:Label", "tools.py has no 'Label'; it has the types Topic, Money, Struct"),
        ("tools.py:Loose", "#/properties/anything: an object needs properties"),
        ("none.py:Label", "cannot be read"),
        ("tools.py:msgspec", "msgspec has no JSON schema"),
        ("bad.json", "is not JSON"),
    ],
)
def test_what_cannot_be_loaded_is_told_with_the_key_and_the_way_out(folder: Path, given: str, fault: str) -> None:
    """As a fault of the job."""
    (folder / "bad.json").write_text("{", encoding="utf-8")
    with pytest.raises(JobError) as caught:
        load(LabelSpec(schema=given), folder)
    assert all(told.startswith(f"labels.schema = {given!r}: ") for told in caught.value.faults)
    assert fault in str(caught.value)
