"""What a provider does in health: the behaviours of the list that are no faults, by number, for people.

Owns their titles and words, the keys of a scenario that shape each, and which behaviours of the list the simulator does
not show, with the reason. The faults are in `faults/register.py`. It decides nothing: how each is done is in the
dialects, `auth`, `latency`, `limits`, `tasks`, `wire` and `books`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Habit:
    """What a provider does in health.

    Attributes:
        title: what it is called.
        text: what it does, in sentences.
        keys: the keys of a scenario that shape it.
    """

    title: str
    text: str
    keys: tuple[str, ...] = ()


HABITS: Mapping[int, Habit] = {
    1: Habit(
        "routes of both dialects",
        "One port serves both dialects, by path. A path that is not there is HTTP 200 with NOT_FOUND inside in the GLM "
        "dialect, HTTP 404 in the OpenAI dialect. /health and the pages under /_sim need no key.",
        ("models",),
    ),
    2: Habit(
        "credentials before route and body",
        "The credentials are looked at first. GLM answers HTTP 401 with code 1001 without a header, 1002 for a key of "
        "the wrong form or an unknown one, 1003 for a JWT that has expired, 1004 for a wrong signature; OpenAI answers "
        "401 invalid_api_key.",
        ("keys",),
    ),
    3: Habit(
        "keys as JWT, expiry in milliseconds",
        "The GLM dialect takes a key as it is, or a JWT signed with its secret (HS256) whose exp is in milliseconds.",
        ("keys", "strict_jwt"),
    ),
    4: Habit(
        "null for every optional field",
        "null in an optional field of a GLM request is as if the field were not there; fields that nobody knows are "
        "passed over.",
    ),
    5: Habit(
        "validation and its codes",
        "A wrong request is HTTP 400 and names the field: in the GLM dialect with code 1210, "
        "1213 or 1214, and 1211 for a model that is not served; in the OpenAI dialect with param, and such a model is "
        "404 model_not_found.",
        ("mode", "models"),
    ),
    6: Habit(
        "latency, refusals fast",
        "An answer takes a time that is drawn for each conversation, more for each token; a refusal comes at once.",
        (
            "seed",
            "time_factor",
            "latency.chat_ms",
            "latency.submit_ms",
            "latency.poll_ms",
            "latency.per_token_ms",
        ),
    ),
    7: Habit(
        "places in flight for each key and model",
        "What is more in flight than allowed is refused at once with HTTP 429, without a header and without a queue. A "
        "place is free again when the answer is sent or the client has gone; a task holds its place until it ends.",
        (
            "limits.in_flight",
            "limits.models.NAME.in_flight",
            "limits.change.after_s",
            "limits.change.in_flight",
            "limits.change.model",
        ),
    ),
    8: Habit(
        "requests and tokens a minute, six headers",
        "Two buckets for each key and model refill continuously. A request counts for the larger of max_tokens and its "
        "prompt, and failed requests count, too. OpenAI answers say in six x-ratelimit headers what is left.",
        (
            "limits.rpm",
            "limits.tpm",
            "limits.burst_s",
            "limits.models.NAME.rpm",
            "limits.models.NAME.tpm",
            "limits.change.rpm",
            "limits.change.tpm",
        ),
    ),
    9: Habit(
        "token counts",
        "A stand-in for a tokenizer counts prompt and completion, the same for the same text; reasoning is part of the "
        "completion. With logprobs = true the OpenAI dialect tells a probability of each token, the same each time.",
        ("cached_prefix",),
    ),
    10: Habit(
        "id and request_id",
        "The GLM dialect gives back the request_id that came, or one of its own, and ids that may begin with a minus; "
        "the OpenAI dialect has ids that begin with chatcmpl- and a header x-request-id.",
    ),
    11: Habit(
        "stream",
        "With stream = true the answer comes as server-sent events that end with [DONE]. GLM puts the usage into the "
        "last chunk; OpenAI sends it in a chunk of its own, if it was asked for.",
        (
            "mode",
            "stream.chunks",
            "stream.obfuscation",
            "latency.first_chunk_ms",
            "latency.chunk_ms",
            "latency.chunk_tokens",
        ),
    ),
    12: Habit(
        "tools",
        "The built-in model calls the tool that means what the last user message asks for, several at once if need be, "
        "and says the result in words when the tools have answered. Of labels it gives the one that fits best, or now "
        "and then another where the scenario says so.",
        ("escaped_arguments", "wavers"),
    ),
    13: Habit(
        "tasks: submit and poll",
        "A request that is submitted to the GLM dialect gets an id at once. Polls say PROCESSING until its time has "
        "come, and then the result, as often as it is asked for.",
        ("latency.task_ms",),
    ),
    14: Habit(
        "batch files",
        "A file of lines is uploaded, a batch made of it, and its state asked for; its answers come in a file, in no "
        "order, and what failed in another. Times are milliseconds in the GLM dialect, whose ids of files that are not "
        "there are empty texts, and seconds in the OpenAI dialect. What was done of a batch that expires or is "
        "cancelled is delivered and billed; each line is booked at batch price. A file whose lines are not in order, "
        "or that the queue has no room for, fails with the numbers of its lines.",
        (
            "latency.batch_ms",
            "batches.window_s",
            "batches.lines",
            "batches.file_bytes",
            "batches.enqueued_lines",
            "batches.enqueued_tokens",
        ),
    ),
    15: Habit(
        "the server's own books",
        "Every request is booked with its status, its tokens, whether it is billed and whether its answer reached the "
        "client; /_sim/books shows them. What a client says it paid can be held against what was billed.",
    ),
    16: Habit(
        "duplicates",
        "A request_id may come again and is answered and billed again. A GLM request whose request_id is still in work "
        "is refused with 1231 where the scenario says so.",
        ("refuse_duplicates",),
    ),
    17: Habit(
        "keep-alive, coding, lengths",
        "HTTP/1.1 connections stay open. An answer has a length, or comes in chunks where it is streamed; a long one "
        "is compressed where the scenario says so and the client accepts it.",
        ("gzip", "idle_close_s"),
    ),
}
"""By number. The tests that show each are in `tests/behaviours.toml`."""

ABSENT: Mapping[int, Habit] = {
    68: Habit(
        "bad host, bad certificate",
        "Nothing for the simulator to do: a name that does not resolve, or a certificate that is not trusted, ends a "
        "call before it reaches a server.",
    ),
}
"""Numbers of the list that no scenario shows."""
