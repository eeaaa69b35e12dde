"""Reads arithmetic asked for in words: which operations on which numbers. Owns the reading of text; calls no tool.

It reads English, Chinese and symbols, and it reads simply: an operation takes the numbers on both sides of it where it
stands between two, else the next ones in the order of the text. It computes nothing: that is what tools are for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

# Longest and most particular first: where two begin at one place, the earlier entry wins.
_WORDS = {
    "factorial": r"\bfactorials?\b|阶乘",
    "sqrt": r"\bsquare[\s-]*roots?\b|\bsqrt\b|开?平方根|开平方|开根号|根号|开方|√",
    "power": r"\braised? to\b|\bpower\b|\bpow\b|\bexponent\w*|次方|次幂|乘方|乘幂|求幂|\b幂",
    "multiply": r"\bmultipl\w+|\btimes\b|\bproducts?\b|乘(?!方|幂|客|坐)[以上法积]?|[的之]积",
    "divide": r"\bdivid\w+|\bdivision\b|\bquotients?\b|(?<![删清移解去消])除(?!了|非|夕|此)[以法]?|[的之]商",
    "subtract": r"\bsubtract\w*|\bminus\b|\bdifferences?\b|减(?!少|肥)[去法]?|[的之]差",
    "add": r"\badd(?:s|ed|ing|ition)?\b|\bplus\b|\bsums?\b|(?<![增参更])加(?![拿班油入])[上法]?|[的之]和|求和|总和",
}
_MENTION = re.compile("|".join(f"(?P<{name}>{words})" for name, words in _WORDS.items()), re.IGNORECASE)

_BETWEEN = {
    "power": r"\*\*|\^|(?:raised )?to the power(?: of)?|raised to",
    "multiply": r"[*×✕·]|times|multiplied by|乘[以上]?",
    "divide": r"[/÷]|divided by|over|除以",
    "subtract": r"[-−–]|minus|减去?",
    "add": r"\+|plus|加上?",
}
_INFIX = re.compile("|".join(f"(?P<{name}>{words})" for name, words in _BETWEEN.items()), re.IGNORECASE)
_RANK = {"add": 1, "subtract": 1, "multiply": 2, "divide": 2, "power": 3}
_ARITY = {"factorial": 1, "sqrt": 1}

_SYMBOL_IN_WORDS = re.compile(r"\b[a-z]\s*(\*\*|\^|[*×+\-−/÷])\s*[a-z]\b", re.IGNORECASE)
_FACTORIAL_SIGN = re.compile(r"\s?[!！](?!=)")
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?(?!\d|(?:st|nd|rd|th)\b)"
)
_NEGATIVE = re.compile(r"(?:负|\bnegative)\s*$", re.IGNORECASE)
_LIST = re.compile(r"(?:\s|,|，|、|和|与|及|以|\band\b)+")
_CHAIN = re.compile(r"\bthen\b|\bresult\b|\bthat\b|\bit\b|再|然后|结果|接着", re.IGNORECASE)
_TIMES_X = re.compile(r"(?<=\d)\s*[xX]\s*(?=-?\d)")
_LONGEST = 20_000  # characters; a sum that takes longer to state is no sum
_MOST_NUMBERS = 200
_LOOK_BACK = 16
_WIDE = str.maketrans("０１２３４５６７８９＋－＊／．（）", "0123456789+-*/.()")


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text: its place, and itself as JSON text, exact and never a float."""

    start: int
    end: int
    json: str


@dataclass(frozen=True, slots=True)
class Step:
    """An operation on numbers; a chained one takes the result of the step before as its first operand."""

    operation: str
    numbers: tuple[str, ...]
    chained: bool = False


@dataclass(frozen=True, slots=True)
class _Mention:
    start: int
    operation: str
    # Index of the first number it is bound to by its place; -1 when it takes what comes next.
    bound: int = -1


def operation_in(text: str) -> str | None:
    """The first operation a text names in words or as a formula such as `a * b`."""
    named = _MENTION.search(text)
    formula = _SYMBOL_IN_WORDS.search(text)
    if formula is not None and (named is None or formula.start() < named.start()):
        sign = _INFIX.fullmatch(formula[1])
        return None if sign is None else sign.lastgroup
    if named is not None:
        return named.lastgroup
    alone = text.strip().strip("'\"“”()（）")
    sign = _INFIX.fullmatch(alone)
    return sign.lastgroup if sign is not None else {"!": "factorial", "√": "sqrt"}.get(alone)


