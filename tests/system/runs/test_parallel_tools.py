"""A whole run in which one reply calls fifty tools: each has its result in its place, and others go on meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.scripted import Answer, Asked, reply, scripted
from tests.system.runs.conftest import Mill

CALLS, ROWS = 50, 6
TOOLS = '''
import os
import time

from batch import tool


@tool({how})
def double(value: int) -> int:
    """Doubles a number, once another row was asked."""
    while not os.path.exists({go!r}):
        time.sleep(0.005)
    if value == 13:
        raise ValueError("an unlucky number")
    return 2 * value
'''


@pytest.mark.slow
@pytest.mark.parametrize("how", ["", "quick=True"])
def test_fifty_calls_of_one_reply_have_their_results_in_order_while_other_rows_are_asked(
    how: str, tmp_path: Path
) -> None:
    """With one slot the next row is asked after the reply that calls them, and only then do they end.

    If they held up the event loop, or the slot, neither would ever happen.
    """
    go = tmp_path / "go"
    wanted = [{"id": f"call_{n}", "type": "function", "function": {"name": "double"}} for n in range(CALLS)]
    for n, call in enumerate(wanted):
        call["function"] |= {"arguments": json.dumps({"value": n})}  # type: ignore[operator]  # of a dict of dicts

    def script(asked: Asked) -> Answer:
        said = [message for message in asked.body["messages"] if message["role"] == "tool"]
        if asked.n > 0:
            go.touch()
            return reply("fine")
        if not said:
            return reply(None, "tool_calls", message={"tool_calls": wanted})
        return reply(json.dumps([(message["tool_call_id"], message["content"]) for message in said]))

    with scripted(script) as server:
        mill = Mill(tmp_path / "job", server.url, provider="openai")
        mill.tools, mill.limits["concurrency"] = TOOLS.format(how=how, go=str(go)), 1
        mill.write([{"n": n, "question": f"This is number {n}."} for n in range(ROWS)])
        report = mill.run()
    assert (report.exit_code, report.totals.tool_calls, report.totals.tool_errors) == (0, CALLS, 1)
    (answer,) = (answer for n, answer in mill.results("n, answer") if n == 0)
    results = dict(json.loads(answer))
    assert list(results) == [f"call_{n}" for n in range(CALLS)]
    assert "an unlucky number" in results.pop("call_13")
    assert results == {f"call_{n}": str(2 * n) for n in range(CALLS) if n != 13}
    assert [asked.n for asked in server.seen][:2] == [0, 1]
    assert mill.results("n, tool_calls, tool_errors, turns")[0] == (0, CALLS, 1, 2)
