"""Several models and prompts over the same rows: one result per row and variant, each bought once, each in its place."""

from __future__ import annotations

import json
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batch.job.job import Job
from batch.plan import preflight
from batch.plan.survey import survey
from batch.tokens.calibration import Notes
from batch.tokens.model import TokenModel
from tests.simulator.conftest import Gate, Start
from tests.system.runs.conftest import GLM_LANES, SOME, Make, Mill
from tests.system.runs.test_stops import kill_with_tasks, submits

TWO = ("glm-4", "glm-3-turbo")
PROMPTS = {"plain": {}, "kind": {"system": "Be kind."}}
PER_TOKEN = {"glm-4": Decimal("0.0001"), "glm-3-turbo": Decimal("0.000001")}


class Many(Mill):
    """A job in several variants."""

    def __init__(self, folder: Path, sim: Any, **how: Any) -> None:
        super().__init__(folder, sim, **how)
        self.names: tuple[str, ...] = TWO
        self.prompts: dict[str, dict[str, str]] = {}
        self.shared = ""
        self.key = "n"

    def save(self) -> Path:
        """The job file as it is now."""
        folder = super().save()
        path = folder / "job.toml"
        text = path.read_text(encoding="utf-8")
        if self.names:
            text = text.replace(f"name = {json.dumps(self.model)}\n", f"names = {json.dumps(self.names)}\n")
        if self.shared:
            text = text.replace('provider = "glm"\n', f'provider = "glm"\nparameters = {self.shared}\n')
        for name, said in self.prompts.items():
            text += f"\n[prompt.variants.{name}]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in said.items())
        path.write_text(text, encoding="utf-8")
        return folder

    @property
    def variants(self) -> list[str]:
        """Their names, in the order of the job."""
        parts = [[name, prompt] for name in self.names or ("",) for prompt in self.prompts or ("",)]
        return ["/".join(part for part in pair if part) for pair in parts]

    def check(self, count: int, *, at_risk: int = 0) -> None:
        """One result per row and variant, ordered by number, then as the job lists them; the books agree."""
        found = self.results("row_number, variant, row_id")
        assert [row[:2] for row in found] == [(n, variant) for n in range(count) for variant in self.variants]
        assert len({row[2] for row in found}) == count
        assert self.pending() == []
        self.check_books(at_risk=at_risk)

    def asked(self) -> list[str]:
        """The models of the requests since the last look, with the books closed behind them."""
        assert self.sim is not None
        models = [record["model"] for record in self.books()]
        self.sim.reset()
        return models


@pytest.fixture
def many(tmp_path: Path, start: Start) -> Many:
    """Two models over the same rows, known by `n`, in the sync lane."""
    return of(tmp_path, start(""))


def of(folder: Path, sim: Any, *, lane: str = "sync") -> Many:
    return Many(folder / "job", sim, lane=lane)


@pytest.mark.parametrize("lane", [*GLM_LANES, "stream"])
def test_every_row_has_one_result_for_each_model_and_prompt_in_the_order_of_the_job(
    lane: str, tmp_path: Path, start: Start
) -> None:
    """Design 5: order is (row_number, variant in job order); a part holds all variants of its rows."""
    many = of(tmp_path, start(""), lane=lane)
    many.prompts, many.output = PROMPTS, {"rows_per_part": 8}
    many.questions(20)
    report = many.run()
    assert (report.exit_code, report.planned.source_rows, report.planned.new, report.table_rows) == (0, 20, 80, 80)
    many.check(20)
    assert (
        many.query(
            f"SELECT count(DISTINCT filename) FROM read_parquet('{many.out}/results/*', filename=true) GROUP BY row_id"
        )
        == [(1,)] * 20
    )
    assert len(many.parts()) == 3
    assert many.results("model_asked, model, variant LIKE model_asked || '/%'")[:3:2] == [
        ("glm-4", "glm-4", True),
        ("glm-3-turbo", "glm-3-turbo", True),
    ]
    told = many.runs()[0]["job"]
    assert (told["models"], told["prompts"], told["variants"]) == (list(TWO), ["plain", "kind"], many.variants)
    assert many.run().state == "nothing_to_do"


