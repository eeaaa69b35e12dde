"""Files and batches as tests ask for them, in both dialects."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.simulator.conftest import GLM, OPENAI, Sim

DIALECTS = ("glm", "openai")
SLOW = "[latency]\nbatch_ms = [100000, 100000]\n"
"""A batch that takes a hundred seconds: checked after ten, its lines done after ninety."""


class Desk:
    """Files and batches of one simulator in one dialect."""

    def __init__(self, sim: Sim, dialect: str) -> None:
        self.sim, self.dialect = sim, dialect
        self.glm = dialect == "glm"
        self.prefix = GLM if self.glm else OPENAI
        self.model = "glm-4-plus" if self.glm else "gpt-4o-mini"
        self.url = "/v4/chat/completions" if self.glm else "/v1/chat/completions"
        self.key = sim.key if self.glm else "sk-reader"

    def line(self, custom_id: str, asked: str = "hello", **body: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": asked}]
        body = {"model": self.model, "messages": messages, **body}
        return {"custom_id": custom_id, "method": "POST", "url": self.url, "body": body}

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return self.sim.http.request(method, f"{self.prefix}{path}", headers=headers, **options)

    def upload(self, lines: Any, *, name: str = "input.jsonl", purpose: str = "batch") -> httpx.Response:
        data = lines if isinstance(lines, bytes) else "".join(json.dumps(line) + "\n" for line in lines).encode()
        return self.ask("POST", "/files", files={"file": (name, data)}, data={"purpose": purpose})

    def create(self, file_id: str, **more: Any) -> httpx.Response:
        body = {"completion_window": "24h", "endpoint": self.url, "input_file_id": file_id, **more}
        return self.ask("POST", "/batches", json=body)

    def made(self, lines: Any, *, name: str = "input.jsonl", **more: Any) -> dict[str, Any]:
        """The batch made of these lines, as its creation tells it."""
        made: dict[str, Any] = self.create(self.upload(lines, name=name).json()["id"], **more).json()
        return made

    def lines(self, count: int, **body: Any) -> list[dict[str, Any]]:
        return [self.line(f"call-{n:06d}", f"row {n}", **body) for n in range(count)]

    def batch(self, batch_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"/batches/{batch_id}").json()
        return found

    def content(self, file_id: str) -> list[dict[str, Any]]:
        answer = self.ask("GET", f"/files/{file_id}/content")
        assert answer.status_code == 200
        return [json.loads(line) for line in answer.content.splitlines()]

    def ids(self, file_id: str | None) -> list[str]:
        """The custom ids of a file, in its order; none when there is no file."""
        return [line["custom_id"] for line in self.content(file_id)] if file_id else []

    def booked(self) -> list[dict[str, Any]]:
        """The records of lines."""
        return [record for record in self.sim.books() if record["route"] == "line"]
