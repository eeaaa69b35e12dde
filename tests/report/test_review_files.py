"""`batch.report.review_files`: what Label Studio, Argilla, a spreadsheet and a program find in a review file.

The packages of both tools bring forty others each, so they are not among the tests' own. Their forms stand here as
types instead, taken from what they document: the tasks of https://labelstud.io/guide/predictions, and the records that
argilla 2 reads with `Dataset.records.from_json`. Fields that these do not name are refused, as they would be there.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET

import msgspec
import pyarrow as pa
import pytest

from batch.core.arrowtypes import JSON_MARK
from batch.output import tables
from batch.report.review import review
from batch.report.review_files import Form
from tests.support.labelled import labelled
from tests.support.outfolders import as_published


class Choices(msgspec.Struct, forbid_unknown_fields=True):
    choices: list[str]


class Region(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    from_name: str
    to_name: str
    type: Literal["choices"]
    value: Choices


class Prediction(msgspec.Struct, forbid_unknown_fields=True):
    model_version: str
    result: list[Region]
    score: float | msgspec.UnsetType = msgspec.UNSET


class Task(msgspec.Struct, forbid_unknown_fields=True):
    data: dict[str, str | int | float | bool]
    predictions: list[Prediction]


class Suggestion(msgspec.Struct, forbid_unknown_fields=True):
    value: str
    score: float | None
    agent: str | None


class Record(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    fields: dict[str, str]
    metadata: dict[str, str | int | float | list[str]]
    suggestions: dict[str, Suggestion]
    responses: dict[str, list[Any]]
    vectors: dict[str, list[float]]


TABLE = pa.table(
    {
        "Subject Line": ["Where is it?", "=1+1", None],
        "标题": ["一", "二", "三"],
        "reasons": ["of the input"] * 3,
        "lines": [["a", "b"], [], None],
        "count": [1, 2, 3],
        "photo": pa.array([b"\xff\xd8"] * 3),
    }
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three rows in two variants; the last has no label in one of them. Names of columns are what people write."""
    rows = TABLE.to_pylist()
    said = [("billing", '<shipping & "co">'), ("refund", "billing"), ("billing", None)]
    made = []
    for n, row in enumerate(rows):
        for variant, label in zip(("glm-4", "short"), said[n], strict=True):
            failed = {"status": "failed", "error_kind": "label", "error_message": "is no name", "retryable": False}
            usual: dict[str, Any] = {"status": "ok", "error_kind": None, "error_message": None, "retryable": None}
            more = failed | {"answer": "I\ncannot"} if label is None else usual | {"answer": "yes"}
            made.append({**row, "row_id": f"r{n}", "variant": variant, "label": label, "agreement": 0.75, **more})
    return labelled(tmp_path / "out", made).root


def written(out: Path, form: Form) -> tuple[Any, list[str]]:
    done = review(out, out.parent / "look.json", form=form)
    return done.path.read_bytes(), done.advice


def test_label_studio_takes_the_tasks_and_the_configuration_fits_them(out: Path) -> None:
    """Each variable is in the data and is no null; each choice is one of the control, each region has its own id."""
    content, advice = written(out, "label-studio")
    tasks = msgspec.json.decode(content, type=list[Task])
    view = ET.fromstring("\n".join(advice[advice.index("<View>") :]))
    assert [task.data["row_id"] for task in tasks] == ["r2", "r0", "r1"]
    shown = {tag.get("name"): tag.get("value", "") for tag in view.iter("Text")}
    (control,) = view.iter("Choices")
    choices = {tag.get("value") for tag in control.iter("Choice")}
    assert control.get("toName") in shown
    assert choices == {"billing", "refund", '<shipping & "co">'}
    assert len({control.get("name"), *shown}) == len(shown) + 1, "names of tags are each there once"
    for task in tasks:
        for name, variable in shown.items():
            assert re.fullmatch(r"\$[A-Za-z0-9_]+", variable), "a name without blanks"
            assert variable[1:] in task.data, name
        for prediction in task.predictions:
            assert prediction.score == 0.75
            (region,) = prediction.result
            assert (region.from_name, region.to_name) == (control.get("name"), control.get("toName"))
            assert choices.issuperset(region.value.choices)
    ids = [region.id for task in tasks for p in task.predictions for region in p.result]
    assert len(ids) == len(set(ids)) == 5
    assert [[p.model_version for p in task.predictions] for task in tasks] == [
        ["glm-4"],
        ["glm-4", "short"],
        ["glm-4", "short"],
    ]
    assert tasks[0].data["answers"] == "glm-4: billing\nshort: (no label) is no name | I\ncannot"
    assert tasks[1].data["Subject_Line"] == "Where is it?"
    assert tasks[1].data["lines"] == '["a","b"]', "a list is shown as text"
    assert "photo" not in tasks[1].data, "bytes are no text"


def test_argilla_takes_the_records_and_the_settings_fit_them(out: Path) -> None:
    """Names that its server accepts, texts in every field, one suggestion where most variants agree."""
    content, advice = written(out, "argilla")
    records = msgspec.json.decode(content, type=list[Record])
    text = "\n".join(advice)
    fields = re.findall(r"TextField\('([^']*)'", text)
    for name in (*fields, *re.findall(r'MetadataProperty\("([^"]*)"', text), *re.findall(r"Question\('([^']*)'", text)):
        assert re.fullmatch(r"[a-z0-9_-]*[a-z0-9][a-z0-9_-]*", name), name
    assert fields == ["subject_line", "column_2", "reasons_2", "lines", "count", "answers"]
    assert "title='Subject Line'" in text
    assert "title='标题'" in text
    compile(text[text.index("import argilla") :], "advice", "exec")
    for record in records:
        assert set(record.fields) == set(fields)
        assert set(record.metadata) == {"row_number", "reasons", "certainty"}
    assert [record.id for record in records] == ["r2", "r0", "r1"]
    assert records[0].suggestions == {"label": Suggestion("billing", 0.0, "glm-4")}
    assert records[1].suggestions == {}, "its two variants say different things"
    assert records[0].fields["subject_line"] == ""


def test_csv_has_a_row_a_line_and_no_formula(out: Path) -> None:
    """Our columns first, then those of the input, each under its own name."""
    path = review(out, out.parent / "look.csv").path
    with path.open(encoding="utf-8-sig", newline="") as file:
        head, *rows = list(csv.reader(file))
    assert head[:6] == ["row_id", "row_number", "reasons", "certainty", "label", "answers"]
    assert head[6:] == ["Subject Line", "标题", "reasons_2", "lines", "count"]
    assert rows[0][:5] == ["r2", "2", "failed, agreement", "0.0", "billing"]
    assert rows[2][6] == "'=1+1"


def test_json_in_the_table_is_json_in_the_file(tmp_path: Path) -> None:
    """Not text with backslashes; in the tools it is text."""
    folder = labelled(tmp_path / "out", [{"tree": '{"a":[1]}', "label": "a", "agreement": 0.1}])
    part = folder.part(0)
    import pyarrow.parquet as pq

    table = pq.read_table(part)
    marked = table.schema.set(0, pa.field("tree", pa.large_string(), metadata=JSON_MARK))
    pq.write_table(table.cast(marked), part)
    as_published(folder)
    assert tables.first_of_ours(marked) == 1
    path = review(folder.root, tmp_path / "look.jsonl").path
    assert json.loads(path.read_text())["input"] == {"tree": {"a": [1]}}
    (task,) = json.loads(review(folder.root, tmp_path / "look.json", form="label-studio").path.read_text())
    assert task["data"]["tree"] == '{"a":[1]}'