def test_each_model_is_paid_at_its_own_price(many: Many) -> None:
    """Promise 5: cost is exact by the model that was asked, in the table and in the book."""
    many.questions(10)
    assert many.run().exit_code == 0
    for table in (many.results, many.calls):
        found = table("model_asked, total_tokens, cost")
        assert [row[0] for row in found].count("glm-3-turbo") == 10
        assert all(cost == PER_TOKEN[model] * tokens for model, tokens, cost in found)


def test_a_model_added_later_is_asked_alone_and_every_row_keeps_its_place(many: Many) -> None:
    """Promise 3: what was answered for the same question is not bought again."""
    many.names, many.output = ("glm-4",), {"rows_per_part": 4}
    many.questions(10)
    assert many.run().exit_code == 0
    assert many.asked() == ["glm-4"] * 10
    before = many.results("row_id, row_number, filename, answer, run")
    many.names = ("glm-3-turbo", "glm-4", "glm-4-plus")
    report = many.run()
    assert (report.exit_code, report.planned.new, report.planned.unchanged) == (0, 20, 10)
    assert sorted(many.asked()) == ["glm-3-turbo"] * 10 + ["glm-4-plus"] * 10
    assert [row for row in many.results("row_id, row_number, filename, answer, run") if row[4] != report.run] == before
    assert many.results("row_number, variant") == [(n, variant) for n in range(10) for variant in many.variants]
    assert len(many.parts()) == 3


def estimated(many: Many) -> tuple[int, int]:
    """How many rows an estimate says will be sent, and how many take over an answer."""
    checked = preflight.check_job(Job.load(many.save()), many.environ)
    found = survey(checked, {variant.model: TokenModel(Notes().learned) for variant in checked.variants}, {})
    return found.to_ask, found.taken_over


def test_an_answer_keeps_its_worth_when_its_variant_gets_a_name_and_when_that_goes(many: Many) -> None:
    """Promise 3: a second model came, and all rows of the first were bought again, under its name; and the way back."""
    many.names, many.output = (), {"rows_per_part": 4}
    many.questions(10)
    assert many.run().exit_code == 0
    assert many.asked() == ["glm-4"] * 10
    answers = many.results("n, answer")
    for names, new, taken in (
        (TWO, ["glm-3-turbo"] * 10, 10),
        ((), [], 0),
        (("glm-4-plus", "glm-4"), ["glm-4-plus"] * 10, 0),
    ):
        many.names = names
        assert estimated(many) == (len(new), taken)
        report = many.run()
        assert (report.exit_code, report.planned.taken_over, many.asked()) == (0, taken, new)
        named = "glm-4" if names else None
        assert [row[1:] for row in many.results("variant, n, answer") if row[0] == named] == answers
        assert many.run().state == "nothing_to_do"
    found = many.results("variant, calls, cost, deduplicated_from = row_id")
    assert [row[1:] for row in found if row[0] == "glm-4"] == [(0, 0, True)] * 10
    assert sum(many.one("cost")) == sum(row[0] for row in many.calls("cost"))
    assert len(many.parts()) == 3


@pytest.mark.parametrize("prompts", [{}, PROMPTS], ids=["models", "models and prompts"])
def test_a_model_taken_out_leaves_its_results_and_the_others_are_not_bought_again(
    prompts: dict[str, dict[str, str]], many: Many
) -> None:
    """Design 4: variants no longer asked for stay as they are, also when one model remains."""
    many.prompts = prompts
    rows = many.questions(6)
    assert many.run().exit_code == 0
    many.asked()
    before = many.results("row_id, variant, answer, run")
    many.names = ("glm-3-turbo",)
    report = many.run()
    assert (report.exit_code, many.asked(), many.results("row_id, variant, answer, run")) == (0, [], before)
    rows[2]["question"] = "Something else?"
    many.write(rows)
    report = many.run()
    each = max(1, len(prompts))
    assert (report.exit_code, many.asked()) == (0, ["glm-3-turbo"] * each)
    fresh = [row[:2] for row in many.results("row_number, variant, run") if row[2] == report.run]
    assert fresh == [(2, variant) for variant in many.variants]
    kept = [row for row in many.results("row_id, variant, answer, run") if row[3] != report.run]
    assert sorted(kept) == sorted(row for row in before if row[:2] not in [("2", variant) for variant in many.variants])


