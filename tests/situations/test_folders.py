"""Folders and annotations as tools leave them: from what is there to labels that are known."""

import base64
import json
import re
import shlex
import unicodedata

import numpy as np
import pytest
from PIL import Image

from tests.situations.making import (
    COLOURS,
    STRIPS,
    UNEQUAL,
    Situation,
    check_words,
    files_in,
    happens,
    picture,
    refused,
    run,
    save,
    write,
)

FOUND = np.diag([3072, 2048, 1024])  # the confusion of one picture of UNEQUAL
CHECK = "check-data mine"
MASKS = "make-masks {} --images photos --out masks"
COCO = MASKS.format("coco.json")
LABELME = MASKS.format("labelme")
OPTIONS = (  # of the command to train with, those that say which pictures are read, and how
    *("data", "images", "masks", "classes", "values", "ignore", "colors", "validation"),
    *("validation-images", "validation-masks", "validation-names", "training-names"),
)


# ---- check-data ----


def leads_to(confusion, *words, code=0):
    """check-data says these words, and reads the masks as its command to train says: with the same
    options, evaluate finds this confusion matrix.
    """

    def look(found, before):
        assert found.code == code, found
        check_words(found, words)
        new = {path.name for path in {*files_in(found.folder)} - {*before}}
        assert new <= {"colors.txt"}
        typed = re.search(r"^  python -m segformer_edu train (.*)$", found.out, re.MULTILINE)[1]
        options = re.findall(r"--([a-z-]+) ('[^']*'|\"[^\"]*\"|\S+)", typed)
        kept = [f"--{name} {value}" for name, value in options if name in OPTIONS]
        kept += ["--no-upright"] * ("--no-upright" in shlex.split(typed))
        scores = "--weights nameless --cpu --out scores.json"
        second = run(found.folder, f"evaluate {' '.join(kept)} --validation 0 {scores}")
        assert second.code == 0, second
        written = json.loads((found.folder / "scores.json").read_text(encoding="utf-8"))
        np.testing.assert_array_equal(written["confusion"], confusion)

    return look


def said(*words, code):
    """What a command that writes nothing says, wherever it says it."""

    def look(found, before):
        assert found.code == code, found
        check_words(found, words)
        assert files_in(found.folder) == before

    return look


def two(photograph, mask, drawn=UNEQUAL, names="ab"):
    """Two pictures; in the names of their files, {} is that of the picture."""

    def make(folder):
        for name in names:
            save(folder / "mine" / photograph.format(name), picture(UNEQUAL))
            save(folder / "mine" / mask.format(name), drawn)

    return make


def and_more(make, *others):
    def both(folder):
        for each in (make, *others):
            each(folder)

    return both


def shifted(number):
    return (UNEQUAL + number).astype(np.uint8)


TRAIN_IDS = "gtFine/train/ulm/ulm_{}_gtFine_"
CITYSCAPES = "leftImg8bit/train/ulm/ulm_{}_leftImg8bit.png"


def voc(folder):
    """Four photographs, of which two have masks, and lists that say so."""
    two("JPEGImages/{}.jpg", "SegmentationClass/{}.png")(folder)
    two("JPEGImages/{}.jpg", "unused/{}.png", names="cd")(folder)
    for name, text in (("train", "a\n"), ("val", "b\n")):
        write(folder / f"mine/ImageSets/Segmentation/{name}.txt", text)


def cvat(**lists):
    """What CVAT writes as "Segmentation mask", and the names in each list."""

    def make(folder):
        photos, drawn = "JPEGImages/{}.png", "SegmentationClass/{}.png"
        two(photos, drawn, COLOURS[UNEQUAL], "abc")(folder)
        two("x/{}.png", "SegmentationObject/{}.png", COLOURS[::-1][UNEQUAL], "abc")(folder)
        table = "# label:color_rgb:parts:actions\nground:0,0,0::\nred:255,0,0::\nblue:0,0,255::\n"
        write(folder / "mine/labelmap.txt", table)
        for name, names in lists.items():
            write(folder / f"mine/ImageSets/Segmentation/{name}.txt", "\n".join(names))

    return make


