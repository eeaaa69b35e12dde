"""Whole runs that ask for labels: typed columns, re-asks, another model, kills between them, and what makes rows pending."""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from functools import partial
from typing import Any

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.cli import main
from batch.job.job import Job
from batch.ledger.reader import LedgerReader
from batch.report.export import export
from batch.report.label_table import LabelTable
from batch.report.row import row_of
from batch.run.command import Report, run
from tests.system.runs.conftest import LANES, Make, Mill

NAMES = ["billing", "delivery", "other"]
FAULTY = "".join(f"[[fault]]\nbehaviour = {number}\nrate = {rate}\n" for number, rate in ((73, 0.3), (74, 0.1)))
NEVER = '[[fault]]\nbehaviour = 74\nmodel = "glm-4"\n'
"""The first model never says a label that is in the list."""
SCHEMA = {
    "type": "object",
    "properties": {
        "topic": {"type": "string", "enum": NAMES},
        "urgent": {"type": "boolean"},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
        "money": {
            "type": "object",
            "properties": {"amount": {"type": "number"}, "currency": {"enum": ["CNY", "EUR"]}},
            "required": ["amount", "currency"],
        },
        "tags": {"type": "array", "items": {"enum": ["parcel", "card"]}},
    },
    "required": ["topic", "urgent", "score", "money", "tags"],
}


def labelled(mill: Mill, count: int = 6, **labels: Any) -> Mill:
    """Tickets about bills and deliveries, and what they are to be labelled with."""
    words = ("My billing is wrong", "The delivery is late", "Nothing fits")
    mill.write([{"n": n, "question": f"{words[n % 3]} {n}", "category": NAMES[n % 3]} for n in range(count)])
    ask(mill, **{"names": NAMES, **labels})
    return mill


def ask(mill: Mill, **labels: Any) -> None:
    mill.more = "[labels]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in labels.items() if value != [])


def run_as_it_stands(mill: Mill) -> Report:
    """The job file that lies in the folder, whoever wrote it."""
    return anyio.run(partial(run, Job.load(mill.folder), environ=mill.environ))


def purposes(mill: Mill) -> Counter[tuple[str, str]]:
    """How many answered calls were made for what, by model."""
    return Counter(mill.calls("purpose, model_asked", "state = 'answered'"))


@pytest.mark.parametrize(("provider", "lane"), [*LANES, ("glm", "stream"), ("openai", "stream")])
def test_names_become_a_dictionary_column_in_every_lane_and_dialect(make: Make, provider: str, lane: str) -> None:
    """The model answers in the form that the service has: a JSON object there, a schema here."""
    mill = labelled(make(provider=provider, lane=lane))
    assert mill.run().exit_code == 0
    table = pq.read_table(mill.out / "results")
    assert table.schema.field("label").type == pa.dictionary(pa.int32(), pa.string())
    assert table.schema.names.index("label") == table.schema.names.index("reasoning") + 1
    assert mill.results("label, category, answer") == [(name, name, f'{{"label":"{name}"}}') for name in NAMES * 2]
    assert purposes(mill) == {("first", mill.model): 6}
    assert mill.calls("DISTINCT sample, attempt") == [(0, 0)]


