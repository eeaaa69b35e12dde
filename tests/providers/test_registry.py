"""From a provider's name to an endpoint: variables, addresses, keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batch.core.errors import RefusedToStart
from batch.core.records import Request
from batch.job.job import ModelSpec
from batch.job.providers import ProviderSpec
from batch.providers import registry
from batch.providers.base import Credentials
from batch.providers.keysource import KeySource
from batch.providers.registry import Endpoint


def endpoint(
    provider: str, environ: dict[str, str], *, base_url: str | None = None, api_key_env: str | None = None
) -> Endpoint:
    return registry.resolve(provider, base_url=base_url, api_key_env=api_key_env, environ=environ)


def bearer(found: Endpoint) -> str | None:
    return dict(found.dialect.chat(Request(model="m", messages=[]), "c").headers).get("Authorization")


@pytest.mark.parametrize(
    ("provider", "environ", "variable", "base"),
    [
        (
            "glm",
            {"ZHIPUAI_API_KEY": "a", "ZAI_API_KEY": "b"},
            "ZHIPUAI_API_KEY",
            "https://open.bigmodel.cn/api/paas/v4",
        ),
        (
            "glm",
            {"ZHIPUAI_API_KEY": " ", "ZHIPU_API_KEY": "a"},
            "ZHIPU_API_KEY",
            "https://open.bigmodel.cn/api/paas/v4",
        ),
        ("glm", {"ZAI_API_KEY": "a", "ZHIPUAI_BASE_URL": "http://h/v4/"}, "ZAI_API_KEY", "http://h/v4"),
        ("zai", {"ZAI_API_KEY": "a", "ZHIPUAI_API_KEY": "b"}, "ZAI_API_KEY", "https://api.z.ai/api/paas/v4"),
        ("zai", {"ZAI_API_KEY": "a", "ZAI_BASE_URL": "http://h"}, "ZAI_API_KEY", "http://h"),
        (
            "dashscope",
            {"DASHSCOPE_API_KEY": "a"},
            "DASHSCOPE_API_KEY",
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
        ),
        ("deepseek", {"DEEPSEEK_API_KEY": "a"}, "DEEPSEEK_API_KEY", "https://api.deepseek.com"),
        ("moonshot", {"MOONSHOT_API_KEY": "a"}, "MOONSHOT_API_KEY", "https://api.moonshot.cn/v1"),
        ("openai", {"OPENAI_API_KEY": "a\n"}, "OPENAI_API_KEY", "https://api.openai.com/v1"),
        ("openai", {"OPENAI_API_KEY": "a", "OPENAI_BASE_URL": "http://h/v1"}, "OPENAI_API_KEY", "http://h/v1"),
    ],
)
def test_the_usual_variables_give_key_and_address(
    provider: str, environ: dict[str, str], variable: str, base: str
) -> None:
    """First one set wins; blank is not set; no slash at the end."""
    found = endpoint(provider, environ)
    assert (found.key_env_used, found.base_url, bearer(found)) == (variable, base, "Bearer a")
    assert found.dialect.name == provider


def test_the_job_wins_over_the_environment() -> None:
    """Its base_url and its api_key_env, and no other variable then."""
    environ = {"MY_KEY": "k", "OPENAI_API_KEY": "other", "OPENAI_BASE_URL": "http://other"}
    found = endpoint("openai", environ, base_url="http://mine/v1", api_key_env="MY_KEY")
    assert (found.base_url, found.key_env_used, bearer(found)) == ("http://mine/v1", "MY_KEY", "Bearer k")
    with pytest.raises(RefusedToStart, match="MISSING is not set"):
        endpoint("openai", environ, api_key_env="MISSING")


def test_a_missing_key_names_every_variable() -> None:
    """The text is the way out."""
    with pytest.raises(RefusedToStart, match="ZHIPUAI_API_KEY or ZHIPU_API_KEY or ZAI_API_KEY"):
        endpoint("glm", {})


def test_simulator_and_vllm_need_no_key() -> None:
    """The simulator has a built-in one of the right form; vLLM gets none."""
    assert bearer(endpoint("simulator", {})) == "Bearer simulator.key0123456789"
    assert bearer(endpoint("vllm", {}, base_url="http://127.0.0.1:8000/v1")) is None
    assert endpoint("simulator", {}).base_url == "http://127.0.0.1:8311/api/paas/v4"
    with pytest.raises(RefusedToStart, match="base_url"):
        endpoint("vllm", {})


@pytest.mark.parametrize(
    "address",
    [
        "ftp://h/x",
        "h/x",
        "http://",
        "http://u:p@h/x",
        "http://h/x?y=1",
        "http://h/#f",
        "http://[::1",
        "x" * 9,
        "http://h:99999/v1",
        "http://h:0/v1",
    ],
)
def test_an_address_that_is_none_refuses_to_start(address: str) -> None:
    """Before anything is sent."""
    with pytest.raises(RefusedToStart, match="base_url"):
        endpoint("simulator", {}, base_url=address)


@pytest.mark.parametrize(
    "address",
    [
        "https://h/v1?key=K3yOfMine",
        "https://h/v1#token=K3yOfMine",
        "https://me:K3yOfMine@h/v1",
        "https://me:K3y/OfMine@h/v1",
        "https://me:K3y#OfMine@h/v1",
        "https://me:12/OfMine@h/v1",
        "ftp://h/?K3yOfMine",
        "me:K3yOfMine@h",
    ],
)
def test_an_address_with_a_key_in_it_is_refused_by_its_name_and_not_shown(address: str) -> None:
    """FIELD 20. Wherever it comes from: the sentence names the place, not the value; its cause does neither."""
    environ = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": address}
    table = {"mine": ProviderSpec(base_url=address)}
    places: tuple[tuple[str, Callable[[], Endpoint]], ...] = (
        ("OPENAI_BASE_URL", lambda: endpoint("openai", environ)),
        ("model.base_url", lambda: endpoint("openai", {"OPENAI_API_KEY": "k"}, base_url=address)),
        (
            "provider.mine.base_url",
            lambda: registry.resolve("mine", base_url=None, api_key_env=None, environ={}, tables=table),
        ),
    )
    for name, resolved in places:
        with pytest.raises(RefusedToStart, match=name) as caught:
            resolved()
        assert "OfMine" not in str(caught.value)
        assert "K3y" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_an_unknown_provider_names_the_nearest_or_all() -> None:
    """With the nearest way out: a name, or the list, or a table."""
    with pytest.raises(RefusedToStart, match="Did you mean glm"):
        endpoint("glmm", {})
    with pytest.raises(
        RefusedToStart, match="glm, zai, openai, dashscope, deepseek, moonshot, vllm, simulator. Any other"
    ):
        endpoint("elsewhere", {})


@pytest.mark.parametrize("key", ["a b", "a\r\nX: y", "ключ", "a\x00"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_without_showing_it(key: str) -> None:
    """Not in the message, not in its cause."""
    with pytest.raises(RefusedToStart) as caught:
        endpoint("openai", {"OPENAI_API_KEY": key})
    assert key not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_repr_shows_the_key() -> None:
    """Not of the credentials, the endpoint, or a request written with them."""
    found = endpoint("openai", {"OPENAI_API_KEY": "sk-topsecret"})
    outgoing = found.dialect.chat(Request(model="m", messages=[]), "c")
    for text in (repr(found), repr(outgoing), str(outgoing), repr(Credentials("sk-topsecret")), f"{outgoing.headers}"):
        assert "topsecret" not in text


@pytest.mark.parametrize(
    ("provider", "asked", "likelier"),
    [
        ("openai", "http://h:8000", "http://h:8000/v1"),
        ("vllm", "http://h:8000/", "http://h:8000/v1"),
        ("vllm", "https://gw.example/openai", "https://gw.example/openai/v1"),
        ("vllm", "http://h:8000/v1", None),
        ("vllm", "http://h:8000/v1/v1", "http://h:8000/v1"),
        ("vllm", "http://h:8000/v1/completions", "http://h:8000/v1"),
        ("vllm", "http://h:8000/v1/chat/completions", "http://h:8000/v1"),
        ("vllm", "http://h:8000/v2", None),
        ("openai", "https://api.openai.com/v2", "https://api.openai.com/v1"),
        ("deepseek", "https://api.deepseek.com", None),
        ("dashscope", "https://dashscope.aliyuncs.com/api/v1", "https://dashscope.aliyuncs.com/compatible-mode/v1"),
        ("glm", "http://h", "http://h/api/paas/v4"),
        ("glm", "https://open.bigmodel.cn/api/paas/v3", "https://open.bigmodel.cn/api/paas/v4"),
        ("glm", "https://open.bigmodel.cn/api/paas/v4", None),
        ("own", "http://h:8000", "http://h:8000/v1"),
        ("own", "http://gw.example/team-a/v1", None),
    ],
)
def test_the_base_url_that_was_probably_meant_is_found(provider: str, asked: str, likelier: str | None) -> None:
    """FIELD 47: a missing /v1, a doubled one, an endpoint, the path of another version: the same few mistakes."""
    service = registry.find(provider, {"own": ProviderSpec(base_url=asked)})
    assert registry.likelier_url(asked, service) == likelier


@pytest.mark.parametrize("ending", ["/chat/completions", "/async/chat/completions", "/chat/completions/"])
@pytest.mark.parametrize("variable", [True, False])
def test_a_whole_endpoint_is_refused_with_what_to_write(ending: str, variable: bool) -> None:
    """FIELD 47: a 404 for each row, and the model was blamed."""
    key, asked = {"OPENAI_API_KEY": "sk-1234567890abcdef"}, f"http://h:8000/v1{ending}"
    place = "OPENAI_BASE_URL" if variable else "model.base_url"
    with pytest.raises(RefusedToStart, match=rf"{place} is .*write 'http://h:8000/v1'"):
        endpoint("openai", key | ({"OPENAI_BASE_URL": asked} if variable else {}), base_url=None if variable else asked)


def test_who_pays_is_sent_to_openai_and_to_no_other_service() -> None:
    """As OpenAI's own clients do; an empty variable is none."""
    environ = {
        "OPENAI_API_KEY": "a",
        "OPENAI_ORG_ID": " org-1\n",
        "OPENAI_PROJECT_ID": "proj-2",
        "MOONSHOT_API_KEY": "b",
    }

    def sent(found: Endpoint) -> dict[str, str]:
        headers = dict(found.dialect.chat(Request(model="m", messages=[]), "c").headers)
        return {name: value for name, value in headers.items() if name.startswith("OpenAI-")}

    found = endpoint("openai", environ)
    assert sent(found) == {"OpenAI-Organization": "org-1", "OpenAI-Project": "proj-2"}
    assert found.header_names == ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
    assert sent(endpoint("openai", {**environ, "OPENAI_ORG_ID": ""})) == {"OpenAI-Project": "proj-2"}
    table = {"mine": ProviderSpec(base_url="http://h/v1", api_key_env="OPENAI_API_KEY")}
    mine = registry.resolve("mine", base_url=None, api_key_env=None, environ=environ, tables=table)
    assert sent(mine) == sent(endpoint("moonshot", environ)) == {}


