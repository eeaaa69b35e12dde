"""The figures of one output folder as a report holds them: all in one object, small enough to be mailed.

Owns what is left out of a report: text of prompts and answers unless it is asked for, and all but the first of long
lists. The figures themselves are those of `report.figures`, which the pages of `view` show too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from batch.core.errors import FAILURES, RefusedToStart
from batch.report.cost.public import COST_KEYS
from batch.report.figures.figures import Figures

MOST_LABELS: Final = 60
"""Labels of a distribution, the most frequent ones."""
MOST_CLASSES: Final = 24
"""Classes of a confusion matrix, those with the most mistakes."""
MOST_DIFFERENT: Final = 200
FEW_DIFFERENT: Final = 10
LONGEST_LABEL: Final = 60
"""A column with more different values than these, or longer ones, may hold text: it is told where text is asked for."""
MOST_DAYS: Final = 120
MOST_GROUPS: Final = 40
"""Groups of money that are no days."""
MOST_TAGS: Final = 3
MOST_RUNS: Final = 30
MOST_POINTS: Final = 1_000
EXAMPLES: Final = 10
"""Rows on which variants differ."""
LONGEST_TEXT: Final = 4_000
"""Characters of one text of a row."""
LONGEST_NAME: Final = 200
"""Characters of an id, a label or a setting."""
MOST_ITEMS: Final = 100
"""Entries of one setting."""
MOST_MESSAGES: Final = 30
_SHOWN: Final = (
    *("currency", "cost", "wasted_cost", "calls", "prompt_tokens", "completion_tokens", "cached_tokens"),
    *("saved_by_cache", "saved_by_tier", "saved_off_peak"),
)
"""What a report tells of a group of money."""
_PICTURE: Final = "data:image/"
_WHOLE: Final = ("series", "missing")
"""What the overview keeps as it is: points, made fewer elsewhere, and files with the way out at the end of each."""
_ASKED: Final = ("parameters", "images", "tools", "input")
"""What the settings keep of the request; the rest of it is what the prompts say."""


def digest(out: Path, *, with_text: bool = False) -> dict[str, Any]:
    """All that a report of this output folder tells.

    Args:
        out: the output folder; its run may be at work.
        with_text: also what the rows that stand out, and those on which variants differ, asked and were answered.

    Raises:
        OutputError: it is no output folder.
        StorageError: a part or the ledger cannot be read.
    """
    figures = Figures(out)
    left_out: list[str] = []
    overview = _overview(figures.overview(), with_text=with_text)
    overview["missing"] = overview["missing"][:MOST_ITEMS]
    job = overview["status"]["job"]
    rows = _rows(figures, overview) if with_text else []  # looked up by ids that are not cut yet
    if overview["status"].get("live"):
        left_out.append(
            "The run is at work: its sections are of moments some seconds apart, so sums may differ a little."
        )
    found: dict[str, Any] = {
        "overview": {name: value if name in _WHOLE else _bounded(value) for name, value in overview.items()},
        "money": _but_files(_bounded, figures.money()),
        "money_by": _money_by(figures, job),
        "labels": _labels(figures, job, left_out, with_text=with_text),
        "compare": _compare(figures, with_text=with_text),
        "rows": rows,
    }
    found["overview"]["missing"] = _missing(*(found[name] for name in ("overview", "money", "labels", "compare")))
    return {
        "folders": [{"id": "0", "path": figures.name, "job": job.get("name"), "state": overview["status"]["state"]}],
        "figures": found,
        "meanings": {
            error["kind"]: FAILURES[error["kind"]] for error in overview["errors"] if error["kind"] in FAILURES
        },
        "left_out": left_out,
        "made_at": time.time(),
        "text_said": "With text of prompts and answers."
        if with_text
        else "Without text of prompts and answers, and without messages that may quote them.",
    }


def _missing(*told: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The files that figures are without, each once: one that is damaged is missing where its columns are read."""
    lost = {one["path"]: one for figures in told if figures for one in figures["missing"]}
    return list(lost.values())[:MOST_ITEMS]


def _but_files(shorten: Callable[[Any], Any], figures: dict[str, Any]) -> dict[str, Any]:
    """Figures made shorter, but for what is said of files that cannot be read: the way out stands at its end."""
    return {**shorten(figures), "missing": figures["missing"][:MOST_ITEMS]}


