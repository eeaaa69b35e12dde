"""`--otel`: what the SDK's own exporters read back of a run is what its books say, and no text of it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from batch.run.otel_names import LATEST, USUAL, VARIABLE
from tests.simulator.conftest import start
from tests.system.runs.conftest import Make, Mill

__all__ = ["start"]
WORD = "Tell me something"
SPANS, READER = InMemorySpanExporter(), InMemoryMetricReader()


@pytest.fixture(scope="session", autouse=True)
def sdk() -> None:
    """What a program sets up that has telemetry of its own: runs in it use that.

    Once a process and not once a module: a process may get the module's tests in several stretches.
    """
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(SPANS))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(MeterProvider([READER], shutdown_on_exit=False))


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    SPANS.clear()
    monkeypatch.delenv(VARIABLE, raising=False)


def points(mill: Mill) -> dict[str, list[Any]]:
    """By metric, the numbers of this test: those of its simulator's port, or of its rows."""
    assert mill.sim is not None
    found: dict[str, list[Any]] = {}
    data = READER.get_metrics_data()
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                own = [
                    one for one in metric.data.data_points if (one.attributes or {}).get("server.port") == mill.sim.port
                ]
                if own:
                    found[metric.name] = own
    return found


def spans(name: str) -> list[ReadableSpan]:
    return [span for span in SPANS.get_finished_spans() if span.name.partition(" ")[0] == name]


def test_metrics_under_the_usual_names_are_what_the_books_say(make: Make) -> None:
    """Duration once a call, tokens as a histogram by type, money by currency."""
    mill = make()
    mill.questions(4)
    totals = mill.run(otel=True).totals
    found = points(mill)
    assert sum(one.count for one in found[USUAL.duration]) == totals.calls == 4
    assert USUAL.token_histogram is not None
    tokens = {one.attributes["gen_ai.token.type"]: one.sum for one in found[USUAL.token_histogram]}
    assert tokens == {"input": totals.prompt_tokens, "output": totals.completion_tokens}
    [cost] = found["promptmill.cost"]
    assert (cost.attributes["currency"], cost.value) == ("CNY", pytest.approx(float(totals.cost["CNY"])))
    [duration] = found[USUAL.duration]
    about = dict(duration.attributes)
    assert about["gen_ai.provider.name"] == about["gen_ai.system"] == "zhipuai"
    assert (about["gen_ai.operation.name"], about["gen_ai.request.model"]) == ("chat", "glm-4")
    assert not {name for name in found if name.startswith("gen_ai.client.inference")}


def test_metrics_under_the_names_to_come_count_tokens_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters with a modality; a call that was refused is 0 of unknown modality."""
    monkeypatch.setenv(VARIABLE, "http, gen_ai_latest_experimental")
    mill = make('[[fault]]\nbehaviour = 28\nstatus = 500\nfirst = 1\nroute = "chat"\n')
    mill.questions(3)
    totals = mill.run(otel=True).totals
    found = points(mill)
    assert LATEST.input_tokens is not None
    assert LATEST.output_tokens is not None
    assert sum(one.value for one in found[LATEST.input_tokens]) == totals.prompt_tokens
    assert sum(one.value for one in found[LATEST.output_tokens]) == totals.completion_tokens
    assert {one.attributes["gen_ai.token.modality"] for one in found[LATEST.input_tokens] if one.value} == {"text"}
    assert sum(one.count for one in found[LATEST.duration]) == totals.calls == 6
    assert any("error.type" in one.attributes for one in found[LATEST.duration])
    assert not {name for name in found if name.startswith(("gen_ai.client.operation", "gen_ai.client.token"))}
    assert all("gen_ai.system" not in one.attributes for one in found[LATEST.duration])


@pytest.mark.parametrize("names", [USUAL, LATEST])
def test_a_poll_is_an_operation_of_its_own_without_tokens(
    names: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`fetch_response` must not report tokens, or each task would be counted twice."""
    if names is LATEST:
        monkeypatch.setenv(VARIABLE, "gen_ai_latest_experimental")
    mill = make(lane="task")
    mill.questions(2)
    totals = mill.run(otel=True, otel_rows="100%").totals
    found = points(mill)
    operations: dict[str, int] = {}
    for one in found[names.duration]:
        name = one.attributes["gen_ai.operation.name"]
        operations[name] = operations.get(name, 0) + one.count
    assert operations == {"chat": totals.calls, "fetch_response": totals.polls}
    for name, numbers in found.items():
        if "token" in name:
            assert {one.attributes["gen_ai.operation.name"] for one in numbers} == {"chat"}
    polls = spans("fetch_response")
    assert len(polls) == totals.polls
    assert not any("usage" in name for span in polls for name in span.attributes or ())


