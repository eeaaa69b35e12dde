"""`promptmill check` and `promptmill estimate`: what a run will take, before anything is sent."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from batch.core.statefolder import VARIABLE
from batch.report.forecast_json import KEYS
from batch.simulator.books.tokens import of_messages
from batch.tokens.calibration import FILE
from tests.cli.conftest import KEY, NO_WAIT, ROOT, Cli, Shell
from tests.simulator.conftest import Start

SIZE = re.compile(r"size +about ([\d,]+) prompt tokens \(([\d,]+) to ([\d,]+), ([^)]+)\)")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of which nothing is known, and keys."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "state"))
    monkeypatch.setenv("ZAI_API_KEY", KEY)
    return tmp_path / "state"


@pytest.fixture
def mill(tmp_path: Path, start: Start) -> Shell:
    """Jobs against a simulator that answers at once."""
    return Shell(tmp_path / "job", start(NO_WAIT))


def sizes(out: str) -> list[list[int]]:
    """The likely number, the least and the most, of each size that is told."""
    return [[int(number.replace(",", "")) for number in found[:3]] for found in SIZE.findall(out)]


def told(by: Cli | Shell, job: Path, *words: str | Path) -> dict[str, Any]:
    """What `estimate --json` says."""
    said = by("estimate", job, "--json", *words)
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def books(shell: Shell) -> list[dict[str, Any]]:
    """The answers that were billed."""
    import urllib.request

    with urllib.request.urlopen(shell.base.removesuffix("/api/paas/v4") + "/_sim/books") as answer:
        entries: list[dict[str, Any]] = json.load(answer)
    return [entry for entry in entries if entry["billed"]]


def test_the_tokens_of_a_local_text_are_told_before_the_run_with_their_error(tmp_path: Path, cli: Cli) -> None:
    """A Markdown file in the system message: the number another tokenizer counts lies between the ends that are named."""
    job = tmp_path / "job"
    shutil.copytree(ROOT / "jobs" / "long_document", job)
    handbook = (job / "handbook.md").read_text("utf-8")
    (job / "handbook.md").write_text(handbook * 20, encoding="utf-8")
    said = cli("check", job)
    assert said.code == 0, said.err
    likely, least, most = sizes(said.out)[0]
    counted = of_messages([{"role": "system", "content": handbook * 20}])
    assert least < likely < most
    assert least <= counted <= most
    assert most <= 6 * least
    assert "by the model's tokenizer" in said.out


def test_a_job_that_never_ran_is_told_by_a_guess_that_says_so(tmp_path: Path, cli: Cli) -> None:
    """Nothing is written: no output folder, no state."""
    said = cli("estimate", ROOT / "jobs" / "label_tickets", "-o", tmp_path / "out")
    assert said.code == 0, said.err
    assert "nothing was sent" in said.out
    assert re.search(r"to ask +60 \(60 new\)", said.out)
    assert re.search(r"rests on +a guess", said.out)
    assert re.search(r"cost +about [\d.]+ CNY \([\d.]+ to [\d.]+\)", said.out)
    assert re.search(r"time +about 12 s, held by limits.requests_per_minute", said.out)
    assert "--sample" in said.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--sample", "0"], "--sample 0: give at least 1 row"),
        (["--sample", "some"], "--sample"),
        (["--prices", "no-such.toml"], "no-such.toml"),
        (["--set", "input.path=no-such.jsonl"], "no-such.jsonl"),
    ],
)
def test_what_cannot_be_estimated_is_refused_with_the_reason(
    words: list[str], expected: str, tmp_path: Path, cli: Cli
) -> None:
    """Exit 2, one message, nothing written."""
    said = cli("estimate", ROOT / "jobs" / "label_tickets", "-o", tmp_path / "out", *words)
    assert said.code == 2
    assert expected in said.err
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_sample_is_bought_as_run_buys_it_and_tells_what_the_rest_takes(mill: Shell, cli: Cli, state: Path) -> None:
    """40 of 160 rows: the other 120 then take what was said of them, by the simulator's books."""
    texts = ["Tell me about the number {0}.", "为什么这个月的账单比上个月多了 {0} 元？", "Where is order {0}? " * 5]
    mill.write([{"id": f"r-{number}", "text": texts[number % 3].format(number)} for number in range(160)])
    before = told(cli, mill.folder)
    assert list(before) == list(KEYS)
    assert (before["rows"]["new"], before["basis"], before["confidence"]) == (160, "guess", None)
    sampled = told(mill, mill.folder, "--sample", "40")
    assert sampled["sample"]["rows"] == len(books(mill)) == 40
    assert sampled["rows"]["to_ask"] == 120
    assert (sampled["rows"]["new"], sampled["rows"]["unchanged"]) == (120, 40)
    assert (sampled["basis"], sampled["confidence"]) == ("answers", 0.95)
    bought = {entry["client_call_id"] for entry in books(mill)}

    # The same rows as `run --limit 40 --shuffle` draws.
    assert mill("run", mill.folder, "-o", mill.folder / "other", "--limit", "40", "--shuffle").code == 0
    ids = [sorted(_rows(mill, out)) for out in ("out", "other")]
    assert ids[0] == ids[1]
    bought |= {entry["client_call_id"] for entry in books(mill)}

    assert mill("run", mill.folder).code == 0
    rest = [entry for entry in books(mill) if entry["client_call_id"] not in bought]
    assert len(rest) == 120
    for name, key in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")):
        spent = sum(entry[key] for entry in rest)
        assert sampled[name]["least"] <= spent <= sampled[name]["most"], name
        assert sampled[name]["likely"] == pytest.approx(spent, rel=0.15)
        width = (before[name]["most"] - before[name]["least"]) / 160
        assert sampled[name]["most"] - sampled[name]["least"] < width * 120 / 2
    likely = float(sampled["cost"]["CNY"]["likely"])
    assert float(sampled["cost"]["CNY"]["least"]) <= likely <= float(sampled["cost"]["CNY"]["most"])
    assert likely == pytest.approx(sum(float(entry["cost"]) for entry in rest), rel=0.15)
    assert (state / FILE).is_file()


