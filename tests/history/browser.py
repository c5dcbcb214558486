"""Chromium without a window, spoken to over two pipes: no driver and no library is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["NAMES", "Browser", "found"]

#: Starts the browser, which reads commands from file descriptor 3 and writes to 4.
START = """
import os, sys
ours, theirs = (os.dup(int(number)) for number in sys.argv[1:3])
os.dup2(ours, 3)
os.dup2(theirs, 4)
os.set_inheritable(3, True)  # dup2 of 3 onto itself does not
os.set_inheritable(4, True)
os.execv(sys.argv[3], sys.argv[3:])
"""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def found():
    """Give the browser's path, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in one browser.

    Attributes
    ----------
    errors : list of str
        What the page complained of: exceptions, and errors in the console.
    requests : list of str
        The addresses that it asked for, the page itself too.
    """

    def __init__(self, width=1200, height=900, *, dark=False, patience=60.0):
        self.errors, self.requests = [], []
        self.patience = patience
        self._count, self._rest = 0, b""
        self._shape, self._dark = (width, height), dark
        self._session = None

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._read, theirs = os.pipe()
        ours, self._write = os.pipe()
        options = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
            *("--disable-background-networking", "--disable-dev-shm-usage", "--no-first-run"),
            f"--user-data-dir={self._folder.name}",
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(ours), str(theirs), found(), *options],
            pass_fds=(ours, theirs),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours)
        os.close(theirs)
        try:
            self._attach()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)
        self._folder.cleanup()

    def _attach(self):
        """Make the page, and hear of what it does."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        answer = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = answer["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        width, height = self._shape
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def ask(self, method, **params):
        """Send a command, and give what is answered."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        number, end = self._count, time.monotonic() + self.patience
        while True:
            answer = self._message(end)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def open(self, file: Path, fragment=""):
        """Show a file, and wait until it is drawn."""
        self.ask("Page.navigate", url=file.resolve().as_uri() + fragment)
        self.until("document.documentElement?.dataset.ready === 'true'")

    def js(self, expression):
        """Give the value of an expression; promises are waited for."""
        answer = self.ask(
            *("Runtime.evaluate",),
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression):
        """Wait until an expression is true."""
        end = time.monotonic() + self.patience
        while not self.js(expression):
            assert time.monotonic() < end, f"never so: {expression}; {self.errors}"
            time.sleep(0.05)

    def choose(self, name, value):
        """Choose an option, as a person would, and wait until the page has changed."""
        self.js(
            f"(() => {{ const s = document.getElementById({json.dumps(name)});"
            f" s.value = {json.dumps(value)};"
            " s.dispatchEvent(new Event('change', {bubbles: true})); return drawn; })()"
        )

    def press(self, key, code, *, text=""):
        """Press a key where the focus is."""
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def screenshot(self, file: Path, *, whole=True):
        """Save a picture of the page."""
        clip = self.ask("Page.getLayoutMetrics")["cssContentSize"] if whole else None
        more = {"clip": {**clip, "scale": 1}, "captureBeyondViewport": True} if clip else {}
        data = self.ask("Page.captureScreenshot", format="png", **more)["data"]
        file.write_bytes(base64.b64decode(data))

    def _message(self, end):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"the browser does not answer; {self.errors}"
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has ended"
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)

    def _note(self, event):
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.errors.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
