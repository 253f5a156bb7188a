"""A headless Chromium, driven through its own debugging protocol."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.servers.process import PATIENCE, Unavailable

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")

FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--remote-debugging-pipe",
)

# Chromium talks on the descriptors 3 and 4, and ends when the pipe does: when our process dies, however it dies.
PIPES = """
import os, sys
for end, number in (sys.argv[1], 3), (sys.argv[2], 4):
    os.dup2(int(end), number)
    os.close(int(end))
os.execvp(sys.argv[3], sys.argv[3:])
"""


class BrowserError(Exception):
    """The page could not be opened, or its script failed."""


class Navigated(BrowserError):
    """The page that was asked went away before it answered."""


NAVIGATED = ("navigated or closed", "Execution context was destroyed", "Cannot find context", "Promise was collected")


@dataclass(frozen=True)
class ConsoleMessage:
    """One line of the console: of a script, or of the browser itself (failed requests, refused content)."""

    level: str  # "error", "warning", "info", "log", "debug", ...
    text: str
    url: str = ""


def find_chromium() -> str:
    for program in PROGRAMS:
        if path := shutil.which(program):
            return path
    raise Unavailable("a browser is missing: install Chromium (Debian: apt-get install chromium)")


class Chromium:
    """The browser's process, and one conversation with it for all its pages."""

    def __init__(self, program: str, profile: Path) -> None:
        self._events: dict[str, Callable[[str, Mapping[str, Any]], None]] = {}
        self._answers: dict[int, Mapping[str, Any]] = {}
        self._changed = threading.Condition()
        self._ids = 0
        self._ended = False
        # Numbers from 10 up, so that neither is 3 or 4 already.
        (hear, to_us), (from_us, tell) = (
            [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe()] for _ in "io"
        )
        sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
        chromium = (program, *FLAGS, *sandbox, f"--user-data-dir={profile}", "about:blank")
        with (profile / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-c", PIPES, str(from_us), str(to_us), *chromium),
                pass_fds=(from_us, to_us),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        os.close(from_us)
        os.close(to_us)
        self._tell = tell
        self._hear = hear
        threading.Thread(target=self._listen, daemon=True).start()

    def call(self, method: str, session: str | None = None, **params: Any) -> Mapping[str, Any]:
        """Send one command and wait for its answer."""
        number = self.send(method, session, **params)
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended or number in self._answers, PATIENCE):
                raise BrowserError(f"{method} was not answered within {PATIENCE:g} s")
            if number not in self._answers:
                raise BrowserError(f"{method}: the browser has ended")
            answer = self._answers.pop(number)
        if error := answer.get("error"):
            kind = Navigated if any(words in str(error) for words in NAVIGATED) else BrowserError
            raise kind(f"{method}: {error.get('message')}")
        result: Mapping[str, Any] = answer["result"]
        return result

    def send(self, method: str, session: str | None = None, **params: Any) -> int:
        with self._changed:
            self._ids += 1
            message: dict[str, Any] = {"id": self._ids, "method": method, "params": params}
            if session:
                message["sessionId"] = session
            os.write(self._tell, json.dumps(message).encode() + b"\0")
            return self._ids

    def on_event(self, session: str, handler: Callable[[str, Mapping[str, Any]], None]) -> None:
        with self._changed:
            self._events[session] = handler

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for what events bring about."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended or condition(), PATIENCE):
                raise BrowserError(f"{what} did not happen within {PATIENCE:g} s")

    def close(self) -> None:
        with suppress(BrowserError, OSError):
            self.call("Browser.close")
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, 9)
        self._process.wait()
        os.close(self._tell)

    def _listen(self) -> None:
        with os.fdopen(self._hear, "rb") as pipe:
            rest = b""
            while block := pipe.read1(1 << 16):
                *whole, rest = (rest + block).split(b"\0")
                for message in whole:
                    self._take(json.loads(message))
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, message: Mapping[str, Any]) -> None:
        with self._changed:
            if "id" in message:
                self._answers[message["id"]] = message
            elif handler := self._events.get(message.get("sessionId", "")):
                handler(message["method"], message["params"])
            self._changed.notify_all()


