"""`batch.plan.labelling`: what `check` says of labels before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batch.core.errors import JobError
from batch.job.job import InputSpec, Job, ModelSpec, OutputSpec, PromptSpec
from batch.job.labelspec import LabelSpec
from batch.labels.nodes import NAMES
from batch.labels.schema import LabelSchema
from batch.plan.labelling import columns_of
from batch.plan.preflight import CheckedJob, check_job

LIST = "One of: billing, shipping, returns, other."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    row = {"body": "hello", "truth": "other"}
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(row)}\n", encoding="utf-8")
    return tmp_path


def checked(
    folder: Path, *, model: Any = "glm-4", system: str = "Label it.", user: str = "{{ body }}", **more: Any
) -> CheckedJob:
    """A job with four names, and these keys of `[labels]` besides."""
    parameters, columns = more.pop("parameters", {}), more.pop("columns", None)
    provider = more.pop("provider", "simulator")
    job = Job(
        folder=folder,
        input=InputSpec(path=folder / "rows.jsonl"),
        prompt=PromptSpec(system=system, user=user),
        model=ModelSpec(provider=provider, name=model, parameters=parameters),
        labels=LabelSpec(**{"names": ("billing", "shipping", "returns", "other"), **more}),
        output=OutputSpec(columns=columns),
    )
    return check_job(job, {"OPENAI_API_KEY": "sk-0123456789abcdef"})


def test_a_sound_job_is_asked_in_the_form_of_each_of_its_models(folder: Path) -> None:
    """The one that is asked in the end among them."""
    found = checked(folder, escalate="glm-4v-plus")
    assert found.asking is not None
    assert found.asking.forms == {"glm-4": "object", "glm-4v-plus": "none"}
    assert (found.asking.named, found.asking.shown, found.doubts) == (False, False, ())
    assert found.label_columns.names == ["label"]
    assert found.schema.field("label").type == NAMES
    assert found.carried.startswith("Answer with a JSON object")
    own = checked(folder, provider="openai", model="gpt-5-mini", parameters={"response_format": {"type": "text"}})
    assert own.asking is not None
    assert (own.asking.forms, own.asking.own) == ({"gpt-5-mini": "none"}, True)


def test_a_prompt_that_names_all_labels_is_known_to_and_one_that_names_most_is_doubted(folder: Path) -> None:
    """An older list in the prompt teaches the model labels that are refused, or hides new ones."""
    whole = checked(folder, system=LIST)
    assert whole.asking is not None
    assert (whole.asking.named, whole.doubts) == (True, ())
    most = checked(folder, system=LIST.replace("returns, ", ""))
    assert most.asking is not None
    assert most.asking.named is False
    assert most.doubts == (
        "labels.names: the prompt names some of the labels, and not returns: is its list an older one?",
    )


@pytest.mark.parametrize(
    ("more", "doubt"),
    [
        ({"parameters": {"max_tokens": 3}}, "max_tokens = 3 is too few for the longest label, which takes 7 or more"),
        (
            {"gold": "truth", "user": "{{ body }} {{ truth }}"},
            "the prompt reads 'truth' too, so the model is shown the answer",
        ),
    ],
)
def test_what_is_probably_not_meant_is_a_doubt(folder: Path, more: dict[str, Any], doubt: str) -> None:
    """Said by check, and once by a run."""
    (told,) = checked(folder, **more).doubts
    assert doubt in told


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"gold": "thruth"}, "labels.gold: 'thruth' is no column of the input. It has: body, truth"),
        ({"gold": "truth", "columns": ("body",)}, "labels.gold: 'truth' is not among output.columns"),
        ({"names": (), "schema": "none.json"}, "labels.schema = 'none.json'"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, more: dict[str, Any], fault: str) -> None:
    """With the other faults of the job."""
    with pytest.raises(JobError) as caught:
        checked(folder, **more)
    assert fault in str(caught.value)


def test_columns_of_earlier_runs_stay_and_grow_where_nothing_is_lost() -> None:
    """Names and free texts are one kind of column; a struct may have more fields than before."""

    def columns(properties: Any) -> LabelSchema:
        return LabelSchema.of_schema({"type": "object", "properties": properties})

    def inner(*names: str) -> dict[str, Any]:
        return {"type": "object", "properties": {name: {"type": "integer"} for name in names}}

    faults: list[str] = []
    first = columns_of(columns({"a": {"enum": ["x"]}, "b": inner("p")}), pa.schema([]), faults)
    second = columns_of(columns({"b": inner("p", "q"), "a": {"type": "string"}, "c": inner("p")}), first, faults)
    assert [(field.name, str(field.type)) for field in second] == [
        ("label_a", str(NAMES)),
        ("label_b", "struct<p: int64, q: int64>"),
        ("label_c", "struct<p: int64>"),
    ]
    assert columns_of(None, second, faults).equals(second, check_metadata=True)
    assert faults == []
    columns_of(columns({"b": {"type": "integer"}}), second, faults)
    assert len(faults) == 1
    assert faults[0].startswith(
        "labels: the column label_b is int64 now, and struct<p: int64, q: int64> in the results"
    )
