"""Short-lived tokens made from a GLM key: the other form in which BigModel and Z.ai take a key.

Owns `SignedTokens`: the key `id.secret` split, JSON web tokens signed with its secret, their reuse and renewal, and the
masking of all of them. It knows no dialect and reads no answer; a dialect says when the service called a token
expired. Sources: BigModel API reference "authentication" and the token cache of the BigModel Python SDK: HS256 with
`sign_type` SIGN, times in milliseconds, a life of 210 s of which 180 s are used.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Final

import msgspec

from batch.core import redaction
from batch.core.errors import RefusedToStart
from batch.core.redaction import MASK, Secret
from batch.providers.base import Headers, bearer

if TYPE_CHECKING:
    from batch.core.clock import Clock
    from batch.core.records import Verdict

LIFE_MS: Final = 210_000
REUSED_S: Final = 180.0
"""The rest of its life is for the way to the service."""
JUST_MADE_S: Final = 0.2
"""A token younger than this is not made anew: all calls in flight hear of the expiry of the one before it."""
YOUNG_S: Final = 60.0
YOUNG_REFUSED_MAX: Final = 10
"""So many tokens in a row called expired in their youth are not expired: our clock and the service's differ."""


class SignedTokens:
    """Signs requests with tokens made from a key. A token is made when it is needed and reused for three minutes.

    Making one registers it for masking: the key, its secret part and every token that was ever made from it are masked
    by `batch.core.redaction` from here on. One event loop owns it.

    Args:
        key: `id.secret`.
        clock: tells the time.

    Raises:
        RefusedToStart: the key has not the form `id.secret`.
    """

    again: Verdict = "once"

    __slots__ = ("_clock", "_headers", "_id", "_made", "_made_us", "_secret", "_young")

    def __init__(self, key: str, clock: Clock) -> None:
        self._id, _, secret = key.partition(".")
        self._secret = Secret(secret)
        del secret  # what is left in a frame is shown by tracebacks with locals
        if not self._id or not self._secret or "." in self._secret:
            raise RefusedToStart(
                'model.key_form = "jwt" needs a key of the form id.secret with exactly one dot, and this one has '
                'another: copy it again, or set key_form = "raw"'
            )
        self._clock = clock
        # Header and account are the same in every token of a key and stand at its beginning.
        claims = msgspec.json.encode({"api_key": self._id})[:-1] + b',"exp":'
        stem = f"{_HEADER}.{_base64(claims[: len(claims) // 3 * 3])}"
        self._headers: Headers = ()
        self._made = self._made_us = 0.0
        self._young = 0
        redaction.hide(key)
        redaction.hide(self._secret)
        redaction.hide_from(stem)

    def __repr__(self) -> str:
        """The mask, whatever the key."""
        return f"SignedTokens({MASK})"

    def headers(self) -> Headers:
        """The Authorization header with a token that is good for another 30 s at least."""
        now, now_us = self._clock.monotonic(), self._clock.now_us()
        # By both times: a machine that slept has no monotonic time for it, and a wall clock that was set has no truth.
        fresh = now - self._made < REUSED_S and 0 <= now_us - self._made_us < REUSED_S * 1e6
        if self._headers and not fresh:
            self._young = 0
        if not self._headers or not fresh:
            self._headers = bearer(self._token(now_us // 1000))
            self._made, self._made_us = now, now_us
        return self._headers

    def renew(self, *, expired: bool) -> bool:
        """Make another token for the next request, unless the last one was made only a moment ago.

        Args:
            expired: the service calls the token expired; another one helps against nothing else.

        Returns:
            False for any other refusal, and once ten tokens in a row were refused while they were young: another one
            would be, too.
        """
        if not expired:
            return False
        age = self._clock.monotonic() - self._made
        if self._headers and age >= JUST_MADE_S:
            self._headers = ()
            self._young = self._young + 1 if age < YOUNG_S else 0
        return self._young < YOUNG_REFUSED_MAX

    def _token(self, now_ms: int) -> str:
        claims = msgspec.json.encode({"api_key": self._id, "exp": now_ms + LIFE_MS, "timestamp": now_ms})
        signed = f"{_HEADER}.{_base64(claims)}"
        signature = hmac.digest(self._secret.encode(), signed.encode(), hashlib.sha256)
        return f"{signed}.{_base64(signature)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_HEADER: Final = _base64(b'{"alg":"HS256","sign_type":"SIGN","typ":"JWT"}')