FOLDERS = {
    "two folders": Situation(two("images/{}.png", "masks/{}.png"), CHECK, leads_to(2 * FOUND)),
    "folders of other names": Situation(
        two("JPEGs/{}.png", "x/{}.png"), CHECK, refused("JPEGs", "--images")
    ),
    "German": Situation(two("Bilder/{}.png", "Masken/{}.png"), CHECK, leads_to(2 * FOUND)),
    "labels with an addition": Situation(
        two("images/{}.png", "labels/{}_L.png"), CHECK, leads_to(2 * FOUND, "labels/*_L")
    ),
    "side by side": Situation(two("{}.jpg", "{}_mask.png"), CHECK, leads_to(2 * FOUND)),
    "side by side, told apart by their endings": Situation(
        two("{}.jpg", "{}.png"), CHECK, leads_to(2 * FOUND)
    ),
    "one folder to train, one to validate": Situation(
        and_more(
            two("train/images/{}.png", "train/masks/{}.png"),
            two("val/images/{}.png", "val/masks/{}.png", names="c"),
        ),
        CHECK,
        leads_to(FOUND, "--validation-images"),
    ),
    "ADE20K's folders": Situation(
        and_more(
            two("images/training/{}.jpg", "annotations/training/{}.png"),
            two("images/validation/{}.jpg", "annotations/validation/{}.png", names="c"),
        ),
        CHECK,
        leads_to(FOUND, "annotations/validation"),
    ),
    "Cityscapes, of which only three classes are to be seen": Situation(
        two(CITYSCAPES, f"{TRAIN_IDS}labelTrainIds.png"),
        f"{CHECK} --classes ground,red,blue",
        leads_to(2 * FOUND, "leftImg8bit"),
    ),
    "Pascal VOC": Situation(voc, CHECK, leads_to(FOUND, "ImageSets/Segmentation/val.txt")),
    "CVAT": Situation(
        cvat(default="abc"), CHECK, leads_to(3 * FOUND, "mine/labelmap.txt says which colour")
    ),
    "CVAT, with parts to train and to validate on": Situation(
        cvat(Train="ab", Validation="c"),
        CHECK,
        leads_to(FOUND, "labelmap.txt", "ImageSets/Segmentation/Validation.txt"),
    ),
    "numbered from 1": Situation(
        two("images/{}.png", "masks/{}.png", shifted(1)),
        f"{CHECK} --classes ground,red,blue",
        leads_to(2 * FOUND, "--values 1-3"),
    ),
    "spread over the greys": Situation(
        two("images/{}.png", "masks/{}.png", UNEQUAL * 100), CHECK, leads_to(2 * FOUND)
    ),
    "colours": Situation(
        two("images/{}.png", "masks/{}.png", COLOURS[UNEQUAL]),
        CHECK,
        leads_to(2 * FOUND, "colors.txt was written", "Give the classes names"),
    ),
    "umlauts of two file systems": Situation(
        lambda f: [
            save(f / f"mine/{folder}/{unicodedata.normalize(form, name)}.png", array)
            for form, folder, array in (
                ("NFC", "images", picture(UNEQUAL)),
                ("NFD", "masks", UNEQUAL),
            )
            for name in "äö"
        ],
        CHECK,
        leads_to(2 * FOUND),
    ),
    "COCO's outlines": Situation(
        and_more(
            two("images/{}.png", "x/{}.png"),
            lambda f: write(f / "mine/c.json", '{"images": [], "annotations": []}'),
        ),
        CHECK,
        said(
            "mine/c.json holds outlines (COCO)",
            "make-masks mine/c.json --images mine/images",
            code=1,
        ),
    ),
    "labelme's files beside the pictures": Situation(
        lambda f: [save(f / "mine/a.jpg", picture()), write(f / "mine/a.json", '{"shapes": []}')],
        CHECK,
        said("outlines (labelme)", "make-masks mine --images mine --out mine/masks", code=1),
    ),
    "photographs alone": Situation(
        lambda f: save(f / "mine/photos/a.jpg", picture()),
        CHECK,
        refused(
            "mine shows no photographs with masks", "the folders photos", "--images", "--masks"
        ),
    ),
    "nothing": Situation(lambda f: (f / "mine").mkdir(), CHECK, refused("holds nothing")),
    "no folder": Situation(lambda f: None, CHECK, refused("mine")),
    "an archive that nobody unpacked": Situation(
        lambda f: write(f / "mine/data.zip", "PK"), CHECK, refused(".zip files (1)")
    ),
    "one picture": Situation(
        two("images/{}.png", "masks/{}.png", names="a"),
        CHECK,
        said("one to validate on is the least", "To train, after that", code=1),
    ),
    "one of three is damaged": Situation(
        and_more(
            two("images/{}.png", "masks/{}.png", names="abc"),
            lambda f: write(f / "mine/images/b.png", ""),
        ),
        CHECK,
        said(
            "3 photographs with a mask, 2 of them without fault",
            "images/b.png cannot be read",
            code=1,
        ),
    ),
    "one has no mask": Situation(
        and_more(
            two("images/{}.png", "masks/{}.png"), lambda f: save(f / "mine/images/c.png", picture())
        ),
        CHECK,
        said("images/c.png has no mask", code=1),
    ),
    "masks of JPEG": Situation(
        two("images/{}.png", "masks/{}.jpg"),
        CHECK,
        said("is JPEG, which changes", "as PNG", code=1),
    ),
}


