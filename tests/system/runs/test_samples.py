"""Whole runs that ask each row several times: votes and majority, what a higher number buys, and how sure a label is."""

from __future__ import annotations

import json
import math
import signal
from collections import Counter, defaultdict
from contextlib import closing
from typing import Any

import apsw
import msgspec
import pyarrow.parquet as pq
import pytest

from batch.cli import main
from tests.system.runs.conftest import ENVIRON, LANES, Make, Mill
from tests.system.runs.test_labels import FAULTY, NAMES, ask, labelled, run_as_it_stands

WAVERS = "wavers = 0.35\n"
FEW: dict[str, Any] = {"names": NAMES, "samples": 3}


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """For `check`, which looks for a key like any command."""
    for name, key in ENVIRON.items():
        monkeypatch.setenv(name, key)


def said(answer: str) -> str:
    """The label in an answer as the simulator writes it."""
    return str(json.loads(answer)["label"]) if answer.startswith("{") else answer


def check_votes(mill: Mill, samples: int, *, invalid: bool = False) -> None:
    """The columns of every row agree with each other, and with the samples in the book."""
    asked: defaultdict[tuple[str, str | None], set[int]] = defaultdict(set)
    for row_id, variant, sample in mill.calls("row_id, variant, sample", "state = 'answered'"):
        asked[row_id, variant].add(sample)
    columns = "row_id, variant, status, votes, agreement, label, flags, answer"
    for row_id, variant, status, votes, share, label, flags, answer in mill.results(columns):
        counts = [vote["count"] for vote in votes]
        assert asked[row_id, variant] == set(range(samples)), "each sample was asked, and no other"
        assert sum(counts) <= samples if invalid else sum(counts) == samples
        if not counts:
            assert (status, share, label) == ("failed", None, None)
            continue
        assert counts == sorted(counts, reverse=True)
        assert share == pytest.approx(counts[0] / samples)
        tied = len(counts) > 1 and counts[0] == counts[1]
        assert (status, label is None, "tie" in flags) == ("ok", tied, tied)
        leading = [vote["label"] for vote in votes if vote["count"] == counts[0]]
        assert invalid or said(answer) in leading, "the answer says it"
        assert label in (None, *leading)


def told(mill: Mill) -> list[tuple[Any, ...]]:
    """What of each row must stay while nothing is bought."""
    return mill.results("n, variant, status, label, votes, agreement, answer, flags")


@pytest.mark.parametrize(("provider", "lane"), [*LANES, ("glm", "stream"), ("openai", "stream")])
def test_a_row_is_asked_so_many_times_and_gets_the_label_of_most(make: Make, provider: str, lane: str) -> None:
    """In every lane and dialect; each sample begins anew, and its turns are counted through."""
    mill = labelled(make(WAVERS, provider=provider, lane=lane), 12, samples=3)
    assert mill.run().exit_code == 0
    check_votes(mill, 3)
    assert mill.calls("sample, purpose, turn, count(*) c", "true GROUP BY ALL ORDER BY sample") == [
        (0, "first", 0, 12),
        (1, "sample", 1, 12),
        (2, "sample", 2, 12),
    ]
    assert mill.one("calls") == [3] * 12
    assert any(len(votes) > 1 for votes in mill.one("votes")), "nothing wavered"
    schema = pq.read_schema(mill.out / "results" / mill.parts()[0])
    assert [str(schema.field(name).type) for name in ("votes", "agreement")] == [
        "list<element: struct<label: string, count: int32>>",
        "double",
    ]
    assert schema.names.index("votes") == schema.names.index("label") + 1
    mill.check_books()
    mill.check_sums()


