"""The suite as other machines would run it: the settings that it gets, and the table."""

import os
import subprocess

import pytest

from tools import machines, suite

TESTS = """
import os
import pytest

def test_passes():
    assert os.environ["ATEN_CPU_CAPABILITY"] == "avx2"
    assert os.environ["OMP_NUM_THREADS"] == os.environ["THREADS_WANTED"]
    assert os.environ["GOMP_SPINCOUNT"] == "1000"

def test_fails():
    assert False

@pytest.fixture
def broken():
    raise RuntimeError

def test_is_an_error(broken):
    pass

def test_is_skipped():
    pytest.skip("not here")
"""


@pytest.fixture
def tests(tmp_path, monkeypatch):
    for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "ATEN_CPU_CAPABILITY"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "test_some.py"
    path.write_text(TESTS, encoding="utf-8")
    return path


@pytest.mark.parametrize(("settings", "threads"), [({}, "1"), ({"OMP_NUM_THREADS": "2"}, "2")])
def test_what_failed_is_counted_and_named(tests, settings, threads, monkeypatch):
    monkeypatch.setenv("THREADS_WANTED", threads)
    settings = {"ATEN_CPU_CAPABILITY": "avx2", **settings}
    counts, minutes, failed = machines.run([str(tests)], settings)
    assert counts == {"passed": 1, "failed": 2, "skipped": 1} and minutes > 0
    assert [name.rpartition("::")[2] for name in failed] == ["test_fails", "test_is_an_error"]


@pytest.mark.parametrize(
    ("counts", "failed", "code"),
    [({"passed": 3}, [], 0), ({"passed": 3, "failed": 1}, ["x::y"], 1), ({"skipped": 2}, [], 1)],
)
def test_a_row_a_machine_and_green_only_if_all_are(counts, failed, code, monkeypatch, capsys):
    asked = []

    def run(tests, settings):
        asked.append(settings)
        return machines.Counter(counts), 1.25, failed

    monkeypatch.setattr(machines, "run", run)
    monkeypatch.setattr("sys.argv", ["machines", "haswell", "nehalem"])
    assert machines.main() == code
    assert asked == [machines.MACHINES["haswell"], machines.MACHINES["nehalem"]]
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| haswell", "| nehalem"]
    assert all(" | 1.2 | " in row and row.endswith(f"{''.join(failed)} |") for row in rows[2:])


def test_an_unknown_machine_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["machines", "abacus"])
    with pytest.raises(SystemExit) as leaving:
        machines.main()
    assert leaving.value.code == 2 and "no machine 'abacus'" in capsys.readouterr().err


def test_programs_that_keep_cores_busy_end_with_the_run(monkeypatch):
    started, real = [], subprocess.Popen

    def note(*arguments, **options):
        started.append(real(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", note)
    with pytest.raises(KeyboardInterrupt), machines.busy(2):
        assert [program.poll() for program in started] == [None, None]
        raise KeyboardInterrupt
    assert len(started) == 2 and None not in [program.poll() for program in started]


def test_a_check_that_fails_ends_the_suite_before_its_tests(monkeypatch):
    ran = []

    def run(command, **options):
        ran.append(command[1:3])
        return subprocess.CompletedProcess(command, returncode=int("mypy" in command))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("sys.argv", ["suite"])
    assert suite.main() == 1
    assert ran == [["-m", "ruff"], ["-m", "ruff"], ["-m", "mypy"]]


def test_the_suite_takes_all_tests_and_every_lesson(monkeypatch):
    ran = []

    def run(command, **options):
        ran.append((command, options.get("env")))
        return subprocess.CompletedProcess(command, returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("sys.argv", ["suite"])
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert suite.main() == 0
    command, environment = ran[-1]
    assert command[-2:] == ["tests", "notebooks"] and "--nbval" in command
    assert environment["GOMP_SPINCOUNT"] == "1000"
    assert environment["PATH"] == os.environ["PATH"]
