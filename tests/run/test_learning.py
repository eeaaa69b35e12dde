"""`batch.run.learning`: what a run learns is kept at its end, and a run never fails by it."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from batch.core.clock import Clock
from batch.core.records import Call, Request, Usage
from batch.core.statefolder import VARIABLE
from batch.plan.preflight import CheckedJob, check_job
from batch.run.learning import Learning
from batch.tokens.calibration import FILE, Calibration
from tests.support.jobtext import SOUND, load

KEY = {"ZHIPUAI_API_KEY": "0123456789abcdef.0123456789abcdef"}
REQUEST = Request(model="glm-4", messages=[{"role": "user", "content": "Where is my parcel?"}])
CALL = Call(
    client_call_id="c",
    turn=0,
    attempt=0,
    provider="glm",
    lane="sync",
    state="answered",
    model_asked="glm-4",
    sent_at_us=0,
    usage=Usage(14, 6, 20),
)


@pytest.fixture
def checked(tmp_path: Path) -> CheckedJob:
    """A job whose state lies beside it."""
    (tmp_path / "tickets.jsonl").write_text('{"body": "x"}\n', encoding="utf-8")
    return check_job(load(tmp_path, SOUND), {**KEY, VARIABLE: str(tmp_path / "state")})


def answered(learning: Learning, times: int) -> None:
    """So many answers."""
    assert learning.learner is not None
    for _ in range(times):
        size = learning.learner.size(REQUEST)
        assert size is not None
        learning.learner.answered(size, CALL)


def test_what_was_learned_is_written_when_it_is_enough_and_at_the_end(checked: CheckedJob) -> None:
    """By model, under the service's own name."""
    learning = Learning(checked, Clock())
    assert checked.state is not None
    answered(learning, 5)
    anyio.run(lambda: learning.save(at_least=10))
    assert not (checked.state / FILE).exists()
    anyio.run(learning.save)
    known = Calibration.load(checked.state).of("glm/glm-4")
    assert known is not None
    assert known.learned.answers == 5
    anyio.run(learning.save)  # nothing new
    again = Calibration.load(checked.state).of("glm/glm-4")
    assert again == known


def test_a_state_folder_that_cannot_be_written_is_told_once_and_stops_nothing(
    checked: CheckedJob, caplog: pytest.LogCaptureFixture, unasked_logs: None
) -> None:
    """A full disk, somebody else's folder: here a file stands where the folder should."""
    assert checked.state is not None
    checked.state.write_text("a file", encoding="utf-8")
    learning = Learning(checked, Clock())
    for _ in range(2):
        answered(learning, 1)
        anyio.run(learning.save)
    told = [message for message in caplog.messages if message.startswith("learned_tokens_lost")]
    assert len(told) == 1
    assert str(checked.state) in told[0]


def test_where_the_environment_names_no_place_nothing_is_learned(checked: CheckedJob, tmp_path: Path) -> None:
    """A program that hands its keys over and nothing else writes into nobody's home."""
    homeless = check_job(checked.job, KEY)
    assert homeless.state is None
    learning = Learning(homeless, Clock())
    assert learning.learner is None
    anyio.run(learning.save)
    at_home = check_job(checked.job, {**KEY, "HOME": str(tmp_path / "home")})
    assert at_home.state == tmp_path / "home" / ".local" / "state" / "promptmill"
