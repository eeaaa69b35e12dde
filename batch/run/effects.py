"""Tools with effects run at most once: what the ledger knows of an effect decides whether its function may run.

Owns that decision and the policy of the job for an effect that was begun and has no end: the process died while the
function was at work, so nobody knows whether it did what it does. It runs nothing.

    nothing known                    it runs, after its intent is durable
    the same call, with its result   the model gets that result again; nothing runs
    begun, and no result             in doubt: the policy decides
    another call in the same place   the row was asked again and does something else now: the policy decides, too
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

from batch.core.canonical import call_key
from batch.core.records import ToolCall
from batch.ledger import effects
from batch.ledger.effects import Effect, EffectsReader, Place
from batch.ledger.reader import PendingRow
from batch.ledger.writer import Ledger
from batch.prompts.steps import Settle

Policy = Literal["fail", "ask_model", "rerun"]

INTERRUPTED: Final = "interrupted"
ACTED_BEFORE: Final = "acted_before"


class Go(NamedTuple):
    """The function may run, after `Effects.intend`."""


class Known(NamedTuple):
    """Nothing runs; the model gets this."""

    content: str
    told: bool = False
    """Whether that is not a result of then, but what the model is told of a doubt."""


Decision = Go | Known | Settle


class Effects:
    """What tools with effects did for the rows of one folder.

    Args:
        reader: the ledger, for the event loop's own thread.
        ledger: keeps what is done.
        policy: of the job.
    """

    def __init__(self, reader: EffectsReader, ledger: Ledger, policy: Policy = "fail") -> None:
        self._reader = reader
        self._ledger = ledger
        self._policy: Policy = policy

    def of(self, row: PendingRow) -> dict[Place, Effect]:
        """What is known of a row, by place."""
        return self._reader.effects_of(row)

    def decide(self, effect: Effect | None, call: ToolCall) -> Decision:
        """Whether a call may run.

        Args:
            effect: what is known of its place, see `of`; None for nothing.
            call: of a tool with effects.
        """
        if effect is None:
            return Go()
        same = effect.call == call_key(call.name, call.arguments)
        if same and effect.result is not None:
            return Known(effect.result)
        if self._policy == "rerun":
            return Go()
        if self._policy == "fail":
            return _failed(call, INTERRUPTED if same else ACTED_BEFORE)
        return Known(msgspec.json.encode({"error": _told(call, same=same)}).decode(), told=True)

    async def intend(self, row: PendingRow, place: Place, call: ToolCall) -> None:
        """Have the ledger know that a call is about to run; it may run when this returns.

        Args:
            row: which asks for it.
            place: where in its conversation.
            call: of a tool with effects.

        Raises:
            StorageError: the ledger cannot be written.
        """
        self._ledger.record(effects.intent(row, place, call_key(call.name, call.arguments)))
        await self._ledger.committed()

    def in_doubt(self, row: PendingRow, turn: int) -> bool:
        """Whether an effect of a turn was found without its end, and the row went on all the same."""
        return any(effect.in_doubt for place, effect in self.of(row).items() if place[0] == turn)


def _failed(call: ToolCall, code: str) -> Settle:
    name = call.name[:64]
    what = (
        f"the process ended while {name} was at work, so it is not known whether it has run"
        if code == INTERRUPTED
        else f"an earlier attempt at this row called a tool with effects here with other arguments than {name} has now"
    )
    return Settle(
        status="failed",
        finish_reason="tool_calls",
        error_kind="tool",
        error_code=code,
        error_message=(
            f"{what}: look at what it did; then --retry all asks the row again, with --set tools.policy=rerun to have "
            "it run (again), or --set tools.policy=ask_model to tell the model"
        ),
        retryable=False,
    )


def _told(call: ToolCall, *, same: bool) -> str:
    name = call.name[:64]
    if same:
        return (
            f"{name} was interrupted while it was at work, and it is not known whether it did what it does; it was not "
            "run again. Find out before you call it again, or say so in the answer"
        )
    return (
        f"in an earlier attempt at this task something else was done at this point, and it may be that it took effect; "
        f"{name} was not run. Find out before you call it again, or say so in the answer"
    )
