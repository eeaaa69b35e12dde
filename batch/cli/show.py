"""`promptmill show`: prints everything about one row, in one variant or in all. `report.row` collects it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from batch.cli.text import count, decimal, incomplete, pairs, say, say_json, table
from batch.core.errors import RefusedToStart
from batch.core.plain import clean

if TYPE_CHECKING:
    from batch.report.row import RowView

LABEL: Final = "label"
"""The column of a label, and how those of its properties begin."""
_MOST: Final = 20_000
"""Characters of one cell or message on a terminal; `--json` has all of it."""


def show(
    out: Annotated[Path, Parameter(negative=())],
    row_id: Annotated[str, Parameter(negative=(), allow_leading_hyphen=True)],
    /,
    *,
    variant: Annotated[str | None, Parameter(negative=(), allow_leading_hyphen=True)] = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """One row whole: input, conversation with tool calls, every call, tokens, cost, error.

    Args:
        out: the output folder of a run.
        row_id: the row's id, or a beginning of it that no other row shares.
        variant: one variant of the row only.
        json: one JSON object on stdout, for programs; of a row in several variants it has a list of them.
    """
    from batch.report.row import row_of

    views = row_of(out, row_id)
    if variant is not None:
        views = [_named(views, variant)]
    if json:
        import msgspec

        from batch.core import exactjson
        from batch.report.row_json import public

        say_json(msgspec.json.format(exactjson.encoded(public(views)), indent=2).decode())
    else:
        say(_lines(views) if len(views) == 1 else _variants(views))
    return incomplete(views[0].missing, "the calls")


def _named(views: list[RowView], variant: str) -> RowView:
    """The variant of this name.

    Raises:
        RefusedToStart: the row has no such variant; says which it has.
    """
    for view in views:
        if view.variant == variant:
            return view
    named = [view.variant for view in views if view.variant is not None]
    have = f"it has {', '.join(named)}" if named else "its job has no variants"
    raise RefusedToStart(f"--variant {variant}: row {views[0].row_id} has no such variant; {have}.")


def _lines(views: list[RowView]) -> Iterator[str]:
    view = views[0]
    variant = f", variant {clean(view.variant)}" if view.variant is not None else ""
    yield f"row {clean(view.row_id)}, number {view.row_number:,}{variant}: {_state(view)}"
    yield from _inputs(view)
    yield from _answered(view)


def _variants(views: list[RowView]) -> Iterator[str]:
    """The row in all its variants; the input once, unless a variant no longer asked answered an earlier form of it."""
    view = views[0]
    same = all(other.inputs == view.inputs for other in views)
    yield f"row {clean(view.row_id)}, number {view.row_number:,}: {len(views)} variants"
    if same:
        yield from _inputs(view)
    for view in views:
        yield ""
        yield f"variant {clean(view.variant or '(none)')}: {_state(view)}"
        yield from () if same else _inputs(view)
        yield from _answered(view)


def _inputs(view: RowView) -> Iterator[str]:
    yield "input"
    yield from pairs([(clean(name), _cell(value)) for name, value in view.inputs.items() if value is not None])


def _answered(view: RowView) -> Iterator[str]:
    outcome = view.outcome
    if outcome is not None:
        yield from _outcome(outcome)
    if view.messages and not _says_it_again(view):
        yield (
            "conversation" if view.messages[0].get("role") != "assistant" else "conversation, after the first request"
        )
        yield from pairs(map(_message, view.messages))
    if view.calls:
        yield count(len(view.calls), "call")
        yield from _calls(view.calls)


def _says_it_again(view: RowView) -> bool:
    """Whether the conversation is the answer shown above and nothing else."""
    only = view.messages[0]
    return (
        len(view.messages) == 1
        and view.outcome is not None
        and only.get("content") == view.outcome["answer"]
        and not only.get("tool_calls")
        and not only.get("reasoning_content")
    )


def _state(view: RowView) -> str:
    now = {"waiting": "admitted, waits to be sent", "under way": _under_way(view)}
    status = view.outcome["status"] if view.outcome is not None else None
    if view.stage == "settled":
        return f"{status}; settled, not in the table yet"
    if view.stage is None:
        return status or "has a place and no outcome; the next run asks it"
    return f"{status}; asked again: {now[view.stage]}" if status else now[view.stage]


def _under_way(view: RowView) -> str:
    call = next((call for call in view.calls if call["state"] == "open" and call["lane"] == "bulk"), None)
    if call is None:
        return "in the middle of a call or conversation"
    return f"waits in {clean(call['batch_id'])}" if call["batch_id"] else "waits in a file for its batch"


def _outcome(outcome: dict[str, Any]) -> Iterator[str]:
    kind, code = outcome["error_kind"], outcome["error_code"]
    if outcome["status"] == "failed":
        again = "worth another try" if outcome["retryable"] else "for good"
        yield f"error {clean(f'{kind}/{code}' if code else str(kind))}, {again}"
        yield from (f"  {line}" for line in _cell(outcome["error_message"]).split("\n"))
    named = [(name, value) for name, value in outcome.items() if name == LABEL or name.startswith(f"{LABEL}_")]
    told = [(clean(name), _cell(value)) for name, value in named if value is not None]
    if told := [*told, *_sampled(outcome)]:
        yield "label"
        yield from pairs(told)
    if outcome["answer"] is not None:
        yield "answer"
        yield from (f"  {line}" for line in _cell(outcome["answer"]).split("\n"))
    if outcome["reasoning"]:
        yield "reasoning"
        yield from (f"  {line}" for line in _cell(outcome["reasoning"]).split("\n"))
    yield "how"
    yield from pairs(
        [
            ("model", _model(outcome)),
            ("copy of", clean(outcome["deduplicated_from"] or "")),
            ("ended by", ", ".join([str(outcome["finish_reason"] or ""), *(outcome["flags"] or [])]).strip(", ")),
            ("tokens", _tokens(outcome)),
            ("cost", _cost(outcome)),
            ("sent", _when(outcome["first_sent_at"]) if outcome["first_sent_at"] else ""),
            ("settled", _when(outcome["settled_at"])),
            ("run", str(outcome["run"])),
        ]
    )


def _model(outcome: dict[str, Any]) -> str:
    asked, served = outcome["model_asked"], outcome["model"]
    other = f", served by {served}" if served and served != asked else ""
    return clean(f"{outcome['provider']}/{asked}{other}, lane {outcome['lane']}")


def _tokens(row: dict[str, Any]) -> str:
    if row["total_tokens"] is None:
        return "unknown" if row["calls"] else "none: it was never sent"
    within = [(row["cached_tokens"], "cached"), (row["reasoning_tokens"], "reasoning")]
    cached, reasoning = (f" ({number:,} {word})" if number else "" for number, word in within)
    dark = f"; unknown for {count(row['unknown_calls'], 'call')}" if row["unknown_calls"] else ""
    return (
        f"{row['total_tokens']:,}: {row['prompt_tokens']:,} prompt{cached}, "
        f"{row['completion_tokens']:,} completion{reasoning}{dark}"
    )


def _cost(row: dict[str, Any]) -> str:
    if row["cost"] is None:
        return "unknown" if row["calls"] else ""
    dark = f"; {count(row['unknown_calls'], 'call')} possibly billed beyond it" if row["unknown_calls"] else ""
    return f"{decimal(row['cost'])} {row['currency'] or ''}{dark}"


def _message(message: dict[str, Any]) -> tuple[str, str]:
    """Who speaks, and the text: calls of tools as `→ name(arguments)`, their results as `← content`."""
    content = message.get("content")
    parts = []
    if message.get("reasoning_content"):
        parts.append(f"(thinks) {_cell(message['reasoning_content'])}")
    if message.get("role") == "tool":
        parts.append(f"← {_cell(content)}  {_cell(message.get('tool_call_id'))}")
    elif content is not None and not (isinstance(content, str) and not content.strip()):
        parts.append(_cell(content))
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        parts.append(_cell(f"→ {function.get('name')}({function.get('arguments')})  {call.get('id', '')}"))
    return clean(str(message.get("role", "?"))), "\n".join(parts) or "(empty)"


def _sampled(outcome: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The votes of the row's samples, and how sure its label is."""
    if votes := outcome.get("votes"):
        yield "votes", ", ".join(f"{vote['count']} {_cell(vote['label'])}" for vote in votes)
    for name in ("agreement", "confidence"):
        if outcome.get(name) is not None:
            yield name, f"{outcome[name]:.3f}"


