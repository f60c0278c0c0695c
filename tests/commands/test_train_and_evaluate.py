"""train and evaluate on the command line: stopped, continued, scored, and refused in one line."""

import contextlib
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from segformer_edu import SegFormer
from segformer_edu.__main__ import main
from segformer_edu.data.views import CachedDataset
from segformer_edu.training import Settings, confusion_matrix, open_data, scores
from segformer_edu.training.parts import make_loader
from tests.training.rectangles import TINY, Rectangles, write_files

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def folder(tmp_path):
    """Fourteen pictures, and settings that train on nine of them."""
    write_files(tmp_path, count=14)
    settings = TINY.replace(
        data="folder",
        images=str(tmp_path / "images"),
        masks=str(tmp_path / "masks"),
        classes=Rectangles.class_names,
        validation=5,
    )
    (tmp_path / "mine.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    return tmp_path


def command(folder, *arguments):
    """Run a command in this process: its exit code."""
    try:
        return main([str(each) for each in arguments])
    except SystemExit as leaving:
        return leaving.code


def check_flags(name, message):
    """A message of a command speaks of its flags, and of no argument of Python."""
    every = io.StringIO()
    with contextlib.redirect_stdout(every), contextlib.suppress(SystemExit):
        main([name, "--help"])
    flags = re.findall(r"--[a-z-]+\b", every.getvalue())
    unknown = set(re.findall(r"(?<![\w/.])--[a-z-]+\b", message)) - {*flags, "--help"}
    assert unknown <= {"--lr"}, message  # which one test gives
    assert not re.search(r"\b(?!FIELD)[a-zA-Z_]+ ?= ?[\w…('\[]", message), message


def train(folder, *more, out="run"):
    config = folder / "mine.yaml"
    return command(folder, "train", "--out", folder / out, "--config", config, "--quiet", *more)


def begin(folder, out, *more):
    """Begin or continue a run in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "segformer_edu", "train", "--out", str(folder / out), *more],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


def stop(process, log, rows, number):
    """Send a signal when so many steps are logged; the exit code and what was said."""
    deadline = time.monotonic() + 100
    while not log.exists() or log.read_bytes().count(b"\n") <= rows:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=100)
    return process.returncode, said


@pytest.mark.parametrize(("quiet", "times"), [(False, 1), (True, 0)])
def test_on_a_busy_machine_it_says_once_what_to_set(quiet, times, folder, capsys, monkeypatch):
    monkeypatch.setattr("segformer_edu.training.loop.crowding", lambda: "Set FEWER=1 first.")
    options = ["--config", folder / "mine.yaml", "--steps", 2, *(["--quiet"] if quiet else [])]
    assert command(folder, "train", "--out", folder / "run", *options) == 0
    assert capsys.readouterr().err.count("Set FEWER=1 first.") == times


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C there reaches whoever sends it, too")
def test_killed_then_interrupted_then_finished_it_ends_as_if_nothing_had_been(folder, capsys):
    longer = ("--steps", "80", "--save-every", "7", "--validate-every", "20")
    config = ("--config", str(folder / "mine.yaml"))
    log = folder / "run/log.csv"
    code, _ = stop(begin(folder, "run", *config, *longer), log, 10, signal.SIGKILL)
    assert code == -signal.SIGKILL
    done = torch.load(folder / "run/last.pt")["step"]
    code, said = stop(begin(folder, "run", "--resume"), log, done + 12, signal.SIGINT)
    assert code == 130
    last_line = said.splitlines()[-1]
    assert last_line.startswith("Stopped after step ") and "--resume goes on" in last_line
    assert "images/s" in said and "loss" in said and "rate" in said
    stopped = torch.load(folder / "run/last.pt")["step"]
    assert f"step {stopped}." in last_line and stopped >= done + 12
    assert log.read_bytes().count(b"\n") == 1 + stopped
    assert command(folder, "train", "--out", folder / "run", "--resume", "--quiet") == 0
    assert train(folder, *longer, out="undisturbed") == 0
    for name in ("log.csv", "settings.yaml", "best/model.safetensors", "last/model.safetensors"):
        assert (folder / "run" / name).read_bytes() == (folder / "undisturbed" / name).read_bytes()
    assert "80 steps; weights in best/ and last/; what it can do" in capsys.readouterr().out


def test_epochs_are_counted_and_a_run_that_lost_patience_is_extended(folder, capsys, monkeypatch):
    assert train(folder, "--epochs", "4", "--patience", "2", "--validate-every", "2") == 0
    out, err = capsys.readouterr()  # nine pictures, four a step: nine steps at most
    log = folder / "run/log.csv"
    assert log.read_text(encoding="utf-8").startswith("step,epoch,loss,")
    done = log.read_bytes().count(b"\n") - 1
    assert f"{done * 4 / 9:.3g} epochs, {done} steps; weights in best/ and last/" in out
    assert ("Note: The run ended after step" in err) == (done < 9)
    monkeypatch.chdir(folder)
    resume = ("train", "--out", folder / "run", "--resume", "--quiet")
    assert command(folder, *resume, "--steps", "11", "--patience", "0") == 0
    out, err = capsys.readouterr()
    assert "4.89 epochs, 11 steps" in out and not err
    settings = Settings.from_yaml(folder / "run/settings.yaml")
    assert (settings.steps, settings.epochs, settings.patience) == (11, 0, 0)


def test_a_run_that_loses_patience_says_how_to_extend_it(folder, capsys, monkeypatch):
    from segformer_edu.training.metrics import Scores
    from segformer_edu.training.parts import Parts

    monkeypatch.setattr(Parts, "validate", lambda parts, progress: Scores((0.5,) * 3, 0.5, 0.5))
    assert train(folder, "--patience", "1") == 0
    out, err = capsys.readouterr()
    assert (
        "8 steps" in out and "Note: The run ended after step 8 of 12, because --patience 1" in err
    )
    assert "give --resume and more steps or another patience" in err
    check_flags("train", err)


@pytest.mark.parametrize("kind", ["scenes", "folder"])
def test_what_workers_are_sent_gives_the_same_samples(folder, kind):
    """Windows and macOS start them anew, with a pickled copy of the data set."""
    settings = Settings.from_yaml(folder / "mine.yaml").replace(data=kind)
    pictures, _ = open_data(settings)
    sent = make_loader(settings, CachedDataset(pictures, settings.cache_mb), done=1).dataset
    for expected, found in zip(sent[5], pickle.loads(pickle.dumps(sent))[5], strict=True):
        assert torch.equal(expected, found)


def test_evaluate_prints_and_writes_what_the_weights_score(folder, capsys):
    assert train(folder) == 0
    capsys.readouterr()
    arguments = ("evaluate", "--weights", folder / "run/best", "--config", folder / "mine.yaml")
    assert command(folder, *arguments, "--out", folder / "scores.json") == 0
    printed = capsys.readouterr().out.splitlines()

    settings = Settings.from_yaml(folder / "run/settings.yaml")
    _, pictures = open_data(settings)
    model = SegFormer.from_pretrained(folder / "run/best")
    total = sum(
        confusion_matrix(model.predict(image[None])[0], labels, 3) for image, labels in pictures
    )
    expected, total = scores(total), total.double()
    written = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert written["confusion"] == total.tolist() and written["pictures"] == 5
    assert written["miou"] == pytest.approx(expected.miou)
    assert list(written["iou"].values()) == pytest.approx(expected.iou, nan_ok=True)
    assert printed[0].split() == ["class", "IoU", "recall", "precision", "share"]
    for label, name in enumerate(Rectangles.class_names):
        found = total[label, label]
        row = [
            expected.iou[label],
            found / total[label].sum(),
            found / total[:, label].sum(),
            total[label].sum() / total.sum(),
        ]
        assert printed[1 + label].split() == [name, *(f"{float(x):.3f}" for x in row)]
    assert printed[4] == f"mIoU {expected.miou:.4f}, pixel accuracy {expected.pixel_accuracy:.4f}"


def test_a_class_that_occurs_nowhere_is_null(folder):
    more = ("--classes", "ground,red,blue,none", "--out", folder / "scores.json")
    assert train(folder, "--classes", "ground,red,blue,none", "--steps", "1") == 0
    weights = SegFormer.from_pretrained(folder / "run/last")
    weights.decoder.classifier.bias.data[3] = -1e3  # nor is anything called so
    weights.save_pretrained(folder / "weights")
    arguments = ("--weights", folder / "weights", "--config", folder / "mine.yaml", *more)
    assert command(folder, "evaluate", *arguments) == 0
    assert json.loads((folder / "scores.json").read_text(encoding="utf-8"))["iou"]["none"] is None


REFUSED = {
    "no folder": (["train"], "--out"),
    "a folder that holds a run": (["train", "--out", "begun"], "--resume"),
    "other settings": (["train", "--out", "begun", "--resume", "--seed", "5"], "--seed 0 is now 5"),
    "more steps and another seed": (
        ["train", "--out", "begun", "--resume", "--steps", "9", "--seed", "5"],
        "other settings: --seed 0 is now 5. Resume",
    ),
    "fewer steps than were done": (
        ["train", "--out", "begun", "--resume", "--steps", "1"],
        "--steps 1, and the run has done 2 already",
    ),
    "steps and epochs": (
        ["train", "--out", "run", "--steps", "5", "--epochs", "2"],
        "--steps 5 and --epochs 2: give one",
    ),
    "dice of a part": (
        ["train", "--out", "run", "--loss", "focal+dice", "--accumulation", "2"],
        "--accumulation 2: --loss focal+dice is a ratio",
    ),
    "patience with nothing": (
        ["train", "--out", "run", "--patience", "2", "--validate-every", "0"],
        "--validate-every 0 makes one",
    ),
    "an unknown flag": (["train", "--out", "run", "--lr", "1"], "--lr"),
    "a setting that cannot be": (["train", "--out", "run", "--steps", "some"], "--steps some"),
    "a config that is not there": (["train", "--out", "run", "--config", "no.yaml"], "no.yaml"),
    "pictures that are not there": (
        ["train", "--out", "run", "--data", "folder", "--images", "no", "--masks", "no"],
        "--classes … is missing",
    ),
    "a range beyond what masks hold": (
        ["train", "--out", "run", "--ignore", "1-300"],
        "--ignore 1-300: give whole numbers that a mask can hold, 0 … 255, or ranges",
    ),
    "a range that runs backwards": (["evaluate", "--weights", "w", "--values", "9-3"], "9-3: give"),
    "a pattern that the shell replaced": (
        ["train", "--out", "run", "--images", "begun/log.csv", "begun/last.pt", "begun/best"],
        'begun/last.pt and 1 more: put a pattern in quotes, such as "photos/*.jpg"',
    ),
    "a pattern of two stars": (
        [*("train", "--out", "run", "--data", "folder", "--classes", "a,b", "--masks", "begun")]
        + ["--images", "*/*.png"],
        '--images "',
    ),
    "a folder without masks": (
        [*("train", "--out", "run", "--data", "folder", "--masks", "begun/best")]
        + ["--images", "begun", "--colors", "none.txt"],
        'only by a pattern, such as --masks "',
    ),
    "no weights to score": (["evaluate"], "--weights"),
    "weights that are not there": (["evaluate", "--weights", "no.pth"], "no.pth"),
    "weights for other classes": (
        ["evaluate", "--weights", "begun/last", "--validation", "1"],
        "3 classes",
    ),
    "scores as text": (["evaluate", "--weights", "begun/last", "--out", "s.txt"], "not a .json"),
    "scores in no folder": (
        ["evaluate", "--weights", "begun/last", "--out", "no/s.json"],
        "no folder",
    ),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder with a finished run in it."""
    folder = tmp_path_factory.mktemp("commands")
    from segformer_edu.training import train

    train(TINY.replace(steps=2), folder / "begun", data=(Rectangles(4),) * 2, progress=False)
    return folder


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_an_impossible_request_is_one_line_and_exit_code_two(begun, capsys, monkeypatch, case):
    arguments, words = case
    monkeypatch.chdir(begun)
    before = {path: path.stat().st_mtime_ns for path in begun.rglob("*")}
    assert command(begun, *arguments) == 2
    out, err = capsys.readouterr()
    assert not out and words in err and "Traceback" not in err
    assert err.count("\n") == 1 and err.endswith("\n")
    check_flags(arguments[0], err)
    assert {path: path.stat().st_mtime_ns for path in begun.rglob("*")} == before


def test_a_loss_of_nan_is_one_line_and_exit_code_one(folder, capsys):
    assert train(folder, "--learning-rate", "1e30", "--clip-norm", "0") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "nothing can be learned from here" in err


@pytest.mark.parametrize(("name", "flag"), [("train", "--out"), ("evaluate", "--weights")])
@pytest.mark.parametrize("missing", ["accelerate", "yaml"])
def test_without_the_train_extra_it_says_what_to_type(
    name, flag, missing, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, missing, None)
    assert main([name, flag, str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert f"{missing} is needed" in err and '[train]"' in err and not list(tmp_path.iterdir())


def test_the_best_weights_are_kept_where_later_ones_are_worse(folder):
    assert train(folder, "--steps", "40", "--validate-every", "2") == 0
    from segformer_edu.training.curves import read_log

    miou = read_log(folder / "run/log.csv")["miou"]
    assert np.nanmax(miou) > miou[-1]
    best, last = (
        SegFormer.from_pretrained(folder / "run" / name).state_dict() for name in ("best", "last")
    )
    assert any(not torch.equal(best[name], last[name]) for name in best)
