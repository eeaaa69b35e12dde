"""`batch.run.otel` and its set-up: whatever fails in it, the run goes on, and what is missing is said before."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider

from batch.core.clock import HandClock
from batch.core.errors import RefusedToStart
from batch.job.options import RunOptions
from batch.ledger.totals import Totals
from batch.run import otel_export
from batch.run.otel import Telemetry
from batch.run.otel_names import LATEST, USUAL, VARIABLE, names_of, provider_name
from tests.run.test_command import job


class Broken:
    """A tracer of somebody's that raises."""

    def get_tracer(self, *_: Any) -> Any:
        return self

    def start_span(self, *_: Any, **__: Any) -> Any:
        raise LookupError("no spans today")


def test_what_raises_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However often it does."""
    structlog.reset_defaults()
    told = Telemetry(
        job(tmp_path),
        "http://127.0.0.1:9",
        names=USUAL,
        share=1.0,
        meters=NoOpMeterProvider(),
        tracers=Broken(),  # type: ignore[arg-type]  # what a program may have set up
        clock=HandClock(),
    )
    for _ in range(3):
        told.began("run")
        told.ended("finished", 0, Totals())
    lines = [record.getMessage() for record in caplog.records if "telemetry_failed" in record.getMessage()]
    assert len(lines) == 1
    assert "no spans today" in lines[0]


def test_an_end_without_a_beginning_is_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run that was only closed has none."""
    told = Telemetry(
        job(tmp_path),
        "http://127.0.0.1:9",
        names=LATEST,
        share=0,
        meters=NoOpMeterProvider(),
        tracers=NoOpTracerProvider(),
        clock=HandClock(),
    )
    told.ended("finished", 0, Totals())
    assert not [record for record in caplog.records if "telemetry_failed" in record.getMessage()]
    told.began("run")
    told.ended("finished", None, Totals())


def test_a_missing_extra_is_said_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(RefusedToStart, match=r"pip install 'promptmill\[otel\]'"):
        otel_export.opened()


def test_the_convention_is_chosen_as_everywhere() -> None:
    """By one variable with words in it."""
    assert names_of({}) is names_of({VARIABLE: "http/dup"}) is USUAL
    assert names_of({VARIABLE: "http, gen_ai_latest_experimental"}) is LATEST
    assert [provider_name(name) for name in ("openai", "glm", "zai", "moonshot")] == [
        "openai",
        "zhipuai",
        "z_ai",
        "moonshot_ai",
    ]


@pytest.mark.parametrize("given", ["1", "101%", "-1%", 2, True, None, "x%"])
def test_a_share_that_is_none_is_refused(given: Any) -> None:
    """With how to write it."""
    with pytest.raises(RefusedToStart, match="share of the rows, such as 1%"):
        RunOptions(otel_rows=given)
    with pytest.raises(RefusedToStart, match="True or False"):
        RunOptions(otel="yes")  # type: ignore[arg-type]  # what a program may write
