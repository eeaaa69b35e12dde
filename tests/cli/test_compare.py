"""`compare`, and what `show`, `check`, `status` and `run` say of several variants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.cli.compare import _row, _wrapped
from batch.output.folder import OutputFolder
from batch.report.compare import Answer, Compared, Comparison, meaning
from tests.cli.conftest import Cli, Shell
from tests.support.labelled import labelled
from tests.support.outfolders import as_published

NAMES = ["glm-4", "glm-3-turbo"]


def run(shell: Shell, count: int = 3, **more: Any) -> None:
    """A finished run in two models."""
    assert shell("run", shell.write(shell.rows(count), **{"names": NAMES, **more}), "--progress", "none").code == 0


def answer(shell: Shell, said: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Put other values into the table, by row and variant."""
    path = shell.out / "results" / "part-00000.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    for row in rows:
        row.update(said.get((row["row_id"], row["variant"]), {}))
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    as_published(OutputFolder(shell.out))


def test_compare_tells_the_sums_of_each_variant_and_the_rows_that_differ(shell: Shell, cli: Cli) -> None:
    """Head, agreement, and each answer under its variant; white space at the ends and the order of keys say nothing."""
    run(shell, 5)
    answer(
        shell,
        {
            ("r-000", "glm-4"): {"answer": '{"a": 1, "b": [2.0, null]}'},
            ("r-000", "glm-3-turbo"): {"answer": ' {"b":[2,null],"a":1}\n'},
            ("r-001", "glm-4"): {"answer": "yes \n", "finish_reason": "length", "flags": ["truncated"]},
            ("r-001", "glm-3-turbo"): {"answer": "no"},
            ("r-002", "glm-4"): {
                "status": "failed",
                "answer": None,
                "error_kind": "rejected",
                "error_code": "1214",
                "error_message": "not \x1b[31mthis",
            },
        },
    )
    said = cli("compare", shell.out)
    assert (said.code, said.err) == (0, "")
    assert "2 variants of 5 rows\n" in said.out
    lines = [line.split() for line in said.out.splitlines()]
    assert ["glm-4", "4", "1"] in [line[:3] for line in lines]
    assert ["glm-3-turbo", "5", "0"] in [line[:3] for line in lines]
    assert "glm-4 = glm-3-turbo  75.0 %  3 of 4" in said.out
    assert "2 rows differ\n" in said.out
    assert ["yes", "no"] in lines, "side by side"
    assert "[length, truncated]" in said.out
    assert "failed: rejected/1214: not  [31mthis" in said.out
    assert "\x1b" not in said.out
    both = Answer(variant="glm-4", status="ok", answer="yes"), Answer(variant="b", status="ok", answer="no")
    row = Compared(row_id="r", row_number=0, inputs={}, differs=True, answers=both)
    assert list(_row(row, ["glm-4", "b", "c"], 60)) == ["r", "  glm-4  yes", "  b      no", "  c      (no result yet)"]
    assert "r-000\n" not in said.out
    assert "r-000\n" in cli("compare", shell.out, "--all").out


def test_compare_shows_as_many_rows_as_asked_and_says_how_many_more(shell: Shell, cli: Cli) -> None:
    """20 by default, 0 for the sums alone."""
    run(shell, 25)
    answer(shell, {(f"r-{n:03d}", "glm-4"): {"answer": f"another {n}"} for n in range(22)})
    said = cli("compare", shell.out)
    assert "22 rows differ, the first 20\n" in said.out
    assert "2 more rows: --limit N shows more" in said.out
    assert said.out.count("another ") == 20
    assert cli("compare", shell.out, "--limit", "22").out.count("another ") == 22
    alone = cli("compare", shell.out, "--limit", "0").out
    assert alone.endswith("22 rows differ.\n")
    assert cli("compare", shell.out, "--limit", "-1").code == 2
    one = cli("compare", shell.out, "--limit", "1", "--column", "id").out
    assert "text:" not in one


