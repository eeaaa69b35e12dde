"""What came of errands, as the core has it: foreign text made ours, and the answer or the error of whoever asked.

Owns that the keys of this process are masked in all that a worker read, before anybody sees it. A whole report is
looked at once, which nearly always spares its texts; only else is each looked at. It waits for nothing and books
nothing.
"""

from __future__ import annotations

from typing import Any, cast

from batch.core.errors import WireError
from batch.core.readanswer import ReadAnswer
from batch.core.records import Incoming
from batch.run.fleet.messages import Found, Report, Said, StreamEnd, result_of, said_of
from batch.submit.results import masked_result


def found_in(report: Report) -> list[Found]:
    """What came of each errand of a report, with our keys masked in what was read."""
    said = report.said if report.spared else [_masked(one) for one in report.said]
    return [*said, *report.done]


def _masked(said: Said) -> Said:
    return said_of(said.ticket, said.headers, masked_result(cast("Any", result_of(said))), said.stream)


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
