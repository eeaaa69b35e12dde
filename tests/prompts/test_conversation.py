"""`batch.prompts.conversation`: what happens next in a row, as a pure function of what came."""

import copy
import json
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.labelling import Labelling, Vote
from batch.core.records import Failure, Message, Reply, ToolCall, Usage
from batch.labels.asking import Asking
from batch.labels.schema import LabelSchema
from batch.labels.tries import LabelRules, Tries
from batch.prompts.conversation import after_failure, after_reply, after_tools, plain_end, replayed
from batch.prompts.judging import judge
from batch.prompts.steps import Action, Conversation, Rules, RunTools, Send, Settle, start

ASKED = "glm-4"
FIRST: list[Message] = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1 + 2?"}]
TOOLS = Rules(max_turns=3, tools=True)
USAGE = Usage(10, 5, 15)
NAMED = Rules(labels=LabelRules(Asking(labels=LabelSchema.of_names(["3", "4"]), forms={})))


def reply(content: str | None = "3", reason: str = "stop", *, calls: int = 0, **more: Any) -> Reply:
    asked = tuple(ToolCall(f"c{n}", "add", f'{{"n": {n}}}') for n in range(calls))
    message: Message = {"role": "assistant", "content": content}
    if asked:
        message["tool_calls"] = [{"id": call.id, "function": {"name": call.name}} for call in asked]
    fields = {"usage": USAGE, "model": ASKED, "message": message, "tool_calls": asked, **more}
    return Reply(content=content, finish_reason=reason, **fields)


def settled(answer: Reply, rules: Rules = Rules(), *, asked: str = ASKED) -> tuple[Conversation, Settle]:
    conversation, action = after_reply(start(FIRST), answer, rules, model_asked=asked)
    assert isinstance(action, Settle)
    return conversation, action


def test_a_plain_answer_settles_the_row() -> None:
    """One turn, no flags."""
    conversation, action = settled(reply(reasoning="1 and 2"))
    assert action == Settle(status="ok", answer="3", reasoning="1 and 2", finish_reason="stop", model=ASKED, flags=())
    assert conversation.messages == (*FIRST, {"role": "assistant", "content": "3"})


def test_tool_calls_are_run_and_their_results_sent_back_in_order() -> None:
    """One tool message for each call, with its id, and the next turn."""
    asked = reply(None, "tool_calls", calls=2)
    conversation, action = after_reply(start(FIRST), asked, TOOLS, model_asked=ASKED)
    assert action == RunTools(asked.tool_calls)
    following = after_tools(conversation, asked.tool_calls, ["one", "two"])
    assert following.turn == 1
    assert following.tool_calls == 2
    assert following.messages == (
        *FIRST,
        asked.message,
        {"role": "tool", "content": "one", "tool_call_id": "c0"},
        {"role": "tool", "content": "two", "tool_call_id": "c1"},
    )


def test_a_tool_turn_with_a_result_missing_is_a_fault_of_ours() -> None:
    """Every call is answered: a provider refuses a conversation with a call left open."""
    asked = reply(None, "tool_calls", calls=2)
    with pytest.raises(ValueError, match="shorter"):
        after_tools(start(FIRST), asked.tool_calls, ["one"])


@given(st.integers(1, 6), st.integers(1, 8))
def test_a_looping_model_is_stopped_after_max_turns_replies(max_turns: int, loops: int) -> None:
    """A looping model becomes that row's error; exactly `max_turns` replies are paid for."""
    conversation = start(FIRST)
    rules = Rules(max_turns=max_turns, tools=True)
    replies = 0
    while True:
        answer = reply(None, "tool_calls", calls=1) if replies < loops else reply("done")
        replies += 1
        conversation, action = after_reply(conversation, answer, rules, model_asked=ASKED)
        if not isinstance(action, RunTools):
            break
        conversation = after_tools(conversation, action.calls, ["again"])
    assert isinstance(action, Settle)
    if loops < max_turns:
        assert (action.status, replies) == ("ok", loops + 1)
    else:
        assert (action.status, replies) == ("failed", max_turns)
        assert (action.error_kind, action.error_code, action.retryable) == ("tool_loop", "max_turns", False)
        assert "max_turns" in (action.error_message or "")
    assert conversation.tool_calls == min(loops, max_turns)


