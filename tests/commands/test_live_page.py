"""export --out mine.html: a page of one's own model, classes and pictures, or one sentence."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.__main__ import main
from tests.page.reading import data_of, shown

NAMES = ("rest", "cat", "dog", "cart", "crow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights, and three photographs with masks, of which one is upright and one does not count."""
    folder = tmp_path_factory.mktemp("mine")
    config = SegFormerConfig.named("nano", num_classes=5, class_names=NAMES)
    SegFormer(config).save_pretrained(folder / "weights")
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    for i, name in enumerate(("a", "b", "c")):
        size = (300, 200) if name != "b" else (200, 300)
        Image.new("RGB", size, (80 * i, 10, 10)).save(folder / "photos" / f"{name}.jpg")
        mask = np.full(size[::-1], i if name != "c" else 255, np.uint8)
        mask[0] = 4
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    (folder / "large").mkdir()
    Image.new("RGB", (1000, 500)).save(folder / "large" / "a.png")
    return folder


def export(folder, *more):
    return main(["export", "--weights", str(folder / "weights"), *map(str, more)])


def test_the_page_holds_the_classes_the_pictures_and_their_truth(folder, tmp_path, capsys):
    path = tmp_path / "mine.html"
    pictures = ["--pictures", folder / "photos", "--masks", folder / "masks"]
    assert export(folder, "--out", path, *pictures) == 0
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    assert capsys.readouterr().out == f"{path}: {size}; open it by a double-click\n"
    found = data_of(path.read_text(encoding="utf-8"))
    assert tuple(found["classes"]) == NAMES
    assert [(x["name"], x["height"], x["width"]) for x in found["pictures"]] == [
        ("a", 171, 256),
        ("b", 256, 171),
        ("c", 171, 256),
    ]
    for i, each in enumerate(found["pictures"]):
        image, labels = shown(each)
        assert np.abs(image[..., 0] - 80 * i).mean() < 5
        assert set(labels[1:].flat) == {255 if i == 2 else i} and labels[0, 0] == 4


def test_without_masks_nothing_is_said_to_be_true(folder, tmp_path):
    path = tmp_path / "MINE.HTML"
    assert export(folder, "--out", path, "--pictures", folder / "photos") == 0
    pictures = data_of(path.read_text(encoding="utf-8"))["pictures"]
    assert [each["labels"] for each in pictures] == [None] * 3


@pytest.mark.parametrize(("fit", "side"), [(None, 256), (64, 256), (320, 320)])
def test_pictures_are_as_large_as_the_model_shall_see_them(fit, side, folder, tmp_path):
    path = tmp_path / "mine.html"
    flags = [] if fit is None else ["--fit", fit]
    assert export(folder, "--out", path, "--pictures", folder / "large", *flags) == 0
    found = data_of(path.read_text(encoding="utf-8"))
    assert (found["fit"], found["side"]) == (fit or 128, side)
    assert [(each["height"], each["width"]) for each in found["pictures"]] == [(side // 2, side)]


@pytest.mark.parametrize(
    ("trained", "fit", "warned"), [(0, 128, False), (320, 320, False), (1024, 512, True)]
)
def test_the_model_first_sees_pictures_as_in_its_training(
    trained, fit, warned, folder, tmp_path, capsys
):
    """As far as a page can show them, and it is said where they are smaller."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "settings.yaml").write_text(f"data: folder\nfit: {trained}\n", encoding="utf-8")
    shutil.copytree(folder / "weights", run / "best")
    path = tmp_path / "mine.html"
    assert main(["export", "--weights", str(run / "best"), "--out", str(path)]) == 0
    assert data_of(path.read_text(encoding="utf-8"))["fit"] == fit
    assert ("in training they had 1024" in capsys.readouterr().out) == warned


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--size", "64x64"], "--size is for other engines"),
        (["--int8", "--calibrate", "photos"], "--int8 is for other engines"),
        (["--labels"], "--labels is for other engines"),
        (["--fit", "513"], "--fit 513: give the longer side"),
        (["--fit", "31"], "--fit 31: give the longer side"),
        (["--masks", "masks"], "--masks is for --int8, or for --pictures"),
        (["--pictures", "nowhere"], "--pictures nowhere: there is no such folder"),
        (["--pictures", "weights"], "--pictures weights holds no pictures"),
        (["--pictures", "photos", "--masks", "weights"], "--pictures photos, --masks weights: "),
        (["--pictures", "broken"], "--pictures broken: "),
    ],
)
def test_what_makes_no_page_is_said_in_one_sentence(
    words, told, folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(folder)
    (folder / "broken").mkdir(exist_ok=True)
    (folder / "broken" / "x.png").write_bytes(b"no picture")
    assert export(folder, "--out", tmp_path / "mine.html", *words) == 2
    assert told in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_pictures_are_for_a_page(folder, tmp_path, capsys):
    assert export(folder, "--out", tmp_path / "m.onnx", "--pictures", folder / "photos") == 2
    assert "let --out end in .html" in capsys.readouterr().err
