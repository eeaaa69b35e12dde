"""Chat tasks: what was submitted, under which id, and its state at any time.

A task's state is a function of the clock: nothing runs in the background. Forms: BigModel API reference, "async chat
completion" and "query async result" (there is no `FAILED`); ids as recorded there, opaque text that may contain a minus
sign.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from batch.simulator.chance import mixed

PROCESSING = "PROCESSING"
SUCCESS = "SUCCESS"
FAIL = "FAIL"


class Task(msgspec.Struct):
    """One submitted task.

    Attributes:
        id: what the client polls with.
        request_id: the caller's, or made here.
        key_id: who may ask for it.
        model: the model asked for.
        ready_at: monotonic seconds at which it ends; infinity for a stuck one.
        result: body of the SUCCESS or FAIL answer.
        prompt_tokens: tokens billed when it succeeds.
        completion_tokens: likewise.
        cached_tokens: the part of the prompt tokens served from the cache.
        conversation: identity of the messages, by which faults choose.
        rows: bit mask of the faults whose `rows` and `model` name this conversation.
        failed: whether it ends as FAIL.
        shown: whether a poll has been answered with its success.
    """

    id: str
    request_id: str
    key_id: str
    model: str
    ready_at: float
    result: bytes
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    conversation: int
    rows: int
    failed: bool = False
    shown: bool = False

    def state(self, now: float) -> str:
        """`PROCESSING`, `SUCCESS` or `FAIL` at the monotonic time `now`."""
        if now < self.ready_at:
            return PROCESSING
        return FAIL if self.failed else SUCCESS


class Tasks:
    """All tasks, by id. They are kept as long as the server lives: results may be asked for again."""

    def __init__(self, seed: int, started: int) -> None:
        """Ids start with 17 digits shared by all tasks of one server and are unlike those of the next one."""
        self._prefix = f"{mixed(seed, started) % 10**17:017d}"
        self._salt = mixed(started, seed)
        self._made = 0
        self._tasks: dict[str, Task] = {}
        self._latest: dict[str, str] = {}

    def new_ids(self) -> tuple[str, str]:
        """A task id, and the request id for a caller who gave none; both may be negative numbers as text."""
        self._made += 1
        number = mixed(self._salt, self._made) % (2 * 9 * 10**18) - 9 * 10**18
        return f"{self._prefix}{number + 1}", str(number)

    def add(self, task: Task) -> None:
        """Keep a task."""
        self._tasks[task.id] = task
        self._latest[task.key_id] = task.id

    def latest(self, key_id: str) -> str:
        """The id of the task that this key submitted last; empty when there is none."""
        return self._latest.get(key_id, "")

    def lose(self, now: float) -> None:
        """Forget every task; one that had not ended at the monotonic time `now` never will."""
        for task in self._tasks.values():
            if now < task.ready_at:
                task.ready_at = math.inf
        self._tasks.clear()
        self._latest.clear()

    def find(self, task_id: str, key_id: str) -> Task | None:
        """The task with this id if it belongs to this key."""
        task = self._tasks.get(task_id)
        return task if task is not None and task.key_id == key_id else None


def processing_body(task: Task) -> dict[str, Any]:
    """The body of an answer to a poll that came too early."""
    return {"id": task.id, "request_id": task.request_id, "model": None, "task_status": PROCESSING}