def test_tool_calls_of_a_job_without_tools_are_not_run() -> None:
    """What came is the answer; an empty one says so."""
    _, action = settled(reply(None, "tool_calls", calls=1), Rules(tools=False))
    assert (action.status, action.flags) == ("ok", ("empty",))


def test_tool_calls_that_were_cut_off_are_not_run() -> None:
    """Half an argument text is no argument."""
    _, action = settled(reply("I will", "length", calls=1), TOOLS)
    assert (action.status, action.flags) == ("ok", ("truncated",))


@pytest.mark.parametrize(
    ("answer", "flags"),
    [
        (reply("3", "length"), ("truncated",)),
        (reply("", "stop"), ("empty",)),
        (reply("3", model="glm-3-turbo"), ("served_other",)),
        (reply("3", usage=None), ("usage_unknown",)),
        (reply(None, "length", model="other", usage=None), ("truncated", "served_other", "empty", "usage_unknown")),
        (reply("3", model=None), ()),
    ],
)
def test_what_is_odd_about_an_answer_is_flagged(answer: Reply, flags: tuple[str, ...]) -> None:
    """The row is ok; whoever filters does it by `flags`."""
    assert settled(answer)[1].flags == flags


@pytest.mark.parametrize("reason", ["sensitive", "content_filter"])
def test_the_text_of_a_filtered_answer_is_not_kept(reason: str) -> None:
    """The provider withdrew it; its kind and code say so, its text is nowhere."""
    conversation, action = settled(reply("something awful", reason))
    assert (action.status, action.error_kind, action.error_code) == ("failed", "content_filter", reason)
    assert action.retryable is False
    assert action.answer is None
    assert "awful" not in (conversation.kept("all") or "") + repr(action)


def test_a_prompt_too_long_for_the_model_fails_for_good() -> None:
    """Sending it again would fail again."""
    _, action = settled(reply("", "model_context_window_exceeded"))
    assert (action.error_kind, action.retryable) == ("too_large", False)


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("glm-4", "glm-4"),
        ("glm-4", "GLM-4"),
        ("glm-4", "glm-4-0520"),
        ("gpt-5-mini", "gpt-5-mini-2025-08-07"),
        ("qwen-max", "qwen-max-20250125"),
        ("kimi-k2", "kimi-k2-0905-preview"),
        ("glm-4", None),
    ],
)
def test_a_dated_snapshot_of_the_model_is_the_model(asked: str, served: str | None) -> None:
    """Services resolve a name to its latest snapshot and say which."""
    assert settled(reply(model=served), Rules(served="same"), asked=asked)[1].status == "ok"


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("glm-4", "glm-3-turbo"),
        ("glm-4", "glm-4-air"),
        ("glm-4", "glm-4.5"),
        ("glm-4", "glm-4-9b-0520"),
        ("glm-4-0520", "glm-4"),
        ("claude-opus-4", "claude-opus-4-1"),
        ("moonshot-v1", "moonshot-v1-32k"),
        ("moonshot-v1", "moonshot-v1-1024k"),
        ("gpt-5", "gpt-50"),
        ("model", "model-٤٤٤٤"),
    ],
)
def test_another_model_fails_the_row_only_where_the_job_says_so(asked: str, served: str) -> None:
    """`served = "same"`: failed, worth another try, both names told; `"any"`: ok and flagged."""
    _, action = settled(reply(model=served), Rules(served="same"), asked=asked)
    assert (action.status, action.error_kind, action.error_code) == ("failed", "served_other", served)
    assert action.retryable is True
    assert asked in (action.error_message or "")
    assert settled(reply(model=served), asked=asked)[1].flags == ("served_other",)


