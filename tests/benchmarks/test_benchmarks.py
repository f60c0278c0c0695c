"""The benchmark runs, and measures what it says; no test here asks how fast anything is."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import contender, contenders, exports, floors, plan, runs
from benchmarks.contenders import FOLDED, OURS, SDPA
from benchmarks.job import Job
from benchmarks.learned import SCENE as LABELS
from benchmarks.readme import markers
from benchmarks.report import (
    forward_table,
    scene_of,
    sentences,
    summarize,
    table,
)
from segformer_edu.data.photos import sample_labels
from segformer_edu.data.scenes import Scenes
from segformer_edu.doctor import cores
from segformer_edu.segformer import disagree

ROOT = Path(__file__).resolve().parents[2]
TASKS = [name for name in plan.TASKS if "busy" not in name]  # they would last minutes here
SMALL = Job("forward", OURS, size=64, repeats=2, threads=1)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What one short round of two contenders writes."""
    folder = tmp_path_factory.mktemp("benchmarks")
    (folder / "README.md").write_text(
        "Before\n{}\nstale numbers\n{}\nAfter\n".format(*markers("results")), encoding="utf-8"
    )
    subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "--quick", "--threads", "1"),
            *("--output", str(folder), "--contenders", OURS, FOLDED, "--tasks", *TASKS),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return folder


def test_a_round_writes_numbers_tables_and_a_picture(written):
    results = json.loads((written / "results.json").read_text(encoding="utf-8"))
    rows = scene_of(results["results"])
    assert [(row["task"], row["contender"]) for row in rows if row["task"] == "forward"] == [
        ("forward", OURS),
        ("forward", FOLDED),
    ]
    assert {row["task"] for row in rows} == {*TASKS} - {LABELS}  # of which nano is asked
    assert all(row["min"] > 0 for row in results["results"] if row["unit"] == "ms")
    text = (written / "README.md").read_text(encoding="utf-8")
    assert text.startswith("Before\n") and text.endswith("After\n") and "stale numbers" not in text
    assert results["machine"]["libraries"]["torch"] in text
    assert "| B2, 64² |" in text and "images a second" in text
    assert (written / "speed.svg").read_text(encoding="utf-8").count("</svg>") == 1
    assert not (written / "unfinished.json").exists()


def test_a_number_is_the_contenders_own(written):
    """Each job ran as often as it says, and every job of the plan once."""
    results = json.loads((written / "results.json").read_text(encoding="utf-8"))
    expected = plan.jobs([OURS, FOLDED], TASKS, quick=True)
    assert [runs.key(entry) for entry in results["measured"]] == [job.key for job in expected]
    for entry, job in zip(results["measured"], expected, strict=True):
        timed = plan.TASKS[entry["task"]].unit == "ms" and entry["task"] != "import"
        assert len(entry["values"]) == (job.repeats if timed else 1)


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
    assert theirs["ratios"] == [3, 5]
    assert "| theirs | 60 (40) ×4.0 |" in table([ours, theirs])


def test_a_round_in_which_one_of_two_failed_has_no_ratio():
    """Rounds of 2 and 3 times as long; the two others cannot be compared."""
    measured = [
        *(entry("ours", 0, [10]), entry("theirs", 0, [20])),
        *(entry("ours", 1, []), entry("theirs", 1, [90])),
        *(entry("ours", 2, [10]), entry("theirs", 2, [30])),
        *(entry("ours", 3, [10]), entry("theirs", 3, [])),
    ]
    assert summarize(measured)[1]["ratios"] == [2, 3]


def entry(name, number, values, **case):
    job = replace(SMALL, contender=name, **{"size": 512, **case})
    return {**job.key, "round": number, "values": [float(x) for x in values]}


def test_what_cannot_be_measured_is_left_out():
    assert summarize([entry("ours", 0, [])]) == []


