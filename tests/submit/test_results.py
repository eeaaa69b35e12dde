"""What comes from a provider becomes ours once: its texts without our keys, everything else as it was."""

from __future__ import annotations

from typing import Any

import pytest

from batch.core import redaction
from batch.core.records import Accepted, Failure, Processing, Reply, ToolCall, Usage
from batch.core.redaction import MASK
from batch.submit.results import masked_result

KEY = "sk-Jh4wQz8nTd1yLs6vKe3m"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    """One key, and one that is a word."""
    monkeypatch.setattr(redaction, "_process", redaction.Masker())
    redaction.hide(KEY)
    redaction.hide("stop")


def test_every_text_of_a_reply_is_masked() -> None:
    """FIELD 18. Answer, reasoning, tool calls, the message for the next turn, and each name a provider gives."""
    escaped = "".join(f"\\u{ord(char):04x}" for char in KEY)
    call = ToolCall(f"id-{KEY}", f"do-{KEY}", f'{{"key": "{escaped}"}}')
    reply = Reply(
        content=f"you are {KEY}",
        finish_reason=KEY,
        reasoning=KEY.upper(),
        tool_calls=(call,),
        message={"role": "assistant", "content": f"you are {KEY}", "tool_calls": [{"id": KEY, KEY: {"a": [KEY]}}]},
        model=KEY,
        request_id=KEY,
        service_tier=KEY,
        usage=Usage(1, 2, 3),
    )
    assert masked_result(reply) == Reply(
        content=f"you are {MASK}",
        finish_reason=MASK,
        reasoning=MASK,
        tool_calls=(ToolCall(f"id-{MASK}", f"do-{MASK}", f'{{"key": "{MASK}"}}'),),
        message={"role": "assistant", "content": f"you are {MASK}", "tool_calls": [{"id": MASK, MASK: {"a": [MASK]}}]},
        model=MASK,
        request_id=MASK,
        service_tier=MASK,
        usage=Usage(1, 2, 3),
    )


def test_failures_and_states_are_masked_too() -> None:
    """FIELD 18. Codes go into totals, `status.json` and the summary."""
    failure = Failure(kind="auth", verdict="stop", message=f"no {KEY} nor sk-abcdefghijklmnop1234", code=KEY)
    masked = masked_result(failure)
    assert isinstance(masked, Failure)
    assert (masked.message, masked.code) == (f"no {MASK} nor {MASK}", MASK)
    assert masked_result(Processing(f"at {KEY}", 2.0)) == Processing(f"at {MASK}", 2.0)
    accepted = masked_result(Accepted(task_id="t-1", request_id=KEY, model=KEY))
    assert accepted == Accepted(task_id="t-1", request_id=MASK, model=MASK)


def test_a_task_id_is_exact_or_refused() -> None:
    """It is asked for by that id, and stands in ledger and book as it is."""
    found = masked_result(Accepted(task_id=f"task-{KEY}"))
    assert isinstance(found, Failure)
    assert (found.code, found.sent, found.answered) == ("key_in_task_id", True, False)
    assert KEY not in found.message


@pytest.mark.parametrize(
    "result",
    [
        Reply(content="stop", finish_reason="stop", message={"role": "assistant", "content": "stop"}, model="stop"),
        Accepted(task_id="stop"),
        Processing("stop"),
    ],
)
def test_what_holds_no_key_is_the_same_object(result: Any) -> None:
    """FIELD 19. A key that is a word takes nothing away."""
    assert masked_result(result) is result
