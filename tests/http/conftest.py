"""The raw fault server, the certificate and both event loops for the tests of the client."""

from __future__ import annotations

from tests.support.wire_fixtures import _no_proxy, anyio_backend, certificate, simulator, stub

__all__ = ["_no_proxy", "anyio_backend", "certificate", "simulator", "stub"]
