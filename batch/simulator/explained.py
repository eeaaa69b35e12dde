"""What the simulator does and what a scenario can say, for people: its keys, its habits in health, and every fault.

Owns the words of the keys; those of health are in `health`, a fault's are those of the register and of the functions
that carry it out, and defaults are those of `Scenario`. Who adds a key to `scenario.parse` adds a line to `KEYS`; a
test compares the two. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from batch.simulator.dialects import glm, openai
from batch.simulator.faults.behaviour import DIALECTS, Allowed, Behaviour
from batch.simulator.faults.register import BEHAVIOURS
from batch.simulator.health import ABSENT, HABITS
from batch.simulator.scenario import Scenario

KEYS = {
    "seed": "Decides every draw: the same requests meet the same latencies and faults.",
    "time_factor": "Stretches all latencies; 0 leaves them out.",
    "mode": "current or 2024, of the GLM dialect: the ranges of the sampling parameters, and whether every chunk of a "
    "stream says the role and only the last one a finish reason.",
    "models": "The names that are served; without it any name is.",
    "gzip": "Compress long answers for clients that accept it.",
    "cached_prefix": "Report and price prompt tokens that repeat the beginning of an earlier prompt.",
    "refuse_duplicates": "Refuse a GLM request whose request_id is still in work.",
    "idle_close_s": "Seconds after which an idle connection is closed.",
    "keys": "Secrets by key id; without it any key of the right form is accepted.",
    "strict_jwt": "Refuse a JWT whose header lacks sign_type.",
    "escaped_arguments": "Spell what is not ASCII in the arguments of tool calls as JSON escapes.",
    "wavers": "The share of answers, 0 to 1, that give another label than the one that fits best. Which ones these are "
    "changes each time that the same is asked.",
    "latency.chat_ms": "How long a chat answer takes, [least, most] in milliseconds.",
    "latency.task_ms": "From a task's submission to its result.",
    "latency.submit_ms": "The answer to a submission.",
    "latency.poll_ms": "The answer to a poll.",
    "latency.batch_ms": "From a batch's creation to its completion: a tenth for its checks, a tenth for its files.",
    "latency.per_token_ms": "Added for each completion token; a stream spreads it over its chunks.",
    "latency.first_chunk_ms": "Until the first chunk of a stream; without it as chat_ms.",
    "latency.chunk_ms": "Between two chunks of a stream.",
    "latency.chunk_tokens": "How many tokens one chunk of a stream holds.",
    "stream.chunks": "How many chunks a stream has, instead.",
    "stream.obfuscation": "Put filler into the chunks of the OpenAI dialect unless the request says otherwise.",
    "limits.in_flight": "Requests under work at one time, for each key and model; more are refused.",
    "limits.rpm": "Requests per minute.",
    "limits.tpm": "Tokens per minute.",
    "limits.burst_s": "What the buckets of these two hold, in seconds of their limit.",
    "limits.models.NAME.in_flight": "As limits.in_flight, for this model.",
    "limits.models.NAME.rpm": "As limits.rpm, for this model.",
    "limits.models.NAME.tpm": "As limits.tpm, for this model.",
    "limits.change.after_s": "[[limits.change]]: the seconds after the first request at which other limits hold.",
    "limits.change.in_flight": "What limits.in_flight becomes then.",
    "limits.change.rpm": "What limits.rpm becomes then.",
    "limits.change.tpm": "What limits.tpm becomes then.",
    "limits.change.model": "Whose limits change; without it those of every model without its own.",
    "batches.window_s": "Seconds after which a batch expires.",
    "batches.lines": "The most lines that a file may have.",
    "batches.file_bytes": "The most bytes of an uploaded file; without it 100 MiB in the GLM dialect, 200 MiB in the "
    "OpenAI dialect.",
    "batches.enqueued_lines": "The most lines of one key and model in batches that have not ended.",
    "batches.enqueued_tokens": "The most tokens of their prompts.",
    "fault.behaviour": "[[fault]]: which fault, by its number.",
    "fault.route": "Strike only one of chat, submit, poll, upload (a file), create (a batch), batch (asking for one), "
    "content (of a file), and line (one request of a batch).",
    "fault.rate": "The share of requests it strikes, 0 to 1; without it all that the rest leaves.",
    "fault.rows": "Texts looked for in user messages, or numbers of conversations from 1: it strikes only those.",
    "fault.first": "Strike only the first so many attempts of each conversation.",
    "fault.model": "Strike only requests for this model.",
}
"""By key of a scenario file: what it does. NAME stands for the name of a model."""


class Told(NamedTuple):
    """One thing a scenario can say.

    Attributes:
        name: a key, or the number of a fault.
        title: of a fault, what it is called; empty for a key.
        text: what it does.
        facts: more of it, each with a name.
    """

    name: str
    title: str
    text: str
    facts: tuple[tuple[str, str], ...]


def scenario_keys() -> Iterator[Told]:
    """Every key of a scenario."""
    for name, text in KEYS.items():
        default = _default(name)
        yield Told(name, "", text, (("default", default),) if default else ())


def faults() -> Iterator[Told]:
    """Every fault, by its number."""
    for number, behaviour in BEHAVIOURS.items():
        yield Told(str(number), behaviour.title, _text(behaviour), tuple(_facts(number, behaviour)))


def habits() -> Iterator[Told]:
    """Every behaviour that is no fault, by its number: those of health, and those that no scenario shows."""
    routes = "\n".join((*glm.routes(), *openai.routes()))
    for number, habit in sorted({**HABITS, **ABSENT}.items()):
        facts = [("routes", routes)] if number == 1 else []
        facts += [("keys", ", ".join(habit.keys))] if habit.keys else []
        yield Told(str(number), habit.title, habit.text, tuple(facts))


def _text(behaviour: Behaviour) -> str:
    functions: list[Callable[..., Any] | None] = [
        behaviour.refuse,
        behaviour.answer,
        behaviour.task,
        behaviour.batch,
        behaviour.wire,
        behaviour.stream,
    ]
    return " ".join(function.__doc__ or "" for function in functions if function is not None)


def _facts(number: int, behaviour: Behaviour) -> Iterator[tuple[str, str]]:
    yield "strikes", ", ".join(behaviour.routes)
    if len(behaviour.allowed) > len(behaviour.routes):
        yield "may strike", ", ".join(behaviour.allowed)
    if behaviour.dialects != DIALECTS:
        yield "dialect", ", ".join(behaviour.dialects)
    if behaviour.rate is not None:
        yield "usual rate", f"{behaviour.rate:g}"
    if behaviour.sticky:
        yield "chooses", "conversations for good, not attempts"
    for option, allowed in behaviour.options.items():
        yield option, _allowed(allowed)
    yield "example", f"[[fault]]\nbehaviour = {number}\nrate = 0.1"


def _allowed(allowed: Allowed) -> str:
    if isinstance(allowed, tuple):
        return ", ".join(map(str, allowed))
    if isinstance(allowed, range):
        return f"a whole number, at least {allowed.start}"
    return {int: "a whole number, at least 1", float: "a number, at least 0", str: "text"}[allowed]


def _default(name: str) -> str:
    usual = Scenario()
    section, _, key = name.rpartition(".")
    of: Any = {"": usual, "latency": usual.latency, "limits": usual.limit, "batches": usual.batches}.get(section)
    value = getattr(usual if key == "burst_s" else of, key, None)
    if value is None or value == {}:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return "[{:g}, {:g}]".format(*value) if isinstance(value, tuple) else str(value)
