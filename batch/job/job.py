"""The job: what `job.toml` says, checked and frozen.

Owns the shape of `job.toml`: which keys there are, what they may hold, and their defaults; what each means is in
`keys`. Everything wrong is reported at once. It opens no file but the job file: `batch.input` finds out whether the
input can be read, `batch.prompts` whether the templates compile.

A `Job` may also be built in code: what a value may be in a file it may be there, a text for a path above all; relative
paths are taken from `folder`, as they are from the job's folder in a file, and the same checks run. API keys never
stand in a job: they come from a variable, a file or a command.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

import msgspec
from msgspec import Meta, Struct

from batch.core import places
from batch.core.errors import JobError
from batch.core.hours import Window
from batch.core.nearest import did_you_mean
from batch.job import built, checks, digest, document, providers
from batch.job.budgetspec import BudgetSpec
from batch.job.bulkspec import BulkSpec
from batch.job.endpointspec import EndpointSpec, ModelLimitSpec, RequestsPerMinute, TokensPerMinute, misread
from batch.job.faults import Fault
from batch.job.fieldtypes import PLACE, KeyCommand, KeyFile, size, windows
from batch.job.labelspec import LabelSpec, Name
from batch.job.lanes import LaneChoice, Laned
from batch.job.providers import ProviderSpec
from batch.job.shard import divided
from batch.job.toolspec import ToolSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    AnyPath = Any  # a text will do where a job is built in code; what is read from a job is a `Path`
else:
    AnyPath = Path

PUBLISH_EVERY_S: Final = 60.0
Seconds = Annotated[float, Meta(gt=0, le=31_536_000, description="seconds, more than 0, for example 600")]


class InputSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the rows come from."""

    path: Annotated[
        AnyPath,
        Meta(description='a file, a folder or a pattern: "tickets.parquet", "in/**/*.jsonl.gz"', extra=PLACE),
    ]
    key: Annotated[Name | None, Meta(description="the name of the column that identifies a row")] = None
    format: Annotated[Literal["rows", "openai-batch"], Meta(description='"rows" or "openai-batch"')] = "rows"
    max_row_bytes: Annotated[
        int,
        Meta(ge=1, le=1 << 30, description='bytes, or a size such as "16MB" (at most "1GB")', extra={"read": size}),
    ] = 16_000_000
    types: Annotated[
        dict[str, str], Meta(description='a table of column = Arrow type, for example { amount = "decimal(12,2)" }')
    ] = {}
    delimiter: Annotated[
        Annotated[str, Meta(pattern=r'^[^"\r\n\x80-\U0010ffff]$')] | None,
        Meta(description='one character, for example ";"'),
    ] = None
    """What separates the cells of CSV; a comma by default, in .tsv a tab."""
    hive_partitioning: Annotated[bool, Meta(description="true or false")] = False
    """Whether folders such as `day=2026-11-29` make columns, here `day`."""
    file_column: Annotated[Name | None, Meta(description='a name for the column, for example "source"')] = None
    """The column that says which file a row is from."""


class PromptSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked: templates, or a column that holds the messages."""

    system: Annotated[Name | None, Meta(description="a template that is not empty")] = None
    user: Annotated[Name | None, Meta(description="a template that is not empty")] = None
    messages: Annotated[Name | None, Meta(description="the name of a column that holds role/content messages")] = None
    turns: Annotated[Name | None, Meta(description="the name of a column that holds a list of user messages")] = None
    start: Annotated[
        tuple[dict[str, str], ...],
        Meta(description='a list of messages the conversation begins with: [{ role = "user", content = "Hi" }, …]'),
    ] = ()
    images: Annotated[tuple[Name, ...], Meta(description='a list of columns with pictures, for example ["photo"]')] = ()
    variants: Annotated[
        dict[str, dict[str, str]],
        Meta(description='a table of prompts over the same rows: { short = { user = "…" } }'),
    ] = {}
    empty: Annotated[Literal["fail", "send"], Meta(description='"fail" or "send"')] = "fail"
    """What becomes of a row that says nothing."""
    dedupe: Annotated[bool, Meta(description="true or false")] = False
    """Whether rows that ask the same are asked once."""


class ModelSpec(Laned, Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is asked, and how."""

    provider: Annotated[Name, Meta(description='a provider, for example "glm"')]
    name: Annotated[str, Meta(description='a model, for example "glm-4"')] = ""
    names: Annotated[
        tuple[Name, ...], Meta(description='a list of models, each asked for every row: ["glm-4", "glm-3-turbo"]')
    ] = ()
    lane: LaneChoice = "sync"
    served: Annotated[Literal["any", "same"], Meta(description='"any" or "same"')] = "any"
    parameters: Annotated[
        dict[str, Any], Meta(description="a table sent with each request: { temperature = 0.1 }")
    ] = {}
    base_url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")] | None,
        Meta(description="an http:// or https:// address without a password, ? or # in it"),
    ] = None
    api_key_env: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")] | None,
        Meta(description='the NAME of an environment variable, for example "ZAI_API_KEY"; never the key itself'),
    ] = None
    key_file: KeyFile = None
    key_command: KeyCommand = ()
    key_form: Annotated[Literal["raw", "jwt"], Meta(description='"raw" or "jwt"')] = "raw"
    endpoints: Annotated[
        tuple[EndpointSpec, ...],
        Meta(
            description="a list of addresses, each with base_url and perhaps name, a key, limits and weight: "
            '[{ base_url = "https://a.example/v1", limits = { requests_per_minute = 60 } }]',
            extra={"why": misread},
        ),
    ] = ()


class LimitSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast, how long and how often."""

    concurrency: Annotated[int, Meta(ge=1, le=10_000, description="a whole number from 1 to 10000")] = 50
    requests_per_minute: RequestsPerMinute = None
    tokens_per_minute: TokensPerMinute = None
    adapt: Annotated[bool, Meta(description="true or false")] = True
    call_timeout_s: Seconds = 600.0
    first_chunk_timeout_s: Seconds = 300.0
    idle_timeout_s: Seconds = 60.0
    task_timeout_s: Seconds = 86_400.0
    deadline_s: Seconds | None = None
    """How long a row may be open; None for as long as it takes."""
    max_attempts: Annotated[int, Meta(ge=1, le=1_000, description="a whole number from 1 to 1000")] = 8
    hours: Annotated[
        tuple[Window, ...],
        Meta(description='hours and a time zone, for example "22:00-08:00 Asia/Shanghai"', extra={"read": windows}),
    ] = ()
    share: Annotated[Literal["key", "none"], Meta(description='"key" or "none"')] = "key"
    max_spill: Annotated[
        int, Meta(ge=1, le=1 << 50, description='bytes, or a size such as "2GB" (at least 1)', extra={"read": size})
    ] = 2_000_000_000
    """What the input of rows that wait may take on the disk."""
    model: Annotated[dict[str, ModelLimitSpec], Meta(description='a table for each model: [limits.model."glm-4"]')] = {}


class OutputSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the answers go, and which columns of the input stand beside them."""

    path: Annotated[AnyPath, Meta(description='a folder, for example "out/{name}"', extra=PLACE)] = Path("out/{name}")
    rows_per_part: Annotated[int, Meta(ge=1, le=10_000_000, description="a whole number of rows, at least 1")] = 10_000
    columns: Annotated[tuple[Name, ...] | None, Meta(description='a list of input columns: ["ticket_id"]')] = None
    messages: Annotated[Literal["turns", "all", "none"], Meta(description='"turns", "all" or "none"')] = "turns"
    publish_every_s: Seconds = PUBLISH_EVERY_S
    """A part that still waits for rows can be read first when an outcome has waited so long, then whenever its outcomes
    have grown by a quarter."""


SECTIONS: Final[dict[str, type[Struct]]] = {
    "input": InputSpec,
    "prompt": PromptSpec,
    "model": ModelSpec,
    "limits": LimitSpec,
    "tools": ToolSpec,
    "labels": LabelSpec,
    "budget": BudgetSpec,
    "bulk": BulkSpec,
    "output": OutputSpec,
}

TABLES: Final[dict[str, type[Struct]]] = {"provider": ProviderSpec}
"""Sections that a job may have several of, each with a name of its own: `[provider.NAME]`."""

TOP: Final = {
    "name": Annotated[
        str,
        Meta(
            pattern=r"^[^\x00-\x20./\\{}][^\x00-\x1f/\\{}]{0,99}$",
            description="a name that can be a folder: at most 100 characters, no / \\ { }, no dot or blank in front",
        ),
    ],
    "tags": Annotated[dict[str, str], Meta(description='a table of texts, for example { team = "support" }')],
    "prices": Annotated[AnyPath | None, Meta(description='a file of [[price]] tables: "my-prices.toml"')],
}


