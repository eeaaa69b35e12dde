"""vLLM and whatever else speaks OpenAI's dialect (`vllm`): the least that can be known, as data.

Owns what is taken for granted of a server nobody documented: there is no usual address, a key is sent only when the job
names one, other parameters pass unchecked. A `[provider.NAME]` table of a job that speaks `openai` starts from here.
Sources: vLLM "OpenAI-compatible server" (sampling and extra parameters, error bodies).
"""

from __future__ import annotations

from typing import Final

from batch.providers.openai import CODES, FIELDS
from batch.providers.service import LIST, OBJECT, TEXT, WHOLE, YES_OR_NO, Field, Service

_NUMBER: Final = Field(kind="number")

VLLM: Final = Service(
    name="vllm",
    speaks="openai",
    base_url=None,
    built_in_key="",
    codes=CODES,
    call_id_header="X-Client-Request-Id",
    nulls=True,
    counts="asked",
    json="schema",
    logprobs=True,
    closed=False,
    fields={
        **FIELDS,
        "temperature": Field(kind="number", low=0),
        "max_tokens": Field(kind="integer", low=1),
        "stop": Field(kind="stops"),
        "tools": LIST,
        **dict.fromkeys(("top_k", "min_tokens", "truncate_prompt_tokens", "prompt_logprobs", "priority"), WHOLE),
        **dict.fromkeys(("min_p", "repetition_penalty", "length_penalty"), _NUMBER),
        **dict.fromkeys(("stop_token_ids", "bad_words", "allowed_token_ids", "documents"), LIST),
        **dict.fromkeys(
            ("ignore_eos", "include_stop_str_in_output", "skip_special_tokens", "spaces_between_special_tokens"),
            YES_OR_NO,
        ),
        **dict.fromkeys(
            ("echo", "add_generation_prompt", "continue_final_message", "add_special_tokens", "enable_thinking"),
            YES_OR_NO,
        ),
        **dict.fromkeys(("chat_template_kwargs", "mm_processor_kwargs", "structured_outputs", "vllm_xargs"), OBJECT),
        **dict.fromkeys(("chat_template", "guided_regex", "guided_grammar", "guided_decoding_backend"), TEXT),
        "guided_json": Field(kind="any"),
        "guided_choice": LIST,
    },
    tool_choices={"auto": "yes", "none": "yes", "required": "yes", "named": "yes"},
)
