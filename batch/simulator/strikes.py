"""Who is struck by which fault. Owns the conversations seen, their attempts, and the log of what was applied.

A conversation is a model and the whole list of messages, so each turn of a tool loop is one of its own. Where `rows`
gives a number, turns count as one: what is numbered is the opening, the messages up to the first user message.

- `rows` narrows a fault to conversations whose user messages contain one of the texts, or whose opening was the n-th;
- `first = n` narrows it to the first n attempts of each such conversation, on each route;
- `rate` tosses a coin for what is left: a function of seed, behaviour, conversation and attempt, and of nothing else;
- with none of them the fault always strikes.

Attempts are counted where faults are decided: a request refused by a limit is not one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .chance import chance, digest64
from .faults import BEHAVIOURS, Fault, Strike
from .tokens import text_of

_ROUTE_NUMBER = {"chat": 0, "submit": 1, "poll": 2}


class Strikes:
    """Chooses the faults of each request."""

    def __init__(self, faults: tuple[Fault, ...], seed: int) -> None:
        """Strike by these faults, in this order."""
        self._faults = faults
        self._seed = seed
        self._routes = {route for fault in faults for route in fault.routes}
        self._by_rows = any(fault.rows for fault in faults)
        self._numbered = any(isinstance(row, int) for fault in faults for row in fault.rows)
        self.clear()

    def clear(self) -> None:
        """Forget attempts, conversations and log."""
        self._attempts: dict[tuple[str, int], int] = {}
        self._openings: dict[int, int] = {}
        self._log: list[tuple[int, int, str, str | None, float]] = []

    def rows_of(self, model: str, messages: list[dict[str, Any]]) -> int:
        """Bit mask of the faults whose `rows` name this conversation; a fault without `rows` names every one."""
        if not self._by_rows:
            return (1 << len(self._faults)) - 1
        texts = [text_of(message.get("content")) for message in messages if message.get("role") == "user"]
        number = self._opening_number(model, messages) if self._numbered else 0
        mask = 0
        for place, fault in enumerate(self._faults):
            if not fault.rows or any(
                row == number if isinstance(row, int) else any(row in text for text in texts) for row in fault.rows
            ):
                mask |= 1 << place
        return mask

    def _opening_number(self, model: str, messages: list[dict[str, Any]]) -> int:
        roles = [message.get("role") for message in messages]
        end = roles.index("user") + 1 if "user" in roles else len(messages)
        opening = digest64(msgspec.json.encode([model, messages[:end]]))
        return self._openings.setdefault(opening, len(self._openings) + 1)

    def on(self, route: str, dialect: str, conversation: int, rows: int) -> list[Strike]:
        """The faults that strike this request, counting it as one attempt.

        Args:
            route: `chat`, `submit` or `poll`.
            dialect: `glm` or `openai`.
            conversation: 64 bits that stand for model and messages.
            rows: what `rows_of` said of it.
        """
        if route not in self._routes:
            return []
        attempt = self._attempts.get((route, conversation), 0) + 1
        self._attempts[route, conversation] = attempt
        return [
            Strike(fault, dialect, conversation, attempt)
            for place, fault in enumerate(self._faults)
            if route in fault.routes and rows >> place & 1 and self._falls(fault, route, conversation, attempt)
        ]

    def _falls(self, fault: Fault, route: str, conversation: int, attempt: int) -> bool:
        if fault.first is not None and attempt > fault.first:
            return False
        if fault.rate is None:
            return True
        parts = (self._seed, fault.behaviour, fault.salt, _ROUTE_NUMBER[route], conversation, attempt)
        return chance(*parts) < fault.rate

    def applied(self, strike: Strike, number: int, route: str, call_id: str | None, at: float) -> None:
        """Log that a fault did its work on the request with this number, at `at` unix seconds."""
        self._log.append((number, strike.fault.behaviour, route, call_id, at))

    def log(self) -> list[dict[str, Any]]:
        """Every fault that was applied, in order."""
        return [
            {
                "id": f"req_{number:012d}",
                "behaviour": behaviour,
                "title": BEHAVIOURS[behaviour].title,
                "route": route,
                "client_call_id": call_id,
                "at": at,
            }
            for number, behaviour, route, call_id, at in self._log
        ]
