"""What an exchange can end with instead of an answer, as those who make it know it.

Owns the kinds of ends, and of each whether a byte of the request may have left. What the rest of the program is told
(`WireError`) is `client`'s to say; what httpx raises is turned into these by `foreign`.
"""

from __future__ import annotations

from batch.core.errors import FailureKind


class ExchangeFault(Exception):
    """One exchange brought no usable answer.

    Attributes:
        kind: `transport`, `timeout` or `bad_payload`.
        sent: False only when it is certain that no byte of the request left.
    """

    kind: FailureKind = "transport"
    sent: bool = True


class NotSent(ExchangeFault):
    """The request was not sent."""

    sent = False


class NotConnected(NotSent):
    """No connection came about: the name, the route, a refusal, TLS."""


class ConnectTimeout(NotConnected):
    """No connection came about in time."""

    kind: FailureKind = "timeout"


class Untrusted(NotConnected):
    """The certificate of the server does not verify: nothing was sent, and nothing will be."""


class NotTls(NotConnected):
    """What answered the handshake is no TLS; nothing was sent."""


class LineLost(ExchangeFault):
    """The connection broke before the whole answer; the request may have been processed."""


class Unanswered(LineLost):
    """A connection that had been idle was closed before one byte of an answer; whether the request was read is open."""


class NeverReached(Unanswered):
    """The same, and the server had closed it before the request arrived: nothing was read, so nothing was bought."""


class AnswerTimeout(ExchangeFault):
    """The whole answer, or the next piece of it, did not come in time; the request may have been processed."""

    kind: FailureKind = "timeout"


class UnusableAnswer(ExchangeFault):
    """The server's answer is not HTTP, or is larger than we accept."""

    kind: FailureKind = "bad_payload"


class NotHttp(UnusableAnswer):
    """What came does not even begin as an answer in HTTP does: something else listens there."""
