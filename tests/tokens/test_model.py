"""`batch.tokens.model`: tokens are estimated within a range that real tokenizers keep to, and better with each answer."""

from __future__ import annotations

import random
from typing import Any

import pytest

from batch.simulator.books import tokens as simulated
from batch.tokens import measure
from batch.tokens.measure import Measure
from batch.tokens.model import Learned, Range, TokenModel, around, plain
from tests.tokens.counted import OF_SERVICES, TOKENIZERS, Counted, quantile

BEFORE = TokenModel()


def taught(pairs: list[tuple[Measure, int]]) -> Learned:
    """What answers taught."""
    learned = Learned()
    for size, tokens in pairs:
        learned.learn(size, tokens)
    return learned


@pytest.mark.parametrize("tokenizer", OF_SERVICES)
def test_before_anything_is_learned_the_range_holds_what_a_tokenizer_counts(tokenizer: str) -> None:
    """Chinese, English and others, code, JSON, tables, lists of labels and tool schemas."""
    inside = [
        found.least <= tokens <= found.most
        for found, tokens in ((BEFORE.of(size), tokens) for size, tokens in Counted(tokenizer).pairs())
    ]
    assert sum(inside) >= 0.95 * len(inside)


def test_a_tokenizer_made_for_english_is_outside_for_other_scripts_alone() -> None:
    """What `check` says of such a model's Chinese is wrong before the first answers, and known to be so."""
    counted = Counted("smollm2")
    pairs = counted.pairs(but=("chinese", "other"))
    assert sum(BEFORE.of(size).least <= tokens <= BEFORE.of(size).most for size, tokens in pairs) >= 0.95 * len(pairs)
    chinese = counted.pairs(but=[kind for kind in counted.kinds if kind != "chinese"])
    assert sum(BEFORE.of(size).most < tokens for size, tokens in chinese) > len(chinese) / 2


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_answers_to_half_of_the_texts_teach_the_others(tokenizer: str) -> None:
    """Sixty answers of all kinds mixed; scripts of which there is one text alone are left out."""
    counted = Counted(tokenizer)
    model = TokenModel(taught(counted.pairs(0, 2, but=["other"])))
    others = counted.pairs(1, 2, but=["other"])
    errors = [abs(model.likely(size) - tokens) / tokens for size, tokens in others]
    assert quantile(errors, 0.95) <= 0.15
    assert quantile(errors, 0.5) <= 0.05
    ranges = [(model.of(size), tokens) for size, tokens in others]
    assert sum(found.least <= tokens <= found.most for found, tokens in ranges) >= 0.9 * len(ranges)
    together = model.of(
        measure.total(size for size, _ in others), squares=sum(model.likely(size) ** 2 for size, _ in others)
    )
    assert together.least <= sum(tokens for _, tokens in others) <= together.most
    assert together.width <= 0.15 < BEFORE.of(measure.total(size for size, _ in others)).width


