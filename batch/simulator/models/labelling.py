"""The built-in model's answers where a request limits them: to a list of labels, or to a JSON schema.

Owns finding the frame in the request and choosing inside it by keywords: the label that shares most words with the
user's text, the first of equals, and where none shares any the one that the messages' hash points at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from typing import Any

import msgspec

from batch.simulator.books.tokens import text_of
from batch.simulator.chance import mixed
from batch.simulator.models import arithmetic
from batch.simulator.models.completion import Ask

_INTRODUCED = re.compile(
    r"(?:\b(?:exactly |only )?one of(?: the| these)?(?: following)?"
    r"(?: labels?| categor(?:y|ies)| classes| intents?| values?| options?)?(?:[^:：\n.?!]{0,40}(?=[:：]))?"
    r"|\b(?:labels?|categor(?:y|ies)|class(?:es)?|intents?|options|choices|values|list)\b[^:：\n.?!]{0,40}(?=[:：])"
    r"|(?:标签|类别|分类|选项|意图|之一|以下)[^:：\n。？！]{0,16}(?=[:：]))"
    r"\s*[:：]?[ \t]*",
    re.IGNORECASE,
)
_LINES = re.compile(r"\n(?:[ \t]*[^\s:：][^\n:：]{0,79}(?:\n|$)){2,}")
_ANNOUNCED = re.compile(r"label|categor|class|choos|one of|option|intent|enum|标签|类别|选|意图", re.IGNORECASE)
_BULLETS = re.compile(r"(?:[ \t]*(?:[-*•]|\d+[.)、])[ \t]+[^\n]+(?:\n|$)){2,}")
_BULLET = re.compile(r"^[ \t]*(?:[-*•]|\d+[.)、])[ \t]+([^\n]+)$", re.MULTILINE)
_SEPARATOR = re.compile(r"\s*(?:[,，、;；|/]|\bor\b|\band\b|或者?)\s*(?:(?:\bor\b|\band\b|或者?)\s*)?")
_WORDS = re.compile(r"[a-z]+|[0-9]+|[\u3040-\u30ff\u4e00-\u9fff]")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_CORRECTION = re.compile(
    r"\b(?:answer|response|reply|output|json|label)\b[^\n]{0,40}"
    r"\b(?:not valid|invalid|cannot be used|wrong|incorrect)\b"
    r"|\bvalidation errors?\b|\b(?:try|answer) again\b|\bfix the errors?\b"
    r"|(?:回答|答案|格式)[^\n]{0,12}(?:无效|错误|不正确)",
    re.IGNORECASE,
)
_LONGEST_COMPLAINT = 400
_TRIM = " \t\r\n\"'`“”‘’「」()（）[]【】.。"
_SPECIAL = frozenset({"other", "others", "unknown", "none", "misc", "其他", "其它"})
_LONGEST_LIST = 20_000
_LONGEST_LABEL = 80
_LARGEST = Decimal(10**12)
_DEPTH = 6
_MOST_ITEMS = 100
_MOST_OPENINGS = 20
_LONGEST_FRAME = 60_000


def wants_json(ask: Ask) -> bool:
    """Whether the request asks for JSON by its `response_format`."""
    return ask.response_format is not None and ask.response_format.get("type") in ("json_object", "json_schema")


def answer(ask: Ask, user: str, identity: int) -> str | None:
    """The answer within the labels or the schema of the request, or None when it has neither.

    Args:
        ask: the request.
        user: the text of its last user message.
        identity: 64 bits of the messages, which choose where nothing else does.
    """
    schema = _format_schema(ask)
    labels: tuple[str, ...] = ()
    subject = user = _uncorrected(ask, user)
    if schema is None:
        for text in [text_of(message.get("content")) for message in ask.messages if message.get("role") == "system"]:
            schema, labels, _ = _frame(text)
            if schema is not None or labels:
                break
        else:
            schema, labels, rest = _frame(user)
            subject = rest if labels or schema is not None else user
    if schema is not None:
        value = _value(schema, schema, subject, identity, 0)
        return msgspec.json.encode(_another(value, schema, ask.another)).decode()
    if labels:
        label = _behind(labels, choose(labels, subject, identity), ask.another)
        return msgspec.json.encode({"label": label}).decode() if wants_json(ask) else label
    if wants_json(ask):
        return msgspec.json.encode({"answer": " ".join(user.split())[:60]}).decode()
    return None


def _uncorrected(ask: Ask, user: str) -> str:
    """The user's last text that asks for something; one that finds fault with an answer is about the one before."""
    turns = [message for message in ask.messages if message.get("role") in ("user", "assistant")]
    for place in range(len(turns) - 1, -1, -1):
        if turns[place].get("role") != "user":
            continue
        said = text_of(turns[place].get("content"))
        answered = place > 0 and turns[place - 1].get("role") == "assistant"
        if said and not (answered and _CORRECTION.search(said[:_LONGEST_COMPLAINT])):
            return said
    return user


