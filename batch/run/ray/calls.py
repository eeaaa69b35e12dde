"""The near end of a line made of calls to an actor: a worker on Ray as the core has it.

Owns which calls are on their way and what they bring. There is always one, for the worker to answer when it has
something to say; a few more when the core has something to say itself. What waits meanwhile goes with the next call, so
the busier both are, the more goes with each. A call that fails is the end of the line: nothing is called again, because
nobody could know whether it came.

No key goes over it: `messages.encode_keyless` takes it out of each errand, and the worker puts its own there.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from typing import Any, Final, Protocol

import msgspec

from batch.core.clock import Clock
from batch.core.plain import clean
from batch.core.redaction import Secret
from batch.run.fleet import messages
from batch.run.ray.actor import Answer, Trade

ON_THE_WAY: Final = 4
"""Calls at a time; two of them wait at the worker."""
LONGEST_CAUSE: Final = 200


class Handle(Protocol):
    """An actor, as far as it is used here."""

    def work(self) -> Future[None]:
        """Have it work; the future ends with that, or with the actor."""

    def trade(self, trade: Trade) -> Future[Answer]:
        """One call."""

    def end(self) -> None:
        """Kill it."""


class ActorWorker:
    """One worker on Ray; see `transport.Started`.

    Args:
        actor: has begun to start.
        keys: where it finds the key of each address.
        clock: the core's.
    """

    def __init__(self, actor: Handle, keys: dict[str, messages.KeyPlace], clock: Clock) -> None:
        self._actor = actor
        self._places = keys
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: contextvars.Context | None = None
        self._received: Callable[[messages.ToCore], None] | None = None
        self._ended: Callable[[], None] | None = None
        self._to_say: list[bytes] = []
        self._saying = False
        self._numbers = count(1)
        self._calls = 0
        """On their way."""
        self._heard, self._heard_at = 0, 0.0
        self._signed: dict[str, tuple[str, ...]] = {}
        """What each key made of the last errand that had it."""
        self._keys: dict[str, int] = {}
        self._how = "left"
        self._left = False
        """It has done its work, and what it said last may still be on its way."""

    async def open(self, received: Callable[[messages.ToCore], None], ended: Callable[[], None]) -> None:
        """Have the actor work, and make the first call once it is told what with."""
        self._loop, self._context = asyncio.get_running_loop(), contextvars.copy_context()
        self._received, self._ended = received, ended
        self._when_done(self._actor.work(), self._worked)

    def _when_done(self, future: Future[Any], then: Callable[[Future[Any]], None]) -> None:
        loop, context = self._loop, self._context
        assert loop is not None

        def tell(done: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody wants it any more
                # In a thread of Ray's, whose own context knows of no event loop: no task could be started in that.
                loop.call_soon_threadsafe(then, done, context=context)

        future.add_done_callback(tell)

    def send(self, message: messages.ToWorker) -> None:
        """Send one message, with a call at the end of this tick of the loop, or with the next one after that."""
        if self._loop is None or self._ended is None:
            return
        if isinstance(message, messages.Hello):
            message = msgspec.structs.replace(message, keys=self._places)
        elif isinstance(message, messages.Take):
            message = messages.Take(message.errands, self._keys_seen(message.errands))
        self._to_say.append(messages.encode_keyless(message))
        if not self._saying:
            self._saying = True
            self._loop.call_soon(self._say)

    def _keys_seen(self, errands: list[messages.Errand]) -> dict[str, int]:
        """How many times each of the core's own keys became another one, these errands included."""
        for errand in errands:
            signed = tuple(value for _, value in errand.headers if isinstance(value, Secret))
            name = messages.key_of(errand)
            if signed and signed != (before := self._signed.get(name)):
                self._keys[name] = self._keys.get(name, 0) + (before is not None)
                self._signed[name] = signed
        return self._keys

    def _say(self) -> None:
        self._saying = False
        if self._calls < ON_THE_WAY:
            self._call()

    def _call(self) -> None:
        if self._ended is None:
            return
        frames, self._to_say = self._to_say, []
        self._calls += 1
        trade = next(self._numbers), frames, self._heard, self._heard_at
        try:
            future = self._actor.trade(trade)
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker cannot be reached
            self._over(_cause(error))
            return
        self._when_done(future, self._answered)

    def _answered(self, done: Future[Answer]) -> None:
        self._calls -= 1
        if self._ended is None or self._received is None:
            return
        if (error := done.exception()) is not None:
            self._over(_cause(error))
            return
        number, frames = done.result()
        self._heard, self._heard_at = number, self._clock.monotonic()
        if not self._left and (self._to_say or not self._calls):
            self._call()  # first of all: it tells when the answer came, by which the worker knows our time
        for frame in frames:
            self._received(messages.for_core(frame))
        if self._left and not self._calls:
            self._over("left")

    def _worked(self, done: Future[None]) -> None:
        if (error := done.exception()) is not None:
            self._over(_cause(error))
        elif self._calls:
            self._left = True
        else:
            self._over("left")

    def _over(self, how: str) -> None:
        """The line has ended."""
        ended, self._ended = self._ended, None
        if ended is not None:
            self._how = how
            ended()

    def abort(self) -> None:
        """Hear nothing more of it."""
        self._ended = None

    def how_it_ended(self) -> str:
        """In words, once its line has ended."""
        return self._how

    def end(self) -> None:
        """Have Ray kill it."""
        self._actor.end()


def _cause(error: BaseException) -> str:
    """What Ray says of the end of an actor, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = clean(lines[0] if lines else type(error).__name__, most=LONGEST_CAUSE)
    return f"ended as an actor of Ray: {said}"