class Browser:
    """One page in a fresh profile. Calls block: a test whose own event loop serves the page calls them
    through `asyncio.to_thread`.
    """

    def __init__(self, chromium: Chromium) -> None:
        self._chromium = chromium
        self._context = chromium.call("Target.createBrowserContext")["browserContextId"]
        target = chromium.call("Target.createTarget", url="about:blank", browserContextId=self._context)
        attached = chromium.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session: str = attached["sessionId"]
        self._loaded: set[str] = set()
        self.console: list[ConsoleMessage] = []
        self.requested_urls: list[str] = []
        self.dialogs: list[str] = []  # the text of every alert(), confirm() and prompt(); each is dismissed
        chromium.on_event(self._session, self._on_event)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self._call("Page.setLifecycleEventsEnabled", enabled=True)

    @property
    def errors(self) -> list[ConsoleMessage]:
        """The console's errors, uncaught exceptions, failed requests and refused content."""
        return [message for message in self.console if message.level == "error"]

    def open(self, url: str) -> None:
        """Go there and wait until the page and what it needs are loaded; an error page is a page too."""
        answer = self._call("Page.navigate", url=url)
        if error := answer.get("errorText"):
            raise BrowserError(f"{url}: {error}")
        if loader := answer.get("loaderId"):  # none for a jump within the page
            self._chromium.until(lambda: loader in self._loaded, f"the loading of {url}")

    def execute(self, script: str) -> Any:
        """Run the body of an async function: `return document.title`."""
        return self.evaluate(f"(async () => {{ {script}\n}})()")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression: `document.title`."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if details := answer.get("exceptionDetails"):
            raise BrowserError(_thrown(details))
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The value of an expression, once it is true; a page that goes away meanwhile leaves it to the next."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(Navigated):
                if found := self.evaluate(expression):
                    return found
            if time.monotonic() > deadline:
                raise BrowserError(f"`{expression}` did not become true within {PATIENCE:g} s")
            time.sleep(0.05)

    def text(self, selector: str = "body") -> str:
        """What a reader sees of the first element that matches."""
        return str(self._on_element(selector, "return element.innerText"))

    def click(self, selector: str) -> None:
        with suppress(Navigated):
            self._on_element(selector, "element.click()")

    def fill(self, selector: str, value: str) -> None:
        """Set a field's value as typing would."""
        events = "for (const kind of ['input', 'change']) element.dispatchEvent(new Event(kind, {bubbles: true}))"
        self._on_element(selector, f"element.focus(); element.value = {json.dumps(value)}; {events}")

    def press(self, key: str) -> None:
        """Press a key, named as in KeyboardEvent.key: `Tab`, `Enter`, `j`."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowUp": 38, "ArrowDown": 40}
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        known: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": codes.get(key, ord(key[0].upper()))}
        self._call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **known)
        self._call("Input.dispatchKeyEvent", type="keyUp", **known)

    def resize(self, width: int, height: int) -> None:
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, **features: str) -> None:
        """Emulate media features: `prefer(color_scheme="dark", reduced_motion="reduce")`."""
        named = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self._call("Emulation.setEmulatedMedia", features=named)

    def javascript(self, *, enabled: bool) -> None:
        """Whether pages that are opened from now on may run scripts; `evaluate` always may."""
        self._call("Emulation.setScriptExecutionDisabled", value=not enabled)

    def screenshot(self, path: Path, *, full_page: bool = True) -> Path:
        answer = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=full_page)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    def close(self) -> None:
        with suppress(BrowserError):
            self._chromium.call("Target.disposeBrowserContext", browserContextId=self._context)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: str, **params: Any) -> Mapping[str, Any]:
        return self._chromium.call(method, self._session, **params)

    def _on_element(self, selector: str, action: str) -> Any:
        name = json.dumps(selector)
        missing = f"if (!element) throw new Error('nothing matches ' + {name});"
        return self.execute(f"const element = document.querySelector({name}); {missing} {action}")

    def _on_event(self, name: str, params: Mapping[str, Any]) -> None:
        match name:
            case "Page.lifecycleEvent" if params["name"] == "load":
                self._loaded.add(params["loaderId"])
            case "Network.requestWillBeSent":
                self.requested_urls.append(params["request"]["url"])
            case "Runtime.consoleAPICalled":
                words = (str(arg.get("value", arg.get("description", ""))) for arg in params["args"])
                self.console.append(ConsoleMessage(params["type"], " ".join(words)))
            case "Runtime.exceptionThrown":
                self.console.append(ConsoleMessage("error", _thrown(params["exceptionDetails"])))
            case "Log.entryAdded":
                entry = params["entry"]
                self.console.append(ConsoleMessage(entry["level"], entry["text"], entry.get("url", "")))
            case "Page.javascriptDialogOpening":
                self.dialogs.append(params["message"])
                self._chromium.send("Page.handleJavaScriptDialog", self._session, accept=False)


def _thrown(details: Mapping[str, Any]) -> str:
    return str(details.get("exception", {}).get("description") or details["text"])
