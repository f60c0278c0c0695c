"""make-masks: COCO's and labelme's outlines become masks that a model is trained on, or a sentence
says what is in the way, and nothing is written.
"""

import base64
import io
import json
import math
import re
import shlex
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from skimage.draw import polygon2mask

from segformer_edu.__main__ import main
from segformer_edu.data.folder import Folder
from segformer_edu.data.palette import class_colors

HEIGHT, WIDTH = 48, 64


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A working folder with three photographs: a and c as JPEG, b as PNG."""
    (tmp_path / "photos").mkdir()
    for seed, name in enumerate(("a.jpg", "b.png", "c.jpg")):
        photograph(tmp_path / "photos" / name, seed)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photograph(path, seed=0, size=(HEIGHT, WIDTH), orientation=1):
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path, exif=exif)


def box(left, top, right, bottom):
    """The outline of the pixels left … right − 1 and top … bottom − 1."""
    return [left, top, right, top, right, bottom, left, bottom]


def write_coco(files, annotations, names=("a.jpg", "b.png"), categories=None, size=(HEIGHT, WIDTH)):
    categories = categories or {7: "dog", 3: "cat"}
    content = {
        "images": [
            {"id": 10 + number, "file_name": name, "height": size[0], "width": size[1]}
            for number, name in enumerate(names)
        ],
        "categories": [{"id": key, "name": name} for key, name in categories.items()],
        "annotations": [
            {"id": number, "image_id": 10, "category_id": 3, "iscrowd": 0, **each}
            for number, each in enumerate(annotations)
        ],
    }
    (files / "coco.json").write_text(json.dumps(content), encoding="utf-8")


def write_labelme(files, name, drawn=(), **changes):
    content = {"imagePath": f"..\\photos\\{name}", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    content |= {"version": "5.5.0", "flags": {}, "imageData": "iVBORw0K", "shapes": drawn}
    path = files / "labelme" / f"{name.rpartition('.')[0]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | changes), encoding="utf-8")


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


def make(annotations="coco.json", *more):
    command = ["make-masks", annotations, "--images", "photos", "--out", "masks", *more]
    return main(command)


def made(files, capsys, annotations="coco.json", *more):
    """What the command says on stdout and stderr; it worked."""
    code = make(annotations, *more)
    said = capsys.readouterr()
    assert code == 0, said.err
    return said


def refusal(files, capsys, annotations="coco.json", *more):
    """The sentence with which it refuses; it wrote nothing."""
    before = sorted(files.rglob("*"))
    code = make(annotations, *more)
    said = capsys.readouterr()
    assert (code, said.out) == (2, "") and "Traceback" not in said.err
    assert sorted(files.rglob("*")) == before
    return said.err


def mask_of(files, name):
    with Image.open(files / "masks" / f"{name}.png") as file:
        assert file.mode == "P"
        return np.array(file)


def expected(*filled):
    """A mask of background but for some boxes, each with its number, the last on top."""
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for number, (left, top, right, bottom) in filled:
        labels[top:bottom, left:right] = number
    return labels


def classes(files):
    return (files / "masks" / "classes.txt").read_text(encoding="utf-8").splitlines()


def runs(labels):
    """Run lengths by hand: column by column, zeros first."""
    flat = labels.T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()


def test_coco_polygons_fill_their_pixels_with_classes_in_the_order_of_their_numbers(files, capsys):
    write_coco(
        files,
        [
            {"segmentation": [box(4, 6, 20, 30), box(30, 6, 40, 10)]},
            {"segmentation": [box(0, 0, 64, 48)], "image_id": 11, "category_id": 7},
        ],
        names=("a.jpg", "b.png", "c.jpg"),
    )
    said = made(files, capsys)
    assert classes(files) == ["background", "cat", "dog"]
    in_two_parts = expected((1, (4, 6, 20, 30)), (1, (30, 6, 40, 10)))
    np.testing.assert_array_equal(mask_of(files, "a"), in_two_parts)
    assert (mask_of(files, "b") == 2).all() and not mask_of(files, "c").any()
    assert re.search(r"1 +cat +4\.6% +1\n", said.out), said.out  # 424 of 3 · 3072 pixels
    assert not said.err and "--no-upright" not in said.out


def test_background_comes_first_wherever_the_annotations_have_it(files, capsys):
    write_coco(files, [{"segmentation": [box(0, 0, 9, 9)]}], categories={3: "cat", 5: "Background"})
    made(files, capsys)
    assert classes(files) == ["Background", "cat"]
    np.testing.assert_array_equal(mask_of(files, "a"), expected((1, (0, 0, 9, 9))))


def test_a_slanted_outline_covers_what_skimage_says_it_covers(files, capsys):
    outline = [(3, 40), (20, 5), (60, 22), (33, 30), (50, 44)]  # x, y
    write_coco(files, [{"segmentation": [[x for point in outline for x in point]]}])
    write_labelme(files, "b.png", [shape("cat", outline)])
    theirs = polygon2mask((HEIGHT, WIDTH), [(y, x) for x, y in outline])
    made(files, capsys)
    (files / "masks").rename(files / "first")
    made(files, capsys, "labelme")
    for found in (Image.open(files / "first" / "a.png"), Image.open(files / "masks" / "b.png")):
        differ = (np.array(found) > 0) != theirs
        assert theirs.any() and differ.sum() < 110  # a pixel wide, along a rim of 150


@pytest.mark.parametrize("compressed", [True, False])
def test_coco_run_lengths_are_exact(files, capsys, compressed):
    labels = np.random.default_rng(0).integers(0, 2, (HEIGHT, WIDTH), dtype=np.uint8)
    counts = runs(labels)
    if compressed:
        counts = coco.encode(np.asfortranarray(labels))["counts"].decode()
    write_coco(files, [{"segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}}])
    made(files, capsys)
    np.testing.assert_array_equal(mask_of(files, "a"), labels)


def test_where_things_overlap_the_smaller_one_lies_on_top_whatever_the_order(files, capsys):
    large, small = {"segmentation": [box(0, 0, 40, 40)]}, {"segmentation": [box(8, 8, 16, 16)]}
    small["category_id"] = 7
    for first, second in ((large, small), (small, large)):
        write_coco(files, [first, second])
        said = made(files, capsys)
        wanted = expected((1, (0, 0, 40, 40)), (2, (8, 8, 16, 16)))
        np.testing.assert_array_equal(mask_of(files, "a"), wanted)
        assert "overlap on 1 picture" in said.err and "smaller one" in said.err
        (files / "masks").rename(files / f"masks-{first is large}")


def test_crowds_and_boxes_without_an_outline_are_ignored_and_said(files, capsys):
    crowd = {"segmentation": {"size": [HEIGHT, WIDTH], "counts": runs(expected((1, (0, 0, 9, 9))))}}
    write_coco(
        files,
        [
            {**crowd, "iscrowd": 1},
            {"segmentation": [], "bbox": [20, 10, 5, 6]},
            {"segmentation": [box(40, 0, 50, 9)]},
        ],
    )
    said = made(files, capsys)
    wanted = expected((255, (0, 0, 9, 9)), (255, (20, 10, 25, 16)), (1, (40, 0, 50, 9)))
    np.testing.assert_array_equal(mask_of(files, "a"), wanted)
    assert "1 crowds are ignored" in said.err and "1 things have a box" in said.err
    assert re.search(r"255 +ignored +1\.8% +1\n", said.out)  # (81 + 30) of 2 · 3072


def test_shapes_that_cover_nothing_are_counted(files, capsys):
    write_coco(files, [{"segmentation": [[1, 1, 30, 30]]}, {"segmentation": [box(4, 4, 8, 8)]}])
    assert "1 shapes cover no pixel" in made(files, capsys).err
    np.testing.assert_array_equal(mask_of(files, "a"), expected((1, (4, 4, 8, 8))))


def test_an_outline_may_reach_over_the_edge(files, capsys):
    write_coco(files, [{"segmentation": [box(-9, -9, 20, 20)]}])
    write_labelme(files, "a.jpg", [shape("cat", [(-9, -9), (19, -9), (19, 19), (-9, 19)])])
    for annotations in ("coco.json", "labelme"):
        made(files, capsys, annotations)
        np.testing.assert_array_equal(mask_of(files, "a"), expected((1, (0, 0, 20, 20))))
        (files / "masks").rename(files / f"masks of {annotations}")


def test_pictures_are_found_below_their_folder_and_masks_lie_alike(files, capsys):
    photograph(files / "photos" / "street" / "a.jpg")
    names = ("a.jpg", "street/a.jpg", "C:\\data\\photos\\b.png", "/home/me/photos/c.jpg")
    write_coco(files, [{"segmentation": [box(0, 0, 9, 9)], "image_id": 11}], names)
    said = made(files, capsys)
    assert not mask_of(files, "a").any() and not mask_of(files, "b").any()
    np.testing.assert_array_equal(mask_of(files, "street/a"), expected((1, (0, 0, 9, 9))))
    assert re.search(r'--images "photos/\*\*/\*" --masks "masks/\*\*/\*" ', said.out), said.out


def test_no_mask_is_written_outside_of_the_folder(files, capsys):
    photograph(files / "d.jpg")
    write_coco(files, [], names=("a.jpg", "../d.jpg", str(files / "d.jpg")))
    assert "2 of 3 pictures are not in photos, such as ../d.jpg" in made(files, capsys).err
    assert not list(files.glob("*.png"))


def test_pictures_that_are_missing_and_pictures_that_nobody_drew_over_are_said(files, capsys):
    write_coco(files, [], names=("a.jpg", "gone.jpg"))
    (files / "photos" / ".hidden.jpg").write_bytes(b"")
    said = made(files, capsys)
    assert "1 of 2 pictures are not in photos, such as gone.jpg" in said.err
    assert "Nothing was drawn over 2 pictures of photos, such as b.png" in said.err
    assert sorted(path.name for path in (files / "masks").iterdir()) == ["a.png", "classes.txt"]


def test_given_classes_fix_the_order_and_strangers_are_refused(files, capsys):
    write_coco(files, [{"segmentation": [box(0, 0, 9, 9)]}])
    made(files, capsys, "coco.json", "--classes", "dog,cat")
    assert classes(files) == ["background", "dog", "cat"] and mask_of(files, "a")[0, 0] == 2
    (files / "masks").rename(files / "first")
    made(files, capsys, "coco.json", "--classes", "first/classes.txt")
    assert classes(files) == ["background", "dog", "cat"]
    (files / "masks").rename(files / "second")
    made(files, capsys, "coco.json", "--classes", "cat,background")
    assert classes(files) == ["cat", "background"]
    assert mask_of(files, "a")[[0, 40], 0].tolist() == [0, 1]
    (files / "masks").rename(files / "third")
    said = refusal(files, capsys, "coco.json", "--classes", "dog,horse")
    assert "--classes background,dog,horse does not name: cat (1 times)" in said


def test_labelme_shapes_of_every_kind_that_has_an_area(files, capsys):
    small = Image.fromarray(255 * np.eye(4, dtype=np.uint8))
    small.save(content := io.BytesIO(), "png")
    bitmap = base64.b64encode(content.getvalue()).decode()
    write_labelme(
        files,
        "a.jpg",
        [
            shape("polygon", [(1, 1), (10, 1), (10, 8), (1, 8)]),
            shape("rectangle", [(30, 9), (20, 2)], "rectangle"),
            shape("circle", [(50, 20), (50, 30)], "circle"),
            shape("mask", [(5, 40), (8, 43)], "mask", mask=bitmap),
            shape("turned", [(20, 30), (24, 34), (20, 38), (16, 34)], "oriented_rectangle"),
            shape("polygon", [(1, 20), (3, 20), (3, 24), (1, 24)], group_id=1),
        ],
    )
    made(files, capsys, "labelme")
    names = ["background", "circle", "mask", "polygon", "rectangle", "turned"]
    assert classes(files) == names
    labels = mask_of(files, "a")
    both = expected((1, (1, 1, 11, 9)), (1, (1, 20, 4, 25)))  # as labelme draws: the rim belongs
    np.testing.assert_array_equal(labels == 3, both)
    np.testing.assert_array_equal(labels == 4, expected((1, (20, 2, 31, 10))))
    np.testing.assert_array_equal(labels[40:44, 5:9] == 2, np.eye(4))
    assert (labels == 2).sum() == 4
    assert abs((labels == 1).sum() / (math.pi * 10.5**2) - 1) < 0.05 and labels[20, 50] == 1
    assert (labels == 5).sum() == 1 + 3 + 5 + 7 + 9 + 7 + 5 + 3 + 1


def test_labelme_labels_that_differ_in_spelling_are_one_class_and_said(files, capsys):
    corners = [[(x, 0), (x + 5, 0), (x + 5, 5), (x, 5)] for x in (0, 10, 20, 30, 40)]
    labels = ("Traffic Light", "traffic_light", "traffic_light", "__ignore__", "_background_")
    write_labelme(files, "a.jpg", [shape(*each) for each in zip(labels, corners, strict=True)])
    write_labelme(files, "b.png", [])
    said = made(files, capsys, "labelme")
    assert classes(files) == ["_background_", "traffic_light"]
    assert "Traffic Light as traffic_light" in said.err
    assert mask_of(files, "a")[2, [2, 12, 22, 32, 42]].tolist() == [1, 1, 1, 255, 0]
    assert not mask_of(files, "b").any()


def test_a_photograph_that_a_tag_turns_was_drawn_over_upright_by_labelme(files, capsys):
    photograph(files / "photos" / "a.jpg", orientation=6)  # stored 48 × 64, shown 64 × 48
    corners = [(0, 0), (9, 0), (9, 49), (0, 49)]
    write_labelme(files, "a.jpg", [shape("cat", corners)], imageHeight=WIDTH, imageWidth=HEIGHT)
    said = made(files, capsys, "labelme")
    assert mask_of(files, "a").shape == (WIDTH, HEIGHT) and "--no-upright" not in said.out
    Folder("photos", "masks", 2, names=["a"])


def test_masks_of_photographs_as_stored_are_trained_on_as_stored(files, capsys):
    photograph(files / "photos" / "a.jpg", orientation=6)
    photograph(files / "photos" / "b.png", orientation=8)
    write_coco(files, [{"segmentation": [box(0, 0, 60, 9)]}], names=("a.jpg", "b.png", "c.jpg"))
    said = made(files, capsys)
    assert said.out.rstrip().endswith("--no-upright")
    Folder("photos", "masks", 2, upright=False)
    for name, size in (("a.jpg", (WIDTH, HEIGHT)), ("b.png", (HEIGHT, WIDTH))):
        write_labelme(files, name, [], imageHeight=size[0], imageWidth=size[1])
    (files / "masks").rename(files / "first")
    assert "a.jpg was drawn over as its EXIF tag turns it, and b.png" in refusal(
        files, capsys, "labelme"
    )


def test_the_command_that_it_prints_trains_on_the_masks(files, capsys):
    halves = [{"segmentation": [box(0, 0, 64, 24)], "image_id": 10 + k} for k in range(3)]
    write_coco(files, halves, names=("a.jpg", "b.png", "c.jpg"))
    out = made(files, capsys).out
    python, _, package, *arguments = shlex.split(out.splitlines()[-1])
    assert (python, package) == ("python", "segformer_edu")
    quick = ["--steps", "1", "--batch-size", "1", "--size", "32", "--validation", "1", "--cpu"]
    assert main([*arguments, *quick]) == 0
    capsys.readouterr()
    assert main(["evaluate", "--weights", "run/best", "--config", "run/settings.yaml"]) == 0
    assert re.search(r"^cat .* 0\.500$", capsys.readouterr().out, re.M)


def test_a_mask_shows_its_classes_in_the_colours_of_the_course(files, capsys):
    write_coco(files, [{"segmentation": [box(0, 0, 9, 9)]}])
    made(files, capsys)
    with Image.open(files / "masks" / "a.png") as file:
        shown = file.convert("RGB")
        assert [shown.getpixel((x, 0)) for x in (20, 0)] == [*map(tuple, class_colors(2).tolist())]


COCO = {
    "an outline of letters": ({"segmentation": [["a"] * 6]}, "annotation 0 of a.jpg has other"),
    "half a point": ({"segmentation": [[1, 1, 5, 1, 5]]}, "annotation 0 of a.jpg has other"),
    "not a number": ({"segmentation": [[math.nan] * 6]}, "annotation 0 of a.jpg has other"),
    "very far away": ({"segmentation": [box(0, 0, 10**9, 9)]}, "near its picture"),
    "shares of the sides": (
        {"segmentation": [[0.1, 0.1, 0.4, 0.1, 0.4, 0.4]]},
        "None of the 1 shapes covers a pixel",
    ),
    "run lengths of another size": (
        {"segmentation": {"size": [4, 4], "counts": [8, 8]}},
        "run lengths of 16 pixels, 4 × 4, and its picture is of 64 × 48",
    ),
    "run lengths that do not add up": (
        {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [8, 8]}},
        "run lengths of 16 pixels, 64 × 48, and its picture is of 64 × 48",
    ),
    "negative run lengths": (
        {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [3080, -8]}},
        "run lengths of 3072 pixels",
    ),
    "letters for run lengths": (
        {"segmentation": {"size": [HEIGHT, WIDTH], "counts": "zzzz é"}},
        "pixels, 64 × 48, and its picture is of 64 × 48",
    ),
    "no run lengths": ({"segmentation": {"size": [HEIGHT, WIDTH]}}, "damaged run lengths"),
    "a class that is not listed": ({"segmentation": [], "category_id": 99}, "not in COCO's format"),
    "a picture that is not listed": ({"image_id": 99}, "not in COCO's format"),
    "boxes only": ({"bbox": [1, 1, 5, 5]}, "boxes and no outlines"),
    "panoptic": ({"segments_info": []}, "PNG files are masks already"),
}


@pytest.mark.parametrize("case", COCO.values(), ids=COCO)
def test_a_damaged_coco_file_is_refused(files, capsys, case):
    annotation, words = case
    write_coco(files, [annotation])
    assert words in refusal(files, capsys)


LABELME = {
    "a line": ({"shapes": [shape("crack", [(1, 1), (9, 9)], "linestrip")]}, "Draw a polygon"),
    "a point": ({"shapes": [shape("crack", [(1, 1)], "point")]}, "holds a point, which covers no"),
    "an unknown shape": ({"shapes": [shape("crack", [(1, 1)], "spiral")]}, "holds a spiral"),
    "no label": ({"shapes": [shape(" ", [(1, 1)])]}, "a polygon without a label"),
    "a circle of one point": ({"shapes": [shape("a", [(1, 1)], "circle")]}, "other points than 2"),
    "a damaged bitmap": (
        {"shapes": [shape("a", [(1, 1), (2, 2)], "mask", mask="iVBO")]},
        "damaged mask",
    ),
    "no shapes": ({"shapes": None}, "not in labelme's format"),
    "no picture": ({"imagePath": None}, "not in labelme's format"),
    "another size": ({"imageWidth": 32}, "64 × 48 pixels, and was drawn over at 32 × 48"),
    "no such picture": ({"imagePath": "gone.jpg"}, "--images photos holds none of the 1 pictures"),
}


@pytest.mark.parametrize("case", LABELME.values(), ids=LABELME)
def test_a_labelme_file_that_gives_no_mask_is_refused(files, capsys, case):
    changes, words = case
    write_labelme(files, "a.jpg", [shape("cat", [(1, 1), (9, 1), (9, 9)])], **changes)
    assert words in refusal(files, capsys, "labelme")


OTHERS = {
    "missing": (None, "gone.json cannot be read as JSON (No such file"),
    "not JSON": ("{", "cannot be read as JSON"),
    "a list": ("[]", "neither COCO's (images, annotations, categories) nor labelme's (shapes)"),
    "another format": ('{"regions": []}', "neither COCO's"),
}


@pytest.mark.parametrize("case", OTHERS.values(), ids=OTHERS)
def test_files_of_another_kind_are_refused(files, capsys, case):
    content, words = case
    if content is not None:
        (files / "gone.json").write_text(content, encoding="utf-8")
    assert words in refusal(files, capsys, "gone.json")


def test_an_empty_folder_of_annotations_is_refused(files, capsys):
    (files / "labelme").mkdir()
    assert "labelme holds no JSON file" in refusal(files, capsys, "labelme")


def test_two_pictures_whose_masks_would_have_one_name_are_refused(files, capsys):
    photograph(files / "photos" / "a.png")
    write_coco(files, [], names=("a.jpg", "b.png", "a.png"))
    assert "a.jpg and a.png would have one mask" in refusal(files, capsys)


def test_folders_that_cannot_be_read_or_written_are_refused_before_any_work(files, capsys):
    (files / "masks").mkdir()
    (files / "masks" / "mine.txt").touch()
    assert "--out masks exists" in refusal(files, capsys, "gone.json")
    (files / "masks" / "mine.txt").unlink()
    write_coco(files, [])
    assert "--images no is not a folder" in refusal(files, capsys, "coco.json", "--images", "no")
    said = refusal(files, capsys, "coco.json", "--out", "no/masks")
    assert "--out no/masks: there is no folder no" in said
    made(files, capsys)  # into a folder that is empty


def test_too_many_classes_for_a_mask_are_refused(files, capsys):
    write_coco(files, [], categories={key: f"class {key}" for key in range(255)})
    assert "256 classes, and masks can number 255" in refusal(files, capsys)


def test_two_names_for_one_class_are_refused(files, capsys):
    write_coco(files, [])
    assert "Cat and cat are one class" in refusal(
        files, capsys, "coco.json", "--classes", "Cat,cat"
    )


def test_without_pycocotools_coco_is_refused_and_labelme_is_read(files, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    write_coco(files, [])
    write_labelme(files, "a.jpg", [])
    assert re.search(r"pycocotools is needed: run .*\[coco\]", refusal(files, capsys))
    made(files, capsys, "labelme")
