"""The Ray on which the workers of a command run: one of its own, or a running cluster.

Owns the connection of this process to Ray: it is made before the first run of a command is opened, once, and given up
when the command ends, and with it go all actors of this command. Also what may not leave: usage statistics are off, and
no environment, no file and no folder is handed to Ray.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import logging
import math
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from anyio import to_thread

from batch.core import redaction
from batch.core.clock import Clock
from batch.core.errors import RefusedToStart
from batch.core.logs import logger
from batch.core.plain import clean
from batch.job.options import CLIENT, RayPlace
from batch.plan.preflight import CheckedJob
from batch.run.fleet.messages import KeyPlace
from batch.run.fleet.transport import Begin
from batch.run.ray import keys, nodes
from batch.run.ray.actor import Answer, PromptmillWorker, Trade
from batch.run.ray.calls import ActorWorker
from batch.run.ray.nodes import Found, Node

PROCESSORS: Final = 0.25
"""Of a node, that a worker takes: it waits for answers most of the time."""
STORE_BYTES: Final = 80 << 20
"""Of shared memory that a Ray of our own may take: little more than the least that it accepts."""
JOIN_S: Final = 180.0
"""How long Ray may take until it is there and every node has answered."""
REACH_S: Final = 5.0
LOOK_S: Final = 0.5
_LONGEST_FOLDER: Final = 24
"""Characters of the folder for temporary files; Ray's sockets lie deep in it, and their paths may have 107."""

_VARIABLES: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else a start by `uv run` uploads the working folder
}
_PATIENCE: Final = ("RAY_raylet_start_wait_time_s", "120")
"""How long Ray waits for a node of its own to come up; the 30 s that it has by itself are few on a busy machine."""


class Cluster:
    """Ray, for one command.

    Args:
        place: which Ray.
        workers: how many there are to be.
        clock: for all times.
    """

    def __init__(self, place: RayPlace, workers: int, clock: Clock) -> None:
        self._place = place
        self._workers = workers
        self._clock = clock
        self._ray: Any = None
        self._actor: Any = None
        self._thread: threading.Thread | None = None
        self._settled, self._over = anyio.Event(), threading.Event()
        self._failure: BaseException | None = None

    async def join(self, checked: CheckedJob, run: str) -> None:
        """Be connected, with every node asked whether it can do the work; from the second time on that holds already.

        Args:
            checked: the job.
            run: the name of the run, and of the namespace.

        Raises:
            RefusedToStart: Ray is not installed, cannot be had, or a node cannot do the work.
        """
        if self._thread is None:
            # A thread that stays: the processes that Ray starts are killed by the system when it ends, however it ends.
            given = checked, run, asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._stay, args=given, name="promptmill-ray", daemon=True)
            self._thread.start()
            with anyio.move_on_after(JOIN_S):
                await self._settled.wait()
        if not self._settled.is_set():
            raise RefusedToStart(
                f"--on {self._place.text}: Ray was not there within {JOIN_S:.0f} s: look at its logs, or try "
                "again when this machine has less to do"
            )
        if self._failure is not None:
            raise self._failure

    def begin(self, checked: CheckedJob) -> Begin:
        """What starts a worker for a job.

        Args:
            checked: the job.
        """
        return partial(self._begin, keys.places_of(checked.job, checked.endpoint, checked.endpoints))

    def _begin(self, places: dict[str, KeyPlace]) -> ActorWorker:
        try:
            return ActorWorker(_Handle(self._ray, self._actor.remote()), places, self._clock)
        except Exception as error:
            raise OSError(f"Ray starts no actor: {_line(error)}") from error

    async def leave(self) -> None:
        """Give up the connection, and end a Ray of our own; one that is still on its way ends with this process."""
        self._over.set()
        if self._thread is not None and self._settled.is_set():
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._thread.join)

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _stay(self, checked: CheckedJob, run: str, loop: asyncio.AbstractEventLoop) -> None:
        folder: Path | None = None
        try:
            self._ray = _loaded(own=self._place.address is None)
            folder = None if self._place.address else _made(folder_of(checked.folder.place))
            self._connect(run, folder)
            self._ask(checked)
            self._actor = self._ray.remote(PromptmillWorker).options(
                num_cpus=PROCESSORS,
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=1_000,
                scheduling_strategy="SPREAD",
            )
            logger().info("ray_joined", address=self._place.address or "its own", workers=self._workers)
        except BaseException as error:  # noqa: BLE001 - whoever waits is told, and raises it
            self._failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._settled.set)
        if self._failure is None:
            self._over.wait()
        if self._ray is not None:
            with suppress(Exception):
                self._ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _connect(self, run: str, folder: Path | None) -> None:
        ray = self._ray
        if ray.is_initialized():
            raise RefusedToStart(
                f"--on {self._place.text}: this program is connected to a Ray already: start the run in a process of "
                "its own, or call ray.shutdown() before"
            )
        if self._place.address is not None:
            _require_reachable(self._place)
        common = {"namespace": run, "log_to_driver": False, "configure_logging": False}
        try:
            if self._place.client:
                ray.init(address=self._place.address, namespace=run)
            elif folder is None:
                ray.init(address=self._place.address, **common)
            else:
                ray.init(
                    address="local",
                    num_cpus=math.ceil(PROCESSORS * self._workers),
                    num_gpus=0,
                    object_store_memory=STORE_BYTES,
                    include_dashboard=False,
                    _temp_dir=str(folder / "ray"),
                    **common,
                )
        except Exception as error:
            raise RefusedToStart(_not_joined(self._place, error)) from error

    def _ask(self, checked: CheckedJob) -> None:
        """Ask every node whether it can do the work.

        Raises:
            RefusedToStart: one cannot.
        """
        ray = self._ray
        on_node = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        task = ray.remote(nodes.question(keys.hello_of(checked.job, checked.endpoint, checked.endpoints)))
        asked: dict[Any, Node] = {}
        until = self._clock.monotonic() + nodes.ANSWER_S
        for node in nodes.usable(ray.nodes()):
            there = on_node(node.id, soft=False)
            asked[task.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote()] = node
        ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=nodes.ANSWER_S) if asked else ([], [])
        answers: dict[Node, Found | str] = {
            asked[one]: f"it did not answer within {nodes.ANSWER_S:.0f} s" for one in late
        }
        silent = set(answers)
        for one in ready:
            try:
                answers[asked[one]] = Found(*ray.get(one))
            except Exception as error:  # noqa: BLE001 - whatever it is, that node cannot do the work
                answers[asked[one]] = f"it could not be asked: {_line(error)}"
                if not isinstance(error, ray.exceptions.RayTaskError):  # that one is an answer: it was raised there
                    silent.add(asked[one])
        for node in self._gone(silent, until):
            logger().warning("ray_node_gone", node=node.name)
            del answers[node]
        nodes.require(answers, "{}.{}".format(*sys.version_info), text=self._place.text)

    def _gone(self, silent: set[Node], until: float) -> set[Node]:
        """Those of some nodes that have left the cluster: Ray lists one that died for seconds, until it misses it.

        Args:
            silent: they said nothing, though Ray listed them.
            until: when those that it still lists are there, by our clock.
        """
        while True:
            there = silent.intersection(nodes.usable(self._ray.nodes())) if silent else silent
            if not there or self._clock.monotonic() >= until or self._over.wait(LOOK_S):
                return silent - there