def test_the_kept_conversation_is_what_the_job_asks_for() -> None:
    """`turns` leaves out the first request, `all` nothing, `none` everything."""
    conversation, _ = settled(reply("三 😀"))
    kept = {keep: conversation.kept(keep) for keep in ("turns", "all", "none")}
    assert json.loads(kept["turns"] or "") == [{"role": "assistant", "content": "三 😀"}]
    assert json.loads(kept["all"] or "") == [*FIRST, {"role": "assistant", "content": "三 😀"}]
    assert kept["none"] is None
    assert start(FIRST).kept("turns") == "[]"


@pytest.mark.parametrize(
    ("answer", "kind", "verdict"),
    [
        (reply("half", "network_error"), "server", "retry"),
        (reply("half", "insufficient_system_resource"), "server", "retry"),
        (reply(None, "tool_calls"), "bad_payload", "once"),
        (reply(None, ""), "bad_payload", "once"),
        (reply("", "who_knows"), "bad_payload", "once"),
        (reply("half", "Aborted"), "server", "retry"),
        (reply("half", "ERROR"), "server", "retry"),
        (reply("half", "broken"), "server", "retry"),
    ],
)
def test_a_well_formed_reply_that_is_no_answer_is_asked_for_again(answer: Reply, kind: str, verdict: str) -> None:
    """FIELD 7: words that mean failure stay failures, in any letters and in the service's own words; so does nothing."""
    failure = judge(answer, Rules(finish_reasons={"broken": "error"}))
    assert failure is not None
    assert (failure.kind, failure.verdict) == (kind, verdict)
    assert failure.answered


@pytest.mark.parametrize(
    "reason",
    ["stop", "length", "function_call", "sensitive", "content_filter", "model_context_window_exceeded"],
)
def test_every_known_end_is_taken_as_one(reason: str) -> None:
    """`tool_calls` with calls too."""
    assert judge(reply("x", reason), Rules()) is None
    assert judge(reply("x", "tool_calls", calls=1), Rules()) is None


@pytest.mark.parametrize(
    ("word", "shown", "flags"),
    [
        *((word, "stop", ()) for word in ("eos", "eos_token", "end_turn", "STOP", "stop_sequence", "COMPLETE")),
        *((word, "length", ("truncated",)) for word in ("MAX_TOKENS", "max_tokens", "max_new_tokens")),
        ("natural", "stop", ()),
        ("paused_for_review", "paused_for_review", ("finish_unknown",)),
        ("", None, ("finish_unknown",)),
        ("function_call", "stop", ()),
    ],
)
def test_the_words_of_other_services_are_answers(word: str, shown: str | None, flags: tuple[str, ...]) -> None:
    """FIELD 7: each was paid twice, thrown away as `bad_payload`, retryable, and bought again every night."""
    rules = Rules(finish_reasons={"natural": "stop"})
    answer = reply("3", word)
    assert judge(answer, rules) is None
    _, action = after_reply(start(FIRST), answer, rules, model_asked=ASKED)
    assert action == Settle(status="ok", answer="3", finish_reason=shown, model=ASKED, flags=flags)


@pytest.mark.parametrize("word", ["tool_call", "tool_use", "function_call", "stop", "who_knows", ""])
def test_calls_that_came_are_run_whatever_word_stands_beside_them(word: str) -> None:
    """FIELD 7: and the calls are what is answered."""
    asked = reply(None, word, calls=2)
    assert judge(asked, TOOLS) is None
    _, action = after_reply(start(FIRST), asked, TOOLS, model_asked=ASKED)
    assert action == RunTools(asked.tool_calls)


def test_the_last_failure_of_a_turn_is_the_outcome_of_its_row() -> None:
    """Kind, code and message go into the result table as they are."""
    failure = Failure(kind="server", code="1234", message="busy", verdict="retry")
    action = after_failure(failure, retryable=True)
    assert action == Settle(
        status="failed", error_kind="server", error_code="1234", error_message="busy", retryable=True
    )


