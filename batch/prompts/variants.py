"""The variants of a job: each asks every row with a prompt, a model and parameters of its own.

Owns which variants there are, what each asks of a row, and the fingerprint of that. There may be several models
(`model.names`), several prompts (`prompt.variants`), or each with each. A job without variants has one, whose name is
empty in the ledger and null in the table. What is written as a list names its variants even when it holds one: a model
taken away or added later must leave the others' names, and so their answers, as they are. Renders through `prompt`;
knows no row but the one it is handed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from batch.core.canonical import Fingerprint
from batch.core.records import Failure, Message, RowRequest
from batch.job.job import Job, PromptSpec
from batch.labels.schema import LabelSchema
from batch.prompts import emptiness, images
from batch.prompts.images import Files
from batch.prompts.prompt import Prompt
from batch.prompts.sizes import size_of
from batch.prompts.template import PromptFault
from batch.providers import message_rules, parameters
from batch.providers.parameters import Finding
from batch.providers.service import Service
from batch.tools.registry import ToolSet

Packed: TypeAlias = "tuple[Any, ...]"
"""The messages of a request, packed: their size in bytes, then role and text of each."""


class Variant:
    """One variant: what a job asks of every row with one model and one prompt.

    Args:
        job: whose parameters, provider and lane it has.
        tools: the functions offered with every request.
        prompt: what is asked.
        service: who is asked; None when no provider has that name, which is a fault reported elsewhere.
        labels: what a valid label is; None where none is asked for.
        name: of the variant; empty when the job has no variants.
        number: its position in the job, from 0.
        model: who answers.

    Attributes:
        columns: the columns it reads.
        texts: those of them that are put into text; the others are pictures.
        reads_files: what a row asks may be in a file that its prompt or the row names.
    """

    def __init__(
        self,
        job: Job,
        tools: ToolSet,
        prompt: Prompt,
        *,
        service: Service | None,
        labels: LabelSchema | None,
        name: str,
        number: int,
        model: str,
    ) -> None:
        self._service = service
        self.name = name
        self.number = number
        self.model = model
        self.prompt = prompt
        self._fixed = {name: value for name, value in job.model.parameters.items() if column_of(value) is None}
        self._columns = {
            name: column for name, value in job.model.parameters.items() if (column := column_of(value)) is not None
        }
        self.columns = prompt.columns | frozenset(self._columns.values())
        self.texts = prompt.texts | frozenset(self._columns.values())
        self.reads_files = prompt.by_row or bool(prompt.files)
        self._varies = bool(self._columns) or prompt.pictured
        """Whether more than the messages as they are sent goes into a row's fingerprint."""
        self._lane = job.model.lanes[-1]  # the rules of bulk are those of sync
        self._sends_empty = job.prompt.empty == "send"
        self._tools = tools.names
        part = labels.request_part() if labels is not None else None
        self._fingerprint = Fingerprint(job.model.provider, model, self._fixed, tools.digest_part(), labels=part)

    def findings(self) -> list[Finding]:
        """What the service is known to say to the parameters that are the same for every row."""
        if self._service is None:
            return []
        return parameters.check(self._service, self.model, self._fixed, tools=self._tools, lane=self._lane)

    def check(self, names: Collection[str]) -> list[str]:
        """What is wrong with the variant for an input with these columns, one line a fault; empty when it is sound."""
        missing = [
            f"model.parameters.{name}: {column!r} is no column of the input"
            for name, column in self._columns.items()
            if column not in names
        ]
        return self.prompt.check(names) + missing

    def doubts(self, names: Collection[str]) -> list[str]:
        """What is allowed and probably not meant, for an input with these columns, one line each."""
        return [] if self._columns and not self.prompt.columns else self.prompt.doubts(names)

    def request(self, record: Mapping[str, Any]) -> RowRequest:
        """The request of one row: its messages, model and parameters.

        Raises:
            PromptFault: it cannot be rendered, or its own parameters are refused.
        """
        messages, follow_ups = self.prompt.conversation(record)
        size = size_of(messages, follow_ups)
        if not self._columns:
            return RowRequest(messages, self.model, self._fixed, follow_ups, size)
        cells = {name: record.get(column) for name, column in self._columns.items()}
        given = {name: value for name, value in cells.items() if value is not None}
        if self._service is not None:
            for finding in parameters.check(self._service, self.model, given, tools=self._tools, lane=self._lane):
                if finding.level == "error":
                    raise PromptFault(finding.line())
        return RowRequest(messages, self.model, {**self._fixed, **given}, follow_ups, size)

    def packed(self, request: RowRequest) -> Packed | None:
        """The messages of a request in as little memory as can be, to wait so; None where they are more than texts.

        What is packed holds nothing that the garbage collector looks at: ten thousand requests that wait as they are
        cost more of its time than making them again.
        """
        if self._columns or request.follow_ups:
            return None
        texts: list[str] = []
        for message in request.messages:
            content = message.get("content")
            if len(message) != 2 or type(content) is not str:
                return None
            texts += message["role"], content
        return request.bytes, *texts

    def unpacked(self, packed: Packed) -> RowRequest:
        """The request that was packed."""
        messages: list[Message] = []
        for place in range(1, len(packed), 2):
            messages.append({"role": packed[place], "content": packed[place + 1]})  # noqa: PERF401 - once a row
        return RowRequest(messages, self.model, self._fixed, (), packed[0])

    def says_nothing(self, record: Mapping[str, Any], request: RowRequest | None = None) -> bool:
        """Whether the row is not to be sent because there is nothing in it to be asked.

        Args:
            record: the cells of the row.
            request: what it would ask; None when that is not known, and the cells alone are looked at.
        """
        if self._sends_empty:
            return False
        asked = request is not None and emptiness.asks_nothing(request.messages, request.follow_ups)
        return asked or self.prompt.is_empty(record)

    def refused(self, request: RowRequest) -> Failure | None:
        """The failure that the service is known to answer this request with, so that it need not be sent; else None."""
        return None if self._service is None else message_rules.refused(self._service, request.messages)

    def fingerprint(self, request: RowRequest) -> bytes:
        """The fingerprint of a row's request: rows that ask for the same have the same one."""
        if not self._varies and not request.follow_ups:
            return self._fingerprint.of(request.messages)
        over: dict[str, Any] = {}
        if self._columns:
            over["parameters"] = {name: request.parameters.get(name) for name in sorted(self._columns)}
        if request.follow_ups:
            over["later"] = request.follow_ups
        messages = images.asked(request.messages) if self.prompt.pictured else request.messages
        return self._fingerprint.of(messages, over or None)

    def fault(self, kind: str, code: str | None) -> bytes:
        """The fingerprint of a row that cannot be asked, by what is wrong with it."""
        return self._fingerprint.of([{"role": "fault", "content": f"{kind}/{code}"}])


