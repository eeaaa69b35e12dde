"""`batch.tokens.learner`: a run learns from its first answers, then from a few, and from none that teach nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from batch.core.records import Call, Request, Usage
from batch.tokens.learner import FIRST, LONGEST, THEN, Learner

REQUEST = Request(model="m", messages=[{"role": "user", "content": "Where is my parcel?"}])
CALL = Call(
    client_call_id="c",
    turn=0,
    attempt=0,
    provider="glm",
    lane="sync",
    state="answered",
    model_asked="m",
    sent_at_us=0,
    usage=Usage(14, 6, 20),
    purpose="first",
)


def learner() -> Learner:
    """One of a job whose requests carry nothing."""
    return Learner(lambda model: f"glm/{model}", lambda _: (0.0, 0.0), "text")


def test_the_first_requests_are_measured_then_one_of_some() -> None:
    """So a run of a million rows spends nothing on it that could be noticed."""
    found = learner()
    wanted = [found.size(REQUEST) is not None for _ in range(FIRST + 3_200)]
    assert all(wanted[:FIRST])
    assert 0.5 < sum(wanted[FIRST:]) / (3_200 / THEN) < 1.5


def test_an_answer_teaches_its_model_and_is_handed_over_once() -> None:
    """Under the name by which it is kept."""
    found = learner()
    size = found.size(REQUEST)
    assert size is not None
    found.answered(size, CALL)
    found.answered(size, msgspec.structs.replace(CALL, turn=1, usage=Usage(40, 2, 42)))
    assert found.answers == 2
    taken = found.take()
    assert taken.keys() == {"glm/m"}
    answers = taken["glm/m"].answers["text"]
    assert (answers.calls, answers.firsts, answers.first_tokens, answers.prompt_tokens) == (2, 1, 14, 54)
    assert found.answers == 0
    assert found.take() == {}


@pytest.mark.parametrize(
    "change",
    [
        {"state": "refused"},
        {"usage": None},
        {"usage": Usage(14, 6, 30, estimated=True)},
        {"usage": Usage(0, 6, 6)},
        {"usage": Usage(10**15, 6, 10**15)},
    ],
)
def test_what_says_nothing_of_a_tokenizer_teaches_nothing(change: dict[str, Any]) -> None:
    """Refusals, answers without usage, and servers that lie."""
    found = learner()
    size = found.size(REQUEST)
    assert size is not None
    found.answered(size, msgspec.structs.replace(CALL, **change))
    assert found.take() == {}


def test_what_the_last_model_answers_says_nothing_of_a_rows_calls() -> None:
    """It is asked once, for rows that began with another; its tokens are learned all the same."""
    found = learner()
    size = found.size(REQUEST)
    assert size is not None
    found.answered(size, msgspec.structs.replace(CALL, purpose="escalate", turn=2))
    notes = found.take()["glm/m"]
    assert notes.learned.answers == 1
    assert notes.answers == {}


@pytest.mark.parametrize("parts", [False, True])
def test_a_very_long_request_is_not_measured(parts: bool) -> None:
    """The event loop would stand still for it, and it teaches no more than a shorter one."""
    found = learner()
    for length, measured in ((LONGEST, True), (LONGEST + 1, False)):
        text = "a" * length
        content: Any = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {}}] if parts else text
        request = Request(model="m", messages=[{"role": "user", "content": content}])
        assert (found.size(request) is not None) is measured
