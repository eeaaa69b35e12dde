"""A server that answers as it is told."""

from tests.support.wire_fixtures import anyio_backend, stub

__all__ = ["anyio_backend", "stub"]