def test_more_samples_buy_the_missing_ones_alone_and_fewer_buy_nothing(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three, then five: two more calls a row, and an answer that stands although none of the new ones says it."""
    mill = labelled(make(WAVERS), 30, samples=3)
    mill.output = {"rows_per_part": 10}
    assert mill.run().exit_code == 0
    before = {n: (votes, answer) for n, votes, answer in mill.results("n, votes, answer")}
    ask(mill, **{**FEW, "samples": 5})
    assert main(["check", str(mill.save()), "--full"]) == 0
    assert "30 rows short of samples: asked for the missing ones" in capsys.readouterr().out
    assert mill.run(kinds=("new", "changed")).exit_code == 0
    assert len(mill.books()) == 90, "they were left out"
    code, line = mill.command("--only", "short")
    assert code == 0, line
    assert "30 ok, 0 failed  (30 short of samples)" in line
    assert "60 further samples" in line
    check_votes(mill, 5)
    assert len(mill.books()) == 150
    assert set(mill.one("calls")) == {2}
    stood = [n for n, votes, label in mill.results("n, votes, label") if label and len(votes) > 1]
    assert stood
    assert sum(vote["count"] for votes, _ in before.values() for vote in votes) == 90
    assert main(["status", str(mill.out)]) == 0
    assert "30 rows short of samples when this run began" in capsys.readouterr().out
    kept = told(mill)
    for samples in (5, 2, 1):
        ask(mill, **{**FEW, "samples": samples})
        assert mill.run().exit_code == 0
        assert (told(mill), len(mill.books())) == (kept, 150)
    mill.check_books()


def test_an_answer_that_says_the_label_stays_when_no_new_one_does(make: Make) -> None:
    """Three samples say billing; the fourth and fifth say something else."""
    mill = labelled(make(), 1, samples=3)
    assert mill.run().exit_code == 0
    (first,) = mill.results("answer, finish_reason, model, messages, votes, label")
    mill.sim = None
    other = make(f"{WAVERS.replace('0.35', '1.0')}", name="other")
    mill.url, mill.sim = other.url, other.sim
    ask(mill, **{**FEW, "samples": 5})
    assert mill.run().exit_code == 0
    (then,) = mill.results("answer, finish_reason, model, messages, votes, label")
    assert then[:4] == first[:4]
    assert (then[5], then[4][0]) == ("billing", {"label": "billing", "count": 3})
    assert sum(vote["count"] for vote in then[4]) == 5


def test_a_row_that_was_asked_once_has_one_vote_already(mill: Mill) -> None:
    """One, then three: two more calls a row, and the columns come into the old parts."""
    labelled(mill, 6)
    assert mill.run().exit_code == 0
    ask(mill, **FEW)
    assert mill.run().exit_code == 0
    check_votes(mill, 3)
    assert (set(mill.one("calls")), len(mill.books())) == ({2}, 18)


def test_killed_again_and_again_no_vote_is_lost_and_none_is_bought_twice(make: Make) -> None:
    """Three samples, then five, with kills in both, broken JSON in 30 % and invented labels in 10 % of the answers."""
    mill = labelled(make(f"{WAVERS}{FAULTY}"), 40, **FEW)
    mill.output = {"rows_per_part": 15, "publish_every_s": 0.1}
    kills = 0
    points = {3: ("answered.committed:5", "publish.results_named"), 5: ("sent.committed:4", "publish.rewrite_named")}
    for samples in (3, 5):
        ask(mill, **{**FEW, "samples": samples})
        for point in points[samples]:
            code, line = mill.command(failpoint=point)
            assert code == -signal.SIGKILL, line
            kills += 1
        assert mill.run().exit_code in (0, 1)
    mill.check_table(40)
    check_votes(mill, 5, invalid=True)
    mill.check_books(at_risk=kills * 16)
    ended = Counter(mill.calls("row_id, sample", "state = 'answered' AND purpose IN ('first', 'sample')"))
    assert set(ended.values()) == {1}, "a sample was bought twice"


def test_a_sample_that_stays_invalid_is_no_vote_and_makes_the_row_less_sure(make: Make) -> None:
    """An invented label in each of them fails the row; more samples are asked of it, too."""
    mill = labelled(make(f"{FAULTY.replace('0.1', '0.4')}"), 30, reasks=0, samples=3)
    assert mill.run().exit_code == 1
    check_votes(mill, 3, invalid=True)
    failed = mill.results("error_kind, error_message, votes, agreement, retryable")
    (one, *_) = [row for row in failed if row[0] is not None]
    assert one[0] == "label"
    assert one[1].startswith("none of 3 samples has a valid label, and of the last: no valid label in 1 answer: ")
    assert (one[2:]) == ([], None, False)
    less = [share for kind, _, votes, share, _ in failed if kind is None and sum(v["count"] for v in votes) == 2]
    assert less
    assert max(less) <= 2 / 3 + 1e-9
    bought = len(mill.books())
    ask(mill, **{**FEW, "samples": 4, "reasks": 0})
    mill.run()
    assert len(mill.books()) == bought + 30
    check_votes(mill, 4, invalid=True)


def test_a_label_of_an_older_version_is_one_vote(mill: Mill) -> None:
    """Its index kept none: the table says what the row was labelled, and nothing is bought for that."""
    labelled(mill, 6)
    assert mill.run().exit_code == 0
    with closing(apsw.Connection(str(mill.out / "ledger.db"))) as db:
        db.execute("UPDATE entries_3 SET label = ?", (msgspec.msgpack.encode([2, None, False]),))
    ask(mill, **FEW)
    assert mill.run().exit_code == 0
    check_votes(mill, 3)
    assert len(mill.books()) == 18


@pytest.mark.parametrize("lost", [True, False], ids=["ledger lost", "ledger kept"])
def test_a_rebuilt_ledger_knows_the_votes(make: Make, lost: bool) -> None:
    """From the columns of the table: nothing is bought again, and more samples are the missing ones alone."""
    mill = labelled(make(f"{WAVERS}{NEVER_TWO}"), 20, reasks=0, samples=3)
    mill.run()
    assert mill.one("status").count("failed") == 2
    kept, bought = told(mill), len(mill.books())
    if lost:
        for path in mill.out.glob("ledger.db*"):
            path.unlink()
    assert main(["rebuild", str(mill.out)]) == (1 if lost else 0)
    mill.run()
    assert (told(mill), len(mill.books())) == (kept, bought)
    ask(mill, **{**FEW, "samples": 5, "reasks": 0})
    mill.run()
    assert len(mill.books()) == bought + 40
    check_votes(mill, 5, invalid=True)


NEVER_TWO = '[[fault]]\nbehaviour = 74\nrows = ["billing is wrong 0", "delivery is late 4"]\n'


def test_variants_vote_by_themselves(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has its samples and its columns, and compare tells how far each agrees with itself."""
    mill = labelled(make(WAVERS), 6, samples=3)
    folder = mill.save()
    text = (folder / "job.toml").read_text("utf-8").replace('name = "glm-4"', 'names = ["glm-4", "glm-4-plus"]')
    (folder / "job.toml").write_text(text, encoding="utf-8")
    assert run_as_it_stands(mill).exit_code == 0
    check_votes(mill, 3)
    (folder / "job.toml").write_text(text.replace("samples = 3", "samples = 4"), encoding="utf-8")
    assert run_as_it_stands(mill).exit_code == 0
    check_votes(mill, 4)
    assert len(mill.books()) == 2 * 6 * 4
    assert main(["compare", str(mill.out), "--limit", "0", "--json"]) == 0
    for sums in json.loads(capsys.readouterr().out)["variants"]:
        shares = [share for variant, share in mill.results("variant, agreement") if variant == sums["variant"]]
        assert sums["agreement"] == pytest.approx(sum(shares) / 6)
        assert (sums["voted"], sums["confidence"]) == (6, None)
    assert main(["compare", str(mill.out)]) == 0
    assert "agreement of the labels, on average" in capsys.readouterr().out


def test_tools_and_several_turns_are_run_anew_in_each_sample(make: Make) -> None:
    """A row that uses a tool, and one with two questions; the table has the conversation of one sample."""
    mill = make()
    mill.tools = (
        "from batch import tool\n\n@tool\ndef add(a: float, b: float) -> float:\n    '''Add two numbers.'''\n"
        "    return a + b\n"
    )
    mill.write([{"n": 1, "said": ["What is 2 plus 3?", "My delivery is late"]}])
    ask(mill, **FEW)
    folder = mill.save()
    text = (folder / "job.toml").read_text("utf-8").replace('user = "{{ question }}"', 'turns = "said"')
    (folder / "job.toml").write_text(text, encoding="utf-8")
    assert run_as_it_stands(mill).exit_code == 0
    check_votes(mill, 3)
    ((label, turns, tools, messages),) = mill.results("label, turns, tool_calls, messages")
    assert (label, turns, tools) == ("delivery", 9, 3)
    assert [message["role"] for message in json.loads(messages)] == [
        *("assistant", "tool", "assistant", "user", "assistant"),
    ]
    assert mill.calls("sample, count(*)", "true GROUP BY 1 ORDER BY 1") == [(0, 3), (1, 3), (2, 3)]


def test_show_tells_the_votes_of_a_row_and_the_sample_of_each_call(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """With how far they agree."""
    mill = labelled(make(), 1, samples=3)
    assert mill.run().exit_code == 0
    assert main(["show", str(mill.out), mill.one("row_id")[0]]) == 0
    out = capsys.readouterr().out
    assert "label\n  label      billing\n  votes      3 billing\n  agreement  1.000\n" in out
    assert out.count("  sample  answered") == 2


@pytest.mark.parametrize("said_", ["job", "same"])
def test_tasks_of_samples_are_collected_by_a_job_that_changed_and_by_the_same(make: Make, said_: str) -> None:
    """Killed while tasks are at work: none of them is bought again, and each is a vote of what it was asked for."""
    mill = labelled(make("[latency]\ntask_ms = [200, 300]\n", lane="task"), 3, samples=3)
    mill.limits["concurrency"] = 3  # nine tasks are accepted in several commits, however slow the machine is
    assert mill.command(failpoint="accepted.committed:2")[0] == -signal.SIGKILL
    if said_ == "job":
        ask(mill, **{**FEW, "names": [*NAMES, "more"]})
    assert mill.run().exit_code == 0
    mill.check_table(3)
    mill.check_books(at_risk=3)
    assert mill.one("label") == NAMES
    if said_ == "same":
        check_votes(mill, 3)
        assert len(mill.books()) <= 9 + 3


def test_an_object_is_voted_for_as_canonical_text(make: Make) -> None:
    """The typed columns hold the object of most; its text has its keys in order."""
    mill = make(WAVERS)
    schema = {
        "type": "object",
        "properties": {"urgent": {"enum": ["yes", "no", "maybe"]}, "about": {"enum": NAMES}},
        "required": ["urgent", "about"],
    }
    (mill.folder / "label.json").write_text(json.dumps(schema), encoding="utf-8")
    mill.write([{"n": n, "question": f"yes, delivery {n}"} for n in range(8)])
    mill.more = '[labels]\nschema = "label.json"\nsamples = 3\n'
    assert mill.run().exit_code == 0
    for votes, urgent, about in mill.results("votes, label_urgent, label_about"):
        first = json.loads(votes[0]["label"])
        assert list(first) == ["about", "urgent"]
        tied = len(votes) > 1 and votes[0]["count"] == votes[1]["count"]
        assert (about, urgent) == ((None, None) if tied else (first["about"], first["urgent"]))
    mill.more = mill.more.replace("3", "4")
    assert mill.run().exit_code == 0
    assert len(mill.books()) == 32


def test_samples_and_effects_do_not_go_together_and_a_fixed_answer_is_doubted(
    mill: Mill, capsys: pytest.CaptureFixture[str]
) -> None:
    """An effect would happen once a sample; with temperature 0 all samples are likely the same."""
    labelled(mill, 2, samples=3)
    mill.tools = (
        "from batch import tool\n\n@tool(effects=True)\ndef note(text: str) -> str:\n    '''Note.'''\n    return 'ok'\n"
    )
    assert main(["check", str(mill.save())]) == 2
    err = capsys.readouterr().err
    assert "labels.samples = 3: each sample is a conversation of its own" in err
    assert "note has effects" in err
    mill.tools = None
    mill.more += "[model.parameters]\ntemperature = 0\nseed = 3\n"
    assert main(["check", str(mill.save())]) == 0
    out = capsys.readouterr().out
    for text in ("temperature = 0", "seed = 3"):
        assert f"labels.samples: with {text} the 3 samples of a row are likely the same answer" in out


# -- confidence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", ["sync", "stream"])
def test_the_probability_of_a_label_is_that_of_its_tokens(make: Make, lane: str) -> None:
    """As the wire log has them: of the name, and not of the JSON around it."""
    mill = labelled(make("[latency]\nchunk_tokens = 2\n", provider="openai", lane=lane, model="gpt-4.1"), 6)
    ask(mill, names=NAMES, confidence=True)
    assert mill.run(wire_log=True).exit_code == 0
    sums: dict[str, float] = defaultdict(float)
    for path in (mill.out / "wire").iterdir():
        for line in map(json.loads, path.read_text("utf-8").splitlines()):
            assert line["request"]["logprobs"] is True
            body = line["reply"]
            for piece in [body] if isinstance(body, dict) else events(body):
                for choice in piece["choices"]:
                    for token in (choice["logprobs"] or {"content": []})["content"]:
                        inside = token["token"].strip('{}":') not in ("", "labe", "l")
                        sums[line["row_id"]] += token["logprob"] if inside else 0.0
    rows = mill.results("row_id, confidence, label")
    assert len({share for _, share, _ in rows}) == 6
    for row_id, share, label in rows:
        assert label in NAMES
        assert 0 < share < 1
        assert share == pytest.approx(math.exp(sums[row_id]))


def events(text: str) -> list[dict[str, Any]]:
    """The chunks of a stream as the wire log keeps it."""
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


def test_of_several_samples_confidence_is_the_mean_of_those_that_gave_the_label(make: Make) -> None:
    """Setting it asks nothing again; more samples add to the mean, and review looks at what is little."""
    mill = labelled(make(WAVERS, provider="openai", model="gpt-4.1"), 12, samples=3)
    assert mill.run().exit_code == 0
    ask(mill, **FEW, confidence=True)
    assert mill.run().exit_code == 0
    assert len(mill.books()) == 36
    assert mill.one("confidence") == [None] * 12
    ask(mill, **{**FEW, "samples": 5}, confidence=True)
    assert mill.run().exit_code == 0
    check_votes(mill, 5)
    for votes, label, share in mill.results("votes, label, confidence"):
        assert share is None or 0 < share <= 1
        assert label is not None or share is None
        assert votes
    known = [share for share in mill.one("confidence") if share is not None]
    assert known
    target = mill.folder / "look.jsonl"
    assert main(["labels", str(mill.out), "--review", str(target), "--below", "1"]) == 0
    reasons = Counter(
        reason for line in target.read_text("utf-8").splitlines() for reason in json.loads(line)["reasons"]
    )
    assert reasons["confidence"] == len(known)
    assert reasons["tie"] == mill.one("label").count(None)
    assert reasons["agreement"] == sum(share < 1 for share in mill.one("agreement"))


@pytest.mark.parametrize(("provider", "model"), [("glm", "glm-4"), ("openai", "gpt-5-mini")])
def test_a_service_that_does_not_tell_is_refused_with_the_way_out(
    make: Make, capsys: pytest.CaptureFixture[str], provider: str, model: str
) -> None:
    """GLM has no log-probabilities, and OpenAI's models that reason have none either."""
    mill = labelled(make(provider=provider, model=model), 2, confidence=True)
    assert main(["check", str(mill.save())]) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert f"labels.confidence: {provider} does not tell how probable the words of {model} are" in err
    assert "set samples = 3" in err
    ask(mill, **FEW)
    assert main(["check", str(mill.save())]) == 0