def test_floors_growth_and_images_a_second_worked_by_hand():
    """At 100·10⁹ multiply-adds and 10 GB a second; times that grow with the pixels squared."""
    measured = [
        entry(plan.MACHINE, 0, [100], task="arithmetic rate"),
        entry(plan.MACHINE, 0, [10], task="bandwidth"),
        entry(OURS, 0, [80]),
        entry(OURS, 0, [1280], size=1024),
        entry(OURS, 0, [400], task="training", model="nano", size=128, batch=16),
        entry(OURS, 0, [21.04], task=LABELS, model="nano"),
        entry(SDPA, 0, [105.2], task=LABELS, model="nano"),
    ]
    rows = summarize(measured)
    job = Job("forward", OURS)
    least = floors.multiply_adds(job) / 100e9 * 1e3, floors.bytes_moved(job) / 10e9 * 1e3
    line = next(x for x in forward_table(rows).splitlines() if x.startswith("| B0, 512² |"))
    over = f"×{80 / max(least):.1f}"
    assert line.endswith(f"| {least[0]:.1f} | {least[1]:.1f} | {over} |")
    said = " ".join(sentences(rows))
    assert "to the power 2.00" in said and "40 images a second" in said
    assert f"{OURS} 21.0 ms ×1.0." in said and f"{SDPA} 105 ms ×5.0." in said


@torch.no_grad()
def test_multiply_adds_are_those_that_torch_counts(monkeypatch):
    """Of a batch of two, by torch's own counter, on whole maps; the mixing of rows is a resize."""
    job = replace(SMALL, size=128, batch=2)
    model = contenders.Ours(job).model
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # no row is computed twice
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(contender.images_for(job))
    counts = counter.get_flop_counts()["Global"].items()
    found = sum(flops for op, flops in counts if op is not torch.ops.aten.baddbmm) / 2
    assert found == floors.multiply_adds(job)


def test_peak_memory_is_what_a_run_holds_at_its_peak():
    """64 MB held and given back, then 16 MB: the peak is the first, and not the 128 MB before."""
    code = """
import torch
from benchmarks.contender import peak_megabytes
from benchmarks.job import Job
torch.ones(32_000_000)
job = Job("forward memory", "segformer_edu", size=64)
print(*peak_megabytes(lambda: (torch.ones(16_000_000).sum(), torch.ones(4_000_000).sum()), job))
"""
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, encoding="utf-8"
    )  # in a process of its own, as in the benchmark: here the heap has holes by now
    assert float(child.stdout) == pytest.approx(64, abs=8)


def test_the_import_is_not_there_before_it_is_measured():
    code = "import sys, benchmarks.contender; sys.exit('segformer_edu' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_milliseconds_leave_the_warm_up_out(monkeypatch):
    """By a clock that moves while something runs, and at no other time."""
    now, seconds = 100.0, [9.0] * SMALL.warm_up + [0.25, 0.5]

    def run():
        nonlocal now
        now += seconds.pop(0)

    monkeypatch.setattr(contender.time, "perf_counter", lambda: now)
    assert contender.milliseconds(run, SMALL) == [250, 500]
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
        runs.run(replace(SMALL, task=task))
    assert found == {
        "export": (0, "1000"),
        "forward": (0, "1000"),
        "forward, busy": (cores(), "1000"),
        "forward, busy, spinning": (cores(), None),
    }
    assert started == []


def test_a_table_that_was_interrupted_goes_on_where_it_was(tmp_path, monkeypatch):
    """It stops at the third of four jobs, and later measures only the last two."""
    log, ran = tmp_path / "unfinished.json", []
    jobs = [replace(SMALL, contender=name) for name in (OURS, SDPA)]

    def run(job, stop=True):
        if stop and len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(job.contender)
        return [float(len(ran))]

    monkeypatch.setattr(runs, "run", run)
    with pytest.raises(KeyboardInterrupt):
        runs.measure(jobs, rounds=2, threads=1, log=log)
    monkeypatch.setattr(runs, "run", lambda job: run(job, stop=False))
    measured = runs.measure(jobs, rounds=2, threads=1, log=log)
    assert ran == [OURS, SDPA] * 2
    assert [(x["round"], x["values"]) for x in measured] == [
        *((0, [1.0]), (0, [2.0]), (1, [3.0]), (1, [4.0])),
    ]
    ran.clear()
    monkeypatch.setattr(runs, "machine", lambda threads: {"processor": "another"})
    runs.measure(jobs, rounds=2, threads=1, log=log)
    assert len(ran) == 4  # numbers of another machine are not taken over


