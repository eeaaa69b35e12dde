"""The keys of a job on the machine where a worker runs: found there, and put onto each request there.

Owns that a worker finds each key by itself, as the job says (variable, file or command), and finds it anew when the
core had to: one key, or one for each of several addresses. No key and no hash of one comes here or leaves from here
over Ray.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from batch.core.errors import RefusedToStart
from batch.core.redaction import Secret
from batch.job.job import Job
from batch.providers import registry
from batch.providers.base import Headers
from batch.providers.keysource import KeySource
from batch.providers.registry import Endpoint
from batch.run.fleet.messages import Hello, KeyPlace, for_worker, keyless

ONLY: Final = ""
"""What the only address of a job is called."""


def places_of(job: Job, endpoint: Endpoint, several: Mapping[str, Endpoint]) -> dict[str, KeyPlace]:
    """Where workers are to look for the keys of a job, by the names of their addresses.

    Args:
        job: says it, with an address, in `[model]` or in the table of its provider.
        endpoint: as it was found here.
        several: the same of each address, where there are several.
    """
    variables = {spec.called: spec.api_key_env for spec in job.model.endpoints}
    return {name: _place(job, one, variables.get(name)) for name, one in (several or {ONLY: endpoint}).items()}


def _place(job: Job, endpoint: Endpoint, variable: str | None) -> KeyPlace:
    model, source = job.model, endpoint.key_source
    if source is not None:
        file = None if source.file is None else str(source.file.absolute())
        return KeyPlace(None, model.key_form, source.where, file, source.command, str(source.folder.absolute()))
    table = job.provider.get(model.provider)
    return KeyPlace(variable or model.api_key_env or (None if table is None else table.api_key_env), model.key_form)


def hello_of(job: Job, endpoint: Endpoint, several: Mapping[str, Endpoint]) -> Hello:
    """What a machine is asked with, before any worker runs there: whether it has the keys.

    Args:
        job: whose keys they are.
        endpoint: as it was found here.
        several: the same of each address, where there are several.
    """
    tables = {name: keyless(table) for name, table in job.provider.items()}
    keys = places_of(job, endpoint, several)
    return Hello(0, job.model.provider, tables, endpoint.base_url, 1.0, 1.0, 1.0, keep_raw=False, keys=keys)


def node_keys(hello: Hello) -> dict[str, NodeKey]:
    """The keys as they are on this machine, by the names of their addresses.

    Args:
        hello: says where they are, and for which provider.

    Raises:
        RefusedToStart: one is not there; says which, and what to do, as on the machine of the core.
    """
    found = {}
    for name, place in hello.keys.items():
        try:
            found[name] = NodeKey(hello, place)
        except RefusedToStart as exc:
            raise RefusedToStart(f"model.endpoints ({name}): {exc}" if name != ONLY else str(exc)) from None
    return found


class NodeKey:
    """One key as it is on this machine.

    Args:
        hello: says for which provider.
        place: where it is.

    Raises:
        RefusedToStart: there is none; says what to do, as on the machine of the core.
    """

    def __init__(self, hello: Hello, place: KeyPlace) -> None:
        self._hello, self._place = hello, place
        file = None if place.file is None else Path(place.file)
        self._source = KeySource(place.where, file, place.command, Path(place.folder)) if place.where else None
        self._endpoint = self._found()
        self._renewed = 0
        self._thread: threading.Thread | None = None

    def _found(self) -> Endpoint:
        hello, place = self._hello, self._place
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
    """Why this machine has not all keys; None when it has.

    Args:
        asked: a `Hello`, as bytes.
    """
    hello = for_worker(asked)
    assert isinstance(hello, Hello)
    try:
        node_keys(hello)
    except RefusedToStart as exc:
        return str(exc)
    return None
