"""How many tokens may leave: a limit of tokens per minute with reserve and settle, and the estimate it reserves by.

Owns `TokenBudget` and `TokenEstimator`. What a request will count for is known only afterwards, so an upper estimate is
reserved before it leaves and corrected when its usage is known.

**Budget.** Two rules hold at once. *The line*: what was granted in the last `WINDOW_S` seconds and the new amount
together stay within the limit; this is exact over any window, however large single amounts are. *The pace*: amounts
leave at an even speed, so that a provider that looks at single seconds sees an even stream as well. An amount larger
than the whole limit is clamped to it and leaves when nothing else is in the window. `limiter` serves its callers in
order, so a large prompt waits for its turn, but not for ever.

**Estimate.** Tokens of a text are a number of units (a quarter for an ASCII byte, one for any other character) times a
ratio that is learned from usage; before it is learned, a text has at most as many tokens as UTF-8 bytes, which no
byte-pair tokenizer exceeds.

For example, 100,000 tokens per minute: 99,000 of them are used, at a pace of 99,000 / 60.4 s = 1,639 tokens per second.
A prompt of 4,000 ASCII characters, `max_tokens` 500, is 1,000 units. Before anything is learned it reserves 4,016
tokens for the prompt (4,000 bytes and 16 for the chat template), so the next call leaves 2.4 s later. Its usage says
1,088 prompt tokens, and 2,928 tokens come back: the next call may leave at once. After eight such usages the ratio is
1.08 tokens per unit, and the prompt reserves 1,000 · (1.08 + 0.01) + 16 = 1,106 tokens.

Pure arithmetic over times handed in; it never waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from batch.core.records import Message, Usage

LIMIT_S: Final = 60.0
WINDOW_S: Final = LIMIT_S + 0.4  # a grant may reach the wire that much late (`requests.GRANT_S`)
MARGIN: Final = 0.99  # of the limit; the rest is for estimates that were a little low
CATCH_UP_S: Final = 10.0  # of pace that was lost waiting for the line is made up for
BURST_S: Final = 0.1
TRUSTED: Final = 8  # usages after which the learned ratio is used
COMPLETION_TOKENS: Final = 1_024  # taken for an answer before one was seen, when the request sets no bound
MESSAGE_TOKENS: Final = 16  # of a chat template around one message, at most


class Grant:
    """One amount in the window, granted `at` some time in monotonic seconds; corrected when it is known better."""

    __slots__ = ("amount", "at")

    def __init__(self, at: float, amount: float) -> None:
        self.at = at
        self.amount = amount


class TokenBudget:
    """What may leave under one limit.

    Args:
        per_minute: the limit, in tokens per minute.
    """

    def __init__(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._window: deque[Grant] = deque()
        self._sum = 0.0
        self._paced_until = 0.0
        """When the next amount may leave by the pace, in monotonic seconds."""
        self._held = False
        """The line held somebody back since the last grant, so the pace has something to make up for."""

    @property
    def _room(self) -> float:
        return self.per_minute * MARGIN

    def set_limit(self, per_minute: float) -> None:
        """Continue under another limit; what was granted stays in the window."""
        self.per_minute = per_minute

    def sent_before(self, seconds: float, now: float) -> None:
        """Continue the window of another process, whose last request left `seconds` before `now`: take it for full.

        Fewer than none are none: a clock was set back meanwhile.
        """
        if (seconds := max(0.0, seconds)) < WINDOW_S:
            self.used_before(self._room * (1 - seconds / WINDOW_S), now)

    def used_before(self, amount: float, now: float) -> None:
        """Count an amount that others used up; it comes back at an even speed, as the limit itself does."""
        share = self._room / 60
        for number in range(int(min(amount, self._room) / share + 0.5)):
            self._window.append(Grant(now - WINDOW_S + (number + 1) * WINDOW_S / 60, share))
            self._sum += share

    def wait(self, amount: float, now: float) -> float:
        """The seconds until `amount` may leave, as far as is known now; 0 when it may at once."""
        self._forget(now)
        amount = min(amount, self._room)
        excess = self._sum + amount - self._room
        line_wait = 0.0
        if excess > 1e-6:
            # The oldest grants leave the window first: enough of them make room for this one.
            for grant in self._window:
                excess -= grant.amount
                if excess <= 1e-6:
                    line_wait = grant.at + WINDOW_S - now
                    break
            self._held = True
        return max(line_wait, self._paced_until - BURST_S - now, 0.0)

    def used(self, now: float) -> float:
        """The tokens that count within the minute that ends now, reservations of calls in flight included."""
        self._forget(now)
        return self._sum

    def take(self, amount: float, now: float) -> Grant:
        """Reserve `amount` and let it leave; the caller has asked `wait` first."""
        amount = min(amount, self._room)
        # After a rest the pace starts from now, or all that was not used would leave at once. What the line held back
        # was no rest: up to `CATCH_UP_S` of it is made up for.
        self._paced_until = max(self._paced_until, now - CATCH_UP_S if self._held else now) + amount / self._speed
        self._held = False
        grant = Grant(now, amount)
        self._window.append(grant)
        self._sum += amount
        return grant

    def settle(self, grant: Grant, amount: float, now: float) -> bool:
        """Correct what a grant counts for.

        Args:
            grant: what `take` returned.
            amount: what it counts for in truth, in tokens.
            now: monotonic seconds.

        Returns:
            Whether there is more room than before.
        """
        self._forget(now)
        change = max(0.0, amount) - grant.amount
        grant.amount += change
        if grant.at > now - WINDOW_S:  # else it has left the window, and the sum with it
            self._sum += change
        self._paced_until += change / self._speed
        return change < 0

    @property
    def _speed(self) -> float:
        return self._room / WINDOW_S

    def _forget(self, now: float) -> None:
        window = self._window
        while window and window[0].at <= now - WINDOW_S:
            self._sum -= window.popleft().amount
        if not window:
            self._sum = 0.0  # sums of floats drift


class TokenWeight(msgspec.Struct, frozen=True, gc=False):
    """What one request counts for, before tokens are known: how many tokens it is gets clearer while it waits."""

    units: float
    most: int
    """How many tokens the prompt has at most, whatever the tokenizer."""
    asked: int
    """`max_tokens` as the request has it, 0 without."""


class TokenEstimator:
    """Estimates what requests count for, by the rule of the service and by what usage has taught.

    Each model of a run has one of its own: tokenizers differ, and the spread, which the upper estimate adds threefold,
    would grow with the difference between them.

    Args:
        rule: `asked`: max(max_tokens, prompt), fixed when it is sent (OpenAI guide "Rate limits"); `used`: prompt and
            completion as they turn out to be.
        carried: text that goes with every request besides its messages: the tool schemas.
    """

    def __init__(self, rule: Literal["asked", "used"], *, carried: str = "") -> None:
        self._rule = rule
        self._carried_units = units(carried)
        self._carried_most = len(carried.encode("utf-8", "surrogatepass"))
        self._prompt = _Learned(1.0)
        self._completion = _Learned(float(COMPLETION_TOKENS))

    def of(self, messages: Iterable[Message], parameters: Mapping[str, Any]) -> TokenWeight:
        """The weight of a request, from its messages and its parameters as they are sent."""
        total, most = self._carried_units, self._carried_most
        for message in messages:
            for text in _texts(message):
                total += units(text)
                most += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
            most += MESSAGE_TOKENS
        return TokenWeight(total, most, _most_tokens(parameters))

    def amount(self, weight: TokenWeight) -> float:
        """How many tokens to reserve: an upper estimate, by what was learned until now."""
        prompt = float(weight.most)
        if self._prompt.seen >= TRUSTED:
            prompt = min(prompt, weight.units * (self._prompt.high + 0.01) + MESSAGE_TOKENS)
        if self._rule == "asked":
            return max(float(weight.asked), prompt)
        return prompt + (weight.asked or self._completion.high)

    def surely(self, weight: TokenWeight) -> float:
        """How many tokens a request counts for at the very least, as far as one can know before it is sent."""
        ratio = self._prompt.low if self._prompt.seen >= TRUSTED else 0.5
        prompt = weight.units * ratio
        return max(float(weight.asked), prompt) if self._rule == "asked" else prompt

    def used(self, weight: TokenWeight, usage: Usage) -> float:
        """How many tokens a request counted for in the end; learns from it."""
        if weight.units >= 8:  # below that the chat template outweighs the text
            self._prompt.learn(max(0.0, usage.prompt_tokens - MESSAGE_TOKENS / 2) / weight.units)
        self._completion.learn(float(usage.completion_tokens))
        if self._rule == "asked":
            return float(max(weight.asked, usage.prompt_tokens))
        return float(usage.total_tokens)


class _Learned:
    """A running mean and its mean deviation; they follow new values quickly at first and slowly later."""

    __slots__ = ("mean", "seen", "spread")

    def __init__(self, start: float) -> None:
        self.mean = start
        self.spread = 0.0
        self.seen = 0

    def learn(self, value: float) -> None:
        self.seen += 1
        gain = max(1.0 / self.seen, 0.02)  # never less, so that prompts of another kind later in the run are learned
        self.mean += gain * (value - self.mean)
        self.spread += gain * (abs(value - self.mean) - self.spread) if self.seen > 1 else 0.0

    @property
    def high(self) -> float:
        return self.mean + 3.0 * self.spread

    @property
    def low(self) -> float:
        return max(0.0, 0.8 * self.mean - 3.0 * self.spread)


def _most_tokens(parameters: Mapping[str, Any]) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        value = parameters.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0


def units(text: str) -> float:
    """A measure of a text that tokenizers agree on roughly: a quarter for each ASCII character, one for any other."""
    if text.isascii():
        return len(text) / 4
    size = len(text.encode("utf-8", "surrogatepass"))
    # In UTF-8 a character beyond ASCII has 2 to 4 bytes, nearly always 3: so many are they, within a half.
    others = (size - len(text)) / 2
    return others + max(0.0, len(text) - others) / 4


def _texts(message: Message) -> list[str]:
    texts: list[str] = []
    content = message.get("content")
    if isinstance(content, str):
        texts.append(content)
    elif isinstance(content, list):
        texts += [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
    calls: Any = message.get("tool_calls")
    if calls:
        texts.append(str(calls))
    return texts