def _rows(mill: Shell, out: str) -> list[str]:
    import pyarrow.dataset as ds

    found: list[str] = ds.dataset(mill.folder / out / "results").to_table(columns=["row_id"])["row_id"].to_pylist()
    return found


def test_rows_are_told_by_what_becomes_of_them(mill: Shell, cli: Cli) -> None:
    """New, changed, to be tried again, failed for good, answered, gone; and nothing was asked for that."""
    rows = mill.rows(12)
    mill.write(rows)
    assert mill("run", mill.folder, "--set", "model.name=glm-4").code == 0
    asked = len(books(mill))
    rows[0]["text"] = "Another question."
    rows = [*rows[:10], {"id": "new", "text": "A new one."}, {"id": "new", "text": "The same key."}]
    mill.write(rows)
    found = told(cli, mill.folder)
    expected = {
        "to_ask": 2,
        "new": 2,
        "changed": 1,
        "failed": 0,
        "begun": 0,
        "cannot_be_asked": 1,
        "unchanged": 9,
        "failed_for_good": 0,
        "gone": 2,
        "gone_variants": 0,
    }
    assert found["rows"].items() >= expected.items()
    assert found["input_rows"] == 12
    assert len(books(mill)) == asked
    said = cli("estimate", mill.folder)
    assert re.search(r"to ask +2 \(2 new, 1 changed\)", said.out), said.out
    assert "2 rows of the table not in the input any more" in said.out
    assert mill("run", mill.folder).code == 1  # the key that stands there twice
    assert told(cli, mill.folder)["rows"]["failed_for_good"] == 1
    assert told(cli, mill.folder)["rows"]["to_ask"] == 0
    assert told(cli, mill.folder)["cost"] in (
        None,
        {"CNY": {"likely": "0.000000000000", "least": "0.000000000000", "most": "0.000000000000"}},
    )


