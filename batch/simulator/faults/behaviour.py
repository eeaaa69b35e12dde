"""What a fault is made of: the values that the register, the scenario and the provider hand to each other.

Owns their meaning, and no wire form.

A fault number stands for a `Behaviour`, made of at most six small functions:

- `refuse(strike)` answers in place of the model, before any work, which is not billed; None lets the request pass;
- `answer(strike, body)` changes the finished answer, which is billed as it would have been;
- `stream(strike, stream)` changes the events of an answer that is streamed, and passes where none is;
- `task(strike, fate)` changes when and how a submitted task ends;
- `batch(strike, fate)` changes how a batch ends and what stands in its files;
- `wire(strike, reply)` changes how the bytes leave.

All but the first give back the very object they got when there was nothing to do; then nothing is logged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from batch.simulator.dialects.stream import Stream
from batch.simulator.models.completion import Ask
from batch.simulator.tasks import Task
from batch.simulator.wire import Reply

CALLS = ("chat", "submit", "poll")
FILE_ROUTES = ("upload", "create", "batch", "content")
ROUTES = (*CALLS, *FILE_ROUTES, "line", "cancel")
"""Where a fault may strike: calls, files and batches, and the lines of batches."""
DIALECTS = ("glm", "openai")


@dataclass(frozen=True, slots=True)
class Fault:
    """One `[[fault]]` of a scenario, checked.

    Attributes:
        behaviour: its number.
        routes: where it strikes.
        rate: the share of requests it strikes; None strikes all that the rest leaves.
        rows: texts looked for in user messages, or numbers of conversations from 1 by first arrival; empty: all.
        first: strikes only the first so many attempts of each conversation; None: all attempts.
        model: strikes only requests for this model; None: any.
        options: what this behaviour can be told besides.
        salt: tells entries of one behaviour apart, so that their coins fall independently.
    """

    behaviour: int
    routes: tuple[str, ...]
    rate: float | None = None
    rows: tuple[str | int, ...] = ()
    first: int | None = None
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    salt: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """The moment at which a request is met by faults.

    Attributes:
        now: monotonic seconds.
        wall: seconds since 1970.
        key_id: who asks.
        path: what follows the dialect's prefix.
        authorization: the credentials as sent.
        reused: whether the connection has carried a request before.
        billed: tokens billed to this key so far, those of unfinished tasks included.
        earlier: id of the task this key submitted last; empty when there is none.
        restarted: monotonic seconds of the last restart.
        ask: the request; None for a poll.
        task: the task polled; None for anything else.
    """

    now: float
    wall: float
    key_id: str
    path: str = ""
    authorization: str | None = None
    reused: bool = False
    billed: int = 0
    earlier: str = ""
    restarted: float = -math.inf
    ask: Ask | None = None
    task: Task | None = None


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault on one request.

    Attributes:
        fault: which one.
        dialect: `glm` or `openai`, for the form of what is sent.
        conversation: 64 bits that stand for model and messages.
        attempt: the number of this attempt of the conversation on its route, from 1.
        number: how many requests of this key the fault has struck, this one included.
        total: how many requests of all keys it has struck, this one included.
        begun: monotonic seconds at which it first struck this key.
        scene: the moment.
    """

    fault: Fault
    dialect: str
    conversation: int
    attempt: int
    number: int
    total: int
    begun: float
    scene: Scene

    def option(self, name: str, default: Any) -> Any:
        """The option's value if the scenario gives one."""
        return self.fault.options.get(name, default)

    def pick(self, option: str, choices: tuple[Any, ...]) -> Any:
        """The option's value if the scenario gives one, else the choices in turn from attempt to attempt."""
        given = self.fault.options.get(option)
        return choices[(self.conversation + self.attempt) % len(choices)] if given is None else given


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a submitted task, in monotonic seconds.

    Attributes:
        now: when it was made.
        ready_at: when it ends.
        held_until: when its place in flight is given back.
        failure: None when it succeeds; else what the FAIL answer holds besides ids and status.
    """

    now: float
    ready_at: float
    held_until: float
    failure: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class BatchFate:
    """What becomes of a batch.

    Attributes:
        ends: `completed`, `failed`, `expired` or `cancelled`.
        share: how many of its lines are done when it expires or is cancelled, 0 to 1.
        spoilt: how its files are spoilt: `missing`, `repeated`, `unknown`, `errors_only`, `broken` or `late_file`;
            empty for not.
        spoilt_share: how many of its lines are, 0 to 1.
    """

    ends: str = "completed"
    share: float = 1.0
    spoilt: str = ""
    spoilt_share: float = 0.0


Allowed = type | range | tuple[Any, ...]
"""Values of an option: whole from 1 (`int`), number from 0 (`float`), text (`str`), one in a range, one of a tuple."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a fault number means.

    Attributes:
        title: for people.
        routes: where it strikes unless the scenario says otherwise.
        allowed: where it may strike.
        dialects: where it exists; requests in another dialect pass.
        options: further keys of its `[[fault]]`, each with the values it may have.
        rate: the share it strikes when the scenario narrows it by neither rate, rows nor first; None: all.
        sticky: whether the rate chooses conversations for good, not attempts.
        refuse: see the module.
        answer: see the module.
        stream: see the module.
        task: see the module.
        batch: see the module.
        wire: see the module.
    """

    title: str
    routes: tuple[str, ...] = ("chat", "submit")
    allowed: tuple[str, ...] = CALLS
    dialects: tuple[str, ...] = DIALECTS
    options: Mapping[str, Allowed] = field(default_factory=dict)
    rate: float | None = None
    sticky: bool = False
    refuse: Callable[[Strike], Reply | None] | None = None
    answer: Callable[[Strike, dict[str, Any]], dict[str, Any]] | None = None
    stream: Callable[[Strike, Stream], Stream] | None = None
    task: Callable[[Strike, Fate], Fate] | None = None
    batch: Callable[[Strike, BatchFate], BatchFate] | None = None
    wire: Callable[[Strike, Reply], Reply] | None = None
