"""How long things take at the simulated provider.

Owns the latencies of a scenario and the draws from them; a draw depends on the conversation alone, so the same request
takes the same time in every run.
"""

from __future__ import annotations

from dataclasses import dataclass

from batch.simulator.chance import chance
from batch.simulator.clock import Clock


@dataclass(frozen=True, slots=True)
class Latency:
    """How long things take, in milliseconds before `time_factor`; pairs are the ends of an even distribution.

    Attributes:
        chat_ms: a chat answer.
        task_ms: from a task's submission to its result.
        submit_ms: the answer to a submission.
        poll_ms: the answer to a poll.
        batch_ms: from a batch's creation to its completion: a tenth for its checks, a tenth for its files.
        per_token_ms: added to chats and tasks for each completion token; a stream spreads it over its chunks.
        first_chunk_ms: until the first chunk of a stream, its headers included; None takes `chat_ms`.
        chunk_ms: between two chunks; with nothing here and no `per_token_ms` all leave at once.
    """

    chat_ms: tuple[float, float] = (20.0, 60.0)
    task_ms: tuple[float, float] = (100.0, 300.0)
    submit_ms: tuple[float, float] = (0.0, 0.0)
    poll_ms: tuple[float, float] = (0.0, 0.0)
    batch_ms: tuple[float, float] = (1_000.0, 4_000.0)
    per_token_ms: float = 0.0
    first_chunk_ms: tuple[float, float] | None = None
    chunk_ms: tuple[float, float] = (0.0, 0.0)


class Waits:
    """Draws latencies, and waits for them.

    Args:
        latency: the latencies of the scenario.
        seed: of the scenario.
        time_factor: stretches all latencies.
        clock: by which is waited.
    """

    def __init__(self, latency: Latency, *, seed: int, time_factor: float, clock: Clock) -> None:
        """Draw from these latencies."""
        self._latency = latency
        self._seed = seed
        self._time_factor = time_factor
        self._clock = clock

    def seconds(self, span_ms: tuple[float, float], conversation: int, tokens: int) -> float:
        """The seconds that something takes.

        Args:
            span_ms: the least and the most, one of the spans of `Latency`.
            conversation: 64 bits that stand for model and messages.
            tokens: completion tokens made meanwhile.
        """
        least, most = span_ms
        drawn = least + (most - least) * chance(self._seed, conversation, 1)
        return (drawn + tokens * self._latency.per_token_ms) * self._time_factor / 1000

    async def wait(self, span_ms: tuple[float, float], conversation: int, tokens: int) -> None:
        """Wait for as long as something takes; the arguments are those of `seconds`."""
        seconds = self.seconds(span_ms, conversation, tokens)
        if seconds > 0:
            await self._clock.sleep(seconds)

    def between_parts(self, parts: int, conversation: int, tokens: int) -> list[float]:
        """The seconds before the first part of a stream, which are none, and before each of those after it.

        Args:
            parts: how many parts follow the first.
            conversation: 64 bits that stand for model and messages.
            tokens: completion tokens of the whole answer.

        Returns:
            `parts` + 1 numbers; none at all when nothing takes time.
        """
        least, most = self._latency.chunk_ms
        if not parts or not (most or self._latency.per_token_ms) or not self._time_factor:
            return []
        usual, spread = least + tokens * self._latency.per_token_ms / parts, most - least
        shares = (chance(self._seed, conversation, 2, part) if spread else 0.0 for part in range(parts))
        return [0.0, *((usual + spread * share) * self._time_factor / 1000 for share in shares)]
