"""What came of errands, as the core has it: foreign text made ours, and the answer or the error of whoever asked.

Owns that the keys of this process are masked in all that a worker read, before anybody sees it: in the core, and where
a worker found a key itself, there, for the core may have another one. A whole report is looked at once, which nearly
always spares its texts; only else is each looked at. It waits for nothing and books nothing.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from batch.core.errors import WireError
from batch.core.readanswer import ReadAnswer
from batch.core.records import Incoming
from batch.core.redaction import masked
from batch.run.fleet.messages import Done, Found, Report, Said, StreamEnd, result_of, said_of
from batch.submit.results import masked_result


def found_in(report: Report) -> list[Found]:
    """What came of each errand of a report, with our keys masked in what was read."""
    said = report.said if report.spared else [_masked(one) for one in report.said]
    return [*said, *report.done]


def _masked(said: Said) -> Said:
    return said_of(said.ticket, said.headers, masked_result(cast("Any", result_of(said))), said.stream)


def without_keys(report: Report) -> Report:
    """A report with the keys of this process masked in it, those in the bytes of answers, too.

    Args:
        report: of a worker that found the keys itself.
    """
    said = [_masked(one) for one in report.said]
    return Report(report.epoch, [_bare(one) for one in report.done], report.stale, said)


def _bare(done: Done) -> Done:
    incoming, fault, stream = done.incoming, done.fault, done.stream
    replace = msgspec.structs.replace
    if incoming is not None:
        headers = {name: masked(value) for name, value in incoming.headers.items()}
        incoming = replace(incoming, headers=headers, body=_bare_bytes(incoming.body))
    if fault is not None:
        fault = replace(fault, text=masked(fault.text))
    if stream is not None:
        reply = None if stream.reply is None else masked_result(stream.reply)
        failure = None if stream.failure is None else masked_result(stream.failure)
        stream = replace(stream, reply=reply, failure=failure, received=_bare_bytes(stream.received))
    return Done(done.ticket, incoming, fault, stream)


def _bare_bytes(data: bytes) -> bytes:
    text = data.decode("utf-8", "surrogateescape")
    bare = masked(text)
    return data if bare is text else bare.encode("utf-8", "surrogateescape")


def answer_of(found: Found) -> Incoming:
    """The answer to an errand.

    Raises:
        WireError: there is none, or not a whole one.
    """
    if isinstance(found, Said):
        return ReadAnswer(200, found.headers, b"", result=found.reply or result_of(found))
    if found.incoming is not None:
        return found.incoming
    fault = found.fault
    assert fault is not None
    raise WireError(
        fault.text, kind=fault.kind, sent=fault.sent, permanent=fault.permanent, wrong_address=fault.wrong_address
    )


def stream_of(found: Found) -> StreamEnd | None:
    """What a stream came to; None where the answer was none. Of a whole one its times: what it says is the answer."""
    return found.stream
