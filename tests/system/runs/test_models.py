"""Whole runs that ask several models with limits of their own, in time moved by hand: none of them stops the others."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batch.plan.admission import RangePlan, admit
from batch.run import intake
from batch.run.command import Report
from tests.support.virtual import Down, PatientClock, World, virtual
from tests.system.runs.conftest import ENVIRON

SLOW, FAST = "gpt-5-mini", "gpt-5-nano"
LATENCY = {"chat_ms": [20, 60]}


def job(limits: str, *, names: tuple[str, ...] = (SLOW, FAST), rows_per_part: int = 10_000) -> Any:
    return lambda port: "\n".join(
        [
            'name = "models"',
            "[input]",
            'path = "rows.jsonl"',
            "[prompt]",
            'user = "{{ text }}"',
            "[model]",
            'provider = "openai"',
            f"names = {json.dumps(names)}",
            f'base_url = "http://127.0.0.1:{port}/v1"',
            "[limits]",
            limits,
            "[output]",
            'path = "out"',
            f"rows_per_part = {rows_per_part}",
        ]
    )


def run(
    folder: Path,
    scenario: dict[str, Any],
    text: Any,
    *,
    rows: int,
    admissions: Admissions | None = None,
    down: Down | None = None,
) -> tuple[Report, World]:
    world = World(PatientClock(), {"latency": LATENCY, **scenario})
    world.down = down
    if admissions is not None:
        admissions.world = world
    lines = (json.dumps({"text": f"Tell me about the number {n}."}) for n in range(rows))
    (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return virtual(folder, world, text, ENVIRON), world


def shares(world: World, begin: float, end: float) -> dict[str, float]:
    """By model, the share of its own request limit that was used in a stretch of time."""
    uses = world.app.provider.judge.use(begin, end, world.clock.monotonic())
    return {use["model"]: use["requests"] / use["allowed"]["requests"] for use in uses}


@pytest.mark.parametrize("known", [True, False], ids=["asked for", "told by headers"])
def test_each_model_uses_its_own_limit_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """FIELD 21: limits of 60 and 600 a minute are used to 98 % side by side; they sent 128 and 121 of 60 and 6,000.

    Few rows may be admitted and unsent, and yet the slow model does not stop the fast one.
    """
    monkeypatch.setattr(intake, "LOW_WATER", 20)
    rpm = {SLOW: 60, FAST: 600}
    own = "\n".join(f'[limits.model."{model}"]\nrequests_per_minute = {limit}' for model, limit in rpm.items())
    report, world = run(
        tmp_path,
        {"limits": {"models": {model: {"rpm": limit} for model, limit in rpm.items()}}},
        job(f"concurrency = 10\n{own if known else ''}", rows_per_part=50),
        rows=700,
    )

    assert (report.exit_code, report.totals.rows_ok) == (0, 1_400)
    used = shares(world, 2.0, 62.0)
    assert min(used.values()) >= 0.98 - 1 / 60
    lanes = {lane["model"]: lane for lane in world.app.provider.judge.verdict(60.0)["lanes"]}
    if known:
        assert report.totals.refused == 0
        assert all(lanes[model]["max_requests"] <= limit for model, limit in rpm.items())
    assert used[FAST] >= 0.98


class Admissions:
    """How many requests had been sent to a model when each range was admitted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
        self.sent: list[int] = []
        self.world: World | None = None
        self._model = model
        monkeypatch.setattr(intake, "admit", self)

    def __call__(self, plan: RangePlan, run: str, *, shared: bool = False) -> Any:
        assert self.world is not None
        lanes = self.world.app.provider.judge.verdict(60.0)["lanes"]
        self.sent.append(next((lane["requests"] for lane in lanes if lane["model"] == self._model), 0))
        return admit(plan, run, shared=shared)

    def behind(self, rows: int) -> int:
        """How many rows were admitted and not sent, at most, when a range of so many rows was added to them."""
        return max(rows * number - sent for number, sent in enumerate(self.sent[:8]))


@pytest.mark.parametrize(("most", "behind"), [(4 << 30, 300), (1, 20)], ids=["little on the disk", "much on the disk"])
def test_rows_of_a_slow_model_pile_up_on_the_disk_but_not_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, behind: int
) -> None:
    """FIELD 21: with `limits.max_spill` of them the fast model waits for the slow one."""
    monkeypatch.setattr(intake, "LOW_WATER", 20)
    limits = f'concurrency = 5\nmax_spill = {most}\n[limits.model."{SLOW}"]\nrequests_per_minute = 60'
    admissions = Admissions(monkeypatch, SLOW)
    report, _ = run(tmp_path, {}, job(limits, rows_per_part=50), rows=400, admissions=admissions)
    assert (report.exit_code, report.totals.rows_ok, len(admissions.sent)) == (0, 800, 9)
    assert behind - 50 <= admissions.behind(50) <= behind + 50


