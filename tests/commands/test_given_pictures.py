"""What export reads of the pictures and masks that it is given."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.__main__ import main
from segformer_edu.commands.given_pictures import GivenPictures
from tests.page.reading import data_of, shown

CONFIG = SegFormerConfig.named("nano", num_classes=2, class_names=("rest", "cat"))


@pytest.fixture
def folder(tmp_path):
    """Weights; six photographs, each beside its mask, whose left half is a cat and whose last
    column does not count.
    """
    SegFormer(CONFIG).save_pretrained(tmp_path / "weights")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, name in enumerate("abcdef"):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(photos / f"{name}.bmp")
        mask = np.zeros((48, 64), np.uint8)
        mask[:, :32], mask[:, -1] = 200, 7
        Image.fromarray(mask).save(photos / f"{name}_mask.png")
        colours = np.where((mask == 200)[..., None], (255, 0, 0), (0, 0, 0)).astype(np.uint8)
        colours[:, -1] = 255
        Image.fromarray(colours).save(photos / f"{name}_colour.png")
    lines = ("#000000 rest", "#ff0000 cat", "#ffffff ignore")
    (tmp_path / "colors.txt").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


NUMBERS = {"values": "0,200", "ignore_index": "7"}


@pytest.mark.parametrize(("most", "chosen"), [(3, "ace"), (4, "abde"), (100, "abcdef")])
def test_of_many_some_are_chosen_from_all_over_the_folder(most, chosen, folder):
    photos, masks = folder / "photos" / "*.bmp", folder / "photos" / "*_mask.png"
    pictures = GivenPictures("--pictures", photos, masks, CONFIG, most, reading=NUMBERS)
    assert "".join(path.stem for path in pictures.paths) == chosen
    assert len(pictures) == len(chosen)
    for index, name in enumerate(chosen):
        assert (pictures[index][0][..., 0] == "abcdef".index(name)).all()


def test_without_masks_a_pattern_names_photographs(folder):
    pictures = GivenPictures("--pictures", folder / "photos" / "*_colour.png", None, CONFIG, 2)
    assert [path.name for path in pictures.paths] == ["a_colour.png", "d_colour.png"]
    assert pictures[0][1] is None


MASKS = {
    "numbers": ("*_mask.png", "--values", "0,200", "--ignore", "7"),
    "colours": ("*_colour.png", "--colors", "colors.txt"),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_are_read_as_the_flags_say(kind, folder, monkeypatch):
    monkeypatch.chdir(folder)
    masks, *flags = MASKS[kind]
    given = ["--pictures", "photos/*.bmp", "--masks", f"photos/{masks}", *flags]
    assert main(["export", "--weights", "weights", "--out", "mine.html", *given]) == 0
    pictures = data_of((folder / "mine.html").read_text(encoding="utf-8"))["pictures"]
    expected = np.repeat([[1] * 32 + [0] * 31 + [255]], 48, axis=0)
    assert [each["name"] for each in pictures] == list("abcdef")
    assert all((shown(each)[1] == expected).all() for each in pictures)


def test_eight_bits_are_scored_by_masks_that_are_read_in_the_same_way(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    given = ["--int8", "--calibrate", "photos/*.bmp", "--masks", "photos/*_mask.png"]
    flags = ["--values", "0,200", "--ignore", "7"]
    # Random weights are scored, too; whether the file is kept hangs on chance.
    main(["export", "--weights", "weights", "--out", "m.onnx", *given, *flags])
    said = "".join(capsys.readouterr())
    assert "of the held-out pixels keep their label" in said and "mIoU" in said


REFUSED = {
    "numbers without a meaning": (["--masks", "photos/*_mask.png"], "a_mask.png holds 7, 200"),
    "values without masks": (["--values", "0,200"], "--values is for --masks"),
    "colours without masks": (["--colors", "colors.txt"], "--colors is for --masks"),
    "a turn without masks": (["--no-upright"], "--no-upright is for --masks"),
    "values and colours": (
        ["--masks", "photos/*_colour.png", "--colors", "colors.txt", "--values", "0,200"],
        "--values",
    ),
    "colours of other classes": (
        ["--masks", "photos/*_colour.png", "--colors", "others.txt"],
        "rest, dog",
    ),
    "a pattern that fits nothing": (["--masks", "photos/*.gif"], "photos/*.gif"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_said_in_one_sentence(case, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / "others.txt").write_text("#000000 rest\n#ff0000 dog\n#ffffff ignore\n", "utf-8")
    words, told = REFUSED[case]
    given = ["--pictures", "photos/*.bmp", *words]
    assert main(["export", "--weights", "weights", "--out", "mine.html", *given]) == 2
    err = capsys.readouterr().err
    assert told in err and err.count("\n") == 1 and not (folder / "mine.html").exists()
