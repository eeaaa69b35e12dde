"""Addresses, taken apart: scheme, host, port and path, as a request needs them.

Owns the reading of plain addresses, which nearly all are; whatever is unusual in one (other letters, escapes, IPv6, a
user name, a query) is read by httpx, which is loaded for it and knows all the rules. It connects to nobody.
"""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import Final

import msgspec

_PLAIN: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9._-]{0,250}[a-z0-9])?)(?::(?P<port>[1-9]\d{0,4}))?"
    r"(?P<path>(?:/[A-Za-z0-9_~!$&'()*+,;=:-][A-Za-z0-9._~!$&'()*+,;=:-]*)*/?)",
    re.ASCII,
)
_SEGMENT: Final = r"[A-Za-z0-9_~!$&'()*+,;=:-](?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-F]{2})*"
# Each segment but the first has a slash in front: were that left open, a long one could be cut in any number of ways.
_PLAIN_PATH: Final = re.compile(rf"(?:{_SEGMENT}(?:/{_SEGMENT})*/?)?", re.ASCII)
USUAL_PORTS: Final = {"http": 80, "https": 443}


class Url(msgspec.Struct, frozen=True):
    """One address. The host is in lower case; a port that is usual for the scheme is None."""

    text: str
    """As it was written."""
    scheme: str
    host: str
    port: int | None
    path: str
    server: str
    """What stands in the Host header."""
    plain: bool
    """Nothing in it needs to be escaped, decoded or put right."""
    userinfo: bytes = b""
    query: bytes = b""
    fragment: str = ""

    @property
    def port_used(self) -> int:
        """The port to connect to."""
        return self.port or USUAL_PORTS.get(self.scheme, 80)

    def with_path(self, path: str) -> str:
        """The same address with another path."""
        if self.plain:
            return f"{self.scheme}://{self.server}{path}"
        import httpx  # noqa: PLC0415 - for what is unusual only

        return str(httpx.URL(self.text).copy_with(path=path))


def parse(text: str) -> Url:
    """An address, taken apart.

    Raises:
        ValueError: it is none.
    """
    plain = _PLAIN.fullmatch(text)
    if plain is not None and is_plain(text):
        scheme, host, port = plain["scheme"], plain["host"], int(plain["port"]) if plain["port"] else None
        if port == USUAL_PORTS[scheme]:
            port = None
        server = host if port is None else f"{host}:{port}"
        return Url(text, scheme, host, port, plain["path"] or "/", server, plain=True)
    import httpx  # noqa: PLC0415 - for what is unusual only

    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as exc:
        raise ValueError(str(exc)) from exc
    return Url(
        text,
        url.scheme,
        url.host,
        url.port,
        url.path,
        url.netloc.decode("ascii"),
        plain=False,
        userinfo=url.userinfo,
        query=url.query,
        fragment=url.fragment,
    )


def is_plain(text: str) -> bool:
    """Whether nothing in an address needs to be escaped, decoded or put right."""
    plain = _PLAIN.fullmatch(text)
    if plain is None or len(text) > 2_000 or (plain["port"] and int(plain["port"]) > 65_535):
        return False
    host = plain["host"]
    if re.fullmatch(r"[\d.]+", host):
        with suppress(ValueError):
            return str(ipaddress.IPv4Address(host)) == host
        return False
    return not host.startswith("xn--") and ".xn--" not in host


def target(base: Url, path: str) -> str:
    """What stands in the request line of a request to a path below a base address."""
    below = path.lstrip("/")
    if base.plain and _PLAIN_PATH.fullmatch(below):
        return f"{base.path.rstrip('/')}/{below}"
    import httpx  # noqa: PLC0415 - for what is unusual only

    return httpx.URL(f"{base.text.rstrip('/')}/{below}").raw_path.decode("ascii")
