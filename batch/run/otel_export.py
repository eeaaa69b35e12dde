"""Where traces and metrics of a run are sent: by OTLP, or to what the program around the run has set up.

Owns the set-up of the SDK, and that its end never holds up a run for long. Nothing here is used, nor is the extra
needed, unless a run asks for it.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

import anyio
from anyio import to_thread

from batch.core.clock import Clock
from batch.core.errors import RefusedToStart
from batch.core.logs import logger
from batch.core.version import VERSION
from batch.job.options import RunOptions
from batch.plan.preflight import CheckedJob
from batch.run.otel import Telemetry
from batch.run.otel_names import names_of

END_S: Final = 5.0
"""How long the end of a run waits for what is still to be sent."""
_TIMEOUT_S: Final = 3.0


class Export:
    """Where the telemetry of one command goes.

    Args:
        meters: the provider of meters.
        tracers: the provider of tracers.
        own: whether they are ours, to be closed at the end.
    """

    def __init__(self, meters: Any, tracers: Any, *, own: bool) -> None:
        self._meters = meters
        self._tracers = tracers
        self._own = own

    def telemetry(self, checked: CheckedJob, run: str, options: RunOptions, clock: Clock) -> Telemetry:
        """What tells of one run, which begins now.

        Args:
            checked: the job.
            run: the name of the run.
            options: say which rows are traced.
            clock: for times.
        """
        told = Telemetry(
            checked.job,
            checked.endpoint.base_url,
            names=names_of(os.environ),  # where the SDK looks for all that it is told
            share=options.otel_rows,
            meters=self._meters,
            tracers=self._tracers,
            clock=clock,
        )
        told.began(run)
        return told

    async def aclose(self) -> None:
        """Send what is still to be sent, for `END_S` at most; a collector that is gone loses it."""
        end = threading.Thread(target=self._end, name="telemetry", daemon=True)
        end.start()
        await to_thread.run_sync(partial(end.join, END_S), abandon_on_cancel=True)
        if end.is_alive():
            logger().warning("telemetry_failed", why=f"the collector took nothing for {END_S:.0f} s; the rest is lost")

    def _end(self) -> None:
        flush = int(END_S * 1_000)
        for provider in (self._tracers, self._meters):
            if self._own:
                provider.shutdown()
            else:
                provider.force_flush(flush)


@asynccontextmanager
async def wanted(*, asked: bool) -> AsyncIterator[Export | None]:
    """Where telemetry goes while a command works; None where nobody asked for it, and then nothing is loaded.

    Args:
        asked: whether somebody did.

    Raises:
        RefusedToStart: the extra is not installed.
    """
    if not asked:
        yield None
        return
    export = opened()
    with told_once():
        try:
            yield export
        finally:
            with anyio.CancelScope(shield=True):
                await export.aclose()


def opened() -> Export:
    """The providers of the program around us, where it has set them up; else ours, which send by OTLP over HTTP.

    Where to is said by `OTEL_EXPORTER_OTLP_ENDPOINT` and the others of its kind, in the environment of the process.

    Raises:
        RefusedToStart: the extra is not installed.
    """
    try:
        trace, meter = importlib.import_module("opentelemetry.trace"), importlib.import_module("opentelemetry.metrics")
        sdk_trace = importlib.import_module("opentelemetry.sdk.trace")
        sdk_metrics = importlib.import_module("opentelemetry.sdk.metrics")
        tracers, meters = trace.get_tracer_provider(), meter.get_meter_provider()
        if isinstance(tracers, sdk_trace.TracerProvider) and isinstance(meters, sdk_metrics.MeterProvider):
            return Export(meters, tracers, own=False)
        return _over_otlp(sdk_trace, sdk_metrics)
    except ModuleNotFoundError as exc:
        raise RefusedToStart(
            f"--otel needs packages that are not installed ({exc.name}): pip install 'promptmill[otel]'"
        ) from exc


def _over_otlp(sdk_trace: Any, sdk_metrics: Any) -> Export:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 - an extra
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an extra

    named = {"service.name": "promptmill", "service.version": VERSION}
    # What the environment says of the service counts more than we do.
    resource = Resource(named).merge(Resource.create()) if _named() else Resource.create(named)
    tracers = sdk_trace.TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=_timeout("TRACES"))))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(timeout=_timeout("METRICS")))
    meters = sdk_metrics.MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)
    return Export(meters, tracers, own=True)


def _timeout(signal: str) -> float | None:
    """Seconds for one export; None where the environment says it, which is read by the SDK."""
    said = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{infix}TIMEOUT") for infix in ("", f"{signal}_"))
    return None if said else _TIMEOUT_S


def _named() -> bool:
    return bool(os.environ.get("OTEL_SERVICE_NAME") or "service.name" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))


@contextmanager
def told_once() -> Iterator[None]:
    """Have what the SDK logs of a collector that cannot be reached become one warning of ours.

    It would write a line for each try, with the address and the error of a library.
    """
    log, told = logging.getLogger("opentelemetry"), _Told()
    log.addHandler(told)
    before, log.propagate = log.propagate, False
    try:
        yield
    finally:
        log.propagate = before
        log.removeHandler(told)


class _Told(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told = False

    def emit(self, record: logging.LogRecord) -> None:
        """Tell the first of them."""
        if not self._told:
            self._told = True
            why = f"{record.getMessage()[:200]}; the run goes on without it"
            logger().warning("telemetry_failed", why=why)
