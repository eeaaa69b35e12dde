"""Every way in for a key × every file, stdout, stderr, help and tracebacks: found nowhere. `scripts/keys` runs all.

Each way is a run of the command against a hostile provider or with a wrong address, with a key of its own, and then
every command that shows something of it. What is looked for is the key in any form, and any twelve characters of it in
a row; `Hunt` does not use the code it judges.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import logging
import os
import pydoc
import random
import re
import sqlite3
import string
import sys
import tempfile
import time
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import pyarrow.parquet as pq
import structlog

import batch
from batch.cli import main as command
from batch.run.command import run
from tests.system.faults.key_ways import FORMS, WAYS, Way, provider

PIECE = 12
"""So many characters of a key in a row are a leak."""
VARIABLES = {"openai": "OPENAI_API_KEY", "glm": "ZAI_API_KEY"}


class Leak(AssertionError):
    """A key, or a piece of it, in a place where none may be."""


class Hunt:
    """Looks for a key in texts and files, whatever it was made into.

    Args:
        secrets: the key, its secret part, tokens made from it.
    """

    def __init__(self, *secrets: str) -> None:
        pieces = {secret[at : at + PIECE].lower() for secret in secrets for at in range(len(secret) - PIECE + 1)}
        raw = [secret.encode() for secret in secrets]
        pieces |= {data.hex() for data in raw}
        for data in raw:
            for before in range(3):
                coded = base64.b64encode(b"\0" * before + data)[4:-4].decode()
                pieces |= {coded.lower(), coded.translate(str.maketrans("+/", "-_")).lower()}
        self._pieces = pieces
        self.looked_at = 0

    def text(self, text: str, where: str) -> None:
        """Raise `Leak` when it is in there."""
        self.looked_at += 1
        forms = [text.lower()]
        if "\\" in text:
            forms.append(re.sub(r"\\+u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), forms[0]))
            forms += [form.replace("\\", "") for form in forms[:2]]
        if "%" in text:
            forms.append(urllib.parse.unquote(forms[0]))
        for form in forms:
            for piece in self._pieces:
                if piece in form:
                    at = form.index(piece)
                    raise Leak(f"{where}: …{form[max(0, at - 60) : at + 60]}…")

    def folder(self, out: Path) -> None:
        """Every file as it lies there, and what is inside those that are packed."""
        for path in sorted(out.rglob("*")):
            if not path.is_file():
                continue
            self.text(str(path.relative_to(out)), "the name of a file")
            self.text(path.read_bytes().decode("latin-1"), str(path))
            if path.suffix == ".parquet":
                self.text(json.dumps(pq.read_table(path).to_pylist(), default=str, ensure_ascii=False), str(path))
            elif path.name == "ledger.db":
                self.text(_rows(path), f"{path} (tables)")
            elif path.parent.name == "wire":
                self._wire(path)

    def _wire(self, path: Path) -> None:
        """The pieces of streams, put together."""
        for line in path.read_text("utf-8").splitlines():
            reply = json.loads(line).get("reply")
            if isinstance(reply, str) and "data:" in reply:
                for name in ("content", "reasoning_content"):
                    said = "".join(json.loads(f'"{text}"') for text in re.findall(rf'"{name}": "(.*?)"', reply))
                    self.text(said, f"{path} ({name} put together)")


def _rows(path: Path) -> str:
    found = []
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                found += [value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in row]
    return "\n".join(found)


def new_key(which: str, chance: random.Random) -> str:
    """A key of the provider's form; OpenAI's has characters that JSON and URLs escape."""

    def letters(count: int) -> str:
        return "".join(chance.choices(string.ascii_letters + string.digits, k=count))

    if which == "glm":
        return f"{chance.randbytes(16).hex()}.{letters(16)}"
    return f"sk-{letters(14)}/{letters(8)}+{letters(6)}=="


@contextlib.contextmanager
def undisturbed(environ: dict[str, str]) -> Iterator[None]:
    """This process with no keys but these; what a command sets up in it is put back."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL", "_proxy"))}
    handlers, level, interval = logging.root.handlers[:], logging.root.level, sys.getswitchinterval()
    try:
        with mock.patch.dict(os.environ, {**kept, **environ}, clear=True):
            yield
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        sys.setswitchinterval(interval)
        structlog.reset_defaults()


