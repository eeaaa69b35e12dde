"""What follows the last answer of a sample: the model is asked again, the row is asked anew, or its votes are counted.

Owns how samples follow one another. Each is a conversation of its own, from the first message; they run one after the
other, and their turns are counted through, so every reply has a place of its own in the journal. What a valid label is,
what is tried for one, and what votes come to is the matter of `batch.labels`.

Which answer stands in the table: of those of this run the first that says the majority (of a tie, one of the labels
that share the first place). Where none does, the one that stands there already says it, and stays.
"""

from __future__ import annotations

import sys
from typing import Final

import msgspec

from batch.core import flags
from batch.core.labelling import Labelling
from batch.core.records import Reply
from batch.labels import answers
from batch.labels.confidence import chance
from batch.labels.samples import SAMPLE, label_of, vote_of
from batch.labels.tries import LabelRules
from batch.prompts import replies
from batch.prompts.steps import Action, Conversation, Heard, Rules, Send, Settle

OF_THE_ROW: Final = (flags.EFFECT_IN_DOUBT, flags.TOOL_FAILED, flags.USAGE_UNKNOWN, flags.USAGE_ESTIMATED)
"""Flags that tell of what was done or spent, and not of one answer: whichever answer stands, the row keeps them."""


def after_answer(
    conversation: Conversation, reply: Reply, settle: Settle, rules: Rules, *, model_asked: str
) -> tuple[Conversation, Action]:
    """What follows an answer that is to say a label.

    Args:
        conversation: ends with the reply.
        reply: the last answer of a sample.
        settle: the outcome of a row that asks for no label.
        rules: of the job.
        model_asked: who answered.
    """
    labels, tries = rules.labels, conversation.tries
    assert labels is not None
    found = read(reply, rules)
    if isinstance(found, answers.Found):
        coerced = found.coerced and flags.COERCED not in settle.flags
        flagged = (*settle.flags, flags.COERCED) if coerced else settle.flags
        sure = chance(reply.content or "", found, reply.tokens) if labels.confidence else None
        valid = msgspec.structs.replace(settle, label=found.value, flags=flagged, confidence=sure)
        return _sample_ended(conversation, valid, labels)
    if then := tries.then(found, labels, model_asked=model_asked):
        return asked_again(conversation, reply, found, then, labels, model_asked=model_asked), Send(then)
    invalid = msgspec.structs.replace(
        settle,
        status="failed",
        error_kind="label",
        error_code=found.code,
        error_message=tries.failure(found),
        retryable=False,
    )
    return _sample_ended(conversation, invalid, labels)


def read(reply: Reply, rules: Rules) -> answers.Found | answers.Invalid:
    """The label that a reply says, or what is wrong with it."""
    assert rules.labels is not None
    return answers.read(reply.content, rules.labels.asking.labels, cut=rules.meaning(reply) == "length")


def asked_again(
    conversation: Conversation,
    reply: Reply,
    found: answers.Invalid,
    then: str,
    labels: LabelRules,
    *,
    model_asked: str,
) -> Conversation:
    """The conversation after an answer without a valid label, `then` as `Tries.then` gave it."""
    messages = (*conversation.messages[:-1], replies.answered(conversation.messages[-1]))
    turn, tries = conversation.turn + 1, conversation.tries.after(then, found, messages=len(messages))
    if tries.escalated is None:
        messages = (*messages, {"role": "user", "content": labels.asking.again(found.text, model=model_asked)})
    # That this answer was truncated, say, is no matter of the one that will be kept; what it took is.
    flagged = tuple(dict.fromkeys((*conversation.flags, *replies.usage_flags(reply))))
    return msgspec.structs.replace(
        conversation, messages=messages, turn=turn, since=turn, flags=flagged, failing=(), tries=tries
    )


def asked_anew(rules: Rules) -> Rules:
    """Rules under which any answer ends its sample, and another sample follows: what the journal says was done."""
    assert rules.labels is not None
    labels = msgspec.structs.replace(rules.labels, reasks=0, escalate=None, samples=sys.maxsize)
    return msgspec.structs.replace(rules, labels=labels)


