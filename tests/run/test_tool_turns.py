"""`batch.run.tool_turns` and `batch.run.effects`: what happens between a call and its function, over any number of processes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from batch.core.records import Reply, RowRequest, ToolCall
from batch.ledger import effects as records
from batch.ledger.effects import EffectsReader
from batch.ledger.reader import PendingRow
from batch.ledger.writer import Ledger
from batch.prompts import conversation, steps
from batch.prompts.steps import RunTools, Settle
from batch.run.effects import Effects, Policy
from batch.run.tool_turns import ToolTurns
from batch.submit.rows import Row
from batch.tools.execute import Executor
from batch.tools.registry import ToolSet, tool
from tests.support.ledgers import admitted, count, read

RULES = steps.Rules(max_turns=1_000, tools=True)


class House:
    """A ledger with one row, and tools that count how often they ran; each `process` begins from what the ledger has."""

    def __init__(self, folder: Path) -> None:
        self.path = admitted(folder / "ledger.db", 2)
        self.ran: Counter[str] = Counter()

        @tool(effects=True)
        def send(text: str) -> str:
            """Send it."""
            self.ran[text] += 1
            return f"sent {text}"

        @tool
        def fails(why: str) -> str:
            """Never works."""
            self.ran[why] += 1
            raise ValueError(why)

        @tool(cache=True)
        def square(n: int) -> int:
            """Count to n, n times."""
            self.ran[f"square {n}"] += 1
            if n < 0:
                raise ValueError("negative")
            return n * n

        self.tools = ToolSet.of([send, fails, square])

    @asynccontextmanager
    async def process(self, *, policy: Policy = "fail", calls_per_row: int = 50) -> AsyncIterator[Process]:
        """One process at work on the folder."""
        async with Ledger(self.path) as ledger:
            with EffectsReader(self.path) as reader:
                executor = Executor(self.tools)
                turns = ToolTurns(
                    executor, self.tools, ledger, reader=reader, calls_per_row=calls_per_row, policy=policy
                )
                yield Process(turns, ledger, reader, self)
                executor.close()


class Process:
    def __init__(self, turns: ToolTurns, ledger: Ledger, reader: EffectsReader, house: House) -> None:
        self.turns = turns
        self.ledger = ledger
        self.reader = reader
        self.house = house

    def row(self, number: int = 0) -> Row:
        """The row, before its first reply."""
        found = [row for row in self.reader.unsent(-1, 9) if row.row_id == f"row-{number}"]
        return Row(found[0] if found else self.reader.kept(f"row-{number}")[0], RowRequest([], "glm-4"))

    async def turn(self, row: Row, *calls: tuple[str, Any]) -> list[str] | Settle:
        """The model asks for these calls; what it is told, or how the row ends."""
        asked = tuple(
            ToolCall(f"c{place}", name, given if isinstance(given, str) else json.dumps(given))
            for place, (name, given) in enumerate(calls)
        )
        message = {"role": "assistant", "tool_calls": [{"id": call.id} for call in asked]}
        reply = Reply(content=None, finish_reason="tool_calls", tool_calls=asked, message=message, model="glm-4")
        row.conversation, action = conversation.after_reply(row.conversation, reply, RULES, model_asked="glm-4")
        assert isinstance(action, RunTools)
        row.replied = reply
        settle = await self.turns.run(row, asked)
        if settle is not None:
            return settle
        row.tool_results = {}
        return [str(message["content"]) for message in row.conversation.messages[-len(calls) :]]

    async def dies_while_it_sends(self, row: Row, text: str) -> None:
        """The intent is durable, the function may have run, and then there is no more of this process."""
        call = ToolCall("c0", "send", json.dumps({"text": text}))
        await Effects(self.reader, self.ledger).intend(row.pending, (row.conversation.turn, 0), call)
        self.house.ran[text] += 1


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def error(content: str) -> str:
    said = json.loads(content)
    assert list(said) == ["error"]
    return str(said["error"])


async def test_everything_that_goes_wrong_is_told_and_counted(house: House) -> None:
    """Unknown name, no JSON, bad arguments, an exception; the calls beside them are answered."""
    async with house.process() as here:
        row = here.row()
        calls = [
            ("nobody", {}),
            ("square", "{'n': 1"),
            ("square", {"n": "x"}),
            ("fails", {"why": "so"}),
            ("square", {"n": 4}),
        ]
        contents = await here.turn(row, *calls)
        assert isinstance(contents, list)
        assert [content.startswith('{"error":') for content in contents] == [True, True, True, True, False]
        row.count_tools()
        assert (row.sums.tool_calls, row.sums.tool_errors) == (5, 4)
        assert row.conversation.flags == ("tool_failed",)
        await here.ledger.committed()
        assert [idx for _, idx, _ in here.reader.steps_of(0)] == [0, 1, 2, 3, 4]


async def test_fifty_calls_of_one_turn_are_run_and_the_fifty_first_is_told_that_there_are_no_more(house: House) -> None:
    """The limit is kept here, whatever the model thinks of it."""
    async with house.process() as here:
        row = here.row()
        contents = await here.turn(row, *[("send", {"text": str(n)}) for n in range(51)])
        assert isinstance(contents, list)
        assert contents[:50] == [f"sent {n}" for n in range(50)]
        assert error(contents[50]).startswith("not run: this task has used up its 50 calls")
        assert house.ran == Counter({str(n): 1 for n in range(50)})
        assert error((await here.turn(row, ("send", {"text": "more"})))[0]).startswith("not run")  # type: ignore[index]  # there is content
        assert "more" not in house.ran


async def test_a_failing_call_that_is_repeated_turn_after_turn_ends_the_row(house: House) -> None:
    """The order of the keys does not make it another call; the conversation is whole."""
    async with house.process() as here:
        row = here.row()
        for text in ('{"why":"so"}', '{ "why": "so" }'):
            assert isinstance(await here.turn(row, ("square", {"n": 2}), ("fails", text)), list)
        settle = await here.turn(row, ("fails", {"why": "so"}))
        assert isinstance(settle, Settle)
        assert (settle.status, settle.error_kind, settle.error_code) == ("failed", "tool_loop", "same_call")
        assert "fails with the same arguments in 3 turns" in str(settle.error_message)
        assert [message["role"] for message in row.conversation.messages] == [
            *("assistant", "tool", "tool", "assistant", "tool", "tool", "assistant", "tool"),
        ]


async def test_other_arguments_or_a_turn_without_it_begin_anew(house: House) -> None:
    """A model that learns is left alone, and so is one that repeats what works."""
    async with house.process() as here:
        row = here.row()
        for why in ("a", "a", "b", "a", "a", "c"):
            assert isinstance(await here.turn(row, ("fails", {"why": why}), ("square", {"n": 3})), list)
        assert house.ran["square 3"] == 1


async def test_an_effect_has_one_record_that_outlives_the_process(house: House) -> None:
    """The next process gives the model the result of then; nothing runs."""
    async with house.process() as here:
        assert await here.turn(here.row(), ("send", {"text": "x"})) == ["sent x"]
    async with house.process() as here:
        assert await here.turn(here.row(), ("send", '{ "text" : "x" }')) == ["sent x"]
    assert house.ran == {"x": 1}
    assert count(house.path, "effects") == 1


async def test_arguments_that_are_refused_leave_no_doubt(house: House) -> None:
    """Nothing could happen, so nothing is kept."""
    async with house.process() as here:
        contents = await here.turn(here.row(), ("send", {"txt": "x"}))
        assert error(contents[0]).startswith("invalid arguments")  # type: ignore[index]  # there is content
        await here.ledger.committed()
    assert count(house.path, "effects") == 0


async def test_an_effect_is_intended_before_it_begins(tmp_path: Path) -> None:
    """Whoever looks at the ledger from inside the function finds that it is under way."""
    house = House(tmp_path)
    seen: list[Any] = []

    @tool(effects=True)
    def look() -> str:
        """See what the ledger says."""
        seen.extend(read(house.path, "SELECT turn, idx, result FROM effects"))
        return "seen"

    house.tools = ToolSet.of([look])
    async with house.process() as here:
        assert await here.turn(here.row(), ("look", "")) == ["seen"]
    assert seen == [(0, 0, None)]


async def test_an_effect_in_doubt_fails_the_row_unless_the_job_says_otherwise(house: House) -> None:
    """It may have happened, so it does not happen again, however often the row comes back."""
    async with house.process() as here:
        await here.dies_while_it_sends(here.row(), "x")
    for _ in range(2):
        async with house.process() as here:
            settle = await here.turn(here.row(), ("square", {"n": 1}), ("send", {"text": "x"}))
            assert isinstance(settle, list), "another place is another call"
            settle = await here.turn(here.row(), ("send", {"text": "x"}), ("square", {"n": 5}))
            assert isinstance(settle, Settle)
            assert (settle.error_kind, settle.error_code, settle.retryable) == ("tool", "interrupted", False)
            assert "tools.policy=rerun" in str(settle.error_message)
    assert house.ran == {"x": 2, "square 1": 1}, "once in doubt, once in the place that was free; nothing beside it ran"


async def test_ask_model_tells_the_model_that_nobody_knows(house: House) -> None:
    """At most once; the row is flagged, in this process and in one that goes on from its steps."""
    async with house.process() as here:
        await here.dies_while_it_sends(here.row(), "x")
    async with house.process(policy="ask_model") as here:
        row = here.row()
        contents = await here.turn(row, ("send", {"text": "x"}))
        assert "it is not known whether" in error(contents[0])  # type: ignore[index]  # there is content
        assert row.conversation.flags == ("effect_in_doubt", "tool_failed")
        await here.ledger.committed()
        assert Effects(here.reader, here.ledger).in_doubt(row.pending, 0)
        assert not Effects(here.reader, here.ledger).in_doubt(row.pending, 1)
    assert house.ran == {"x": 1}


async def test_rerun_runs_it_again_and_flags_the_row(house: House) -> None:
    """At least once; from then on the result is known."""
    async with house.process() as here:
        await here.dies_while_it_sends(here.row(), "x")
    for _ in range(2):
        async with house.process(policy="rerun") as here:
            row = here.row()
            assert await here.turn(row, ("send", {"text": "x"})) == ["sent x"]
            assert row.conversation.flags == ("effect_in_doubt",)
    assert house.ran == {"x": 2}


@pytest.mark.parametrize("policy", ["fail", "ask_model", "rerun"])
async def test_a_row_that_does_something_else_in_the_place_of_an_effect_is_in_doubt_too(
    policy: Policy, house: House
) -> None:
    """The row was asked again and the model chose other words: acting on both would be acting twice."""
    async with house.process() as here:
        await here.turn(here.row(), ("send", {"text": "x"}))
    async with house.process(policy=policy) as here:
        row = here.row()
        said = await here.turn(row, ("send", {"text": "X!"}))
        if policy == "fail":
            assert isinstance(said, Settle)
            assert said.error_code == "acted_before"
        elif policy == "ask_model":
            assert "something else was done" in error(said[0])  # type: ignore[index]  # there is content
        else:
            assert said == ["sent X!"]
            assert row.conversation.flags == ("effect_in_doubt",)
    assert house.ran["X!"] == (policy == "rerun")


async def test_another_row_and_another_question_are_other_effects(house: House) -> None:
    """The key is the row, what it asks, and the place."""
    async with house.process() as here:
        await here.turn(here.row(0), ("send", {"text": "x"}))
        await here.turn(here.row(1), ("send", {"text": "x"}))
        asked = here.row(0)
        asked.pending = asked.pending._replace(fingerprint=b"another question")
        await here.turn(asked, ("send", {"text": "x"}))
    assert house.ran == {"x": 3}


async def test_what_a_row_did_is_forgotten_with_an_answer_to_another_question(house: House) -> None:
    """Going back to the old question asks anew, and acts anew; what it did for the question in the table stays."""
    async with house.process() as here:
        row, other = here.row(), here.row()
        await here.turn(row, ("send", {"text": "x"}))
        other.pending = other.pending._replace(fingerprint=b"another question")
        await here.turn(other, ("send", {"text": "y"}))
        await here.turn(here.row(1), ("send", {"text": "z"}))
        await here.ledger.execute(lambda db: records.forget_other_questions(db, [row.work_id]))
        assert [effect.result for effect in here.reader.effects_of(row.pending).values()] == ["sent x"]
        assert here.reader.effects_of(other.pending) == {}
    assert count(house.path, "effects") == 2


async def test_a_pure_tool_runs_once_for_all_rows_and_over_a_crash(house: House) -> None:
    """Equal calls at the same time, later ones, and those of the next process of the run."""
    async with house.process() as here:
        first, second = here.row(0), here.row(1)
        async with anyio.create_task_group() as group:
            group.start_soon(here.turn, first, *[("square", {"n": 7})] * 20)
            group.start_soon(here.turn, second, ("square", ' { "n" : 7 }'))
        assert await here.turn(here.row(1), ("square", {"n": 7})) == ["49"]
    async with house.process() as here:
        assert await here.turn(here.row(1), ("square", {"n": 7}), ("square", {"n": 8})) == ["49", "64"]
    assert house.ran == {"square 7": 1, "square 8": 1}


async def test_an_error_of_a_pure_tool_is_shared_with_nobody(house: House) -> None:
    """Each asks for itself; who waited for the first does not wait for the others."""
    async with house.process() as here:
        contents = await here.turn(here.row(), *[("square", {"n": -1})] * 3)
        assert [error(content) for content in contents] == ["ValueError: negative"] * 3  # type: ignore[union-attr]  # there is content
    assert house.ran["square -1"] == 3
    assert count(house.path, "shared") == 0


async def test_calls_that_ran_before_a_crash_are_not_run_again(house: House) -> None:
    """Their results are in the journal; the others of the turn are run, and the turn goes on."""
    async with house.process() as here:
        row = here.row()
        row.tool_results = {0: "of then"}
        assert await here.turn(row, ("fails", {"why": "so"}), ("square", {"n": 2})) == ["of then", "4"]
    assert house.ran == {"square 2": 1}


def test_a_row_is_known_by_what_the_ledger_calls_it() -> None:
    """A record's values stand in the order of its statement."""
    row = PendingRow(3, 0, 0, "r", "v", 1, 0, b"f", 0)
    assert records.intent(row, (2, 1), "call").row == ("r", "v", b"f", 2, 1, "call")
    assert records.result(row, (2, 1), b"done").row == ("r", "v", b"f", 2, 1, b"done")
    assert msgspec.json.encode(records.doubt(row, (2, 1)).row[3:]) == b"[2,1]"
