"""A run as OpenTelemetry sees it: metrics of every call, one span for the run, and spans of sampled rows.

Owns what is told of calls, polls and rows, under the names of `otel_names`. No text of a prompt, an answer or an error
is told, and no key of a row: rows go by their number. Nothing here can harm a run: what fails is logged once. Where it
is sent to is the matter of `otel_export`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from batch.core.clock import MICROSECONDS, Clock
from batch.core.logs import logger
from batch.core.records import Call, Outcome, cost_decimal
from batch.http import urls
from batch.job.shard import shard_of
from batch.run.otel_names import CHAT, COST, POLL, ROWS, Names, provider_name
from batch.submit.rows import OpenCall, Row

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from batch.job.job import Job
    from batch.ledger.totals import Totals

_NS: Final = 1_000
"""Nanoseconds of a microsecond."""
_CALLS_MAX: Final = 1_000
"""Calls of one sampled row that are told."""
_LONGEST: Final = 80
"""Characters of a name that a server may have made up."""
Attributes = dict[str, str | int | float | bool]


class Telemetry:
    """Tells of one run.

    Args:
        job: what is run.
        base_url: where its requests go.
        names: of the convention.
        share: of the rows that are traced, from 0 to 1; the same rows every time, by a hash of their id.
        meters: where metrics go.
        tracers: where spans go.
        clock: for times.
    """

    def __init__(
        self,
        job: Job,
        base_url: str,
        *,
        names: Names,
        share: float | Fraction,
        meters: MeterProvider,
        tracers: TracerProvider,
        clock: Clock,
    ) -> None:
        self._job = job
        self._whose: Attributes = {"promptmill.job": job.name}
        if (shard := shard_of(job)) is not None:
            self._whose["promptmill.shard"] = shard.text
        self._names = names
        self._clock = clock
        self._most = int(share * 2**64)
        self._tracer = tracers.get_tracer("promptmill")
        meter = meters.get_meter("promptmill")
        self._duration = meter.create_histogram(names.duration, "s", "How long an operation took.")
        self._first_chunk = meter.create_histogram(names.first_chunk, "s", "Until the first chunk of a stream.")
        self._token_histogram = (
            None
            if names.token_histogram is None
            else meter.create_histogram(names.token_histogram, "{token}", "Tokens of an operation.")
        )
        self._counters = {
            field: meter.create_counter(name, "{token}", "Tokens, as they are billed.")
            for field, name in _counted(names).items()
        }
        self._cost = meter.create_counter(COST, "1", "What the calls cost, by currency.")
        self._rows = meter.create_counter(ROWS, "{row}", "Rows that have ended, by state.")
        self._modality = "unknown" if job.prompt.images else "text"
        self._common = self._common_attributes(base_url)
        self._calls: dict[int, list[Call]] = {}
        self._polls: dict[str, list[tuple[int, int, str | None]]] = {}
        self._span: Span | None = None
        self._failed = False

    # -- the run ------------------------------------------------------------------------------------------------------

    def began(self, run: str) -> None:
        """A run begins, or is continued."""
        with self._safely():
            attributes: Attributes = {**self._whose, "promptmill.run": run}
            self._span = self._tracer.start_span(
                "promptmill.run", attributes=attributes, start_time=self._clock.now_us() * _NS
            )

    def ended(self, state: str, exit_code: int | None, totals: Totals) -> None:
        """A run ended.

        Args:
            state: its word for how.
            exit_code: of its command; None where that goes on with another run.
            totals: its sums.
        """
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - an extra

        with self._safely():
            if self._span is None:
                return
            told: Attributes = {
                "promptmill.state": state,
                "promptmill.rows.ok": totals.rows_ok,
                "promptmill.rows.failed": totals.rows_failed,
                "promptmill.calls": totals.calls,
                "promptmill.calls.unknown": totals.unknown,
                "promptmill.tokens.prompt": totals.prompt_tokens,
                "promptmill.tokens.completion": totals.completion_tokens,
                **{f"promptmill.cost.{currency}": float(cost) for currency, cost in totals.cost.items()},
            }
            if exit_code is not None:
                told["promptmill.exit_code"] = exit_code
            self._span.set_attributes(told)
            if exit_code:
                self._span.set_status(Status(StatusCode.ERROR))
            self._span.end(self._clock.now_us() * _NS)
            self._span = None
            self._calls.clear()
            self._polls.clear()

    # -- calls and rows -----------------------------------------------------------------------------------------------

    def booked(self, row: Row, call: Call) -> None:
        """A call of a row has ended: its metrics, and its place among the calls of a sampled row."""
        with self._safely():
            about = self._about(call)
            if call.latency_ms is not None:
                self._duration.record(call.latency_ms / 1_000, about)
            if call.first_chunk_ms is not None:
                self._first_chunk.record(call.first_chunk_ms / 1_000, about)
            self._count_tokens(call, about)
            if call.cost and call.currency is not None:
                self._cost.add(float(cost_decimal(call.cost)), {**about, "currency": call.currency})
            if self._sampled(row.pending.row_id):
                calls = self._calls.setdefault(row.work_id, [])
                if len(calls) < _CALLS_MAX:
                    calls.append(call)

    def polled(self, call: OpenCall, seconds: float, error: str | None) -> None:
        """A provider was asked for a result: an operation of its own, without tokens."""
        with self._safely():
            about: Attributes = {**self._common, "gen_ai.operation.name": POLL, "gen_ai.request.model": call.model}
            if error is not None:
                about["error.type"] = error
            self._duration.record(seconds, about)
            if self._sampled(call.row_id):
                polls = self._polls.setdefault(call.call_id, [])
                now_us = self._clock.now_us()
                if len(polls) < _CALLS_MAX:
                    polls.append((now_us - int(seconds * MICROSECONDS), now_us, error))

    def settled(self, row: Row, outcome: Outcome) -> None:
        """A row has its outcome: a sampled one becomes a span, with one for each of its calls and polls."""
        with self._safely():
            self._rows.add(1, {"promptmill.row.state": outcome.status})
            calls = self._calls.pop(row.work_id, None)
            if calls is not None:
                self._trace(row, outcome, calls)

    def _trace(self, row: Row, outcome: Outcome, calls: list[Call]) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context  # noqa: PLC0415 - an extra

        about: Attributes = {
            "promptmill.row_number": row.pending.row_number,
            "promptmill.row.state": outcome.status,
            "promptmill.turns": outcome.sums.turns,
        }
        if outcome.error_kind is not None:
            about["error.type"] = outcome.error_kind
        inside = None if self._span is None else set_span_in_context(self._span)
        span = self._tracer.start_span(
            "promptmill.row", inside, attributes=about, start_time=min(call.sent_at_us for call in calls) * _NS
        )
        inside, ended_us = set_span_in_context(span), outcome.settled_at_us
        for call in calls:
            model = call.model_asked
            one = self._tracer.start_span(
                f"{CHAT} {model}",
                inside,
                SpanKind.CLIENT,
                attributes={**self._about(call), **self._usage(call)},
                start_time=call.sent_at_us * _NS,
            )
            if call.state != "answered":
                one.set_status(Status(StatusCode.ERROR))
            for begun_us, ended_us, error in self._polls.pop(call.client_call_id, ()):
                asked: Attributes = {**self._common, "gen_ai.operation.name": POLL, "gen_ai.request.model": model}
                if error is not None:
                    asked["error.type"] = error
                poll = self._tracer.start_span(
                    f"{POLL} {model}",
                    set_span_in_context(one),
                    SpanKind.CLIENT,
                    attributes=asked,
                    start_time=begun_us * _NS,
                )
                poll.end(ended_us * _NS)
            call_ended_us = call.answered_at_us or call.sent_at_us + (call.latency_ms or 0) * 1_000
            one.end(call_ended_us * _NS)
            ended_us = max(ended_us, call_ended_us)  # an outcome is made a moment before its last call is booked
        if outcome.status == "failed":
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended_us * _NS)

    # -- attributes ---------------------------------------------------------------------------------------------------

    def _common_attributes(self, base_url: str) -> Attributes:
        provider, url = provider_name(self._job.model.provider), urls.parse(base_url)
        found: Attributes = {
            "gen_ai.provider.name": provider,
            "server.address": url.host,
            "server.port": url.port_used,
            **self._whose,
        }
        if self._names.system is not None:
            found[self._names.system] = provider
        return found

    def _about(self, call: Call) -> Attributes:
        about: Attributes = {
            **self._common,
            "gen_ai.operation.name": CHAT,
            "gen_ai.request.model": call.model_asked,
            "promptmill.lane": call.lane,
        }
        if call.model_served is not None:
            about["gen_ai.response.model"] = call.model_served[:_LONGEST]
        if call.state != "answered":
            about["error.type"] = call.error_kind or call.state
        return about

    def _usage(self, call: Call) -> Attributes:
        """What a span says of the tokens and the answer of its call."""
        told: Attributes = {"promptmill.attempt": call.attempt, "promptmill.turn": call.turn}
        usage = call.usage
        if call.finish_reason is not None:
            told["gen_ai.response.finish_reasons"] = [call.finish_reason[:_LONGEST]]  # type: ignore[assignment]  # a list of texts
        if usage is None:
            return told
        told["gen_ai.usage.input_tokens"] = usage.prompt_tokens
        told["gen_ai.usage.output_tokens"] = usage.completion_tokens
        for name, value in (
            (self._names.cached_attribute, usage.cached_tokens),
            (self._names.cache_write_attribute, usage.cache_write_tokens),
            (self._names.reasoning_attribute, usage.reasoning_tokens),
        ):
            if name is not None and value is not None:
                told[name] = value
        return told

    def _count_tokens(self, call: Call, about: Mapping[str, Any]) -> None:
        usage = call.usage
        if self._token_histogram is not None and usage is not None and call.state == "answered":
            for kind, number in (("input", usage.prompt_tokens), ("output", usage.completion_tokens)):
                self._token_histogram.record(number, {**about, "gen_ai.token.type": kind})
        # An operation without usage is counted as 0 of unknown modality, as the convention wants it.
        modality = {**about, "gen_ai.token.modality": "unknown" if usage is None else self._modality}
        for field, counter in self._counters.items():
            number = 0 if usage is None else getattr(usage, field)
            if number is not None and (usage is not None or field in _WHOLE):
                counter.add(number, modality)

    def _sampled(self, row_id: str) -> bool:
        if not self._most:
            return False
        return int.from_bytes(blake2b(row_id.encode("utf-8", "replace"), digest_size=8).digest()) < self._most

    @contextmanager
    def _safely(self) -> Iterator[None]:
        """Whatever goes wrong inside is logged once, and the run goes on."""
        try:
            yield
        except Exception as exc:  # noqa: BLE001 - an answer that was paid for is not given up for a figure
            if not self._failed:
                self._failed = True
                logger().warning("telemetry_failed", why=f"{type(exc).__name__}: {exc}; the run goes on without it")


_WHOLE: Final = ("prompt_tokens", "completion_tokens")


def _counted(names: Names) -> dict[str, str]:
    """By field of a usage, the name of the counter it is added to."""
    fields = {
        "prompt_tokens": names.input_tokens,
        "completion_tokens": names.output_tokens,
        "cached_tokens": names.cached_tokens,
        "cache_write_tokens": names.cache_write_tokens,
        "reasoning_tokens": names.reasoning_tokens,
    }
    return {field: name for field, name in fields.items() if name is not None}