def test_compare_for_programs_has_a_row_a_line(shell: Shell, cli: Cli) -> None:
    """All that differ, whole; with --limit 0 one object of the sums."""
    run(shell, 4)
    assert cli("compare", shell.out, "--json").out == ""
    answer(shell, {("r-001", "glm-4"): {"answer": "x" * 5_000}, ("r-003", "glm-4"): {"answer": "z"}})
    rows = [json.loads(line) for line in cli("compare", shell.out, "--json").out.splitlines()]
    assert [row["row_id"] for row in rows] == ["r-001", "r-003"]
    assert rows[0]["differs"] is True
    assert rows[0]["inputs"]["text"] == "Tell me about the number 1."
    assert [(told["variant"], len(told["answer"]) == 5_000) for told in rows[0]["answers"]] == [
        ("glm-4", True),
        ("glm-3-turbo", False),
    ]
    assert len(cli("compare", shell.out, "--json", "--all").out.splitlines()) == 4
    assert len(cli("compare", shell.out, "--json", "--limit", "1").out.splitlines()) == 1
    sums = json.loads(cli("compare", shell.out, "--json", "--limit", "0").out)
    assert sums["rows"] == {"read": 4, "complete": 4, "differing": 2}
    assert [(pair["first"], pair["share"]) for pair in sums["pairs"]] == [("glm-4", 0.5)]
    assert [list(told["cost"]) for told in sums["variants"]] == [["CNY"], ["CNY"]]


def test_compare_tells_rows_without_a_result_and_variants_no_longer_asked(shell: Shell, cli: Cli) -> None:
    """A model added for a few rows, and one taken out."""
    run(shell, 4)
    folder = shell.write(shell.rows(4), name="glm-3-turbo", names=["glm-3-turbo", "glm-4-plus"])
    assert shell("run", folder, "--limit", "1", "--progress", "none").code == 0
    said = cli("compare", shell.out).out
    assert "3 variants of 4 rows, 3 without a result in some of them" in said
    assert [line.split()[0] for line in said.splitlines()[2:5]] == ["glm-3-turbo", "glm-4-plus", "glm-4"]
    assert "not asked by the last run" in said.splitlines()[4]
    two = cli("compare", shell.out, "--variant", "glm-4-plus", "--variant", "glm-3-turbo", "--all").out
    assert "(no result yet)" in two
    assert "glm-4-plus = glm-3-turbo" in two


def test_compare_refuses_where_there_is_nothing_to_compare(shell: Shell, cli: Cli) -> None:
    """Exit 2, with the way out: no variants, one of them, a wrong name, no output folder."""
    assert shell("run", shell.write(shell.rows(1)), "--progress", "none").code == 0
    said = cli("compare", shell.out)
    assert (said.code, said.out) == (2, "")
    assert "its rows have no variants. Several models (model.names)" in said.err
    run(shell, 1)
    assert cli("compare", shell.out, "--variant", "glm-4").code == 2
    wrong = cli("compare", shell.out, "--variant", "glm-5")
    assert (wrong.code, "It has glm-4, glm-3-turbo" in wrong.err) == (2, True)
    assert (cli("compare", shell.out, "--column", "txt").code, cli("compare", shell.folder).code) == (2, 2)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("yes", "  yes\n", True),
        ("yes", "Yes", False),
        ('{"a":1,"b":2}', '{"b": 2, "a": 1}', True),
        ('{"a":null}', "{}", False),
        ("[1, 2]", "[2, 1]", False),
        ("[1.0]", "[1]", True),
        ("[true]", "[1]", False),
        ("{not json", "{not json", True),
        ("[" * 100_000, "[" * 100_000, True),
        (None, "", True),
        ('["a"]', '"a"', False),
    ],
)
def test_answers_are_the_same_when_their_text_or_their_values_are(
    one: str | None, other: str | None, same: bool
) -> None:
    """The one rule of agreement."""
    assert (meaning(one) == meaning(other)) is same


def test_wide_signs_are_wrapped_by_the_room_they_take() -> None:
    """Most Chinese signs take two cells, so half as many stand in a line; nothing is lost."""
    lines = _wrapped("你好世界abc" * 3, 10)
    assert "".join(lines) == "你好世界abc" * 3
    assert lines[0] == "你好世界ab"


