"""The provider's limits, outages and restarts, in whole runs: one test for each numbered behaviour."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.system.runs.conftest import LANES, Make
from tests.system.runs.faulty import calls, faulty, finished
from tests.system.runs.test_behaviours_lines import OK, stopped

EVERY_LANE = pytest.mark.parametrize(("provider", "lane"), LANES)


@EVERY_LANE
def test_fault_18_a_refusal_without_a_time_is_no_attempt_at_the_row(provider: str, lane: str, make: Make) -> None:
    """Six refusals of a row with max_attempts = 4: it waits longer each time, and is answered."""
    mill = faulty(make, 18, first=4, provider=provider, lane=lane)
    mill.limits["max_attempts"] = 2
    finished(mill)
    code = "1302" if provider == "glm" else "rate_limit_exceeded"
    assert calls(mill) == [("refused", "rate_limit", code)] * 4 + [OK]
    sent = sorted(at / 1e6 for at, n in mill.calls("epoch_us(sent_at), row_number") if n == 1)
    waits = [after - before for before, after in pairwise(sent)]
    # The least that each may be; a busy machine makes some of them longer.
    assert all(wait >= 0.74 * 0.5 * 2**place for place, wait in enumerate(waits)), waits


@EVERY_LANE
def test_fault_19_a_time_to_wait_holds_everybody_back(provider: str, lane: str, make: Make) -> None:
    """One row's Retry-After: while it runs nothing is sent for any row."""
    mill = faulty(make, 19, first=1, seconds=1, provider=provider, lane=lane, rows=40)
    finished(mill)
    times = sorted(at / 1e6 for (at,) in mill.calls("epoch_us(sent_at)"))
    assert max(after - before for before, after in pairwise(times)) >= 0.9
    assert [state for state, *_ in calls(mill)] == ["refused", "answered"]


def test_fault_23_a_busy_model_is_asked_less_and_fails_no_row(make: Make) -> None:
    """1305 for most calls: refusals are no attempts, and every row is answered in the end."""
    mill = faulty(make, 23, rate=0.35, struck=(), rows=16)
    mill.limits.update(concurrency=8, max_attempts=2)
    finished(mill)
    refused = [row for row in mill.calls("state, error_kind, error_code") if row[0] == "refused"]
    assert refused
    assert set(refused) == {("refused", "overloaded", "1305")}


@pytest.mark.parametrize("provider", ["glm", "openai"])
def test_fault_24_no_money_stops_the_run_and_costs_no_row(provider: str, make: Make) -> None:
    """Refused for money after some tokens: exit 6, nothing tried again, no row failed; topped up, it is finished."""
    mill = faulty(make, 24, struck=(), first=1, provider=provider, rows=4)
    stopped(mill, "Top up")
    code = "1113" if provider == "glm" else "insufficient_quota"
    refused = {row for row in mill.calls("state, error_kind, error_code") if row[0] == "refused"}
    assert refused == {("refused", "balance", code)}


@pytest.mark.parametrize("code", ["1304", "1308", "1310"])
def test_fault_25_a_limit_used_up_until_a_time_is_waited_for(code: str, make: Make) -> None:
    """The time stands in the message alone; until then nothing is sent, and no row fails."""
    mill = faulty(make, 25, struck=(), code=code, seconds=2, rows=6)
    report = finished(mill)
    assert report.elapsed_s >= 1
    times = sorted(at / 1e6 for (at,) in mill.calls("epoch_us(sent_at)"))
    assert max(after - before for before, after in pairwise(times)) >= 0.9
    assert {row for row in mill.calls("state, error_kind") if row[0] == "refused"} == {("refused", "quota")}


@EVERY_LANE
def test_fault_33_a_connection_reset_before_any_byte_is_tried_again(provider: str, lane: str, make: Make) -> None:
    """The bytes had left, so the call is unknown; the row is asked again."""
    mill = faulty(make, 33, first=1, provider=provider, lane=lane, route="submit" if lane == "task" else "chat")
    finished(mill)
    [first, second] = calls(mill)
    assert (first[:2], second) == (("unknown", "transport"), OK)


@pytest.mark.parametrize("store", ["kept", "lost"])
def test_fault_67_a_restarted_server_costs_no_row(store: str, make: Make) -> None:
    """All connections drop at once; tasks that it remembers are collected, those it lost are bought anew."""
    mill = faulty(make, 67, struck=(), at=12, store=store, down_s=0.3, lane="task", rows=30)
    mill.limits.update(concurrency=8)
    finished(mill)
    submits = [record for record in mill.books() if record["route"] == "submit" and record["billed"]]
    lost = len({row[0] for row in mill.calls("row_id, state") if row[1] == "unknown"})
    assert len(submits) <= 30 + lost
    if store == "kept":
        assert len(submits) <= 30 + 8


def test_a_prompt_larger_than_the_whole_token_limit_fails_unsent_and_stops_nobody(make: Make) -> None:
    """It could never leave; the rows around it do, a large one that fits among them."""
    mill = make("", provider="openai")
    mill.limits.update(concurrency=4, tokens_per_minute=20_000)
    texts = ["Say one.", "word " * 40_000, "word " * 900, "Say four."]
    mill.write([{"n": n, "question": text} for n, text in enumerate(texts)])
    report = mill.run()
    assert report.exit_code == 1
    assert mill.results("n, status, error_kind, error_code, retryable, calls") == [
        (0, "ok", None, None, None, 1),
        (1, "failed", "too_large", "tokens_per_minute", False, 0),
        (2, "ok", None, None, None, 1),
        (3, "ok", None, None, None, 1),
    ]
    assert len(mill.books()) == 3
