"""Reads credentials: which key a request comes from, and whether it may ask.

Owns the credential forms of both dialects; knows neither routes nor bodies.

GLM (BigModel API reference, authentication; zhipuai SDK `_jwt_token.py`): `Bearer {id}.{secret}`, or a JWT signed HS256
with the secret, whose claims hold `api_key` (the id) and `exp` in milliseconds. OpenAI: `Bearer sk-…`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import msgspec


class AuthError(Exception):
    """The credentials were refused. `code` is the GLM error code: 1001, 1002, 1003 or 1004."""

    def __init__(self, code: str) -> None:
        """Keep the code."""
        super().__init__(code)
        self.code = code


def bearer(header: str | None) -> str:
    """The token of an `Authorization` header.

    Raises:
        AuthError: 1001 without a header, 1002 when it is not of the form `Bearer <token>`.
    """
    if header is None:
        raise AuthError("1001")
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or " " in token:
        raise AuthError("1002")
    return token


def glm_key(token: str, keys: dict[str, str], now_ms: float, *, strict: bool = False) -> str:
    """The key id behind a GLM token, raw or JWT.

    Args:
        token: what followed `Bearer`.
        keys: secrets by key id; empty accepts any key of the right form, and cannot check a signature.
        now_ms: wall time in milliseconds since 1970; a JWT's `exp` is compared with it.
        strict: a JWT's header must say `"sign_type":"SIGN"`; else it may be missing.

    Raises:
        AuthError: 1002 for a bad form or an unknown key, 1003 for an expired JWT, 1004 for a wrong signature.
    """
    parts = token.split(".")
    if len(parts) == 3:
        if _decoded(parts[0]).get("sign_type", None if strict else "SIGN") != "SIGN":
            raise AuthError("1002")
        return _jwt_key(parts, keys, now_ms)
    if len(parts) != 2 or not all(parts):
        raise AuthError("1002")
    if keys and not hmac.compare_digest(keys.get(parts[0], "").encode(), parts[1].encode()):
        raise AuthError("1002")
    return parts[0]


def _jwt_key(parts: list[str], keys: dict[str, str], now_ms: float) -> str:
    header, claims = _decoded(parts[0]), _decoded(parts[1])
    key_id, expires = claims.get("api_key"), claims.get("exp")
    if header.get("alg") != "HS256" or not isinstance(key_id, str) or not key_id:
        raise AuthError("1002")
    if not isinstance(expires, int | float):
        raise AuthError("1002")
    if keys:
        secret = keys.get(key_id)
        if secret is None:
            raise AuthError("1002")
        signed = hmac.new(secret.encode(), ".".join(parts[:2]).encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(signed, _unpadded(parts[2])):
            raise AuthError("1004")
    if expires <= now_ms:
        raise AuthError("1003")
    return key_id


def made_ms(header: str | None) -> float | None:
    """When the JWT of an `Authorization` header was made, in milliseconds since 1970; None for anything else."""
    parts = (header or "").rpartition(" ")[2].split(".")
    try:
        made = _decoded(parts[1]).get("timestamp") if len(parts) == 3 else None
    except AuthError:
        return None  # a key of another form that happens to have two dots
    return made if isinstance(made, int | float) else None


def _unpadded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise AuthError("1002") from None


def _decoded(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(_unpadded(text))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise AuthError("1002") from None
    if not isinstance(value, dict):
        raise AuthError("1002")
    return value


def openai_key(token: str) -> str:
    """A name for an OpenAI-style key that does not give the key away.

    Raises:
        AuthError: the token neither starts with `sk-` nor has eight characters.
    """
    if not token.startswith("sk-") and len(token) < 8:
        raise AuthError("1002")
    return "sk-" + hashlib.sha256(token.encode()).hexdigest()[:12]