def test_show_tells_each_variant_of_a_row_or_the_one_asked_for(shell: Shell, cli: Cli) -> None:
    """The input once, then what each variant said and cost, with its own calls."""
    run(shell, 2)
    said = cli("show", shell.out, "r-001").out
    assert said.startswith("row r-001, number 1: 2 variants\ninput\n")
    assert said.count("Tell me about the number 1.\n") == 1
    assert said.count("1 call\n") == 2
    assert said.index("variant glm-4: ok") < said.index("variant glm-3-turbo: ok")
    one = cli("show", shell.out, "r-001", "--variant", "glm-3-turbo").out
    assert one.startswith("row r-001, number 1, variant glm-3-turbo: ok\n")
    assert "glm/glm-4," not in one
    told = json.loads(cli("show", shell.out, "r-001", "--json").out)
    assert [(view["variant"], len(view["calls"])) for view in told["variants"]] == [(name, 1) for name in NAMES]
    flat = json.loads(cli("show", shell.out, "r-001", "--json", "--variant", "glm-4").out)
    assert (flat["variant"], flat["outcome"]["model"]) == ("glm-4", "glm-4")
    wrong = cli("show", shell.out, "r-001", "--variant", "glm-5")
    assert (wrong.code, "it has glm-4, glm-3-turbo" in wrong.err) == (2, True)
    near = cli("show", shell.out, "R-001").err
    assert near.count("r-001") == 1


def test_a_beginning_is_refused_when_rows_share_it_however_many_variants_they_have(shell: Shell, cli: Cli) -> None:
    """Ours: a row stands in the table once a variant, and a dozen of one row must not hide the next."""
    shell.sections = {f"prompt.variants.v{n}": [] for n in range(12)}
    assert shell("run", shell.write(shell.rows(2)), "--progress", "none").code == 0
    said = cli("show", shell.out, "r-00")
    assert (said.code, "begins several row ids: r-000, r-001" in said.err) == (2, True)


def test_check_shows_the_first_row_in_all_prompts_and_a_price_for_each_model(alone: Shell, cli: Cli) -> None:
    """Models are asked alike, so they stand together; the next rows are shown once."""
    alone.sections = {"prompt.variants.plain": [], "prompt.variants.kind": ['system = "Be kind."']}
    said = cli("check", alone.write(alone.rows(5), names=["glm-4", "nobodys"])).out
    assert "models    glm/glm-4, nobodys, lane sync" in said
    assert "prompts   plain, kind" in said
    assert "4: each row is asked 4 times" in said
    assert "no price for glm/nobodys" in said
    assert "glm-4: " in said
    assert "line 1, variant glm-4/plain, nobodys/plain\n" in said
    assert "line 1, variant glm-4/kind, nobodys/kind\n" in said
    assert (said.count("Be kind."), said.count("Tell me about the number")) == (1, 4)


def test_check_says_which_variants_were_asked_before_and_are_new(shell: Shell, cli: Cli) -> None:
    """Before they are bought: a job that names its models otherwise asks every row again."""
    run(shell, 2)
    said = cli("check", shell.write(shell.rows(2), name="glm-4"))
    assert "no longer asked, what they answered stays: glm-4, glm-3-turbo" in said.out
    assert "not asked by the last run, so asked for every row: (none)" in said.out
    added = cli("check", shell.write(shell.rows(2), names=[*NAMES, "glm-4-plus"])).out
    assert "not asked by the last run, so asked for every row: glm-4-plus" in added
    assert "no longer asked" not in added


def test_run_and_status_name_the_models_and_the_prompts(shell: Shell, cli: Cli) -> None:
    """And which of them has no price."""
    shell.sections = {"prompt.variants.plain": [], "prompt.variants.kind": ['system = "Be kind."']}
    said = shell("run", shell.write(shell.rows(2), names=["glm-4", "nobodys"]), "--progress", "none").out
    assert "models    glm/glm-4, nobodys" in said
    assert "8 ok, 0 failed  (8 new), 2 rows of the input in several variants" in said
    assert "unknown for 4 calls (no price for glm/nobodys)" in said
    assert f"promptmill compare {shell.out}" in said
    said = cli("status", shell.out).out
    assert "glm/glm-4, nobodys, lane sync" in said
    assert "plain, kind" in said
    assert "(no price for glm/nobodys)" in said


def judged(**labels: list[str | None]) -> list[dict[str, Any]]:
    """Four rows in two variants; the truth of the last is not known."""
    truths = ["a", "b", "a", None]
    return [
        {"text": "t", "truth": truth, "row_id": f"r{n}", "variant": variant, "label": given[n]}
        for n, truth in enumerate(truths)
        for variant, given in labels.items()
    ]


