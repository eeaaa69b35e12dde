"""Puts the pieces of a streamed message together where servers disagree on how they are marked.

Owns which tool call a fragment belongs to, and how texts that stand in `message` add up. It knows nothing of frames,
of how a stream ends, or of what an answer means. Sources: OpenAI API reference "chat completion chunk object", BigModel
guide "Tool streaming output"; servers that send other indexes and ids than these are many.
"""

from __future__ import annotations

import io
from typing import Any, Final

import msgspec

from batch.providers import chunk, loose_json

MAX_NAME: Final = 1024
"""A function's name that has come to this many characters takes no further fragments."""
LONG_ENOUGH: Final = 8
"""A text of so many characters that the next one begins with is taken to be repeated, not said twice."""
_NOTHING: Final = chunk.Function()
_object: Final = msgspec.json.Decoder(loose_json.Fields)


class _Call:
    """A tool call in the making."""

    __slots__ = ("_text", "id", "last", "name", "order", "started")

    def __init__(self, order: int) -> None:
        self.order = order
        self.id: str | None = None
        self.name = ""
        self.started = False
        """Whether a piece of the arguments has come."""
        self.last = ""
        """The last piece of the arguments."""
        self._text = io.StringIO()

    @property
    def arguments(self) -> str:
        """The arguments until now."""
        return self._text.getvalue()

    @property
    def complete(self) -> bool:
        """Whether the arguments are a whole JSON object, so that whatever is added would spoil them."""
        if not self.last.endswith("}"):
            return False
        try:
            _object.decode(self.arguments)
        except loose_json.UNREADABLE:
            return False
        return True

    def add(self, name: str, arguments: str) -> int:
        """Add to the name and to the arguments; return how many characters that were."""
        if name != self.name and len(self.name) < MAX_NAME:  # some servers repeat it in every fragment
            self.name += name
        if arguments:
            self.started = True
            self.last = arguments.rstrip() or self.last
            self._text.write(arguments)
        return len(arguments) + len(name)


class ToolCalls:
    """Tool calls by their fragments.

    An id that is known decides, whatever index stands beside it. A name, or an id, that cannot belong to the call that
    is open begins a new one. What has neither id nor name goes to the call of its index while that call is open, and
    else to the call that got the last fragment: so the heads may all have index 0, and the index may grow with every
    fragment.
    """

    __slots__ = ("_all", "_by_id", "_by_index", "_last")

    def __init__(self) -> None:
        self._all: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._last: _Call | None = None

    def add(self, fragment: chunk.Fragment) -> int:
        """Add a fragment, and return how many characters it brought."""
        function = fragment.function or _NOTHING
        name, arguments = function.name or "", function.arguments or ""
        if not (name or arguments or fragment.id):
            return 0
        call = self._of(fragment, name, arguments)
        if call is None:
            call = _Call(len(self._all) if fragment.index is None else fragment.index)
            self._all.append(call)
            if fragment.index is not None:
                self._by_index[fragment.index] = call
        self._last = call
        if fragment.id and call.id is None:
            call.id = fragment.id
            self._by_id[fragment.id] = call
        elif fragment.id and call.id == fragment.id and arguments and call.complete:
            return 0  # the whole call again
        return call.add(name, arguments)

    def whole(self) -> list[dict[str, Any]]:
        """The calls in the order of their indexes, in the form of an answer in one piece."""
        return [
            {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
            for call in sorted(self._all, key=_order)
        ]

    def _of(self, fragment: chunk.Fragment, name: str, arguments: str) -> _Call | None:
        """The call that a fragment belongs to; None when it begins a new one."""
        known = self._by_id.get(fragment.id) if fragment.id else None
        if known is not None:
            return None if name and _is_another(known, name, arguments) else known
        if name:
            return self._of_named(fragment, name, arguments)
        at = self._by_index.get(fragment.index) if fragment.index is not None else None
        if at is not None and (at is self._last or not at.complete):
            return at
        last = self._last
        if fragment.id and last is not None and (fragment.index is not None or (arguments and last.complete)):
            return None  # a new id at a new index, or where nothing is missing in the call before
        return last

    def _of_named(self, fragment: chunk.Fragment, name: str, arguments: str) -> _Call | None:
        """The same for a fragment that has a name, and an id that is not known or none."""
        call = self._last if fragment.index is None else self._by_index.get(fragment.index)
        if call is None or not call.name:
            return call if call is None or call.id is None or not fragment.id else None
        if fragment.id:
            # An id may come late; without an index nothing says that it is not a new call's.
            late = call.id is None and fragment.index is not None
            return call if late and not _is_another(call, name, arguments) else None
        if fragment.index is None and (name != call.name or not (call.started or arguments)):
            return None
        return None if _is_another(call, name, arguments) else call


def _is_another(call: _Call, name: str, arguments: str) -> bool:
    """Whether a name and arguments cannot be a piece of this call: it has its own already."""
    if not call.started:
        return False
    if name != call.name:
        return True
    return bool(arguments) and call.complete and arguments != call.arguments


def _order(call: _Call) -> int:
    return call.order


class GrowingText:
    """A text that comes in pieces, or each time as a whole that has grown: which of them, the pieces themselves tell.

    As long as each text begins with the one before, both can be meant, so the lengths are kept: with them the pieces
    can still be joined. A whole that grew is one whose first text was long, or that did so more than once.
    """

    __slots__ = ("_joined", "_latest", "_lengths")

    def __init__(self) -> None:
        self._latest = ""
        self._lengths: list[int] = []
        self._joined: io.StringIO | None = None

    def add(self, text: str) -> int:
        """Add a text, and return how many characters more are kept."""
        if self._joined is not None:
            return self._joined.write(text)
        if text.startswith(self._latest):
            growth = len(text) - len(self._latest)
            self._latest = text
            if text:
                self._lengths.append(len(text))
            return growth
        if text:
            self._joined = io.StringIO()
            kept = len(self._latest)
            return sum(map(self._joined.write, (*self._pieces(), text))) - kept
        return 0

    @property
    def text(self) -> str:
        """The whole text until now."""
        if self._joined is not None:
            return self._joined.getvalue()
        lengths = sorted(set(self._lengths))
        grew = len(lengths) > 2 or (len(self._lengths) > 1 and lengths[0] >= LONG_ENOUGH)
        return self._latest if grew else "".join(self._pieces())

    def _pieces(self) -> list[str]:
        return [self._latest[:length] for length in self._lengths]


class Message:
    """What stands in the `message` of chunks, where the documented place is `delta`."""

    __slots__ = ("_calls", "_content", "_reasoning", "_refusal")

    def __init__(self) -> None:
        self._content: GrowingText | None = None
        self._reasoning = GrowingText()
        self._refusal = GrowingText()
        self._calls = ToolCalls()

    def add(self, message: chunk.Delta) -> int:
        """Add the message of one chunk, and return how many characters more are kept."""
        grown = 0
        if message.content is not None:
            if self._content is None:
                self._content = GrowingText()
            grown += self._content.add(message.content)
        if text := message.reasoning_content or message.reasoning:
            grown += self._reasoning.add(text)
        if message.refusal:
            grown += self._refusal.add(message.refusal)
        return grown + sum(map(self._calls.add, message.tool_calls or ()))

    def whole(self) -> dict[str, Any]:
        """Its members in the form of an answer in one piece; None where nothing came."""
        return {
            "content": None if self._content is None else self._content.text,
            "reasoning_content": self._reasoning.text or None,
            "refusal": self._refusal.text or None,
            "tool_calls": self._calls.whole() or None,
        }