@given(
    st.sampled_from(["stop", "length", "tool_calls", "sensitive", "model_context_window_exceeded"]),
    st.integers(0, 3),
    st.sampled_from([ASKED, "other", None]),
    st.builds(
        Rules,
        max_turns=st.integers(1, 3),
        tools=st.booleans(),
        served=st.sampled_from(["any", "same"]),
        keep=st.sampled_from(["turns", "all", "none"]),
    ),
)
def test_nothing_that_is_passed_in_is_changed(reason: str, calls: int, model: str | None, rules: Rules) -> None:
    """The same conversation is rebuilt from the ledger after a crash: it must not depend on who looked at it."""
    answer = reply("text", reason, calls=calls, model=model)
    before = start(FIRST)
    saved = copy.deepcopy((before, answer, rules, FIRST))
    first = after_reply(before, answer, rules, model_asked=ASKED)
    second = after_reply(before, answer, rules, model_asked=ASKED)
    if answer.tool_calls:
        after_tools(first[0], answer.tool_calls, ["x"] * calls)
    assert (before, answer, rules, FIRST) == saved
    assert first == second
    assert isinstance(first[1], (RunTools, Settle))
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=Reply)
    assert after_reply(before, again, rules, model_asked=ASKED) == first


# -- conversations of several turns ---------------------------------------------------------------------------------

LATER: tuple[Message, ...] = ({"role": "user", "content": "And 3?"}, {"role": "user", "content": "And 4?"})


def talk(*answers: Reply, rules: Rules = TOOLS) -> tuple[Conversation, Action]:
    """A conversation in which every tool is run, as far as these replies bring it."""
    conversation, action = start(FIRST, LATER), cast("Action", Send())
    for answer in answers:
        conversation, action = after_reply(conversation, answer, rules, model_asked=ASKED)
        if isinstance(action, RunTools):
            conversation = after_tools(conversation, action.calls, ["done"] * len(action.calls))
    return conversation, action


@given(
    content=st.sampled_from(["3", "", None]),
    reason=st.sampled_from(["stop", "eos", "length", "content_filter", "", "odd"]),
    calls=st.sampled_from([0, 0, 1]),
    model=st.sampled_from([ASKED, None, f"{ASKED}-0520", "GLM-4", "glm-5", "glm-4-air"]),
    usage=st.sampled_from([USAGE, None, Usage(10, 5, 15, estimated=True)]),
    rules=st.sampled_from([Rules(), TOOLS, Rules(served="same"), Rules(finish_reasons={"stop": "length"}), NAMED]),
    later=st.sampled_from([(), ({"role": "user", "content": "And then?"},)]),
    flags=st.sampled_from([(), ("truncated",)]),
    turn=st.sampled_from([0, 1, 2]),
)
def test_the_short_way_ends_a_row_as_the_long_way_does(
    content: str | None,
    reason: str,
    calls: int,
    model: str | None,
    usage: Usage | None,
    rules: Rules,
    later: tuple[Message, ...],
    flags: tuple[str, ...],
    turn: int,
) -> None:
    """What `plain_end` finds is what `judge` lets pass and `after_reply` comes to; most rows are found by it."""
    answer = reply(content, reason, calls=calls, model=model, usage=usage, reasoning="so")
    begun = msgspec.structs.replace(start(FIRST, later), flags=flags, turn=turn, tool_calls=turn)
    found = plain_end(begun, answer, rules, model_asked=ASKED)
    if found is not None:
        assert judge(answer, rules) is None
        conversation, action = after_reply(begun, answer, rules, model_asked=ASKED)
        assert action == found
        assert conversation == msgspec.structs.replace(begun, messages=(*begun.messages, answer.message))


@pytest.mark.parametrize("model", [ASKED, None, f"{ASKED}-0520"])
def test_a_whole_text_of_the_model_that_was_asked_needs_no_long_way(model: str | None) -> None:
    assert plain_end(start(FIRST), reply(model=model), Rules(), model_asked=ASKED) is not None


