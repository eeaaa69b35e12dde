"""The queue of groups between the event loop, which fills them, and the one thread that writes them.

Owns when a group is full and when it is handed over: at the end of the loop's tick, so that all who were woken together
are in it, and one at a time, so that the next one grows while this one is written. There is no timer. It writes nothing
and does not know what a record means.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence

from batch.ledger.group import GROUP_BYTES, GROUP_RECORDS, Group, Written


class GroupQueue:
    """Groups in the order in which they are written. Everything but `take` is for the event loop alone.

    Attributes:
        latest: the newest group, perhaps written by now; None before the first.
        closed: whether no more groups will come.
    """

    def __init__(self) -> None:
        self._waiting: deque[Group] = deque()
        self._writing: Group | None = None
        self._offered = False
        self._given: Group | None = None
        self._wake = threading.Condition()
        self.latest: Group | None = None
        self.closed = False

    def start(self) -> None:
        """Begin, in the event loop that fills the groups."""
        self._loop = asyncio.get_running_loop()

    def put(self, records: Sequence[Written]) -> Group:
        """Put records that belong together into a group, which is returned."""
        size, count = 0, len(records)
        for record in records:
            size += record[2]
        group = self._waiting[-1] if self._waiting else None
        if group is None or group.records + count > GROUP_RECORDS or group.bytes + size > GROUP_BYTES:
            group = self.new()
        group.records += count
        group.bytes += size
        rows = group.rows
        for kind, row, _ in records:  # some records a row: no function of its own for each
            rows[kind].append(row)
        return group

    def new(self) -> Group:
        """A new group at the end of the queue."""
        group = self.latest = Group()
        self._waiting.append(group)
        if self._writing is None and not self._offered:
            self._offered = True
            self._loop.call_soon(self._hand_over)
        return group

    async def done(self) -> None:
        """Wait until everything that is in the queue now is written, or refused."""
        if (group := self.latest) is not None and not group.done:
            await group.waiter(self._loop)

    async def close(self) -> None:
        """Wait until everything is written, or refused, and let the thread end."""
        while self.latest is not None and not self.latest.done:
            await self.done()
        with self._wake:
            self.closed = True
            self._wake.notify()

    def take(self, *, wait: bool) -> Group | None:
        """The group that is to be written now, for the thread; None when there is none, or none any more.

        Args:
            wait: wait for one.
        """
        with self._wake:
            while wait and self._given is None and not self.closed:
                self._wake.wait()
            group, self._given = self._given, None
            return group

    def written(self) -> None:
        """The thread is done with its group: it gets the next one, and who waited for this one goes on."""
        group, self._writing = self._writing, None
        self._hand_over()
        if group is not None:
            group.finish()

    def _hand_over(self) -> None:
        """Give the thread the next group; nothing joins it any more."""
        self._offered = False
        if self._waiting:
            with self._wake:
                self._writing = self._given = self._waiting.popleft()
                self._wake.notify()