def test_an_edited_row_is_asked_in_all_variants_and_keeps_its_place(many: Many) -> None:
    """Design 4: the fingerprint of each of its variants changed."""
    many.prompts = PROMPTS
    rows = many.questions(6)
    assert many.run().exit_code == 0
    many.asked()
    rows[4]["question"] = "Something else?"
    many.write(rows)
    report = many.run()
    assert (report.planned.source_rows, report.planned.changed, sorted(many.asked())) == (
        1,
        4,
        ["glm-3-turbo"] * 2 + ["glm-4"] * 2,
    )
    found = many.results("row_number, variant, run = " + repr(report.run))
    assert found == [(n, variant, n == 4) for n in range(6) for variant in many.variants]


def test_a_limit_counts_rows_of_the_input_and_not_their_variants(many: Many) -> None:
    """Ours: `--limit 5` is five rows, whole, over parts and ranges, whatever each of them still needs."""
    many.output = {"rows_per_part": 2}
    many.questions(12)
    report = many.run(limit=5)
    assert (report.planned.source_rows, report.planned.new, len(many.asked())) == (5, 10, 10)
    assert many.results("n, variant") == [(n, variant) for n in range(5) for variant in TWO]
    many.names = (*TWO, "glm-4-plus")
    report = many.run(limit=3)
    assert (report.planned.source_rows, many.asked()) == (3, ["glm-4-plus"] * 3)
    report = many.run(limit=4)
    assert (report.planned.source_rows, sorted(set(many.asked()))) == (4, ["glm-3-turbo", "glm-4", "glm-4-plus"])
    assert many.run().exit_code == 0
    assert many.results("row_number, variant") == [(n, variant) for n in range(12) for variant in many.variants]


def test_a_sample_is_of_rows_and_has_all_their_variants(many: Many) -> None:
    """Design 4: --limit N --shuffle draws N rows."""
    many.prompts = PROMPTS
    many.questions(40)
    report = many.run(limit=4, sample_seed=1)
    assert (report.planned.source_rows, report.table_rows, len(many.asked())) == (4, 16, 16)
    many.sim = None
    assert many.results("row_number, variant") == [(n, variant) for n in range(4) for variant in many.variants]


@pytest.mark.parametrize("lane", GLM_LANES)
@pytest.mark.parametrize(
    "point", ["admitted.committed:1", "sent.committed:3", "settled.committed:3", "publish.results_named:1"]
)
def test_killed_anywhere_the_same_command_goes_on_and_loses_nothing(
    point: str, lane: str, tmp_path: Path, start: Start
) -> None:
    """Promise 1, with variants."""
    many = of(tmp_path, start(""), lane=lane)
    many.prompts, many.output = PROMPTS, {"rows_per_part": 6}
    many.questions(15)
    assert many.command(failpoint=point)[0] == -signal.SIGKILL
    report = many.run()
    assert report.exit_code == 0
    many.check(15, at_risk=16)
    assert set(many.one("status")) == {"ok"}
    assert many.run().state == "nothing_to_do"


@pytest.mark.parametrize("lane", GLM_LANES)
def test_one_variant_that_failed_is_tried_again_alone(lane: str, tmp_path: Path, start: Start) -> None:
    """Design 4: retryable failures are pending, each variant for itself."""
    fault = '[[fault]]\nbehaviour = 28\nrows = ["Kindly: Tell me something about the number 3."]\n'
    many = of(tmp_path, start(fault), lane=lane)
    many.names, many.prompts = (), {"plain": {}, "kind": {"user": "Kindly: {{ question }}"}}
    many.limits["max_attempts"] = 1
    many.questions(8)
    report = many.run()
    assert (report.exit_code, report.standing) == (1, (0, 1))
    assert [row[:2] for row in many.results("n, variant, status") if row[2] == "failed"] == [(3, "kind")]
    before = many.results("row_id, variant, run")
    many.sim = start("")
    many.url = f"http://127.0.0.1:{many.sim.port}"
    again = many.run()
    assert (again.exit_code, again.planned.retried, again.planned.source_rows, len(many.asked())) == (0, 1, 1, 1)
    now = many.results("row_id, variant, run")
    assert [row[:2] for row in now] == [row[:2] for row in before]
    assert [row[:2] for row in now if row[2] == again.run] == [("3", "kind")]


