"""What shows that an address is wrong: a port that speaks TLS where HTTP was sent, HTTP where TLS was, or neither.

Owns these signs and the sentences that name the way out. Whether the address was ever right, so that a request merely
met something odd on its way, is not known here.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import TYPE_CHECKING, Final

import anyio

from batch.http.faults import NotTls

if TYPE_CHECKING:
    from batch.core.records import Incoming
    from batch.http.urls import Url

PROBE_S: Final = 1.0
_NO_TLS: Final = frozenset(
    {
        *("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"),
        *("HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "BAD_RECORD_TYPE"),
    }
)
"""OpenSSL's words for what is no TLS record."""
_ALERT: Final = re.compile(r"(?:TLSV1|TLSV13|SSLV3)_ALERT_(\w+)|TLSV1_(UNRECOGNIZED_NAME)")
_PASSING: Final = frozenset({"INTERNAL_ERROR", "USER_CANCELLED", "BAD_RECORD_MAC", "RECORD_OVERFLOW", "DECODE_ERROR"})
"""Alerts with which a server speaks of itself, or of bytes that were damaged on the way."""
_NEVER_AGREED: Final = frozenset(
    {
        *("UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "WRONG_SSL_VERSION", "WRONG_SIGNATURE_TYPE"),
        *("NO_CIPHERS_AVAILABLE", "WRONG_CIPHER_RETURNED", "UNKNOWN_CIPHER_RETURNED"),
        *("DH_KEY_TOO_SMALL", "EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "BAD_ECPOINT"),
    }
)
"""OpenSSL's words, on our side, for what makes a handshake impossible."""
_WANTS_TLS: Final = (
    b"Client sent an HTTP request to an HTTPS server",  # Go: Caddy, Traefik, Ollama
    b"The plain HTTP request was sent to HTTPS port",  # nginx
    b"speaking plain HTTP to an SSL-enabled server port",  # Apache
    b"This combination of host and port requires TLS",  # Tomcat
)
SPEAKS_TLS: Final = "the server speaks TLS on this port: base_url must begin with https://"
SPEAKS_HTTP: Final = (
    "the server speaks no TLS on this port: base_url must begin with http://, or name the port for https"
)


def is_not_tls(error: BaseException | None) -> bool:
    """Whether an error is that of a handshake with a port that speaks no TLS; it may stand in a chain of causes."""
    for _ in range(8):
        if error is None or isinstance(error, NotTls):
            return error is not None
        if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
            return True
        error = error.__cause__ or error.__context__
    return False


def with_server(text: str, url: Url) -> str:
    """The error of a connection that never came about, with host and port; what speaks through a proxy has neither."""
    server = f"{url.host}:{url.port_used}"
    return text if server in text else f"no connection to {server}: {text}"


def refuses_tls(error: BaseException | None) -> bool:
    """Whether an error is that of two sides of TLS which will never agree: versions, ciphers, a certificate of ours.

    It may stand in a chain of causes. A line that breaks off is none, nor is a server's own trouble.
    """
    for _ in range(8):
        if error is None:
            return False
        if isinstance(error, ssl.SSLError) and error.reason and not isinstance(error, ssl.SSLEOFError):
            alert = _ALERT.match(error.reason)
            return alert[1] not in _PASSING if alert else error.reason in _NEVER_AGREED
        error = error.__cause__ or error.__context__
    return False


def is_alert(data: bytes) -> bool:
    """Whether these first bytes of an answer are a record of TLS, with which it says that it was sent none."""
    return data[:2] == b"\x15\x03"


def wants_tls(incoming: Incoming) -> bool:
    """Whether an answer is what web servers say to HTTP on a port for https."""
    return incoming.status == 400 and any(text in incoming.body[:4096] for text in _WANTS_TLS)


async def speaks_tls(host: str, port: int) -> bool:
    """Whether a port of an http address takes a TLS handshake; some servers close without a word when they get none.

    Nothing but the handshake is sent.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with anyio.fail_after(PROBE_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host or None)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True