def test_what_one_job_taught_another_knows(mill: Shell, cli: Cli) -> None:
    """200 answers with tools: `check` tells 19 of 20 prompts of another job within 15 percent of what is billed."""
    shutil.copy(ROOT / "jobs" / "quickstart" / "tools.py", mill.folder / "tools.py")
    mill.sections["tools"] = ['module = "tools.py"']
    mill.write([{"id": f"r-{number}", "text": f"What is {number} plus {number * 7}?"} for number in range(100)])
    assert mill("run", mill.folder).code == 0
    assert len(books(mill)) == 200
    before = {entry["client_call_id"] for entry in books(mill)}
    mill.write(
        [{"id": f"s-{number}", "text": f"Please add {number} to {number + 3} for me, 谢谢。"} for number in range(3)]
    )
    said = cli("check", mill.folder, "-o", mill.folder / "second")
    assert "as 200 answers of earlier runs taught" in said.out
    found = told(cli, mill.folder, "-o", mill.folder / "second")
    assert mill("run", mill.folder, "-o", mill.folder / "second").code == 0
    billed = [entry["prompt_tokens"] for entry in books(mill) if entry["client_call_id"] not in before]
    firsts = [tokens for tokens in billed if tokens < min(billed) + 15]
    for likely, least, most in sizes(said.out):
        assert least <= min(firsts) <= most
        assert likely == pytest.approx(min(firsts), rel=0.15)
    assert (found["basis"], found["models"][0]["prompt_basis"]) == ("learned", "learned")
    assert found["input_tokens"]["least"] <= sum(billed) <= found["input_tokens"]["most"]


def test_a_damaged_file_of_what_was_learned_is_told_once_and_written_anew(mill: Shell, cli: Cli, state: Path) -> None:
    """Neither a run nor an estimate fails by it."""
    state.mkdir()
    (state / FILE).write_text("{", encoding="utf-8")
    mill.write(mill.rows(3))
    said = cli("estimate", mill.folder)
    assert said.code == 0
    assert str(state / FILE) in said.out
    ran = mill("run", mill.folder)
    assert ran.code == 0
    assert ran.err.count("learned_tokens_lost") == 1
    assert json.loads((state / FILE).read_text("utf-8"))["models"]
    assert str(state / FILE) not in cli("estimate", mill.folder).out


def test_an_estimate_is_made_while_a_run_is_at_work(tmp_path: Path, start: Start, cli: Cli) -> None:
    """It reads beside it; a sample is refused like any second run."""
    mill = Shell(tmp_path / "job", start("[latency]\nchat_ms = [400, 400]\n"))
    mill.sections["limits"] = ["concurrency = 2"]
    mill.write(mill.rows(60))
    run = mill.start("run", mill.folder)
    try:
        while not (mill.out / "status.json").is_file():
            assert run.poll() is None
        found = told(cli, mill.folder)
        assert 0 < found["rows"]["to_ask"] <= 60
        refused = mill("estimate", mill.folder, "--sample", "5")
        assert refused.code == 2
        assert "another run is at work" in refused.err
    finally:
        run.kill()
        run.wait()
        run.communicate()


def test_models_variants_and_an_unknown_price_are_told_one_by_one(tmp_path: Path, cli: Cli) -> None:
    """Each model has its own tokens and money; what has no price is null, and named."""
    job = tmp_path / "job"
    shutil.copytree(ROOT / "jobs" / "label_tickets", job)
    text = (job / "job.toml").read_text("utf-8").replace('name = "glm-4"', 'names = ["glm-4", "no-such-model"]')
    (job / "job.toml").write_text(text, encoding="utf-8")
    said = cli("estimate", job, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["unpriced"] == ["no-such-model"]
    one, other = found["models"]
    assert (one["rows"], other["rows"]) == (60, 60)
    assert one["cost"]["CNY"]["likely"].count(".") == 1
    assert "e" not in one["cost"]["CNY"]["likely"].lower()
    assert other["cost"] is None
    assert found["cost"] == one["cost"]
    assert found["calls"] == {"likely": 120, "least": 120, "most": 120}
    text = cli("estimate", job).out
    assert "unknown for glm/no-such-model: no price" in text
    assert "[[price]]" in text
    assert "by model" in text
