"""Decides which requests are struck by which fault.

Owns the conversations seen, their attempts, and the log of the faults that were applied.

A conversation is a model and the whole list of messages, so each turn of a tool loop is one of its own. Where `rows`
gives a number, turns count as one: what is numbered is the opening, the messages up to the first user message.

- `rows` narrows a fault to conversations whose user messages contain one of the texts, or whose opening was the n-th;
- `first = n` narrows it to the first n attempts of each such conversation, on each route;
- `model` narrows it to requests for one model;
- `rate` tosses a coin for what is left: a function of seed, behaviour, conversation and attempt, and of nothing else
  (of the conversation alone, for faults that always strike the same rows);
- with none of them the fault always strikes, but for those that have a rate of their own.

Attempts are counted where faults are decided: a request refused by a limit is not one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from batch.simulator.books.tokens import text_of
from batch.simulator.chance import chance, digest64
from batch.simulator.faults.behaviour import ROUTES, Fault, Scene, Strike
from batch.simulator.faults.register import BEHAVIOURS

_ROUTE_NUMBER = {route: number for number, route in enumerate(ROUTES)}


class FaultSelector:
    """Chooses the faults of each request.

    Args:
        faults: of the scenario, in its order.
        seed: of the scenario.
    """

    def __init__(self, faults: tuple[Fault, ...], seed: int) -> None:
        """Start with no conversation seen."""
        self._faults = faults
        self._dialects = tuple(BEHAVIOURS[fault.behaviour].dialects for fault in faults)
        self._seed = seed
        self._routes = {route for fault in faults for route in fault.routes}
        self._narrowed = any(fault.rows or fault.model is not None for fault in faults)
        self._numbered = any(isinstance(row, int) for fault in faults for row in fault.rows)
        self.clear()

    def clear(self) -> None:
        """Forget attempts, conversations and log."""
        self._attempts: dict[tuple[str, int], int] = {}
        self._openings: dict[int, int] = {}
        self._log: list[tuple[int, int, str, str | None, float]] = []
        self._met: dict[tuple[int, str], tuple[int, float]] = {}
        self._totals = [0] * len(self._faults)

    def rows_of(self, model: str, messages: list[dict[str, Any]]) -> int:
        """Bit mask of the faults whose `rows` and `model` name this conversation; without them one names them all."""
        if not self._narrowed:
            return (1 << len(self._faults)) - 1
        texts = [text_of(message.get("content")) for message in messages if message.get("role") == "user"]
        number = self._opening_number(model, messages) if self._numbered else 0
        mask = 0
        for position, fault in enumerate(self._faults):
            if fault.model is not None and fault.model.lower() != model.lower():
                continue
            if not fault.rows or any(
                row == number if isinstance(row, int) else any(row in text for text in texts) for row in fault.rows
            ):
                mask |= 1 << position
        return mask

    def _opening_number(self, model: str, messages: list[dict[str, Any]]) -> int:
        roles = [message.get("role") for message in messages]
        end = roles.index("user") + 1 if "user" in roles else len(messages)
        opening = digest64(msgspec.json.encode([model, messages[:end]]))
        return self._openings.setdefault(opening, len(self._openings) + 1)

    def meets(self, route: str) -> bool:
        """Whether any fault may strike on this route."""
        return route in self._routes

    def on(self, route: str, dialect: str, conversation: int, rows: int, scene: Scene) -> list[Strike]:
        """The faults that strike this request, counting it as one attempt.

        Args:
            route: one of `ROUTES`.
            dialect: `glm` or `openai`.
            conversation: 64 bits that stand for model and messages.
            rows: what `rows_of` said of it.
            scene: the moment.
        """
        if route not in self._routes:
            return []
        attempt = self._attempts.get((route, conversation), 0) + 1
        self._attempts[route, conversation] = attempt
        return [
            self._strike(position, dialect, conversation, attempt, scene)
            for position, fault in enumerate(self._faults)
            if route in fault.routes
            and dialect in self._dialects[position]
            and rows >> position & 1
            and self._falls(fault, route, conversation, attempt)
        ]

    def _strike(self, position: int, dialect: str, conversation: int, attempt: int, scene: Scene) -> Strike:
        number, begun = self._met.get((position, scene.key_id), (0, scene.now))
        self._met[position, scene.key_id] = number + 1, begun
        self._totals[position] += 1
        total = self._totals[position]
        return Strike(self._faults[position], dialect, conversation, attempt, number + 1, total, begun, scene)

    def _falls(self, fault: Fault, route: str, conversation: int, attempt: int) -> bool:
        if fault.first is not None and attempt > fault.first:
            return False
        if fault.rate is None:
            return True
        if BEHAVIOURS[fault.behaviour].sticky:
            return chance(self._seed, fault.behaviour, fault.salt, 0, conversation, 0) < fault.rate
        parts = (self._seed, fault.behaviour, fault.salt, _ROUTE_NUMBER[route], conversation, attempt)
        return chance(*parts) < fault.rate

    def applied(self, strike: Strike, number: int, route: str, call_id: str | None, at: float) -> None:
        """Log a fault that did its work.

        Args:
            strike: the fault on the request.
            number: of the request.
            route: one of `ROUTES`.
            call_id: the caller's id of the request.
            at: unix seconds.
        """
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
