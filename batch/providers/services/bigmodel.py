"""BigModel (`glm`, mainland) and Z.ai (`zai`), and the simulator, which speaks as they do: services as data.

Owns their addresses, keys and parameters. Sources: BigModel API reference "chat completion", guides "core parameters"
(limits of max_tokens), "thinking", "function calling" and "streaming tool calls"; for the models of 2024 the API guide
of that year, whose interval of temperature and top_p is open.
"""

from __future__ import annotations

from typing import Final

import msgspec

from batch.providers.glm import CODES
from batch.providers.service import OUR_FIELDS, YES_OR_NO, Field, Form, Model, Service, Taken

_STOP_WAY: Final = 'BigModel takes a list: stop = ["###"]'

FIELDS: Final[dict[str, Field]] = {
    **OUR_FIELDS,
    "do_sample": YES_OR_NO,
    "temperature": Field(kind="number", low=0, high=1),
    "top_p": Field(kind="number", low=0.01, high=1),
    "max_tokens": Field(kind="integer", low=1),
    "stop": Field(kind="list", most=4, each=Field(kind="text"), way=_STOP_WAY),
    "tools": Field(kind="list", most=128),
    "tool_choice": Field(kind="any"),
    "response_format": Field(
        kind="object",
        keys={
            "type": Field(
                kind="text", values=("text", "json_object"), soft=True, way="no schema is documented for GLM models"
            )
        },
    ),
    "thinking": Field(
        kind="object",
        keys={"type": Field(kind="text", values=("enabled", "disabled")), "clear_thinking": YES_OR_NO},
    ),
    "reasoning_effort": Field(
        kind="text", values=("max", "xhigh", "high", "medium", "low", "minimal", "none"), soft=True
    ),
    "tool_stream": YES_OR_NO,
    "user_id": Field(kind="text", least=6, most=128),
    "meta": Field(kind="object", note="is for the role-play models (charglm, emohaa)"),
    "seed": Field(kind="integer", note="has no documented effect on GLM models: answers may differ all the same"),
    "sensitive_word_check": Field(
        kind="object", keys={"status": Field(kind="text", values=("ENABLE", "DISABLE")), "type": Field(kind="text")}
    ),
}

TOOL_CHOICES: Final[dict[Form, Taken]] = {"auto": "yes"}

_BETWEEN: Final = Field(
    kind="number",
    low=0,
    high=1,
    open_low=True,
    open_high=True,
    soft=True,
    way="greedy answers are do_sample = false",
)
_OF_2024: Final = {
    "temperature": Field(kind="number", low=0, high=1, narrower=_BETWEEN),
    "top_p": Field(kind="number", low=0, high=1, narrower=_BETWEEN),
    "stop": Field(
        kind="list",
        most=4,
        each=Field(kind="text"),
        way=_STOP_WAY,
        narrower=Field(kind="list", most=1, soft=True, way="in 2024 one stop word was taken"),
    ),
}
_UNTHINKING: Final = {
    "thinking": Field(kind="object", note="is for GLM-4.5 and later: this model does not think"),
    "clear_thinking": Field(kind="boolean", note="is a member of thinking, for GLM-4.5 and later"),
}
_NO_JSON: Final = {"response_format": Field(kind="object", note="is for text models: this one sees pictures")}
_ROLE_PLAY: Final = {"meta": Field(kind="object")}

MODELS: Final = (
    Model(names=("glm-5*", "glm-4.7*", "glm-4.6*"), output_max=131_072),
    Model(names=("glm-4.5*",), output_max=98_304),
    Model(names=("glm-4.6v*",), output_max=32_768, fields=_NO_JSON, json="none", images_max=50),
    Model(names=("glm-4.5v*",), output_max=16_384, fields=_NO_JSON, json="none", images_max=50),
    Model(names=("glm-5v*",), fields=_NO_JSON, json="none", images_max=50),
    Model(names=("glm-4", "glm-4-*", "glm-4v*", "glm-3-*", "charglm*", "emohaa*"), fields=_UNTHINKING),
    Model(names=("glm-4", "glm-4-0520", "glm-4v", "glm-3-turbo"), fields=_OF_2024),
    Model(names=("glm-4-plus*", "glm-4-air", "glm-4-airx", "glm-4-flash", "glm-4-flashx"), output_max=4_095),
    Model(names=("glm-4-air-250414",), output_max=16_384),
    Model(names=("glm-4-flash-250414",), output_max=32_768),
    Model(names=("glm-4v*",), fields=_NO_JSON, json="none"),
    Model(names=("glm-4v-plus-0111",), output_max=8_192, images_max=5),
    Model(names=("glm-4v-flash",), output_max=1_024, images_max=1),
    Model(names=("charglm*", "emohaa*"), fields=_ROLE_PLAY),
    Model(
        names=("glm-[34]*", "glm-5", "glm-5.0*", "glm-5.1*", "charglm*", "emohaa*"),
        fields={"reasoning_effort": Field(kind="text", note="is for GLM-5.2 and later")},
    ),
    Model(
        names=("glm-5.3*",),
        fields={
            "reasoning_effort": Field(kind="text", values=("low", "high", "max"), soft=True),
            "thinking": Field(
                kind="object",
                keys={
                    "type": Field(
                        kind="text", values=("enabled",), soft=True, way="this model cannot be asked not to think"
                    ),
                    "clear_thinking": YES_OR_NO,
                },
            ),
        },
    ),
    Model(
        names=("glm-[34]", "glm-4-*", "glm-3-*", "glm-4v*", "glm-4.5*"),
        fields={"tool_stream": Field(kind="boolean", note="is for GLM-4.6 and later")},
    ),
)

GLM: Final = Service(
    name="glm",
    speaks="glm",
    billing_zone="Asia/Shanghai",
    base_url="https://open.bigmodel.cn/api/paas/v4",
    keys=("ZHIPUAI_API_KEY", "ZHIPU_API_KEY", "ZAI_API_KEY"),
    base_variable="ZHIPUAI_BASE_URL",
    codes=CODES,
    batch_endpoint="/v4/chat/completions",
    # None of them is in BigModel's reference; what is not read there cannot be refused there either.
    never_send=frozenset(
        {
            *("n", "logprobs", "top_logprobs", "frequency_penalty", "presence_penalty", "logit_bias"),
            *("stream_options", "parallel_tool_calls"),
        }
    ),
    counts="used",
    replays_reasoning=True,
    wants_question=True,
    search_tools=True,
    json="object",
    fields=FIELDS,
    tool_choices=TOOL_CHOICES,
    models=MODELS,
)

ZAI: Final = msgspec.structs.replace(
    GLM,
    name="zai",
    billing_zone="UTC",
    base_url="https://api.z.ai/api/paas/v4",
    keys=("ZAI_API_KEY", "ZHIPUAI_API_KEY"),
    base_variable="ZAI_BASE_URL",
    language="en-US,en",
    fields={**FIELDS, "watermark_enabled": YES_OR_NO},
)

SIMULATOR_KEY: Final = "simulator.key0123456789"
"""A key of the right form; the simulator takes any."""

SIMULATOR: Final = msgspec.structs.replace(
    GLM,
    name="simulator",
    base_url="http://127.0.0.1:8311/api/paas/v4",
    keys=(),
    base_variable=None,
    built_in_key=SIMULATOR_KEY,
)
