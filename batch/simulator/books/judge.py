"""The judge: how much the client really sent, over exact sliding windows of time.

Owns the arrival times of chat and submit requests, and of polls. It enforces nothing. Every request counts that
arrived, refused ones too, since the question is what left the client.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from batch.simulator.limits import Limits


def most_in_window(times: Sequence[float], weights: Sequence[int] | None, window: float) -> int:
    """The largest sum of weights (count, when None) over any window of that length, one end open.

    Args:
        times: seconds, never decreasing.
        weights: one for each time.
        window: seconds; two arrivals exactly that far apart are not in one window.
    """
    most = total = first = 0
    for last, time in enumerate(times):
        total += 1 if weights is None else weights[last]
        while time - times[first] >= window:
            total -= 1 if weights is None else weights[first]
            first += 1
        most = max(most, total)
    return most


class Judge:
    """Judges the arrivals since the last reset, kept in columns."""

    def __init__(self, limits: Limits) -> None:
        """Judge what arrives from now on; places in flight are read from `limits`."""
        self._limits = limits
        self.clear()

    def clear(self) -> None:
        """Forget everything seen."""
        self._times = array("d")
        self._pair = array("I")
        self._charged = array("Q")
        self._pairs: dict[tuple[str, str], int] = {}
        self._polls = array("d")
        self._refused: dict[tuple[str, str], dict[str, int]] = {}
        self._limits.start_anew()

    def arrived(self, key_id: str, model: str, time: float, charged: int) -> None:
        """Note a chat or submit request.

        Args:
            key_id: whose it is.
            model: the model asked for.
            time: monotonic seconds at which it came in.
            charged: tokens it counts for before it is answered.
        """
        self._limits.begin(time)
        self._times.append(time)
        self._pair.append(self._pairs.setdefault((key_id, model), len(self._pairs)))
        self._charged.append(charged)

    def polled(self, time: float) -> None:
        """Note a poll that came in at the monotonic `time`; polls are counted apart."""
        self._polls.append(time)

    def refused(self, key_id: str, model: str, reason: str) -> None:
        """Count a refused request.

        Args:
            key_id: whose it is.
            model: the model asked for.
            reason: a limit's name, `duplicate`, `invalid`, `auth` or `fault`.
        """
        reasons = self._refused.setdefault((key_id, model), {})
        reasons[reason] = reasons.get(reason, 0) + 1

    def use(self, begin: float, end: float, now: float) -> list[dict[str, Any]]:
        """What each (key, model) used of its limits in a stretch of time.

        Args:
            begin: seconds since the first request.
            end: likewise; not itself in the stretch.
            now: monotonic seconds; nothing after it counts.

        Returns:
            One entry for each (key, model), with `in_flight_seconds` (places in work times seconds) and their
            `average_in_flight`, `requests` and `charged_tokens` of what was admitted, and under `allowed` what the
            limits of that time add up to, None where nothing is limited. A share is the one divided by the other.
        """
        began = self._limits.began
        if began is None:
            return []
        begin = min(began + begin, now)
        end = min(began + end, now)
        uses = []
        for key_id, model in self._pairs:
            used = self._limits.in_flight(key_id, model).use(begin, end, now)
            average = used["in_flight_seconds"] / (end - begin) if end > begin else 0.0
            allowed = self._limits.allowed(model, begin, end)
            uses.append({"key_id": key_id, "model": model, **used, "average_in_flight": average, "allowed": allowed})
        return uses

    def verdict(self, window: float) -> dict[str, Any]:
        """What was seen, in total and for each (key, model), over any window of `window` seconds."""
        times: list[list[float]] = [[] for _ in self._pairs]
        charged: list[list[int]] = [[] for _ in self._pairs]
        # A request is judged once its body is read, by the time it began: a slow upload reports late.
        arrivals = sorted(zip(self._times, self._charged, self._pair, strict=True))
        for time, tokens, pair in arrivals:
            times[pair].append(time)
            charged[pair].append(tokens)
        peaks = self._limits.peaks()
        total_refused: dict[str, int] = {}
        for reasons in self._refused.values():
            for reason, number in reasons.items():
                total_refused[reason] = total_refused.get(reason, 0) + number
        return {
            "window": window,
            "requests": len(self._times),
            "max_requests": most_in_window([time for time, _, _ in arrivals], None, window),
            "max_tokens": most_in_window(
                [time for time, _, _ in arrivals], [tokens for _, tokens, _ in arrivals], window
            ),
            "max_in_flight": self._limits.all.peak,
            "refused": total_refused,
            "polls": len(self._polls),
            "max_polls": most_in_window(sorted(self._polls), None, window),
            "lanes": [
                {
                    "key_id": key_id,
                    "model": model,
                    "requests": len(times[position]),
                    "max_requests": most_in_window(times[position], None, window),
                    "max_tokens": most_in_window(times[position], charged[position], window),
                    "max_in_flight": peaks.get((key_id, model), 0),
                    "refused": self._refused.get((key_id, model), {}),
                }
                for (key_id, model), position in self._pairs.items()
            ],
        }
