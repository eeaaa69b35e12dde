"""`batch.run.resume`: wherever a process dies, the next one brings the row to the same outcome and pays for nothing twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.labelling import Labelling, Vote
from batch.core.records import Outcome, Sums
from batch.labels.asking import Asking
from batch.labels.schema import LabelSchema
from batch.labels.tries import LabelRules
from batch.submit.retry import SAYS_NOTHING
from tests.support.lifetimes import OURS, Fault, Life, Script, told

# Not "unsent": it begins an outage, in which nothing counts, and a death forgets the outage; it has a test of its own.
SYNC: tuple[Fault, ...] = ("refused", "busy", "reset", "aborted", "odd")
TASK: tuple[Fault, ...] = (*SYNC, "task_failed")


def scripts(lane: str, faults: tuple[Fault, ...], *, least: int = 1) -> st.SearchStrategy[Script]:
    """Tool turns, then an answer; with `least` 0 also answers in the middle, each followed by the user's next message."""
    turn = st.tuples(st.lists(st.sampled_from(faults), max_size=4), st.integers(least, 3))
    last = st.tuples(st.lists(st.sampled_from(faults), max_size=4), st.just(0))
    return st.builds(
        lambda some, end, reason, polls: Script(
            [*some, end], reason, "task" if lane == "task" else "sync", polls, sum(not tools for _, tools in some)
        ),
        st.lists(turn, max_size=3),
        last,
        st.sampled_from(["stop", "stop", "length", "sensitive"]),
        st.integers(0, 2),
    )


def check_books(life: Life, outcome: Outcome) -> None:
    """Every call has its final record, the sums of the row are those of its calls, nothing was bought twice."""
    calls = life.calls()
    sums = Sums()
    died: Counter[int] = Counter()
    paid: Counter[int] = Counter()
    tried: Counter[int] = Counter()
    for call in calls:
        assert call.record is not None
        sums.add(call.record)
        assert (call.record.client_call_id, call.record.turn, call.record.attempt) == (
            call.call_id,
            call.turn,
            call.attempt,
        )
        if call.record.error_code in OURS:
            died[call.turn] += 1
            assert call.record.state == "unknown"
        elif call.record.error_kind not in SAYS_NOTHING and (call.record.state, call.record.error_kind) != (
            "failed",
            "transport",
        ):
            tried[call.turn] += 1
        paid[call.turn] += call.call_id in life.provider.bought
    sums.tool_calls = outcome.sums.tool_calls
    sums.tool_errors = outcome.sums.tool_errors
    assert msgspec.structs.asdict(outcome.sums) == msgspec.structs.asdict(sums)
    assert len({call.call_id for call in calls}) == len(calls)
    for turn, attempts in _attempts(life).items():
        assert attempts == list(range(len(attempts))), f"turn {turn}"
    assert all(paid[turn] <= 1 + died[turn] for turn in paid)
    assert all(count <= life.settings.max_attempts for count in tried.values())


def _attempts(life: Life) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for call in life.calls():
        found.setdefault(call.turn, []).append(call.attempt)
    return found


def lived(folder: Path, script: Script) -> tuple[Life, dict[str, object]]:
    life = Life(folder, script)
    outcome = life.go_on()
    check_books(life, outcome)
    return life, told(outcome)


LONG = Script([(["refused", "aborted"], 2), ([], 1), (["reset"], 0)])


@pytest.mark.parametrize("lane", ["sync", "task"])
def test_a_row_killed_after_every_record_comes_to_the_same_outcome(tmp_path: Path, lane: str) -> None:
    """Two tool turns and four faults; each prefix of its history, one after the other."""
    script = Script(LONG.turns, lane="task" if lane == "task" else "sync")
    life, expected = lived(tmp_path, script)
    assert expected["answer"] == "answer 2"
    assert (expected["turns"], expected["tool_calls"]) == (3, 3)
    whole = list(life.records)
    assert len(whole) >= 15
    for kept in range(len(whole)):
        life.records = list(whole)
        life.kill(kept)
        outcome = life.go_on()
        assert told(outcome) == expected, f"killed after {kept} of {len(whole)}"
        check_books(life, outcome)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["sync", "task"]).flatmap(lambda lane: scripts(lane, TASK if lane == "task" else SYNC)),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4),
)
def test_a_row_killed_again_and_again_comes_to_the_same_outcome(
    tmp_path_factory: pytest.TempPathFactory, script: Script, deaths: list[float]
) -> None:
    """Any history, any prefix of it, any prefix of what followed from that, and so on."""
    life, expected = lived(tmp_path_factory.mktemp("life"), script)
    for share in deaths:
        life.kill(int(share * len(life.records)))
        outcome = life.go_on()
        assert told(outcome) == expected
        check_books(life, outcome)


