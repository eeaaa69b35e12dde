"""The simulator's own books."""

from __future__ import annotations

import json
import socket
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from batch.simulator.books import prices

if TYPE_CHECKING:
    from tests.simulator.conftest import Sim, Start

PROMISED = {
    "id", "route", "key_id", "model", "client_call_id", "status", "billed", "prompt_tokens", "completion_tokens",
    "total_tokens", "cost", "currency", "delivered", "at",
}  # fmt: skip


def test_there_is_one_record_for_every_request_but_none_for_looking(sim: Sim) -> None:
    """Polls, refusals, bad routes and the catalogue are booked; the pages under /_sim are not."""
    sim.glm()
    sim.poll(sim.submit().json()["id"])
    sim.openai(temperature=7)
    sim.post("/api/paas/v4/nothing", {})
    sim.http.get("/v1/models")
    sim.http.get("/elsewhere")
    sim.judge()
    books = sim.books()
    assert [(record["route"], record["status"]) for record in books] == [
        ("chat", 200), ("submit", 200), ("poll", 200), ("chat", 400), ("unknown", 200), ("models", 401),
        ("unknown", 404),
    ]  # fmt: skip
    assert all(set(record) >= PROMISED for record in books)
    assert len({record["id"] for record in books}) == len(books)
    assert all(record["delivered"] for record in books)
    assert [record["billed"] for record in books] == [True, True, False, False, False, False, False]


def test_the_bill_is_what_the_answers_said(sim: Sim) -> None:
    """Over all answers, tokens equal the usage sent, and cost is exact."""
    usages = [sim.glm(f"row {number}").json()["usage"] for number in range(20)]
    books = sim.books()
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert sum(record[name] for record in books) == sum(usage[name] for usage in usages)
    total = sum(usage["total_tokens"] for usage in usages)
    assert sum(Decimal(record["cost"]) for record in books) == Decimal(total) * 100 / 1_000_000
    assert {record["currency"] for record in books} == {"CNY"}


@pytest.mark.parametrize(
    ("model", "currency", "cost"),
    [
        ("glm-4", "CNY", "300"), ("glm-3-turbo", "CNY", "3"), ("GLM-4-Plus", "CNY", "15"), ("glm-4-air", "CNY", "1.5"),
        ("glm-4-air-250414", "CNY", "1.5"), ("glm-4-airx", "CNY", "30"), ("glm-4-flashx-250414", "CNY", "0.3"),
        ("glm-4-flash-250414", "CNY", "0"), ("GLM-4V-Plus-0111", "CNY", "12"), ("gpt-5-mini", "USD", "4.25"),
        ("gpt-5-mini-2025-08-07", "USD", "4.25"), ("glm-4.7", "CNY", "36"), ("gpt-5.5", "USD", "100"),
    ],
)  # fmt: skip
def test_a_million_in_and_two_million_out_cost_what_the_list_says(model: str, currency: str, cost: str) -> None:
    """Names are found in any case and with their date."""
    price = prices.find(model)
    assert price is not None
    assert (price.currency, prices.cost(price, 1_000_000, 2_000_000)) == (currency, cost)


def test_costs_are_exact_to_the_last_digit() -> None:
    """One cached token of gpt-5-mini costs 25 billionths of a dollar, and huge sums lose nothing."""
    mini = prices.find("gpt-5-mini")
    assert mini is not None
    assert prices.cost(mini, 1, 0, 1) == "0.000000025"
    assert prices.cost(mini, 10**18 + 1, 0) == "250000000000.00000025"


@pytest.mark.parametrize(
    ("prompt", "completion", "cost"),
    [(31_999, 199, "0.06559"), (31_999, 200, "0.098797"), (32_000, 0, "0.128"), (40_000, 1_000, "0.176")],
)
def test_a_whole_call_has_the_price_of_its_band(prompt: int, completion: int, cost: str) -> None:
    """Both ends of each band of GLM-4.7."""
    price = prices.find("glm-4.7")
    assert price is not None
    assert prices.cost(price, prompt, completion) == cost


