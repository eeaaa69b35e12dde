"""The machines of a Ray cluster before the first row: whether each of them can do the work.

Owns what a node is asked (its Python, its promptmill, the key of the provider) and what is told of one that cannot. It
speaks with Ray through what it is handed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from batch.core.errors import RefusedToStart
from batch.core.plain import clean
from batch.core.version import VERSION
from batch.run.fleet.messages import Hello, encode_keyless

ANSWER_S: Final = 60.0
"""How long a node may take to answer: a process has to start there."""
_MOST_TOLD: Final = 8


class Node(msgspec.Struct, frozen=True):
    """One machine of the cluster."""

    id: str
    name: str
    """As people know it."""


class Found(msgspec.Struct, frozen=True):
    """What a node says of itself."""

    python: str
    promptmill: str | None
    """Its version; None where it is not installed."""
    lacks: str | None = None
    """Why it has not all keys."""


def usable(listed: Sequence[Mapping[str, Any]]) -> list[Node]:
    """The nodes that can have workers.

    Args:
        listed: what `ray.nodes()` gives.
    """
    nodes = []
    for one in listed:
        if one["Alive"] and one["Resources"].get("CPU", 0) > 0:
            name, address = str(one.get("NodeManagerHostname") or ""), str(one.get("NodeManagerAddress") or "")
            nodes.append(Node(one["NodeID"], clean(f"{name} ({address}, {one['NodeID'][:8]})", most=120)))
    return nodes


def question(hello: Hello) -> Callable[[], tuple[str, str | None, str | None]]:
    """What is run on a node: a function that needs nothing there but Python, and goes there as code.

    Args:
        hello: says which keys are wanted, and where.
    """
    asked, wanted = encode_keyless(hello), VERSION

    def answer() -> tuple[str, str | None, str | None]:
        import sys  # noqa: PLC0415 - all of this is run elsewhere

        python = "{}.{}".format(*sys.version_info)
        try:
            from batch.core import version as installed  # noqa: PLC0415 - likewise
        except ImportError:
            return python, None, None
        if wanted != installed.VERSION:
            return python, installed.VERSION, None
        from batch.run.ray.keys import lacking  # noqa: PLC0415 - likewise

        return python, wanted, lacking(asked)

    return answer


def require(answers: Mapping[Node, Found | str], python: str, *, text: str) -> None:
    """Refuse a cluster of which a node cannot do the work.

    Args:
        answers: what each node says, or why it says nothing.
        python: the version here, such as `3.11`.
        text: how the option was given.

    Raises:
        RefusedToStart: names each such node, and what to do there.
    """
    if not answers:
        raise RefusedToStart(
            f"--on {text}: the cluster has no node that takes work (with processors): add one with ray start"
        )
    told = [f"{node.name}: {why}" for node, found in answers.items() if (why := _wrong(found, python)) is not None]
    if told:
        more = f"\n  and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
        count = f"{len(told)} of {len(answers)} nodes" if len(answers) > 1 else "the node"
        lines = "".join(f"\n  {line}" for line in told[:_MOST_TOLD])
        raise RefusedToStart(f"--on {text}: {count} cannot do the work, so nothing was sent:{lines}{more}")


def _wrong(found: Found | str, python: str) -> str | None:
    if isinstance(found, str):
        return found
    if found.promptmill is None:
        return f"promptmill is not installed there: pip install 'promptmill[ray]=={VERSION}' in the Python of its Ray"
    if found.promptmill != VERSION:
        return f"promptmill {found.promptmill} is installed there, and {VERSION} here: install the same version"
    if found.python != python:
        return f"its Ray runs Python {found.python}, and this is {python}: use the same one"
    if found.lacks is not None:
        return (
            f"{found.lacks}. Workers find the key on their own node: a variable has to be set there where ray start is "
            "run, a file has to lie there at the same path"
        )
    return None