def said(*words: str | Path) -> tuple[int, str]:
    """A command in this process: its exit code and all it says."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = command([str(word) for word in words])
    return code, out.getvalue()


def write(folder: Path, way: Way, url: str) -> None:
    """The job of a way."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = "".join(json.dumps({"id": f"r{n}", "q": f"form {n}!"}) + "\n" for n in range(way.rows))
    (folder / "rows.jsonl").write_text(rows, "utf-8")
    base = f'base_url = "{url}"\n' if url else ""
    tools = '[tools]\nmodule = "tools.py"\n' if way.tools else ""
    (folder / "tools.py").write_text(way.tools or "", "utf-8")
    (folder / "job.toml").write_text(
        f'name = "keys"\n[input]\npath = "rows.jsonl"\nkey = "id"\n[prompt]\nuser = "{{{{ q }}}}"\n[model]\n'
        f'provider = "{way.provider}"\nname = "m"\nlane = "{way.lane}"\n{base}{way.model}{tools}'
        '[limits]\nconcurrency = 2\nmax_attempts = 1\n[output]\npath = "out"\nmessages = "all"\n',
        "utf-8",
    )


def over_the_wire(name: str, folder: Path, chance: random.Random) -> int:
    """One of `WAYS`: run, run again, and every command that shows it; how many texts were looked through."""
    way, out = WAYS[name], folder / "out"
    key = new_key(way.provider, chance)
    secrets = [key] if way.provider == "openai" else [key, key.partition(".")[2]]
    hunt = Hunt(*secrets)

    def look() -> None:
        for path in out.glob("ledger.db*"):
            hunt.text(path.read_bytes().decode("latin-1"), f"{path}, while it runs")

    with undisturbed({VARIABLES[way.provider]: key}), provider(way, look) as (url, asked):
        write(folder, way, url)
        talk = [said("run", folder, "--wire-log", "--progress", "json", "--log-format", "json")]
        talk.append(said("run", folder, "--wire-log", "--progress", "plain", "--retry", "all", "--debug"))
        talk += [said("check", folder, "--full"), said("status", out), said("status", out, "--json")]
        talk += [said("show", out, f"r{n}") for n in range(way.rows)]
        talk += [said("show", out, "r1", "--json"), said("compare", out)]
        if way.tools:
            talk += [
                said("tools", folder, tool, f'{{"n": {n}, "note": ""}}')
                for tool in ("give", "fail_later")
                for n in (0, 4, 8)
            ]
    hunt = _with_tokens(hunt, secrets, {one.key for one in asked})
    for number, (code, text) in enumerate(talk):
        hunt.text(text, f"{name}: command {number}")
        if code == 70:
            raise Leak(f"{name}: command {number} fell: {text}")
    hunt.folder(out)
    everything = "".join(text for _, text in talk)
    if not asked or way.proof not in everything:
        raise Leak(f"{name}: nothing came in by this way")
    return hunt.looked_at


def _with_tokens(hunt: Hunt, secrets: list[str], sent: set[str]) -> Hunt:
    """The same hunt for what was really sent: a token is known by its signature."""
    tokens = [token.rpartition(".")[2] for token in sent if token.startswith("eyJ")]
    found = Hunt(*secrets, *tokens)
    found.looked_at = hunt.looked_at
    return found


ADDRESSES = (
    "https://far.example/v1?key=KEY",
    "https://far.example/v1#token=KEY",
    "https://me:KEY@far.example/v1",
    "https://KEY@far.example/v1",
    "https://me:1/KEY@far.example",
    "me:KEY@far.example",
    "https://[KEY",
)


