"""The rules of a job that the type of a single key cannot say.

Owns the checks across the keys of a section and of values that depend on each other. It does not know the keys
themselves nor their types (`job`), nor where they stand in the file (`document`). Every function takes the fields that
were given and returns all faults it finds.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final

from batch.core.nearest import suggestion
from batch.job.document import leaves
from batch.job.endpointspec import endpoint_faults
from batch.job.faults import NO_KEYS_HERE, Fault, is_api_key
from batch.job.lanes import fault_of, fault_of_by
from batch.job.providers import keys_beside

BATCH_FILE: Final = "openai-batch"

_OURS: Final = ("model", "messages", "stream", "request_id")


def faults_across_fields(fields: dict[str, dict[str, Any]]) -> list[Fault]:
    """All faults of a job beyond the types of its fields.

    Args:
        fields: by section, the fields that were given; the value of one that is wrong by its type already is None.
    """
    faults = _input_faults(fields.get("input", {}))
    prompt = fields.get("prompt")
    brings_messages = fields.get("input", {}).get("format") == BATCH_FILE
    if prompt is not None:
        faults += _prompt_faults(prompt, brings_messages=brings_messages)
    faults += _model_faults(fields.get("model"))
    if (by := fault_of_by(fields.get("model", {}).get("lane"), fields.get("bulk", {}))) is not None:
        faults.append(Fault(*by))
    labels = fields.get("labels")
    faults += _label_faults(labels, fields.get("model") or {})
    faults += _limit_faults(fields.get("limits", {}).get("model") or {}, fields.get("model"), labels or {})
    faults += _parameter_faults(fields.get("model", {}).get("parameters") or {})
    faults += _tool_faults(fields.get("tools"))
    output = fields.get("output", {})
    return faults + _output_faults(output.get("path"), output.get("columns") or ())


def _prompt_faults(prompt: dict[str, Any], *, brings_messages: bool) -> list[Fault]:
    """What is wrong across the keys of `[prompt]`."""
    faults = []
    variants: dict[str, dict[str, str]] = prompt.get("variants") or {}
    # Each of these keys alone says what the user says.
    sources: list[str] = [name for name in ("user", "messages", "turns") if name in prompt]
    variants_say = bool(variants) and all("user" in variant for variant in variants.values())
    if not sources and not brings_messages and not variants_say:
        text = 'has neither user, messages nor turns: add one, for example user = "{{ text }}"'
        faults.append(Fault(("prompt",), text))
    for surplus in sources[1:]:
        text = f"stands beside {sources[0]}, but says what the user says as well: keep one of them"
        faults.append(Fault(("prompt", surplus), text))
    if prompt.get("images") and "messages" in prompt:
        text = "go into the user message, and the messages column brings its own: put them there"
        faults.append(Fault(("prompt", "images"), text))
    for index, message in enumerate(prompt.get("start") or ()):
        if sorted(message) != ["content", "role"] or message["role"] not in ("system", "user", "assistant"):
            text = "must have role (system, user or assistant) and content, both text"
            faults.append(Fault(("prompt", "start", str(index)), text))
    for name, variant in variants.items():
        if not re.fullmatch(r"[^\x00-\x20/][^\x00-\x1f/]{0,99}", name):
            text = "is no name for a variant: at most 100 characters, no /"
            faults.append(Fault(("prompt", "variants", name), text))
        for key in variant:
            if key not in ("system", "user"):
                text = "a variant may have user and system, nothing else"
                faults.append(Fault(("prompt", "variants", name, key), text))
            elif key == "user" and ("messages" in prompt or "turns" in prompt):
                text = "stands beside a column that says what the user says: vary system instead"
                faults.append(Fault(("prompt", "variants", name, key), text))
    return faults


def _model_faults(model: dict[str, Any] | None) -> list[Fault]:
    """What is wrong across the keys of `[model]`."""
    if model is None:
        return []
    if beside := keys_beside(model):
        return [Fault(("model", way), text) for way, text in beside]
    if errors := endpoint_faults(model):
        return [Fault(*error) for error in errors]
    if (text := fault_of(model.get("lane"))) is not None:
        return [Fault(("model", "lane"), text)]
    name, names = model.get("name"), model.get("names") or ()
    if not name and not names:
        return [Fault(("model", "name"), 'missing: name a model, for example name = "glm-4"')]
    if name and names and name != names[0]:
        return [Fault(("model", "names"), "stands beside name: keep one of them")]
    twice = sorted({model_name for model_name in names if names.count(model_name) > 1})
    if twice:
        return [Fault(("model", "names"), f"has {', '.join(map(repr, twice))} twice: once is enough")]
    return []


def _label_faults(labels: dict[str, Any] | None, model: dict[str, Any]) -> list[Fault]:
    """What is wrong across the keys of `[labels]`."""
    if labels is None:
        return []
    faults = []
    names: tuple[str, ...] = labels.get("names") or ()
    if labels.get("names") == () and "schema" not in labels:
        faults.append(Fault(("labels", "names"), 'is an empty list: say what a label may be, as in ["yes", "no"]'))
    elif not names and labels.get("names", ()) is not None and "schema" not in labels:
        faults.append(Fault(("labels",), 'has neither names nor schema: add one, for example names = ["yes", "no"]'))
    if names and labels.get("schema"):
        faults.append(Fault(("labels", "schema"), "stands beside names, and a label is one or the other: keep one"))
    if names and len(set(names)) < max(2, len(names)):
        twice = sorted({name for name in names if names.count(name) > 1})
        text = f"has {', '.join(map(repr, twice))} twice: once is enough" if twice else "needs at least two labels"
        faults.append(Fault(("labels", "names"), text))
    if odd := [name for name in names if name != name.strip() or any(ord(sign) < 32 for sign in name)]:
        text = f"{odd[0]!r} begins or ends with a blank, or holds a line break, which no answer would repeat"
        faults.append(Fault(("labels", "names"), text))
    asked = model.get("names") or (model.get("name"),)
    if labels.get("escalate") and set(asked) == {labels["escalate"]}:
        text = "is the model that is asked already: name another, or raise reasks"
        faults.append(Fault(("labels", "escalate"), text))
    return faults


def _limit_faults(limits: dict[str, Any], model: dict[str, Any] | None, labels: dict[str, Any]) -> list[Fault]:
    """The tables of `[limits.model]` that are for no model of the job."""
    names = [] if model is None else list(model.get("names") or ()) or [model.get("name")]
    if not all(names):
        return []  # there is a fault already
    names += [labels["escalate"]] if labels.get("escalate") else []
    faults = []
    for name in limits:
        if name not in names:
            known = suggestion(name, names, f"It asks {', '.join(names)}")
            faults.append(Fault(("limits", "model", name), f"the job asks no such model. {known}"))
    return faults


def _parameter_faults(parameters: dict[str, Any]) -> list[Fault]:
    """What is wrong in `model.parameters`, for any provider."""
    section = ("model", "parameters")
    faults = [Fault((*section, key), "is set by promptmill itself: take it out") for key in _OURS if key in parameters]
    for path, value in leaves(parameters):
        if is_api_key(path[0]):
            faults.append(Fault((*section, *path), NO_KEYS_HERE))
        elif isinstance(value, float) and not math.isfinite(value):
            faults.append(Fault((*section, *path), "has no form in JSON: give a number"))
        elif not isinstance(value, (str, int, float, bool)):
            faults.append(Fault((*section, *path), "has no form in JSON: write it as text in quotes"))
    return faults


def _tool_faults(tools: dict[str, Any] | None) -> list[Fault]:
    """What is wrong across the keys of `[tools]`."""
    if tools is None:
        return []
    shipped: tuple[str, ...] = tools.get("shipped") or ()
    if "module" not in tools and "shipped" not in tools:
        text = 'is missing: add module to [tools], a Python file with @tool functions, for example "tools.py"'
        return [Fault(("tools", "module"), text)]
    if "module" not in tools and tools["shipped"] == ():
        return [Fault(("tools", "shipped"), "names no tool, and there is no module: name one, or take [tools] out")]
    twice = sorted({name for name in shipped if shipped.count(name) > 1})
    return [Fault(("tools", "shipped"), f"has {', '.join(map(repr, twice))} twice: once is enough")] if twice else []


def _output_faults(path: Path | None, columns: tuple[str, ...]) -> list[Fault]:
    """What is wrong across the keys of `[output]`."""
    faults = []
    rest = str(path or "").replace("{name}", "")
    if "{" in rest or "}" in rest:
        faults.append(Fault(("output", "path"), "the only placeholder is {name}"))
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        faults.append(Fault(("output", "columns"), f"has {', '.join(map(repr, twice))} twice: once is enough"))
    return faults


def _input_faults(source: dict[str, Any]) -> list[Fault]:
    """What is wrong across the keys of `[input]`."""
    faults = []
    if source.get("format") == BATCH_FILE and source.get("key") not in (None, "custom_id"):
        text = "lines of a batch file are known by their custom_id: take it out"
        faults.append(Fault(("input", "key"), text))
    types: dict[str, str] = source.get("types") or {}
    # Only a job with declared types needs to know Arrow's; `--help` and most jobs do without that import.
    if not types:
        return faults
    if (path := source.get("path")) is not None and path.suffix == ".parquet":
        return [*faults, Fault(("input", "types"), "only JSONL and CSV need them, Parquet has its own: take it out")]
    from batch.core.arrowtypes import declarable  # noqa: PLC0415 - see above

    faults += [
        Fault(("input", "types", column), reason)
        for column, text in types.items()
        if (reason := declarable(text)) is not None
    ]
    return faults