TALK = Script([(["refused"], 0), ([], 2), (["aborted"], 0), (["reset"], 0)], later=2)


@pytest.mark.parametrize("lane", ["sync", "task"])
def test_a_conversation_killed_after_every_record_goes_on_where_it_was(tmp_path: Path, lane: str) -> None:
    """Three user turns, tools in the second: the same answers, and none of them asked for again."""
    script = Script(TALK.turns, lane="task" if lane == "task" else "sync", later=2)
    life, expected = lived(tmp_path, script)
    assert (expected["status"], expected["answer"], expected["turns"]) == ("ok", "answer 3", 4)
    said = [message["content"] for message in json.loads(str(expected["messages"])) if message["role"] == "user"]
    assert said == ["more 0", "more 1"]
    whole = list(life.records)
    for kept in range(len(whole)):
        life.records = list(whole)
        life.kill(kept)
        outcome = life.go_on()
        assert told(outcome) == expected, f"killed after {kept} of {len(whole)}"
        check_books(life, outcome)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["sync", "task"]).flatmap(lambda lane: scripts(lane, TASK if lane == "task" else SYNC, least=0)),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4),
)
def test_a_conversation_killed_again_and_again_comes_to_the_same_outcome(
    tmp_path_factory: pytest.TempPathFactory, script: Script, deaths: list[float]
) -> None:
    """Any talk with tools in any of its turns, any prefix of its history, and so on."""
    life, expected = lived(tmp_path_factory.mktemp("talk"), script)
    for share in deaths:
        life.kill(int(share * len(life.records)))
        outcome = life.go_on()
        assert told(outcome) == expected
        check_books(life, outcome)


def test_tools_that_ran_are_not_run_again(tmp_path: Path) -> None:
    """A reply whose tools did not all run goes on with the missing ones."""
    life, expected = lived(tmp_path, Script([([], 3), ([], 0)]))
    # sent, closed with the reply, three results, sent, closed with the outcome
    assert len(life.records) == 7
    life.kill(3)
    assert told(life.go_on()) == expected
    assert life.provider.ran == [(0, 1), (0, 2)]
    assert len(life.calls()) == 2


def test_attempts_of_one_turn_do_not_count_in_the_next(tmp_path: Path) -> None:
    """`max_attempts` is per turn: three refusals before the tools leave the full number after them."""
    script = Script([(["refused"] * 3, 1), (["busy"] * 3, 0)])
    life, expected = lived(tmp_path, script)
    assert expected["status"] == "ok"
    replied = next(n for n, records in enumerate(life.records) if any(record.kind == "step" for record in records))
    life.kill(replied + 1)
    assert told(life.go_on()) == expected
    assert _attempts(life) == {0: [0, 1, 2, 3], 1: [0, 1, 2, 3]}


@pytest.mark.parametrize("fault", [fault for fault in SYNC if fault != "refused"])
def test_attempts_before_a_death_count_and_the_death_does_not(tmp_path: Path, fault: Fault) -> None:
    """A row that would fail after so many attempts fails after as many, however often we died between them."""
    life, expected = lived(tmp_path, Script([([fault] * 9, 0)]))
    assert (expected["status"], expected["retryable"]) == ("failed", True)
    tries = len(life.calls())
    whole = list(life.records)
    for kept in range(1, len(whole)):
        life.records = list(whole)
        life.kill(kept)
        outcome = life.go_on()
        assert told(outcome) == expected
        assert sum(call.record is not None and call.record.error_code not in OURS for call in life.calls()) == tries


