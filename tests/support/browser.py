"""A real Chromium, driven over a pipe by its own protocol: opens pages, presses keys, takes pictures, and notes what happens.

No driver is installed: the protocol is JSON between zero bytes on two file descriptors. Found as `chromium` on the PATH,
or where `scripts/setup --real` unpacks it.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PATIENCE_S = 30.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root; what is opened are pages of ours
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--lang=en-US",
)
ARRANGE = """
import fcntl, os, sys
high = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3]]
os.dup2(high[0], 3)
os.dup2(high[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The browser reads descriptor 3 and writes descriptor 4: a step before it brings ours there."""
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, " ": 32}


def found() -> str | None:
    """The browser's program; None when there is none."""
    names = (str(Path(sys.prefix) / "chromium" / "chromium"), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


class Browser:
    """One browser and its one page, which is set back for each test.

    Attributes:
        requests: addresses that were asked for since the page was opened, the page itself first.
        complaints: what stood on the console as a warning or an error, and exceptions that nobody caught.
    """

    def __init__(self, program: str, home: Path) -> None:
        to_browser, ours_out = os.pipe()
        ours_in, from_browser = os.pipe()

        self._process = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-c",
                ARRANGE,
                str(to_browser),
                str(from_browser),
                program,
                *FLAGS,
                f"--user-data-dir={home}",
                "about:blank",
            ],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(home), "TZ": "UTC"},
        )
        os.close(to_browser)
        os.close(from_browser)
        self._in, self._out = ours_in, ours_out
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    # -- the protocol ---------------------------------------------------------------------------------------------

    def call(self, method: str, **parameters: Any) -> Any:
        """Ask the browser for something, and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE_S
        while (answer := self._read(end)).get("id") != self._number:
            pass
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _read(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise AssertionError("the browser does not answer")
            more = os.read(self._in, 1 << 20)
            if not more:
                raise AssertionError(f"the browser ended with {self._process.wait()}")
            self._buffer += more
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        told = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Runtime.exceptionThrown":
                details = told["exceptionDetails"]
                self.complaints.append(str(details.get("exception", {}).get("description") or details["text"]))
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.complaints.append(" ".join(str(one.get("value", one.get("description"))) for one in told["args"]))
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.complaints.append(told["entry"]["text"])

    def close(self) -> None:
        """End the browser."""
        with suppress(AssertionError, OSError):
            self._session = None
            self.call("Browser.close")
        os.close(self._out)
        os.close(self._in)
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    # -- a page -----------------------------------------------------------------------------------------------------

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False, offline: bool = False) -> None:
        """How the page is looked at from now on."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media="", features=scheme)
        self.call(
            "Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )

    def open(self, address: str) -> None:
        """Open a page as if for the first time, and wait until its script has put something on it."""
        self.call("Page.navigate", url="about:blank")
        self.requests.clear()
        self.complaints.clear()
        self.call("Page.navigate", url=address)
        self.wait("document.querySelector('main h1, main .failure') && !document.querySelector('main[aria-busy]')")

    def go(self, place: str) -> None:
        """Go to another place of the page that is open, and wait until it is shown."""
        busy = "document.querySelector('main').setAttribute('aria-busy', 'true')"
        self.run(f"{busy}; location.hash = {json.dumps(place)}")
        self.wait("!document.querySelector('main[aria-busy]')")

    def leave(self) -> None:
        """Go to an empty page, so that no server is asked any more."""
        self.call("Page.navigate", url="about:blank")

    def run(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        end = time.monotonic() + PATIENCE_S
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise AssertionError(f"never came true: {condition}; the page says: {self.text()[:2000]}")
            time.sleep(0.01)

    def text(self, selector: str = "body") -> str:
        """What a person can read there."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def press(self, *keys: str) -> None:
        """Press keys one after another, as a person does: names such as Tab, or characters."""
        for key in keys:
            printed = {} if len(key) > 1 and key != "Enter" else {"text": "\r" if key == "Enter" else key}
            code = KEYS.get(key, ord(key.upper()) if len(key) == 1 else 0)
            about = {"key": key, "windowsVirtualKeyCode": code, "code": key if len(key) > 1 else ""}
            self.call("Input.dispatchKeyEvent", type="keyDown", **about, **printed)
            self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Write text where the focus is."""
        self.call("Input.insertText", text=text)

    def focused(self) -> str:
        """The element that has the focus: its kind, and what it says."""
        return str(
            self.run(
                "(() => { const one = document.activeElement; return `${one.tagName.toLowerCase()} ${one.getAttribute('aria-label') ?? one.name ?? ''} ${one.textContent}`.trim(); })()"
            )
        )

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Take a picture of the page, all of it or what is on the screen."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def wide(self) -> int:
        """By how many pixels the page is wider than the window: what a person would have to scroll sideways."""
        return int(self.run("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@contextmanager
def started(home: Path) -> Iterator[Browser]:
    """A browser with a home of its own."""
    program = found()
    assert program is not None
    browser = Browser(program, home)
    try:
        yield browser
    finally:
        browser.close()