def test_the_labels_of_a_run_are_held_against_the_truth_that_its_job_names(
    mill: Mill, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two truths of six are others than what the model says; who corrects a row is offered every name of the job."""
    labelled(mill, gold="category", names=[*NAMES, "praise"])
    words = ("My billing is wrong", "The delivery is late", "Nothing fits")
    truths = ["other", "other", *NAMES[2:], *NAMES]
    mill.write([{"n": n, "question": words[n % 3], "category": truth} for n, truth in enumerate(truths)])
    assert mill.run().exit_code == 0
    assert main(["labels", str(mill.out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["label"], told["gold"], told["coverage"]) == ("label", "category", 1.0)
    assert told["accuracy"] == pytest.approx(4 / 6)
    assert told["confusion"]["other"] == {"billing": 1, "delivery": 1, "other": 2}
    assert LabelTable(mill.out).names == [*NAMES, "praise"]
    assert mill.runs()[-1]["job"]["labels"] == {"gold": "category", "names": [*NAMES, "praise"]}


def test_an_object_becomes_typed_columns_nested_ones_and_nulls_among_them(mill: Mill) -> None:
    """Structs and lists as such; a row that failed has null in each."""
    (mill.folder / "label.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    mill.write([{"n": 1, "question": "My billing of 12.50 EUR"}, {"n": 2, "question": "delivery of a parcel, 3 days"}])
    mill.more = '[labels]\nschema = "label.json"\n'
    assert mill.run().exit_code == 0
    table = pq.read_table(mill.out / "results")
    types = {name: str(table.schema.field(name).type) for name in table.schema.names if name.startswith("label")}
    assert types == {
        "label_topic": "dictionary<values=string, indices=int32, ordered=0>",
        "label_urgent": "bool",
        "label_score": "int64",
        "label_money": "struct<amount: double, currency: string>",
        "label_tags": "list<element: string>",
    }
    first, second = table.to_pylist()
    assert (first["label_topic"], first["label_money"]) == ("billing", {"amount": 12.5, "currency": "EUR"})
    assert (second["label_topic"], second["label_tags"], second["label_score"]) == ("delivery", ["parcel"], 3)


def test_faults_73_and_74_lose_no_row_and_every_call_is_booked(make: Make) -> None:
    """Broken JSON in 30 % and invented labels in 10 % of the answers, killed in between: cost equal to the books."""
    mill = labelled(make(f"[latency]\nchat_ms = [5, 20]\n{FAULTY}"), 120, escalate="glm-4-plus", reasks=1)
    for kills, failpoint in enumerate(("answered.committed:2", "sent.committed:2", "settled.committed:2")):
        code, said = mill.command(failpoint=failpoint)
        assert code == -signal.SIGKILL, f"{kills}: {said}"
    code, said = mill.command()
    assert code in (0, 1), said
    mill.check_table(120)
    mill.check_books(at_risk=3 * 16)
    mill.check_sums()
    asked = purposes(mill)
    assert asked["reask", "glm-4"] > 20
    assert asked["escalate", "glm-4-plus"] > 2
    assert {model for purpose, model in asked if purpose != "escalate"} == {"glm-4"}
    rows = mill.results("status, label, error_kind, category, answer")
    for status, label, kind, category, answer in rows:
        assert (status, label, kind) in (("ok", category, None), ("failed", None, "label"))
        assert answer is not None
    made = Counter(purpose for (purpose,) in mill.calls("purpose"))
    assert f"  {made['reask']:,} calls asked again, {made['escalate']:,} calls asked another model" in said


def test_a_row_that_tools_are_used_for_is_labelled_by_its_last_answer(mill: Mill) -> None:
    """After the tools; a bad label is asked again behind them."""
    mill.tools = (
        "from batch import tool\n\n@tool\ndef add(a: float, b: float) -> float:\n    '''Add two numbers.'''\n"
        "    return a + b\n"
    )
    mill.write([{"n": 1, "question": "What is 2 plus 3? It is about delivery."}])
    ask(mill, names=NAMES)
    assert mill.run().exit_code == 0
    ((label, turns, tools),) = mill.results("label, turns, tool_calls")
    assert (label, turns, tools) == ("delivery", 2, 1)


def test_of_several_turns_the_last_is_labelled_and_the_others_are_free(mill: Mill) -> None:
    """The form and the words that ask for a label go with the last turn alone."""
    mill.write([{"n": 1, "question": "x", "said": ["Tell me a story.", "My delivery is late"]}])
    ask(mill, names=NAMES)
    folder = mill.save()
    text = (folder / "job.toml").read_text("utf-8").replace('user = "{{ question }}"', 'turns = "said"')
    (folder / "job.toml").write_text(text, encoding="utf-8")
    assert run_as_it_stands(mill).exit_code == 0
    ((label, messages),) = mill.results("label, messages")
    first, *_ = json.loads(messages)
    assert (label, first["content"].startswith("{")) == ("delivery", False)


def test_each_variant_has_its_label_and_escalates_by_itself(make: Make) -> None:
    """The second model is asked for the first one's rows as well; both are booked under their own names."""
    mill = labelled(make(NEVER), 3, escalate="glm-4-plus", reasks=0)
    mill.model = "glm-4"
    folder = mill.save()
    text = (folder / "job.toml").read_text("utf-8").replace('name = "glm-4"', 'names = ["glm-4", "glm-4-plus"]')
    text = text.replace("[limits]", '[limits.model."glm-4-plus"]\nconcurrency = 2\n[limits]')
    (folder / "job.toml").write_text(text, encoding="utf-8")
    assert run_as_it_stands(mill).exit_code == 0
    assert mill.results("variant, label, model_asked") == [
        (variant, name, "glm-4-plus") for name in NAMES for variant in ("glm-4", "glm-4-plus")
    ]
    assert purposes(mill) == {("first", "glm-4"): 3, ("first", "glm-4-plus"): 3, ("escalate", "glm-4-plus"): 3}


@pytest.fixture
def failed(make: Make) -> Mill:
    """Three rows that failed as `label` after one re-ask each, and one that is ok."""
    mill = labelled(make(f"{NEVER}rows = ['0', '1', '2']\n"), 4, reasks=1)
    assert mill.run().exit_code == 1
    assert mill.one("error_kind") == ["label"] * 3 + [None]
    assert all(answer for answer in mill.one("answer"))
    return mill


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({}, 0),
        ({"reasks": 0}, 0),
        ({"reasks": 2}, 3 * 3),
        ({"escalate": "glm-4-plus"}, 3 * 3),
        ({"names": ["delivery", "other", "billing"]}, 0),
        ({"names": [*NAMES, "more"]}, 3 * 2 + 1),
    ],
)
def test_what_makes_rows_pending_that_failed_for_their_label(failed: Mill, change: dict[str, Any], asked: int) -> None:
    """More re-asks or another model ask the failed rows again, other names all of them; anything less none."""
    before = len(failed.books())
    ask(failed, **{"names": NAMES, "reasks": 1, **change})
    failed.run()
    assert len(failed.books()) - before == asked
    if "escalate" in change:
        assert failed.one("label") == ["billing", "delivery", "other", "billing"]
        assert failed.one("status") == ["ok"] * 4
    again = len(failed.books())
    failed.run()
    assert len(failed.books()) == again, "and once is enough"


