"""segment: what it writes, and one sentence with exit code 2 for whatever is wrong."""

import errno
import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from segformer_edu import SegFormer
from segformer_edu.__main__ import main
from segformer_edu.checkpoints import files
from segformer_edu.commands.segment import KINDS
from segformer_edu.data.masks import read_mask
from segformer_edu.data.palette import class_colors
from segformer_edu.data.photos import normalize, read_photo
from segformer_edu.tiles import predict_in_tiles


@pytest.fixture
def folder(tmp_path, small_config, randomized):
    """A working folder: a photograph, weights that know five classes, and things gone wrong."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "street.png")
    Image.fromarray(noise).resize((190, 135)).save(tmp_path / "large.png")
    Image.fromarray(noise[:8, :8]).save(tmp_path / "tiny.png")
    Image.fromarray(noise[:5].repeat(2, axis=1)).save(tmp_path / "thin.png")
    (tmp_path / "more").mkdir()
    (tmp_path / "case").mkdir()
    Image.fromarray(noise).save(tmp_path / "more/street.jpg")
    Image.fromarray(noise).save(tmp_path / "case/Street.jpg")
    Image.fromarray(noise).save(tmp_path / "more/car.png")
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
    images = options.pop("image").split()
    arguments = ["segment", *(each if each == "-" else str(folder / each) for each in images)]
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


def banded(folder, config, randomized):
    """A picture of four bands in 16 bits, weights for it, and the labels it should get."""
    mean, std = (0.2, 0.4, 0.5, 0.6), (0.1, 0.2, 0.3, 0.25)
    config = config.replace(in_channels=4, image_mean=mean, image_std=std)
    model = randomized(SegFormer(config)).eval()
    model.save_pretrained(folder / "bands")
    stored = np.random.default_rng(1).integers(0, 65536, (48, 64, 4)).astype(np.uint16)
    np.save(folder / "field.npy", stored)
    scaled = (stored / 65535 - mean) / std
    labels = model.predict(torch.tensor(scaled, dtype=torch.float32).permute(2, 0, 1)[None])
    return stored, model, scaled, labels[0]


def test_bands_are_read_as_in_training_and_the_first_three_drawn(
    folder, small_config, randomized, monkeypatch
):
    from segformer_edu import plots

    drawn = []
    real = plots.segmentation
    monkeypatch.setattr(plots, "segmentation", lambda *a: [drawn.append(a[0]), real(*a)][1])
    stored, model, scaled, labels = banded(folder, small_config, randomized)
    given = {"image": "field.npy", "weights": "bands", "write": "both", "out": "found"}
    assert segment(folder, **given) == 0
    assert np.array_equal(read_mask(folder / "found/labels/field.png"), labels)
    assert (folder / "found/overlay/field.png").exists()
    assert drawn[0].shape == (48, 64, 3) and drawn[0].dtype == np.uint8
    for band in range(3):  # each of them stretched from black to white
        assert np.corrcoef(drawn[0][..., band].ravel(), stored[..., band].ravel())[0, 1] > 0.99
        assert (drawn[0][..., band].min(), drawn[0][..., band].max()) == (0, 255)
    assert segment(folder, **given | {"fit": "40", "write": "labels", "out": "fit.png"}) == 0
    small = F.interpolate(
        torch.tensor(scaled, dtype=torch.float32).permute(2, 0, 1)[None],
        (30, 40),
        mode="bilinear",
        antialias=True,
    )
    logits = F.interpolate(model(small), (48, 64), mode="bilinear")
    agree = read_mask(folder / "fit.png") == logits.argmax(1)[0].numpy()
    assert agree.mean() > 0.99


def test_a_photograph_is_no_picture_of_bands(folder, small_config, randomized, capsys):
    banded(folder, small_config, randomized)
    assert segment(folder, weights="bands") == 2
    assert "street.png is no file of bands" in capsys.readouterr().err


def test_a_run_that_scaled_its_pictures_is_told_so(folder, capsys):
    (folder / "settings.yaml").write_text("data: folder\nfit: 64\ntile: 0\n", encoding="utf-8")
    for weights in ("weights", "weights/model.safetensors"):
        assert segment(folder, weights=weights, write="labels") == 0
        assert "that --fit 64 had scaled" in capsys.readouterr().err
    assert segment(folder, fit="40", write="labels") == 0
    (folder / "settings.yaml").write_text("fit: 0\n", encoding="utf-8")
    assert segment(folder, write="labels") == 0
    assert not capsys.readouterr().err


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
    "image is a folder without one": ({"image": "weights"}, "holds no photograph"),
    "a pattern that fits nothing": ({"image": "*.jpg"}, "*.jpg is no file"),
    "one of several is missing": ({"image": "street.png none.png", "out": "new"}, "none.png is no"),
    "several and one file": (
        {"image": "street.png tiny.png"},
        "2 are to be written: name a folder",
    ),
    "two kinds and one file": ({"write": "both"}, "2 are to be written: name a folder"),
    "two of one name": ({"image": "street.png more/street.jpg", "out": "new"}, "share a name"),
    "names that differ in case": ({"image": "street.png case/Street.jpg", "out": "n"}, "share a"),
    "out is the photograph": ({"out": "street.png"}, "would replace the photograph"),
    "out is the photographs' folder": ({"image": "more", "out": "more"}, "would replace"),
    "image is text": ({"image": "words.txt"}, "not an image"),
    "image is cut off": ({"image": "half.png"}, "half.png"),
    "image is too small": ({"image": "tiny.png"}, "8×8"),
    "weights are missing": ({"weights": "none.safetensors"}, "none.safetensors"),
    "weights are a photograph": ({"weights": "street.png"}, "street.png"),
    "weights are corrupt": ({"weights": "weights.safetensors"}, "weights.safetensors"),
    "weights are an empty folder": ({"weights": "hollow"}, "hollow"),
    "weights want four channels": ({"weights": "four"}, "4 channels"),
    "no weights at all": ({"weights": None}, "--weights"),
    "out is no folder": ({"out": "names.txt"}, "names.txt is a file"),
    "out is inside a file": ({"out": "names.txt/new"}, "names.txt is a file"),
    "out is a JPEG": ({"out": "out.jpg"}, "not a .png"),
    "out is in no folder": ({"out": "nowhere/out.png"}, "no folder"),
    "out is in a file": ({"out": "words.txt/out.png"}, "no folder"),
    "out is a folder": ({"out": "folder.png"}, "is a folder"),
    "no out at all": ({"out": None}, "--out"),
    "a kind that is not there": ({"write": "masks"}, "masks"),
    "fit is too small": ({"fit": "28"}, "--fit 28: give 29"),
    "fit is too large": ({"fit": "20000"}, "--fit 20000: give 29 to 16384"),
    "fit is no number": ({"fit": "large"}, "--fit"),
    "scaled, it is too thin": ({"image": "thin.png", "fit": "64"}, "64×2 pixels once it is scaled"),
    "tile is no multiple": ({"tile": "100"}, "--tile 100: give a multiple of 32 from 64 on"),
    "tile is too small": ({"tile": "32"}, "--tile 32"),
    "overlap is half the tile or more": ({"tile": "64", "overlap": "64"}, "--overlap 64: give"),
    "overlap without tiles": ({"tile": "0", "overlap": "32"}, "--overlap 32"),
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
    with pytest.raises(SystemExit):
        main(["segment", "--help"])
    assert set(re.findall(r"--[a-z]+", err)) <= set(
        re.findall(r"--[a-z]+", capsys.readouterr().out)
    )
    assert not re.search(r"\b[a-z_]+ = ", err)
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
    assert "matplotlib is needed" in err and '[plots]"' in err
    assert "--write labels" in err
    assert segment(folder, write="labels") == 0  # which nobody draws


def test_segment_and_what_it_draws_with_need_none_of_the_labs_packages(folder):
    lab = ("IPython", "ipywidgets", "psutil", "skimage", "sklearn", "transformers", "yaml")
    code = (
        f"import sys\nfor name in {lab + ('accelerate',)}: sys.modules[name] = None\n"
        "from segformer_edu.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    )
    files = [str(folder / name) for name in ("street.png", "weights", "out.png")]
    arguments = ["segment", files[0], "--weights", files[1], "--out", files[2], "--device", "cpu"]
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, encoding="utf-8", check=False
    )
    assert run.returncode == 0, run.stderr
    assert (folder / "out.png").exists()


def expected_labels(folder, path, **sizes):
    """By the model itself."""
    model = SegFormer.from_pretrained(folder / "weights")
    return predict_in_tiles(model, normalize(read_photo(path)), **sizes)[0].numpy()


def test_labels_are_a_mask_in_the_courses_colours_that_says_its_classes(folder, capsys):
    assert segment(folder, write="labels", classes="sky,road,car,tree,größte") == 0
    expected = expected_labels(folder, folder / "street.png")
    assert np.array_equal(read_mask(folder / "out.png"), expected)
    with Image.open(folder / "out.png") as file:
        assert file.mode == "P" and file.size == (64, 48)
        assert file.text["classes"].splitlines() == ["sky", "road", "car", "tree", "größte"]
        assert np.array_equal(np.array(file.convert("RGB")), class_colors(5)[expected])
    assert capsys.readouterr().out == f"{folder / 'out.png'}: {len(np.unique(expected))} classes\n"


def test_more_than_256_classes_are_written_as_16_bit_greys(folder, small_config, randomized):
    many = small_config.replace(num_classes=300)
    randomized(SegFormer(many)).save_pretrained(folder / "weights")
    assert segment(folder, write="labels") == 0
    with Image.open(folder / "out.png") as file:
        found = np.array(file)
    expected = expected_labels(folder, folder / "street.png")
    assert expected.max() > 255 and np.array_equal(found, expected)


@pytest.mark.parametrize("own", [(), ("crack",), ("rest", "crack")])
def test_a_binary_model_has_two_names_and_two_labels(own, folder, small_config, randomized):
    binary = small_config.replace(num_classes=1, class_names=own)
    randomized(SegFormer(binary)).save_pretrained(folder / "weights")
    assert segment(folder) == 0
    assert segment(folder, write="labels", classes="rest,crack") == 0
    assert set(np.unique(read_mask(folder / "out.png"))) <= {0, 1}
    assert segment(folder, write="labels", classes="crack") == 2


@pytest.mark.parametrize("tag", range(1, 9))
def test_labels_are_upright_whatever_the_exif_tag_says(folder, tag):
    exif = Image.Exif()
    exif[274] = tag
    with Image.open(folder / "street.png") as photo:
        photo.save(folder / "turned.png", exif=exif)
    assert segment(folder, image="turned.png", write="labels") == 0
    found = read_mask(folder / "out.png")
    assert found.shape == ((48, 64) if tag < 5 else (64, 48))
    assert np.array_equal(found, expected_labels(folder, folder / "turned.png"))
    with Image.open(folder / "out.png") as file:
        assert not file.getexif()  # or a viewer would turn them again


@pytest.mark.parametrize("image", ["more", "more/*.*"])
def test_the_pictures_of_a_folder_go_to_a_folder_by_their_names(folder, image, capsys):
    (folder / "more/.hidden.png").write_bytes(b"")
    (folder / "more/deeper").mkdir()
    out = folder / "new/found"
    assert segment(folder, image=image, out="new/found", write="both") == 0
    written = {str(path.relative_to(out)) for path in out.rglob("*.png")}
    assert written == {f"{kind}/{name}.png" for kind in KINDS["both"] for name in ("street", "car")}
    for name in ("street.jpg", "car.png"):
        path = folder / "more" / name
        assert np.array_equal(
            read_mask(out / f"labels/{path.stem}.png"), expected_labels(folder, path)
        )
    assert re.fullmatch(r".*found: 2 of 2 pictures, [\d.]+ a second\n", capsys.readouterr().out)
    assert segment(folder, image=image, out="new/found", write="labels") == 0
    assert segment(folder, image=image, out="new/found", write="labels") == 0
    assert "; older files replaced: 2\n" in capsys.readouterr().out


def test_one_picture_may_go_to_a_folder_and_a_replaced_file_is_said(folder, capsys):
    assert segment(folder, out="new") == 0 and (folder / "new/street.png").exists()
    assert segment(folder, image="street.png ./street.png", out="new") == 0  # which is one
    assert "; older files replaced: 1" in capsys.readouterr().out


def test_what_is_damaged_among_several_is_named_and_the_others_are_done(folder, capsys):
    images = "half.png street.png tiny.png words.txt"
    assert segment(folder, image=images, out="new", write="labels") == 1
    out, err = capsys.readouterr()
    assert "new: 1 of 4 pictures" in out and [x.name for x in (folder / "new").iterdir()] == [
        "street.png"
    ]
    assert "3 of 4 pictures could not be labelled:" in err
    assert all(f"{folder / name} " in err for name in ("half.png", "tiny.png", "words.txt"))
    assert "8×8 pixels, and the model needs 29 a side" in err and "--fit" in err
    assert segment(folder, image="half.png tiny.png", out="none", write="labels") == 1
    assert not (folder / "none").exists()


def test_standard_input_is_one_picture(folder, monkeypatch, capsys):
    def given(content):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))

    given((folder / "street.png").read_bytes())
    assert segment(folder, image="-", write="labels") == 0
    expected = expected_labels(folder, folder / "street.png")
    assert np.array_equal(read_mask(folder / "out.png"), expected)
    given(b"")
    assert segment(folder, image="-", out="new") == 2
    err = capsys.readouterr().err
    assert err.startswith("standard input cannot be read (") and not (folder / "new").exists()
    given(b"")  # among several
    assert segment(folder, image="- street.png", out="new") == 1
    assert "\n  standard input cannot be read (" in capsys.readouterr().err
    (folder / "stdin.png").write_bytes(b"")
    given(b"")  # labels of one name
    assert segment(folder, image="- stdin.png", out="new") == 2
    err = capsys.readouterr().err
    assert err.startswith(f"standard input and {folder / 'stdin.png'} share a name")
    assert "/tmp" not in err.replace(str(folder), "")


def test_large_pictures_are_labelled_in_tiles(folder):
    assert segment(folder, image="large.png", write="labels", tile="64", overlap="0") == 0
    path = folder / "large.png"
    found = read_mask(folder / "out.png")
    assert np.array_equal(found, expected_labels(folder, path, tile=64, overlap=0))
    assert not np.array_equal(found, expected_labels(folder, path, tile=64))
    assert not np.array_equal(found, expected_labels(folder, path))


def test_with_fit_the_scaled_picture_is_labelled_at_the_photographs_size(folder):
    assert segment(folder, write="labels", fit="128") == 0
    with Image.open(folder / "street.png") as photo:
        twice = np.array(photo.resize((128, 96), Image.Resampling.BILINEAR))
    model = SegFormer.from_pretrained(folder / "weights")
    with torch.no_grad():
        logits = model(normalize(twice))
    full = F.interpolate(logits, (48, 64), mode="bilinear")[0]
    best = full.topk(2, dim=0)
    clear = (best.values[0] - best.values[1] > 1e-4).numpy()
    found = read_mask(folder / "out.png")
    assert np.array_equal(found[clear], best.indices[0].numpy()[clear]) and clear.mean() > 0.99


def test_the_overlay_of_a_large_picture_is_drawn_at_a_size_that_is_seen(folder, monkeypatch):
    from segformer_edu import plots

    drawn = []

    def spy(photo, labels, names):
        drawn.append((photo.shape, labels.shape))
        return real(photo, labels, names)

    real = plots.segmentation
    monkeypatch.setattr(plots, "segmentation", spy)
    monkeypatch.setattr("segformer_edu.commands.segment.DRAWN", 100)
    assert segment(folder, image="large.png") == 0
    assert drawn == [((71, 100, 3), (71, 100))]