def numbers_in(text: str) -> list[Number]:
    """The numbers of a text, in order, with their signs."""
    text = _plain(text)
    numbers: list[Number] = []
    for match in _NUMBER.finditer(text):
        start = match.start()
        before = text[max(0, start - _LOOK_BACK) : start]
        sign = ""
        if before[-1:] in ("-", "−", "–") and before:
            previous = before[:-1].rstrip()[-1:]
            if before[-2:-1].isascii() and before[-2:-1].isalpha():
                continue  # part of a name, as in glm-4
            if not (previous.isdigit() or previous == ")"):
                sign, start = "-", start - 1
        elif _NEGATIVE.search(before):
            sign = "-"
        numbers.append(Number(start, match.end(), _json_number(sign + match[0])))
    return numbers


def read(text: str, arities: dict[str, int]) -> list[Step]:
    """The operations a text asks for, of those in `arities`, with their numbers.

    Args:
        text: what the user wrote.
        arities: operands by operation, for the operations that can be done; 0 means "as many as are listed".
    """
    plain = _plain(text)
    numbers = numbers_in(plain)[:_MOST_NUMBERS]
    mentions = _mentions(plain, numbers)[:_MOST_NUMBERS]
    steps = _assigned(plain, mentions, numbers, arities)
    if not any(step.operation in arities for step in steps):
        # Words that name no operation on offer may have taken the numbers; without them it may read well.
        steps = _assigned(plain, [mention for mention in mentions if mention.operation in arities], numbers, arities)
    usable: list[Step] = []
    for step in steps:
        if step.operation in arities and step not in usable and (usable or not step.chained):
            usable.append(step)
    return usable


def _plain(text: str) -> str:
    return _TIMES_X.sub("×", text[:_LONGEST].translate(_WIDE))


def _json_number(literal: str) -> str:
    value = Decimal(literal.replace(",", ""))
    if value == value.to_integral_value():
        return f"{value:f}".partition(".")[0] if value else "0"
    return f"{value:f}".rstrip("0")


def _mentions(text: str, numbers: list[Number]) -> list[_Mention]:
    infixes: list[_Mention] = []
    taken: list[tuple[int, int]] = []
    for position in range(len(numbers) - 1):
        start, end = numbers[position].end, numbers[position + 1].start
        infix = _INFIX.fullmatch(text[start:end].strip(" ()")) if end - start <= 40 else None
        if infix is not None and infix.lastgroup is not None:
            infixes.append(_Mention(start, infix.lastgroup, position))
            taken.append((start, end))
    words = [
        _Mention(match.start(), match.lastgroup)
        for match in _MENTION.finditer(text)
        if match.lastgroup is not None and not any(start <= match.start() < end for start, end in taken)
    ]
    signs = [
        _Mention(number.end, "factorial", position)
        for position, number in enumerate(numbers)
        if _FACTORIAL_SIGN.match(text, number.end)
    ]
    if infixes or words:
        # An exclamation mark at the end of a request for something else is only emphasis.
        signs = [sign for sign in signs if text[sign.start :].strip(" !！")]
    return sorted(infixes + words + signs, key=lambda mention: mention.start)


def _assigned(text: str, mentions: list[_Mention], numbers: list[Number], arities: dict[str, int]) -> list[Step]:
    steps: list[Step] = []
    chain = _may_chain(text, mentions)
    free = 0
    for mention in mentions:
        arity = arities.get(mention.operation, _ARITY.get(mention.operation, 2))
        first = free if mention.bound < 0 else mention.bound
        if first < free and not (first == free - 1 and chain):
            continue
        left = numbers[max(first, free) :]
        if arity == 0:
            left = _listed(left)
            if left:
                steps.append(Step(mention.operation, tuple(number.json for number in left)))
                free = len(numbers)
        elif first >= free and len(left) >= arity:
            steps.append(Step(mention.operation, tuple(number.json for number in left[:arity])))
            free = first + arity
            while (
                arity == 1
                and free < len(numbers)
                and _LIST.fullmatch(text[numbers[free - 1].end : numbers[free].start])
            ):
                if any(numbers[free - 1].end <= other.start < numbers[free].start for other in mentions):
                    break
                steps.append(Step(mention.operation, (numbers[free].json,)))
                free += 1
        elif steps and arity > 1 and len(left) >= arity - 1 and chain:
            steps.append(Step(mention.operation, tuple(number.json for number in left[: arity - 1]), chained=True))
            free = max(first, free) + arity - 1
    return steps


def _listed(numbers: list[Number]) -> list[Number]:
    if len(numbers) < 2:
        return numbers
    end = 1
    while end < len(numbers) and numbers[end].start - numbers[end - 1].end <= 8:
        end += 1
    return numbers[:end]


def _may_chain(text: str, mentions: list[_Mention]) -> bool:
    """Whether later operations go on with earlier results: said in words, or a formula that reads left to right."""
    if _CHAIN.search(text):
        return True
    ranks = [_RANK.get(mention.operation, 0) if mention.bound >= 0 else 0 for mention in mentions]
    return all(ranks) and ranks == sorted(ranks, reverse=True)
