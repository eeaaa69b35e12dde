"""Runs the tools that a model asked for in one turn of a row: all at once, each result journaled when it is there.

Owns what stands between a call and its function: the limit of calls of a row, results that rows share, and effects,
which happen at most once (`effects`). Everything that goes wrong in a call becomes what the model is told; what ends
the row is given back as its outcome. It does not know how functions are run (`tools.execute`) nor what is asked next.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import anyio
import msgspec

from batch.core import failpoints
from batch.core.records import ToolCall
from batch.ledger import effects as records
from batch.ledger.effects import EffectsReader
from batch.ledger.writer import Ledger
from batch.prompts import conversation
from batch.prompts.steps import Conversation, Settle
from batch.run.effects import Effects, Known, Policy
from batch.submit.rows import Row
from batch.tools.execute import Executor
from batch.tools.registry import Tool, ToolSet
from batch.tools.shared import SharedResults

SAME_CALL_TURNS: Final = 3
"""A call that fails in so many turns, one after the other, with the same arguments each time, ends the row."""


class ToolTurns:
    """The tools of one run.

    Args:
        executor: runs functions.
        tools: those that the job offers.
        ledger: keeps results and intents.
        reader: the ledger, for the event loop's own thread.
        calls_per_row: the most calls of one row that are run.
        policy: what to do about an effect in doubt.
    """

    def __init__(
        self,
        executor: Executor,
        tools: ToolSet,
        ledger: Ledger,
        *,
        reader: EffectsReader,
        calls_per_row: int = 50,
        policy: Policy = "fail",
    ) -> None:
        self._executor = executor
        self._tools = tools
        self._ledger = ledger
        self._calls_per_row = calls_per_row
        self._effects = Effects(reader, ledger, policy)
        self._shared = SharedResults(
            kept=reader.shared,
            keep=lambda key, content: ledger.record(records.share(key, content.encode())),
            kept_bytes=reader.shared_bytes(),
        )

    async def run(self, row: Row, calls: tuple[ToolCall, ...]) -> Settle | None:
        """Run what the model asked for, those calls left out that were run before a crash.

        Args:
            row: its conversation ends with the reply; it goes on with the results, unless the row ends here.
            calls: of that reply.

        Returns:
            The outcome of a row that ends here; its conversation is kept as far as it came.

        Raises:
            StorageError: the ledger cannot be written.
        """
        turn = row.conversation.turn
        contents: dict[int, str] = dict(row.tool_results)
        to_run: list[tuple[int, ToolCall, Tool | None]] = []
        tools = [self._tools.get(call.name) for call in calls]
        known = self._effects.of(row.pending) if any(tool is not None and tool.effects for tool in tools) else {}
        in_doubt = any(effect.in_doubt for (at, _), effect in known.items() if at == turn)
        for index, (call, tool) in enumerate(zip(calls, tools, strict=True)):
            if index in contents:
                continue
            if row.conversation.tool_calls - len(calls) + index >= self._calls_per_row:
                contents[index] = self._over()
                self._journal(row, index, contents[index])
                continue
            effect = known.get((turn, index)) if tool is not None and tool.effects else None
            decision = self._effects.decide(effect, call)
            if isinstance(decision, Settle):
                return decision
            if isinstance(decision, Known):
                contents[index] = decision.content
                beside = (records.doubt(row.pending, (turn, index)),) if decision.told else ()
                self._journal(row, index, decision.content, *beside)
                in_doubt = in_doubt or decision.told
                continue
            in_doubt = in_doubt or effect is not None  # it was begun before, and is run again
            to_run.append((index, call, tool))

        async def run(index: int, call: ToolCall, tool: Tool | None) -> None:
            contents[index] = await self._run(row, index, call, tool)

        async with anyio.create_task_group() as group:
            for one in to_run:
                group.start_soon(run, *one)
        told = [contents[index] for index in range(len(calls))]
        coerced = any(map(self._executor.coerced, calls))
        row.conversation = conversation.after_tools(row.conversation, calls, told, coerced=coerced, in_doubt=in_doubt)
        return repeats_itself(row.conversation, model=row.replied.model if row.replied is not None else None)

    async def _run(self, row: Row, index: int, call: ToolCall, tool: Tool | None) -> str:
        """Run one call and journal what came of it."""
        place = (row.conversation.turn, index)
        begun = False

        async def begin() -> None:
            nonlocal begun
            await self._effects.intend(row.pending, place, call)
            begun = True  # and not when the arguments were refused: then nothing could happen

        with_effects = tool is not None and tool.effects
        run = partial(self._executor.run_call, call, begin=begin if with_effects else None)
        result = await (self._shared.get(tool, call, run) if tool is not None and tool.cache else run())
        failpoints.hit("tool.ran")
        content = result.content.encode("utf-8", "replace")
        self._journal(row, index, result.content, *([records.result(row.pending, place, content)] if begun else ()))
        return result.content

    def _journal(self, row: Row, index: int, content: str, *beside: records.Change) -> None:
        value = content.encode("utf-8", "replace")
        self._ledger.step(row.work_id, row.conversation.turn, index, value, *beside)

    def _over(self) -> str:
        text = (
            f"not run: this task has used up its {self._calls_per_row} calls of tools, and no further call will be "
            "run. Answer with what you have"
        )
        return msgspec.json.encode({"error": text}).decode()


def repeats_itself(conversation: Conversation, *, model: str | None) -> Settle | None:
    """The outcome of a row whose model makes one failing call turn after turn, else None.

    Args:
        conversation: ends with the results of tools.
        model: who asked for them, as the reply says.
    """
    for _, name, turns in conversation.failing:
        if turns >= SAME_CALL_TURNS:
            return Settle(
                status="failed",
                finish_reason="tool_calls",
                model=model,
                error_kind="tool_loop",
                error_code="same_call",
                error_message=(
                    f"the model called {name[:64]} with the same arguments in {turns} turns, one after the other, and "
                    "each time it failed; the conversation shows the error: mend the tool, or say in the prompt what "
                    "its arguments are"
                ),
                retryable=False,
            )
    return None
