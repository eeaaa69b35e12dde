"""The forms of a file with rows to be looked at: lines of JSON, CSV, and what Label Studio and Argilla import.

Owns what of a row stands where in each form, and what a person has to do for the tool to take the file. It does not
know which rows are doubtful. The forms of the tools are those that they document:

- Label Studio: a list of tasks with `data` and `predictions`, https://labelstud.io/guide/predictions
- Argilla 2: a list of records as `Dataset.records.to_json` writes and `Dataset.records.from_json` reads it,
  https://docs.argilla.io/latest/reference/argilla/datasets/dataset_records/

Each variant of a row is a prediction of its own in Label Studio. Argilla keeps one suggestion for a question, which is
the label of most variants. What each variant said stands in the text `answers` of both.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol
from xml.sax.saxutils import quoteattr

import msgspec
import pyarrow as pa

from batch.report import sheet
from batch.report.export import Csv

Form = Literal["jsonl", "csv", "label-studio", "argilla"]
QUESTION: Final = "label"
"""The name of the question in Label Studio and Argilla."""
ANSWERS: Final = "answers"
_LONGEST_NAME: Final = 100


class Result(msgspec.Struct, frozen=True):
    """What one variant of a row came to."""

    variant: str | None
    model: str | None
    label: str | None
    agreement: float | None
    confidence: float | None
    answer: str | None
    error: str | None

    @property
    def score(self) -> float | None:
        """How sure its label is, from 0 to 1; None when nobody knows."""
        return min((share for share in (self.agreement, self.confidence) if share is not None), default=None)

    def text(self) -> str:
        """In one line, for a person: its label, or why it has none and what the model said."""
        name = f"{self.variant}: " if self.variant is not None else ""
        if self.label is not None:
            return f"{name}{self.label}"
        said = " | ".join(text for text in (self.error, self.answer) if text)
        return f"{name}(no label){f' {said}' if said else ''}"


class Doubtful(msgspec.Struct, frozen=True):
    """One row that a person should look at."""

    row_id: str
    row_number: int
    reasons: tuple[str, ...]
    certainty: float
    """How far one can rely on its label, from 0 to 1."""
    label: str | None
    """The label of most of its variants; None when there is none."""
    results: tuple[Result, ...]
    input: dict[str, Any]

    def answers(self) -> str:
        """What each variant said, one line each."""
        return "\n".join(result.text() for result in self.results)


class Writer(Protocol):
    """Writes rows in one form, into a file that is open.

    Args:
        file: takes the text.
        columns: the input columns of the rows.
    """

    def __init__(self, file: IO[bytes], columns: Sequence[str]) -> None: ...

    def row(self, row: Doubtful) -> None:
        """Write one row."""
        ...

    def close(self) -> None:
        """Write what ends the file, which stays open."""
        ...

    @staticmethod
    def advice(path: Path, columns: Sequence[str], classes: Sequence[str]) -> list[str]:
        """What a person has to do with the file, one line each.

        Args:
            path: the file.
            columns: the input columns of its rows.
            classes: all labels of the table.
        """
        ...


class _Lines:
    """A file of lines, which nothing ends and every program takes."""

    def close(self) -> None:
        """Nothing is left to be written."""

    @staticmethod
    def advice(path: Path, columns: Sequence[str], classes: Sequence[str]) -> list[str]:  # noqa: ARG004 - as every form
        """Nothing has to be done."""
        return []


class _Jsonl(_Lines):
    """One object a line, with all that is known of the row."""

    def __init__(self, file: IO[bytes], columns: Sequence[str]) -> None:  # noqa: ARG002 - as every form
        self._file = file

    def row(self, row: Doubtful) -> None:
        self._file.write(msgspec.json.encode(row) + b"\n")


class _Csv(_Lines):
    """One line a row, as `promptmill export` writes CSV; its last columns are those of the input."""

    _OURS = ("row_id", "row_number", "reasons", "certainty", "label", ANSWERS)

    def __init__(self, file: IO[bytes], columns: Sequence[str]) -> None:
        names = [*self._OURS, *(_free(name, self._OURS) for name in columns)]
        self._file = file
        self._columns = columns
        self._csv = Csv(file, pa.schema([(name, pa.string()) for name in names]))

    def row(self, row: Doubtful) -> None:
        ours = (row.row_id, row.row_number, ", ".join(row.reasons), round(row.certainty, 4), row.label, row.answers())
        self._file.write(self._csv.line([*ours, *(row.input[name] for name in self._columns)]))


class _List:
    """A JSON list, one element a line."""

    def __init__(self, file: IO[bytes], columns: Sequence[str]) -> None:
        self._file = file
        self._names = self.names(columns)
        self._begun = False

    @staticmethod
    def names(columns: Sequence[str]) -> dict[str, str]:
        """The names that input columns have in the tool, by their own."""
        raise NotImplementedError

    def element(self, row: Doubtful) -> dict[str, Any]:
        """What stands in the list for a row."""
        raise NotImplementedError

    def row(self, row: Doubtful) -> None:
        self._file.write((b",\n" if self._begun else b"[\n") + msgspec.json.encode(self.element(row)))
        self._begun = True

    def close(self) -> None:
        self._file.write(b"\n]\n" if self._begun else b"[]\n")


class _LabelStudio(_List):
    """Tasks of Label Studio, with a prediction for each variant that has a label."""

    @staticmethod
    def names(columns: Sequence[str]) -> dict[str, str]:
        return _safe(columns, "[^A-Za-z0-9_]+", {"row_id", "row_number", "reasons", "certainty", ANSWERS, QUESTION})

    def element(self, row: Doubtful) -> dict[str, Any]:
        shown = next(iter(self._names.values()), ANSWERS)
        data = {self._names[name]: _simple(value) for name, value in row.input.items()}
        data |= {"row_id": row.row_id, "row_number": row.row_number}
        data |= {"reasons": ", ".join(row.reasons), "certainty": row.certainty, ANSWERS: row.answers()}
        predictions = []
        for number, result in enumerate(row.results):
            if result.label is None:
                continue
            choice = {
                "id": f"{row.row_number}-{number}",
                "from_name": QUESTION,
                "to_name": shown,
                "type": "choices",
                "value": {"choices": [result.label]},
            }
            score = {} if result.score is None else {"score": result.score}
            version = result.variant or result.model or "promptmill"
            predictions.append({"model_version": version, **score, "result": [choice]})
        return {"data": data, "predictions": predictions}

    @staticmethod
    def advice(path: Path, columns: Sequence[str], classes: Sequence[str]) -> list[str]:  # noqa: ARG004 - as every form
        names = [*_LabelStudio.names(columns).values(), ANSWERS]
        return [
            "",
            "In Label Studio: make a project, paste this under Labeling Setup, Custom template,",
            "then import the file. The labels that rows have are in its tasks as predictions.",
            "A label that no row got is missing below if the job does not list it: add it.",
            "",
            "<View>",
            *(f'  <Header value="{name}"/>\n  <Text name="{name}" value="${name}"/>' for name in names),
            f'  <Choices name="{QUESTION}" toName="{names[0]}" choice="single">',
            *(f"    <Choice value={quoteattr(name)}/>" for name in classes),
            "  </Choices>",
            "</View>",
        ]


class _Argilla(_List):
    """Records of Argilla 2: fields and metadata, and the label as a suggestion."""

    @staticmethod
    def names(columns: Sequence[str]) -> dict[str, str]:
        # What the server takes for the name of a field: https://docs.argilla.io names must match [a-z0-9_-].
        ours = {"row_number", "reasons", "certainty", ANSWERS, QUESTION}
        return _safe([*(name.lower() for name in columns)], "[^a-z0-9_-]+", ours, columns)

    def element(self, row: Doubtful) -> dict[str, Any]:
        fields = {self._names[name]: _text(value) for name, value in row.input.items()}
        agents = [r.variant or r.model or "promptmill" for r in row.results if r.label == row.label]
        suggestion = {"value": row.label, "score": row.certainty, "agent": ", ".join(agents)}
        return {
            "id": row.row_id,
            "fields": {**fields, ANSWERS: row.answers()},
            "metadata": {"row_number": row.row_number, "reasons": row.reasons, "certainty": row.certainty},
            "suggestions": {} if row.label is None else {QUESTION: suggestion},
            "responses": {},
            "vectors": {},
        }

    @staticmethod
    def advice(path: Path, columns: Sequence[str], classes: Sequence[str]) -> list[str]:
        names = _Argilla.names(columns)
        listed = [f"    rg.TextField({names[name]!r}, title={name!r}, required=False)," for name in columns]
        return [
            "",
            "In Python, with the package argilla 2 and a client that is logged in. A label that",
            "no row got is missing below if the job does not list it: add it.",
            "",
            "import argilla as rg",
            "settings = rg.Settings(",
            "  fields=[",
            *listed,
            f"    rg.TextField({ANSWERS!r}),",
            "  ],",
            f"  questions=[rg.LabelQuestion({QUESTION!r}, labels={[*classes]!r})],",
            "  metadata=[",
            '    rg.IntegerMetadataProperty("row_number"),',
            '    rg.TermsMetadataProperty("reasons"),',
            '    rg.FloatMetadataProperty("certainty"),',
            "  ],",
            ")",
            'dataset = rg.Dataset("review", settings=settings)',
            "dataset.create()",
            f"dataset.records.from_json({str(path)!r})",
        ]


FORMS: Final[dict[Form, type[Writer]]] = {
    "jsonl": _Jsonl,
    "csv": _Csv,
    "label-studio": _LabelStudio,
    "argilla": _Argilla,
}


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or one like it that is not taken."""
    new, number = name, 1
    while new in taken:
        number += 1
        new = f"{name}_{number}"
    return new


def _safe(
    names: Sequence[str], forbidden: str, taken: Collection[str], columns: Sequence[str] | None = None
) -> dict[str, str]:
    """Names that a tool takes, each once.

    Args:
        names: as they would be called.
        forbidden: a pattern of what must not be in a name.
        taken: names that are ours.
        columns: the columns that they stand for; by default called as the names.
    """
    used = set(taken)
    found: dict[str, str] = {}
    for position, (column, name) in enumerate(zip(columns or names, names, strict=True)):
        plain = re.sub(forbidden, "_", name).strip("_-")[:_LONGEST_NAME] or f"column_{position + 1}"
        new = _free(plain, used)
        used.add(new)
        found[column] = new
    return found


def _simple(value: Any) -> Any:
    """A value that Label Studio can show: lists and objects as JSON text, nothing as empty text."""
    if value is None:
        return ""
    return value if isinstance(value, (str, int, float)) else sheet.text_of(value)


def _text(value: Any) -> str:
    return "" if value is None else sheet.text_of(value)