def _behind(labels: Sequence[Any], label: Any, places: int) -> Any:
    """The label that stands so many places behind another."""
    return labels[(labels.index(label) + places) % len(labels)] if places else label


def _another(value: Any, schema: dict[str, Any], places: int) -> Any:
    """A value whose first choice from a list is another one."""
    for name, inner in (schema.get("properties") or {}).items() if places and isinstance(value, dict) else ():
        choices = _resolved(inner, schema).get("enum") if isinstance(inner, dict) else None
        if isinstance(choices, list) and value.get(name) in choices:
            return {**value, name: _behind(choices, value[name], places)}
    return value


def choose(labels: tuple[str, ...], text: str, identity: int) -> str:
    """The label that shares most words with the text.

    Args:
        labels: at least one.
        text: of the user.
        identity: 64 bits of the messages, which choose when no label shares a word.
    """
    lowered = text.lower()
    stems = _stems(lowered)
    scores = []
    for label in labels:
        words = _label_stems(label)
        shared = len(words & stems)
        whole = 2 * (len(words) > 0 and label.lower() in lowered)
        scores.append((whole + shared) / (len(words) + 1) if shared else 0.0)
    best = max(scores)
    if best > 0:
        return labels[scores.index(best)]
    plain = [label for label in labels if label.lower() in _SPECIAL] or labels
    return plain[mixed(identity, 5) % len(plain)]


def _stems(text: str) -> frozenset[str]:
    return frozenset(_stem(word) for word in _WORDS.findall(text))


@lru_cache(maxsize=8192)
def _label_stems(label: str) -> frozenset[str]:
    return _stems(_CAMEL.sub(" ", label).lower())


def _stem(word: str) -> str:
    if word.endswith("ies") and len(word) > 5:
        return word[:-3] + "y"
    for end in ("ing", "ed", "es", "s"):
        if word.endswith(end) and len(word) - len(end) >= 3:
            return word[: -len(end)]
    return word


def _format_schema(ask: Ask) -> dict[str, Any] | None:
    form = ask.response_format or {}
    if form.get("type") != "json_schema":
        return None
    inner = form.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, dict) else None
    return schema if isinstance(schema, dict) else None


@lru_cache(maxsize=256)
def _frame(text: str) -> tuple[dict[str, Any] | None, tuple[str, ...], str]:
    """A JSON schema or a list of labels in a text, and the text without it."""
    for match in islice(re.finditer(r"[{\[]", text), _MOST_OPENINGS):
        value, end = _json_at(text, match.start())
        if isinstance(value, dict) and ("properties" in value or isinstance(value.get("enum"), list)):
            return value, (), text[: match.start()] + text[end:]
        if _is_label_list(value) and _ANNOUNCED.search(text, max(0, match.start() - 120), match.start()):
            return None, tuple(value), text[: match.start()] + text[end:]
    for match in islice(_INTRODUCED.finditer(text), _MOST_OPENINGS):
        labels, end = _listed(text, match.end()) if text.startswith("\n", match.end()) else _inline(text, match.end())
        # "one of my two cards, please" introduces nothing: a list without a colon is three long, of short labels.
        announced = match[0].rstrip().endswith((":", "："))
        if len(labels) > 1 and (announced or (len(labels) > 2 and all(label.count(" ") < 3 for label in labels))):
            return None, labels, text[: match.start()] + text[end:]
    return None, (), text


def _is_label_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(item, str) and item for item in value)