def in_addresses(folder: Path, chance: random.Random) -> int:
    """A key in an address: in the job, by --set, in a table, in a variable, in that of a proxy; each is refused."""
    way = Way(WAYS["answers"].answer)
    looked = 0
    for number, form in enumerate(ADDRESSES):
        key = new_key("openai", chance).replace("/", "x").replace("=", "z")
        address, hunt = form.replace("KEY", key), Hunt(key)
        home = folder / f"address-{number}"
        places: list[tuple[dict[str, str], str, tuple[str, ...]]] = [
            ({}, address, ()),
            ({}, "", ("--set", f"model.base_url={address}")),
            ({"OPENAI_BASE_URL": address}, "", ()),
        ]
        if number < 3:
            places.append(({"http_proxy": address.replace("https", "ftp")}, "http://far.example", ()))
        for environ, url, words in places:
            with undisturbed({"OPENAI_API_KEY": "sk-another-key-of-mine", **environ}):
                write(home, way, url)
                for words_ in (("check", home), ("run", home, "--debug")):
                    code, text = said(*words_, *words)
                    hunt.text(text, f"{form}: {words_[0]} with {sorted(environ) or words or 'the job'}")
                    if code != 2 and not (environ.get("http_proxy") and words_[0] == "check"):
                        raise Leak(f"{form}: exit {code} and not 2: {text}")
        if (home / "out").exists():
            hunt.folder(home / "out")
        looked += hunt.looked_at
    return looked


def in_signatures(folder: Path, chance: random.Random) -> int:
    """`help()`, reprs, and tracebacks with the locals of every frame, of a run that falls in the middle."""
    key = new_key("glm", chance)
    hunt = Hunt(key, key.partition(".")[2])
    way = Way(WAYS["answers"].answer, provider="glm", model='key_form = "jwt"\n')

    def fall(_: Any) -> None:
        raise LookupError("a bug of the caller's")

    async def go() -> None:
        await run(batch.Job.load(folder), on_progress=fall)

    with undisturbed({"ZAI_API_KEY": key}), contextlib.redirect_stdout(io.StringIO()):
        write(folder, way, "http://127.0.0.1:9")
        for thing in (batch, run, *(getattr(batch, name) for name in batch.__all__)):
            hunt.text(pydoc.render_doc(thing), f"help({thing})")
        try:
            anyio.run(go)
        except (LookupError, BaseExceptionGroup) as exc:
            told = traceback.TracebackException.from_exception(exc, capture_locals=True)
            for one in _every(told):
                one.stack = traceback.StackSummary.from_list([f for f in one.stack if f.filename != __file__])
            hunt.text("".join(told.format()), "a traceback with locals")
        else:
            raise Leak("the run did not fall")
    hunt.folder(folder / "out")
    return hunt.looked_at


def _every(one: traceback.TracebackException | None) -> Iterator[traceback.TracebackException]:
    if one is not None:
        yield one
        for inner in (*(one.exceptions or ()), one.__cause__, one.__context__):
            yield from _every(inner)


Trial = Callable[[Path, random.Random], int]


def _wire_trial(name: str) -> Trial:
    return lambda folder, chance: over_the_wire(name, folder, chance)


TRIALS: dict[str, Trial] = {
    **{name: _wire_trial(name) for name in WAYS},
    "addresses": in_addresses,
    "signatures and tracebacks": in_signatures,
}


def main() -> int:
    """Try every way; exit 1 when a key was found anywhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="another number, other keys")
    parser.add_argument("--rounds", type=int, default=1, help="so many keys by each way")
    parser.add_argument("--only", choices=TRIALS, help="one way")
    asked = parser.parse_args()
    began, found, looked = time.monotonic(), 0, 0
    for number in range(asked.rounds):
        for name, trial in TRIALS.items():
            if asked.only not in (None, name):
                continue
            with tempfile.TemporaryDirectory(prefix="promptmill-keys-") as folder:
                try:
                    texts = trial(Path(folder) / "job", random.Random(f"{asked.seed}-{number}-{name}"))
                except Leak as exc:
                    found += 1
                    print(f"FOUND  {name}: {exc}", flush=True)
                else:
                    looked += texts
                    print(f"none   {name}: {texts:,} texts and files", flush=True)
    ways = f"{len(TRIALS)} ways, {len(FORMS)} forms, {asked.rounds} keys each"
    print(f"{ways}: {looked:,} texts and files in {time.monotonic() - began:.0f} s; found in {found}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