class Variants:
    """All variants of a job, in its order.

    Args:
        job: what is asked.
        tools: the functions offered with every request.
        service: who is asked; None when no provider has that name, which is a fault reported elsewhere.
        columns: of the input, as far as they are known.
        labels: what a valid label is; None where none is asked for.
    """

    def __init__(
        self,
        job: Job,
        tools: ToolSet,
        service: Service | None = None,
        columns: Collection[str] = (),
        *,
        labels: LabelSchema | None = None,
    ) -> None:
        prompts = _prompts(job, columns)
        self._all: list[Variant] = []
        for model in job.model.names or (job.model.name,):
            for name, prompt in prompts:
                variant = _variant(model if job.model.names else "", name)
                shared: dict[str, Any] = {"service": service, "labels": labels, "model": model}
                self._all.append(Variant(job, tools, prompt, **shared, name=variant, number=len(self._all)))
        self.by_name = {variant.name: variant for variant in self._all}
        """By name, the empty one for a job of one."""
        self.columns: frozenset[str] = frozenset().union(*(variant.columns for variant in self._all))
        self.texts: frozenset[str] = frozenset().union(*(variant.texts for variant in self._all))
        self.files = {name: digest for _, prompt in prompts for name, digest in prompt.files.items()}
        """Files that are part of every row's request, with the hash of their text."""
        self.by_row = any(prompt.by_row for _, prompt in prompts)
        """Rows may name files too: whether one of them changed is not known before the rows are read."""
        self.pictured = any(prompt.pictured for _, prompt in prompts)

    def __iter__(self) -> Iterator[Variant]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def first(self) -> Variant:
        """The first variant, which stands for the job where one is enough."""
        return self._all[0]

    @property
    def names(self) -> list[str | None]:
        """Their names as the table has them, in order."""
        return [variant.name or None for variant in self._all]

    def named(self, variant: str) -> Variant | None:
        """The variant of this name, if the job has it."""
        return self.by_name.get(variant)

    def check(self, names: Collection[str]) -> list[str]:
        """What is wrong with any of them for an input with these columns, each fault once."""
        return list(dict.fromkeys(fault for variant in self._all for fault in variant.check(names)))

    def doubts(self, names: Collection[str]) -> list[str]:
        """What in any of them is allowed and probably not meant, each once."""
        return list(dict.fromkeys(doubt for variant in self._all for doubt in variant.doubts(names)))


def old_models(request: Mapping[str, Any]) -> dict[str, str]:
    """The model of each variant of an old run, from the request part of its job that the run stored.

    Of a run whose job is lost, as after `rebuild` without its file, nothing is known but that it asked.
    """
    names = request.get("names") or []
    prompts = request.get("variants") or {"": None}
    return {
        _variant(model if names else "", prompt): model
        for model in names or [request.get("model", "")]
        for prompt in prompts
    }


def _variant(model: str, prompt: str) -> str:
    return "/".join(part for part in (model, prompt) if part)


def column_of(value: Any) -> str | None:
    """The column a parameter is read from, written `{ column = "name" }`; None for a value of its own."""
    if isinstance(value, dict) and list(value) == ["column"] and isinstance(value["column"], str):
        return str(value["column"])
    return None


def _prompts(job: Job, columns: Collection[str]) -> list[tuple[str, Prompt]]:
    base, files = job.prompt, Files(job.folder)
    if not base.variants:
        return [("", Prompt(base, job.folder, columns, files=files))]
    return [
        (name, Prompt(_with_keys_of(base, own), job.folder, columns, files=files))
        for name, own in base.variants.items()
    ]


def _with_keys_of(base: PromptSpec, own: Mapping[str, str]) -> PromptSpec:
    return msgspec.structs.replace(base, variants={}, **own)