WORDS = [
    "order",
    "parcel",
    "refund",
    "invoice",
    "account",
    "the",
    "a",
    "my",
    "is",
    "not",
    "why",
    "when",
    "please",
    "card",
    "订单",
    "退款",
    "为什么",
    "请",
    "帮我",
    "17",
    "2026",
    "3.50",
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"find_{name}",
            "description": f"Finds the {name} of a customer, by number or by day.",
            "parameters": {
                "type": "object",
                "properties": {
                    "number": {"type": "integer"},
                    "day": {"type": "string", "description": "As 2026-11-29."},
                },
                "required": ["number"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("order", "invoice", "parcel")
]
LABELS = "Answer with exactly one of these labels and nothing else:\n- billing\n- lost_or_stolen_card\n- other"


@pytest.mark.parametrize(("tools", "system"), [([], ""), (TOOLS, "Use the tools."), ([], LABELS)])
def test_after_200_answers_of_the_simulator_19_of_20_rows_are_told_within_15_percent(
    tools: list[object], system: str
) -> None:
    """Tools and labels included; a fifth of the rows follows a call of a tool."""
    chance = random.Random(7)
    carried = (plain_of(tools), 0.0) if tools else (0.0, 0.0)
    pairs = []
    for number in range(600):
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        text = " ".join(chance.choices(WORDS, k=chance.randrange(3, 60)))
        messages.append({"role": "user", "content": f"{text}?"})
        if tools and number % 5 == 0:
            call = {"id": f"call_{number}", "type": "function", "function": {"name": "find_order", "arguments": "{}"}}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            messages.append(
                {"role": "tool", "tool_call_id": f"call_{number}", "content": f'{{"state": "{text[:40]}"}}'}
            )
        pairs.append((measure.of_request(messages, carried), simulated.of_prompt(messages, tools or None)))
    model = TokenModel(taught(pairs[:200]))
    assert quantile([abs(model.likely(size) - tokens) / tokens for size, tokens in pairs[200:]], 0.95) <= 0.15


def plain_of(tools: list[object]) -> float:
    """Tool schemas as they would be taken as text."""
    import msgspec

    from batch.tokens.model import plain_text

    return plain_text(measure.of_text(msgspec.json.encode(tools).decode()))


def test_what_two_processes_learned_adds_up_to_what_one_would_have() -> None:
    """Sums of products know no order."""
    pairs = Counted("qwen-3.6").pairs()
    one, two, both = taught(pairs[::2]), taught(pairs[1::2]), taught(pairs)
    one.add(two)
    assert one.answers == both.answers == len(pairs)
    size = pairs[0][0]
    assert TokenModel(one).likely(size) == pytest.approx(TokenModel(both).likely(size), rel=1e-9)


def test_an_old_lesson_fades_when_the_tokenizer_changes() -> None:
    """10,000 answers of one tokenizer, faded to 500, and 500 of another: what the new ones say counts."""
    old, new = Counted("cl100k_base").pairs(), Counted("smollm2").pairs()
    learned = Learned()
    for _ in range(40):
        learned.add(taught(old))
    learned.fade(500)
    assert learned.answers == 500
    for _ in range(40):
        learned.add(taught(new))
        learned.fade(500)
    model = TokenModel(learned)
    assert quantile([abs(model.likely(size) - tokens) / tokens for size, tokens in new], 0.9) < 0.15


def test_pictures_are_learned_like_anything_else() -> None:
    """A picture is some hundred tokens before, and what the service counts after."""
    part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}]
    size = measure.of_request(messages)
    before = BEFORE.of(size)
    assert before.least < 300 < before.likely < before.most
    model = TokenModel(taught([(size, 1_047 + 12)] * 20))
    assert model.likely(size) == pytest.approx(1_059, rel=0.02)


def test_nothing_to_send_is_no_tokens_and_ranges_add_and_stretch() -> None:
    """The arithmetic of ranges."""
    assert BEFORE.of(measure.NOTHING) == Range(0, 0, 0)
    assert around(10.0, 20.0) == Range(10.0, 0.0, 50.0)
    assert Range(1, 0, 2) + Range(10, 9, 12) == Range(11, 9, 14)
    assert Range(1, 0, 2).scaled(3) == Range(3, 0, 6)
    assert plain(measure.of_request([{"role": "user", "content": "one two"}])) == pytest.approx(3 + 4 + 2 + 6 * 0.03)


@pytest.mark.parametrize(
    "wrong",
    [
        Learned(products=[1.0]),
        Learned(tokens=[1.0]),
        Learned(squares=float("nan")),
        Learned(answers=float("inf")),
        Learned(answers=-1.0),
    ],
)
def test_sums_that_cannot_be_are_known(wrong: Learned) -> None:
    """Of a file that another version, or nobody sane, wrote."""
    assert Learned().sound
    assert not wrong.sound
