"""Patterns: * is the name of a picture, ** stands for folders, and a file has one meaning."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segformer_edu.data.folder import Folder, names_in, names_meant


def write(root, *paths):
    """Pictures of 4 × 4 pixels, each of its own number, so that a mix-up shows."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(root / path)


def matched(root, images, masks):
    """Name → the photograph and the mask, as paths from the root."""
    found = Folder(root / images, root / masks, 200)
    relative = [tuple(path.relative_to(root).as_posix() for path in pair) for pair in found.pairs]
    return dict(zip(found.names, relative, strict=True))


CITIES = ("aachen/aachen_000001_000019", "bochum/bochum_000000_000313")

LAYOUTS = {  # the files; the patterns; the pairs that belong together
    "one folder, masks with a suffix": (
        ["p/a.jpg", "p/a_mask.png", "p/b.jpg", "p/b_mask.png"],
        ("p/*.jpg", "p/*_mask.png"),
        {"a": ("p/a.jpg", "p/a_mask.png"), "b": ("p/b.jpg", "p/b_mask.png")},
    ),
    "one folder, one ending": (
        ["p/a.png", "p/a_mask.png"],
        ("p/*.png", "p/*_mask.png"),
        {"a": ("p/a.png", "p/a_mask.png")},
    ),
    "one folder, photographs with a suffix": (
        ["p/a_rgb.png", "p/a.png"],
        ("p/*_rgb.png", "p/*.png"),
        {"a": ("p/a_rgb.png", "p/a.png")},
    ),
    "a folder beside a pattern in it": (
        ["p/a.png", "p/a_mask.png"],
        ("p", "p/*_mask.png"),
        {"a": ("p/a.png", "p/a_mask.png")},
    ),
    "no ending": (
        ["p/a.png", "m/a_seg.tif", "m/a_other.tif"],
        ("p/*", "m/*_seg"),
        {"a": ("p/a.png", "m/a_seg.tif")},
    ),
    "a prefix, and endings in capitals": (
        ["p/IMG_1.JPG", "p/IMG_2.jpg", "m/mask_1.PNG", "m/mask_2.png"],
        ("p/IMG_*.jpg", "m/mask_*.png"),
        {"1": ("p/IMG_1.JPG", "m/mask_1.PNG"), "2": ("p/IMG_2.jpg", "m/mask_2.png")},
    ),
    "Cityscapes": (
        [
            *(f"leftImg8bit/train/{city}_leftImg8bit.png" for city in CITIES),
            *(f"gtFine/train/{c}_gtFine_{k}.png" for c in CITIES for k in ("color", "labelIds")),
        ],
        ("leftImg8bit/train/**/*_leftImg8bit.png", "gtFine/train/**/*_gtFine_labelIds.png"),
        {
            city.split("/")[1]: (
                f"leftImg8bit/train/{city}_leftImg8bit.png",
                f"gtFine/train/{city}_gtFine_labelIds.png",
            )
            for city in CITIES
        },
    ),
    "a name in two folders": (
        ["p/x/1.jpg", "p/y/1.jpg", "p/2.jpg", "m/x/1.png", "m/y/1.png", "m/2.png"],
        ("p/**/*.jpg", "m/**/*.png"),
        {
            "2": ("p/2.jpg", "m/2.png"),
            "x/1": ("p/x/1.jpg", "m/x/1.png"),
            "y/1": ("p/y/1.jpg", "m/y/1.png"),
        },
    ),
    "folders in the middle": (
        ["d/x/img/1.jpg", "d/y/img/1.jpg", "d/x/seg/1.png", "d/y/seg/1.png"],
        ("d/**/img/*.jpg", "d/**/seg/*.png"),
        {
            "x/1": ("d/x/img/1.jpg", "d/x/seg/1.png"),
            "y/1": ("d/y/img/1.jpg", "d/y/seg/1.png"),
        },
    ),
    "photographs in folders, masks in one": (
        ["p/x/1.jpg", "p/y/2.jpg", "m/1.png", "m/2.png"],
        ("p/**/*", "m"),
        {"1": ("p/x/1.jpg", "m/1.png"), "2": ("p/y/2.jpg", "m/2.png")},
    ),
    "brackets and dots in names": (
        ["p [old]/x(1)_a.b.jpg", "p [old]/x1_a.b.jpg", "m (1)/a.b.png"],
        ("p [old]/x(1)_*.jpg", "m (1)/*.png"),
        {"a.b": ("p [old]/x(1)_a.b.jpg", "m (1)/a.b.png")},
    ),
    "a folder that begins as a name does": (
        ["p/img_1.jpg", "p/img_x/2.jpg", "m/1.png"],
        ("p/**/img_*.jpg", "m"),
        {"1": ("p/img_1.jpg", "m/1.png")},
    ),
}


