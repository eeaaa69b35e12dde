"""`promptmill simulate`: where it listens, and what it says when it cannot."""

from __future__ import annotations

import inspect
import socket
from pathlib import Path
from urllib.parse import urlsplit

from batch.cli.simulate import simulate
from batch.providers.registry import PROVIDERS
from tests.cli.conftest import Cli


def test_it_listens_where_a_job_with_provider_simulator_looks() -> None:
    """FIELD 51: it took any free port, and the job found nobody at 8311."""
    usual = urlsplit(PROVIDERS["simulator"].base_url or "").port
    assert inspect.signature(simulate).parameters["port"].default == usual == 8311


def test_a_port_that_is_taken_is_told_with_how_a_job_finds_another(cli: Cli) -> None:
    """FIELD 51: with a usual port, two of them meet."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = cli("simulate", "--port", str(taken.getsockname()[1]))
    assert said.code == 2
    for text in (
        "Perhaps a simulator is at work there already",
        "--port",
        "--set model.base_url=http://127.0.0.1:PORT/",
    ):
        assert text in said.err


def test_a_misspelt_key_of_a_scenario_ends_it_before_it_listens(cli: Cli, tmp_path: Path) -> None:
    """FIELD 51: every key that nobody reads is named, with the nearest."""
    scenario = tmp_path / "odd.toml"
    scenario.write_text("[[limits.change]]\nafter = 5\nrpm = 1\n", "utf-8")
    said = cli("simulate", "--port", "0", "--scenario", scenario)
    assert said.code == 2
    assert f"{scenario}: limits.change[1]: after_s is missing" in said.err
    assert "There is after, which is no key here. Did you mean after_s?" in said.err
