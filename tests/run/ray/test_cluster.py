"""The connection to Ray: what is said to it, what it is not told, and that nothing is left when a command ends.

Ray itself is a stand-in here; `scripts/fleet` runs the same code against the real one.
"""

from __future__ import annotations

import os
import socket
import sys
import types
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from batch.core.clock import Clock
from batch.core.errors import RefusedToStart
from batch.core.version import VERSION
from batch.job.job import Job
from batch.job.options import RayPlace, place_of
from batch.output.folder import OutputFolder
from batch.plan.preflight import CheckedJob
from batch.providers import registry
from batch.run.calling import elsewhere
from batch.run.ray import cluster as ray_cluster
from batch.run.ray import nodes
from batch.run.ray.cluster import PROCESSORS, Cluster, folder_of

RUN = "20261130T220000000Z-a1b2"
KEY = "abcdefabcdefabcd.SecretSecret1234"
PYTHON = "{}.{}".format(*sys.version_info)


PATIENCE = "RAY_raylet_start_wait_time_s"


class RaisedThereError(Exception):
    """What Ray raises for an error that was raised by what runs on a node."""


class Ray(types.ModuleType):
    """What is used of Ray, with a note of each use."""

    exceptions = types.SimpleNamespace(RayTaskError=RaisedThereError)

    def __init__(self) -> None:
        super().__init__("ray")
        self.inits: list[dict[str, Any]] = []
        self.environ: dict[str, str] = {}
        self.connected = False
        self.shutdowns = 0
        self.fault: Exception | None = None
        self.says: Any = (PYTHON, VERSION, None)
        self.late = False
        self.gone: dict[str, int] = {}
        """Nodes that are gone, by how often they are listed nevertheless."""
        self.options: list[dict[str, Any]] = []
        self.remotes: list[Any] = []
        self.killed: list[Any] = []
        self.files: list[Path] = []

    def is_initialized(self) -> bool:
        return self.connected

    def init(self, **given: Any) -> None:
        self.inits.append(given)
        self.environ = dict(os.environ)
        if self.fault is not None:
            raise self.fault
        if (folder := given.get("_temp_dir")) is not None:
            self.files.append(Path(folder))
            Path(folder).mkdir()
            (Path(folder) / "session.log").write_text("started")
        self.connected = True

    def shutdown(self) -> None:
        self.connected = False
        self.shutdowns += 1

    def nodes(self) -> list[dict[str, Any]]:
        listed = []
        for name in ("a", *self.gone):
            alive = self.gone.get(name, 1) > 0
            listed.append(
                {"NodeID": name * 56, "Alive": alive, "Resources": {"CPU": 1.0}, "NodeManagerHostname": "one"}
            )
        self.gone = {name: times - 1 for name, times in self.gone.items()}
        return listed

    def remote(self, what: Any) -> Remote:
        return Remote(self, what)

    def wait(self, refs: list[Any], *, num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return ([], refs) if self.late else (refs, [])

    def get(self, ref: Any) -> Any:
        node, _ = ref
        if node[0] in self.gone:
            raise RuntimeError("The task is not schedulable: the node does not exist any more")
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


class Remote:
    """A function or class that Ray was given."""

    def __init__(self, ray: Ray, what: Any) -> None:
        self._ray = ray
        self.what = what

    def options(self, **given: Any) -> Remote:
        self._ray.options.append(given)
        return self

    def remote(self, *values: Any) -> object:
        if isinstance(self._ray.fault, OSError):
            raise self._ray.fault
        self._ray.remotes.append((self.what, values))
        return self._ray.options[-1]["scheduling_strategy"]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ray]:
    """A stand-in that is loaded when it is asked for, as Ray is: not before the environment is as it has to be."""
    module = Ray()
    strategies = types.ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda node, soft: (node, soft)  # type: ignore[attr-defined]  # a stand-in
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    # Noted now, so that what the code sets is taken back after the test.
    for name in (
        "RAY_USAGE_STATS_ENABLED",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV",
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN",
        PATIENCE,
    ):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, "ray.util", types.ModuleType("ray.util"))
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
    monkeypatch.delitem(sys.modules, "ray", raising=False)

    def load(name: str) -> Any:
        return module if name == "ray" else sys.modules[name]

    monkeypatch.setattr(ray_cluster, "importlib", types.SimpleNamespace(import_module=load))
    yield module
    assert not module.connected, "the connection is left open"
    assert not [folder for folder in module.files if folder.parent.exists()], "files of Ray are left"


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CheckedJob:
    """As much of a checked job as is looked at."""
    monkeypatch.setenv("SOME_KEY", KEY)
    text = '[input]\npath = "r.jsonl"\n[prompt]\nuser = "x"\n[model]\nprovider = "glm"\nname = "glm-4"\napi_key_env = "SOME_KEY"'
    (tmp_path / "job.toml").write_text(f'name = "j"\n{text}', encoding="utf-8")
    job = Job.load(tmp_path)
    endpoint = registry.resolve("glm", base_url=None, api_key_env="SOME_KEY", environ=os.environ)
    folder = OutputFolder(tmp_path / "out")
    return cast("CheckedJob", types.SimpleNamespace(job=job, endpoint=endpoint, endpoints={}, folder=folder))


