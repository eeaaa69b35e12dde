"""The simulator's own account of what it served and billed: one compact record per HTTP request.

Kept in columns because a run may send hundreds of thousands of requests: some forty bytes a record plus the caller's
id. What is derived (cost, state of a task, duplicates) is computed when somebody asks.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

from batch.simulator.books import prices
from batch.simulator.tasks import SUCCESS, Task

_BILLED, _DELIVERED, _STREAMED = 1, 2, 4


class Entry:
    """What is known of one HTTP request while it is served; written to the books at its end.

    Attributes:
        route: `chat`, `submit`, `poll`, `models`, one of files and batches, `line` for one of a batch, or `unknown`.
        dialect: `glm`, `openai` or `none`.
        status: HTTP status; 0 when none was sent.
        fault: number of the first fault that struck it, else 0.
        stream: whether the answer was to be a stream.
        task: the task it made or asked for.
        tier: at whose price it is served; empty where the dialect has no tiers.
        batch: the batch that it is a line of; empty for anything else.
    """

    __slots__ = (
        "at", "batch", "billed", "cached_tokens", "client_call_id", "completion_tokens", "delivered", "dialect",
        "fault", "key_id", "model", "number", "prompt_tokens", "route", "status", "stream", "task", "tier",
    )  # fmt: skip

    def __init__(self, number: int, dialect: str, route: str, at: float) -> None:
        """Start with a request that has just arrived.

        Args:
            number: of the request, from 1.
            dialect: `glm`, `openai` or `none`.
            route: see the class.
            at: unix seconds of its arrival.
        """
        self.number = number
        self.dialect = dialect
        self.route = route
        self.at = at
        self.key_id = ""
        self.model = ""
        self.client_call_id: str | None = None
        self.status = 0
        self.billed = False
        self.delivered = False
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cached_tokens = 0
        self.fault = 0
        self.stream = False
        self.task: Task | None = None
        self.tier = ""
        self.batch = ""


class Books:
    """The records of all HTTP requests, in the order in which they ended."""

    def __init__(self) -> None:
        """Start empty."""
        self.clear()

    def clear(self) -> None:
        """Forget every record."""
        self._at = array("d")
        self._number = array("Q")
        self._tokens = array("Q")  # prompt, completion and cached tokens, three a record
        self._status = array("H")
        self._marks = array("B")
        self._kind = array("I")
        self._calls: list[str | None] = []
        self._tasks: dict[int, Task] = {}
        self._kinds: dict[tuple[str, str, str, str, int, str, str], int] = {}

    def __len__(self) -> int:
        """The number of records."""
        return len(self._at)

    def add(self, entry: Entry) -> int:
        """Write a record, and say at which place."""
        kind = (entry.route, entry.dialect, entry.key_id, entry.model, entry.fault, entry.tier, entry.batch)
        self._kind.append(self._kinds.setdefault(kind, len(self._kinds)))
        if entry.task is not None:
            self._tasks[len(self._at)] = entry.task
        self._at.append(entry.at)
        self._number.append(entry.number)
        self._tokens.extend((entry.prompt_tokens, entry.completion_tokens, entry.cached_tokens))
        self._status.append(entry.status)
        self._marks.append(_BILLED * entry.billed | _DELIVERED * entry.delivered | _STREAMED * entry.stream)
        self._calls.append(entry.client_call_id)
        return len(self._at) - 1

    def deliver(self, places: tuple[int, ...]) -> None:
        """Note that the records at these places reached their client; those from before a reset are passed over."""
        for place in places:
            if place < len(self._marks):
                self._marks[place] |= _DELIVERED

    def tokens_of(self, places: tuple[int, ...]) -> tuple[int, int, int]:
        """The sums of prompt, completion and cached tokens of the records at these places."""
        some = [self._tokens[3 * place : 3 * place + 3] for place in places]
        return sum(t[0] for t in some), sum(t[1] for t in some), sum(t[2] for t in some)

    def models(self, currency: str) -> list[str]:
        """The models that a provider of any model lists: those priced in this currency, then those it was asked for."""
        known = (name for name, price in prices.PRICES.items() if price.currency == currency)
        asked = (model for route, _, _, model, *_ in self._kinds if model and route in ("chat", "submit"))
        return list(dict.fromkeys((*known, *asked)))

    def billed(self, begin: float, end: float, now: float) -> dict[tuple[str, str], int]:
        """The tokens billed in a stretch of time, by (key, model).

        Args:
            begin: unix seconds.
            end: unix seconds; not itself in the stretch.
            now: monotonic seconds. Tasks count as they stand now, at the time of their submission.
        """
        kinds = list(self._kinds)
        totals: dict[tuple[str, str], int] = {}
        for position, at in enumerate(self._at):
            if not begin <= at < end:
                continue
            route, _, key_id, model, *_ = kinds[self._kind[position]]
            if route == "line":
                continue  # has a queue of its own
            task = self._tasks.get(position) if route == "submit" else None
            tokens = (
                self._tokens[3 * position] + self._tokens[3 * position + 1] if self._marks[position] & _BILLED else 0
            )
            if task is not None and task.state(now) == SUCCESS:
                tokens = task.prompt_tokens + task.completion_tokens
            totals[key_id, model] = totals.get((key_id, model), 0) + tokens
        return totals

    def records(self, now: float) -> Iterator[dict[str, Any]]:
        """Every record as it is shown, tasks as they stand at the monotonic time `now`."""
        kinds = list(self._kinds)
        # Whoever reads may be interrupted by a reset, which makes new columns: hold on to these.
        at, numbers, statuses, marks, calls = self._at, self._number, self._status, self._marks, self._calls
        tokens, kind, tasks = self._tokens, self._kind, self._tasks
        seen: set[tuple[str, str]] = set()
        for position in range(len(at)):
            route, dialect, key_id, model, fault, tier, batch = kinds[kind[position]]
            call_id, task = calls[position], tasks.get(position)
            prompt, completion, cached = tokens[3 * position : 3 * position + 3]
            billed = bool(marks[position] & _BILLED)
            if route == "submit" and task is not None and task.state(now) == SUCCESS:
                billed = True
                prompt, completion, cached = task.prompt_tokens, task.completion_tokens, task.cached_tokens
            duplicate = call_id is not None and route in ("chat", "submit") and (key_id, call_id) in seen
            if call_id is not None and route in ("chat", "submit"):
                seen.add((key_id, call_id))
            price = prices.find(model)
            cost = prices.cost(price, prompt, completion, cached, tier=tier) if price else None
            yield {
                "id": f"req_{numbers[position]:012d}",
                "route": route,
                "dialect": dialect,
                "key_id": key_id,
                "model": model,
                "service_tier": tier or None,
                "client_call_id": call_id,
                "status": statuses[position],
                "billed": billed,
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
                "cached_tokens": cached,
                "cost": cost if billed else "0",
                "currency": price.currency if price else None,
                "delivered": bool(marks[position] & _DELIVERED),
                "stream": bool(marks[position] & _STREAMED),
                "at": at[position],
                "task_id": None if task is None else task.id,
                "batch_id": batch or None,
                "fault": fault or None,
                "duplicate": duplicate,
            }
