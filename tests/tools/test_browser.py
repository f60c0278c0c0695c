"""A browser counts if it starts; a missing one is downloaded, and its lack is always reported."""

import os
import platform
import shutil
import subprocess
import sys
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import browser

ROOT = Path(__file__).resolve().parents[2]
TEST = "tests/browser/test_pages.py::test_a_bar_fills_and_leaves_words"


def run(*command, **environment):
    """A command of Python from the root; `CI` and `CHROMIUM` as given, or not set."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("CI", "CHROMIUM")}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def snap_stub(folder, name="chromium"):
    """What Ubuntu installs as chromium-browser."""
    stub = folder / name
    stub.write_text(
        "#!/bin/sh\necho Command requires the chromium snap to be installed >&2\nexit 1",
        encoding="utf-8",
    )
    stub.chmod(0o755)
    return str(stub)


def test_a_script_that_starts_no_browser_does_not_count(tmp_path):
    found = run("-m", "tools.browser", CHROMIUM=snap_stub(tmp_path))
    assert (found.returncode, found.stdout.strip()) == (0, browser.MISSING)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no /bin/false")
def test_without_playwrights_own_program_there_is_no_browser():
    """As on a new Debian, which has no libatomic."""
    code = "from tools import browser; print(browser.found())"
    told = run("-c", code, PLAYWRIGHT_NODEJS_PATH=shutil.which("false"))
    assert (told.returncode, told.stdout.split()) == (0, ["None"])


def test_the_next_one_that_starts_is_taken(tmp_path):
    code = f"""
from playwright.sync_api import sync_playwright
from tools import browser
with sync_playwright() as playwright:
    real = browser.find(playwright)
    browser.candidates = lambda playwright: filter(None, [{snap_stub(tmp_path)!r}, real])
    print(real, browser.find(playwright), sep="\\n")
"""
    real, found = run("-c", code).stdout.splitlines()
    assert found == real


def test_a_program_that_gets_no_browser_ends_and_says_what_to_install(tmp_path):
    code = "from tools.browser import opened\nwith opened():\n    print('open')"
    told = run("-c", code, CHROMIUM=snap_stub(tmp_path))
    assert (told.returncode, told.stdout, told.stderr) == (1, "", f"{browser.MISSING}\n")


def test_a_browser_is_closed_when_its_user_fails(monkeypatch):
    closed = []
    monkeypatch.setattr(browser, "driver", lambda: nullcontext("playwright"))
    monkeypatch.setattr(browser, "find", lambda playwright: "path")
    monkeypatch.setattr(
        browser,
        "start",
        lambda *given: closing(SimpleNamespace(close=lambda: closed.append(given))),
    )
    with pytest.raises(KeyboardInterrupt), browser.opened():
        assert not closed
        raise KeyboardInterrupt
    assert closed == [("playwright", "path")]


def test_in_ci_a_missing_browser_is_a_failure(tmp_path):
    stub = snap_stub(tmp_path)
    assert run("-m", "tools.browser", CHROMIUM=stub, CI="true").returncode == 1
    tests = run("-m", "pytest", "-p", "no:cacheprovider", TEST, CHROMIUM=stub, CI="true")
    assert tests.returncode == 1 and browser.MISSING in tests.stdout.replace("\nE   ", "")


def test_elsewhere_the_last_line_says_what_was_skipped_and_what_to_install(tmp_path):
    tests = run(
        *("-m", "pytest", "-p", "no:cacheprovider", "-n", "1", "--dist", "loadfile", TEST),
        CHROMIUM=snap_stub(tmp_path),
    )
    assert tests.returncode == 0
    assert tests.stdout.splitlines()[-1] == f"Browser tests skipped: 1. {browser.MISSING}"


def test_a_browser_that_is_named_is_the_only_one(monkeypatch):
    monkeypatch.setenv("CHROMIUM", "/opt/mine")
    assert list(browser.candidates(None)) == ["/opt/mine"]


def test_playwrights_own_comes_last(monkeypatch, tmp_path):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(
        browser, "usual_places", lambda: [tmp_path / "Edge", tmp_path / "not there"]
    )
    places = [snap_stub(tmp_path), tmp_path / "Edge", tmp_path / "own"]
    for place in places[1:]:
        place.touch()
    playwright = SimpleNamespace(chromium=SimpleNamespace(executable_path=str(places[-1])))
    assert list(browser.candidates(playwright)) == list(map(str, places))


def test_where_macos_and_windows_keep_browsers(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    chrome = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
    assert chrome in [place.as_posix() for place in browser.usual_places()]
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    monkeypatch.setenv("PROGRAMFILES(X86)", "C:/Program Files (x86)")
    edge = "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe"
    assert edge in [place.as_posix() for place in browser.usual_places()]
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert list(browser.usual_places()) == []


@pytest.mark.parametrize(("user", "ways"), [(0, ["playwright", "apt-get"]), (1000, ["playwright"])])
def test_the_system_is_asked_only_by_those_who_may(monkeypatch, user, ways):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    commands = [" ".join(command) for command in browser.ways_to_fetch()]
    assert len(commands) == len(ways)
    assert all(way in command for way, command in zip(ways, commands, strict=True))


def test_every_way_is_tried_until_a_browser_starts(monkeypatch):
    ran = []
    monkeypatch.setattr(browser, "ways_to_fetch", lambda: [["one"], ["two"], ["three"]])
    monkeypatch.setattr(browser, "run_quietly", ran.append)
    monkeypatch.setattr(browser, "found", lambda: "found" if ["two"] in ran else None)
    assert browser.fetch() == "found"
    assert ran == [["one"], ["two"]]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no groups of processes")
def test_a_download_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    """The command's child holds a pipe open: when the pipe ends, the child is gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = ["sh", "-c", f"sleep 1000 > '{pipe}' & sleep 1000"]
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    browser.run_quietly(command, limit=2)
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)