def _calls(calls: list[dict[str, Any]]) -> list[str]:
    rows: list[tuple[str, ...]] = [
        ("turn", "try", "for", "state", "http", "tokens", "cost", "sent", "took", "error", "call id")
    ]
    for call in calls:
        get = call.get
        error = "/".join(str(part) for part in (get("error_kind"), get("error_code")) if part)
        paid = get("cost")
        ids = " ".join(str(part) for part in (get("client_call_id"), get("task_id"), get("batch_id")) if part)
        rows.append(
            (
                str(get("turn")),
                str((get("attempt") or 0) + 1),
                str(get("purpose") or ""),
                str(get("state")),
                str(get("http_status") or ""),
                "?" if get("total_tokens") is None else f"{get('total_tokens'):,}",
                "?" if paid is None else f"{decimal(paid)} {get('currency') or ''}".strip(),
                _when(get("sent_at")),
                "" if get("latency_ms") is None else f"{get('latency_ms'):,} ms",
                clean(error),
                clean(ids),
            )
        )
    return table(rows, right=frozenset({0, 1, 5, 8}))


def _when(moment: Any) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z" if moment else "-"


def _cell(value: Any) -> str:
    from batch.core import exactjson

    if isinstance(value, Decimal):
        value = f"{value:f}"
    elif isinstance(value, datetime):
        value = value.isoformat()
    elif isinstance(value, bytes):
        value = f"{len(value):,} bytes"
    elif not isinstance(value, str):
        value = exactjson.encoded(value).decode()
    return clean(value, lines=True, most=_MOST) or "(empty)"
