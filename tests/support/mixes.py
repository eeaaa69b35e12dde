"""Seeded mixes of limits, prompts and latencies, and what the simulator's judge must say of a run under each."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS = ("label", "ticket", "printer", "refund", "late", "please", "order", "broken", "again", "thanks")
RUN_S = 85.0


@dataclass(frozen=True)
class Mix:
    """One mix; limits None are not set, neither in the job nor at the provider."""

    seed: int
    provider: str
    lane: str
    rpm: int | None = None
    tpm: int | None = None
    in_flight: int | None = None
    tokens: tuple[int, int] = (10, 20)
    latency_ms: tuple[int, int] = (20, 60)

    @property
    def concurrency(self) -> int:
        """Slots: the cap when there is one, else enough for the rate."""
        return self.in_flight or 200

    def scenario(self) -> dict[str, Any]:
        limits = {"rpm": self.rpm, "tpm": self.tpm, "in_flight": self.in_flight}
        latency = {"chat_ms": list(self.latency_ms), "task_ms": list(self.latency_ms)}
        return {"seed": self.seed, "limits": {k: v for k, v in limits.items() if v is not None}, "latency": latency}

    def job(self, port: int) -> str:
        """The job file, its input and output beside it."""
        path, model = ("api/paas/v4", "glm-4") if self.provider == "glm" else ("v1", "gpt-5-mini")
        limits = [f"concurrency = {self.concurrency}"]
        limits += [f"requests_per_minute = {self.rpm}"] if self.rpm else []
        limits += [f"tokens_per_minute = {self.tpm}"] if self.tpm else []
        return "\n".join(
            [
                'name = "mix"',
                "[input]",
                'path = "rows.jsonl"',
                "[prompt]",
                'user = "{{ text }}"',
                "[model]",
                f'provider = "{self.provider}"',
                f'name = "{model}"',
                f'lane = "{self.lane}"',
                f'base_url = "http://127.0.0.1:{port}/{path}"',
                "[limits]",
                *limits,
                "[output]",
                'path = "out"',
                "",
            ]
        )

    def rows(self, seconds: float) -> int:
        """More rows than can be sent in so many seconds."""
        mean_s = sum(self.latency_ms) / 2_000
        rates = [self.concurrency / mean_s]
        rates += [self.rpm / 60] if self.rpm else []
        rates += [self.tpm / 60 / (sum(self.tokens) / 2)] if self.tpm else []
        return int(min(rates) * seconds * 1.3) + 50

    def write(self, folder: Path, rows: int) -> None:
        """The input: prompts of the mix's sizes, no two alike."""
        chance = random.Random(self.seed)
        with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
            for number in range(rows):
                words = chance.randint(*self.tokens) * 2 // 3
                text = " ".join(chance.choices(WORDS, k=max(1, words)))
                file.write(json.dumps({"text": f"{number} {text}"}) + "\n")

    def faults(self, verdict: dict[str, Any], use: dict[str, Any]) -> list[str]:
        """What is wrong with a run, by the judge's sliding windows and by the share of the limit that was used."""
        found = []
        refused = verdict["refused"]
        if refused:
            found.append(f"refused: {refused}")
        if self.rpm and verdict["max_requests"] > self.rpm:
            found.append(f"{verdict['max_requests']} requests in a window of {self.rpm}")
        if self.tpm and verdict["max_tokens"] > self.tpm:
            found.append(f"{verdict['max_tokens']} tokens in a window of {self.tpm}")
        if self.in_flight and verdict["max_in_flight"] > self.in_flight:
            found.append(f"{verdict['max_in_flight']} in flight of {self.in_flight}")
        shares = self.shares(use)
        binding = max(shares, key=shares.__getitem__)
        # Where a span of time begins and ends is a matter of one request more or less.
        one = 1 / use["requests"]
        least = {"rpm": 0.98, "tpm": 0.95, "in_flight": 0.0}[binding] - one
        if shares[binding] < least:
            found.append(f"only {shares[binding]:.1%} of {binding} used")
        return found

    def busiest_second(self, verdict: dict[str, Any]) -> str | None:
        """What is wrong by the judge's windows of one second: services that judge by the second see an even pace."""
        most = verdict["max_requests"]
        even = self.rpm and most <= 1.1 * self.rpm / 60 + 1
        return None if even or not self.rpm else f"{most} requests in a second of {self.rpm} a minute"

    def shares(self, use: dict[str, Any]) -> dict[str, float]:
        """The share of each limit that was used."""
        names = (("rpm", "requests"), ("tpm", "charged_tokens"), ("in_flight", "in_flight_seconds"))
        return {name: use[key] / use["allowed"][key] for name, key in names if use["allowed"][key]}


