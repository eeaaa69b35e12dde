"""Ways in which a stranger brings our key back to us: what a hostile provider answers, and what a tool gives away.

Owns the hostile provider and its answers. It knows nothing of what becomes of them; `key_campaign` looks for that.
"""

from __future__ import annotations

import base64
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def escaped(text: str) -> str:
    """Every character as JSON may escape it."""
    return "".join(f"\\u{ord(char):04x}" for char in text)


RAW: dict[str, Callable[[str], str]] = {
    "plain": lambda key: json.dumps(key)[1:-1],
    "capitals": lambda key: json.dumps(key.upper())[1:-1],
    "escaped": escaped,
    "partly escaped": lambda key: json.dumps(key[:6])[1:-1] + escaped(key[6:12]) + json.dumps(key[12:])[1:-1],
    "escaped twice": lambda key: escaped(key).replace("\\", "\\\\"),
    "slashes": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "slashes twice": lambda key: json.dumps(key)[1:-1].replace("/", "\\\\/"),
    "bearer": lambda key: f"Bearer {json.dumps(key)[1:-1]}",
    "percent": lambda key: urllib.parse.quote(key, safe=""),
    "hex": lambda key: key.encode().hex(),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "basic": lambda key: base64.b64encode(f"me:{key}".encode()).decode(),
}
"""Forms of an echo, as they stand between the quotes of a JSON text."""
FORMS = list(RAW)


@dataclass
class Asked:
    """One request: the key or token it was signed with, and which of the forms its row wants."""

    key: str
    path: str
    body: dict[str, Any]
    number: int

    @property
    def form(self) -> int:
        """The number of the form: each row asks `form N`."""
        text = json.dumps(self.body.get("messages", ""))
        return int(text.partition("form ")[2].split("!")[0] or 0)

    def echo(self) -> str:
        """The key in this row's form, to be put between quotes in JSON."""
        return RAW[FORMS[self.form % len(FORMS)]](self.key)


@dataclass
class Answer:
    """What is sent back."""

    body: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Way:
    """One way in."""

    answer: Callable[[Asked], Answer]
    lane: str = "sync"
    provider: str = "openai"
    tools: str | None = None
    model: str = ""
    """More lines of `[model]`."""
    rows: int = len(FORMS)
    proof: str = "[masked]"
    """What some command says when the key did come in by this way."""


def completion(message: str, *, finish: str = '"stop"', more: str = "") -> Answer:
    """A chat completion; `message` and `more` are JSON as it is sent."""
    return Answer(
        f'{{"id": "1", "choices": [{{"index": 0, "finish_reason": {finish}, "message": {message}}}], '
        f'"usage": {json.dumps(USAGE)}{more}}}'
    )


def _answers(asked: Asked) -> Answer:
    echo = asked.echo()
    return completion(f'{{"content": "you are {echo}, {echo}!", "reasoning_content": "{echo}"}}')


def _names(asked: Asked) -> Answer:
    echo = asked.echo()
    finish = f'"{echo}"' if asked.form % 2 else '"stop"'
    more = f', "model": "m {echo}", "request_id": "r-{echo}", "service_tier": "{echo}", "{echo}": 1'
    return completion('{"content": "fine"}', finish=finish, more=more)


def _stream(asked: Asked) -> Answer:
    key, frames = asked.key, []
    size = 1 + asked.form % 4
    for begin in range(0, len(key), size):
        piece = json.dumps(key[begin : begin + size])[1:-1]
        piece = escaped(key[begin : begin + size]) if asked.form % 3 == 0 else piece
        delta = f'{{"content": "{piece}", "reasoning_content": "{piece}"}}'
        frames.append(f'{{"id": "1", "choices": [{{"index": 0, "delta": {delta}}}]}}')
    frames.append(
        f'{{"choices": [{{"index": 0, "delta": {{}}, "finish_reason": "stop"}}], "usage": {json.dumps(USAGE)}}}'
    )
    frames.append("[DONE]")
    return _events(frames)


def _stream_faults(asked: Asked) -> Answer:
    echo = asked.echo()
    bad = [f'{{"error": {{"code": "{echo}", "message": "no {echo}"}}}}', f"{{oops {echo}", f'{{"choices": "{echo}"}}']
    first = '{"id": "1", "choices": [{"index": 0, "delta": {"content": "x"}}]}'
    return _events([first, bad[asked.form % len(bad)]])


def _events(frames: list[str]) -> Answer:
    body = "".join(f"data: {frame}\n\n" for frame in frames)
    return Answer(body, headers={"Content-Type": "text/event-stream"})


def _tools(asked: Asked) -> Answer:
    if any(message["role"] == "tool" for message in asked.body["messages"]):
        return completion(f'{{"content": "done {asked.echo()}"}}')
    echo = asked.echo()
    arguments = json.dumps(f'{{"n": {asked.form}, "note": "')[1:-1] + echo + '\\"}'
    name = f"x {echo}" if asked.form == 0 else ("give", "fail", "give_later", "fail_later")[asked.form % 4]
    call = f'{{"id": "c {echo}", "type": "function", "function": {{"name": "{name}", "arguments": "{arguments}"}}}}'
    return completion(f'{{"content": null, "tool_calls": [{call}]}}', finish='"tool_calls"')


