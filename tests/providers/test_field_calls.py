"""Fragments of tool calls as servers send them whose indexes are wrong, and calls that come together all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.records import ToolCall
from tests.http.test_sse import EXAMPLES
from tests.providers.test_folding import DONE, chunk, fragment, frame, reply, said

F, G = ToolCall("a", "f", '{"a":1}'), ToolCall("b", "g", '{"b":2}')


def called(fragments: list[dict[str, Any]]) -> tuple[ToolCall, ...]:
    """The calls in these fragments, each in a chunk of its own; all in one chunk must give the same."""
    end = said(None, "tool_calls")
    found = reply(*(frame(chunk({"tool_calls": [one]})) for one in fragments), end, DONE).tool_calls
    assert found == reply(frame(chunk({"tool_calls": fragments})), end, DONE).tool_calls
    return found


def head(call: ToolCall, index: int | None, arguments: str = "", **more: Any) -> dict[str, Any]:
    return fragment(arguments, name=call.name, id=call.id, **({} if index is None else {"index": index}), **more)


WRONG = {
    "the second head has index 0, its tail 1": [
        head(F, 0), fragment('{"a"', index=0), fragment(":1}", index=0), head(G, 0), fragment('{"b":2}', index=1),
    ],
    "heads have index 0, tails another": [
        head(F, 0), fragment('{"a":1}', index=1), head(G, 0), fragment('{"b"', index=1), fragment(":2}", index=1),
    ],
    "the index grows with each fragment": [
        head(F, 0), fragment('{"a"', index=1), fragment(":1}", index=2), head(G, 3), fragment('{"b":2}', index=4),
    ],
    "the index grows and names are repeated": [
        head(F, 0, '{"a"'), head(F, 1, ":1}"), head(G, 2, '{"b"'), head(G, 3, ":2}"),
    ],
    "a known id under another index": [
        head(F, 0, '{"a"'), head(G, 1, '{"b"'), fragment(":1}", id="a", index=1), fragment(":2}", id="b", index=0),
    ],
    "a known id under a new index": [head(F, 0, '{"a"'), fragment(":1}", id="a", index=5), head(G, 1, '{"b":2}')],
    "the tail of the second has the index of the first": [
        head(F, 0, '{"a":1}'), head(G, 1, '{"b"'), fragment(":2}", index=0),
    ],
    "all index 0": [head(F, 0), fragment('{"a":1}', index=0), head(G, 0), fragment('{"b":2}', index=0)],
    "no index in tails": [head(F, 0), fragment('{"a":1}'), head(G, 1), fragment('{"b":2}')],
    "no index at all": [head(F, None), fragment('{"a":1}'), head(G, None), fragment('{"b"'), fragment(":2}")],
    "no index, another id in every fragment": [
        head(F, None, '{"a"'), fragment(":1}", id="x"), head(G, None, '{"b"'), fragment(":2}", id="y"),
    ],
    "the whole call once more at its end": [
        head(F, 0, '{"a"'), fragment(":1}", index=0), head(G, 1, '{"b":2}'), head(F, 2, '{"a":1}'), head(G, 3, '{"b":2}'),
    ],
    "interleaved, as documented": [
        head(F, 0), head(G, 1), fragment('{"b"', index=1), fragment('{"a"', index=0), fragment(":2}", index=1), fragment(":1}", index=0),
    ],
    "interleaved in one, a head at a time": [
        head(F, 0, '{"a"'), head(G, 1, '{"b"'), fragment(":1}", index=0), fragment(":2}", index=1),
    ],
}  # fmt: skip


@pytest.mark.parametrize("fragments", WRONG.values(), ids=WRONG)
def test_fragments_with_a_wrong_index_come_to_their_call(fragments: list[dict[str, Any]]) -> None:
    """FIELD 24: f got the arguments of g, or a third call without a name came up, and the row was ok."""
    assert called(fragments) == (F, G)


NO_IDS = {
    "whole calls, all index 0": [fragment('{"a":1}', name="f", index=0), fragment('{"b":2}', name="g", index=0)],
    "in pieces, all index 0": [
        fragment(name="f", index=0), fragment('{"a"', index=0), fragment(":1}", index=0), fragment(name="g", index=0), fragment('{"b":2}', index=0),
    ],
    "no index, the name in every fragment": [
        fragment(name="f"), fragment('{"a"', name="f"), fragment(":1}", name="f"), fragment('{"b"', name="g"), fragment(":2}", name="g"),
    ],
    "another name before the first is whole": [fragment('{"a"', name="f", index=0), fragment(":1}", index=0), fragment('{"b":2}', name="g", index=0)],
}  # fmt: skip


@pytest.mark.parametrize("fragments", NO_IDS.values(), ids=NO_IDS)
def test_a_new_name_after_a_whole_call_begins_a_new_one(fragments: list[dict[str, Any]]) -> None:
    """FIELD 24: without ids they were one call `fg` whose arguments were no JSON."""
    assert [(call.name, call.arguments) for call in called(fragments)] == [("f", F.arguments), ("g", G.arguments)]


def test_two_calls_of_one_function_under_one_id_or_none_stay_two() -> None:
    """FIELD 24: and their ids differ, as their results must."""
    for index in (0, None):
        for name in ("a", None):
            more = {"id": name} | ({} if index is None else {"index": index})
            found = called([fragment('{"a":1}', name="f", **more), fragment('{"a":2}', name="f", **more)])
            assert [(call.name, call.arguments) for call in found] == [("f", '{"a":1}'), ("f", '{"a":2}')]
            assert found[0].id != found[1].id


CALLS = st.lists(st.dictionaries(st.text(alphabet='a"{}\\', max_size=3), st.integers(0, 99), max_size=2), min_size=1, max_size=4)  # fmt: skip


@st.composite
def cut_up(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@given(data=st.data(), made=CALLS)
@settings(max_examples=EXAMPLES // 5, deadline=None)
def test_calls_one_after_another_come_whole_whatever_the_indexes_say(data: st.DataObject, made: list[Any]) -> None:
    """FIELD 24: each head has its id; index, or none, is drawn for every fragment."""
    calls = [ToolCall(f"id-{n}", data.draw(st.sampled_from("fg")), json.dumps(value)) for n, value in enumerate(made)]
    index = st.none() | st.integers(0, 4)
    fragments = []
    for call in calls:
        first, *others = data.draw(cut_up(call.arguments))
        fragments.append(head(call, data.draw(index), first))
        fragments += [fragment(piece, index=at) for piece in others for at in [data.draw(index)]]
    assert sorted(called(fragments), key=lambda call: call.id) == calls


@given(data=st.data(), made=CALLS)
@settings(max_examples=EXAMPLES // 5, deadline=None)
def test_calls_in_turns_come_whole_when_their_indexes_are_right(data: st.DataObject, made: list[Any]) -> None:
    """FIELD 24: what the documents say is still so; ids stand in the heads, or in all fragments, or nowhere."""
    calls = [ToolCall(f"id-{n}", f"f{n}", json.dumps(value)) for n, value in enumerate(made)]
    ids = data.draw(st.sampled_from(["heads", "all", "none"]))
    waiting = []
    for index, call in enumerate(calls):
        first, *others = data.draw(cut_up(call.arguments))
        name = {"id": call.id}
        pieces = [fragment(first, name=call.name, index=index, **(name if ids != "none" else {}))]
        pieces += [fragment(piece, index=index, **(name if ids == "all" else {})) for piece in others]
        waiting.append(pieces)
    fragments = []
    while waiting:
        at = data.draw(st.integers(0, len(waiting) - 1))
        fragments.append(waiting[at].pop(0))
        waiting = [pieces for pieces in waiting if pieces]
    found = called(fragments)
    assert [(call.name, call.arguments) for call in found] == [(call.name, call.arguments) for call in calls]
    assert ids == "none" or list(found) == calls
