"""Alibaba Bailian / Model Studio (`dashscope`) in its OpenAI-compatible mode: the service as data.

Owns its address, key, parameters and the codes whose meaning differs from OpenAI's: `insufficient_quota` here means
tokens a minute and passes, there it means money and stops. Sources: Alibaba Cloud Model Studio "OpenAI compatible
chat", "Error codes", "Rate limiting".
"""

from __future__ import annotations

from typing import Final

from batch.providers.openai import CODES, FIELDS
from batch.providers.service import OBJECT, WHOLE, YES_OR_NO, Field, Model, Service

DASHSCOPE: Final = Service(
    name="dashscope",
    speaks="openai",
    billing_zone="Asia/Shanghai",
    base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
    keys=("DASHSCOPE_API_KEY",),
    base_variable="DASHSCOPE_BASE_URL",
    codes={
        **CODES,
        "insufficient_quota": ("rate_limit", "retry"),
        "Throttling": ("rate_limit", "retry"),
        "model_not_supported": ("model", "stop"),
        "invalid_parameter_error": ("bad_request", "fail"),
        "internal_error": ("server", "retry"),
        "RequestTimeOut": ("server", "retry"),
    },
    call_id_header="X-Client-Request-Id",
    batch_endpoint="/v1/chat/completions",
    counts="used",
    partial_header="x-dashscope-partialresponse",
    json_word=True,
    json="object",
    fields={
        **FIELDS,
        "temperature": Field(kind="number", low=0, high=2, open_high=True),
        "top_p": Field(kind="number", low=0, high=1, open_low=True),
        "seed": Field(kind="integer", low=0, high=2**31 - 1),
        "top_k": Field(kind="integer", low=0),
        "enable_thinking": YES_OR_NO,
        "thinking_budget": Field(kind="integer", low=1),
        "preserve_thinking": YES_OR_NO,
        "enable_search": YES_OR_NO,
        "search_options": OBJECT,
        "repetition_penalty": Field(kind="number", low=0, open_low=True),
        "vl_high_resolution_images": YES_OR_NO,
        "max_input_tokens": WHOLE,
    },
    tool_choices={"auto": "yes", "none": "yes", "named": "yes"},
    models=(Model(names=("qwen*", "qwq*", "qvq*"), tool_choices={"required": "no"}),),
)
