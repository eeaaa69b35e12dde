"""The key of a provider on the machine where a worker runs: found there, and put onto each request there.

Owns that a worker finds the key by itself, as the job says (variable, file or command), and finds it anew when the core
had to. No key and no hash of one comes here or leaves from here over Ray.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from batch.core.errors import RefusedToStart
from batch.core.redaction import Secret
from batch.job.job import Job
from batch.providers import registry
from batch.providers.base import Headers
from batch.providers.keysource import KeySource
from batch.providers.registry import Endpoint
from batch.run.fleet.messages import Hello, KeyPlace, for_worker, keyless


def place_of(job: Job, endpoint: Endpoint) -> KeyPlace:
    """Where workers are to look for the key of a job.

    Args:
        job: says it, in `[model]` or in the table of its provider.
        endpoint: as it was found here.
    """
    model, source = job.model, endpoint.key_source
    if source is not None:
        file = None if source.file is None else str(source.file.absolute())
        return KeyPlace(None, model.key_form, source.where, file, source.command, str(source.folder.absolute()))
    table = job.provider.get(model.provider)
    return KeyPlace(model.api_key_env or (None if table is None else table.api_key_env), model.key_form)


def hello_of(job: Job, endpoint: Endpoint) -> Hello:
    """What a machine is asked with, before any worker runs there: whether it has the key.

    Args:
        job: whose key it is.
        endpoint: as it was found here.
    """
    tables = {name: keyless(table) for name, table in job.provider.items()}
    key = place_of(job, endpoint)
    return Hello(0, job.model.provider, tables, endpoint.base_url, 1.0, 1.0, 1.0, keep_raw=False, key=key)


class NodeKey:
    """The key as it is on this machine.

    Args:
        hello: says where it is, and for which provider.

    Raises:
        RefusedToStart: there is none; says what to do, as on the machine of the core.
    """

    def __init__(self, hello: Hello) -> None:
        assert hello.key is not None
        self._hello, place = hello, hello.key
        file = None if place.file is None else Path(place.file)
        self._source = KeySource(place.where, file, place.command, Path(place.folder)) if place.where else None
        self._endpoint = self._found()
        self._renewed = 0
        self._thread: threading.Thread | None = None

    def _found(self) -> Endpoint:
        hello, place = self._hello, self._hello.key
        assert place is not None
        return registry.resolve(
            hello.provider,
            base_url=hello.base_url,
            api_key_env=place.variable,
            environ=os.environ,
            key_form=place.form,
            tables=hello.tables,
            source=self._source,
        )

    def headers(self) -> Headers:
        """The Authorization header, or nothing where the service wants none."""
        return tuple(header for header in self._endpoint.dialect.signed() if isinstance(header[1], Secret))

    def renew(self, times: int) -> None:
        """Find the key anew, in a thread, unless that was done as often as the core did it.

        Args:
            times: how often the core has another key than before. Until the key is found, requests go out with the old
                one, are refused, and come again.
        """
        if self._source is None or times <= self._renewed or (self._thread is not None and self._thread.is_alive()):
            return
        self._renewed = times
        self._thread = threading.Thread(target=self._renew, name="promptmill-key", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        with suppress(RefusedToStart):  # the old one stays, and its refusal is told by whoever asked
            assert self._source is not None
            self._source.fetch(os.environ, again=True)
            self._endpoint = self._found()

    def wait(self) -> None:
        """Wait for a search that is under way."""
        if self._thread is not None:
            self._thread.join()


def lacking(asked: bytes) -> str | None:
    """Why this machine has no key; None when it has one.

    Args:
        asked: a `Hello`, as bytes.
    """
    hello = for_worker(asked)
    assert isinstance(hello, Hello)
    try:
        NodeKey(hello)
    except RefusedToStart as exc:
        return str(exc)
    return None
