"""What the environment says of the way out: through which proxy, and whose certificates are trusted.

Owns the reading of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` and `SSL_CERT_DIR`, their
refusal before anything is sent, and the sentence for a certificate that is not trusted. It connects to nobody.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from batch.core.errors import RefusedToStart

_PROXIES: Final = ("http", "https", "socks5", "socks5h")
_WRONG_HOST: Final = frozenset({62, 63, 64})  # OpenSSL's numbers for another name, mail address or IP address
_WRONG_TIME: Final = frozenset({9, 10})


def check(base_url: str) -> None:
    """Refuse an environment in which no request to this address could be made.

    Raises:
        RefusedToStart: a variable names a proxy of a kind that is not supported, or certificates that are not there.
    """
    proxy = proxy_for(base_url)
    if base_url.startswith("https:") or (proxy or "").startswith("https:"):
        certificates()


def proxy_for(base_url: str) -> str | None:
    """The address of the proxy that requests to this address go through; None when they go straight.

    Raises:
        RefusedToStart: the proxy is of a kind that is not supported.
    """
    url = urlsplit(base_url)
    proxies = _proxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or _bypassed((url.hostname or "").lower(), url.port, proxies.get("no") or ""):
        return None
    name = f"{url.scheme.upper()}_PROXY"
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    # What is wrong with an address may be told with a part of its password, so it is not shown.
    refused = f"the proxy named in {name} or ALL_PROXY cannot be used"
    scheme = _scheme(proxy)
    if scheme not in _PROXIES:
        raise RefusedToStart(f"{refused}: write http://host:port, https:// or socks5://")
    if scheme.startswith("socks") and find_spec("socksio") is None:
        raise RefusedToStart(f"{refused}: SOCKS needs the package socksio: pip install socksio")
    return proxy


def _proxies() -> dict[str, str]:
    """The proxies that the environment names, or the settings of a desktop, by scheme; `no` for whom they are not."""
    if sys.platform not in ("darwin", "win32") and not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    from urllib.request import getproxies  # noqa: PLC0415 - brings a whole HTTP client with it

    return getproxies()


def _scheme(proxy: str) -> str:
    """The scheme of a proxy's address; empty for what is no address."""
    with suppress(ValueError):  # a port that is no number
        parts = urlsplit(proxy)
        if parts.hostname and parts.port != 0:
            return parts.scheme
    return ""


def _bypassed(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether NO_PROXY exempts a host: by its name, a domain around it, its address, or a network around that.

    A name is not looked up, so a network exempts only hosts that are written as addresses; as in curl and Go.
    """
    address = _address(host)
    for entry in re.split(r"[\s,]+", no_proxy.strip().lower()):
        if not entry:
            continue
        if entry == "*":
            return True
        name, entry_port = _host_and_port(entry)
        if entry_port is not None and entry_port != port:
            continue
        if address is not None:
            if (network := _network(name)) is not None and address in network:
                return True
        elif (domain := name.lstrip("*").strip(".")) and (host == domain or host.endswith(f".{domain}")):
            return True
    return False


def _host_and_port(entry: str) -> tuple[str, int | None]:
    """An entry of NO_PROXY, split: `host`, `host:port`, `[::1]:port`, or an address of many colons."""
    match = re.fullmatch(r"\[([^]]*)\](?::(\d{1,5}))?|([^:]*):(\d{1,5})", entry)
    if match is None:
        return entry, None
    port = match[2] or match[4]
    return match[1] or match[3], int(port) if port else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def certificates() -> ssl.SSLContext:
    """A new TLS context that trusts what SSL_CERT_FILE or else SSL_CERT_DIR names, else the usual authorities.

    Raises:
        RefusedToStart: the variable names no certificates.
    """
    name, value = next(((n, v) for n in ("SSL_CERT_FILE", "SSL_CERT_DIR") if (v := os.environ.get(n))), ("", ""))
    if not name:
        import httpx  # noqa: PLC0415 - slow to import, and a check of the environment mostly needs none of it

        return httpx.create_ssl_context(trust_env=False)
    try:
        if name == "SSL_CERT_FILE":
            return ssl.create_default_context(cafile=value)
        if not any(Path(folder).is_dir() for folder in value.split(os.pathsep)):
            raise FileNotFoundError(2, "no such folder")
        return ssl.create_default_context(capath=value)
    except ssl.SSLError:
        reason = "holds no certificate in PEM form"
    except OSError as exc:
        reason = f"cannot be read: {(exc.strerror or str(exc)).lower()}"
    raise RefusedToStart(
        f"{name} = {value}: {reason}. Let it name the certificates to trust, or unset it to trust the usual "
        "authorities."
    )


def untrusted(host: str, port: int, error: ssl.SSLCertVerificationError) -> str:
    """What to say of a certificate that does not verify: whose it is, why, and the way out.

    Args:
        host: that shows it.
        port: where it does.
        error: of the handshake.
    """
    way_out = "set SSL_CERT_FILE for a private authority"
    if error.verify_code in _WRONG_HOST:
        way_out = "let base_url name the host that it is for"
    elif error.verify_code in _WRONG_TIME:
        way_out = "it must be renewed, or the clock of this machine be set"
    return f"{host}:{port} shows a certificate that is not trusted: {error.verify_message} ({way_out})"
