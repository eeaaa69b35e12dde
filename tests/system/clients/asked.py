"""What the tests of the official clients ask: the same of every client, so of no client's types."""

from __future__ import annotations

from typing import Any

HELLO: Any = [{"role": "user", "content": "请问 hello 你好 world"}]
SUM: Any = [{"role": "user", "content": "What is 3 + 4? And 5 + 6?"}]
ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
