"""`batch.core.logs`: one list of names, and no secret in any line, whoever writes it."""

import ast
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from batch.core import logs, redaction
from batch.core.clock import HandClock
from batch.core.logs import EVENTS, logger, set_up
from batch.core.redaction import MASK, hide

PACKAGE = Path(logs.__file__).parents[1]
KEY = "a-key-of-no-special-look"
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
LOOKS = (
    "sk-abcdefghijklmnop1234",
    "sk-proj-AbCd_efgh-1234567890",
    "0123456789abcdef0123456789abcdef.AbCdEfGh12345678",
    "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x-y_z",
)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging is the process's own: put back what the test changed."""
    monkeypatch.setattr(redaction, "process", redaction.Masker())
    hide(KEY)
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def called_events() -> set[str]:
    """The names in `logger().<level>("name", …)`, both of a conditional expression."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS):
                continue
            logs = node.func.value
            if isinstance(logs, ast.Call) and ast.unparse(logs.func).endswith("logger"):
                names = [n.value for n in ast.walk(node.args[0]) if isinstance(n, ast.Constant)]
                assert names, f"{path}:{node.lineno}: an event without a constant name"
                found |= {name for name in names if isinstance(name, str)}
    return found


def test_every_event_has_its_name_in_the_list_and_every_name_its_event() -> None:
    """Whoever searches the logs has one list to look at."""
    assert called_events() == EVENTS
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)+", name) for name in EVENTS)


@pytest.mark.parametrize("secret", [KEY, *LOOKS])
@pytest.mark.parametrize("form", ["console", "json"])
def test_no_line_of_either_form_shows_a_key(form: str, secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In the message, in a field, deep in a value, in a name, in an exception, bound to the context."""
    stream = io.StringIO()
    set_up("json" if form == "json" else "console", stream=stream)
    structlog.contextvars.bind_contextvars(url=f"https://host/?key={secret}")
    fault = ValueError(f"refused: {secret}")
    logger().warning(f"about {secret}", text=f"x {secret} y", deep={"a": [1, ("b", secret)]}, fault=fault)
    logger().warning("odd", **{f"name {secret}": 1}, raw=secret.encode(), names={secret: 1}, some={secret})
    try:
        raise fault
    except ValueError:
        logger().exception("raised")
        logging.getLogger("httpx").exception("of %s", {"authorization": secret})
    logging.getLogger("any").error("plain %s", secret)
    written = stream.getvalue()
    assert secret.removeprefix("Bearer ") not in written
    assert MASK in written
    assert len(written.splitlines()) >= 5
    assert capsys.readouterr() == ("", "")


def test_lines_for_machines_are_json_one_a_line() -> None:
    """With level, time in UTC and what was bound to the run."""
    stream = io.StringIO()
    set_up("json", stream=stream)
    structlog.contextvars.bind_contextvars(run="r1")
    logger().info("part_published", part=3, name="表")
    (line,) = stream.getvalue().splitlines()
    said = json.loads(line)
    assert said.pop("ts").endswith("Z")
    assert said == {"event": "part_published", "level": "info", "part": 3, "name": "表", "run": "r1"}
    assert "表" in line


def test_an_exception_in_json_keeps_its_traceback_on_one_line() -> None:
    """A traceback is the only way to tell a bug of ours from afar."""
    stream = io.StringIO()
    set_up("json", stream=stream)
    try:
        raise LookupError("lost")
    except LookupError:
        logger().exception("raised")
    (line,) = stream.getvalue().splitlines()
    assert "LookupError: lost" in json.loads(line)["exception"]


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_locals(form: str) -> None:
    """Prompt and reply text never appear in a log."""
    stream = io.StringIO()
    set_up("json" if form == "json" else "console", stream=stream)
    prompt = "my dear ".upper() + "diary"
    try:
        len(prompt) / 0
    except ZeroDivisionError:
        logger().exception("raised")
        logging.getLogger("any").exception("raised")
    assert stream.getvalue().count("ZeroDivisionError") == 2
    assert prompt not in stream.getvalue()


def test_whole_urls_of_the_http_client_are_not_logged() -> None:
    """At INFO httpx prints every URL."""
    stream = io.StringIO()
    set_up(stream=stream)
    logging.getLogger("httpx").info("GET https://host/v4")
    logging.getLogger("httpcore").debug("connect")
    assert stream.getvalue() == ""