@pytest.mark.parametrize("situation", FOLDERS.values(), ids=FOLDERS)
def test_check_data(place, situation):
    happens(situation, place)


# ---- make-masks ----


def makes(labels, *names, words=(), mask="a"):
    """make-masks writes this mask and these names of classes."""

    def look(found, before):
        assert found.code == 0, found
        check_words(found, words)
        with Image.open(found.folder / f"masks/{mask}.png") as written:
            np.testing.assert_array_equal(np.array(written), labels)
        listed = (found.folder / "masks/classes.txt").read_text(encoding="utf-8").splitlines()
        assert listed == list(names)
        assert bool(found.err) == bool(words), found.err

    return look


def outline(left, right, top=0, bottom=16):
    """Around the pixels of these columns and rows, as COCO has it: between the pixels."""
    return [left, top, right, top, right, bottom, left, bottom]


def around(left, right, top=0, bottom=16):
    """The same as labelme has it: through the outermost pixels."""
    return [[left, top], [right - 1, top], [right - 1, bottom - 1], [left, bottom - 1]]


def thing(number, category, segmentation, **more):
    return {
        "id": number,
        "image_id": 7,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": 0,
        **more,
    }


RED, BLUE = thing(1, 3, [outline(8, 16)]), thing(2, 44, [outline(16, 24)])
SIZES = {"height": 16, "width": 24}
IMAGE = {"id": 7, "file_name": "a.png", **SIZES}
CATEGORIES = [{"id": 44, "name": "blue"}, {"id": 3, "name": "red"}]


def coco(*annotations, image=IMAGE, categories=CATEGORIES, photo="a.png", **changes):
    content = {"images": [image], "annotations": annotations, "categories": categories} | changes

    def make(folder):
        save(folder / "photos" / photo, picture())
        write(folder / "coco.json", json.dumps(content))

    return make


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


def labelme(*shapes, photo="a.png", **changes):
    content = {
        "shapes": shapes,
        "imagePath": "a.png",
        "imageHeight": 16,
        "imageWidth": 24,
    } | changes

    def make(folder):
        save(folder / "photos" / photo, picture())
        write(folder / "labelme/a.json", json.dumps(content))

    return make


def runs(labels):
    """Run lengths, column by column, zeros first."""
    flat = np.concatenate([[0], labels.T.ravel(), [2]])
    return np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat))])).tolist()


def compressed(labels):
    from pycocotools import mask

    return mask.encode(np.asfortranarray(labels.astype(np.uint8)))["counts"].decode()


def on_its_side(drawn):
    """A photograph that its EXIF tag turns, and outlines of it upright, or as it is stored."""

    def make(folder):
        coco(*drawn)(folder)
        exif = Image.Exif()
        exif[0x0112] = 6
        stored = Image.fromarray(picture()).transpose(Image.Transpose.ROTATE_90)
        stored.save(folder / "photos/a.png", exif=exif)

    return make


def bitmap(array):
    import io

    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


NAMES = ("background", "red", "blue")
hole = STRIPS.copy()
hole[4:8, 10:14] = 0
crowd = np.where(STRIPS == 2, 255, STRIPS)

