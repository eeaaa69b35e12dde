"""What ends a run before its rows do: the sentence for each fault of the run itself.

Owns the advice that goes with it, and with a row that is given up. Whether a failure stops the run is `submit.retry`'s
decision.
"""

from __future__ import annotations

from typing import Final

import msgspec

from batch.core.clock import MICROSECONDS, describe, iso
from batch.core.errors import FailureKind, ProviderStop, SystematicFailure
from batch.core.records import NO_SUCH_PATH, Failure, Outcome
from batch.core.redaction import redact
from batch.limits.outage import MAX_PARK_S

FAR_S: Final = 10 * 365 * 86_400.0
EARLY_FAILURES: Final = 50
"""The first so many outcomes of a run, all failing with one code, retryable or not, stop it."""
LATER_FAILURES: Final = 200
"""So many such outcomes in a row stop it at any time."""

_ADVICE: Final[dict[FailureKind, str]] = {
    "auth": "Check the key and its rights",
    "balance": "Top up or renew the plan",
    "model": "Check model.name and what this key may use",
    "quota": "Wait until the limit is reset",
    "transport": "Check base_url and the way to it",
}


def provider_stop(
    failure: Failure, *, base_url: str, likelier: str | None = None, silent_s: float = 0.0, until: str | None = None
) -> ProviderStop:
    """The provider refused the key, the money or the model, or answers nobody.

    Args:
        failure: the last failure.
        base_url: where the requests went.
        likelier: the base URL that was probably meant, if nothing is served at this one.
        silent_s: for how many seconds nobody was answered; past `MAX_PARK_S` it is named as the cause.
        until: when it may be asked again, by `moment`, if the provider says so.
    """
    if silent_s > MAX_PARK_S:
        message = f"nothing was answered for {describe(silent_s)}; the last failure was: {failure.message}"
        failure = msgspec.structs.replace(failure, message=message)
    text = f"{failure.code}: {failure.message}" if failure.code not in (None, NO_SUCH_PATH) else failure.message
    advice = _ADVICE.get(failure.kind, "Look at what the provider says")
    if until is not None:
        advice = f"Wait until {until}"
    if failure.wrong_address or failure.code == NO_SUCH_PATH:
        if failure.wrong_address:
            text = f"{base_url} does not answer as the provider does: {text}"
        told = "base_url must begin with" in failure.message  # the scheme is wrong, not the path
        advice = _correct(base_url, None if told else likelier, sure=failure.wrong_address)
    elif failure.kind == "model" and failure.http_status == 404 and "model" not in (failure.code or "").lower():
        # Servers say 404 of a model and of a path in the same words.
        advice = f"{advice}, and whether that address is right (base_url is {base_url})"
    return ProviderStop(
        redact(f"the provider stopped this run: {sentence(text)} {advice}, then run the same command again.")
    )


def sentence(text: str) -> str:
    """What somebody else said, with a full stop where it has no end of its own."""
    return text if text.endswith((".", "!", "?", "。", "！", "？", "…")) else f"{text}."


def _correct(base_url: str, likelier: str | None, *, sure: bool = False) -> str:
    """The advice for an address at which nothing is served; unless `sure`, a gateway may know no such model."""
    if likelier is not None:
        return f"Correct base_url, perhaps to {likelier}"
    return "Correct base_url" if sure else f"Check base_url, which is {base_url}, and model.name"


def nothing_there(failure: Failure, *, base_url: str, likelier: str | None) -> Failure:
    """The failure of a row that was sent to an address at which nothing is served, as far as is known.

    Args:
        failure: of the last attempt.
        base_url: where the requests went.
        likelier: the base URL that was probably meant.
    """
    message = f"{sentence(failure.message)} {_correct(base_url, likelier)}, then run the same command again."
    return msgspec.structs.replace(failure, message=message)


def or_without_batches(failure: Failure) -> Failure:
    """The failure of an exchange about a batch file, with the way out for who is refused these alone."""
    if failure.http_status not in (403, 404):
        return failure
    more = "If only batch files are refused, --lane sync asks the same rows without them."
    return msgspec.structs.replace(failure, message=f"{sentence(failure.message)} {more}")


def moment(now_us: int, seconds: float) -> str | None:
    """The wall time in so many seconds, for people; None when it is so far away that nobody waits for it."""
    return iso(now_us + int(seconds * MICROSECONDS)) if seconds < FAR_S else None


def limit_stop(model: str, seconds: float, until: str | None) -> ProviderStop:
    """A limit of the provider's is used up for longer than a run waits.

    Args:
        model: whose limit.
        seconds: from now until it is reset.
        until: the same moment by the wall, by `moment`.
    """
    return ProviderStop(
        redact(
            f"the provider stopped this run: the limit of {model} is used up and reset in {describe(seconds)}. "
            f"Wait until {until or 'then'}, then run the same command again."
        )
    )


def never_in_time(failure: Failure, times: int) -> Failure:
    """The failure of a row that was not answered in time so often that it is not asked again.

    Args:
        failure: of the last attempt.
        times: how often it was so, over all runs.
    """
    advice = "raise limits.call_timeout_s or the gateway's limit, use lane stream or task, or ask for a shorter answer"
    message = f"not answered in time {times} times, perhaps billed each time: {advice}. The last failure: "
    return msgspec.structs.replace(failure, message=f"{message}{failure.message}")


class Streak:
    """Counts outcomes in a row that fail with one code: so many of them are not the rows' fault."""

    def __init__(self) -> None:
        self._code = ""
        self._length = 0
        self._settled = 0

    def add(self, outcome: Outcome) -> SystematicFailure | None:
        """Count one outcome; the fault of the job when there were too many."""
        self._settled += 1
        if outcome.status == "ok":
            self._code = ""
            return None
        # A kill may leave many rows with an effect in doubt: that is no fault of the job.
        asked_and_failed = outcome.sums.calls > 0 and outcome.error_kind != "tool"
        code = f"{outcome.error_kind}/{outcome.error_code}" if asked_and_failed else ""
        self._length = self._length + 1 if code == self._code else 1
        self._code = code
        from_the_start = self._length == self._settled
        if not code or self._length < (EARLY_FAILURES if from_the_start else LATER_FAILURES):
            return None
        said = sentence(outcome.error_message or "without a message")
        whose = "provider or the job is" if outcome.retryable else "job is"
        return SystematicFailure(
            f"{self._length} rows in a row failed with {code}: {said} "
            f"The {whose} at fault, not the rows: correct it and run again."
        )