@pytest.mark.parametrize("fault", ["refused", "unsent"])
def test_being_turned_away_is_no_attempt_however_often_we_died(tmp_path: Path, fault: Fault) -> None:
    """Refused for load, or never reached: the row is asked until it is answered."""
    life, expected = lived(tmp_path, Script([([fault] * 12, 0)]))
    assert (expected["status"], len(life.calls())) == ("ok", 13)
    life.kill(len(life.records) // 2)
    assert told(life.go_on()) == expected


def test_a_committed_task_is_collected_and_never_bought_again(tmp_path: Path) -> None:
    """Whatever the lane is now; it keeps its id and its place in the count of calls in flight."""
    life, expected = lived(tmp_path, Script([([], 0)], lane="task", polls=2))
    accepted = next(n for n, records in enumerate(life.records) if records[0].kind == "accepted")
    life.kill(accepted + 1)
    life.settings = msgspec.structs.replace(life.settings, lanes=("sync",))
    outcome = life.go_on()
    assert told(outcome) == expected
    (call,) = life.calls()
    assert call.record is not None
    assert (call.record.lane, call.record.state, call.task) == ("task", "answered", "task-0")
    assert len(life.provider.bought) == 1


def test_a_smaller_max_turns_ends_a_conversation_it_does_not_tear_it(tmp_path: Path) -> None:
    """`max_turns` is not in the fingerprint: replies that were paid for are gone on from, then the new limit holds."""
    life, _ = lived(tmp_path, Script([([], 1), ([], 1), ([], 1), ([], 0)]))
    replies = [
        n
        for n, records in enumerate(life.records)
        if any(record.kind == "step" and record.row[2] == -1 for record in records)
    ]
    life.kill(replies[1] + 1)
    life.rules = msgspec.structs.replace(life.rules, max_turns=1)
    life.settings = msgspec.structs.replace(life.settings, rules=life.rules)
    outcome = life.go_on()
    assert (outcome.error_kind, outcome.sums.turns) == ("tool_loop", 3)
    assert [call.turn for call in life.calls()] == [0, 1, 2]
    check_books(life, outcome)


@pytest.mark.parametrize("lane", ["sync", "task"])
def test_a_row_that_repeats_a_failing_call_ends_the_same_way_wherever_it_is_killed(tmp_path: Path, lane: str) -> None:
    """Three turns of the same call, the last result journaled and the outcome not: it settles, and asks no fourth time."""
    script = Script(
        [([], 2), ([], 2), ([], 2), ([], 2), ([], 0)], lane="task" if lane == "task" else "sync", stuck=True
    )
    life, expected = lived(tmp_path, script)
    assert (expected["error_kind"], expected["error_code"]) == ("tool_loop", "same_call")
    assert (expected["turns"], expected["tool_calls"]) == (3, 6)
    assert expected["flags"] == ("tool_failed",)
    assert len(json.loads(str(expected["messages"]))) == 9, "the conversation is kept"
    whole = list(life.records)
    for kept in range(len(whole)):
        life.records = list(whole)
        life.kill(kept)
        outcome = life.go_on()
        assert told(outcome) == expected, f"killed after {kept} of {len(whole)}"
        assert outcome.sums.tool_errors == 6
        check_books(life, outcome)


LABELS = LabelRules(
    Asking(labels=LabelSchema.of_names(["yes", "no"]), forms={"glm-4": "object"}), reasks=2, escalate="glm-4-plus"
)
SAYS = ("", "perhaps", '{"label": "ye', "never", '{"label": "no"}')


@pytest.mark.parametrize("lane", ["sync", "task"])
def test_a_row_killed_between_its_re_asks_goes_on_with_the_next_and_no_other(tmp_path: Path, lane: str) -> None:
    """A tool turn, two re-asks, then another model: each prefix of that history comes to the same label."""
    turns: list[tuple[list[Fault], int]] = [([], 1), (["refused"], 0), (["reset"], 0), ([], 0), (["aborted"], 0)]
    script = Script(turns, lane="task" if lane == "task" else "sync", says=SAYS, labels=LABELS)
    life, expected = lived(tmp_path, script)
    assert (expected["status"], expected["label"], expected["model_asked"]) == ("ok", "no", "glm-4-plus")
    assert expected["labelling"] == Labelling(2, "glm-4-plus", votes=(Vote("no", 1),), samples=1)
    purposes = [(call.turn, call.record.purpose) for call in life.calls() if call.record is not None]
    assert list(dict.fromkeys(purposes)) == [
        *((0, "first"), (1, "first"), (1, "retry"), (2, "reask"), (3, "reask"), (4, "escalate")),
    ]
    whole = list(life.records)
    for kept in range(len(whole)):
        life.records = list(whole)
        life.kill(kept)
        outcome = life.go_on()
        assert told(outcome) == expected, f"killed after {kept} of {len(whole)}"
        check_books(life, outcome)
        models = {call.turn: call.record.model_asked for call in life.calls() if call.record is not None}
        assert models == {turn: "glm-4-plus" if turn == 4 else "glm-4" for turn in range(5)}


def test_what_was_decided_after_an_answer_stays_when_the_job_allows_less_by_now(tmp_path: Path) -> None:
    """Killed after the first re-ask was decided, and reasks is 0 since: the re-ask is made, and it was the last."""
    script = Script([([], 0)] * 5, says=("perhaps", "perhaps", "perhaps"), labels=LABELS)
    life, _ = lived(tmp_path, script)
    whole = list(life.records)
    kept = next(n for n, records in enumerate(whole, 1) if any(record.kind == "step" for record in records))
    life.records = whole
    life.kill(kept)
    less = LabelRules(LABELS.asking)
    life.rules = msgspec.structs.replace(life.rules, labels=less)
    life.settings = msgspec.structs.replace(life.settings, rules=life.rules)
    outcome = life.go_on()
    assert (outcome.error_kind, outcome.error_code, outcome.answer) == ("label", "outside", "perhaps")
    assert [call.record.purpose for call in life.calls() if call.record is not None] == ["first", "reask"]
    assert outcome.labelling == Labelling(1, None, invalid=True, samples=1)


VOTED = ("", "yes", "perhaps", '{"label": "no"}', "never", "never", "never", "no")
"""A tool and an answer; one asked again; one that stays invalid; and one more answer."""


@pytest.mark.parametrize("lane", ["sync", "task"])
def test_a_row_killed_between_its_samples_buys_none_of_them_twice(tmp_path: Path, lane: str) -> None:
    """Four samples, one of them with tools, one without a label in the end: each prefix comes to the same votes."""
    turns: list[tuple[list[Fault], int]] = [([], 1), (["refused"], 0), ([], 0), (["reset"], 0), *[([], 0)] * 4]
    labels = msgspec.structs.replace(LABELS, escalate=None, samples=4)
    script = Script(turns, lane="task" if lane == "task" else "sync", says=VOTED, labels=labels, anew=True)
    life, expected = lived(tmp_path, script)
    assert (expected["status"], expected["label"], expected["answer"]) == ("ok", "no", '{"label": "no"}')
    assert expected["labelling"] == Labelling(2, None, votes=(Vote("no", 2), Vote("yes", 1)), samples=4)
    assert (expected["turns"], expected["tool_calls"]) == (8, 1)
    made = [(call.turn, call.record.sample, call.record.purpose) for call in life.calls() if call.record is not None]
    assert list(dict.fromkeys(made)) == [
        *((0, 0, "first"), (1, 0, "first"), (1, 0, "retry")),
        *((2, 1, "sample"), (3, 1, "reask")),
        *((4, 2, "sample"), (5, 2, "reask"), (6, 2, "reask")),
        (7, 3, "sample"),
    ]
    whole = list(life.records)
    for kept in range(len(whole)):
        life.records = list(whole)
        life.kill(kept)
        outcome = life.go_on()
        assert told(outcome) == expected, f"killed after {kept} of {len(whole)}"
        check_books(life, outcome)
        samples = {call.turn: call.record.sample for call in life.calls() if call.record is not None}
        assert samples == {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2, 7: 3}


def test_a_row_in_the_middle_of_its_samples_is_settled_without_a_call_when_fewer_are_wanted(tmp_path: Path) -> None:
    """Killed after two of four, and the job wants two by now: those count, and nothing more is bought."""
    labels = LabelRules(LABELS.asking, samples=4)
    script = Script([([], 0)] * 4, says=("yes", "yes", "no", "no"), labels=labels, anew=True)
    life, expected = lived(tmp_path, script)
    assert (expected["label"], expected["flags"]) == (None, ("tie",))
    steps = [n for n, records in enumerate(life.records, 1) if any(record.kind == "step" for record in records)]
    life.kill(steps[1])
    life.rules = msgspec.structs.replace(life.rules, labels=msgspec.structs.replace(labels, samples=2))
    life.settings = msgspec.structs.replace(life.settings, rules=life.rules)
    outcome = life.go_on()
    assert (outcome.label, outcome.answer, outcome.sums.calls) == ("yes", "yes", 2)
    assert outcome.labelling == Labelling(0, None, votes=(Vote("yes", 2),), samples=2)


def test_a_row_that_fails_for_a_passing_reason_in_a_sample_keeps_the_votes_before(tmp_path: Path) -> None:
    """It is retryable, and its answer is one that says the label of most: no later run hears it again."""
    labels = LabelRules(LABELS.asking, samples=3)
    script = Script([([], 0), (["busy"] * 9, 0), ([], 0)], says=("yes", "yes", "yes"), labels=labels, anew=True)
    _, expected = lived(tmp_path, script)
    assert (expected["status"], expected["error_kind"], expected["retryable"]) == ("failed", "server", True)
    assert (expected["label"], expected["answer"]) == (None, "yes")
    assert expected["labelling"] == Labelling(votes=(Vote("yes", 1),), samples=1)
    assert json.loads(str(expected["messages"])) == [{"role": "assistant", "content": "yes"}]
