"""Whole runs through outages, in time moved by hand: no row fails, few requests are wasted, and all is quickly as before."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from batch.core.clock import describe
from batch.limits.outage import OVERLOADED_IN_A_ROW
from tests.support.longer import longer
from tests.support.virtual import Down, PatientClock, World, answering, resetting, virtual
from tests.system.runs.conftest import ENVIRON, OPENAI_KEY

ROWS, SLOTS = 2_100, 50
SLOW = {"latency": {"chat_ms": [400, 600]}}
GLM_429 = b'{"error":{"code":"1302","message":"Rate limit reached for requests"}}'
ODD_WAITS = [b"0", b"-3", b"soon", b"1.5", b"Wed, 21 Oct 2015 07:28:00 GMT", b"", b"1e3", b"7"]


def job(provider: str = "glm", limits: str = f"concurrency = {SLOTS}", lane: str = "sync") -> Callable[[int], str]:
    path, model = ("api/paas/v4", "glm-4") if provider == "glm" else ("v1", "gpt-5-mini")
    return lambda port: "\n".join(
        [
            'name = "outage"',
            "[input]",
            'path = "rows.jsonl"',
            "[prompt]",
            'user = "{{ text }}"',
            "[model]",
            f'provider = "{provider}"',
            f'name = "{model}"',
            f'lane = "{lane}"',
            f'base_url = "http://127.0.0.1:{port}/{path}"',
            "[limits]",
            limits,
            "[output]",
            'path = "out"',
        ]
    )


def rows(folder: Path, count: int) -> None:
    lines = (json.dumps({"text": f"Tell me about the number {n}."}) for n in range(count))
    (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")


def odd_waits() -> Down:
    said = iter(ODD_WAITS * 1_000)

    async def app(scope: object, receive: object, send: object) -> None:
        await answering(429, GLM_429, (b"retry-after", next(said)))(scope, receive, send)

    return app


OUTAGES = {
    "refused for their number": (60.0, answering(429, GLM_429)),
    "odd waiting times": (60.0, odd_waits()),
    "overloaded": (600.0, answering(429, GLM_429.replace(b"1302", b"1305"))),
    "bad gateway": (600.0, answering(502, b"<html>502 Bad Gateway</html>", (b"content-type", b"text/html"))),
    "internal errors": (600.0, answering(500, b'{"error":{"code":"500","message":"internal"}}')),
    "resets": (600.0, resetting),
}
ALIKE = ("bad gateway", "internal errors")
"""What is done about them is what is done about connections that are reset."""


@pytest.mark.parametrize(
    ("kind", "lane"),
    [
        *((kind, "sync") for kind in OUTAGES if kind not in ALIKE),
        ("resets", "stream"),
        *longer((kind, "sync") for kind in ALIKE),
    ],
)
def test_no_outage_fails_a_row_and_its_end_is_noticed(tmp_path: Path, kind: str, lane: str) -> None:
    """0 rows failed; requests ≤ slots + retry budget; ≥ 95 % of the rate within 10 s of the end."""
    length_s, down = OUTAGES[kind]
    clock = PatientClock()
    world = World(clock, SLOW)
    rows(tmp_path, ROWS)
    times: list[float] = []

    async def script() -> None:
        await clock.sleep(6)
        times.append(clock.monotonic())
        world.down = down
        await clock.sleep(length_s)
        world.down = None
        times.append(clock.monotonic())

    report = virtual(tmp_path, world, job(lane=lane), ENVIRON, script)
    end = times[1]
    print(kind, world.refused(), report.totals, describe(report.elapsed_s))
    assert report.exit_code == 0
    assert (report.totals.rows_ok, report.totals.rows_failed) == (ROWS, 0)
    # The retries in hand, those that the answers still under way gave back, and one probe every five seconds.
    budget = SLOTS + SLOTS / 2 + length_s / 5.0 + 8
    if kind == "overloaded":
        budget += OVERLOADED_IN_A_ROW  # a busy model answers now and then: it takes more to tell that it is away
    assert world.refused() <= SLOTS + budget
    assert world.served_between(end + 10, end + 14) / 4 >= 0.95 * SLOTS / 0.5
    query = f"select count(*), count(distinct row_id), sum(cost) from '{tmp_path}/out/results/*.parquet'"
    count, distinct, cost = duckdb.execute(query).fetchall()[0]
    assert (count, distinct) == (ROWS, ROWS)
    books = world.app.provider.books.records(clock.monotonic())
    assert cost == sum((Decimal(entry["cost"]) for entry in books), Decimal(0))


def test_a_provider_that_stays_away_stops_the_run_after_the_park_time(tmp_path: Path) -> None:
    """15 minutes without one answer: exit 6, told why, nothing lost; the next command goes on."""
    clock = PatientClock()
    world = World(clock, SLOW)
    world.down = answering(503, b'{"error":{"code":"1234","message":"network error"}}')
    rows(tmp_path, 200)
    report = virtual(tmp_path, world, job(), ENVIRON)

    assert report.exit_code == 6
    assert "nothing was answered for 15 min" in str(report.fault)
    assert "network error" in str(report.fault)
    assert 900 <= report.elapsed_s <= 1_000
    assert report.totals.rows_failed == 0

    world.down = None
    again = virtual(tmp_path, world, job(), ENVIRON)
    assert (again.exit_code, again.table_rows, again.totals.rows_failed) == (0, 200, 0)


def test_a_service_that_tells_its_limits_is_obeyed_without_being_told_of_them(tmp_path: Path) -> None:
    """OpenAI's headers: no requests_per_minute in the job, 300 a minute on their side; hardly one is refused."""
    clock = PatientClock()
    world = World(clock, {"limits": {"rpm": 300, "tpm": 1_000_000, "burst_s": 1.0}, **SLOW})
    rows(tmp_path, 600)
    report = virtual(tmp_path, world, job("openai", "concurrency = 4"), {**ENVIRON, "OPENAI_API_KEY": OPENAI_KEY})

    assert (report.exit_code, report.totals.rows_ok) == (0, 600)
    verdict = world.app.provider.judge.verdict(60.0)
    print(verdict, report.elapsed_s)
    assert sum(verdict["refused"].values()) <= 6
    assert report.elapsed_s <= 600 / 300 * 60 * 1.04


@pytest.mark.parametrize(
    ("bad", "rows_"), [((0, 40), 200), ((190, 200), 200), ((0, 6), 6)], ids=["first", "last", "all"]
)
def test_rows_that_break_the_provider_fail_and_stop_nobody(tmp_path: Path, bad: tuple[int, int], rows_: int) -> None:
    """HTTP 500 for these rows whenever they are asked: one failed row each, wherever they stand and however many."""
    clock = PatientClock()
    texts = [f"number {n}." for n in range(*bad)]
    world = World(clock, {"fault": [{"behaviour": 28, "status": 500, "rows": texts}], **SLOW})
    rows(tmp_path, rows_)
    report = virtual(tmp_path, world, job(limits="concurrency = 32\nmax_attempts = 3"), ENVIRON)

    assert (report.exit_code, report.state) == (1, "finished")
    assert report.totals.rows_failed == len(texts)
    assert report.totals.errors == {"server/1200": len(texts)}
    assert report.elapsed_s < 600