def coarser(series: dict[str, Any]) -> dict[str, Any]:
    """Figures over time with half as many points; counts are added up, of two latencies the larger one stays."""
    shorter: dict[str, Any] = {"bin_s": series["bin_s"] * 2}
    for name, values in series.items():
        if name == "t":
            shorter[name] = values[::2]
        elif name == "cost":
            shorter[name] = {currency: _pairs(amounts, _added) for currency, amounts in values.items()}
        elif isinstance(values, list):
            shorter[name] = _pairs(values, _larger if name.startswith("latency") else _added)
    return shorter


# -- what is left out -------------------------------------------------------------------------------------------------


def _overview(overview: dict[str, Any], *, with_text: bool) -> dict[str, Any]:
    status = {name: value for name, value in overview["status"].items() if name != "standing"}
    if not with_text:
        overview["errors"] = [{**error, "message": None} for error in overview["errors"]]
        overview["settings"] = _without_text(overview["settings"])
        status["job"] = _without_text(status["job"])
        if status["state"] == "systematic":
            status["fault"] = None  # it may quote the last row that failed
    series = overview["series"]
    while len(series.get("t") or ()) > MOST_POINTS:
        series = coarser(series)
    return {**overview, "status": status, "series": series, "runs": overview["runs"][-MOST_RUNS:]}


def _without_text(job: dict[str, Any]) -> dict[str, Any]:
    """A job without what its prompts, tools and labels say; names and parameters stay."""
    kept = {name: value for name, value in job.items() if name not in ("request", "labels", "prompts")}
    request = job.get("request") or {}
    asked = {name: request[name] for name in _ASKED if request.get(name)}
    if tools := asked.pop("tools", None):
        asked["tools"] = [_tool_name(tool) for tool in tools]
    if asked:
        kept["request"] = asked
    if labels := job.get("labels"):
        kept["labels"] = {name: value for name, value in labels.items() if name != "schema"}
    return kept


def _tool_name(tool: Any) -> str:
    try:
        return str(tool["schema"]["function"]["name"])
    except (KeyError, TypeError):
        return "?"


def _money_by(figures: Figures, job: dict[str, Any]) -> list[dict[str, Any]]:
    """The money by day, model, lane, and each tag that a call has; there may be no call, or none that can be read."""
    found = [_cut_groups(figures.money(by=(name,))) for name in ("day", "model", "lane")]
    for name in list(job.get("tags") or {})[:MOST_TAGS]:
        with suppress(RefusedToStart):
            found.append(_cut_groups(figures.money(by=(f"tag:{name}",))))
    return found


def _cut_groups(money: dict[str, Any]) -> dict[str, Any]:
    """The last days, or the first of other groups; the sums of all stand elsewhere."""
    days = money["by"] == ["day"]
    groups = money["groups"][-MOST_DAYS:] if days else money["groups"][:MOST_GROUPS]
    shown = [{name: group[name] for name in group if name not in COST_KEYS or name in _SHOWN} for group in groups]
    return {"by": money["by"], "zones": money["zones"], "groups": [_bounded(group) for group in shown]}


def _labels(figures: Figures, job: dict[str, Any], left_out: list[str], *, with_text: bool) -> dict[str, Any] | None:
    """The figures of the labels; None where there are none."""
    try:
        labels = figures.labels()
    except RefusedToStart as exc:
        if "several" in str(exc):
            left_out.append(f"Labels are left out: {str(exc).split(': ', 1)[-1]}")
        return None
    if not with_text and _may_be_text(labels, (job.get("labels") or {}).get("names") or ()):
        left_out.append(
            f"The labels of {labels['label']} are left out: values that are long, or many, may be text of answers."
        )
        return None
    confusion = labels.get("confusion") or {}
    kept = _most_mistaken(confusion)
    per_class = labels.get("per_class") or {}
    frequent = list(labels["distribution"])[:MOST_LABELS]
    drift = labels.get("drift")
    return _but_files(
        _named_shortly,
        {
            **{name: value for name, value in labels.items() if name not in ("cells", "groups")},
            "distribution": {label: labels["distribution"][label] for label in frequent},
            "confusion": {
                truth: {label: count for label, count in row.items() if label in kept}
                for truth, row in confusion.items()
                if truth in kept
            },
            "classes_left_out": len(confusion.keys() | {label for row in confusion.values() for label in row})
            - len(kept),
            "per_class": dict(sorted(per_class.items(), key=lambda item: -(item[1]["support"] or 0))[:MOST_LABELS]),
            "drift": drift and {**drift, "classes": dict(list(drift["classes"].items())[:MOST_LABELS])},
            "runs": [
                {**run, "distribution": {label: run["distribution"].get(label, 0) for label in frequent[:8]}}
                for run in (labels.get("runs") or [])[-MOST_RUNS:]
            ],
        },
    )