@pytest.mark.parametrize(
    ("asked", "served", "share"),
    [("flex", "flex", "0.5"), ("priority", "priority", "1.8"), ("fast", "priority", "1.8"), ("auto", "default", "1"),
     ("scale", "default", "1"), (None, None, "1")],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_a_tier_is_answered_as_it_is_served_and_priced(
    asked: str | None, served: str | None, share: str, stream: bool, sim: Sim
) -> None:
    """The answer names the tier, and the books have its price; one that the model has not is served as usual."""
    wanted = {} if asked is None else {"service_tier": asked}
    answer = sim.openai(**wanted, **({"stream": True} if stream else {}))
    told = json.loads(answer.text.split("data: ")[1]) if stream else answer.json()
    assert told.get("service_tier") == served
    (record,) = sim.books()
    usual = record["prompt_tokens"] * Decimal("0.25") + record["completion_tokens"] * Decimal(2)
    assert (Decimal(record["cost"]), record["service_tier"]) == (usual * Decimal(share) / 1_000_000, served)


def test_a_word_that_is_no_tier_is_refused(sim: Sim) -> None:
    assert sim.openai(service_tier="turbo").status_code == 400


def test_an_unpriced_model_costs_null(sim: Sim) -> None:
    """Unknown is not zero; but a refused request costs nothing, whatever the model."""
    sim.glm(model="made-up")
    sim.glm(model="made-up", temperature=9)
    served, refused = sim.books()
    assert (served["billed"], served["cost"], served["currency"]) == (True, None, None)
    assert (refused["billed"], refused["cost"], refused["currency"]) == (False, "0", None)


def test_a_cached_prefix_is_billed_at_its_own_price(start: Start) -> None:
    """The books agree with the usage that was sent."""
    sim = start("cached_prefix = true")
    messages = [{"role": "system", "content": "guide " * 100}, {"role": "user", "content": "one"}]
    sim.openai(messages)
    usage = sim.openai(messages).json()["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert cached > 0
    expected = (usage["prompt_tokens"] - cached) * Decimal("0.25") + cached * Decimal("0.025")
    expected += usage["completion_tokens"] * 2
    assert Decimal(sim.books()[1]["cost"]) == expected / 1_000_000


def test_a_request_that_never_became_whole_is_booked_and_not_billed(sim: Sim) -> None:
    """A client that leaves in the middle of its body has bought nothing."""
    with socket.create_connection(("127.0.0.1", sim.port), timeout=30) as connection:
        head = b"POST /api/paas/v4/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b\r\n"
        connection.sendall(head + b"Content-Length: 1000\r\n\r\n{")
    (record,) = sim.until_books(1)
    assert (record["route"], record["status"], record["billed"], record["delivered"]) == ("chat", 499, False, False)


def test_a_large_request_and_a_client_that_leaves_are_seen(start: Start) -> None:
    """A body of several hundred kilobytes is read whole, and its client is still watched while it is worked on."""
    sim = start("[limits]\nin_flight = 1\n[latency]\nchat_ms = [2500, 2500]")
    body = json.dumps(sim.body("word " * 100_000, "glm-4", {})).encode()
    head = "POST /api/paas/v4/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer reader.secret\r\n"
    with socket.create_connection(("127.0.0.1", sim.port), timeout=30) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        while not sim.judge()["requests"]:
            pass
    while sim.glm().status_code == 429:
        pass
    large = next(record for record in sim.until_books(2) if record["prompt_tokens"] > 100_000)
    assert (large["billed"], large["delivered"]) == (True, False)


def test_a_reset_empties_books_and_judge(sim: Sim) -> None:
    """Tasks live on; what they cost belonged to the old books."""
    task_id = sim.submit().json()["id"]
    sim.reset()
    assert sim.books() == []
    assert sim.judge()["requests"] == 0
    assert sim.poll(task_id).json()["task_status"] == "SUCCESS"
    assert [record["route"] for record in sim.books()] == ["poll"]


def test_the_books_come_in_lines_too(sim: Sim) -> None:
    """More records than one chunk holds, in both forms the same."""
    for number in range(1100):
        sim.glm(f"{number}")
    books = sim.books()
    assert len(books) == 1100
    lines = sim.http.get("/_sim/books", params={"format": "jsonl"}).text.splitlines()
    assert [json.loads(line) for line in lines] == books
