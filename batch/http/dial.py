"""Opening a connection: the name, the addresses, the handshake, and what to say when none comes about.

Owns the way from host and port to an open connection, on asyncio and on uvloop. What happens on it is not known here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from asyncio import sslproto
from typing import TYPE_CHECKING, Final

import aiohappyeyeballs
import anyio
from aiohappyeyeballs import AddrInfoType

from batch.core import openfiles
from batch.core.errors import RefusedToStart
from batch.http import environment
from batch.http.address import SPEAKS_HTTP, is_not_tls
from batch.http.connection import Connection
from batch.http.faults import ConnectTimeout, NotConnected, NotTls, Untrusted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batch.http.parsing import Shared
    from batch.http.urls import Url

NEXT_ADDRESS_S: Final = 0.25
"""How long one address of a host is waited for before the next is tried beside it (RFC 8305, section 5)."""
CLOSED_S: Final = 0.01
"""How long the event loop is given to close connections that were given up."""


class Dialer:
    """Opens connections to one server.

    Args:
        url: whose server it is.
        seconds: for opening one, TLS included.
        room: gives up idle connections, when no more files can be opened; whether there were any.
        ssl_context: for tests; the default is that of `environment`, which honours SSL_CERT_FILE and SSL_CERT_DIR.
    """

    def __init__(
        self, url: Url, *, seconds: float, room: Callable[[], bool], ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._host, self._port, self._secure = url.host, url.port_used, url.scheme == "https"
        self._seconds = seconds
        self._room = room
        self._ssl = ssl_context

    async def connect(self, shared: Shared) -> Connection:
        """Open a connection.

        Raises:
            NotConnected: none came about: the name, the route, a refusal, TLS (`Untrusted` for the certificate), the
                time (`ConnectTimeout`); nothing was sent.
        """
        loop = asyncio.get_running_loop()
        host, port = self._host, self._port
        try:
            secure = self._tls() if self._secure else None
            with anyio.fail_after(self._seconds):
                sock = await self._dial()
                _, connection = await loop.create_connection(
                    lambda: Connection(shared),
                    sock=sock,
                    ssl=secure,
                    server_hostname=host if secure else None,
                )
        except TimeoutError as error:
            raise ConnectTimeout(f"no connection to {host}:{port} within {self._seconds:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(environment.untrusted(host, port, error)) from error
        except RefusedToStart as error:  # the run began at an address that needs no certificates
            raise Untrusted(str(error)) from error
        except ssl.SSLError as error:
            if is_not_tls(error):
                raise NotTls(f"{host}:{port}: {SPEAKS_HTTP}") from error
            raise NotConnected(f"no connection to {host}:{port}: {error}") from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name no DNS can have
            reason = f"too many files are open. {openfiles.advice()}" if openfiles.used_up(error) else _reason(error)
            raise NotConnected(f"no connection to {host}:{port}: {reason}") from error
        return connection

    async def _dial(self) -> socket.socket:
        """A connected socket; when no more files can be opened, one in the place of idle connections.

        Raises:
            OSError: as `_open_socket`.
        """
        try:
            return await _open_socket(self._host, self._port)
        except OSError as error:
            if not openfiles.used_up(error) or not self._room():
                raise
        await anyio.sleep(CLOSED_S)
        return await _open_socket(self._host, self._port)

    def _tls(self) -> ssl.SSLContext:
        if self._ssl is None:
            self._ssl = environment.certificates()
            self._ssl.set_alpn_protocols(["http/1.1"])
            # asyncio gives every TLS connection a read buffer of 256 KiB (0.3 MB a connection, 649 MB at 2,000); one
            # TLS record is 16 KiB, and no rate was lost with it. uvloop does not look at this.
            sslproto.SSLProtocol.max_size = 16 * 1024
        return self._ssl


def _reason(error: OSError | UnicodeError) -> str:
    """Why there is no connection, in the system's own words where they say it: `Connection refused`."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


async def _open_socket(host: str, port: int) -> socket.socket:
    """A socket connected to the host: to whichever of its addresses answers first.

    The addresses are tried in their order, the next one as soon as one fails or is silent for `NEXT_ADDRESS_S`.

    Raises:
        OSError: the name cannot be looked up, or no address accepts the connection.
    """
    addresses = await _resolve(host, port)
    try:
        return await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S)
    except RuntimeError as error:  # uvloop's word for some of what the system refuses
        raise OSError(str(error)) from error


async def _resolve(host: str, port: int) -> Sequence[AddrInfoType]:
    """The addresses of a host in the order of preference; at least one."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return aiohappyeyeballs.addr_to_addr_infos((host, port)) or []
