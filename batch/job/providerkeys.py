"""What the keys of `[provider.NAME]` mean, for people; `keys` has those of all other sections, and hands these on.

Owns these words.
"""

from __future__ import annotations

from typing import Final

from batch.job.labelkeys import Words

PROVIDER_KEYS: Final[dict[str, Words]] = {
    "provider.NAME.base_url": Words(
        "The address of the service, as far as its version and without the endpoint.",
        'base_url = "https://llm.mycorp.example/v1"',
    ),
    "provider.NAME.speaks": Words("The dialect of the service.", 'speaks = "openai"'),
    "provider.NAME.api_key_env": Words(
        "The name of the environment variable with its key. Without it no key is sent.",
        'api_key_env = "MYCORP_KEY"',
    ),
    "provider.NAME.key_file": Words(
        "A file that holds its key alone, instead of a variable. See model.key_file.",
        'key_file = "mycorp.key"',
    ),
    "provider.NAME.key_command": Words(
        "A command that prints its key, instead of a variable. See model.key_command.",
        'key_command = ["vault", "read", "-field=key", "secret/mycorp"]',
    ),
    "provider.NAME.call_id_header": Words(
        "The header that carries our id of a call. Without it that of the dialect.",
        'call_id_header = "X-Request-Id"',
    ),
    "provider.NAME.counts": Words(
        'What its token limit counts: max_tokens as "asked", or the tokens "used". Without it as the dialect does.',
        'counts = "used"',
    ),
    "provider.NAME.json": Words(
        'How the service can be held to JSON where labels are asked for: to a "schema" (response_format json_schema), '
        'to some "object" (json_object), or with "none" by words alone.',
        'json = "schema"',
    ),
    "provider.NAME.logprobs": Words(
        "Whether the service tells how probable each token of an answer is, in OpenAI's form, when it is asked: what "
        "labels.confidence needs.",
        "logprobs = true",
    ),
    "provider.NAME.finish_reasons": Words(
        "The service's own words for how an answer ended, beside those that are known: each means stop, length, "
        "tool_calls, content_filter or error.",
        'finish_reasons = { natural = "stop" }',
    ),
    "provider.NAME.never_send": Words(
        "Parameters that are left out of every request, because the service refuses them.",
        'never_send = ["seed"]',
    ),
    "provider.NAME.price": Words(
        "What its models cost, where no price file says it: a table for each price, as here or under "
        "[[provider.NAME.price]], with the keys of a price file "
        "(`promptmill explain price`) but without providers. It changes what is booked, and never asks a row again.",
        'price = [{ models = ["mill-1*"], currency = "EUR", input = 0.40, output = 1.20 }]',
    ),
}