def test_a_parameter_from_a_column_is_sent_row_by_row_and_a_changed_one_asks_its_row_alone(many: Many) -> None:
    """Ours: it is part of the fingerprint; a value the service does not take is that row's failure, unsent."""
    many.shared = '{ temperature = 0.1, max_tokens = { column = "most" } }'
    rows = [{"n": n, "question": f"Tell me about {n}.", "most": most} for n, most in enumerate([3, 200, None, "many"])]
    many.write(rows)
    report = many.run()
    assert (report.exit_code, len(many.asked())) == (1, 6)
    found = many.results("n, variant, status, finish_reason, completion_tokens <= 3, error_kind")
    assert [row[:2] for row in found] == [(n, variant) for n in range(4) for variant in TWO]
    assert [row[2:] for row in found[:2]] == [("ok", "length", True, None)] * 2
    assert [row[2:4] for row in found[2:6]] == [("ok", "stop")] * 4
    assert [row[2:] for row in found[6:]] == [("failed", None, None, "prompt")] * 2
    rows[0]["most"] = 200
    many.write(rows)
    report = many.run()
    assert (report.planned.changed, len(many.asked())) == (2, 2)
    assert [row[0] for row in many.results("finish_reason")[:2]] == ["stop"] * 2


@pytest.mark.parametrize("names", [("glm-4", "glm-4-plus"), ("glm-3-turbo",)], ids=["other model", "one taken out"])
def test_tasks_of_a_variant_that_is_gone_are_collected_under_its_name_and_price(
    names: tuple[str, ...], tmp_path: Path, start: Start
) -> None:
    """Design 4: accepted ids are collected, booked and published under their own fingerprint."""
    gate = Gate()
    many = of(tmp_path, start(SOME, gate), lane="task")
    many.limits["concurrency"] = 10
    many.questions(8)
    kill_with_tasks(many, 10)
    gate.open()
    bought = submits(many)
    old = {record["client_call_id"]: record for record in many.books()}
    many.names = names
    assert many.run().exit_code == 0
    assert [told["state"] for told in many.runs()] == ["job_changed", "finished"]
    collected = {
        row[0]: row[1:] for row in many.calls("client_call_id, variant, model_asked, total_tokens, cost, state")
    }
    for name, record in old.items():
        if record["task_id"] is not None and collected[name][4] == "answered":
            variant, model, tokens, cost, _ = collected[name]
            assert variant == model == record["model"]
            assert cost == PER_TOKEN[model] * tokens
    assert bought == 10
    asked = [record["model"] for record in many.books() if record["client_call_id"] not in old]
    assert "glm-3-turbo" not in asked[: len(asked) * ("glm-3-turbo" not in names)]
    for name in names:
        assert len(many.query(f"SELECT 1 FROM read_parquet('{many.out}/results/*') WHERE variant = '{name}'")) == 8
    keys = many.results("row_id, variant")
    assert len(keys) == len(set(keys))
    many.check_books(at_risk=10)


def test_a_row_without_an_answer_to_one_prompt_fails_there_alone(many: Many) -> None:
    """Promise 7: what cannot be rendered in one variant is that variant's failure."""
    many.names = ()
    many.prompts = {"plain": {}, "strict": {"user": "{{ 10 // n }}: {{ question }}"}}
    many.questions(4)
    report = many.run()
    assert (report.exit_code, report.standing) == (1, (1, 0))
    failed = [row[:2] for row in many.results("n, variant, status") if row[2] == "failed"]
    assert failed == [(0, "strict")]


def test_without_a_list_there_is_no_variant(make: Make) -> None:
    """Design 2: null when there is one."""
    mill = make()
    mill.questions(3)
    assert mill.run().exit_code == 0
    assert mill.one("variant") == [None] * 3