def test_a_key_comes_from_where_the_job_or_the_table_of_its_provider_says(tmp_path: Path) -> None:
    """The job wins over the table; a variable that the job names wins over the table's file."""
    (tmp_path / "a.key").write_text("from-a-file\n")
    table = {"mine": ProviderSpec(base_url="http://h/v1", key_file=Path("a.key"))}

    def source(**model: Any) -> KeySource | None:
        return registry.key_source(ModelSpec(provider="mine", name="m", **model), table, tmp_path)

    found = source()
    assert found is not None
    assert found.name == f"provider.mine.key_file {tmp_path / 'a.key'}"
    assert source(api_key_env="X") is None
    own = source(key_command=("echo", "x"))
    assert own is not None
    assert (own.name, own.folder) == ("model.key_command echo", tmp_path)
    ends = registry.resolve(
        "mine", base_url=None, api_key_env=None, environ={"OPENAI_API_KEY": "x"}, tables=table, source=found
    )
    assert (bearer(ends), ends.key_env_used, ends.key_origin) == ("Bearer from-a-file", None, found.name)


def test_a_fetched_key_that_cannot_be_one_is_refused_unshown(tmp_path: Path) -> None:
    """As one from a variable."""
    (tmp_path / "a.key").write_text("two words-canary\n")
    with pytest.raises(RefusedToStart, match="model.key_file .* holds characters that no API key has") as caught:
        registry.resolve(
            "openai",
            base_url=None,
            api_key_env=None,
            environ={},
            source=KeySource("model.key_file", file=tmp_path / "a.key"),
        )
    assert "canary" not in str(caught.value)
