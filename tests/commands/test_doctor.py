"""doctor: what is here, what is missing, and what to type or to set."""

import importlib.metadata
import os
from types import SimpleNamespace

import pytest
import torch

from segformer_edu import doctor, extras
from segformer_edu.__main__ import main
from segformer_edu.extras import dependencies

CLONE = f'--editable "{extras.PROJECT.parent}'


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(doctor, "milliseconds", lambda device: 123.4)


def test_the_doctor_names_every_requirement_with_its_version(quick, capsys):
    code = main(["doctor"])
    report = capsys.readouterr().out
    assert "123 ms" in report and f"torch {importlib.metadata.version('torch')}" in report
    for each in dependencies():
        if each.met:
            assert f"{each.name} {each.installed}" in " ".join(report.split())
    lacking = [each for each in dependencies() if not each.met and each.extra in ("", "lab")]
    assert code == (1 if lacking else 0)


@pytest.mark.parametrize(
    ("missing", "code", "words"),
    [
        ("numpy", 1, f'the lessons need numpy<3,>=2.0; type python -m pip install {CLONE}"'),
        ("ipywidgets", 1, f'{CLONE}[lab]"'),
        ("onnxscript", 0, f'{CLONE}[export]"'),
    ],
)
def test_the_doctor_says_what_is_missing_and_what_to_type(
    missing, code, words, quick, capsys, monkeypatch
):
    real = extras.installed_version
    monkeypatch.setattr(
        extras, "installed_version", lambda name: None if name == missing else real(name) or "1"
    )
    met = property(lambda dependency: dependency.installed is not None)
    monkeypatch.setattr(extras.Dependency, "met", met)
    assert main(["doctor"]) == code
    assert words in " ".join(capsys.readouterr().out.split())


def test_the_doctor_says_which_version_is_too_old(quick, capsys, monkeypatch):
    real = extras.installed_version
    monkeypatch.setattr(
        extras, "installed_version", lambda name: "1.9" if name == "torch" else real(name)
    )
    assert main(["doctor"]) == 1
    (wanted,) = {each.specifier for each in dependencies() if each.name == "torch"}
    assert f"torch{wanted} (here: 1.9)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("threads", "available", "free", "variable", "words"),
    [
        (2, 2, 2.0, None, "each of torch's threads has a core to itself"),
        (2, 2, 1.6, None, "each of torch's threads has a core to itself"),
        (16, 4, 4.0, None, "Set OMP_NUM_THREADS=4"),
        (2, 2, 0.3, None, "leave 0.3 cores free for torch's 2 threads. Set GOMP_SPINCOUNT=1000"),
        (2, 2, 0.3, "1000", "leave 0.3 cores free for torch's 2 threads, so everything takes"),
        (2, 2, None, None, "each of torch's threads has a core to itself"),  # without psutil
    ],
)
def test_the_doctor_says_when_threads_will_share_a_core_and_what_to_set(
    threads, available, free, variable, words, quick, capsys, monkeypatch
):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(doctor, "cores", lambda: available)
    monkeypatch.setattr(doctor, "free_cores", lambda: free)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if variable:
        monkeypatch.setenv("GOMP_SPINCOUNT", variable)
    main(["doctor"])
    assert words in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 4), ("50000 100000", 1), ("250000 100000", 2), ("9900000 100000", 4)],
)
def test_a_containers_quota_counts_as_its_cores(quota, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(4), raising=False)
    monkeypatch.setattr(doctor, "QUOTA", tmp_path / "cpu.max")
    assert doctor.cores() == 4
    (tmp_path / "cpu.max").write_text(quota + "\n", encoding="utf-8")
    assert doctor.cores() == expected


def test_no_more_cores_are_allowed_than_there_are():
    assert 1 <= doctor.cores() <= os.cpu_count()


def test_no_more_cores_are_free_than_there_are():
    assert 0 <= doctor.free_cores(0.05) <= os.cpu_count()


def test_the_speed_is_the_median_of_all_runs_but_the_first(monkeypatch):
    seconds = [90, 0.009, 0.001, 0.002, 0.004, 0.003]  # of each run
    readings = iter([time for each in seconds for time in (0, each)])
    monkeypatch.setattr(doctor, "time", SimpleNamespace(perf_counter=lambda: next(readings)))
    assert doctor.milliseconds(torch.device("cpu")) == pytest.approx(3)
    assert not list(readings)
