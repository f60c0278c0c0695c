"""The browser that tests and benchmarks drive: found on this machine, or downloaded.

    python -m tools.browser

says which of Chromium, Chrome and Edge it is, and downloads a Chromium if none of them starts.
"""

import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Error, Playwright, sync_playwright

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
NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    *("microsoft-edge", "microsoft-edge-stable"),
)
MAC_NAMES = ("Google Chrome", "Chromium", "Microsoft Edge")
WINDOWS_FOLDERS = ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")
WINDOWS_FILES = (
    "Google/Chrome/Application/chrome.exe",
    "Chromium/Application/chrome.exe",
    "Microsoft/Edge/Application/msedge.exe",
)
MISSING = (
    "No Chromium, Chrome or Edge starts here. Install one (Debian: apt-get install chromium "
    "libatomic1; elsewhere: python -m playwright install --with-deps chromium), or set CHROMIUM "
    "to its path."
)
START_LIMIT = 120_000  # milliseconds, for a busy machine
FETCH_LIMIT = 300  # seconds
# Playwright tries five times; if nothing answers, it should give up within a minute.
FETCH_ENVIRONMENT = {
    "PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": "10000",
    "DEBIAN_FRONTEND": "noninteractive",
}


def candidates(playwright: Playwright) -> Iterator[str]:
    """Where a browser may be: $CHROMIUM alone if it is set, or the usual places."""
    if chosen := os.environ.get("CHROMIUM"):
        yield shutil.which(chosen) or chosen
        return
    yield from filter(None, map(shutil.which, NAMES))
    places = [*usual_places(), Path(playwright.chromium.executable_path)]
    yield from (str(place) for place in places if place.exists())


def usual_places() -> Iterator[Path]:
    """Where macOS and Windows keep browsers, which are not on the path there."""
    if platform.system() == "Darwin":
        for folder in (Path("/Applications"), Path.home() / "Applications"):
            for name in MAC_NAMES:
                yield folder / f"{name}.app" / "Contents" / "MacOS" / name
    if platform.system() == "Windows":
        for variable in WINDOWS_FOLDERS:
            if programs := os.environ.get(variable):
                yield from (Path(programs, file) for file in WINDOWS_FILES)


def start(playwright: Playwright, path: str) -> Browser:
    return playwright.chromium.launch(
        executable_path=path, args=CHROMIUM_FLAGS, timeout=START_LIMIT
    )


def find(playwright: Playwright | None) -> str | None:
    """The path of the first browser that starts, by a Playwright that does.

    Each is started, because a file alone says little: Ubuntu's `chromium-browser` is a script that
    asks for a snap, a downloaded Chromium may lack its libraries, and `--version` opens a window on
    Windows.
    """
    if playwright is None:
        return None
    for path in candidates(playwright):
        try:
            start(playwright, path).close()
            return path
        except Error:
            continue
    return None


@contextmanager
def driver() -> Iterator[Playwright | None]:
    """Playwright; or None if its own program does not start for lack of a library."""
    try:
        playwright = sync_playwright().start()
    except Exception:  # which says no more than that a connection was closed
        yield None
        return
    try:
        yield playwright
    finally:
        playwright.stop()


@contextmanager
def opened() -> Iterator[Browser]:
    """A browser; a program that gets none ends, and says what to install."""
    with driver() as playwright:
        path = find(playwright)
        if playwright is None or path is None:
            sys.exit(MISSING)
        with start(playwright, path) as browser:
            yield browser


def found() -> str | None:
    """The path of a browser that starts, by a Playwright that starts."""
    with driver() as playwright:
        return find(playwright)


def ways_to_fetch() -> Iterator[list[str]]:
    """Commands that may install a browser: Playwright's own, then the system's if permitted."""
    yield [sys.executable, "-m", "playwright", "install", "--no-shell", "chromium"]
    if sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get"):
        install = "apt-get install --yes --no-install-recommends chromium libatomic1"
        yield ["sh", "-c", f"apt-get update && {install}"]


def fetch() -> str | None:
    """Try every way to get a browser until one starts."""
    for command in ways_to_fetch():
        print("No browser starts here yet. Trying:", " ".join(command[-4:]), flush=True)
        run_quietly(command)
        if path := found():
            return path
    return None


def run_quietly(command: list[str], limit: float = FETCH_LIMIT) -> None:
    """Run a command, and after `limit` seconds end it and everything that it started."""
    process = subprocess.Popen(
        command,
        env=FETCH_ENVIRONMENT | os.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a group of its own, which Windows ignores
    )
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        print(f"It did not finish within {limit:.0f} seconds.", flush=True)
    finally:
        if process.poll() is None and sys.platform == "win32":
            process.kill()
        elif process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def main() -> int:
    path = found()
    if path is None and not os.environ.get("CHROMIUM"):
        path = fetch()
    print(f"The browser tests run in {path}." if path else MISSING)
    return 0 if path or not os.environ.get("CI") else 1


if __name__ == "__main__":
    sys.exit(main())
