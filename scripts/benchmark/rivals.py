"""Programs of others that do the same work, and environments of their own for them.

Owns what a user of each would write. Each prints nothing, and fails where an answer is missing or its usage is wrong.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGES = {"lm-deluge": ["lm-deluge==0.0.168", "uvloop"], "sdk": ["openai", "zai-sdk==0.2.3"]}
"""By the name of an environment, what is installed there."""

BARE = """
import sys, anyio, msgspec
from batch.core.records import Request
from batch.http.client import Client
from batch.providers.registry import dialect
async def main(path, url, width):
    speak, base = dialect("glm", base_url=url, key=sys.argv[4])
    client = Client(base, call_timeout_s=600)
    lines = iter(open(path, "rb"))
    async def work():
        for line in lines:
            row = msgspec.json.decode(line)
            asked = Request(model="glm-4", messages=[{"role": "user", "content": row["text"]}])
            reply = speak.read_chat(await client.exchange(speak.chat(asked, "bench")))
            assert reply.usage.total_tokens == 184
    async with anyio.create_task_group() as group:
        for _ in range(width):
            group.start_soon(work)
    await client.aclose()
anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
"""
"""A semaphore's worth of workers on our own transport, which decodes the replies and keeps nothing."""

DELUGE = """
import asyncio, json, sys
from lm_deluge import Conversation, LLMClient
from lm_deluge.models import register_model
path, url, width = sys.argv[1], sys.argv[2], int(sys.argv[3])
register_model(id="stub", name="glm-4", api_base=url, api_key_env_var="OPENAI_API_KEY", api_spec="openai",
               input_cost=0, output_cost=0)
client = LLMClient("stub", max_requests_per_minute=10**9, max_tokens_per_minute=10**12,
                   max_concurrent_requests=width, request_timeout=600)
rows = [json.loads(line) for line in open(path, "rb")]
prompts = [Conversation().user(row["text"]) for row in rows]
answers = asyncio.run(client.process_prompts_async(prompts, show_progress=False))
assert sum(answer.usage.input_tokens + answer.usage.output_tokens for answer in answers) == 184 * len(rows)
with open(path + ".deluge", "w") as file:
    for row, answer in zip(rows, answers):
        file.write(json.dumps({**row, "answer": answer.completion, "usage": vars(answer.usage)}, default=str) + "\\n")
"""

ZAI = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from zai import ZhipuAiClient
path, url, width = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = ZhipuAiClient(api_key=sys.argv[4], base_url=url)
def ask(line):
    asked = [{"role": "user", "content": json.loads(line)["text"]}]
    task = client.chat.asyncCompletions.create(model="glm-4", messages=asked)
    while True:
        found = client.chat.asyncCompletions.retrieve_completion_result(id=task.id)
        if found.task_status != "PROCESSING":
            assert found.usage.total_tokens == 184
            return found.choices[0].message.content
        time.sleep(0.5)
with ThreadPoolExecutor(width) as pool:
    assert all(pool.map(ask, open(path, "rb")))
"""

OPENAI = """
import asyncio, json, sys
import openai
async def main(path, url, width):
    lines = iter(open(path, "rb"))
    answers = []
    async with openai.AsyncOpenAI(base_url=url, api_key=sys.argv[4], max_retries=0) as client:
        async def work():
            for line in lines:
                pieces, usage, finish = [], None, None
                stream = await client.chat.completions.create(
                    model="gpt-5-mini", messages=[{"role": "user", "content": json.loads(line)["text"]}], stream=True,
                    stream_options={"include_usage": True})
                async for chunk in stream:
                    usage = chunk.usage or usage
                    for choice in chunk.choices:
                        pieces.append(choice.delta.content or "")
                        finish = choice.finish_reason or finish
                assert finish == "stop" and usage.total_tokens == 320
                answers.append(("".join(pieces), usage))
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(work())
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""
"""What a user of the openai package writes: workers over the rows, text and usage kept."""


def environments(root: Path) -> dict[str, Path]:
    """Make an environment for each of them, once; their interpreters by name.

    Args:
        root: the folder that has them.
    """
    found = {}
    for name, packages in PACKAGES.items():
        python = root / name / "bin" / "python"
        stamp = root / name / "installed"
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != " ".join(packages):
            print(f"bench: installing {' and '.join(packages)} into {root / name}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(root / name)], check=True)
            install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
            subprocess.run([*install, *packages], check=True)
            stamp.write_text(" ".join(packages), encoding="utf-8")
        found[name] = python
    return found