@pytest.mark.parametrize("lost", [True, False], ids=["ledger lost", "ledger kept"])
def test_a_rebuilt_ledger_knows_labels_and_what_was_tried_for_them(failed: Mill, lost: bool) -> None:
    """Nothing is bought again by the same job, and the failed rows are when it allows more."""
    before = failed.results("n, label, status, error_code")
    if lost:
        for path in failed.out.glob("ledger.db*"):
            path.unlink()
    assert main(["rebuild", str(failed.out)]) == (1 if lost else 0)
    bought = len(failed.books())
    failed.run()
    assert (failed.results("n, label, status, error_code"), len(failed.books())) == (before, bought)
    ask(failed, names=NAMES, reasks=2)
    failed.run()
    assert len(failed.books()) == bought + 9


def test_labels_that_come_to_an_old_table_get_their_column_in_every_part(mill: Mill) -> None:
    """And an input column that is called `label` gets another name, without losing what it had."""
    rows = [{"n": n, "question": f"My delivery {n}", "label": f"by hand {n}"} for n in range(4)]
    mill.write(rows)
    mill.output = {"rows_per_part": 2}
    assert mill.run().exit_code == 0
    assert mill.one("label") == [row["label"] for row in rows]
    ask(mill, names=NAMES)
    assert mill.run(limit=1).exit_code == 0
    assert [path for path in mill.parts() if "label" not in pq.read_schema(mill.out / "results" / path).names] == []
    assert mill.results("input_label, label") == [
        ("by hand 0", "delivery"),
        *((f"by hand {n}", None) for n in (1, 2, 3)),
    ]
    assert mill.run().exit_code == 0
    assert mill.one("label") == ["delivery"] * 4
    mill.more = '[labels]\nschema = "label.json"\n'
    (mill.folder / "label.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    assert mill.run(limit=1).exit_code == 0
    assert mill.results("label, label_topic")[:2] == [(None, "delivery"), ("delivery", None)]


def test_a_column_of_labels_keeps_its_type(mill: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be cast is refused before anything is sent, with the way out."""
    mill.write([{"n": 1, "question": "3 days"}])
    schema = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}
    (mill.folder / "label.json").write_text(json.dumps(schema), encoding="utf-8")
    mill.more = '[labels]\nschema = "label.json"\n'
    assert mill.run().exit_code == 0
    schema["properties"] = {"score": {"type": "string"}}
    (mill.folder / "label.json").write_text(json.dumps(schema), encoding="utf-8")
    assert main(["check", str(mill.save())]) == 2
    assert "the column label_score is string now, and int64 in the results so far" in capsys.readouterr().err


def test_show_export_and_status_tell_of_labels(failed: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    """What a row was labelled, what each call was for, and how many rows have no label."""
    ids = failed.one("row_id")
    assert main(["show", str(failed.out), ids[3]]) == 0
    said = capsys.readouterr().out
    assert "label\n  label  billing\n" in said
    assert main(["show", str(failed.out), ids[0]]) == 0
    said = capsys.readouterr().out
    assert "error label/outside, for good" in said
    assert "  reask  answered" in said
    (view,) = row_of(failed.out, ids[0])
    assert [call["purpose"] for call in view.calls] == ["first", "reask"]
    assert main(["status", str(failed.out)]) == 0
    assert "3 calls asked again, 3 rows without a valid label" in capsys.readouterr().out
    target = failed.folder / "table.csv"
    export(failed.out, target, columns=["n", "label"])
    assert target.read_text("utf-8-sig").splitlines() == ['"n","label"', "0,", "1,", "2,", '3,"billing"']


def test_a_label_that_has_settled_and_is_not_published_is_shown_with_its_row(mill: Mill) -> None:
    """As it will stand in the table."""
    labelled(mill, 3)
    assert mill.command(failpoint="settled.committed")[0] == -signal.SIGKILL
    shutil.copytree(mill.out, mill.folder / "copy")
    with LedgerReader(mill.folder / "copy" / "ledger.db") as reader:
        settled = [row.row_id for row in reader.outcomes(0)]
    assert settled
    for row_id in settled:
        (view,) = row_of(mill.out, row_id)
        assert view.outcome is not None
        assert (view.stage, view.outcome["label"] in NAMES) == ("settled", True)


def test_a_task_of_a_job_whose_labels_changed_is_collected_with_its_own_label(make: Make) -> None:
    """Nothing more is sent for the old names; the row is asked anew for the new ones."""
    mill = labelled(make("[latency]\ntask_ms = [300, 400]\n", lane="task"), 3)
    assert mill.command(failpoint="accepted.committed")[0] == -signal.SIGKILL
    ask(mill, names=[*NAMES, "more"])
    assert mill.run().exit_code == 0
    assert mill.one("label") == NAMES
    mill.check_table(3)
    mill.check_books(at_risk=3)