class Job(Struct, frozen=True, kw_only=True, dict=True):
    """Everything a run needs to know; all paths are absolute. Without a name it has that of its folder."""

    name: str = ""
    folder: AnyPath = Path()
    input: InputSpec
    model: ModelSpec
    provider: dict[str, ProviderSpec] = {}
    prompt: PromptSpec = PromptSpec()
    tags: dict[str, str] = {}
    prices: AnyPath | None = None
    limits: LimitSpec = LimitSpec()
    tools: ToolSpec | None = None
    labels: LabelSpec | None = None
    budget: BudgetSpec | None = None
    bulk: BulkSpec = BulkSpec()
    output: OutputSpec = OutputSpec()

    def __post_init__(self) -> None:
        """Make paths absolute and check what the types alone do not.

        Raises:
            JobError: the job is wrong; the error names every fault.
        """
        put, resolve = msgspec.structs.force_setattr, msgspec.structs.replace
        values, faults = built.values(self, SECTIONS, TOP)
        if faults:
            raise JobError([fault.line() for fault in faults], where=f"job {self.name!r}" if self.name else "job")
        for name, value in values.items():
            put(self, name, value)
        folder = self.folder.expanduser().absolute()
        put(self, "folder", folder)
        out = Path(str(self.output.path).replace("{name}", self.name))
        put(self, "input", resolve(self.input, path=places.beside(folder, self.input.path)))
        if self.input.format == checks.BATCH_FILE:
            put(self, "input", resolve(self.input, key="custom_id"))
            if self.prompt.user is None and self.prompt.messages is None and self.prompt.turns is None:
                put(self, "prompt", resolve(self.prompt, messages="messages"))
        if not self.model.name and self.model.names:
            put(self, "model", resolve(self.model, name=self.model.names[0]))
        put(self, "output", resolve(self.output, path=places.beside(folder, out)))
        put(self, "prices", self.prices and places.beside(folder, self.prices))
        if self.tools is not None:
            module = None if self.tools.module is None else places.beside(folder, self.tools.module)
            put(self, "tools", resolve(self.tools, module=module, folder=places.beside(folder, self.tools.folder)))

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        overrides: Sequence[str] = (),
        output: Path | None = None,
        lane: str | None = None,
        max_cost: str | None = None,
        shard: str | None = None,
    ) -> Self:
        """Read a job folder or its `job.toml`.

        Args:
            path: the folder, or the file itself.
            overrides: settings of the form `section.key=value`; a value that is not TOML is plain text.
            output: replaces `output.path`; relative to the working directory.
            lane: replaces `model.lane`.
            max_cost: replaces `budget.max_cost`.
            shard: have one part of the job alone, such as `0/3`, with its part of each limit.

        Raises:
            RefusedToStart: `shard` names no part.
            JobError: the job is wrong; the error names every fault with its key, line, value and way out.
        """
        file = document.read(Path(path))
        file.override(overrides)
        if lane is not None:
            file.put(("model", "lane"), lane, origin=f"--lane {lane}")
        if max_cost is not None:
            file.put(("budget", "max_cost"), max_cost, origin=f"--max-cost {max_cost}")
        if output is not None:
            file.put(("output", "path"), places.text(places.absolute(output)), origin=f"-o {places.text(output)}")
        source = file.values.get("input")
        brings_messages = isinstance(source, dict) and source.get("format") == checks.BATCH_FILE
        optional = frozenset(SECTIONS) - {"input", "model", *(() if brings_messages else ("prompt",))}
        values, fields, faults = file.sections(SECTIONS, TOP, optional=optional, tables=TABLES)
        values.setdefault("name", file.path.parent.name or "job")
        nearly = did_you_mean(["name"])
        misspelt = any(fault.path[:1] == ("model",) and fault.text.endswith(nearly) for fault in faults)
        faults += [
            fault for fault in checks.faults_across_fields(fields) if not (misspelt and fault.path == ("model", "name"))
        ]
        asked = fields.get("model", {}).get("provider")
        faults += [Fault(*fault) for fault in providers.faults(file.values.get("provider"), asked)]
        if lines := file.lines(faults):
            raise JobError(lines, where=str(file.path))
        job = cls(folder=file.path.parent, **values)
        # Beside the fields: the same job is the same, wherever it is written down.
        job.__dict__.update(file=file.path, document=file)
        return job if shard is None else divided(job, shard)

    @property
    def where(self) -> str:
        """How an error names the job: by its file, or by its name when it was built in code."""
        file = self.__dict__.get("file")
        return f"job {self.name!r}" if file is None else str(file)

    @property
    def settings(self) -> dict[tuple[str, ...], tuple[Any, str]]:
        """By key that was given, its value and where that came from (a flag, a line); empty for a job from code."""
        file = self.__dict__.get("document")
        return {} if file is None else file.settings()

    def request_part(self) -> dict[str, Any]:
        """The part of the job that decides what the model is asked.

        A change in it makes answers stale and closes a run as `job_changed`. Lane, limits, tags, output, base_url and
        max_turns are not in it. The caller adds the content of the tool module, and what a valid label is.
        """
        return {
            "provider": self.model.provider,
            "model": self.model.name,
            "parameters": self.model.parameters,
            "system": self.prompt.system,
            "user": self.prompt.user,
            "messages": self.prompt.messages,
            **self._more_asked(),
            "input": {
                "path": places.text(self.input.path),
                "key": self.input.key,
                "types": self.input.types,
                **digest.later(self.input),
                **({"format": self.input.format} if self.input.format != "rows" else {}),
            },
        }

    def _more_asked(self) -> dict[str, Any]:
        """Keys that only some jobs have, left out where empty: a run without them goes on under a newer version."""
        prompt = self.prompt
        more = {
            "turns": prompt.turns,
            "start": list(prompt.start),
            "images": list(prompt.images),
            "variants": prompt.variants,
            "names": list(self.model.names),
        }
        return {name: value for name, value in more.items() if value}

    def digest(self) -> str:
        """A hash of the whole job, as 32 hex digits; equal digests mean that nothing in the job changed."""
        return digest.of(self)
