"""The values of a row's conversation: where it stands, the settings that decide how it goes on, and what is next.

Owns what each of them holds. What follows from what is `conversation`'s matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from batch.core.errors import FailureKind
from batch.core.labelling import Labelling
from batch.core.records import Message, Purpose, Reply, ToolCall
from batch.labels.samples import NO_SAMPLES, Sampling
from batch.labels.tries import LabelRules, Tries
from batch.prompts import images
from batch.prompts.finish_reasons import UNKNOWN, meaning


class Rules(msgspec.Struct, frozen=True):
    """The settings of the job that decide how a conversation continues."""

    max_turns: int = 8
    tools: bool = False
    served: Literal["any", "same"] = "any"
    keep: Literal["turns", "all", "none"] = "turns"
    finish_reasons: dict[str, str] = {}
    """Words of the service for how an answer ended, beside those that are known everywhere."""
    labels: LabelRules | None = None
    """What is done about the label of a last answer; None where that is kept as it is."""

    def meaning(self, reply: Reply) -> str:
        """What the reply's finish reason means; see `finish_reasons.meaning`.

        Calls that came are calls, whatever word stands beside them; `function_call` without one is an old way to say
        that the answer ended.
        """
        means = meaning(reply.finish_reason, self.finish_reasons)
        if means == UNKNOWN and reply.tool_calls:
            return "tool_calls"
        return "stop" if reply.finish_reason == "function_call" and not reply.tool_calls else means


class Heard(msgspec.Struct, frozen=True, gc=False):
    """An answer that says a label."""

    vote: str
    settle: Settle
    messages: tuple[Message, ...]
    """The conversation that it ends."""


class Conversation(msgspec.Struct, frozen=True, gc=False):
    """The messages of a row until now. `first` of them are its first request; `turn` is now asked or answered."""

    messages: tuple[Message, ...]
    first: int
    turn: int = 0
    tool_calls: int = 0
    follow_ups: tuple[Message, ...] = ()
    """What the user says next, one message for each complete answer."""
    since: int = 0
    """The turn in which the user's last message was asked; `max_turns` counts from there."""
    flags: tuple[str, ...] = ()
    """The flags of what came before the last answer, such as `truncated`; `core.flags` has them all."""
    tool_errors: int = 0
    failing: tuple[tuple[str, str, int], ...] = ()
    """The calls that failed in the last turn: key, name, and in how many turns without a break."""
    tries: Tries = Tries()
    sampling: Sampling = NO_SAMPLES
    """The samples that came to their end, and the votes they gave."""
    began: int = 0
    """The turn in which the sample of now began."""
    script: tuple[Message, ...] = ()
    """What the user says after the first answer, in every sample."""
    heard: tuple[Heard, ...] = ()
    """For each label, the first answer of this process and its journal that says it."""

    def purpose(self, attempt: int) -> Purpose:
        """What a call of the turn of now is made for.

        Args:
            attempt: which one of that turn, from 0.
        """
        if self.turn and self.tries.purpose is not None:
            return self.tries.purpose
        if attempt:
            return "retry"
        return "sample" if self.sampling.ended and self.turn == self.began else "first"

    @property
    def sent(self) -> tuple[Message, ...]:
        """The messages that the next turn is asked with; another model is spared the answers that held no label."""
        tries = self.tries
        if tries.escalated is None:
            return self.messages
        return self.messages[: tries.before] + self.messages[tries.behind :]

    def kept(self, keep: Literal["turns", "all", "none"]) -> str | None:
        """The part of the conversation that `output.messages` asks for, as JSON text; of pictures, hash and source."""
        if keep == "none":
            return None
        chosen: Sequence[Message] = self.messages if keep == "all" else self.messages[self.first :]
        for message in chosen:
            if not isinstance(message.get("content"), str):
                chosen = images.shown(chosen)
                break
        return msgspec.json.encode(chosen).decode()


class Send(msgspec.Struct, frozen=True, gc=False):
    """Ask the model for turn `conversation.turn`."""

    then: str = ""
    """What the journal keeps with the reply, where what follows it depends on the settings of the moment."""


class RunTools(msgspec.Struct, frozen=True, gc=False):
    """Run these calls; answer every one of them."""

    calls: tuple[ToolCall, ...]


class Settle(msgspec.Struct, frozen=True, gc=False):
    """The row has its outcome."""

    status: Literal["ok", "failed"]
    answer: str | None = None
    reasoning: str | None = None
    finish_reason: str | None = None
    flags: tuple[str, ...] = ()
    model: str | None = None
    error_kind: FailureKind | None = None
    error_code: str | None = None
    error_message: str | None = None
    retryable: bool | None = None
    label: Any = None
    labelling: Labelling | None = None
    confidence: float | None = None
    """The probability of the label, or the mean of those of the answers that say it."""
    keeps_answer: bool = False
    """Whether no answer that came says the label: the one in the table does, and stays."""


Action = Send | RunTools | Settle


def start(
    messages: list[Message], follow_ups: tuple[Message, ...] = (), sampling: Sampling = NO_SAMPLES
) -> Conversation:
    """The conversation before anything was sent.

    Args:
        messages: of the first request.
        follow_ups: what the user says later, one message after each complete answer.
        sampling: samples that earlier runs asked for.
    """
    begun = Conversation(tuple(messages), len(messages))
    if not follow_ups and sampling is NO_SAMPLES:
        return begun  # as nearly all begin
    return msgspec.structs.replace(begun, follow_ups=follow_ups, script=follow_ups, sampling=sampling)
