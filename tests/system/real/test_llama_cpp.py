"""A real model behind a real server: llama.cpp, one slot, temperature 0."""

from __future__ import annotations

import re
import urllib.request
from decimal import Decimal
from pathlib import Path

import pytest

from tests.system.runs.conftest import Mill

pytestmark = pytest.mark.timeout(300)
ROWS = 12


def asking(folder: Path, url: str, lane: str) -> Mill:
    """A job of short questions with answers of at most eight tokens."""
    mill = Mill(folder, url, provider="llama", model="smollm2", lane=lane)
    mill.limits = {"concurrency": 4}
    mill.more = f"""\
[model.parameters]
temperature = 0
max_tokens = 8
[provider.llama]
speaks = "openai"
base_url = "{url}/v1"
"""
    mill.write([{"n": n, "question": f"{n} + 1 ="} for n in range(ROWS)])
    return mill


def counted(url: str) -> tuple[int, int]:
    """Prompt and completion tokens since the server started, by its own count."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        text = answer.read().decode()
    names = ("prompt_tokens_total", "tokens_predicted_total")
    prompt, completion = (re.search(rf"^llamacpp:{name} (\d+)$", text, re.MULTILINE) for name in names)
    assert prompt is not None
    assert completion is not None
    return int(prompt[1]), int(completion[1])


def test_both_lanes_give_the_same_answers_and_book_the_tokens_that_the_server_counts(
    llama: str, tmp_path: Path
) -> None:
    """Promise 5 against a server that is not ours; it closes the connection after every streamed answer."""
    answers = {}
    for lane in ("sync", "stream"):
        mill = asking(tmp_path / lane, llama, lane)
        before = counted(llama)
        report = mill.run()
        after = counted(llama)
        assert (report.exit_code, report.state) == (0, "finished"), lane
        mill.check_table(ROWS)
        rows = mill.results("n, status, finish_reason, answer, model, completion_tokens")
        assert {row[1] for row in rows} == {"ok"}
        assert {row[2] for row in rows} <= {"stop", "length"}
        assert all(row[3] for row in rows)
        assert max(row[5] for row in rows) == 8
        [(calls, unknown, prompt, completion)] = mill.calls(
            "count(*), sum((state != 'answered')::INT), sum(prompt_tokens), sum(completion_tokens)"
        )
        assert (calls, unknown) == (ROWS, 0), lane
        assert (int(prompt), int(completion)) == (after[0] - before[0], after[1] - before[1]), lane
        answers[lane] = [(row[0], row[2], row[3], row[5]) for row in rows]
    assert answers["sync"] == answers["stream"]


def test_a_prompt_longer_than_the_context_is_one_failed_row_with_the_servers_own_words(
    llama: str, tmp_path: Path
) -> None:
    """Promise 7: llama.cpp says `"code": 400, "type": "exceed_context_size_error"`; nothing is asked twice."""
    mill = asking(tmp_path / "long", llama, "sync")
    mill.write([{"n": 0, "question": "more " * 2000}, {"n": 1, "question": "1 + 1 ="}])
    before = counted(llama)
    assert mill.run().exit_code == 1
    after = counted(llama)
    long, short = mill.results("n, status, error_kind, error_code, error_message, retryable, calls, total_tokens")
    assert long[1:3] == ("failed", "too_large"), long
    assert (long[5], long[6]) == (False, 1)
    assert "context" in long[4]
    assert short[1] == "ok"
    assert short[7] == after[0] - before[0] + after[1] - before[1]
    assert Decimal(long[7] or 0) == 0


def test_a_real_server_tells_how_probable_each_label_is(llama: str, tmp_path: Path) -> None:
    """Held to a schema, three samples a row: votes and their mean probability, in both lanes, and null for none of them."""
    for lane in ("sync", "stream"):
        mill = asking(tmp_path / lane, llama, lane)
        mill.more = mill.more.replace("temperature = 0\nmax_tokens = 8\n", "temperature = 1.5\nmax_tokens = 24\n")
        mill.more += 'json = "schema"\nlogprobs = true\n[labels]\nnames = ["sum", "animal", "city"]\nsamples = 3\n'
        mill.more += "confidence = true\n"
        mill.write([{"n": n, "question": question} for n, question in enumerate(("2 + 2", "Paris"))])
        assert mill.run().exit_code == 0, mill.results("error_message")
        rows = mill.results("label, votes, agreement, confidence, answer, flags")
        assert sum(vote["count"] for _, votes, *_ in rows for vote in votes) == 6, rows
        for label, votes, agreement, confidence, _, flags in rows:
            assert agreement == votes[0]["count"] / 3
            assert (label is None) == (confidence is None) == ("tie" in flags), rows
            assert confidence is None or 0 < confidence <= 1
        assert any(confidence is not None and confidence < 1 for *_, confidence, _, _ in rows), rows
