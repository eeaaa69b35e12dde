"""DeepSeek (`deepseek`): the service as data.

Owns its address, key and parameters. What is different about its answers needs no rule: blank lines before the JSON are
white space, `prompt_cache_hit_tokens` is read with the other forms of usage. Sources: DeepSeek API reference "Create
chat completion", guides "Thinking mode" and "JSON output", "Error codes".
"""

from __future__ import annotations

from typing import Final

from batch.providers.openai import CODES, FIELDS
from batch.providers.service import Field, Model, Service

_NO_EFFECT: Final = Field(kind="number", note="has no effect on this model, which thinks")
_REFUSED: Final = Field(kind="any", refused="is refused by this model: take it out")

DEEPSEEK: Final = Service(
    name="deepseek",
    speaks="openai",
    base_url="https://api.deepseek.com",
    keys=("DEEPSEEK_API_KEY",),
    base_variable="DEEPSEEK_BASE_URL",
    codes=CODES,
    call_id_header="X-Client-Request-Id",
    counts="used",
    replays_reasoning=True,
    forcing_needs_no_thinking=True,
    json_word=True,
    logprobs=True,
    json="object",
    fields={
        **FIELDS,
        "stop": Field(kind="stops", most=16),
        "thinking": Field(
            kind="object",
            keys={"type": Field(kind="text", values=("enabled", "disabled"), soft=True)},
        ),
        "response_format": Field(
            kind="object",
            keys={"type": Field(kind="text", values=("text", "json_object"), soft=True)},
        ),
    },
    tool_choices={"auto": "yes", "none": "yes", "required": "yes", "named": "yes"},
    models=(
        Model(
            names=("deepseek-reasoner*",),
            logprobs=False,
            fields={
                **dict.fromkeys(("temperature", "top_p", "presence_penalty", "frequency_penalty"), _NO_EFFECT),
                **dict.fromkeys(("logprobs", "top_logprobs"), _REFUSED),
            },
            tool_choices={"required": "no", "named": "no"},
        ),
    ),
)