def joined(checked: CheckedJob, text: str = "ray", then: Callable[[Cluster], Awaitable[None]] | None = None) -> None:
    async def main() -> None:
        cluster = Cluster(place_of(text, option="--on"), 3, Clock())
        try:
            await cluster.join(checked, RUN)
            if then is not None:
                await then(cluster)
        finally:
            await cluster.leave()

    anyio.run(main)


def refused(checked: CheckedJob, text: str = "ray") -> str:
    with pytest.raises(RefusedToStart) as caught:
        joined(checked, text)
    return str(caught.value)


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_usage_statistics_are_off_before_ray_is_started(ray: Ray, checked: CheckedJob) -> None:
    """Ours: promise 8, no telemetry; Ray's are on unless this variable is 0."""
    joined(checked)
    assert ray.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_usage_statistics_are_off_whatever_the_environment_says(
    ray: Ray, checked: CheckedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    joined(checked)
    assert ray.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_nothing_of_the_working_folder_is_uploaded(ray: Ray, checked: CheckedJob) -> None:
    """A start by `uv run` has Ray put the whole folder into its store, unless this variable is 0."""
    joined(checked)
    assert ray.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"
    assert "runtime_env" not in ray.inits[0]


def test_a_ray_of_our_own_is_small_and_takes_nobody_elses_word(ray: Ray, checked: CheckedJob) -> None:
    joined(checked)
    (given,) = ray.inits
    assert (given["address"], given["num_cpus"], given["include_dashboard"]) == ("local", 1, False)
    assert given["object_store_memory"] <= 100 << 20
    assert given["namespace"] == RUN
    assert ray.environ["RAY_AUTH_MODE"] == "token"
    assert len(ray.environ["RAY_AUTH_TOKEN"]) == 64
    assert ray.shutdowns == 1


def test_its_files_lie_where_nobody_else_looks_and_those_of_a_killed_run_go(ray: Ray, checked: CheckedJob) -> None:
    folder = folder_of(checked.folder.place)
    (folder / "ray").mkdir(parents=True)
    (folder / "old").write_text("of a killed run")

    async def look(_: Cluster) -> None:
        assert folder.stat().st_mode & 0o077 == 0
        assert [path.name for path in folder.iterdir()] == ["ray"]

    joined(checked, then=look)
    assert ray.files == [folder / "ray"]


def test_a_running_cluster_is_joined_by_its_address(ray: Ray, checked: CheckedJob, listening: int) -> None:
    joined(checked, f"ray:127.0.0.1:{listening}")
    (given,) = ray.inits
    assert given["address"] == f"127.0.0.1:{listening}"
    assert "num_cpus" not in given, "a cluster is as large as it is"
    assert "RAY_AUTH_TOKEN" not in ray.environ, "and has its own rules"


def test_a_client_server_is_joined_by_its_address(ray: Ray, checked: CheckedJob, listening: int) -> None:
    joined(checked, f"ray://127.0.0.1:{listening}")
    assert ray.inits == [{"address": f"ray://127.0.0.1:{listening}", "namespace": RUN}]


def test_it_is_joined_once_for_all_runs_of_a_command(ray: Ray, checked: CheckedJob) -> None:
    async def again(cluster: Cluster) -> None:
        await cluster.join(checked, "20261130T230000000Z-c3d4")

    joined(checked, then=again)
    assert len(ray.inits) == 1


def test_workers_are_actors_that_ray_neither_restarts_nor_calls_again(ray: Ray, checked: CheckedJob) -> None:
    async def begin(cluster: Cluster) -> None:
        worker = cluster.begin(checked)()
        worker.end()

    joined(checked, then=begin)
    given = ray.options[-1]
    assert (given["max_restarts"], given["max_task_retries"], given["scheduling_strategy"]) == (0, 0, "SPREAD")
    assert given["num_cpus"] == PROCESSORS
    assert not {"lifetime", "runtime_env", "name"} & given.keys()
    what, values = ray.remotes[-1]
    assert (what.__name__, values) == ("PromptmillWorker", ()), "what an actor is made with stands in Ray's books"
    assert len(ray.killed) == 1


def test_where_ray_starts_no_actor_the_crew_is_told_in_its_own_way(ray: Ray, checked: CheckedJob) -> None:
    async def begin(cluster: Cluster) -> None:
        ray.fault = OSError("the cluster is gone")
        with pytest.raises(OSError, match="Ray starts no actor: the cluster is gone"):
            cluster.begin(checked)()
        ray.fault = None

    joined(checked, then=begin)


def test_a_node_that_cannot_do_the_work_is_told_before_the_first_row(
    ray: Ray, checked: CheckedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.says = (PYTHON, VERSION, "SOME_KEY is not set")
    assert "one (, aaaaaaaa): SOME_KEY is not set" in refused(checked)
    ray.says = RaisedThereError("Traceback\n  ...\nModuleNotFoundError: No module named 'msgspec'")
    assert "it could not be asked: ModuleNotFoundError: No module named 'msgspec'" in refused(checked)
    ray.late = True
    monkeypatch.setattr(nodes, "ANSWER_S", 0.3)
    assert f"it did not answer within {nodes.ANSWER_S:.0f} s" in refused(checked)
    assert ray.shutdowns == 3


def test_a_node_that_was_killed_and_is_listed_for_a_while_keeps_no_command_from_starting(
    ray: Ray, checked: CheckedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray misses a node that died only after ten seconds or more, and the same command is to go on at once."""
    monkeypatch.setattr(ray_cluster, "LOOK_S", 0.0)
    ray.gone = {"b": 1, "c": 3}
    joined(checked)
    assert ray.gone["c"] == -1, "listed three times, and looked for once more"


def test_a_node_that_cannot_be_asked_and_stays_listed_is_told(
    ray: Ray, checked: CheckedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "ANSWER_S", 0.0)
    ray.gone = {"b": 1_000}
    told = refused(checked)
    assert "1 of 2 nodes cannot do the work" in told
    assert "one (, bbbbbbbb): it could not be asked: The task is not schedulable" in told


def test_a_cluster_that_cannot_be_joined_is_refused_with_what_ray_says(
    ray: Ray, checked: CheckedJob, listening: int
) -> None:
    ray.fault = RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0")
    told = refused(checked, f"ray:127.0.0.1:{listening}")
    assert "the cluster cannot be joined: Ray: 2.9.0" in told
    assert f"ray start --address=127.0.0.1:{listening}" in told
    assert "Ray Client server" in refused(checked, f"ray://127.0.0.1:{listening}")
    assert "Ray cannot be started here" in refused(checked)


def test_an_address_at_which_nobody_is_is_refused_at_once(ray: Ray, checked: CheckedJob) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert f"nobody is at 127.0.0.1:{port}" in refused(checked, f"ray:127.0.0.1:{port}")
    assert ray.inits == []


def test_a_program_that_is_connected_to_ray_already_is_told_so(ray: Ray, checked: CheckedJob) -> None:
    ray.connected = True
    assert "connected to a Ray already" in refused(checked)
    assert ray.inits == []


def test_without_ray_the_package_is_named(checked: CheckedJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    monkeypatch.setenv(PATIENCE, "120")
    assert "pip install 'promptmill[ray]'" in refused(checked)


def test_a_command_that_wants_none_has_none() -> None:
    from batch.job.options import RunOptions

    async def main() -> tuple[object, object]:
        async with elsewhere(RunOptions(), Clock()) as nowhere, elsewhere(RunOptions(on="ray"), Clock()) as cluster:
            return nowhere, cluster

    nowhere, cluster = anyio.run(main)
    assert nowhere is None
    assert isinstance(cluster, Cluster), "it is not started before it is joined"


def test_places_are_read_from_the_words_of_the_option() -> None:
    assert place_of("ray", option="--on") == RayPlace("ray")
    assert place_of("ray:10.0.0.5:6379", option="--on") == RayPlace("ray:10.0.0.5:6379", "10.0.0.5:6379")
    assert place_of("ray:[::1]:6379", option="--on").address == "[::1]:6379"
    assert place_of("ray://head:10001", option="--on").address == "ray://head:10001"
