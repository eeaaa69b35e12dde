"""What every key of `job.toml` means, for people: one sentence or a few, and an example.

Owns these words, and nothing that the structs say themselves: what a key takes and its default are read from them. Who
adds a key to a struct adds a line to `KEYS`; a test compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from batch.job.budgetkeys import BUDGET_KEYS
from batch.job.fieldtypes import fields_of, table_kind, wanted
from batch.job.job import SECTIONS, TABLES, TOP
from batch.job.labelkeys import LABEL_KEYS, Words
from batch.job.limitkeys import LIMIT_KEYS
from batch.job.promptkeys import PROMPT_KEYS
from batch.job.providerkeys import PROVIDER_KEYS

KEYS: Final[dict[str, Words]] = {
    "name": Words(
        "The name of the job: in the output path, in every summary. Without it the name of the folder.",
        'name = "label-tickets"',
    ),
    "tags": Words("Copied to every call; what was spent can be grouped by them.", 'tags = { team = "support" }'),
    "prices": Words(
        "A price file of your own: what it says of a model wins over the price book that comes with promptmill. It "
        "changes what is booked from now on, and never asks a row again. `promptmill explain price` has its keys.",
        'prices = "my-prices.toml"',
    ),
    # -- input
    "input.path": Words(
        "Where the rows come from: Parquet, or JSONL or CSV, plain or packed with gzip or zstd. Files are read in the "
        "order of their names. A relative path starts at the job's folder; s3://, gs:// and az:// name objects in a "
        "store.",
        'path = "tickets.parquet"',
    ),
    "input.key": Words(
        "The column a row is known by from night to night. Without it a row is known by its content, and an edited row "
        "is a new one.",
        'key = "ticket_id"',
    ),
    "input.format": Words(
        'What a JSONL line is: "rows", or with "openai-batch" a request of an OpenAI batch file, known by its '
        "custom_id.",
        'format = "openai-batch"',
    ),
    "input.max_row_bytes": Words(
        "A larger row fails unread, with the kind input, so that one line cannot fill the memory.",
        'max_row_bytes = "4MB"',
    ),
    "input.types": Words(
        "Types of JSONL or CSV columns. Without it CSV is text, and types of JSONL are fixed from the first 10,000 "
        "lines and kept for later runs; what does not fit stands in the column input_rest.",
        'types = { amount = "decimal(12,2)" }',
    ),
    "input.delimiter": Words(
        "What stands between the cells of a CSV file; without it a comma, or a tab in .tsv.", 'delimiter = ";"'
    ),
    "input.hive_partitioning": Words(
        "Whether folders named like day=2026-11-29 make a column of the part before the sign.",
        "hive_partitioning = true",
    ),
    "input.file_column": Words(
        "A column of this name with the file each row stands in. A row is the same when its file was renamed.",
        'file_column = "source"',
    ),
    **PROMPT_KEYS,
    # -- model
    "model.provider": Words(
        "Who is asked: a built-in provider (glm, zai, openai, dashscope, deepseek, moonshot, vllm, simulator) or the "
        "NAME of a table [provider.NAME].",
        'provider = "glm"',
    ),
    "model.name": Words(
        "The model, by the name the provider has for it. One of name and names is needed.",
        'name = "glm-4"',
    ),
    "model.names": Words(
        "Instead of name: several models, each asked for every row. `promptmill compare OUT` shows where they differ.",
        'names = ["glm-4", "glm-3-turbo"]',
    ),
    "model.lane": Words(
        'How a request travels: "sync" is one request and one reply, "stream" the reply in pieces, "task" a submit, '
        'then polls (glm and zai), "bulk" files of requests at half the price, whose answers may take a day (glm, zai, '
        "openai, dashscope, moonshot). "
        '["bulk", "sync"] (or stream or task as the second) sends what a batch did not answer the other way: lines '
        "that failed for a passing reason, and what it had not done when it expired or bulk.deadline was over. "
        '"auto" does the same so that all is done by bulk.by: it decides itself when a batch is waited for no longer. '
        "Changing the lane asks no answered row again.",
        'lane = "task"',
    ),
    "model.served": Words(
        'What to do when another model answers than the one asked: "any" keeps the answer with a flag, "same" fails '
        "the row.",
        'served = "same"',
    ),
    "model.parameters": Words(
        'What is sent with each request besides model and messages. { column = "most" } takes the row\'s own value.',
        "parameters = { temperature = 0.1, max_tokens = 64 }",
    ),
    "model.base_url": Words(
        "Another address of the provider, as far as its version and without the endpoint. Without it the provider's "
        "own, or that of its *_BASE_URL variable.",
        'base_url = "http://127.0.0.1:8311/api/paas/v4"',
    ),
    "model.api_key_env": Words(
        "The name of the environment variable with the API key, instead of the provider's usual one. Keys themselves "
        "never stand in a job.",
        'api_key_env = "MY_ZAI_KEY"',
    ),
    "model.key_file": Words(
        "A file that holds the API key alone, instead of a variable. A relative path starts at the job's folder. It is "
        "read at the start of a run, and again when the service refuses the key.",
        'key_file = "~/.secrets/zai.key"',
    ),
    "model.key_command": Words(
        "A command that prints the API key, instead of a variable, such as a password manager. No shell reads it, it "
        "runs in the job's folder and has 30 s. What it prints and complains of is never shown. It runs when a job is "
        "checked or run, and again when the service refuses the key: one that is good for an hour will do for a week.",
        'key_command = "pass show zai"',
    ),
    "model.key_form": Words(
        'How a GLM key is sent: "raw" as it is, "jwt" as a short-lived token signed with it.',
        'key_form = "jwt"',
    ),
    "model.endpoints": Words(
        "Several addresses that are asked in place of one: the provider's with several keys, or servers of your own. "
        "Each has a base_url, and may have a name (host and port without one), api_key_env, key_file or key_command "
        "(else the job's own way to the key), limits (concurrency, requests_per_minute and tokens_per_minute, of each "
        "model there) and a weight. A call goes where there is room, in proportion to the weights. An address that "
        "does not answer is left alone but for a probe now and then, one that refuses its key for the whole run; the "
        "others go on. Tasks and batches are asked for where they were made. The column endpoint tells which one was "
        "asked.",
        'endpoints = [{ base_url = "http://10.0.0.7:8000/v1" }, '
        '{ base_url = "http://10.0.0.8:8000/v1", limits = { requests_per_minute = 600 } }]',
    ),
    **LIMIT_KEYS,
    # -- tools
    "tools.module": Words(
        "The Python file with the functions that the model may call, each marked with @tool.",
        'module = "tools.py"',
    ),
    "tools.max_turns": Words(
        "The most replies of the model for one row; one that still asks for tools then fails as tool_loop.",
        "max_turns = 6",
    ),
    "tools.coerce": Words(
        'Whether an argument of the wrong type is taken for what it can only mean, such as "2" for an integer; the row '
        "is flagged coerced. Without it the model is told what is wrong.",
        "coerce = true",
    ),
    "tools.allow": Words(
        "The names of the tools that this job offers. Without it all; a call of another is told that there is no such.",
        'allow = ["read_file", "write_file"]',
    ),
    "tools.calls_per_row": Words(
        "The most calls of tools for one row. A further one is not run: the model is told so, and may still answer.",
        "calls_per_row = 20",
    ),
    "tools.policy": Words(
        "What to do when the process ended while a tool with effects was at work, so that nobody knows whether it has "
        'run: "fail" ends the row as tool/interrupted, "ask_model" tells the model so, "rerun" runs it again.',
        'policy = "ask_model"',
    ),
    "tools.shipped": Words(
        "Tools that promptmill brings along: two for the files in tools.folder, one for the memory of this machine.",
        'shipped = ["read_file", "write_file", "memory_info"]',
    ),
    "tools.folder": Words(
        "The folder that read_file and write_file cannot leave. A relative path starts at the job's folder.",
        'folder = "notes"',
    ),
    "tools.timeout_s": Words(
        "The seconds that one call of a tool may take; then it is ended with all that it started, and the model told.",
        "timeout_s = 10",
    ),
    "tools.memory": Words(
        "The memory that the process of a tool may have; a call that needs more gets a MemoryError.",
        'memory = "500MB"',
    ),
    "tools.environment": Words(
        "The environment variables that tools see, beside PATH, HOME, TMPDIR, TZ and those of the language. Keys of "
        "providers are never among them.",
        'environment = ["DATABASE_URL"]',
    ),
    **LABEL_KEYS,
    **BUDGET_KEYS,
    # -- bulk
    "bulk.wave_wait_s": Words(
        "In lane bulk: how long a file of requests that is not full waits for more of them, such as the next turns of "
        "conversations. When no more can come it goes up at once.",
        "wave_wait_s = 600",
    ),
    "bulk.deadline": Words(
        "How long the provider has for a batch, from the moment its file was made. Then it is told to cancel it; when "
        "nothing of it can change any more, its answers are collected, and the rows without one go on in the second of "
        "two lanes, or fail for now in lane bulk alone. Without it a batch has as long as the provider takes.",
        'deadline = "6h"',
    ),
    "bulk.by": Words(
        "In lane auto: when all rows are to be done. A time with its zone is the next one after the run began, also "
        "where the run goes on later; a day with it is that moment alone. What a batch would not bring by then is "
        "taken back from it in time, and bought in lane sync; rows for which no batch has time go there at once.",
        'by = "08:00 Asia/Shanghai"',
    ),
    "bulk.lines": Words("In lane bulk: the most requests of one file; each file has at most 32 MB.", "lines = 10_000"),
    # -- output
    "output.path": Words(
        "The output folder; {name} stands for the job's name. A relative path starts at the job's folder; a place in "
        "an object store is s3://bucket/prefix, with pip install 'promptmill[stores]'.",
        'path = "out/{name}"',
    ),
    "output.rows_per_part": Words("How many rows one Parquet file of results holds.", "rows_per_part = 50_000"),
    "output.columns": Words(
        "The input columns that stand beside the answers. Without it all of them.",
        'columns = ["ticket_id", "subject"]',
    ),
    "output.messages": Words(
        'What the column messages keeps of the conversation: "turns" what followed the first request, "all" that as '
        'well, "none" nothing.',
        'messages = "all"',
    ),
    "output.publish_every_s": Words(
        "How soon a part that is not full can be read: first after so many seconds, then at each quarter more.",
        "publish_every_s = 600",
    ),
    **PROVIDER_KEYS,
}
"""By key. NAME stands for a name of the job's own."""

