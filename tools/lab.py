"""A private Jupyter server, and the browser page that drives it by keyboard."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Locator, Page

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}

LIMIT = 300  # seconds for the server to start or to stop, on a busy machine
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
# picture waits 40 ms for an acknowledgement. That delay is Jupyter's, not ours.
SEND_AT_ONCE = """
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler

connect = KernelWebsocketHandler.open

async def open(self, kernel_id):
    self.set_nodelay(True)
    await connect(self, kernel_id)

KernelWebsocketHandler.open = open
"""
NO_NEWS = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}


def write_notebook(path: Path, sources: Iterable[str], run: bool = False) -> None:
    """Write a notebook with a cell for each source; run like the lessons, or not yet run."""
    cells = [new_code_cell(source) for source in sources]
    notebook = new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
    if run:
        NotebookClient(notebook, store_widget_state=False, record_timing=False).execute()
    nbformat.write(notebook, path)


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
    # The kernel shares the processor with server and browser: there, torch's threads wait for one
    # another and make a widget ten times slower.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in OWN_FOLDERS:
        (home / name).mkdir()
        environment[name] = str(home / name)
    (home / "JUPYTER_CONFIG_DIR" / "jupyter_server_config.py").write_text(SEND_AT_ONCE, "utf-8")
    news = home / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text(json.dumps(NO_NEWS), "utf-8")
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
            process.wait(LIMIT)


def wait_for(server: Server, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            urllib.request.urlopen(f"{server.url}/api/status?token={server.token}", timeout=5)
            return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text("utf-8", "replace")
                raise RuntimeError(f"JupyterLab did not start:\n{said}") from None
            time.sleep(0.2)


def open_in_lab(page: Page, server: Server, notebook: str) -> None:
    page.goto(server.lab(notebook))
    page.wait_for_function("window.jupyterapp !== undefined")
    page.evaluate("window.jupyterapp.restored")
    page.wait_for_function(
        """() => {
            const {context, content} = window.jupyterapp.shell.currentWidget ?? {};
            return context?.isReady && content.widgets.length === content.model.cells.length;
        }"""
    )


def run_cells(page: Page, cells: Iterable[int]) -> list[str]:
    """Run these cells of the open notebook, counted from 0, one by one; their errors."""
    page.wait_for_function(
        """() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status
            === 'idle'"""
    )
    return page.evaluate(
        """async cells => {
            const {content} = window.jupyterapp.shell.currentWidget;
            const errors = [];
            for (const index of cells) {
                content.activeCellIndex = index;
                content.deselectAll();
                await window.jupyterapp.commands.execute('notebook:run-cell');
                errors.push(...content.model.cells.get(index).outputs.toJSON()
                    .filter(output => output.output_type === 'error')
                    .map(output => `${output.ename}: ${output.evalue}`));
            }
            return errors;
        }""",
        list(cells),
    )


def scroll_to(page: Page, cell: int) -> Locator:
    """Bring a cell into the page, which JupyterLab fills as it is scrolled."""
    page.evaluate(
        "index => window.jupyterapp.shell.currentWidget.content.scrollToItem(index, 'start')", cell
    )
    return page.locator(f'.jp-Cell[data-windowed-list-index="{cell}"]')


def shut_down(page: Page) -> None:
    """Stop the kernel of the open notebook: the next one needs its memory."""
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")


def handles(explorer: Locator) -> list[Locator]:
    """The sliders of a displayed widget, as the keyboard moves them."""
    explorer.scroll_into_view_if_needed()
    explorer.locator("svg").wait_for()
    explorer.locator("[role=slider]").first.wait_for()
    return explorer.locator("[role=slider]").all()


def keys(handle: Locator) -> list[str]:
    """The keys for one step and back, from wherever a slider stands."""
    at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
    return ["ArrowLeft", "ArrowRight"] if at_end else ["ArrowRight", "ArrowLeft"]


def picture_of(explorer: Locator) -> Locator:
    """The part of a widget that each change redraws."""
    return explorer.locator(".widget-html-content").last
