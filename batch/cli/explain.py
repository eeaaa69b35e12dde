"""`promptmill explain`: tells what a key, a column, a flag, an error, an exit code, a word or a behaviour is.

Owns how topics look on a terminal, and the collection of the flags and words that the commands have. What there is to
be told, and how it is found, is `report.explain`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

from cyclopts import Parameter

from batch.cli import variables
from batch.cli.text import pairs, say, wrapped
from batch.core.errors import EXIT_OK

if TYPE_CHECKING:
    from batch.report.explain import Found, Group, Topic
    from batch.simulator.explained import Told

_BESIDE: Final = 24
"""Characters of a name that may stand beside its text; longer ones stand above it."""


def explain(*topic: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """What a key of job.toml, a column, a flag, an error, an exit code, a word of a message or a behaviour means.

    Without a topic it lists what there is.

    Args:
        topic: limits.concurrency, error_kind, --only, timeout, 2, settled …, or a group: keys, columns, flags, errors,
            exits, variables, words, simulator.
    """
    from batch.report import explain as report

    flags = tuple(command_flags())
    there = report.groups(flags, tuple(_words()), tuple(_simulator()), tuple(command_variables(flags)))
    asked = " ".join(topic)
    say(_found(report.find(there, asked)) if asked.strip() else _overview(there))
    return EXIT_OK


def command_flags() -> Iterator[Topic]:
    """The flags of every command, as its help has them."""
    from batch.cli.app import COMMANDS, DEBUG, ENV_FILE, make_app
    from batch.report.explain import Topic

    app = make_app()
    for command in COMMANDS:
        for argument in app[command].assemble_argument_collection(parse_docstring=True):
            name = argument.name
            if name.startswith("-"):
                yield Topic(
                    f"{command} {name}",
                    f"flag of promptmill {command}",
                    " ".join(str(argument.parameter.help or "").split()),
                    (*_facts(argument), ("variable", " or ".join(variables.names(command, name)))),
                    (*argument.names, *(f"{command} {other}" for other in argument.names[1:]), name.lstrip("-")),
                    (command,),
                )
    text = (
        "Writes the completion of a shell to where it looks for it: bash, zsh, fish, or without a name that of $SHELL."
    )
    yield Topic("--install-completion", "flag without a command", text, (), ("install-completion", "completion"))
    for name, text, variable in (("--debug", DEBUG, variables.DEBUG), ("--env-file", ENV_FILE, variables.ENV_FILE)):
        sentence = f"{text[0].upper()}{text[1:]}"
        yield Topic(name, "flag of any command", sentence, (("variable", variable),), (name.lstrip("-"),))


def command_variables(flags: Sequence[Topic]) -> Iterator[Topic]:
    """The variables that stand for flags, those of ours that stand for none, and those of providers.

    Args:
        flags: as `command_flags` has them.
    """
    from batch.providers.registry import PROVIDERS
    from batch.report.explain import Topic

    of: dict[str, list[tuple[str, str, str]]] = {}
    for flag in flags:
        command, _, option = flag.name.partition(" ")
        if option:
            own, *shared = variables.names(command, option)
            of.setdefault((*shared, own)[0], []).append((command, option, own))
    for name, stands_for in of.items():
        (first, option, own), *_ = stands_for
        text = f"As {option} of {', '.join(command for command, _, _ in stands_for)}."
        owns = tuple(own for _, _, own in stands_for if own != name)
        facts = (("for one command", "\n".join(owns)),) if owns else ()
        look = ("explain", f"promptmill explain {first} {option}")
        yield Topic(name, "variable for an option", text, (*facts, look), owns)
    for name, text in variables.OTHERS.items():
        yield Topic(name, "variable", text)
    keys: dict[str, list[str]] = {}
    for service in PROVIDERS.values():
        for name in service.keys:
            keys.setdefault(name, []).append(service.name)
    for name, providers in keys.items():
        yield Topic(name, "variable with a key", f"The API key of provider {' and '.join(providers)}.")
    for service in PROVIDERS.values():
        for name, header in service.header_variables.items():
            yield Topic(name, "variable with a header", f"Sent to provider {service.name} as the header {header}.")
        if service.base_variable:
            text = f"The address of provider {service.name}, where the job has no model.base_url."
            yield Topic(service.base_variable, "variable with an address", text)


def _facts(argument: Any) -> Iterator[tuple[str, str]]:
    if choices := argument.get_choices():
        yield "takes", ", ".join(choices)
    elif int in (argument.hint, *get_args(argument.hint)):
        yield "takes", "a whole number"
    default = argument.field_info.default
    if default not in (argument.field_info.empty, None, False, ()):
        yield "default", str(default)
    if len(argument.names) > 1:
        yield "also", ", ".join(argument.names[1:])


def _words() -> Iterator[Topic]:
    """The lines that commands print, and turns of phrase in them."""
    from batch.cli.words import LINES, PHRASES
    from batch.report.explain import Topic

    for name, text in LINES.items():
        yield Topic(f"line {name}", "line that a command prints", text, (), (name,), ("line", "lines"))
    for name, text in PHRASES.items():
        yield Topic(f"phrase {name}", "turn of phrase", text, (), (name,), ("phrase", "phrases"))


def _simulator() -> Iterator[Topic]:
    from batch.report.explain import Topic
    from batch.simulator import explained

    for key in explained.scenario_keys():
        section = key.name.rpartition(".")[0]
        within = ("scenario", f"scenario {section}") if section else ("scenario",)
        yield Topic(key.name, "key of a scenario", key.text, key.facts, (f"scenario {key.name}",), within)
    habits = {int(told.name): ("behaviour", "behaviour of a provider", told) for told in explained.habits()}
    faults = {int(told.name): ("fault", "fault of the simulator", told) for told in explained.faults()}
    for number, (kind, what, told) in sorted({**habits, **faults}.items()):
        names = (told.name, f"behaviour {number}", told.title)
        within = ("behaviour", "behaviours", *(("fault", "faults") if number in faults else ()))
        yield Topic(f"{kind} {number}", what, _sentence(told), told.facts, names, within)


def _sentence(told: Told) -> str:
    return f"{told.title[0].upper()}{told.title[1:]}. {told.text}".replace("`", "")


def _overview(there: Sequence[Group]) -> Iterator[str]:
    yield from wrapped("promptmill explain TOPIC tells what one of these is, or all that is in a group or section.", 0)
    for group in there:
        yield ""
        yield from wrapped(f"{group.name}: {group.text}", 0)
        sections: dict[str, list[str]] = {}
        for topic in group.topics:
            section, name = _parts(topic.name)
            sections.setdefault(section, []).append(name)
        width = max(map(len, sections)) + 2
        for section, names in sections.items():
            listed = wrapped(", ".join(names), 0, less=width + 2)
            yield from (f"  {section if not n else '':<{width}}{line}".rstrip() for n, line in enumerate(listed))


def _parts(name: str) -> tuple[str, str]:
    """`limits.concurrency` → `limits`, `concurrency`; `run --limit` → `run`, `--limit`; `line exit code` alike."""
    section, _, last = name.partition(" ") if " " in name else name.rpartition(".")
    return section, last


def _found(every: Sequence[Found]) -> Iterator[str]:
    for number, found in enumerate(every):
        yield from ("",) if number else ()
        yield from _topics(found) if found.whole else _list(found)


def _topics(found: Found) -> Iterator[str]:
    for number, topic in enumerate(found.topics):
        yield from ("",) if number else ()
        yield from _whole(topic)


def _list(found: Found) -> Iterator[str]:
    yield from wrapped(found.title, 0)
    longest = max(len(topic.name) for topic in found.topics)
    if longest <= _BESIDE:
        yield from pairs([(topic.name, "\n".join(wrapped(topic.text, 0, less=longest + 4))) for topic in found.topics])
    else:
        for topic in found.topics:
            yield f"  {topic.name}"
            yield from wrapped(topic.text, 6)
    if any(topic.facts for topic in found.topics):
        yield f"promptmill explain {found.topics[0].name} tells more of one."


def _whole(topic: Topic) -> Iterator[str]:
    yield from wrapped(f"{topic.name}  ({topic.what})", 0)
    yield from wrapped(topic.text, 2)
    width = max((len(name) for name, _ in topic.facts), default=0) + 4
    yield from pairs(
        [(name, value if "\n" in value else "\n".join(wrapped(value, 0, less=width))) for name, value in topic.facts]
    )