def _may_be_text(labels: dict[str, Any], declared: Sequence[str]) -> bool:
    """Whether labels or truths that the job does not name may be sentences: long ones, or many that come once."""
    unnamed = {*labels["distribution"], *(labels.get("confusion") or {})} - set(declared)
    many = len(unnamed) > FEW_DIFFERENT and len(unnamed) > labels["labelled"] / 2
    return many or len(unnamed) > MOST_DIFFERENT or any(len(value) > LONGEST_LABEL for value in unnamed)


def _named_shortly(value: Any) -> Any:
    """A value whose names and texts are cut; lists stay whole."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST_NAME else f"{value[:LONGEST_NAME]}…"
    if isinstance(value, dict):
        return {_named_shortly(name): _named_shortly(inner) for name, inner in value.items()}
    return [_named_shortly(inner) for inner in value] if isinstance(value, list | tuple) else value


def _bounded(value: Any) -> Any:
    """The same, and of long lists and objects the first entries only."""
    if isinstance(value, dict):
        return {name: _bounded(inner) for name, inner in list(_named_shortly(value).items())[:MOST_ITEMS]}
    if isinstance(value, list | tuple):
        more = len(value) - MOST_ITEMS
        kept = [_bounded(inner) for inner in value[:MOST_ITEMS]]
        return [*kept, f"and {more:,} more"] if more > 0 and isinstance(value[0], str) else kept
    return _named_shortly(value)


def _most_mistaken(confusion: dict[str, dict[str, int]]) -> set[str]:
    """The classes of a confusion matrix that it keeps."""
    mistakes: dict[str, int] = {}
    for truth, row in confusion.items():
        for label, count in row.items():
            for name in (truth, label):
                mistakes[name] = mistakes.get(name, 0) + (count if truth != label else 0)
    return set(sorted(mistakes, key=lambda name: (-mistakes[name], name))[:MOST_CLASSES])


def _compare(figures: Figures, *, with_text: bool) -> dict[str, Any] | None:
    """The variants side by side; None where there are no two."""
    try:
        sums = figures.compare()
    except RefusedToStart:
        return None
    examples = sums.pop("examples")
    found = _but_files(_bounded, sums)
    return {**found, "examples": _shortened(examples[:EXAMPLES])} if with_text else found


# -- rows with their text ---------------------------------------------------------------------------------------------


def _rows(figures: Figures, overview: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that stand out, each once, with all that is known of them and why they are here."""
    reasons: dict[str, list[str]] = {}
    for kind, rows in (("failed", overview["errors"]), ("slow", overview["slowest"]), ("dear", overview["dearest"])):
        for row in rows[:EXAMPLES]:
            if row["row_id"] is not None and kind not in reasons.setdefault(row["row_id"], []):
                reasons[row["row_id"]].append(kind)
    found = []
    for row_id, why in reasons.items():
        with suppress(RefusedToStart):  # it went from the table since its figures were read
            row = figures.row_named(row_id)
            views = [_first_messages(view) for view in row["views"]]
            number = row["row_number"]
            found.append({"row_id": row_id, "row_number": number, "reasons": why, "views": _shortened(views)})
    return found


def _first_messages(view: dict[str, Any]) -> dict[str, Any]:
    messages = view["messages"]
    if len(messages) <= MOST_MESSAGES:
        return view
    more = {"role": "…", "content": f"{len(messages) - MOST_MESSAGES} more messages"}
    return {**view, "messages": [*messages[:MOST_MESSAGES], more]}


def _shortened(value: Any) -> Any:
    """A value whose texts are cut, and whose larger pictures are told by their size."""
    if isinstance(value, str) and value.startswith(_PICTURE) and len(value) > LONGEST_TEXT:
        return f"a picture of {len(value) * 3 // 4:,} bytes"
    if isinstance(value, str):
        more = len(value) - LONGEST_TEXT
        return f"{value[:LONGEST_TEXT]}… ({more:,} more characters)" if more > 0 else value
    if isinstance(value, dict):
        return {name: _shortened(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(inner) for inner in value]
    return value


# -- half as many points ----------------------------------------------------------------------------------------------


def _pairs(values: list[Any], how: Any) -> list[Any]:
    return [how(*values[place : place + 2]) for place in range(0, len(values), 2)]


def _added(one: Any, other: Any = 0) -> Any:
    if isinstance(one, str) or isinstance(other, str):
        return format(Decimal(one or 0) + Decimal(other or 0), "f")
    return (one or 0) + (other or 0)


def _larger(one: Any, other: Any = None) -> Any:
    known = [value for value in (one, other) if value is not None]
    return max(known, default=None)
