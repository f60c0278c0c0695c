"""A Jupyter server of one's own, and a browser that drives it by keyboard."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--disable-dev-shm-usage",
]
# Settings that would otherwise come from the home folder of whoever runs the tests.
OWN_FOLDERS = (
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
    "IPYTHONDIR",
    "MPLCONFIGDIR",
)
# jupyter_server lets the kernel collect small packets (Nagle's algorithm), so that every other
# picture waits 40 ms for an acknowledgement. That is Jupyter's own delay, and not measured here.
SEND_AT_ONCE = """
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler

connect = KernelWebsocketHandler.open

async def open(self, kernel_id):
    self.set_nodelay(True)
    await connect(self, kernel_id)

KernelWebsocketHandler.open = open
"""
NO_NEWS = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
# Milliseconds from a key press to the first frame that shows another picture.
STOPWATCH = """([picture, before]) => {
    window.latency = null;
    document.addEventListener("keydown", () => {
        const pressed = performance.now();
        const look = () => picture.innerHTML === before ? requestAnimationFrame(look)
            : window.latency = performance.now() - pressed;
        requestAnimationFrame(look);
    }, {capture: true, once: true});
}"""


def chromium() -> str:
    """Where Chromium is: $CHROMIUM, or the first of its names on the path."""
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise FileNotFoundError(
            "These tests drive Chromium: install it (Debian: apt-get install chromium), or set "
            "CHROMIUM to its path."
        )
    return found


@dataclass(frozen=True)
class Server:
    """JupyterLab, with Voilà beside it, that serves one folder."""

    url: str
    token: str

    def lab(self, notebook: str) -> str:
        return f"{self.url}/doc/tree/{notebook}?token={self.token}&reset"

    def voila(self, notebook: str) -> str:
        return f"{self.url}/voila/render/{notebook}?token={self.token}"


@contextmanager
def serve(folder: Path, home: Path) -> Iterator[Server]:
    """A server on loopback with a token of its own and settings in `home`, stopped by its id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    # The kernel shares the processor with server and browser: threads of torch that wait for one
    # another make a widget ten times slower.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in OWN_FOLDERS:
        (home / name).mkdir()
        environment[name] = str(home / name)
    server_config = home / "JUPYTER_CONFIG_DIR" / "jupyter_server_config.py"
    server_config.write_text(SEND_AT_ONCE, encoding="utf-8")
    news = home / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text(json.dumps(NO_NEWS), encoding="utf-8")
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *(f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"),
        *("--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    log = home / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            server = Server(f"http://127.0.0.1:{port}", token)
            wait_for(server, process, log)
            yield server
        finally:
            process.terminate()  # the server then shuts its kernels down
            process.wait(20)


def wait_for(server: Server, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            urllib.request.urlopen(f"{server.url}/api/status?token={server.token}", timeout=5)
            return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"JupyterLab did not start:\n{said}") from None
            time.sleep(0.2)


def open_in_lab(page: Page, server: Server, notebook: str) -> None:
    page.goto(server.lab(notebook))
    page.wait_for_function("window.jupyterapp !== undefined")
    page.evaluate("window.jupyterapp.restored")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()


def run_all_cells(page: Page) -> list[str]:
    """Run the open notebook from top to bottom; the errors of its cells."""
    page.wait_for_function(
        """() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status
            === 'idle'""",
        timeout=90_000,
    )
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    return page.evaluate(
        """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
            .flatMap(cell => cell.outputs ? cell.outputs.toJSON() : [])
            .filter(output => output.output_type === 'error')
            .map(output => `${output.ename}: ${output.evalue}`)"""
    )


def scroll_to_widgets(page: Page) -> int:
    """Bring every cell into the page, which JupyterLab fills as it is scrolled; count widgets."""
    cells = page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets.length")
    for index in range(cells):
        page.evaluate(
            "index => window.jupyterapp.shell.currentWidget.content.scrollToItem(index, 'start')",
            index,
        )
    return page.locator(".segformer-explorer").count()


def shown(explorer: Locator) -> tuple[str, str]:
    """The picture of a widget, and the words and numbers beside it."""
    picture = explorer.locator("svg")
    words = picture.locator("xpath=following-sibling::*")
    return picture.evaluate("svg => svg.innerHTML"), words.inner_text()


def press(page: Page, explorer: Locator, handle: Locator, key: str) -> float:
    """Move a slider one step with an arrow key, and wait for the picture: the milliseconds."""
    page.wait_for_timeout(120)  # until the kernel is idle: it is told of one change at a time
    picture = explorer.locator(".widget-html-content").last
    handle.focus()
    element = picture.element_handle()
    page.evaluate(STOPWATCH, [element, picture.inner_html()])
    page.keyboard.press(key)
    page.wait_for_function("window.latency !== null", timeout=10_000)
    return page.evaluate("window.latency")