def test_talk_goes_to_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Data goes to stdout, talk to stderr."""
    set_up()
    logger().info("run_started")
    out, err = capsys.readouterr()
    assert out == ""
    assert "run_started" in err
    assert sys.stderr is not sys.stdout


def test_a_quiet_level_holds_back_what_is_below_it() -> None:
    """`level` counts as in the standard library."""
    stream = io.StringIO()
    set_up(stream=stream, level=logging.ERROR)
    logger().warning("run_started")
    logger().error("storage_failed")
    assert "run_started" not in stream.getvalue()
    assert "storage_failed" in stream.getvalue()


@pytest.mark.parametrize("form", ["console", "json"])
def test_what_repeats_is_counted_and_told_ever_more_rarely(form: str) -> None:
    """A million failures must not write a million lines; each kind and code is counted for itself."""
    stream = io.StringIO()
    set_up("json" if form == "json" else "console", stream=stream)
    for number in range(20_000):
        logger().warning("task_overdue", row_id=f"row-{number}", code=number % 2)
        logging.getLogger("library").warning("about %s", number)
    logger().info("run_finished")
    said = stream.getvalue()
    assert said.count("task_overdue") == 2 * (10 + 3)  # ten, then the 100th, the 1,000th and the 10,000th
    assert said.count("about ") == 10 + 3
    if form == "json":
        lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        assert [line["repeated"] for line in lines if "repeated" in line] == [89, 89, 899, 899, 8_999, 8_999]
        assert lines[-1]["held_back"] == 20_000 - 10_000


def test_what_repeats_is_told_again_after_a_minute() -> None:
    """A fault that lasts all night is still seen in the last lines of the log."""
    clock = HandClock()
    repeats = logs.Repeats(clock)
    told = [repeats.held_back(("x",)) for _ in range(50)]
    assert told == [0] * 10 + [None] * 40
    clock.advance(60)
    assert [repeats.held_back(("x",)), repeats.held_back(("x",))] == [40, None]


def test_a_server_that_invents_codes_fills_no_memory() -> None:
    """Beyond a thousand kinds all others are counted as one."""
    repeats = logs.Repeats(HandClock())
    told = sum(repeats.held_back((number,)) is not None for number in range(50_000))
    assert told < 1_020
    assert len(repeats._counts) == 1_001


def test_information_is_never_held_back() -> None:
    """It is of the run, not of its rows."""
    stream = io.StringIO()
    set_up("json", stream=stream)
    for number in range(50):
        logger().info("part_published", part=number)
    assert len(stream.getvalue().splitlines()) == 50


def test_in_a_program_of_somebody_elses_lines_go_nowhere_until_asked_for(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], unasked_logs: None
) -> None:
    """FIELD 46. A notebook or a service gets no line it did not ask for, above all not among its data on stdout."""
    logger().warning("provider_paused", seconds=3)
    logger().info("run_started")
    assert capsys.readouterr() == ("", "")
    assert caplog.messages == ["provider_paused seconds=3"], "warnings, as every standard logger hands them on"
    with caplog.at_level(logging.INFO):
        logger().info("run_started", text=f"with {KEY}\x1b[2J", percent="100 %s")
    assert caplog.records[-1].name == logs.LIBRARY
    assert caplog.messages[-1] == f"run_started text=with {MASK} [2J percent=100 %s"
    try:
        raise LookupError(f"lost {KEY}")
    except LookupError:
        logger().exception("raised")
    assert f"LookupError: lost {MASK}" in caplog.messages[-1]
    assert capsys.readouterr() == ("", "")


def test_without_any_handler_a_warning_is_not_written_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FIELD 46. The standard library writes what no handler takes to stderr, unless a library says it must not."""
    structlog.reset_defaults()
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logger().warning("provider_paused", seconds=3)
    assert capsys.readouterr() == ("", "")


def test_a_program_that_uses_structlog_itself_keeps_its_own_lines_for_itself() -> None:
    """FIELD 46. Its configuration is neither looked at nor changed, and what it binds to its context stands in ours."""
    theirs = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(theirs))
    before = structlog.get_config()
    logger().error("storage_failed")
    assert theirs.getvalue() == ""
    assert structlog.get_config() == before


def test_lines_in_a_program_are_held_back_like_those_of_the_command(caplog: pytest.LogCaptureFixture) -> None:
    """A night of one fault must not fill its log either."""
    structlog.reset_defaults()
    for _ in range(50):
        logger().warning("task_overdue", code="a-code-of-this-test")
    assert len(caplog.messages) == 10
