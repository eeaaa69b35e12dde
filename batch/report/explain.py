"""What promptmill knows about itself, as topics to be looked up: keys, columns, flags, errors, exits, words, faults.

Owns how topics are found by what a person types, and the nearest ones for what is none. The words stand beside what
they explain (`job.keys`, `output.columns`, `core.flags`, `core.errors`, `core.states` …), types and defaults are those
of the code; the flags and lines of the commands and the simulator's behaviours are handed in, because both stand above
this wing or beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from batch.core.codes import CODES
from batch.core.errors import EXITS, FAILURES, RefusedToStart
from batch.core.flags import FLAGS
from batch.core.nearest import did_you_mean, nearest
from batch.core.records import CALL_STATES
from batch.core.states import STATES
from batch.job import lanes
from batch.job.keys import SECTION_TEXTS, all_keys
from batch.job.options import KINDS
from batch.ledger.totals_texts import PLANNED, TOTALS
from batch.money.pricekeys import KEYS as PRICE_KEYS
from batch.output.columns import (
    CALL_TEXTS,
    CALLS,
    CONFIDENCE,
    INPUT_TEXTS,
    LABEL_TEXTS,
    RESULT_TEXTS,
    RESULTS,
    SAMPLED,
)
from batch.plan.doctor import AREAS
from batch.plan.doctor import STATES as FOUND
from batch.prompts.finish_reasons import TEXTS as FINISH_REASONS
from batch.report.cost.keys import BY
from batch.report.cost.public import COST_KEYS
from batch.report.cost.reconcile import KINDS as DIFFERENCES
from batch.report.cost.reconcile_public import DIFFERENCE_KEYS
from batch.report.cost.waste import WASTE
from batch.report.figures.filters import FILTERS
from batch.report.forecast_json import KEYS as ESTIMATE
from batch.report.row import STAGES
from batch.run.metric_families import METRICS
from batch.run.progress import PROGRESS
from batch.run.status_files import HEARTBEAT, RUN_FILE

_OF_ERRORS = (
    "Why a row or a call failed: the kinds in the column error_kind. What we write into error_code ourselves: "
    "promptmill explain codes."
)


class Topic(NamedTuple):
    """One thing that can be looked up.

    Attributes:
        name: as it stands in lists.
        what: what kind of thing it is.
        text: what it means.
        facts: more of it, each with a name; a value may have several lines.
        aliases: other words it is found by.
        part_of: words that stand for several topics, this one among them: a section, a command.
    """

    name: str
    what: str
    text: str
    facts: tuple[tuple[str, str], ...] = ()
    aliases: tuple[str, ...] = ()
    part_of: tuple[str, ...] = ()


class Group(NamedTuple):
    """Topics of one kind.

    Attributes:
        name: the word for all of them.
        text: what they are.
        topics: in the order of the code.
    """

    name: str
    text: str
    topics: tuple[Topic, ...]


class Found(NamedTuple):
    """Some of what a word may mean.

    Attributes:
        title: of a list, what is in it; may be empty.
        topics: one or several.
        whole: whether each is to be told whole, not in a line of a list.
    """

    title: str
    topics: tuple[Topic, ...]
    whole: bool


def groups(
    flags: Sequence[Topic] = (),
    words: Sequence[Topic] = (),
    simulator: Sequence[Topic] = (),
    variables: Sequence[Topic] = (),
) -> tuple[Group, ...]:
    """All there is to be told.

    Args:
        flags: those of the commands.
        words: in which the commands tell what they did.
        simulator: its behaviours, and the keys of its scenarios.
        variables: of the environment, that the commands and providers read.
    """
    return (
        Group("keys", "The keys of job.toml, and of a price in a price file.", (*_keys(), *_price_keys())),
        Group(
            "columns",
            "The columns of results (one row for each input row and variant) and of calls (one row for each call).",
            (
                *_columns("results", RESULTS, RESULT_TEXTS),
                *_input_columns(),
                *_label_columns(),
                *_columns("calls", CALLS, CALL_TEXTS),
            ),
        ),
        Group(
            "flags",
            "What the column flags may say of an answer, and the flags of the commands.",
            (*_row_flags(), *flags),
        ),
        Group("errors", _OF_ERRORS, tuple(_errors())),
        Group("exits", "What the command ends with.", tuple(_exits())),
        Group(
            "variables",
            "Variables of the environment. An option of a command has one, and another for that command alone, which "
            "wins: --max-cost is PROMPTMILL_MAX_COST, or PROMPTMILL_RUN_MAX_COST for run. One that means another "
            "thing than those of the same name has only the variable of its command. A flag wins over the "
            "environment, that over the files of --env-file, those over the file env in the config folder, and all of "
            "them over the job. A variable that is empty counts as not given, in the environment also where a file "
            "has a value. An option that is on or off takes true or false; one that may be repeated takes several "
            "values as a command line would, with blanks between and quotes around. In a file a line is NAME=value, "
            "with or without export and quotes; nothing is expanded.",
            tuple(variables),
        ),
        Group(
            "words",
            "What run, status and show say, and what stands in status.json and runs/*.json.",
            (*_words(), *words),
        ),
        Group(
            "simulator",
            "What a scenario of promptmill simulate can say, and what a provider does, by number: 1 to 17 in health, "
            "the others are faults.",
            tuple(simulator),
        ),
    )


def find(there: Sequence[Group], asked: str) -> list[Found]:
    """All that a word may mean.

    Args:
        there: all there is.
        asked: a group, a section, a command, or the name of a single thing; upper and lower case do not count.

    Raises:
        RefusedToStart: there is no such topic; names the nearest.
    """
    word = _plain(asked)
    everything = [topic for group in there for topic in group.topics]
    groups_named = {group.name: group for group in there}
    if (group := groups_named.get(word)) is not None:
        return [Found(f"{group.name}: {group.text}", group.topics, whole=False)]
    found = (
        _named(everything, word)
        or _kind(everything, groups_named["errors"], word)
        or _named(everything, word.partition("/")[0])
    )
    if (group := groups_named.get(f"{word}s")) is not None:
        return [*find(there, group.name), *found]
    if not found:
        raise RefusedToStart(f"nothing is called {asked!r} here. {_nearest(there, everything, word)}")
    return found


def _kind(everything: Sequence[Topic], errors: Group, word: str) -> list[Found]:
    """The kind of error in `rate_limit/1302`, as status has it, or in `failed/label`, with the code if it is ours."""
    parts = word.split("/")
    kind, code = parts[1:3] if parts[0] == "failed" else parts[:2], f"code {parts[-1]}"
    topics = [topic for topic in errors.topics if len(parts) > 1 and topic.name == kind[0]]
    topics += [topic for topic in everything if topics and len(kind) > 1 and topic.name == code]
    return [Found("", tuple(topics), whole=True)] if topics else []


def _named(everything: Sequence[Topic], word: str) -> list[Found]:
    named = [topic for topic in everything if word == _plain(topic.name)]
    single = [*named, *(topic for topic in everything if word in map(_plain, topic.aliases) and topic not in named)]
    inside = [topic for topic in everything if word in map(_plain, topic.part_of)]
    found = [Found("", tuple(single), whole=True)] if single else []
    return [*found, *([Found(_title(word, inside), tuple(inside), whole=False)] if inside else [])]


def _title(word: str, inside: Sequence[Topic]) -> str:
    """What a section of the job file is, or whose these topics are."""
    return f"[{word}]: {SECTION_TEXTS[word]}" if word in SECTION_TEXTS else f"{word}: {inside[0].what}."


def _nearest(there: Sequence[Group], everything: Sequence[Topic], word: str) -> str:
    names = {group.name: group.name for group in there}
    for topic in everything:
        for name in (*topic.aliases, *topic.part_of, topic.name):
            names[_plain(name)] = name
    near = nearest(word, names, most=3)
    near += [name for name in names if word and word in name and name not in near][: 3 - len(near)]
    hint = f"{did_you_mean([names[name] for name in near])} " if near else ""
    said = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])", re.IGNORECASE)
    mentioned = [topic.name for topic in everything if word and said.search(topic.text)][:4]
    more = f"It is spoken of in {', '.join(mentioned)}. " if mentioned else ""
    return f"{hint}{more}`promptmill explain` lists what there is."


def _plain(name: str) -> str:
    return " ".join(name.lower().split()).strip("[]")


def _keys() -> Iterator[Topic]:
    for key in all_keys():
        section, _, last = key.name.rpartition(".")
        facts = (("takes", key.takes), ("default", key.default), ("example", key.example))
        within = (section, section.removesuffix(".NAME"), section.split(".")[0]) if section else ()
        yield Topic(key.name, "key of job.toml", key.text, facts, (last,) if section else (), within)


def _price_keys() -> Iterator[Topic]:
    for name, key in PRICE_KEYS.items():
        text = f"{key.means[0].upper()}{key.means[1:]}."
        yield Topic(f"price.{name}", "key of a price file", text, (), (name,), ("price",))


def _columns(table: str, columns: Iterable[Any], texts: dict[str, str]) -> Iterator[Topic]:
    for column in columns:
        facts = (("type", str(column.type)),)
        yield Topic(f"{table}.{column.name}", f"column of {table}", texts[column.name], facts, (column.name,), (table,))


def _label_columns() -> Iterator[Topic]:
    kinds = {**SAMPLED, **CONFIDENCE}
    for name, text in LABEL_TEXTS.items():
        facts = (("type", str(kinds[name])),) if name in kinds else ()
        yield Topic(f"results.{name}", "column of results", text, facts, (name,), ("results",))


def _input_columns() -> Iterator[Topic]:
    for name, text in INPUT_TEXTS.items():
        yield Topic(f"results.{name}", "column of results", text, (), (name,), ("results",))


def _row_flags() -> Iterator[Topic]:
    for flag, meaning in FLAGS.items():
        text = f"{meaning.meaning[0].upper()}{meaning.meaning[1:]}. What to do: {meaning.advice}."
        yield Topic(flag, "flag of an answer", text)


def _errors() -> Iterator[Topic]:
    for kind, text in FAILURES.items():
        yield Topic(kind, "kind of error", text)


def _exits() -> Iterator[Topic]:
    for code, text in EXITS.items():
        yield Topic(str(code), "exit code", f"{text[0].upper()}{text[1:]}.", (), (f"exit {code}", f"exit code {code}"))


_WORDS = (
    ("state", "state of a run", STATES),
    ("reason", "why a row is asked", KINDS),
    ("stage", "how far a row is", STAGES),
    ("code", "code of an error", CODES),
    ("call", "how a call ended", CALL_STATES),
    ("lane", "how requests travel", lanes.TEXTS),
    ("finish_reason", "how an answer ended", FINISH_REASONS),
    ("runs.", "key of runs/*.json", RUN_FILE),
    ("planned.", "number in runs/*.json", PLANNED),
    ("totals.", "number in runs/*.json and status.json", TOTALS),
    ("progress.", "key of status.json and of --progress json", PROGRESS),
    ("estimate.", "key of estimate --json", ESTIMATE),
    ("status.", "key of status.json", HEARTBEAT),
    ("doctor", "what doctor looks at", AREAS),
    ("finding", "what doctor says of it", FOUND),
    ("metrics.", "metric in metrics.prom", METRICS),
    ("by", "what cost --by takes", BY),
    ("waste", "way in which a call is paid for nothing", WASTE),
    ("difference", "how a book and a bill differ", DIFFERENCES),
    ("cost.", "key of cost --json", COST_KEYS),
    ("reconcile.", "key of cost --reconcile --json", DIFFERENCE_KEYS),
    ("filter", "what rows can be asked for by in the pages and addresses of view", FILTERS),
)
"""What stands before the word in the name of its topic, what kind of thing it is, and the table with its text."""


def _words() -> Iterator[Topic]:
    for section, what, texts in _WORDS:
        plain = section.rstrip(".")
        for word, text in texts.items():
            name = f"{section}{word}" if section.endswith(".") else f"{section} {word}"
            yield Topic(name, what, text, (), (word,), (plain, f"{plain}s"))
