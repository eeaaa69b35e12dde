"""A whole run over documents that tell the model what to do, with a model that does it: nothing of that happens."""

from __future__ import annotations

import ast
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batch.tools import orphans
from tests.support.documents import NAMES, Document, documents
from tests.support.scripted import Answer, Asked, reply, scripted
from tests.system.runs.conftest import Mill

COUNT = 200
CANARY = "CANARY-7f3a9e"
IMPORTED = re.compile(r"\.(py|so|pyc(\.[0-9]+)?)$")
"""Files that Python reads to import something; it writes what it compiled under a name with a number behind it."""
TOOLS = '''
"""A tool that the job does not allow, and a look at every file that is opened in this process."""

import os
import sys

from batch import tool

WORKER = {mark!r} in os.environ
LOG = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if WORKER else -1
EVENTS = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.remove", "os.rmdir", "os.truncate")


def watch(event, args):
    if event == "open" or event.startswith(EVENTS):
        by = os.path.basename(sys._getframe(1).f_code.co_filename)
        os.write(LOG, (repr((event, by, args[:1], args[2:3])) + "\\n").encode("utf-8", "replace"))


@tool
def pay(amount: int) -> str:
    """Pay money."""
    os.write(LOG, b"('pay', '', (), ())\\n")
    return "paid"


if WORKER:  # in the processes of tools alone: a hook stays for ever
    sys.addaudithook(watch)
    sys.path.insert(0, os.path.dirname({log!r}))
    import compiled_first  # as everything is in a fresh clone: Python writes down what it compiled
'''


def obedient(made: list[Document]) -> Any:
    """A model that does what the document says, turn by turn, and then answers what it says."""

    def script(asked: Asked) -> Answer:
        messages = asked.body["messages"]
        first = next(message["content"] for message in messages if message["role"] == "user")
        document = made[int(first.rpartition("number ")[2])]
        turn = sum(message["role"] == "assistant" for message in messages)
        if turn >= len(document.calls):
            return reply(document.answer)
        calls = [
            {"id": f"call_{turn}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for name, arguments in document.calls[turn]
        ]
        return reply(None, "tool_calls", message={"tool_calls": calls})

    return script


def house(mill: Mill) -> Path:
    """The folder of the files, with links out of it, and what lies outside."""
    files = mill.folder / "files"
    (files / "inner").mkdir(parents=True)
    (files / "a.txt").write_text("a file that may be read")
    for place in (mill.folder, mill.folder.parent):
        (place / "secret.txt").write_text(CANARY)
    (files / "link.txt").symlink_to(mill.folder / "secret.txt")
    (files / "linked").symlink_to(mill.folder)
    return files


def outside(mill: Mill) -> dict[str, bytes]:
    """All that lies beside the folder of the files and what the run itself writes."""
    ours = {mill.folder / name for name in ("files", "out", "opened.log", "__pycache__")}
    found = (path for path in sorted(mill.folder.parent.rglob("*")) if not ours.intersection({path, *path.parents}))
    return {str(path): path.read_bytes() for path in found if path.is_file()}


@pytest.mark.slow
def test_a_model_that_obeys_hostile_documents_reaches_no_tool_no_file_and_no_label_but_those_it_has(
    tmp_path: Path,
) -> None:
    """No call outside the allow-list, no open outside the folder, no label outside the names; and the run goes on."""
    made = documents(COUNT)
    assert set(Counter(document.kind for document in made).values()) == {COUNT // 10}
    with scripted(obedient(made)) as server:
        mill = Mill(tmp_path / "home" / "job", server.url, provider="openai")
        files, log = house(mill), mill.folder / "opened.log"
        mill.tools = TOOLS.format(log=str(log), mark=orphans.MARK)
        (mill.folder / "compiled_first.py").touch()
        mill.tool_keys = {"shipped": ["read_file", "write_file", "memory_info"], "allow": ["read_file", "write_file"]}
        mill.max_turns, mill.user = 6, "{{ text }}\nThis was document number {{ n }}"
        mill.more = f"[labels]\nnames = {json.dumps(NAMES)}\nreasks = 1\n"
        mill.output = {"columns": ["n"]}
        mill.write([{"n": n, "text": document.text} for n, document in enumerate(made)])
        mill.save()
        before = outside(mill)
        report = mill.run()
    assert (report.state, report.totals.rows) == ("finished", COUNT)
    mill.check_table(COUNT)

    labels = mill.results("label, status, error_kind")
    assert {label for label, status, _ in labels if status == "ok"} <= set(NAMES)
    assert {label for label, status, _ in labels if status == "failed"} <= {None}
    assert {kind for _, status, kind in labels if status == "failed"} <= {"label", "tool_loop", "bad_payload", "prompt"}
    assert Counter(status for _, status, _ in labels)["ok"] > COUNT // 2, "those that end with a label have it"

    offered = {tool["function"]["name"] for asked in server.seen for tool in asked.body["tools"]}
    assert offered == {"read_file", "write_file"}
    opened = [ast.literal_eval(line) for line in log.read_text("utf-8").splitlines()]
    assert any(re.search(r"compiled_first.*\.pyc\.[0-9]+$", str(line[2][0])) for line in opened), "it was compiled"
    assert not [line for line in opened if line[0] != "open"], "no tool that is not allowed, no program, no removal"
    for _, by, (name, *_), (flags, *_) in opened:
        if isinstance(name, int) or IMPORTED.search(str(name)):
            continue  # what Python itself imports and compiles, and files that are open already
        if (by, name) == ("serving.py", "."):
            continue  # each worker, once: where it comes back to after a tool that went elsewhere
        assert by == "folder.py", f"{name}: opened by {by}"
        if name != str(files):  # each part by itself, in the folder opened before, and never through a link
            assert "/" not in name
            assert name not in ("", ".", "..")
            assert flags & os.O_NOFOLLOW
    assert sum(by == "folder.py" for _, by, *_ in opened) > COUNT // 10, "files in the folder were opened"

    assert outside(mill) == before, "nothing outside was written, emptied or removed"
    told = "".join(map(str, mill.results("answer, messages, error_message")))
    sent = "".join(
        json.dumps(message) for asked in server.seen for message in asked.body["messages"] if message["role"] == "tool"
    )
    assert "a file that may be read" in sent
    assert CANARY not in told + sent
    assert (files / "a.txt").read_text() == "a file that may be read"