class _Handle:
    """An actor of Ray; see `calls.Handle`."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor

    def work(self) -> Future[None]:
        future: Future[None] = self._actor.work.remote().future()
        return future

    def trade(self, trade: Trade) -> Future[Answer]:
        future: Future[Answer] = self._actor.trade.remote(trade).future()
        return future

    def end(self) -> None:
        with suppress(Exception):  # Ray itself is gone, and the actor with it
            self._ray.kill(self._actor)


def folder_of(output: Path) -> Path:
    """Where the files of a Ray of our own lie, for as long as it is there.

    Args:
        output: folder of the job, which is locked: nobody else is at work with this one.
    """
    base = Path(tempfile.gettempdir())
    if len(str(base)) > _LONGEST_FOLDER:
        base = Path("/tmp")  # noqa: S108 - what is made in it is ours alone, or refused
    digest = hashlib.blake2b(os.fsencode(output.absolute()), digest_size=4).hexdigest()
    return base / f"promptmill-{digest}"


def _made(folder: Path) -> Path:
    """The folder, new, and with no way in for anybody else; the one of a run that was killed goes.

    Raises:
        RefusedToStart: it cannot be made.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700)
    except OSError as exc:
        raise RefusedToStart(f"--on ray: {folder}, for the files of Ray, cannot be made: {exc.strerror}") from None
    return folder


def _loaded(*, own: bool) -> Any:
    """Ray, loaded with what has to be said before that, and is heard by all processes that it starts.

    Args:
        own: it is a Ray of our own, which takes nobody's word but ours unless the environment says otherwise.

    Raises:
        RefusedToStart: it is not installed.
    """
    os.environ.update(_VARIABLES)
    os.environ.setdefault(*_PATIENCE)
    if own and "ray" not in sys.modules and os.environ.get("RAY_AUTH_MODE") is None:
        token = secrets.token_hex(32)
        redaction.hide(token)
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
    try:
        ray = importlib.import_module("ray")
    except ImportError as exc:
        raise RefusedToStart(
            f"--on ray needs packages that are not installed ({exc.name}): pip install 'promptmill[ray]'"
        ) from exc
    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


def _require_reachable(place: RayPlace) -> None:
    """Refuse an address at which nobody is: Ray itself would try for minutes.

    Raises:
        RefusedToStart: nobody takes a connection there.
    """
    assert place.address is not None
    host, _, port = place.address.removeprefix(CLIENT).rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S).close()
    except OSError as exc:
        raise RefusedToStart(
            f"--on {place.text}: nobody is at {place.address} ({exc.strerror or exc}): ray status tells the address of "
            "a cluster on one of its machines"
        ) from None


def _not_joined(place: RayPlace, error: Exception) -> str:
    if place.address is None:
        return f"--on {place.text}: Ray cannot be started here: {_line(error)}"
    if place.client:
        way = "The address is that of its Ray Client server, and Ray and Python have to be the same there"
    else:
        way = (
            f"This machine has to be one of its nodes (ray start --address={place.address}), with the same Ray and "
            "Python; ray://HOST:10001 joins one from outside"
        )
    return f"--on {place.text}: the cluster cannot be joined: {_line(error)}. {way}"


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return clean(lines[-1] if lines else type(error).__name__, most=300)
