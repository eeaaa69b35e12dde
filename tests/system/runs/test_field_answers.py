"""What servers that nobody here wrote answer: each answer bought once and kept, each number booked or refused."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted import Answer, Asked, Scripted, reply, scripted, told
from tests.system.runs.conftest import Mill

OWN = '[provider.mine]\nbase_url = "{url}/v1"\nfinish_reasons = {{ natural = "stop", broken = "error" }}\n'


def mill_for(folder: Path, server: Scripted, *, rows: int = 4, provider: str = "openai", lane: str = "sync") -> Mill:
    mill = Mill(folder, server.url, provider=provider, lane=lane)
    mill.limits = {"concurrency": 4, "max_attempts": 2}
    mill.questions(rows)
    return mill


@pytest.mark.parametrize(
    ("word", "shown", "flags"),
    [
        ("eos_token", "stop", []),
        ("MAX_TOKENS", "length", ["truncated"]),
        ("who_knows", "who_knows", ["finish_unknown"]),
    ],
)
def test_an_answer_that_ended_in_other_words_is_bought_once_and_kept(
    tmp_path: Path, word: str, shown: str, flags: list[str]
) -> None:
    """FIELD 7: every answer was paid twice, thrown away, and bought again each night."""
    with scripted(lambda asked: reply(f"about {asked.n}", word)) as server:
        mill = mill_for(tmp_path, server)
        assert mill.run().exit_code == 0
        assert mill.run().state == "nothing_to_do"
        assert len(server.seen) == 4
        assert mill.results("answer, finish_reason, flags") == [(f"about {n}", shown, flags) for n in range(4)]
        assert mill.calls("DISTINCT finish_reason") == [(word,)], "the book says what the service said"


def test_a_provider_table_teaches_words_of_its_own(tmp_path: Path) -> None:
    """FIELD 7: `finish_reasons` in `[provider.NAME]`; and what means failure fails."""
    with scripted(lambda asked: reply("fine", "natural" if asked.n else "Broken")) as server:
        mill = mill_for(tmp_path, server)
        mill.more = OWN.format(url=server.url)
        plain = mill.save

        def save() -> Path:
            file = plain() / "job.toml"
            text = file.read_text("utf-8").replace('provider = "openai"', 'provider = "mine"')
            file.write_text(text.replace(f'base_url = "{server.url}/v1"\n', "", 1), "utf-8")
            return mill.folder

        mill.save = save  # type: ignore[method-assign]  # the job is written by hand
        assert mill.run().exit_code == 1
        assert mill.results("finish_reason, error_kind, error_code")[1:] == [("stop", None, None)] * 3
        assert mill.results("status, error_kind, error_code")[0] == ("failed", "server", "Broken")


@pytest.mark.parametrize("choice", [{"finish_reason": None}, {"drop": "finish_reason"}])
def test_a_whole_answer_without_an_end_is_kept_and_booked(tmp_path: Path, choice: dict[str, Any]) -> None:
    """FIELD 8: usage not booked, the provider called silent, and "has not answered for 42 s"."""
    dropped = choice.pop("drop", None)

    def serve(asked: Asked) -> Answer:
        status, headers, body = reply(f"about {asked.n}", None)
        document = json.loads(body)
        if dropped:
            del document["choices"][0][dropped]
        return status, headers, json.dumps(document).encode()

    with scripted(serve) as server:
        mill = mill_for(tmp_path, server, rows=20)
        assert mill.run().exit_code == 0
        assert mill.results("answer, finish_reason, flags")[0] == ("about 0", None, ["finish_unknown"])
        assert mill.calls("count(*), sum(total_tokens)") == [(20, 240)]


@pytest.mark.parametrize("retryable", [True, False])
def test_a_run_that_fails_throughout_with_one_code_stops(tmp_path: Path, retryable: bool) -> None:
    """FIELD 7: retryable or not; a million rows bought for nothing are as dear either way."""
    bad = reply(None, "") if retryable else told({"error": {"code": "bad", "message": "no"}}, 422)
    with scripted(lambda asked: bad) as server:
        mill = mill_for(tmp_path, server, rows=120)
        report = mill.run()
        assert report.state == "systematic"
        assert report.exit_code != 0
        assert 50 <= report.totals.rows <= 50 + mill.limits["concurrency"]


@pytest.mark.parametrize("count", [2**40, 2**63, 10**25])
@pytest.mark.parametrize("lane", ["sync", "stream"])
def test_a_count_of_any_size_ends_nothing(tmp_path: Path, count: int, lane: str) -> None:
    """FIELD 15: exit 70 at every command, and the row bought each time."""
    usage = {"prompt_tokens": count, "completion_tokens": 1, "total_tokens": count + 1}
    with scripted(lambda asked: reply("fine", usage=usage) if asked.n == 1 else reply()) as server:
        mill = mill_for(tmp_path, server, lane=lane)
        assert mill.run().exit_code == 0
        assert mill.results("flags")[1] == (["usage_unknown"],)
        assert mill.run().state == "nothing_to_do"
        assert len(server.seen) == 4


@pytest.mark.parametrize("task_id", ["x" * 100_000, "x" * 513, "a\nb", "\u202e1"])
def test_a_task_id_that_nobody_can_ask_for_is_refused_at_the_submit(tmp_path: Path, task_id: str) -> None:
    """FIELD 15: an id of 100,000 characters killed the folder."""

    def serve(asked: Asked) -> Answer:
        if not asked.body:
            return reply(task_status="SUCCESS")
        name = task_id if asked.n == 1 else f"task-{asked.n}"
        return told({"id": name, "request_id": asked.body["request_id"], "task_status": "PROCESSING"})

    with scripted(serve) as server:
        mill = mill_for(tmp_path, server, provider="glm", lane="task")
        assert mill.run().exit_code == 1
        assert mill.results("n, error_kind")[1] == (1, "bad_payload")
        assert mill.calls("DISTINCT state", "error_kind IS NOT NULL") == [("unknown",)], "it may have been billed"
        assert mill.run().exit_code in (0, 1)


@pytest.mark.parametrize("status", [400, 500])
def test_a_context_overflow_in_the_words_of_llama_cpp_is_too_large(tmp_path: Path, status: int) -> None:
    """FIELD 27: `code: 400, type: "exceed_context_size_error"` was a bad request."""
    error = {"code": status, "message": "exceeds the available context size", "type": "exceed_context_size_error"}
    with scripted(lambda asked: told({"error": error}, status) if asked.n == 1 else reply()) as server:
        mill = mill_for(tmp_path, server)
        assert mill.run().exit_code == 1
        assert mill.results("error_kind, retryable")[1] == ("too_large", False)
        assert len(server.seen) == 4


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000])
def test_a_waiting_time_as_a_moment_since_1970_is_waited_for(tmp_path: Path, unit: int) -> None:
    """FIELD 27: seconds since 1970 stopped the run, milliseconds were never met."""

    def serve(asked: Asked) -> Answer:
        if asked.n or asked.times:
            return reply()
        until = int((time.time() + 0.7) * unit)
        return 429, {"Retry-After": str(until)}, b'{"error": {"code": null, "message": "wait"}}'

    with scripted(serve) as server:
        mill = mill_for(tmp_path, server)
        assert mill.run().exit_code == 0
        assert len(server.seen) == 5
