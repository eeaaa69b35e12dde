"""The built-in model, which answers under every model name. Owns the order in which it considers things.

Tools first (`tool_calls.py`), then labels and schemas (`labelling.py`), else a short text. What it says depends on the
messages alone: not on the model's name, the seed, the time or earlier requests.
"""

from __future__ import annotations

import re

import msgspec

from batch.simulator.books import tokens
from batch.simulator.chance import digest64, mixed
from batch.simulator.models import labelling, tool_calls
from batch.simulator.models.completion import Ask, Completion

_HIDDEN = 64  # reasoning that is not shown is counted in steps of this size
_CJK = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
_ENGLISH = (
    "Thank you for the question.", "Here is a short answer.", "Let me put it simply.", "This is what I can say.",
    "A few words on that.", "There are two sides to it.", "The essential point comes first.", "In short, it depends.",
    "Take it one step at a time.", "The details matter here.", "That is all there is to it.", "I hope this helps.",
)  # fmt: skip
_CHINESE = (
    "感谢您的提问。", "下面是简短的回答。", "简单来说如下。", "这是我能说明的内容。", "先说最重要的一点。",
    "事情有两个方面。", "总的来说要看情况。", "请一步一步来。", "细节很重要。", "以上就是全部内容。",
    "希望对您有帮助。",
)  # fmt: skip


def complete(ask: Ask) -> Completion:
    """Answer a request, after thinking about it when the request's model does so."""
    identity = digest64(msgspec.json.encode(ask.messages))
    if not ask.thinking:
        return _answer(ask, identity)
    thought = _thought(last_user_text(ask)) if ask.thinking == "shown" else ""
    size = tokens.count(thought) if thought else _HIDDEN * (1 + identity % 3)
    limit = ask.max_tokens
    if limit is not None and size >= limit:
        return Completion("", (), "length", limit, identity, tokens.cut(thought, limit), limit)
    left = ask if limit is None else msgspec.structs.replace(ask, max_tokens=limit - size)
    answer = _answer(left, identity)
    return msgspec.structs.replace(answer, tokens=answer.tokens + size, reasoning=thought, reasoning_tokens=size)


def _answer(ask: Ask, identity: int) -> Completion:
    calls, results = tool_calls.decide(ask)
    if calls:
        size = sum(tokens.count(call.name) + tokens.count(call.arguments) + 3 for call in calls)
        if ask.max_tokens is not None and size > ask.max_tokens:
            return Completion("", (), "length", ask.max_tokens, identity)
        return Completion("", calls, "tool_calls", size, identity)
    user = last_user_text(ask)
    # A sentence about results would break an answer that has to be JSON.
    text = results if results is not None and not labelling.wants_json(ask) else labelling.answer(ask, user, identity)
    return _limited(ask, text if text is not None else plain_text(user, identity), identity)


def _thought(user: str) -> str:
    words = " ".join(user.split())
    if _CJK.search(words):
        return f"用户提到“{words[:16]}”。先弄清问题，再简短回答。"
    return f'The user says "{" ".join(words.split()[:4])}". First see what is asked, then answer briefly.'


def last_user_text(ask: Ask) -> str:
    """The text of the last user message; of several in a row only the last is answered."""
    for message in reversed(ask.messages):
        if message.get("role") == "user":
            return tokens.text_of(message.get("content"))
    return ""


def plain_text(user: str, identity: int) -> str:
    """A short text of a few sentences, in the language of the user's text."""
    user = " ".join(user.split())
    chinese = _CJK.search(user) is not None
    stock = _CHINESE if chinese else _ENGLISH
    middle = [stock[mixed(identity, position) % len(stock)] for position in range(2 + identity % 4)]
    about = user[:24] if chinese else " ".join(user.split()[:6])
    start = f"关于“{about}”：" if chinese else f'About "{about}":'
    return (start if chinese else start + " ") + ("" if chinese else " ").join(dict.fromkeys(middle))


def _limited(ask: Ask, text: str, identity: int) -> Completion:
    ends = [position for position in (text.find(word) for word in ask.stop) if position >= 0]
    if ends:
        text = text[: min(ends)]
    size = tokens.count(text)
    if ask.max_tokens is not None and size > ask.max_tokens:
        return Completion(tokens.cut(text, ask.max_tokens), (), "length", ask.max_tokens, identity)
    return Completion(text, (), "stop", max(1, size), identity)