def test_compare_tells_the_accuracy_of_each_variant_where_a_column_has_the_truth(tmp_path: Path, cli: Cli) -> None:
    """Of the rows with a valid label and a truth; the column is that of the job, or is named."""
    rows = judged(good=["a", "b", "a", "a"], bad=["b", "b", None, "a"])
    named = labelled(tmp_path / "named", rows, gold="truth").root
    plain = labelled(tmp_path / "plain", rows).root
    for said in (cli("compare", named), cli("compare", plain, "--gold", "truth")):
        assert (said.code, said.err) == (0, "")
        lines = [line.split() for line in said.out.splitlines()]
        assert ["good", "100.0", "%", "(43.9", "to", "100.0)", "3", "of", "3"] in lines
        assert ["bad", "50.0", "%", "(9.5", "to", "90.5)", "1", "of", "2"] in lines
    assert "right, by" not in cli("compare", plain).out
    told = json.loads(cli("compare", named, "--limit", "0", "--json").out)["variants"]
    assert [(sums["accuracy"], sums["measured"], sums["right"]) for sums in told] == [(1.0, 3, 3), (0.5, 2, 1)]
    assert told[1]["accuracy_interval"] == pytest.approx([0.0945, 0.9055], abs=1e-4)
    nothing = json.loads(cli("compare", plain, "--limit", "0", "--json").out)["variants"][0]
    assert (nothing["accuracy"], nothing["accuracy_interval"], nothing["measured"]) == (None, None, 0)


def test_compare_needs_labels_only_where_a_truth_is_named(tmp_path: Path, cli: Cli) -> None:
    """A job that names a column the table lacks is compared all the same."""
    rows = judged(x=["a", "b", "a", "a"], y=[None, None, None, "a"])
    lacking = labelled(tmp_path / "lacking", rows, gold="category").root
    assert "right, by" not in cli("compare", lacking).out
    assert "no row has both a valid label and a known truth" in cli("compare", lacking, "--gold", "truth").out
    free = [{name: value for name, value in row.items() if name != "label"} for row in rows]
    free = [{**row, "answer": "a"} for row in free]
    out = labelled(tmp_path / "free", free, gold="truth").root
    assert "right, by" not in cli("compare", out).out
    said = cli("compare", out, "--gold", "truth")
    assert (said.code, "has no labels" in said.err) == (2, True)
    assert "66.7 %" in cli("compare", out, "--gold", "truth", "--label", "answer").out
    several = [{**row, "label_a": row["label"], "label_b": "a"} for row in rows]
    several = [{name: value for name, value in row.items() if name != "label"} for row in several]
    out = labelled(tmp_path / "several", several, gold="truth").root
    assert "right, by" not in cli("compare", out).out
    assert cli("compare", out, "--gold", "truth").code == 2
    assert "66.7 %" in cli("compare", out, "--label", "b").out


def test_results_with_labels_are_the_same_when_their_labels_are(tmp_path: Path, cli: Cli) -> None:
    """However the model wrapped it: in a fence, in prose, with another case."""
    said = [
        ("billing", "```json\n{}\n```"),
        ("billing", "It is about billing."),
        ("other", "other"),
        ("billing", "other"),
    ]
    rows = [
        {"n": n // 2, "label": label, "row_id": f"r{n // 2}", "variant": NAMES[n % 2], "answer": answer}
        for n, (label, answer) in enumerate(said)
    ]
    found = cli("compare", labelled(tmp_path / "out", rows, names=["billing", "other"]).root)
    assert (found.code, found.err) == (0, "")
    assert "the same label, of the rows that both answered" in found.out
    assert "1 of 2" in " ".join(found.out.split())
    comparison = Comparison(tmp_path / "out")
    assert [row.differs for row in comparison.rows()] == [False, True]


def test_labels_that_are_objects_are_the_same_when_all_their_properties_are(tmp_path: Path) -> None:
    values = [("a", 1), ("a", 1), ("a", 1), ("a", 2)]
    rows = [
        {"n": n // 2, "label_topic": topic, "label_score": score, "row_id": f"r{n // 2}", "variant": NAMES[n % 2]}
        for n, (topic, score) in enumerate(values)
    ]
    out = labelled(tmp_path / "out", [row | {"answer": f"{n}"} for n, row in enumerate(rows)]).root
    assert [row.differs for row in Comparison(out).rows()] == [False, True]
    chosen = Comparison(out, label="label_topic")
    assert [row.differs for row in chosen.rows()] == [False, False], "the property that was named decides"