def test_a_run_is_one_span_and_sampled_rows_are_spans_below_it(make: Make) -> None:
    """Run, row, call, each within the one above it; of rows their number, and neither key nor text."""
    mill = make('[[fault]]\nbehaviour = 28\nstatus = 500\nfirst = 1\nroute = "chat"\n')
    mill.key = "question"
    mill.questions(3)
    report = mill.run(otel=True, otel_rows="100%")
    [run] = spans("promptmill.run")
    about = dict(run.attributes or {})
    assert about["promptmill.run"] == report.run
    assert (about["promptmill.rows.ok"], about["promptmill.calls"], about["promptmill.exit_code"]) == (3, 6, 0)
    rows, calls = spans("promptmill.row"), spans("chat")
    assert {(span.attributes or {})["promptmill.row_number"] for span in rows} == {0, 1, 2}
    assert len(calls) == 6
    own = {span.context.span_id: span for span in rows if span.context}
    assert run.context is not None
    assert {span.parent.span_id for span in rows if span.parent} == {run.context.span_id}
    for span in calls:
        assert span.parent is not None
        row = own[span.parent.span_id]
        assert span.kind is SpanKind.CLIENT
        assert (row.start_time or 0) <= (span.start_time or 0) <= (span.end_time or 0) <= (row.end_time or 0)
    assert [span.status.status_code for span in calls].count(StatusCode.ERROR) == 3
    usage: list[Any] = [(span.attributes or {}).get("gen_ai.usage.input_tokens", 0) for span in calls]
    assert sum(usage) == report.totals.prompt_tokens
    told = "".join(span.to_json() for span in SPANS.get_finished_spans()) + str(READER.get_metrics_data())
    answers = [answer for (answer,) in mill.results("answer")]
    assert WORD not in told
    assert not [answer for answer in answers if answer in told]


@pytest.mark.parametrize(("share", "rows"), [("0%", 0), (0.5, None), (1, 12)])
def test_the_share_of_rows_is_drawn_the_same_every_time(share: Any, rows: int | None, make: Make) -> None:
    """By the row itself, so that a run that was killed goes on with the same ones."""
    seen = []
    mill = make()
    mill.questions(12)
    for out in ("one", "two"):
        SPANS.clear()
        mill.out = mill.folder / out
        mill.run(otel=True, otel_rows=share)
        assert len(spans("promptmill.run")) == 1
        seen.append({(span.attributes or {})["promptmill.row_number"] for span in spans("promptmill.row")})
    assert seen[0] == seen[1]
    assert len(seen[0]) == rows if rows is not None else 0 < len(seen[0]) < 12


def test_without_the_option_nothing_is_told(make: Make) -> None:
    """Although the program around the run has all of it set up."""
    mill = make()
    mill.questions(2)
    mill.run()
    assert SPANS.get_finished_spans() == ()
    assert points(mill) == {}


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes what is sent by OTLP."""

    taken: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        self.taken.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    taken: list[tuple[str, bytes]] = []
    kind = type("Own", (Collector,), {"taken": taken})
    with http.server.HTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", taken
        server.shutdown()
        thread.join()


def test_the_command_sends_by_otlp_to_where_the_environment_says(
    make: Make, collector: tuple[str, list[tuple[str, bytes]]]
) -> None:
    """All of it, before the command ends."""
    url, taken = collector
    mill = make()
    mill.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url
    mill.questions(3)
    code, said = mill.command("--otel", "--otel-rows", "100%")
    assert code == 0, said
    names, values = [], []
    for path, body in taken:
        if path == "/v1/traces":
            got = ExportTraceServiceRequest.FromString(body)
            names += [span.name for one in got.resource_spans for scope in one.scope_spans for span in scope.spans]
        else:
            told = ExportMetricsServiceRequest.FromString(body)
            values += [one.name for r in told.resource_metrics for scope in r.scope_metrics for one in scope.metrics]
    assert sorted(set(names)) == ["chat glm-4", "promptmill.row", "promptmill.run"]
    assert {USUAL.duration, "promptmill.rows", "promptmill.cost"} <= set(values)
    assert not any(WORD.encode() in body for _, body in taken)


def test_a_collector_that_is_not_there_is_one_warning(make: Make) -> None:
    """Nothing of the run is lost or late by it, but a few seconds at its end."""
    mill = make()
    mill.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2"}
    mill.questions(2)
    code, said = mill.command("--otel")
    assert code == 0, said
    assert said.count("telemetry_failed") in (1, 2)
    assert "Traceback" not in said
    assert len(mill.results()) == 2
