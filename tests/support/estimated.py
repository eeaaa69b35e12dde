"""Jobs of all kinds with what the simulator's model bills for them, row by row, without a server.

The texts, their lengths, tools and labels are drawn by a seed; the answers and the tokens are the simulator's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from batch.plan.history import RowCalls
from batch.simulator.books import tokens as simulated
from batch.simulator.models.completion import Ask
from batch.simulator.models.speaker import complete
from batch.tokens import measure
from batch.tokens.calibration import Shape
from batch.tokens.measure import Measure
from batch.tokens.model import plain_text

_ENGLISH = (
    "I ordered a lamp on {n} November and it has not come. Where is it?",
    "Please explain in a few words why the sky is blue, and why it is red in the evening.",
    "My invoice {n} shows a charge of {n}.50 that I do not know.",
    "How do I reset my password?",
    "Write a friendly reply to a customer who waits for a refund since {n} days.",
)
_CHINESE = (
    "我的订单 {n} 还没有发货，请问什么时候能寄出？",
    "为什么这个月的账单比上个月多了 {n} 元？",
    "请用一句话介绍北京。",
    "耳机左边没有声音，申请换货，订单号 {n}。",
)
_SUMS = ("What is {n} plus {m}?", "Add {n} and {m}, please.", "{n} 加 {m} 等于多少？", "Tell me about the number {n}.")
_TOOL: dict[str, Any] = {
    "name": "add",
    "description": "Adds two numbers.",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "number", "description": "The first."}, "b": {"type": "number"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
}
_LABELS = "Answer with exactly one of these labels and nothing else:\n- billing\n- shipping\n- returns\n- other"


class BilledRow(msgspec.Struct, frozen=True):
    """One row: what its first request is made of, and what all its calls were billed."""

    first: Measure
    calls: RowCalls


class BilledJob(msgspec.Struct, frozen=True):
    """A job, answered."""

    shape: Shape
    rows: list[BilledRow]


def job(seed: int, rows: int) -> BilledJob:
    """Make up a job by a seed, and have the simulator's model answer all its rows."""
    chance = random.Random(seed)
    shape: Shape = chance.choice(("text", "labels", "tools"))
    tools = [{"type": "function", "function": _TOOL}] if shape == "tools" else []
    system = {"labels": _LABELS, "tools": "Use the tools.", "text": chance.choice(("", "Be brief. " * 20))}[shape]
    stock = _SUMS if shape == "tools" else chance.choice((_ENGLISH, _CHINESE, _ENGLISH + _CHINESE))
    carried = (plain_text(measure.of_text(msgspec.json.encode(tools).decode())), 0.0) if tools else (0.0, 0.0)
    longest = chance.choice((0.3, 1.0, 1.6))
    most = chance.choice((None, 16, 40))
    return BilledJob(shape, [_row(chance, system, stock, (tools, carried), longest, most) for _ in range(rows)])


def _row(
    chance: random.Random,
    system: str,
    stock: Sequence[str],
    tools: tuple[list[Any], tuple[float, float]],
    longest: float,
    most: int | None,
) -> BilledRow:
    sentences = 1 if tools[0] else max(1, round(math.exp(chance.gauss(0, longest))))
    told = [
        text.format(n=chance.randrange(1, 500), m=chance.randrange(1, 99))
        for text in chance.choices(stock, k=min(sentences, 40))
    ]
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": " ".join(told)})
    first = measure.of_request(messages, tools[1])
    calls = RowCalls("m")
    for turn in range(4):
        prompt = simulated.of_prompt(messages, tools[0] or None)
        answer = complete(_ask(messages, [tool["function"] for tool in tools[0]], prompt, most))
        calls.first = prompt if calls.first is None else calls.first
        calls.prompt += prompt
        calls.completion += answer.tokens
        calls.calls += 1
        if not answer.calls:
            break
        asked = [
            {"id": f"c{turn}{place}", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for place, call in enumerate(answer.calls)
        ]
        messages.append({"role": "assistant", "content": None, "tool_calls": asked})
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": str(chance.randrange(900))} for call in asked
        ]
    return BilledRow(first, calls)


def _ask(messages: list[dict[str, Any]], tools: list[dict[str, Any]], prompt: int, most: int | None) -> Ask:
    return Ask(
        model="m",
        messages=messages,
        tools=tuple(tools),
        forced="",
        parallel=True,
        stop=(),
        max_tokens=most,
        response_format=None,
        choices=1,
        prompt_tokens=prompt,
    )