OUTLINES = {
    # ---- COCO ----
    "COCO: outlines, numbers with gaps": Situation(coco(RED, BLUE), COCO, makes(STRIPS, *NAMES)),
    "COCO: the larger one last": Situation(
        coco(thing(1, 44, [outline(16, 24)]), thing(2, 3, [outline(8, 24)])),
        COCO,
        makes(STRIPS, *NAMES, words=["overlap on 1", "smaller one lies"]),
    ),
    "COCO: two parts of one thing": Situation(
        coco(thing(1, 3, [outline(8, 12), outline(12, 16)]), BLUE), COCO, makes(STRIPS, *NAMES)
    ),
    "COCO: run lengths": Situation(
        coco(thing(1, 3, {"counts": runs(hole == 1), "size": [16, 24]}), BLUE),
        COCO,
        makes(hole, *NAMES),
    ),
    "COCO: compressed run lengths": Situation(
        coco(thing(1, 3, {"counts": compressed(hole == 1), "size": [16, 24]}), BLUE),
        COCO,
        makes(hole, *NAMES),
    ),
    "COCO: a crowd": Situation(
        coco(RED, BLUE | {"iscrowd": 1}), COCO, makes(crowd, *NAMES, words=["1 crowds are ignored"])
    ),
    "COCO: a box without an outline": Situation(
        coco(RED, thing(2, 44, [], bbox=[16, 0, 8, 16])),
        COCO,
        makes(crowd, *NAMES, words=["boxes are ignored"]),
    ),
    "COCO: boxes alone": Situation(
        coco(thing(2, 44, [], bbox=[16, 0, 8, 16])), COCO, refused("holds boxes and no outlines")
    ),
    "COCO: in an order of one's own": Situation(
        coco(RED, BLUE),
        f"{COCO} --classes blue,red",
        makes(np.array([0, 2, 1], np.uint8)[STRIPS], "background", "blue", "red"),
    ),
    "COCO: a class that the order leaves out": Situation(
        coco(RED, BLUE), f"{COCO} --classes red", refused("blue (1 times)", "--classes", "ignore")
    ),
    "COCO: background is a category": Situation(
        coco(RED, BLUE, categories=[*CATEGORIES, {"id": 0, "name": "Background"}]),
        COCO,
        makes(STRIPS, "Background", "red", "blue"),
    ),
    "COCO: a category that is not listed": Situation(
        coco(RED, BLUE, categories=CATEGORIES[:1]),
        COCO,
        refused("coco.json is not in COCO's format"),
    ),
    "COCO: panoptic": Situation(
        coco({"image_id": 7, "segments_info": []}), COCO, refused("panoptic", "masks already")
    ),
    "COCO: the results of a detector": Situation(
        lambda f: [save(f / "photos/a.png", picture()), write(f / "coco.json", json.dumps([RED]))],
        COCO,
        refused("neither COCO's", "labelme's", "Export"),
    ),
    "COCO: no picture in the folder": Situation(
        coco(RED, photo="b.png"),
        COCO,
        refused("holds none of the 1 pictures, such as a.png", "--images photos"),
    ),
    "COCO: paths of another machine": Situation(
        coco(RED, BLUE, image=IMAGE | {"file_name": "C:\\data\\a.png"}), COCO, makes(STRIPS, *NAMES)
    ),
    "COCO: umlauts of two file systems": Situation(
        coco(
            RED,
            BLUE,
            image=IMAGE | {"file_name": unicodedata.normalize("NFC", "ä.png")},
            photo=unicodedata.normalize("NFD", "ä.png"),
        ),
        COCO,
        makes(STRIPS, *NAMES, mask=unicodedata.normalize("NFD", "ä")),
    ),
    "COCO: the picture was made smaller since": Situation(
        coco(RED, image=IMAGE | {"height": 32, "width": 48}), COCO, refused("24 × 16", "48 × 32")
    ),
    "COCO: drawn upright over a photograph on its side": Situation(
        on_its_side([RED, BLUE]), COCO, makes(STRIPS, *NAMES)
    ),
    "COCO: run lengths of another size": Situation(
        coco(thing(1, 3, {"counts": [4, 4], "size": [2, 4]})),
        COCO,
        refused("run lengths of 8 pixels", "Draw it again"),
    ),
    "COCO: letters that are no run lengths": Situation(
        coco(thing(1, 3, {"counts": "~~~~", "size": [16, 24]})),
        COCO,
        refused("annotation 1 of a.png", "run lengths"),
    ),
    "COCO: outlines that are not numbers": Situation(
        coco(thing(1, 3, [[1, 2, None, 4, 5, 6]])),
        COCO,
        refused("annotation 1 of a.png", "finite numbers"),
    ),
    "COCO: damaged": Situation(
        lambda f: [save(f / "photos/a.png", picture()), write(f / "coco.json", '{"images": [')],
        COCO,
        refused("coco.json cannot be read as JSON", "export it again"),
    ),
    # ---- labelme ----
    "labelme: polygons": Situation(
        labelme(shape("red", around(8, 16)), shape("blue", around(16, 24))),
        LABELME,
        makes(np.array([0, 2, 1], np.uint8)[STRIPS], "background", "blue", "red"),
    ),
    "labelme: rectangles, in any direction": Situation(
        labelme(
            shape("1 red", [[15, 15], [8, 0]], "rectangle"),
            shape("2 blue", [[16, 0], [23, 15]], "rectangle"),
        ),
        LABELME,
        makes(STRIPS, "background", "1 red", "2 blue"),
    ),
    "labelme: a bitmap": Situation(
        labelme(
            shape("1", [[8, 0], [15, 15]], "mask", mask=bitmap(np.ones((16, 8), bool))),
            shape("2", around(16, 24)),
        ),
        LABELME,
        makes(STRIPS, "background", "1", "2"),
    ),
    "labelme: a name spelled in two ways": Situation(
        labelme(
            shape("Red", around(8, 12)),
            shape("red", around(12, 16)),
            shape("Red", around(12, 16)),
            shape("tree ", around(16, 24)),
        ),
        LABELME,
        makes(STRIPS, "background", "Red", "tree", words=["red as Red"]),
    ),
    "labelme: called ignore": Situation(
        labelme(shape("red", around(8, 16)), shape("ignore", around(16, 24))),
        LABELME,
        makes(crowd, "background", "red"),
    ),
    "labelme: a path of Windows": Situation(
        labelme(
            shape("1", around(8, 16)), shape("2", around(16, 24)), imagePath="..\\photos\\a.png"
        ),
        LABELME,
        makes(STRIPS, "background", "1", "2"),
    ),
    "labelme: a line": Situation(
        labelme(shape("red", [[0, 0], [9, 9]], "line")),
        LABELME,
        refused("a.json holds a line", "Draw a polygon"),
    ),
    "labelme: no label": Situation(
        labelme(shape(" ", around(8, 16))),
        LABELME,
        refused("a.json holds a polygon without a label"),
    ),
    "labelme: of another tool": Situation(
        lambda f: [
            save(f / "photos/a.png", picture()),
            write(f / "labelme/a.json", '{"regions": []}'),
        ],
        LABELME,
        refused("a.json is not in labelme's format", "Save it again in labelme"),
    ),
    "labelme: no file": Situation(
        lambda f: [save(f / "photos/a.png", picture()), (f / "labelme").mkdir()],
        LABELME,
        refused("labelme holds no JSON file"),
    ),
    "no annotations": Situation(
        lambda f: save(f / "photos/a.png", picture()), COCO, refused("coco.json cannot be read")
    ),
    "XML of CVAT or VOC": Situation(
        lambda f: [save(f / "photos/a.png", picture()), write(f / "coco.json", "<annotations/>")],
        COCO,
        refused("coco.json cannot be read as JSON"),
    ),
    "no pictures": Situation(
        lambda f: write(f / "coco.json", "{}"), COCO, refused("--images photos is not a folder")
    ),
    "a folder that holds masks already": Situation(
        lambda f: [coco(RED)(f), save(f / "masks/a.png", STRIPS)],
        COCO,
        refused("--out masks exists", "new folder"),
    ),
}


@pytest.mark.parametrize("situation", OUTLINES.values(), ids=OUTLINES)
def test_make_masks(place, situation):
    happens(situation, place)
