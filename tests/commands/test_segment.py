"""segment: what it writes, and one sentence with exit code 2 for whatever is wrong."""

import errno
import os
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from segformer_edu import SegFormer
from segformer_edu.__main__ import main
from segformer_edu.checkpoints import files


@pytest.fixture
def folder(tmp_path, small_config, randomized):
    """A working folder: a photograph, weights that know five classes, and things gone wrong."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "street.png")
    Image.fromarray(noise[:8, :8]).save(tmp_path / "tiny.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "street.png").read_bytes()[:3000])
    (tmp_path / "words.txt").write_text("no image\n", encoding="utf-8")
    randomized(SegFormer(small_config)).save_pretrained(tmp_path / "weights")
    four = small_config.replace(in_channels=4)
    randomized(SegFormer(four)).save_pretrained(tmp_path / "four")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "hollow").mkdir()
    (tmp_path / "weights.safetensors").write_bytes(b"\x00" * 20)
    (tmp_path / "names.txt").write_text("sky\nroad\ncar\ntree\npole\n", encoding="utf-8")
    (tmp_path / "gap.txt").write_text("sky\n\ncar\ntree\npole\n", encoding="utf-8")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00\xd8")
    return tmp_path


def segment(folder, **changes):
    """Run segment on good arguments with some changed; None leaves an option out."""
    options = {"image": "street.png", "weights": "weights", "out": "out.png", "device": "cpu"}
    options |= changes
    arguments = ["segment", str(folder / options.pop("image"))]
    for name, value in options.items():
        if value is not None:
            is_path = name in ("weights", "out") or value.endswith(".txt")
            arguments += [f"--{name}", str(folder / value) if is_path else value]
    try:
        return main(arguments)
    except SystemExit as leaving:
        return leaving.code


def test_segment_writes_a_picture_and_leaves_nothing_else(folder, capsys):
    before = set(folder.iterdir())
    assert segment(folder) == 0
    assert set(folder.iterdir()) - before == {folder / "out.png"}
    picture = Image.open(folder / "out.png")
    assert picture.format == "PNG" and min(picture.size) > 400
    assert re.fullmatch(r".*out\.png: \d classes\n", capsys.readouterr().out)


@pytest.mark.parametrize("classes", ["sky,road,car,tree,pole", "names.txt"])
def test_the_labels_drawn_are_those_of_the_model_with_the_names_given(folder, classes, monkeypatch):
    drawn = {}
    from segformer_edu import plots
    from segformer_edu.data.photos import normalize, read_photo

    real = plots.segmentation

    def spy(photo, labels, names):
        drawn.update(labels=labels, names=names)
        return real(photo, labels, names)

    monkeypatch.setattr(plots, "segmentation", spy)
    assert segment(folder, classes=classes) == 0
    model = SegFormer.from_pretrained(folder / "weights").eval()
    expected = model.predict(normalize(read_photo(folder / "street.png")))[0]
    assert torch.equal(torch.as_tensor(drawn["labels"]), expected)
    assert drawn["names"] == ("sky", "road", "car", "tree", "pole")


def test_weights_that_come_with_the_course_go_by_their_name(folder, monkeypatch, capsys):
    monkeypatch.setattr(files, "SHIPPED", folder)
    (folder / "weights").rename(folder / "nano")
    arguments = [str(folder / "street.png"), "--out", str(folder / "out.png"), "--device", "cpu"]
    assert main(["segment", *arguments, "--weights", "nano"]) == 0
    assert (folder / "out.png").exists()
    assert main(["segment", *arguments, "--weights", "b0"]) == 2  # which do not come with it
    assert "no file or folder 'b0'" in capsys.readouterr().err


WRONG = {
    "image is missing": ({"image": "none.png"}, "none.png"),
    "image is a folder": ({"image": "weights"}, "weights"),
    "image is text": ({"image": "words.txt"}, "not an image"),
    "image is cut off": ({"image": "half.png"}, "half.png"),
    "image is too small": ({"image": "tiny.png"}, "8×8"),
    "weights are missing": ({"weights": "none.safetensors"}, "none.safetensors"),
    "weights are a photograph": ({"weights": "street.png"}, "street.png"),
    "weights are corrupt": ({"weights": "weights.safetensors"}, "weights.safetensors"),
    "weights are an empty folder": ({"weights": "hollow"}, "hollow"),
    "weights want four channels": ({"weights": "four"}, "4 channels"),
    "no weights at all": ({"weights": None}, "--weights"),
    "out has no suffix": ({"out": "out"}, "not a .png"),
    "out is a JPEG": ({"out": "out.jpg"}, "not a .png"),
    "out is in no folder": ({"out": "nowhere/out.png"}, "no folder"),
    "out is in a file": ({"out": "words.txt/out.png"}, "no folder"),
    "out is a folder": ({"out": "folder.png"}, "is a folder"),
    "no out at all": ({"out": None}, "--out"),
    "device is unknown": ({"device": "tpu"}, "tpu"),
    "too few classes": ({"classes": "sky,road"}, "2 names"),
    "too many classes": ({"classes": "a,b,c,d,e,f"}, "6 names"),
    "classes with a gap": ({"classes": "sky,,car,tree,pole"}, "empty name"),
    "no classes in the option": ({"classes": ""}, "empty name"),
    "classes file with a gap": ({"classes": "gap.txt"}, "empty name"),
    "classes file is missing": ({"classes": "none.txt"}, "none.txt"),
    "classes file is no text": ({"classes": "bytes.txt"}, "as text"),
}


@pytest.mark.parametrize(("changes", "words"), WRONG.values(), ids=WRONG)
def test_whatever_is_wrong_is_said_in_one_line_with_exit_code_two(folder, capsys, changes, words):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert segment(folder, **changes) == 2
    out, err = capsys.readouterr()
    assert not out and words in err and "Traceback" not in err
    assert err.count("\n") == 1 and err.endswith("\n")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_here_is_refused(name, folder, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.mps, "is_available", lambda: False)
    assert segment(folder, device=name) == 2
    assert f"no device '{name}' here; choose one of cpu" in capsys.readouterr().err


def test_a_folder_that_may_not_be_written_to_is_refused_at_once(folder, capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert segment(folder) == 2
    assert "may not be written to" in capsys.readouterr().err


def test_a_disk_that_fills_up_leaves_the_old_picture_whole(folder, capsys, monkeypatch):
    out = folder / "out.png"
    out.write_bytes(b"the picture of yesterday")
    before = set(folder.iterdir())

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert segment(folder) == 2
    assert "No space left" in capsys.readouterr().err
    assert out.read_bytes() == b"the picture of yesterday" and set(folder.iterdir()) == before


def test_without_matplotlib_segment_says_what_to_type(folder, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("segformer_edu.plots")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("segformer_edu.plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert segment(folder) == 2
    err = capsys.readouterr().err
    assert "matplotlib is needed" in err and '[lab]"' in err
