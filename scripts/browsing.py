"""The workbench as people meet it: `tau ui` on a free port of this machine, and Debian's headless Chromium in front.

For the tests in tests/browser, the screenshots in docs/pages and the catalog page's benchmark. A page counts as settled
when Streamlit has run its script and shows no placeholder any more.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from scripts.servers import await_answer, free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = ("chromium", "chromium-browser")
"""The program's names; that of the Debian package comes first."""

SETTLED = """() => {
    const app = document.querySelector('[data-testid="stApp"]')
    const main = document.querySelector('[data-testid="stMain"]')
    return app?.dataset.testScriptState === 'notRunning' && main?.innerText.trim()
        && !document.querySelector('[data-testid="stSkeleton"]')
}"""
EXPECTED_TO_MISS = r"/[^/]+/_stcore/(health|host-config)$|/media/[0-9a-f]+\.\w+$"
START_SECONDS = 120
STOP_SECONDS = 30
PAGE_MS = 90_000
"""How long a page may take on a busy machine."""


def find_chromium() -> str | None:
    """Where the browser is, if it is installed."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


@contextmanager
def served(home: Path, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of a real `tau ui` on the registry in `home`; it is asked to stop as Ctrl-C asks, at the end."""
    port, log = free_port(), home / "ui.log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAU_")}
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    command = [sys.executable, "-m", "ui.cli.main", "--home", str(home), "ui", "--port", str(port), "--no-browser"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**kept, "PYTHONPATH": path, **(environment or {})},
        )
    try:
        await_answer(f"http://127.0.0.1:{port}/_stcore/health", server, log, START_SECONDS)
        yield f"http://127.0.0.1:{port}"
    finally:
        _stop(server)


@contextmanager
def launched() -> Iterator["Browser"]:
    """A headless Chromium, which is no download of Playwright's but the program that is installed.

    Raises FileNotFoundError without one.
    """
    from playwright.sync_api import sync_playwright

    program = find_chromium()
    if program is None:
        raise FileNotFoundError("chromium is not on the path; install it: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass
class Visitor:
    """One person's browser window on a workbench, and what went wrong in it: `troubles`."""

    page: "Page"
    address: str
    troubles: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def arriving(cls, browser: "Browser", address: str, **window: Any) -> Iterator["Visitor"]:
        """A visitor with cookies and storage of their own; `window` is what Playwright's new_context takes."""
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **window})
        context.set_default_timeout(PAGE_MS)
        visitor = cls(context.new_page(), address)
        visitor.page.on("pageerror", lambda error: visitor.troubles.append(f"a script failed: {error}"))
        visitor.page.on("console", visitor._hear)
        visitor.page.on("request", visitor._see)
        visitor.page.on("response", visitor._read)
        try:
            yield visitor
        finally:
            context.close()

    def open(self, page: str = "", **parameters: str | list[str]) -> None:
        """Type a page's address, and wait until the page is there."""
        query = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
        self.page.goto(f"{self.address}/{page}{query}")
        self.settle()

    def settle(self) -> None:
        """Wait until the page is there; what Streamlit shows of a script that raised is trouble."""
        self.page.wait_for_function(SETTLED)
        for shown in self.page.get_by_test_id("stException").all():
            self.troubles.append(f"{self.page.url}: {shown.inner_text()}")

    def _hear(self, message: "ConsoleMessage") -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):  # _read says which
            self.troubles.append(f"the console of {self.page.url}: {message.text}")

    def _see(self, request: "Request") -> None:
        """A page asks no other server for anything."""
        asked = urlsplit(request.url)
        if asked.scheme in ("http", "https", "ws", "wss") and asked.netloc != urlsplit(self.address).netloc:
            self.troubles.append(f"{self.page.url} asked {asked.netloc} for {asked.path}")

    def _read(self, response: "Response") -> None:
        """What is missing.

        Streamlit looks for its server below a page's own address first, and forgets a picture as soon as another one
        takes its place, which a browser that is slow may ask for all the same.
        """
        if response.status >= 400 and not re.search(EXPECTED_TO_MISS, response.url):
            self.troubles.append(f"{self.page.url} got {response.status} for {response.url}")


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """Press Ctrl-C; whatever of the group is left after a while is killed."""
    server.send_signal(signal.SIGINT)
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
