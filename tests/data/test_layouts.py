"""Where a folder keeps photographs and masks, told by the names of its files alone."""

import pytest

from segformer_edu.data.layouts import find_annotations, find_layout, images_beside

NAMES = ("a", "b 2", "Käse.v1")


def make(folder, *patterns, names=NAMES):
    """Empty files, one of each name for each pattern."""
    for pattern in patterns:
        for name in names:
            path = folder / pattern.format(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


FOUND = {
    "two folders": (["images/{}.jpg", "masks/{}.png"], ("images", "masks")),
    "other words for them": (["Photos/{}.HEIC.jpg", "LABELS/{}.HEIC.tif"], ("Photos", "LABELS")),
    "an addition to masks": (["img/{}.jpg", "gt/{}_mask.png"], ("img", "gt/*_mask")),
    "an addition before": (["imgs/{}.jpg", "label/seg-{}.png"], ("imgs", "label/seg-*")),
    "an addition with a dot": (
        ["images/{}.jpg", "masks/{}.seg.png"],
        ("images", "masks/*.seg.png"),
    ),
    "additions to both": (["images/{}_rgb.jpg", "masks/{}_L.png"], ("images/*_rgb", "masks/*_L")),
    "one folder": (["{}.jpeg", "{}_Mask.png"], ("", "*_Mask")),
    "one folder, endings": (["{}.jpg", "{}.png"], ("*.jpg", "*.png")),
    "one folder inside": (["train/{}.jpg", "train/{}.lab.bmp"], ("train", "train/*.lab.bmp")),
    "ADE20K": (
        ["images/training/{}.jpg", "annotations/training/{}.png"],
        ("images/training", "annotations/training"),
    ),
    "Cityscapes": (
        [
            "leftImg8bit/train/aachen/{}_leftImg8bit.png",
            *(f"gtFine/train/aachen/{{}}_gtFine_{x}.png" for x in ("color", "instanceIds")),
            *(f"gtFine/train/aachen/{{}}_gtFine_{x}.png" for x in ("labelIds", "labelTrainIds")),
        ],
        ("leftImg8bit/train/**/*_leftImg8bit", "gtFine/train/**/*_gtFine_labelTrainIds"),
    ),
}


@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND)
def test_photographs_and_masks_are_found(tmp_path, case):
    patterns, expected = case
    make(tmp_path, *patterns)
    place, validation, lists = find_layout(tmp_path)
    assert place == tuple(str(tmp_path / each) for each in expected)
    assert validation is None and lists is None


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["images/{}/{{}}.jpg", "masks/{}/{{}}.png"], ("images/{}", "masks/{}")),
        (["{}/images/{{}}.jpg", "{}/masks/{{}}.png"], ("{}/images", "{}/masks")),
        (["{}/{{}}.jpg", "{}/{{}}_mask.png"], ("{}", "{}/*_mask")),
    ],
)
def test_what_is_held_out_in_folders_is_found_beside(tmp_path, patterns, expected):
    for part in ("train", "val", "test"):
        make(tmp_path, *(pattern.format(part) for pattern in patterns))
    layout = find_layout(tmp_path)
    for place, part in ((layout.training, "train"), (layout.validation, "val")):
        assert place == tuple(str(tmp_path / each.format(part)) for each in expected)


@pytest.mark.parametrize(
    "patterns",
    [
        [],
        ["images/{}.jpg"],
        ["images/{}.jpg", "masks/{}.json"],
        ["images/{}.jpg", "masks/.{}.png"],
        ["numbers/{}.jpg"],
    ],
)
def test_where_there_is_none_it_says_what_there_is(tmp_path, patterns):
    make(tmp_path, *patterns, names=[str(number) for number in range(1, 100)])
    with pytest.raises(ValueError, match="no photographs with masks") as refusal:
        find_layout(tmp_path)
    words = {pattern.split("/")[0] for pattern in patterns} or {"nothing"}
    assert all(word in str(refusal.value) for word in words)


def test_annotations_are_known_by_what_they_hold(tmp_path):
    make(tmp_path, "data/{}.jpg", "data/{}.json")
    assert find_annotations(tmp_path) is None and images_beside(tmp_path) == tmp_path / "data"
    (tmp_path / "data/b 2.json").write_text('{"shapes": []}', encoding="utf-8")
    assert find_annotations(tmp_path) == (tmp_path / "data", "labelme")
    (tmp_path / "coco.json").write_text('{"images": [', encoding="utf-8")
    assert find_annotations(tmp_path) == (tmp_path / "coco.json", "COCO")
