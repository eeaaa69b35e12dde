"""What is wrong with a section of a job that its fields' types do not show.

Owns the rules across keys; the keys themselves, their types and their places in the file are `job`'s and `document`'s.
Every function takes the fields that were given and returns every fault.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final

from batch.job.document import leaves
from batch.job.faults import KEYS_FROM_ENVIRONMENT, Fault, is_api_key

BATCH_FILE: Final = "openai-batch"

_OURS: Final = ("model", "messages", "stream", "request_id")


def deep_faults(fields: dict[str, dict[str, Any]]) -> list[Fault]:
    """Faults that a field's type does not show; a field that is wrong already is None, one not given is missing."""
    faults = _type_faults(fields.get("input", {}))
    prompt = fields.get("prompt")
    brings_messages = fields.get("input", {}).get("format") == BATCH_FILE
    if prompt is not None:
        faults += prompt_faults(prompt, brings_messages=brings_messages)
    faults += model_faults(fields.get("model"))
    faults += parameter_faults(fields.get("model", {}).get("parameters") or {})
    output = fields.get("output", {})
    return faults + output_faults(output.get("path"), output.get("columns") or ())


def prompt_faults(prompt: dict[str, Any], *, brings_messages: bool) -> list[Fault]:
    """What is wrong across the keys of `[prompt]`."""
    faults = []
    variants: dict[str, dict[str, str]] = prompt.get("variants") or {}
    said: list[str] = [name for name in ("user", "messages", "turns") if name in prompt]
    each_says = bool(variants) and all("user" in variant for variant in variants.values())
    if not said and not brings_messages and not each_says:
        text = 'has neither user, messages nor turns: add one, for example user = "{{ text }}"'
        faults.append(Fault(("prompt",), text))
    for more in said[1:]:
        text = f"stands beside {said[0]}, but says what the user says as well: keep one of them"
        faults.append(Fault(("prompt", more), text))
    if prompt.get("images") and "messages" in prompt:
        text = "go into the user message, and the messages column brings its own: put them there"
        faults.append(Fault(("prompt", "images"), text))
    for place, message in enumerate(prompt.get("start") or ()):
        if sorted(message) != ["content", "role"] or message["role"] not in ("system", "user", "assistant"):
            text = "must have role (system, user or assistant) and content, both text"
            faults.append(Fault(("prompt", "start", str(place)), text))
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


def model_faults(model: dict[str, Any] | None) -> list[Fault]:
    """What is wrong across the keys of `[model]`."""
    if model is None:
        return []
    name, names = model.get("name"), model.get("names") or ()
    if not name and not names:
        return [Fault(("model", "name"), 'missing: name a model, for example name = "glm-4"')]
    if name and names and name != names[0]:
        return [Fault(("model", "names"), "stands beside name: keep one of them")]
    twice = sorted({one for one in names if names.count(one) > 1})
    if twice:
        return [Fault(("model", "names"), f"has {', '.join(map(repr, twice))} twice: once is enough")]
    return []


def parameter_faults(parameters: dict[str, Any]) -> list[Fault]:
    """What is wrong in `model.parameters`, whoever the provider is."""
    place = ("model", "parameters")
    faults = [Fault((*place, key), "is set by promptmill itself: take it out") for key in _OURS if key in parameters]
    for path, value in leaves(parameters):
        if is_api_key(path[0]):
            faults.append(Fault((*place, *path), KEYS_FROM_ENVIRONMENT))
        elif isinstance(value, float) and not math.isfinite(value):
            faults.append(Fault((*place, *path), "has no form in JSON: give a number"))
        elif not isinstance(value, (str, int, float, bool)):
            faults.append(Fault((*place, *path), "has no form in JSON: write it as text in quotes"))
    return faults


def output_faults(path: Path | None, columns: tuple[str, ...]) -> list[Fault]:
    """What is wrong across the keys of `[output]`."""
    faults = []
    rest = str(path or "").replace("{name}", "")
    if "{" in rest or "}" in rest:
        faults.append(Fault(("output", "path"), "the only placeholder is {name}"))
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        faults.append(Fault(("output", "columns"), f"has {', '.join(map(repr, twice))} twice: once is enough"))
    return faults


def _type_faults(source: dict[str, Any]) -> list[Fault]:
    faults = []
    if source.get("format") == BATCH_FILE and source.get("key") not in (None, "custom_id"):
        text = "lines of a batch file are known by their custom_id: take it out"
        faults.append(Fault(("input", "key"), text))
    types: dict[str, str] = source.get("types") or {}
    # Only a job with declared types needs to know Arrow's; `--help` and most jobs do without that import.
    if not types:
        return faults
    if (path := source.get("path")) is not None and path.suffix == ".parquet":
        return [*faults, Fault(("input", "types"), "only JSONL needs them, Parquet has its own: take it out")]
    from batch.core.arrowtypes import declarable  # noqa: PLC0415 - see above

    faults += [
        Fault(("input", "types", column), reason)
        for column, text in types.items()
        if (reason := declarable(text)) is not None
    ]
    return faults