@pytest.mark.parametrize("case", LAYOUTS.values(), ids=LAYOUTS)
def test_photographs_find_their_masks(tmp_path, case):
    files, patterns, expected = case
    write(tmp_path, *files)
    hidden = [Path(files[0]).with_name(".hidden.jpg"), Path(files[0]).parent / ".cache/z.jpg"]
    write(tmp_path, *hidden)
    assert matched(tmp_path, *patterns) == expected
    assert names_in(tmp_path / patterns[0], tmp_path / patterns[1]) == sorted(expected)


def test_a_relative_and_an_absolute_path_are_one_folder(tmp_path, monkeypatch):
    write(tmp_path, "p/a.png", "p/a_mask.png")
    monkeypatch.chdir(tmp_path)
    assert Folder("p", tmp_path / "p/*_mask.png", 9).names == ["a"]


REFUSED = {
    "two stars": (("p/*_*.jpg", "m/*.png"), "p/*_*.jpg cannot be read", "photos/*.jpg"),
    "a star in a folder": (("*/a.jpg", "m/*.png"), "one * in its last part"),
    "three stars": (("p/**/x/**/*.jpg", "m/*.png"), "one ** before it"),
    "folders and no name": (("p/**", "m/*.png"), "one * in its last part"),
    "no such folder": (("q/*.jpg", "m/*.png"), "there is no folder", "q"),
    "nothing fits": (("p/*.tif", "m/*.png"), "p/*.tif fits no file", "there are a.jpg"),
    "no mask fits": (("p/*.jpg", "m/*_mask.png"), "m/*_mask.png fits no file", "a.png"),
    "an empty folder": (("p/*.jpg", "empty"), "empty holds no mask", "'", "empty/**/*'"),
    "one pattern for both": (("p/*.jpg", "p/*.jpg"), "both", "pattern"),
    "two patterns for the same": (("p/*.jpg", "p/*.JPG"), "fit the same files"),
    "a file": (("p/a.jpg", "m/*.png"), "p/a.jpg is not a folder", "in quotes"),
    "a photograph with two masks": (("p/*.jpg", "m/**/*.png"), "a.png and ", "share a name"),
    "a mask without a photograph": (("p/*.jpg", "m/*.png"), "b.png has no photograph", "* stands"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_patterns_that_fit_nothing_or_too_much_are_refused(tmp_path, case):
    patterns, *words = case
    write(tmp_path, "p/a.jpg", "m/a.png", "m/b.png", "m/x/a.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError) as error:
        Folder(*(tmp_path / pattern for pattern in patterns), 9)
    assert [word for word in words if word not in str(error.value)] == [], error.value


def test_a_list_names_pictures_by_name_or_by_file(tmp_path):
    write(tmp_path, "p/x/1_rgb.jpg", "p/y/1_rgb.jpg", "p/y/2_rgb.jpg")
    write(tmp_path, "m/x/1.png", "m/y/1.png", "m/y/2.png")
    patterns = (tmp_path / "p/**/*_rgb.jpg", tmp_path / "m/**/*.png")

    def meant(*lines):
        return names_meant(lines, *patterns)

    assert meant("x/1", "y/1", "2") == ["x/1", "y/1", "y/2"]
    assert meant("x/1_rgb.jpg", "p/x/1_rgb.jpg", "y/2", "2", "2.png") == ["x/1", "y/2"]
    assert meant("p/x/1.jpg", "some/where/y/1.png", "2_rgb.jpg") == ["x/1", "y/1", "y/2"]
    write(tmp_path, "p/2_rgb.jpg", "m/2.png")
    assert meant("2", "y/2") == ["2", "y/2"]
    assert meant("3.jpg") == ["3"]  # which the data set then refuses
    with pytest.raises(ValueError, match="1.png could be x/1 or y/1: write its folders"):
        meant("1.png")
