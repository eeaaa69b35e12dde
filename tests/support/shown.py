"""Output folders to look at: rows and calls spread over an hour, failures, labels with their truth, and nasty texts."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from batch.core.records import Sums, Usage
from batch.output import tables
from batch.output.folder import OutputFolder
from batch.output.parts import write_part
from batch.output.rebuild import rebuild
from tests.support.outfolders import POINTS, RUN
from tests.support.values import call, failed, outcome

START_US = 1_795_226_400_000_000
HOUR_US = 3_600_000_000
LABELS = ("billing", "shipping", "returns")
SECRET_PROMPT = "You are a very secret prompt"
NASTY = (
    "<script>window.harmed = 1</script>",
    "</script><script>window.harmed = 2</script>",
    "<img src=x onerror='window.harmed = 3'>",
    "# Title\n\n[click](javascript:window.harmed=4) **bold** `code` <b>no</b>\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |",
    "abc \u202egpj.exe\u202c \u2066x\u2069 \u200e",
    "\x1b[31mred\x1b[0m \x00 \x07",
    "退货标签 شحن البضائع שלום 😀 " + "長" * 50,
    "[" * 5_000 + "*" * 5_000 + "_a" * 5_000 + "`" * 5_001,
)
"""Texts of rows that try something."""


def shown(
    root: Path, rows: int = 60, *, nasty: bool = True, seconds: int = 3_600, part_rows: int = 10_000
) -> OutputFolder:
    """A finished run over this many rows, its calls and its run file.

    Args:
        root: of the output folder.
        rows: each seventh failed, each fifth has a label that is not the truth.
        nasty: put `NASTY` into the first rows: their input, answer and error.
        seconds: how long the run took.
        part_rows: how many rows a part has, and calls a file of calls.
    """
    folder = OutputFolder(root)
    folder.prepare()
    texts = [NASTY[n] if nasty and n < len(NASTY) else f"ticket {n}" for n in range(rows)]
    truths = [LABELS[n % 3] for n in range(rows)]
    inputs = pa.table({"text": texts, "category": truths})
    outcomes, calls = [], []
    for n in range(rows):
        sent = START_US + n * seconds * 1_000_000 // rows
        took_ms = 200 + (n * 37) % 900
        usage = Usage(100 + n % 50, 20 + n % 30, 120 + n % 50 + n % 30, 10, None)
        times = {"sent_at_us": sent, "answered_at_us": sent + took_ms * 1000, "latency_ms": took_ms}
        made = call(n, usage=usage, cost=usage.total_tokens * 10**7, **times)
        calls.append(tables.CallRow(row_id=f"r{n}", row_number=n, variant=None, call=made))
        sums = Sums()
        sums.add(made)
        known = {"settled_at_us": sent + took_ms * 1000, "sums": sums}
        if n % 7 == 6:
            outcomes.append(
                failed(error_kind="label", error_code=None, retryable=False, error_message=f"said {texts[n]}", **known)
            )
        else:
            outcomes.append(outcome(f"answer to {texts[n]}", **known))
    schema = tables.result_schema(inputs.schema, None)
    results = [
        tables.ResultRow(
            row_id=f"r{n}", row_number=n, variant=None, run=RUN, fingerprint=n.to_bytes(16, "big"), outcome=outcomes[n]
        )
        for n in range(rows)
    ]
    labels = [None if n % 7 == 6 else LABELS[(n + (n % 5 == 0)) % 3] for n in range(rows)]
    column = pa.field("label", pa.dictionary(pa.int32(), pa.string()))
    whole = pa.schema([*schema, column], schema.metadata)
    for part, start in enumerate(range(0, rows, part_rows)):
        chosen = slice(start, start + part_rows)
        batch = tables.result_batch(schema, inputs.slice(start, part_rows), results[chosen])
        arrays = [*batch.columns, pa.array(labels[chosen], column.type)]
        write_part(folder.part(part), whole, [pa.RecordBatch.from_arrays(arrays, schema=whole)], points=POINTS)
        booked = tables.call_batch(calls[chosen], {"team": "support"}, run=RUN, job="tickets")
        write_part(folder.calls_part(RUN, part), tables.CALL_SCHEMA, [booked], points=POINTS)
    folder.run_file(RUN).write_text(
        json.dumps(
            {
                "run": RUN,
                "exit_reason": "finished",
                "started_at": "2026-11-21T02:00:00Z",
                "exit_code": 1,
                "job": _job(),
                "versions": {"promptmill": "0.1.0"},
            }
        )
    )
    rebuild(folder, START_US + seconds * 1_000_000)
    return folder


def _job() -> dict[str, object]:
    return {
        "name": "tickets",
        "provider": "glm",
        "model": "glm-4",
        "models": ["glm-4"],
        "variants": [None],
        "lane": "sync",
        "tags": {"team": "support"},
        "labels": {"gold": "category", "names": list(LABELS)},
        "request": {
            "model": "glm-4",
            "names": [],
            "system": SECRET_PROMPT,
            "user": "{{ text }}",
            "parameters": {"temperature": 0.1},
        },
    }
