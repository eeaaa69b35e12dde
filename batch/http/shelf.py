"""Idle connections of one kind, and which of them carries the next request.

Owns the order in which they are taken, how old they may be, and what the server's habit (`reuse`) makes of it. It opens
none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batch.http.reuse import Habit

if TYPE_CHECKING:
    from batch.http.connection import Connection

IDLE_S: Final = 15.0
"""After this an idle connection is not used again: services close them after 60 s or less, without notice."""


class Shelf:
    """Idle connections whose last answer was a stream, or was none.

    Args:
        streamed: which of the two.

    Attributes:
        habit: how the server treats such connections.
    """

    def __init__(self, *, streamed: bool) -> None:
        self.habit = Habit(streamed=streamed)
        # Insertion order makes a dict a stack from which a connection that was lost goes in O(1).
        self._stack: dict[Connection, None] = {}

    def keep(self, connection: Connection, now: float) -> None:
        """Keep a connection for the next request, unless its server is known to close it at once."""
        if now < self.habit.distrusted_until:
            connection.abort()
            return
        connection.reused = True
        connection.idle_since = now
        self._stack[connection] = None

    def take(self, now: float) -> Connection | None:
        """Take the connection that was used last, or one that was kept long enough to be tried; close those too old."""
        stack, habit = self._stack, self.habit
        oldest_s = min(IDLE_S, habit.idle_max)
        while stack:
            oldest = next(iter(stack))
            if now - oldest.idle_since < oldest_s:
                break
            del stack[oldest]
            oldest.abort()
        while stack:
            connection = next(reversed(stack) if habit.trusted else iter(stack))
            idle_s = now - connection.idle_since
            if not connection.usable():
                habit.closed(idle_s, now)
            elif idle_s < connection.idle_max:
                # Of a server that is trusted `may_use` asks no more than this, and here it is asked once a request.
                known = habit.trusted and now >= habit.distrusted_until and idle_s < habit.idle_max
                if not known and not habit.may_use(idle_s, now):
                    return None
                del stack[connection]
                return connection
            del stack[connection]
            connection.abort()
        return None

    def lost(self, connection: Connection, now: float) -> None:
        """A connection is gone; if it was kept here, that tells something of the server."""
        if connection in self._stack:
            del self._stack[connection]
            self.habit.closed(now - connection.idle_since, now)

    def clear(self) -> list[Connection]:
        """Give up all connections; the caller closes them."""
        given_up = list(self._stack)
        self._stack.clear()
        return given_up