def test_a_contender_that_fails_leaves_a_gap(capsys):
    assert runs.run(replace(SMALL, contender="no such contender")) == []
    assert "no such contender failed at forward, B0, 64²" in capsys.readouterr().err


def test_unequal_work_is_not_compared():
    with pytest.raises(SystemExit, match="the task is"):
        contender.check_shape(torch.zeros(1, 150, 64, 64), (1, 150, 128, 128))


@pytest.mark.parametrize("model", ["b0", "b2"])
def test_contenders_have_the_same_parameters(model):
    job = replace(SMALL, model=model)
    ours, theirs = contenders.Ours(job).model, contenders.Transformers(job).model
    assert sorted(x.numel() for x in ours.parameters()) == sorted(
        x.numel() for x in theirs.parameters()
    )


@pytest.mark.parametrize(("task", "model"), [("predict, photograph", "b0"), (LABELS, "nano")])
@torch.no_grad()
def test_labels_of_a_picture_are_those_of_a_model_that_has_learned(task, model):
    """Equal in both libraries, right for most pixels, and alike among neighbours, unlike noise."""
    size = 128 if model == "nano" else 512
    job = Job(task, OURS, model=model, size=size)
    torch.manual_seed(0)
    ours, image = contenders.Ours(job), contender.images_for(job)
    torch.manual_seed(0)
    theirs = contenders.Transformers(job)
    found = ours.predict(image)
    assert (found == theirs.predict(image)).float().mean() > 0.9999
    labels = Scenes(1, size, seed=0)[0][1] if model == "nano" else torch.tensor(sample_labels()[0])
    assert (found == labels).float().mean() > 0.9
    assert disagree(ours.forward(image).argmax(1)).float().mean() < 0.25
    noise = ours.forward(torch.randn_like(image))
    assert disagree(noise.argmax(1)).float().mean() > 0.4


@pytest.mark.parametrize("name", [OURS, contenders.DROP_PATH, SDPA, contenders.EAGER])
def test_contenders_train_the_same_way(name):
    """A step of each gives every weight a gradient and changes it; the next starts from none."""
    job = replace(SMALL, task="training", batch=2)
    found = contenders.CONTENDERS[name](job)
    before = [x.detach().clone() for x in found.model.parameters()]
    step = contender.training_step(found, job)
    step()
    gradients = [x.grad for x in found.model.parameters()]
    assert all(gradient is not None for gradient in gradients)
    moved = [bool((x != y).any()) for x, y in zip(found.model.parameters(), before, strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    step()
    assert all(x.grad is not y for x, y in zip(found.model.parameters(), gradients, strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The ONNX files of both libraries at 64², with the weights of seed 0."""
    folder = tmp_path_factory.mktemp("exports")
    for name in (contenders.ORT, contenders.OURS_ORT, contenders.INT8):
        torch.manual_seed(0)
        exports.export(replace(SMALL, contender=name, exports=str(folder)))
    return str(folder)


@pytest.mark.parametrize("engine", contenders.ENGINES)
@torch.no_grad()
def test_the_engines_run_the_model_they_were_given(engine, folder, monkeypatch):
    if "OpenVINO" in engine and not find_spec("openvino"):
        pytest.skip("in the extra 'bench'")
    # tools.machines takes instructions from torch's oneDNN; OpenVINO's refuses to work without AVX
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    job = replace(SMALL, exports=folder)
    torch.manual_seed(0)
    library = contenders.Ours if engine.startswith(OURS) else contenders.Transformers
    expected = library(job).forward(images := contender.images_for(job))
    found = torch.as_tensor(contenders.CONTENDERS[engine](job).forward(images))
    difference = (found - expected).abs()
    if engine == contenders.INT8:
        assert difference.mean() < 0.2 * expected.std()
    else:
        assert difference.max() < 1e-4