def test_the_user_goes_on_after_each_answer_and_the_last_one_settles_the_row() -> None:
    """Every turn is sent with all that was said before it."""
    conversation, action = talk(reply("one"))
    assert action == Send()
    assert conversation.messages == (*FIRST, reply("one").message, LATER[0])
    assert (conversation.turn, conversation.follow_ups) == (1, LATER[1:])
    conversation, action = talk(reply("one"), reply("two"), reply("three"))
    assert isinstance(action, Settle)
    assert (action.status, action.answer, conversation.turn) == ("ok", "three", 2)
    kept = json.loads(conversation.kept("turns") or "")
    assert [message["content"] for message in kept] == ["one", "And 3?", "two", "And 4?", "three"]


def test_tools_inside_a_user_turn_are_run_before_the_user_goes_on() -> None:
    """The answer to the tools is the answer to the user."""
    tools = reply(None, "tool_calls", calls=2)
    conversation, action = talk(reply("one"), tools, reply("two"))
    assert action == Send()
    roles = [message["role"] for message in conversation.messages[2:]]
    assert roles == ["assistant", "user", "assistant", "tool", "tool", "assistant", "user"]
    assert (conversation.turn, conversation.since, conversation.tool_calls) == (3, 3, 2)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.integers(1, 4))
def test_max_turns_counts_from_each_user_message(loops: list[int], max_turns: int) -> None:
    """A long talk is no looping model; a loop in any of its turns is one."""
    rules = Rules(max_turns=max_turns, tools=True)
    answers = []
    for count in loops:
        answers += [reply(None, "tool_calls", calls=1)] * count + [reply("said")]
    looping = next((place for place, count in enumerate(loops) if count >= max_turns), None)
    if looping is not None:
        answers = answers[: sum(count + 1 for count in loops[:looping]) + max_turns]
    conversation, action = talk(*answers, rules=rules)
    if looping is not None:
        assert isinstance(action, Settle)
        assert (action.error_kind, action.error_code) == ("tool_loop", "max_turns")
    elif len(loops) == 3:
        assert isinstance(action, Settle)
        assert action.status == "ok"
    else:
        assert action == Send()
        assert conversation.follow_ups == LATER[len(loops) :]


def test_what_is_odd_about_any_answer_of_a_conversation_is_flagged_once() -> None:
    """In the order it was met; whoever filters truncated rows finds those cut in the middle too."""
    answers = (reply("a", "length"), reply("b", model="other", usage=None), reply("c", "length"))
    _, action = talk(*answers)
    assert isinstance(action, Settle)
    assert action.flags == ("truncated", "served_other", "usage_unknown")


@pytest.mark.parametrize(
    ("second", "kind"),
    [
        (reply("bad", "sensitive"), "content_filter"),
        (reply("", "model_context_window_exceeded"), "too_large"),
    ],
)
def test_a_turn_that_is_refused_in_the_middle_fails_the_row_and_keeps_what_was_said(second: Reply, kind: str) -> None:
    """The user does not go on over it; the answers before it stay readable."""
    conversation, action = talk(reply("one"), second)
    assert isinstance(action, Settle)
    assert (action.status, action.error_kind, action.answer) == ("failed", kind, None)
    kept = json.loads(conversation.kept("turns") or "")
    assert [message["content"] for message in kept][:2] == ["one", "And 3?"]
    assert "bad" not in str(kept)


@pytest.mark.parametrize(
    ("answer", "rules"),
    [(reply(None, "length", calls=1), TOOLS), (reply(None, "tool_calls", calls=1), Rules(tools=False))],
)
def test_tool_calls_that_nobody_runs_are_not_sent_back(answer: Reply, rules: Rules) -> None:
    """Services refuse a conversation that goes on over an open tool call, or over a message that holds nothing."""
    conversation, action = talk(answer, rules=rules)
    assert action == Send()
    assert conversation.messages[-2:] == ({"role": "assistant", "content": ""}, LATER[0])
    assert conversation.flags[-1:] == ("empty",)


