"""A real Chromium without a window, told what to do through the DevTools protocol over a pair of pipes."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "there is no chromium on this machine (Debian: apt-get install chromium)"
FLAGS = (
    *(
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --disable-default-apps --disable-dev-shm-usage --hide-scrollbars "
        "--disable-domain-reliability --disable-features=OptimizationHints,Translate --remote-debugging-pipe"
    ).split(),
    "--host-resolver-rules=MAP * ~NOTFOUND",  # whatever it asks for, nothing leaves the machine
)
TAKE_THE_PIPES = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
PATIENCE = 60.0  # seconds for one answer


class Browser:
    """One tab of a browser. `messages` are what its console and its policy said, `requests` the addresses it asked."""

    def __init__(self, process: subprocess.Popen[bytes], send: int, receive: int) -> None:
        self._process, self._send, self._receive = process, send, receive
        self._numbers, self._buffer = itertools.count(1), b""
        self._waiting: list[dict[str, Any]] = []
        self._session: str | None = None
        self.messages: list[str] = []
        self.requests: list[str] = []

    def attach(self) -> None:
        """Open a tab, and listen to it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command, and wait for its answer."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                return dict(answer["result"])
            self._waiting.append(answer)

    def open(
        self,
        path: Path,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        media: str = "",
        settled: bool = True,
    ) -> None:
        """Load a page from the disk, as wide as this, and wait until it is there, `settled`: and drawn."""
        self.messages, self.requests = [], []
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        while self._event()["method"] != "Page.loadEventFired":
            pass
        if settled:
            self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def run(self, script: str) -> Any:
        """The value of a script in the page; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        while self._waiting:
            self._event()
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press one key, as a keyboard would."""
        codes = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " ")}
        code, letter = codes[key]
        told = {"key": key, "code": {" ": "Space"}.get(key, key), "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown" if letter else "rawKeyDown", text=letter, **told)
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def picture(self, *, whole: bool = True) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"])

    def _event(self) -> dict[str, Any]:
        while True:
            message = self._waiting.pop(0) if self._waiting else self._next()
            if "method" not in message:
                continue
            told = message["params"]
            if message["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                self.messages.append(json.dumps(told))
            elif message["method"] == "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            return message

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._receive], [], [], max(0.0, until - time.monotonic()))
            block = os.read(self._receive, 1 << 20) if ready else b""
            assert block, f"chromium said nothing for {PATIENCE} seconds, or has ended ({self._process.poll()})"
            self._buffer += block
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))


@contextlib.contextmanager
def browser(folder: Path, *flags: str) -> Iterator[Browser]:
    """A browser whose own files lie in the empty `folder`."""
    assert PROGRAM is not None
    theirs, send = _pipe()
    receive, answers = _pipe()
    command = [PROGRAM, *FLAGS, f"--user-data-dir={folder}", *flags, "about:blank"]
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_THE_PIPES, str(theirs), str(answers), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(theirs, answers),
    )
    os.close(theirs)
    os.close(answers)
    try:
        tab = Browser(process, send, receive)
        tab.attach()
        yield tab
        tab._session = None
        tab.call("Browser.close")
        process.wait(30)
    finally:
        process.kill()
        process.wait(30)
        os.close(send)
        os.close(receive)


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are not among the numbers that the browser takes."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high  # type: ignore[return-value]
