"""`batch.plan.doctor`: what of this machine would stop a run, each with its way out."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from batch.job.job import Job
from batch.plan import doctor
from batch.plan.doctor import AREAS, Finding
from tests.run.test_command import KEY, job
from tests.support.wire_fixtures import _no_proxy

__all__ = ["_no_proxy"]
ENVIRON = {"ZAI_API_KEY": KEY}
OWN_WORDS = ("key", "disk", "proxy", "certificates", "connection")
"""Areas whose errors are those of a run, and have the way out in them."""
Mounted = Callable[[str], Path]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mounted]:
    """Mounts a small file system; the options say how."""
    places: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path / "disk"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=False)
        if done.returncode:
            pytest.skip("this machine lets nobody mount a file system")
        places.append(place)
        return place

    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    yield mount
    for place in places:
        subprocess.run(["umount", str(place)], check=True)


def told(made: Job, environ: dict[str, str] = ENVIRON) -> dict[str, Finding]:
    endpoint, key = doctor.endpoint_of(made, environ)
    found = [*doctor.of_machine(environ), *doctor.of_job(made, environ, endpoint), key]
    assert {finding.area for finding in found} <= set(AREAS)
    assert all(one.way_out or one.state == "ok" or one.area in OWN_WORDS for one in found)
    return {finding.area: finding for finding in found}


def test_a_machine_that_is_well_says_so(tmp_path: Path) -> None:
    """Nothing is left behind, and the key is told by its variable."""
    made = job(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    found = told(made)
    assert {finding.state for finding in found.values()} == {"ok"}
    assert found["key"].text == "from ZAI_API_KEY"
    assert sorted(tmp_path.rglob("*")) == before
    assert KEY not in str(found)


def test_without_a_job_keys_are_told_by_name() -> None:
    """Which are there, or which are looked for."""
    assert doctor.keys_found(ENVIRON).text == "in ZAI_API_KEY"
    none = doctor.keys_found({})
    assert (none.state, "OPENAI_API_KEY" in none.text) == ("look", True)


def test_a_missing_key_stops_a_run_and_names_its_variables(tmp_path: Path) -> None:
    """Set-up 1 of ten."""
    found = told(job(tmp_path), {})["key"]
    assert found.state == "stop"
    assert "ZAI_API_KEY is not set: export it" in found.text


@pytest.mark.parametrize(
    ("variable", "value", "area"),
    [
        ("HTTPS_PROXY", "ftp://127.0.0.1:1", "proxy"),
        ("SSL_CERT_FILE", "/none/such.pem", "certificates"),
        ("ZAI_API_KEY", "two words", "key"),
        ("ZHIPUAI_BASE_URL", "nonsense", "connection"),
    ],
)
def test_a_variable_that_cannot_be_used_is_told_as_what_it_is_for(
    variable: str, value: str, area: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says how to write it."""
    job(tmp_path)
    text = (tmp_path / "job.toml").read_text().replace('base_url = "http://127.0.0.1:9"', "")
    (tmp_path / "job.toml").write_text(text)
    monkeypatch.setenv(variable, value)
    found = told(Job.load(tmp_path), {**ENVIRON, variable: value})[area]
    assert found.state == "stop"
    assert variable in found.text


def test_a_key_in_a_file_is_told_by_the_file_and_others_who_may_read_it(tmp_path: Path) -> None:
    """And a file that is not there stops a run."""
    job(tmp_path)
    text = (tmp_path / "job.toml").read_text().replace("[model]", '[model]\nkey_file = "my.key"')
    (tmp_path / "job.toml").write_text(text)
    missing = told(Job.load(tmp_path), {})["key"]
    assert (missing.state, "there is no such file" in missing.text) == ("stop", True)
    (tmp_path / "my.key").write_text(KEY)
    (tmp_path / "my.key").chmod(0o644)
    found = told(Job.load(tmp_path), {})["key"]
    assert (found.state, "my.key" in found.text, "chmod 600" in found.way_out) == ("look", True, True)
    (tmp_path / "my.key").chmod(0o600)
    assert told(Job.load(tmp_path), {})["key"].state == "ok"


@pytest.mark.slow
def test_a_full_disk_stops_a_run(tmp_path: Path, mounted: Mounted) -> None:
    """Set-up 7 of ten."""
    disk = mounted("size=64k")
    made = job(tmp_path, f'[output]\npath = "{disk}/out"\n')
    found = told(made)["disk"]
    assert (found.state, "no space left" in found.text) == ("stop", True)
    assert found.way_out.startswith("Free some space")
    assert list(disk.iterdir()) == []


@pytest.mark.slow
def test_a_folder_that_is_read_only_stops_a_run(tmp_path: Path, mounted: Mounted) -> None:
    """Set-up 8 of ten, for root too."""
    disk = mounted("size=4m,ro")
    made = job(tmp_path, f'[output]\npath = "{disk}/out"\n')
    found = told(made)["disk"]
    assert (found.state, "read-only" in found.text) == ("stop", True)
    assert found.way_out.startswith("Make it writable")


@pytest.mark.slow
def test_a_small_disk_is_worth_a_look(tmp_path: Path, mounted: Mounted) -> None:
    """It may do for a small job."""
    made = job(tmp_path, f'[output]\npath = "{mounted("size=8m")}/out"\n')
    assert told(made)["disk"].state == "look"


def test_a_folder_of_others_is_no_place_for_output(tmp_path: Path) -> None:
    """As a run would refuse it."""
    made = job(tmp_path, '[output]\npath = "."\n')
    found = told(made)["disk"]
    assert (found.state, "folder of the job itself" in found.text) == ("stop", True)


def test_a_fault_of_the_job_is_told_too(tmp_path: Path) -> None:
    """What `check` refuses, `run` refuses."""
    made = job(tmp_path, '[output]\ncolumns = ["none"]\n')
    found = told(made)["job"]
    assert (found.state, "none" in found.text) == ("stop", True)


def test_a_package_that_is_missing_or_too_old_is_named() -> None:
    """As another tool's installation may leave it."""
    assert doctor._fault_of("no-such-package", ">=1") == "no-such-package is missing"
    assert doctor._fault_of("pytest", ">=1000") is not None
    assert doctor._fault_of("pytest", "<2") is not None
    assert doctor._fault_of("pytest", ">=2, <1000") is None


def test_a_checkout_that_is_not_installed_is_told_and_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it needs is not known then, so that its packages cannot be looked at."""

    def gone(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", gone)
    found = {finding.area: finding for finding in doctor.of_machine(ENVIRON)}["packages"]
    assert (found.state, "not installed" in found.text) == ("look", True)
    assert "pip install" in found.way_out


def test_a_state_folder_that_cannot_be_written_is_worth_a_look(tmp_path: Path) -> None:
    """A run goes on without it, unless it has a budget of a day."""
    environ = {**ENVIRON, "PROMPTMILL_STATE": "/proc/promptmill"}
    found = told(job(tmp_path), environ)["state"]
    assert (found.state, "PROMPTMILL_STATE" in found.way_out) == ("look", True)
