"""`batch.providers.pool`: each address with its key."""

from __future__ import annotations

from pathlib import Path

from batch.core.records import Request
from batch.core.redaction import NamedSecret
from batch.job.endpointspec import EndpointSpec
from batch.job.job import ModelSpec
from batch.providers.pool import resolve_all

KEYS = {"ZHIPUAI_API_KEY": "0123456789abcdef.first-secret-1", "OTHER": "0123456789abcdef.other-secret-2"}


def resolved(folder: Path, *endpoints: EndpointSpec, **model: str) -> tuple[dict[str, str | None], list[str]]:
    """The origin of each address's key, and the faults."""
    faults: list[str] = []
    spec = ModelSpec(provider="glm", name="m", endpoints=endpoints, **model)  # type: ignore[arg-type]  # texts
    found = resolve_all(spec, {}, folder=folder, environ=KEYS, faults=faults)
    return {name: one.key_origin for name, one in found.items()}, faults


def test_an_address_without_a_key_of_its_own_has_the_jobs(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("0123456789abcdef.file-secret-333")
    found, faults = resolved(
        tmp_path,
        EndpointSpec(base_url="http://a/v4"),
        EndpointSpec(base_url="http://b/v4", api_key_env="OTHER"),
        EndpointSpec(base_url="http://c/v4", key_file=Path("key")),
    )
    assert faults == []
    assert found == {"a": "ZHIPUAI_API_KEY", "b": "OTHER", "c": f"model.endpoints.2.key_file {tmp_path / 'key'}"}


def test_a_key_tells_which_address_it_is_for_and_shows_itself_to_nobody(tmp_path: Path) -> None:
    """A worker that finds its keys itself has to know which; two addresses of one service differ in nothing else."""
    faults: list[str] = []
    endpoints = tuple(EndpointSpec(base_url="http://a/v4", name=name) for name in ("first", "second"))
    for provider in ("glm", "openai"):
        spec = ModelSpec(provider=provider, name="m", endpoints=endpoints)
        environ = {**KEYS, "OPENAI_API_KEY": KEYS["OTHER"]}
        found = resolve_all(spec, {}, folder=tmp_path, environ=environ, faults=faults)
        for name, one in found.items():
            (key,) = [value for _, value in one.dialect.signed() if isinstance(value, NamedSecret)]
            assert key.address == name
            assert key.startswith("Bearer 0123456789abcdef.")
            assert "0123456789abcdef" not in repr(key)
            asked = one.dialect.chat(Request(model="m", messages=[]), "c")
            assert [value.address for _, value in asked.headers if isinstance(value, NamedSecret)] == [name]


def test_what_is_wrong_names_the_address(tmp_path: Path) -> None:
    found, faults = resolved(
        tmp_path,
        EndpointSpec(base_url="http://a/v4"),
        EndpointSpec(base_url="http://b/v4", api_key_env="NOT_SET"),
        EndpointSpec(base_url="http://c/v4?key=1"),
    )
    assert list(found) == ["a"]
    assert faults[0].startswith("model.endpoints.1 (b): ")
    assert "NOT_SET is not set" in faults[0]
    assert "model.endpoints.2.base_url" in faults[1]