@dataclass(frozen=True)
class Pair:
    """Two models with limits of their own, asked by one job; it has them in `[limits.model]`, or only headers tell."""

    mix: Mix
    rpm: dict[str, int]
    told: bool

    def scenario(self) -> dict[str, Any]:
        models = {model: {"rpm": limit} for model, limit in self.rpm.items()}
        return {**self.mix.scenario(), "limits": {"models": models}}

    def job(self, port: int) -> str:
        """The job of the mix, asking both."""
        own = [f'[limits.model."{model}"]\nrequests_per_minute = {limit}' for model, limit in self.rpm.items()]
        text = self.mix.job(port).replace("[output]", "\n".join([*([] if self.told else own), "[output]"]))
        return re.sub(r"(?m)^name = \"g.*$", f"names = {json.dumps(list(self.rpm))}", text)

    def rows(self, seconds: float) -> int:
        """More rows than the faster model takes in so many seconds."""
        return int(max(self.rpm.values()) / 60 * seconds * 1.3) + 50

    def faults(self, verdict: dict[str, Any], second: dict[str, Any]) -> list[str]:
        """What is wrong with a run, by the judge's windows of 60 s and of one second, for each model."""
        found = []
        lanes = {lane["model"]: lane for lane in verdict["lanes"]}
        seconds = {lane["model"]: lane for lane in second["lanes"]}
        for model, rpm in self.rpm.items():
            refused = sum(lanes[model]["refused"].values())
            if refused > (0.01 * lanes[model]["requests"] + 2 if self.told else 0):
                found.append(f"{model}: {refused} refused")
            if not self.told and lanes[model]["max_requests"] > rpm:
                found.append(f"{model}: {lanes[model]['max_requests']} requests in a window of {rpm}")
            if not self.told and seconds[model]["max_requests"] > 1.1 * rpm / 60 + 1:
                found.append(f"{model}: {seconds[model]['max_requests']} requests in a second of {rpm} a minute")
        for model, share in self.shares(verdict["use"]).items():
            if share < 0.98 - 1 / self.rpm[model]:
                found.append(f"{model}: only {share:.1%} of {self.rpm[model]} used")
        return found

    def shares(self, uses: list[dict[str, Any]]) -> dict[str, float]:
        """By model, the share of its limit that was used."""
        return {use["model"]: use["requests"] / use["allowed"]["requests"] for use in uses}


def draw_pair(seed: int) -> Pair:
    """The pair of a seed: 10 to 100 times as fast as each other, known to the job or told by headers."""
    chance = random.Random(f"pair {seed}")
    told = seed % 2 == 0
    provider = "openai" if told or chance.random() < 0.5 else "glm"
    names = ("gpt-5-mini", "gpt-5-nano") if provider == "openai" else ("glm-4", "glm-3-turbo")
    slow = chance.choice([60, 100])
    rpm = dict(zip(names, chance.sample([slow, slow * chance.choice([10, 30, 60])], 2), strict=True))
    lane = chance.choice(["sync", "task"]) if provider == "glm" else "sync"
    latency = chance.choice([(20, 60), (200, 400), (500, 1_500)])
    return Pair(Mix(seed, provider, lane, latency_ms=latency), rpm, told)


def draw(seed: int) -> Mix:
    """The mix of a seed: requests, tokens, calls in flight, or two of them at once."""
    chance = random.Random(seed)
    kind = ("rpm", "tpm", "in_flight", "rpm+tpm", "rpm+in_flight")[seed % 5]
    provider = "openai" if "tpm" in kind or chance.random() < 0.5 else "glm"
    lane = chance.choice(["sync", "task"]) if provider == "glm" else "sync"
    short = chance.randint(50, 500)
    return Mix(
        seed,
        provider,
        lane,
        rpm=chance.choice([60, 100, 300, 600, 1_500, 3_000, 6_000]) if "rpm" in kind else None,
        tpm=chance.choice([100_000, 200_000, 500_000, 2_000_000]) if "tpm" in kind else None,
        in_flight=chance.choice([5, 8, 20, 50, 100]) if "in_flight" in kind else None,
        tokens=(short, short * chance.choice([1, 4, 10])) if "tpm" in kind else (10, 20),
        latency_ms=chance.choice([(20, 60), (200, 400), (500, 1_500)]),
    )
