"""Two processes under `accelerate launch` train and score as one does, through the command line."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segformer_edu.__main__ import main
from segformer_edu.training import loop
from segformer_edu.training.curves import read_log
from segformer_edu.training.gradient import compute_gradient
from segformer_edu.training.parts import check_shares
from tests.training.rectangles import TINY, write_files

pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="torch's launcher does not start there (pytorch issue 148283)"
)
ROOT = Path(__file__).resolve().parent.parent.parent
LAUNCH = [
    *(sys.executable, "-m", "accelerate.commands.launch"),
    *("--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"),
    *("--mixed_precision", "no", "--dynamo_backend", "no"),
]
# As on two machines: each process in a folder of its own.
APART = """
import os, sys
from segformer_edu.__main__ import main

os.chdir(os.environ["RANK"])
sys.exit(main())
"""


def launch(*arguments, program=("-m", "segformer_edu"), where=None):
    """Run a command in two processes; gloo, since the settings ask for the CPU."""
    run = subprocess.run(
        [*LAUNCH, *map(str, (*program, *arguments))],
        cwd=where,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run in one process, and the same in two; nine pictures to train on, and five to score."""
    folder = tmp_path_factory.mktemp("runs")
    write_files(folder, count=14)
    settings = TINY.replace(
        data="folder",
        images=str(folder / "images"),
        masks=str(folder / "masks"),
        classes=("ground", "red", "blue"),
        validation=5,
        batch_size=8,
        config={**TINY.config, "drop_path_rate": 0.0, "decoder_dropout": 0.0},
    )
    (folder / "run.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    command = ["train", "--config", folder / "run.yaml", "--out"]
    assert main(list(map(str, [*command, folder / "one", "--quiet"]))) == 0
    launched = launch(*command, folder / "two")
    return folder, launched


def compare(expected, found):
    """Two folders of runs that differ by rounding at most."""
    one, two = (read_log(folder / "log.csv") for folder in (expected, found))
    assert two.keys() == one.keys()
    for name in ("step", "loss", "gradient_norm"):
        assert two[name] == pytest.approx(one[name], rel=2e-5), name
    for name in ("miou", "pixel_accuracy", "iou red"):
        assert two[name] == pytest.approx(one[name], abs=2e-3, nan_ok=True), name
    states = [torch.load(folder / "last.pt")["network"] for folder in (expected, found)]
    torch.testing.assert_close(*states, rtol=0, atol=2e-5)


def test_the_curves_are_the_same_to_rounding(runs):
    compare(runs[0] / "one", runs[0] / "two")


def test_what_one_process_began_two_can_finish_that_share_no_folder(runs, monkeypatch):
    folder, _ = runs
    (folder / "1").mkdir()
    (folder / "apart.py").write_text(APART, encoding="utf-8")

    def fail(parts, batch, asked):
        if fail.calls == 6:
            raise FloatingPointError
        fail.calls += 1
        return compute_gradient(parts, batch, asked)

    fail.calls = 0
    monkeypatch.setattr(loop, "compute_gradient", fail)
    begin = ["train", "--config", folder / "run.yaml", "--out", folder / "0/begun", "--quiet"]
    assert main(list(map(str, begin))) == 1
    assert torch.load(folder / "0/begun/last.pt")["step"] == 5
    again = ["train", "--config", folder / "run.yaml", "--out", "begun", "--resume"]
    launch(*again, program=[folder / "apart.py"], where=folder)
    compare(folder / "one", folder / "0/begun")
    assert not any((folder / "1").iterdir())


def test_dice_is_that_of_the_whole_batch(runs):
    folder, _ = runs
    command = ["train", "--config", folder / "run.yaml", "--loss", "focal+dice", "--steps", 4]
    assert main(list(map(str, [*command, "--out", folder / "dice", "--quiet"]))) == 0
    launch(*command, "--out", folder / "dice of two")
    compare(folder / "dice", folder / "dice of two")


def test_only_one_process_prints(runs):
    folder, launched = runs
    assert launched.stdout.count("12 steps") == 1
    assert "images/s" in launched.stderr and launched.stderr.count("100%") <= 2
    assert not re.search("[a-z]Warning", launched.stderr)  # of Python's; gloo may miss a host name


def test_pictures_shared_by_two_are_scored_the_same_to_the_digit(runs, one_thread):
    folder, _ = runs
    options = ["--weights", folder / "one/last", "--config", folder / "run.yaml"]
    options += ["--batch-size", 2]  # batches of 2, 2 and 1: one process has two, the other one
    assert main(list(map(str, ["evaluate", *options, "--out", folder / "one.json"]))) == 0
    launched = launch("evaluate", *options, "--out", folder / "two.json")
    one, two = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in ("one.json", "two.json")
    )
    assert one == two and sum(map(sum, one["confusion"])) > 4000
    assert launched.stdout.count("mIoU") == 1


@pytest.mark.parametrize(("batch_size", "multiple"), [(7, 6), (9, 6)])
def test_a_batch_that_they_cannot_share_is_refused(batch_size, multiple):
    settings = TINY.replace(batch_size=3 * batch_size, accumulation=3)
    with pytest.raises(ValueError, match=f"shared by 2 processes.*multiple of {multiple}"):
        check_shares(settings, processes=2, pictures=9)