def enough(conversation: Conversation, rules: Rules) -> tuple[Conversation, Settle] | None:
    """The outcome of a row that has votes already, and as many samples as the job asks for; else None.

    That is so where the job asks for fewer samples than when the row was begun.
    """
    sampling, labels = conversation.sampling, rules.labels
    between = conversation.turn == conversation.began
    if not sampling.votes or labels is None or not between or sampling.ended < labels.samples:
        return None
    return _counted(conversation, None, labels)


def with_votes(conversation: Conversation, settle: Settle) -> tuple[Conversation, Settle]:
    """The outcome of a row that failed in one of its samples, with the votes of those before.

    Their answer goes with them, because no later run hears it again.

    Args:
        conversation: of that sample.
        settle: how it failed.
    """
    sampling = conversation.sampling
    if not sampling.ended or settle.labelling is not None:
        return conversation, settle
    kept = Labelling(votes=sampling.votes, samples=sampling.ended)
    settle = msgspec.structs.replace(settle, labelling=kept)
    if not sampling.votes:
        return conversation, settle
    first = _first_heard(conversation)
    if first is None:
        return conversation, msgspec.structs.replace(settle, keeps_answer=True)
    heard = first.settle
    settle = msgspec.structs.replace(settle, answer=heard.answer, reasoning=heard.reasoning)
    if settle.retryable:
        conversation = msgspec.structs.replace(conversation, messages=first.messages)
    return conversation, settle


def _sample_ended(conversation: Conversation, settle: Settle, labels: LabelRules) -> tuple[Conversation, Action]:
    """Count a sample, and begin the next one or settle the row."""
    vote = vote_of(settle.label) if settle.status == "ok" else None
    sampling, heard = conversation.sampling.after(vote, settle.confidence), conversation.heard
    if vote is not None and all(one.vote != vote for one in heard):
        heard = (*heard, Heard(vote, settle, conversation.messages))
    conversation = msgspec.structs.replace(conversation, sampling=sampling, heard=heard)
    if sampling.ended < labels.samples:
        return _begun_anew(conversation, settle), Send(SAMPLE)
    return _counted(conversation, settle, labels)


def _begun_anew(conversation: Conversation, settle: Settle) -> Conversation:
    """The conversation of the next sample: the first messages, and nothing of what was answered."""
    turn = conversation.turn + 1
    return msgspec.structs.replace(
        conversation,
        messages=conversation.messages[: conversation.first],
        follow_ups=conversation.script,
        turn=turn,
        since=turn,
        began=turn,
        flags=tuple(flag for flag in settle.flags if flag in OF_THE_ROW),
        failing=(),
        tries=type(conversation.tries)(),
    )


def _counted(conversation: Conversation, last: Settle | None, labels: LabelRules) -> tuple[Conversation, Settle]:
    """The outcome of a row all of whose samples came to their end.

    Args:
        conversation: of the last of them.
        last: how that ended; None when nothing was asked.
        labels: the rules of the job.
    """
    sampling = conversation.sampling
    votes = sampling.counted()
    tried = conversation.tries.done(labels, invalid=not votes.votes)
    labelling = msgspec.structs.replace(tried, votes=sampling.votes, samples=sampling.ended)
    if not votes.votes:
        assert last is not None
        none = f"none of {sampling.ended} samples has a valid label, and of the last: "
        message = f"{none if sampling.ended > 1 else ''}{last.error_message}"
        return conversation, msgspec.structs.replace(last, labelling=labelling, error_message=message)
    first = _first_heard(conversation)
    settle = Settle(status="ok", keeps_answer=True) if first is None else first.settle
    label = None if votes.majority is None else label_of(votes.majority, named=bool(labels.asking.labels.names))
    if first is not None:
        conversation = msgspec.structs.replace(conversation, messages=first.messages)
        label = settle.label if label is not None else None
    flagged = (*settle.flags, *(flag for flag in (last or settle).flags if flag in OF_THE_ROW))
    flagged = (*conversation.flags, *flagged) if last is None else flagged
    return conversation, msgspec.structs.replace(
        settle,
        label=label,
        labelling=labelling,
        flags=tuple(dict.fromkeys((*flagged, *([flags.TIE] if votes.tie else [])))),
        confidence=votes.confidence,
    )


def _first_heard(conversation: Conversation) -> Heard | None:
    """The first answer of this run that says one of the leading labels."""
    leading = conversation.sampling.counted().leading
    return next((heard for heard in conversation.heard if heard.vote in leading), None)
