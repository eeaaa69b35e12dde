"""Moonshot AI / Kimi (`moonshot`): the service as data.

Owns its address, key and parameters. Its errors have types and no codes (they stand with OpenAI's in `openai.CODES`),
its usage a `cached_tokens` of its own. The international platform (`https://api.moonshot.ai/v1`) has separate keys:
set `base_url`. Sources: Moonshot platform documentation "Chat", "Error codes", "Rate limits".
"""

from __future__ import annotations

from typing import Final

from batch.providers.openai import CODES, FIELDS
from batch.providers.service import Field, Model, Service

MOONSHOT: Final = Service(
    name="moonshot",
    speaks="openai",
    billing_zone="Asia/Shanghai",
    base_url="https://api.moonshot.cn/v1",
    keys=("MOONSHOT_API_KEY", "KIMI_API_KEY"),
    base_variable="MOONSHOT_BASE_URL",
    codes={
        **CODES,
        "permission_denied": ("auth", "stop"),
        "permission_denied_error": ("auth", "stop"),
        "resource_not_found": ("model", "stop"),
        "resource_not_found_error": ("model", "stop"),
    },
    call_id_header="X-Client-Request-Id",
    batch_endpoint="/v1/chat/completions",
    counts="asked",
    replays_reasoning=True,
    json_word=True,
    json="object",
    fields={
        **FIELDS,
        "temperature": Field(kind="number", low=0, high=1),
        "thinking": Field(kind="object", keys={"type": Field(kind="text", values=("enabled", "disabled"), soft=True)}),
        "reasoning_effort": Field(kind="text", note="is not documented by Moonshot"),
    },
    tool_choices={"auto": "yes", "none": "yes"},
    models=(
        Model(
            names=("kimi-k2.[5-9]*", "kimi-k[3-9]*", "*thinking*"),
            fields={
                name: Field(
                    kind="number",
                    low=0,
                    high=1,
                    note="is fixed for several of Moonshot's models, which refuse any other: take it out if it does",
                )
                for name in ("temperature", "top_p")
            },
        ),
    ),
)
