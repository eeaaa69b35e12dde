"""A key that is fetched again when the service refuses it: what a command prints may be good for an hour only.

Owns when it is fetched again, and that no two fetches run at a time. How it is fetched is the source's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from batch.core import redaction
from batch.core.errors import RefusedToStart
from batch.core.logs import logger
from batch.core.redaction import MASK
from batch.providers.base import bearer

if TYPE_CHECKING:
    from batch.core.clock import Clock
    from batch.core.records import Verdict
    from batch.providers.base import Headers

COMING_HOME_S: Final = 60.0
"""For so long after another key came, refusals are those of requests that left with the one before."""


class FetchedKey:
    """Signs requests with a key from a file or a command, and fetches it again in a thread when it is refused.

    The run stops, as with any key, when the fetch brings the same key or none. One event loop owns it.

    Args:
        key: as it was fetched at the start.
        fetch: fetches it again; raises `RefusedToStart`.
        clock: tells the time.
    """

    again: Verdict = "retry"

    __slots__ = ("_clock", "_fetch", "_headers", "_key", "_renewed", "_same", "_thread")

    def __init__(self, key: str, fetch: Callable[[], str], clock: Clock) -> None:
        redaction.hide(key)
        self._key = key
        self._headers: Headers = bearer(key)
        self._fetch = fetch
        self._clock = clock
        self._renewed: float | None = None
        self._same = False
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        """The mask, whatever the key."""
        return f"FetchedKey({MASK})"

    __str__ = __repr__

    def headers(self) -> Headers:
        """The Authorization header with the newest key."""
        return self._headers

    def renew(self, *, expired: bool) -> bool:  # noqa: ARG002 - services have many words for a token that is too old
        """Have the key fetched again, unless that is under way or was done a moment ago.

        Args:
            expired: the service calls the key expired; any refusal will do here.

        Returns:
            Whether another try is worth it: not when the last fetch brought nothing new.
        """
        if self._thread is not None and self._thread.is_alive():
            return True
        if self._same:
            return False
        if self._renewed is not None and self._clock.monotonic() - self._renewed < COMING_HOME_S:
            return True
        # A thread, and no process of the event loop: a person may have to unlock something, and the run goes on.
        self._thread = threading.Thread(target=self._renew, name="promptmill-key", daemon=True)
        self._thread.start()
        return True

    def wait(self) -> None:
        """Wait for a fetch that is under way."""
        if self._thread is not None:
            self._thread.join()

    def _renew(self) -> None:
        try:
            key = self._fetch()
        except RefusedToStart as exc:
            logger().warning("key_not_fetched", why=str(exc))
            key = self._key
        self._same = key == self._key
        if not self._same:
            redaction.hide(key)
            self._key, self._headers = key, bearer(key)
            logger().info("key_fetched_again")
        self._renewed = self._clock.monotonic()