def test_a_model_added_later_is_admitted_as_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD 21: the model that has all its answers wants no rows, and is no reason to admit more of the other's."""
    monkeypatch.setattr(intake, "LOW_WATER", 20)
    run(tmp_path, {}, job("concurrency = 5", names=(FAST,), rows_per_part=50), rows=400)
    admissions = Admissions(monkeypatch, SLOW)
    limits = f'concurrency = 5\n[limits.model."{SLOW}"]\nrequests_per_minute = 60'
    report, _ = run(tmp_path, {}, job(limits, rows_per_part=50), rows=400, admissions=admissions)
    assert (report.exit_code, report.totals.rows_ok) == (0, 400)
    assert admissions.behind(50) <= 20 + 50


class Told:
    """A provider that says of one model how much of its limit is left, in headers or in refusals."""

    def __init__(self, model: str, status: int, **headers: str) -> None:
        self.model: str | None = model
        self.asked: Counter[str] = Counter()
        self._status = status
        self._headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        model = json.loads(body)["model"]
        self.asked[model] += 1
        message = {"role": "assistant", "content": "Fine."}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
        answer = {"id": "c", "object": "chat.completion", "model": model, "choices": choices, "usage": usage}
        limited = model == self.model
        status = self._status if limited else 200
        if status != 200:
            answer = {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}
        text = json.dumps(answer).encode()
        own = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
        headers = own + (self._headers if limited else [])
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text})


SIX_HOURS = {
    "requests used up": (
        200,
        {
            "x_ratelimit_limit_requests": "200",
            "x_ratelimit_remaining_requests": "0",
            "x_ratelimit_reset_requests": "6h0m0s",
        },
    ),
    "tokens used up": (
        200,
        {
            "x_ratelimit_limit_tokens": "90000",
            "x_ratelimit_remaining_tokens": "0",
            "x_ratelimit_reset_tokens": "6h0m0s",
        },
    ),
    "told to wait": (429, {"retry_after": "21600"}),
}


@pytest.mark.parametrize("kind", SIX_HOURS)
@pytest.mark.parametrize("spill", [4 << 30, 1], ids=["room", "no room"])
def test_a_model_used_up_for_six_hours_lets_the_others_finish_and_stops_with_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, spill: int
) -> None:
    """FIELD 22: exit 6, and nobody sleeps; the run paused for 21,600 s. The same command goes on later."""
    monkeypatch.setattr(intake, "LOW_WATER", 20)
    status, headers = SIX_HOURS[kind]
    told = Told(SLOW, status, **headers)
    text = job(f"concurrency = 5\nmax_spill = {spill}", rows_per_part=50)
    report, world = run(tmp_path, {}, text, rows=200, down=told)

    assert report.exit_code == 6
    assert report.elapsed_s < 60
    assert told.asked[SLOW] <= 5
    admitted = 200 if spill > 1 else 50
    assert admitted <= told.asked[FAST] <= 200
    assert report.totals.rows_failed == 0
    assert re.search(r"Wait until 2026-09-21T\d\d:\d\d:", str(report.fault)), report.fault
    assert SLOW in str(report.fault) or status == 429

    told.model = None
    again = virtual(tmp_path, world, text, ENVIRON)
    assert (again.exit_code, again.table_rows, again.totals.rows_failed) == (0, 400, 0)
    assert told.asked[FAST] == 200


@pytest.mark.parametrize("kind", SIX_HOURS)
def test_the_only_model_used_up_for_six_hours_stops_the_run_at_once(tmp_path: Path, kind: str) -> None:
    """FIELD 22: calls in flight are waited for, nothing new is sent."""
    status, headers = SIX_HOURS[kind]
    told = Told(SLOW, status, **headers)
    report, _ = run(tmp_path, {}, job("concurrency = 5", names=(SLOW,)), rows=200, down=told)
    assert (report.exit_code, report.totals.rows_failed) == (6, 0)
    assert report.elapsed_s < 60
    assert told.asked[SLOW] <= 5
    assert "then run the same command again" in str(report.fault)


def test_a_limit_that_headers_tell_condemns_no_row(tmp_path: Path) -> None:
    """FIELD 22: a row of 20,000 tokens under a limit of 8,000 that only headers told is sent, alone; it failed unsent."""
    told = Told(SLOW, 200, x_ratelimit_limit_tokens="8000", x_ratelimit_remaining_tokens="7990")
    world = World(PatientClock(), {})
    world.down = told
    texts = ["short"] * 6 + ["long " * 16_000] + ["short"] * 6
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    report = virtual(tmp_path, world, job("concurrency = 2", names=(SLOW,)), ENVIRON)
    assert (report.exit_code, report.totals.rows_ok) == (0, 13)
