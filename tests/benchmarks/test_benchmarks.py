"""The benchmark runs, and measures what it says; no test here asks how fast anything is."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import benchmarks.__main__ as benchmark
from benchmarks import contender
from benchmarks.__main__ import BEGIN, END, filled, summarize, table
from segformer_edu.doctor import cores

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What one short round of two contenders writes."""
    folder = tmp_path_factory.mktemp("benchmarks")
    (folder / "README.md").write_text(
        f"Before\n{BEGIN}\nstale numbers\n{END}\nAfter\n", encoding="utf-8"
    )
    contenders = ["segformer_edu", "segformer_edu, folded"]
    subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "--quick", "--threads", "1"),
            *("--output", str(folder), "--contenders", *contenders),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return folder


def test_a_round_writes_numbers_a_table_and_a_picture(written):
    results = json.loads((written / "results.json").read_text(encoding="utf-8"))
    rows = [row for row in results["results"] if row["device"] == "cpu"]
    assert [(row["task"], row["contender"]) for row in rows if row["task"] == "forward"] == [
        ("forward", "segformer_edu"),
        ("forward", "segformer_edu, folded"),
    ]
    assert {row["task"] for row in rows} == set(contender.TASKS)
    assert all(row["min"] > 0 for row in rows if row["unit"] == "ms")
    text = (written / "README.md").read_text(encoding="utf-8")
    assert text.startswith("Before\n") and text.endswith("After\n") and "stale numbers" not in text
    assert results["machine"]["libraries"]["torch"] in text
    assert (written / "speed.svg").read_text(encoding="utf-8").count("</svg>") == 1


def test_medians_and_ratios_worked_by_hand():
    """Ratios of 4, 3 and 5 round by round, whose median is not the ratio of the medians."""
    measured = [
        entry("ours", 0, [10, 11, 30]),
        entry("theirs", 0, [44, 40, 50]),
        entry("ours", 1, [20, 22, 24]),
        entry("theirs", 1, [64, 66, 70]),
        entry("ours", 2, [12, 12, 12]),
        entry("theirs", 2, [60, 60, 60]),
    ]
    ours, theirs = summarize(measured)
    assert (ours["median"], ours["min"], ours["ratio"]) == (12, 10, 1)
    assert (theirs["median"], theirs["min"], theirs["ratio"]) == (60, 40, 4)
    assert "| theirs | 60 (40) ×4.0 |" in table([ours, theirs], "cpu")


def entry(name, number, values):
    return {
        "device": "cpu",
        "task": "forward",
        "contender": name,
        "round": number,
        "values": [float(x) for x in values],
    }


def test_what_cannot_be_measured_is_left_out():
    assert summarize([entry("ours", 0, [])]) == []


def test_only_what_stands_between_the_markers_is_replaced():
    assert (
        filled(f"a\n{BEGIN}\nstale numbers\n{END}\nz\n", "new\n") == f"a\n{BEGIN}\nnew\n{END}\nz\n"
    )


def test_peak_memory_is_what_a_run_holds_at_its_peak():
    """64 MB held and given back, then 16 MB: the peak is the first, and not the 128 MB before."""
    code = """
import torch
from benchmarks.contender import Job, peak_megabytes
torch.ones(32_000_000)
job = Job("forward memory", "segformer_edu", "cpu", size=64, repeats=1, threads=1, exported="")
print(*peak_megabytes(lambda: (torch.ones(16_000_000).sum(), torch.ones(4_000_000).sum()), job))
"""
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, encoding="utf-8"
    )  # in a process of its own, as in the benchmark: here the heap has holes by now
    assert float(child.stdout) == pytest.approx(64, abs=8)


def test_milliseconds_leave_the_warm_up_out(monkeypatch):
    """By a clock that moves while something runs, and at no other time."""
    now, seconds = 100.0, [9.0] * contender.WARM_UP + [0.25, 0.5]

    def run():
        nonlocal now
        now += seconds.pop(0)

    monkeypatch.setattr(contender.time, "perf_counter", lambda: now)
    assert contender.milliseconds(run, job("forward")) == [250, 500]
    assert seconds == []


def test_cores_are_busy_and_threads_spin_where_the_task_says_so(monkeypatch):
    """By counting the programs that run beside each contender, and reading what it is told."""
    found, started = {}, []

    def run(command, env, **options):
        task = json.loads(command[-1])["task"]
        found[task] = len(started), env.get("GOMP_SPINCOUNT")
        return subprocess.CompletedProcess(command, 0, stdout="[1.0]")

    class Program:
        def __init__(self, command):
            started.append(self)

        def kill(self):
            started.remove(self)

        def wait(self):
            pass

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(subprocess, "Popen", Program)
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    for task in ("export", "forward", "forward, busy", "forward, busy, spinning"):
        benchmark.run(job(task))
    assert found == {
        "export": (0, "1000"),
        "forward": (0, "1000"),
        "forward, busy": (cores(), "1000"),
        "forward, busy, spinning": (cores(), None),
    }
    assert started == []


def test_unequal_work_is_not_compared():
    with pytest.raises(SystemExit, match="the task is"):
        contender.check_shape(torch.zeros(1, 150, 64, 64), (1, 150, 128, 128))


@pytest.mark.parametrize("name", ["segformer_edu", "transformers, sdpa", "transformers, eager"])
def test_contenders_train_the_same_way(name):
    """A step of each gives every weight a gradient; the next one starts from none."""
    found = contender.CONTENDERS[name](job("training"))
    step = contender.training_step(found, job("training"), side=64)
    step()
    gradients = [x.grad for x in found.model.parameters()]
    assert all(gradient is not None for gradient in gradients)
    step()
    assert all(x.grad is not y for x, y in zip(found.model.parameters(), gradients, strict=True))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """transformers' model with the weights of seed 0, as an ONNX file."""
    path = str(tmp_path_factory.mktemp("export") / "model.onnx")
    torch.manual_seed(0)
    contender.export(job("export", path))
    return path


@pytest.mark.parametrize(
    "engine",
    [
        contender.OnnxRuntime,
        pytest.param(
            contender.OpenVino,
            marks=pytest.mark.skipif(not find_spec("openvino"), reason="in the extra 'bench'"),
        ),
    ],
)
@torch.no_grad()
def test_the_engines_run_the_model_they_were_given(engine, exported):
    images = contender.images_for(job("forward"))
    torch.manual_seed(0)
    expected = contender.Transformers(job("forward")).forward(images)
    found = torch.as_tensor(engine(job("forward", exported)).forward(images))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def job(task, exported=""):
    return contender.Job(
        task=task,
        contender="segformer_edu",
        device="cpu",
        size=64,
        repeats=2,
        threads=1,
        exported=exported,
    )