def test_pictures_are_kept_as_hash_and_source() -> None:
    """`output.messages = "all"` does not write the megabytes a second time."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}, "source": "a.png"}
    first: list[Message] = [{"role": "user", "content": [{"type": "text", "text": "What?"}, picture]}]
    (kept,) = json.loads(start(first).kept("all") or "")
    hashed = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert kept["content"][1] == {"type": "image_url", "image_url": {"url": hashed}, "source": "a.png"}
    assert first[0]["content"][1] == picture


@pytest.mark.parametrize(
    ("contents", "flagged"),
    [
        (["7", '{"error":"ZeroDivisionError: division by zero"}'], True),
        (['{"error":"not found"}', "7"], True),
        (['{"error":""}', ""], True),
        (['{"error":null,"value":3}', '{"error":"none","value":3}'], False),
        (['{"error":"half', "error"], False),
    ],
)
def test_a_row_says_that_a_tool_failed_whatever_came_of_it(contents: list[str], flagged: bool) -> None:
    """FIELD 33. Once, in the flags of its answer and of its failure; what only looks like an error is a result."""
    asked = reply(None, "tool_calls", calls=2)
    conversation, _ = after_reply(start(FIRST), asked, TOOLS, model_asked=ASKED)
    flags = ("tool_failed",) if flagged else ()
    following = after_tools(conversation, asked.tool_calls, contents)
    assert following.flags == flags
    _, action = after_reply(following, reply(), TOOLS, model_asked=ASKED)
    assert isinstance(action, Settle)
    assert (action.status, action.flags) == ("ok", flags)
    again, _ = after_reply(following, asked, TOOLS, model_asked=ASKED)
    assert after_tools(again, asked.tool_calls, contents).flags == flags
    coerced = after_tools(again, asked.tool_calls, contents, coerced=True)
    assert coerced.flags == (*flags, "coerced")
    assert after_tools(coerced, asked.tool_calls, contents, coerced=True).flags == coerced.flags


LABELS = LabelRules(Asking(labels=LabelSchema.of_names(["yes", "no"]), forms={ASKED: "object"}), 1, "glm-4-plus")


def labelled(*answers: Reply, rules: Rules = Rules(labels=LABELS)) -> tuple[Conversation, Action]:
    """The conversation after these answers, each of the model that is asked by then."""
    conversation, action = start(FIRST), cast("Action", None)
    for answer in answers:
        asked = conversation.tries.escalated or ASKED
        conversation, action = after_reply(conversation, answer, rules, model_asked=asked)
    return conversation, action


@pytest.mark.parametrize(("said", "flags"), [('{"label": "yes"}', ()), ("Label: yes", ("coerced",))])
def test_an_answer_that_holds_a_label_settles_the_row_with_it(said: str, flags: tuple[str, ...]) -> None:
    """The answer stays as it was said; reading it kindly is flagged."""
    _, action = labelled(reply(said))
    assert isinstance(action, Settle)
    assert (action.status, action.label, action.answer, action.flags) == ("ok", "yes", said, flags)
    assert action.labelling == Labelling(1, "glm-4-plus", votes=(Vote("yes", 1),), samples=1)


def test_a_model_is_asked_again_in_the_same_conversation_with_the_reason() -> None:
    """The journal keeps that it was, so that a later process need not decide it again."""
    conversation, action = labelled(reply("perhaps", "length", usage=None))
    assert action == Send("reask")
    assert (conversation.turn, conversation.since, conversation.tries.purpose) == (1, 1, "reask")
    assert conversation.sent[: len(FIRST)] == tuple(FIRST)
    bad, told = conversation.sent[len(FIRST) :]
    assert bad["content"] == "perhaps"
    assert told["content"].startswith(
        "That answer cannot be used: the answer is cut off before its label is complete. "
    )
    assert conversation.flags == ("usage_unknown",), "that it was cut off says nothing of the next one"


def test_the_other_model_sees_the_conversation_without_the_answers_that_held_no_label() -> None:
    """The table has all of it; what it asks for tools goes on behind that."""
    rules = Rules(labels=LABELS, tools=True)
    conversation, action = labelled(reply(None, calls=1, reason="tool_calls"), rules=rules)
    assert isinstance(action, RunTools)
    conversation = after_tools(conversation, action.calls, ["7"])
    before = conversation.messages
    for said in ("perhaps", "perhaps not"):
        conversation, action = after_reply(conversation, reply(said), rules, model_asked=ASKED)
    assert action == Send("escalate glm-4-plus")
    assert (conversation.sent, conversation.tries.purpose) == (before, "escalate")
    assert len(conversation.messages) == len(before) + 3
    asked = reply(None, calls=1, reason="tool_calls")
    conversation, action = after_reply(conversation, asked, rules, model_asked="glm-4-plus")
    assert isinstance(action, RunTools), "it may use the tools, too"
    conversation = after_tools(conversation, action.calls, ["7"])
    assert conversation.sent == (*before, *conversation.messages[-2:])
    _, action = after_reply(conversation, reply("no"), rules, model_asked="glm-4-plus")
    assert isinstance(action, Settle)
    assert (action.label, action.status) == ("no", "ok")


def test_an_answer_without_a_label_ends_a_row_of_failing_calls() -> None:
    """What failed before it is counted from one again; that tools failed, and that a value was coerced, is said once."""
    rules, asked = Rules(labels=LABELS, tools=True), reply(None, calls=1, reason="tool_calls")
    conversation, _ = labelled(asked, rules=rules)
    conversation = after_tools(conversation, asked.tool_calls, ['{"error":"no"}'], coerced=True)
    assert [turns for _, _, turns in conversation.failing] == [1]
    conversation, action = after_reply(conversation, reply("perhaps"), rules, model_asked=ASKED)
    assert (action, conversation.failing) == (Send("reask"), ())
    conversation, _ = after_reply(conversation, asked, rules, model_asked=ASKED)
    conversation = after_tools(conversation, asked.tool_calls, ['{"error":"no"}'])
    assert ([turns for _, _, turns in conversation.failing], conversation.tool_errors) == ([1], 2)
    _, action = after_reply(conversation, reply("Label: yes"), rules, model_asked=ASKED)
    assert isinstance(action, Settle)
    assert (action.label, action.flags) == ("yes", ("tool_failed", "coerced"))


def test_what_stays_without_a_label_fails_for_good_with_the_last_answer() -> None:
    """As `label`, with what was wrong, and what the index keeps of what was tried."""
    conversation, action = labelled(reply("perhaps"), reply("perhaps"), reply("{"))
    assert isinstance(action, Settle)
    assert (action.status, action.error_kind, action.error_code) == ("failed", "label", "no_json")
    assert (action.retryable, action.answer, action.label) == (False, "{", None)
    assert action.labelling == Labelling(1, "glm-4-plus", invalid=True, samples=1)
    assert (action.error_message or "").startswith("no valid label in 3 answers, the last of glm-4-plus: ")
    assert [message["content"] for message in json.loads(conversation.kept("turns") or "")][-1] == "{"


def test_only_the_last_of_several_turns_is_read_for_a_label() -> None:
    """What the user asks before may be answered freely."""
    conversation, action = after_reply(start(FIRST, LATER), reply("free"), Rules(labels=LABELS), model_asked=ASKED)
    assert (action, conversation.tries) == (Send(), Tries())


def test_a_reply_of_the_journal_goes_on_as_it_went_on_then() -> None:
    """Whatever the job allows by now, and also where a newer reader would have found a label."""
    for then, tries in (("reask", Tries(1, before=2)), ("escalate other", Tries(0, 0, "other", 2, 3))):
        journaled = reply("perhaps", then=then)
        for rules in (LABELS, LabelRules(LABELS.asking)):
            conversation, action = replayed(start(FIRST), journaled, Rules(labels=rules), model_asked=ASKED)
            assert (conversation.tries, action) == (tries, Send(then))
    conversation, _ = replayed(start(FIRST), reply("yes", then="reask"), Rules(labels=LABELS), model_asked=ASKED)
    assert "it was not valid" in conversation.messages[-1]["content"]