TOOLS = '''
import json
import os

from batch import tool

def secret(n):
    key = os.environ["OPENAI_API_KEY"]
    shape = n % 4
    if shape == 0:
        return f"found {key} and {key.upper()}"
    if shape == 1:
        return {"key": key, key: [key], "all": dict(os.environ)["OPENAI_API_KEY"]}
    if shape == 2:
        return json.dumps(json.dumps({"key": key})) + "".join(f"\\\\u{ord(char):04x}" for char in key)
    return "x" * 65_480 + key * 9


@tool
def give(n: int, note: str) -> object:
    """Give it."""
    return secret(n // 4)


@tool
def fail(n: int, note: str) -> object:
    """Fail with it."""
    raise ValueError("x" * (1_970 if n % 8 == 1 else 0), secret(n // 4 % 3))


@tool
async def give_later(n: int, note: str) -> object:
    """Give it."""
    return secret(n // 4)


@tool
async def fail_later(n: int, note: str) -> object:
    """Fail with it."""
    raise KeyError(secret(n // 4 % 3))
'''


def _refusals(asked: Asked) -> Answer:
    echo = asked.echo()
    long = "x" * (480 if asked.form % 2 else 0)
    error = f'"code": "{long[:55]}{echo}", "type": "{echo}", "message": "{long}{echo} is no key, {echo}"'
    return Answer(f'{{"error": {{{error}}}, "request_id": "{echo}"}}', 400, {"X-Request-Id": asked.key})


def _auth(asked: Asked) -> Answer:
    return Answer(f'{{"error": {{"code": "invalid_api_key", "message": "not {asked.echo()}"}}}}', 401)


def _pages(asked: Asked) -> Answer:
    space = "\n" * (1_900 if asked.form % 2 else 0)
    return Answer(f"<html>{space}{asked.key} {asked.echo()}</html>", (400, 502, 403, 413)[asked.form % 4])


def _headers(asked: Asked) -> Answer:
    key = asked.key
    coding = {"Content-Encoding": key} if asked.form % 3 == 1 else {}
    limits = {"X-RateLimit-Limit-Requests": key, "X-RateLimit-Reset-Requests": key, "Retry-After": key}
    ids = {"X-Request-Id": key, "X-Log-Id": key, "Set-Cookie": f"k={key}", "X-Echo": key.upper()}
    status = 400 if asked.form % 3 == 2 else 200
    return Answer(completion('{"content": "fine"}').body, status, {**coding, **limits, **ids})


def _redirects(asked: Asked) -> Answer:
    key = asked.key
    to = [f"https://else.example/?key={key}", f"https://me:{key}@else.example/x#token={key}", f"/{key}?x={key}"]
    return Answer("", 302, {"Location": to[asked.form % 3]})


def _tasks(asked: Asked) -> Answer:
    if "/async-result/" not in asked.path:
        echo = asked.echo()
        ids = f"task {echo}" if asked.form % 2 else f"task-{asked.form}"
        return Answer(f'{{"id": "{ids}", "request_id": "{echo}", "model": "{echo}", "task_status": "PROCESSING"}}')
    asked.number = int(asked.path.rpartition("-")[2].split("?")[0] or 0)
    echo = RAW[FORMS[asked.number % len(FORMS)]](asked.key)
    if asked.number % 4 == 0:
        return Answer(f'{{"task_status": "FAIL", "error": {{"code": "{echo}", "message": "no {echo}"}}}}')
    return completion(f'{{"content": "{echo}"}}', more=f', "task_status": "SUCCESS", "request_id": "{echo}"')


WAYS: dict[str, Way] = {
    "answers": Way(_answers),
    "names": Way(_names),
    "streams, cut over the chunks": Way(_stream, lane="stream"),
    "streams with faults": Way(_stream_faults, lane="stream"),
    "tools": Way(_tools, tools=TOOLS),
    "refusals": Way(_refusals),
    "refused keys": Way(_auth, rows=3),
    "pages": Way(_pages),
    "headers": Way(_headers),
    "redirects": Way(_redirects, rows=3, proof="redirects to"),
    "tasks": Way(_tasks, lane="task", provider="glm"),
    "tokens": Way(_answers, provider="glm", model='key_form = "jwt"\n'),
    "tokens in refusals": Way(_refusals, provider="glm", model='key_form = "jwt"\n'),
}
"""What comes over the wire; addresses, signatures and tracebacks are `key_campaign`'s own ways."""


@contextmanager
def provider(way: Way, look: Callable[[], None]) -> Iterator[tuple[str, list[Asked]]]:
    """The hostile provider: its root URL, and what it was asked; `look` is called at each request."""
    seen: list[Asked] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def do_GET(self) -> None:
            self._answer({})

        def _answer(self, body: dict[str, Any]) -> None:
            key = self.headers["Authorization"].removeprefix("Bearer ")
            with lock:
                asked = Asked(key, self.path, body, len(seen))
                seen.append(asked)
                look()
            answer = way.answer(asked)
            data = answer.body.encode()
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
