"""The names that OpenTelemetry has for calls of generative models, in both of its conventions.

Owns one table of names: those of the convention that most tools read today, and those of the one that is to come, which
`OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental` chooses, as everywhere. Both are of the state "development".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

VARIABLE: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
_LATEST: Final = "gen_ai_latest_experimental"


class Names(msgspec.Struct, frozen=True):
    """The names of one convention; None where it has none."""

    duration: str
    """Histogram, seconds of one operation; polls are operations of their own."""
    first_chunk: str
    """Histogram, seconds until the first chunk of a stream."""
    token_histogram: str | None
    """Histogram of tokens by `gen_ai.token.type`."""
    input_tokens: str | None
    """Counter; the three below are parts of this one and the next."""
    output_tokens: str | None
    cached_tokens: str | None
    cache_write_tokens: str | None
    reasoning_tokens: str | None
    cached_attribute: str | None
    """On spans, the part of the input tokens that was cached."""
    cache_write_attribute: str | None
    reasoning_attribute: str | None
    system: str | None
    """The older name of `gen_ai.provider.name`."""


USUAL: Final = Names(
    duration="gen_ai.client.operation.duration",
    first_chunk="gen_ai.client.operation.time_to_first_chunk",
    token_histogram="gen_ai.client.token.usage",  # noqa: S106 - tokens of a language
    input_tokens=None,
    output_tokens=None,
    cached_tokens=None,
    cache_write_tokens=None,
    reasoning_tokens=None,
    cached_attribute=None,
    cache_write_attribute=None,
    reasoning_attribute=None,
    system="gen_ai.system",
)
LATEST: Final = Names(
    duration="gen_ai.client.inference.duration",
    first_chunk="gen_ai.client.inference.time_to_first_chunk",
    token_histogram=None,
    input_tokens="gen_ai.client.inference.usage.input_tokens",
    output_tokens="gen_ai.client.inference.usage.output_tokens",
    cached_tokens="gen_ai.client.inference.usage.cache_read.input_tokens",
    cache_write_tokens="gen_ai.client.inference.usage.cache_write.input_tokens",
    reasoning_tokens="gen_ai.client.inference.usage.reasoning.output_tokens",
    cached_attribute="gen_ai.usage.cache_read.input_tokens",
    cache_write_attribute="gen_ai.usage.cache_write.input_tokens",
    reasoning_attribute="gen_ai.usage.reasoning.output_tokens",
    system=None,
)
COST: Final = "promptmill.cost"
"""Counter by `currency`: no convention has money yet."""
ROWS: Final = "promptmill.rows"
CHAT: Final = "chat"
POLL: Final = "fetch_response"
"""The operation that asks for a stored response. It reports no tokens: the call that it is for has them."""

_PROVIDERS: Final[Mapping[str, str]] = {
    "moonshot": "moonshot_ai",
    "glm": "zhipuai",
    "zai": "z_ai",
    "dashscope": "alibaba_cloud",
}
"""Values of `gen_ai.provider.name` that are not our own name; the last three are custom ones, the conventions have
none."""


def names_of(environ: Mapping[str, str]) -> Names:
    """The names that the environment asks for."""
    asked = {word.strip() for word in environ.get(VARIABLE, "").split(",")}
    return LATEST if _LATEST in asked else USUAL


def provider_name(provider: str) -> str:
    """What a provider is called in attributes."""
    return _PROVIDERS.get(provider, provider)