SECTION_TEXTS: Final = {section: kind.__doc__ or "" for section, kind in {**SECTIONS, **TABLES}.items()}

_HEADERS: Final = {"limits.model.NAME": '[limits.model."glm-4"]', "provider.NAME": "[provider.mycorp]"}


_TOP_DEFAULTS: Final = {"name": "none: that of the folder", "tags": "{}", "prices": "none"}


class Key(NamedTuple):
    """One key of `job.toml`.

    Attributes:
        name: dotted, such as `limits.concurrency`.
        text: what it means.
        takes: what it may hold.
        default: as TOML would have it; `needed` when there is none, `none` for nothing at all.
        example: lines of a job file, its section included.
    """

    name: str
    text: str
    takes: str
    default: str
    example: str


def all_keys() -> Iterator[Key]:
    """Every key there is, in the order of the structs."""
    for name, kind in TOP.items():
        yield _key(name, kind, _TOP_DEFAULTS[name])
    for section, struct in SECTIONS.items():
        yield from _fields(section, struct)
    for section, struct in TABLES.items():
        yield from _fields(f"{section}.NAME", struct)


def _fields(section: str, struct: type[msgspec.Struct]) -> Iterator[Key]:
    for field in fields_of(struct):
        yield _key(f"{section}.{field.name}", field.type, _default(field))
        if (inner := table_kind(field.type)) is not None:
            yield from _fields(f"{section}.{field.name}.NAME", inner)


def _key(name: str, kind: Any, default: str) -> Key:
    text, example = KEYS[name]
    section = name.rpartition(".")[0]
    if section and not example.startswith("["):
        example = f"{_HEADERS.get(section, f'[{section}]')}\n{example}"
    return Key(name, text, wanted(kind), default, example)


def _default(field: Any) -> str:
    if field.required:
        return "needed"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None or value == "":
        return "none"
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:_}".removesuffix(".0")
    return json.dumps(value, ensure_ascii=False)