def _json_at(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that begins at `start` and where it ends; None when there is none."""
    depth, quoted, escaped = 0, False, False
    for position in range(start, min(len(text), start + _LONGEST_FRAME)):
        sign = text[position]
        if quoted:
            quoted = escaped or sign != '"'
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            quoted = True
        elif sign in "{[":
            depth += 1
        elif sign in "}]":
            depth -= 1
            if depth == 0:
                try:
                    return msgspec.json.decode(text[start : position + 1]), position + 1
                except msgspec.DecodeError:
                    return None, start
    return None, start


def _listed(text: str, start: int) -> tuple[tuple[str, ...], int]:
    """Labels one a line, with bullets, numbers or nothing before them, up to an empty line."""
    bullets = _BULLETS.match(text, start + 1)
    if bullets is not None:
        entries, end = _BULLET.findall(bullets[0]), bullets.end()
    else:
        lines = _LINES.match(text, start)
        entries, end = (lines[0].split("\n"), lines.end()) if lines is not None else ([], start)
    labels = tuple(label.strip(_TRIM) for label in entries)
    return tuple(label for label in labels if label), end


def _inline(text: str, start: int) -> tuple[tuple[str, ...], int]:
    end = min(len(text), start + _LONGEST_LIST)
    for stop in ("\n", "。", ". ", "? ", "？", "！"):
        position = text.find(stop, start, end)
        if position >= 0:
            end = min(end, position)
    labels = tuple(label.strip(_TRIM) for label in _SEPARATOR.split(text[start:end]))
    labels = tuple(label for label in labels if label)
    if any(len(label) > _LONGEST_LABEL or label.count(" ") > 4 for label in labels):
        return (), start
    return labels, end


def _value(schema: Any, root: dict[str, Any], text: str, identity: int, depth: int) -> Any:
    """A value that fits a JSON schema, chosen by keywords where the schema leaves a choice."""
    if not isinstance(schema, dict) or depth > _DEPTH:
        return None
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return _enum(schema["enum"], text, identity)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind == "object" or "properties" in schema:
        return {
            name: _value(inner, root, text, mixed(identity, position), depth + 1)
            for position, (name, inner) in enumerate((schema.get("properties") or {}).items())
        }
    if kind == "array":
        least = schema.get("minItems", 1)
        count = min(max(1, least), _MOST_ITEMS) if isinstance(least, int) else 1
        return [
            _value(schema.get("items"), root, text, mixed(identity, position), depth + 1) for position in range(count)
        ]
    if kind in ("integer", "number"):
        return _number(schema, text, whole=kind == "integer")
    if kind == "boolean":
        return bool(identity & 1)
    return None if kind == "null" else _text(schema, text)


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    for _ in range(_DEPTH):
        reference = schema.get("$ref")
        choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if isinstance(reference, str) and reference.startswith("#"):
            target: Any = root
            for part in reference[1:].strip("/").split("/"):
                target = target.get(part, {}) if isinstance(target, dict) and part else target
            schema = target if isinstance(target, dict) else {}
        elif isinstance(choices, list):
            schema = next(
                (choice for choice in choices if isinstance(choice, dict) and choice.get("type") != "null"), {}
            )
        else:
            break
    return schema


def _enum(values: list[Any], text: str, identity: int) -> Any:
    names = tuple(value if isinstance(value, str) else msgspec.json.encode(value).decode() for value in values)
    return values[names.index(choose(names, text, identity))]


def _number(schema: dict[str, Any], text: str, *, whole: bool) -> Any:
    numbers = arithmetic.numbers_in(text)
    value = Decimal(numbers[0].json) if numbers else Decimal(0)
    least, most = schema.get("minimum"), schema.get("maximum")
    value = min(value, Decimal(str(most)) if isinstance(most, int | float) else _LARGEST)
    value = max(value, Decimal(str(least)) if isinstance(least, int | float) else -_LARGEST)
    return int(value) if whole else float(value)


def _text(schema: dict[str, Any], text: str) -> str:
    most, least = schema.get("maxLength"), schema.get("minLength")
    words = " ".join(text.split())[: most if isinstance(most, int) else 60]
    return words.ljust(min(least, _LONGEST_FRAME), ".") if isinstance(least, int) else words
